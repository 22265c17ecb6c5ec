"""What a supervisor hears and sees pop up: sound, desktop notifications, muting, the budget."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.e2e.console.conftest import WAIT_MS
from tests.e2e.console.test_console import THREAT, said, started

pytestmark = pytest.mark.needs("chromium")

INSULT = "お前バカじゃないのか、無能"
# The real audio and notifications, with a note of each; a window that somebody else's lies over has no focus.
WATCH = """
window.tones = []; window.notes = [];
const make = AudioContext.prototype.createOscillator;
AudioContext.prototype.createOscillator = function () { const tone = make.call(this); window.tones.push(tone); return tone; };
const Real = window.Notification;
window.Notification = class extends Real {
  constructor(title, options) { super(title, options); window.notes.push({ title, ...options }); window.note = this; }
};
document.hasFocus = () => !window.away;
"""


@pytest.fixture
def desk(new_page, server):
    """A console whose sound is awake: somebody has touched the page."""
    page = new_page(first=WATCH, permissions=["notifications"])
    page.wait_for_selector("#connection:not(.off)", timeout=WAIT_MS)
    page.locator("#floor-title").click()
    return page


def tones(page) -> int:
    return page.evaluate("window.tones.length")


def wait_for_tones(page, count: int) -> None:
    page.wait_for_function("(count) => window.tones.length >= count", arg=count, timeout=WAIT_MS)


def test_an_alert_sounds_by_its_level_and_m_mutes_it(send, desk):
    send(started(), said(INSULT))
    wait_for_tones(desk, 1)
    assert desk.evaluate("window.tones[0].context.state") == "running"
    assert [
        tone["frequency"] for tone in desk.evaluate("window.tones.map((tone) => ({ frequency: tone.frequency.value }))")
    ] == [587]
    desk.wait_for_timeout(1300)  # The next sound comes after a pause.
    send(started(agent="a-2"), said(THREAT), call_id="c-2")
    wait_for_tones(desk, 5)
    assert tones(desk) == 5
    desk.keyboard.press("m")
    expect(desk.locator("#sound")).to_have_attribute("aria-pressed", "false")
    desk.wait_for_timeout(1300)
    send(started(agent="a-3"), said(THREAT), call_id="c-3")
    expect(desk.locator("#alert-count")).to_have_text("3", timeout=WAIT_MS)
    assert tones(desk) == 5
    # It stays so for the next visit.
    desk.reload()
    expect(desk.locator("#sound")).to_have_attribute("aria-pressed", "false", timeout=WAIT_MS)


def test_a_sound_that_is_switched_on_is_heard_at_once(desk):
    desk.click("#sound")
    assert tones(desk) == 0
    desk.click("#sound")
    wait_for_tones(desk, 1)


@pytest.mark.parametrize("environment", [{"MAMORI_LOUD_ALERTS": "1"}])
def test_beyond_the_budget_all_is_shown_and_the_quiet_ones_are_counted(send, desk):
    for number in range(3):
        send(started(agent=f"a-{number}"), said(INSULT), call_id=f"c-{number}")
        expect(desk.locator("#alert-count")).to_have_text(str(number + 1), timeout=WAIT_MS)
        desk.wait_for_timeout(1300)
    assert tones(desk) == 1
    expect(desk.locator(".tag.muted")).to_contain_text("2件")
    assert "交代未満" in desk.get_attribute(".tag.muted", "title")
    # From `escalate` on nothing is held back.
    send(started(agent="a-9"), said(THREAT), call_id="c-9")
    wait_for_tones(desk, 5)


def test_a_notification_pops_up_when_the_window_is_not_in_front(send, desk):
    if desk.evaluate("Notification.permission") != "granted":
        pytest.fail("the browser refuses notifications that were granted")
    desk.click("#push")
    expect(desk.locator("#push")).to_have_attribute("aria-pressed", "true")
    send(started(agent="a-7", queue="billing"), said(INSULT))
    expect(desk.locator("#alert-count")).to_have_text("1", timeout=WAIT_MS)
    assert desk.evaluate("window.notes") == []
    desk.evaluate("window.away = true")
    send(started(agent="a-8", queue="billing"), said(THREAT), call_id="c-8")
    desk.wait_for_function("() => window.notes.length === 1", timeout=WAIT_MS)
    note = desk.evaluate("window.notes[0]")
    assert (note["title"], note["body"], note["requireInteraction"]) == ("緊急 — 暴言・脅し等", "a-8 billing", True)
    assert THREAT not in str(note)
    # It leads to its call.
    desk.evaluate("window.note.onclick()")
    expect(desk.locator("#call-title")).to_have_text("a-8", timeout=WAIT_MS)
    desk.evaluate("window.away = true")
    desk.click("#push")
    send(started(agent="a-9"), said(THREAT), call_id="c-9")
    expect(desk.locator("nav .count.loud")).to_have_text("3", timeout=WAIT_MS)
    assert len(desk.evaluate("window.notes")) == 1

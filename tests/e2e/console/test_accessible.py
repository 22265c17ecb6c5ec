"""Every page as axe-core sees it (contrast, names, roles, order), dark and light, at a desk and on a phone."""

from __future__ import annotations

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from tests.e2e.console.conftest import WAIT_MS
from tests.e2e.console.test_console import THREAT, said, started
from tests.e2e.console.test_loud import INSULT

pytestmark = pytest.mark.needs("chromium")

RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}
LOOKS = [(scheme, width) for scheme in ("light", "dark") for width in (1280, 390)]


def calls(send) -> None:
    """A floor with something of everything: calm, insulted, threatened, taken, help called, over."""
    send(started(agent="a-1"), said("注文した荷物の番号を教えてください"), call_id="c-1")
    send(started(agent="a-2", queue="tech"), said(INSULT), call_id="c-2")
    send(started(agent="a-3"), said(THREAT), {"type": "agent.help", "offset_ms": 8000}, call_id="c-3")
    send(
        started(agent="a-4"), said(INSULT), {"type": "call.ended", "offset_ms": 9000, "reason": "hangup"}, call_id="c-4"
    )


def faults(page) -> list[str]:
    """What axe-core finds wrong on a page, as lines that say where."""
    found = Axe().run(page, options=RULES).response["violations"]
    return [
        f"{page.url}: {rule['id']}: {node['target']} {node['failureSummary']}"
        for rule in found
        for node in rule["nodes"]
    ]


@pytest.mark.parametrize(("scheme", "width"), LOOKS)
def test_no_page_has_a_fault(server, send, new_page, scheme, width):
    calls(send)
    page = new_page(color_scheme=scheme, width=width, height=844, reduced_motion="reduce")
    expect(page.locator("#floor tbody tr")).not_to_have_count(0, timeout=WAIT_MS)
    page.wait_for_selector("#over-count", timeout=WAIT_MS)
    wrong = faults(page)
    page.keyboard.press("j")
    page.keyboard.press("r")
    page.wait_for_selector("#resolve")
    wrong += faults(page)
    page.keyboard.press("Escape")
    page.goto(f"{server.url}/#/call/c-3")
    page.wait_for_selector(".talk li mark", timeout=WAIT_MS)
    wrong += faults(page)
    page.goto(f"{server.url}/#/alerts")
    page.locator(".history tbody button").first.click()
    page.wait_for_selector(".history tr.more")
    wrong += faults(page)
    page.goto(f"{server.url}/#/reports")
    page.wait_for_selector("#agents", timeout=WAIT_MS)
    page.wait_for_selector("canvas")
    wrong += faults(page)
    page.goto(f"{server.url}/operator.html?call=c-3")
    page.wait_for_selector(".say p", timeout=WAIT_MS)
    wrong += faults(page)
    page.goto(f"{server.url}/v1/calls/c-3/incident")
    wrong += faults(page)
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_wrong_while_the_connection_is_lost(server, send, new_page, scheme):
    calls(send)
    page = new_page(color_scheme=scheme, reduced_motion="reduce")
    expect(page.locator("#alert-count")).not_to_have_text("0", timeout=WAIT_MS)
    server.kill()
    page.wait_for_selector("#banner", timeout=WAIT_MS)
    assert faults(page) == []


def test_the_check_finds_what_is_wrong(page):
    page.evaluate(
        "document.querySelector('main').insertAdjacentHTML('beforeend', '<p id=pale>pale</p><img src=\"icon.svg\">')"
    )
    page.evaluate("Object.assign(document.getElementById('pale').style, { color: '#999', background: '#fff' })")
    assert {line.split(": ")[1] for line in faults(page)} == {"color-contrast", "image-alt"}

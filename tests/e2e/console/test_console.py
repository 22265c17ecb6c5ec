from __future__ import annotations

import json
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import expect
from websockets.sync.client import connect

pytestmark = pytest.mark.needs("chromium")

THREAT = "お前を殺すぞ"
WAIT_MS = 15_000


def send(server, *events: dict) -> None:
    """Streams events of call c-1 and waits until the last is durable."""
    with connect(f"ws://127.0.0.1:{server.port}/v1/ingest") as socket:
        socket.recv()
        for event in events:
            socket.send(json.dumps({"call_id": "c-1", **event}))
        last = events[-1]["seq"]
        while (message := json.loads(socket.recv()))["type"] != "ack" or message["seq"] < last:
            assert message["type"] != "nack", message


def call(text: str, *, language: str = "ja") -> list[dict]:
    return [
        {"type": "call.started", "seq": 0, "language": language, "queue": "billing", "agent": {"id": "a-1"}},
        {
            "type": "transcript.segment",
            "seq": 1,
            "segment_id": "s1",
            "speaker": "customer",
            "text": text,
            "start_ms": 1000,
            "end_ms": 4000,
        },
    ]


@pytest.fixture
def page(browser, server):
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    opened = context.new_page()
    opened.mistakes = []
    opened.on("pageerror", lambda error: opened.mistakes.append(str(error)))
    opened.goto(server.url)
    opened.wait_for_selector("#connection:not(.off)", timeout=WAIT_MS)
    yield opened
    assert opened.mistakes == []
    context.close()


def test_an_alert_appears_and_the_keyboard_acknowledges_it_for_all(server, page, browser):
    other = browser.new_page()
    other.goto(server.url)
    send(server, *call(THREAT))
    page.wait_for_selector(".card mark", timeout=WAIT_MS)
    assert page.locator(".card mark").first.inner_text() in THREAT
    page.wait_for_selector("#floor tbody tr", timeout=WAIT_MS)
    page.keyboard.press("j")
    page.keyboard.press("a")
    other.wait_for_selector(".card.acknowledged", timeout=WAIT_MS)
    other.close()


def test_both_languages(server, page):
    send(server, *call(THREAT))
    page.wait_for_selector(".card", timeout=WAIT_MS)
    assert "アラート" in page.inner_text("#alerts-title")
    page.click("#language")
    assert "Alerts" in page.inner_text("#alerts-title")
    assert page.get_attribute("html", "lang") == "en"


def test_markup_in_a_transcript_never_runs(server, page):
    send(server, *call(f'{THREAT}<img src=x onerror="window.hacked=1"><script>window.hacked=1</script>'))
    page.wait_for_selector(".card", timeout=WAIT_MS)
    page.wait_for_selector("#floor .link", timeout=WAIT_MS)
    page.click("#floor .link")
    page.wait_for_selector(".talk li", timeout=WAIT_MS)
    assert "<img" in page.inner_text(".talk")
    assert page.evaluate("window.hacked") is None
    assert page.locator(".card img, .talk img").count() == 0


def test_marks_stand_on_the_right_characters(server, page):
    send(server, *call(f"😡𠮟ｶﾞ㍻、{THREAT}"))
    page.wait_for_selector(".card mark", timeout=WAIT_MS)
    evidence = httpx.get(f"{server.url}/v1/alerts").json()["alerts"][0]["evidence"][0]
    slices, at = [], 0
    for span in sorted(evidence["spans"], key=lambda span: span["start"]):
        if span["start"] >= at:
            slices.append(evidence["text"][span["start"] : span["end"]])
            at = span["end"]
    assert page.locator(".card mark").all_inner_texts() == slices
    assert any("殺すぞ" in words for words in slices)


def test_a_killed_server_is_shown_and_nothing_is_lost_or_doubled(server, page):
    send(server, *call(THREAT))
    page.wait_for_selector(".card", timeout=WAIT_MS)
    server.kill()
    page.wait_for_selector("#banner:not([hidden])", timeout=WAIT_MS)
    assert "監視できていません" in page.inner_text("#banner")
    server.start()
    page.wait_for_selector("#connection:not(.off)", timeout=WAIT_MS)
    send(server, {"type": "agent.help", "seq": 2, "offset_ms": 9000})
    expect(page.locator(".card")).to_have_count(2, timeout=WAIT_MS)


def test_resolve_with_an_outcome(server, page):
    send(server, *call(THREAT))
    page.wait_for_selector(".card", timeout=WAIT_MS)
    page.keyboard.press("j")
    page.keyboard.press("r")
    page.check("input[value=false_alarm]")
    page.click("#resolve button.primary")
    expect(page.locator(".card")).to_have_count(0, timeout=WAIT_MS)


def test_a_phone_can_use_it(server, browser, tmp_path: Path):
    phone = browser.new_page(viewport={"width": 390, "height": 844})
    phone.goto(server.url)
    send(server, *call(THREAT))
    phone.wait_for_selector(".card", timeout=WAIT_MS)
    assert phone.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    phone.close()

"""The supervisor's pages against a real server: alerts, languages, keyboard, reconnect, injection, marks."""

from __future__ import annotations

import json

import httpx
import pytest
from playwright.sync_api import expect
from websockets.sync.client import connect

from tests.e2e.console.conftest import WAIT_MS

pytestmark = pytest.mark.needs("chromium")

THREAT = "お前を殺すぞ"


def started(language: str = "ja", agent: str = "a-1", queue: str = "billing") -> dict:
    return {"type": "call.started", "language": language, "queue": queue, "agent": {"id": agent}}


def said(text: str, number: int = 1, *, speaker: str = "customer", is_final: bool = True) -> dict:
    return {
        "type": "transcript.segment",
        "segment_id": f"s{number}",
        "speaker": speaker,
        "text": text,
        "start_ms": 4000 * number,
        "end_ms": 4000 * number + 3000,
        "is_final": is_final,
    }


def test_an_alert_appears_and_the_keyboard_takes_it_for_all(send, page, new_page):
    other = new_page()
    send(started(), said(THREAT))
    page.wait_for_selector("#alerts .card mark", timeout=WAIT_MS)
    assert page.locator("#alerts .card mark").first.inner_text() in THREAT
    page.wait_for_selector("#floor tbody tr.critical", timeout=WAIT_MS)
    page.keyboard.press("j")
    page.keyboard.press("a")
    other.wait_for_selector("#taken .card.acknowledged", timeout=WAIT_MS)
    expect(other.locator("#alert-count")).to_have_text("0")
    expect(other.locator("#floor tbody tr").first).to_contain_text("local")


def test_the_second_supervisor_is_told_who_was_first(server, send, page):
    send(started(), said(THREAT))
    page.wait_for_selector("#alerts .card", timeout=WAIT_MS)
    # Between what this page saw and what it sends, somebody else takes the alert.
    page.evaluate(
        "window.held = WebSocket.prototype.send; WebSocket.prototype.send = function (text) { (window.kept ??= []).push([this, text]); }; null"
    )
    page.keyboard.press("j")
    page.keyboard.press("a")
    alert = httpx.get(f"{server.url}/v1/alerts").json()["alerts"][0]["alert_id"]
    assert httpx.post(f"{server.url}/v1/alerts/{alert}/acknowledge", json={}).status_code == 200
    page.evaluate(
        "WebSocket.prototype.send = window.held; window.kept.forEach(([socket, text]) => socket.send(text)); null"
    )
    expect(page.locator(".card .problem")).to_contain_text("先に local さんが対応しています", timeout=WAIT_MS)


def test_the_call_that_needs_somebody_most_stands_first_everywhere(send, page):
    send(started(agent="a-1"), said("注文した荷物の番号を教えてください"), call_id="c-1")
    send(started(agent="a-2"), said("お前バカじゃないのか、無能"), call_id="c-2")
    send(started(agent="a-3"), said(THREAT), call_id="c-3")
    expect(page.locator("#floor tbody tr")).to_have_count(3, timeout=WAIT_MS)
    expect(page.locator("#floor tbody tr").nth(0)).to_contain_text("a-3")
    expect(page.locator("#floor tbody tr").nth(1)).to_contain_text("a-2")
    expect(page.locator(".card.first")).to_contain_text("a-3")
    page.locator(".chip.critical").click()
    expect(page.locator("#floor tbody tr")).to_have_count(1)


def test_hundreds_of_calls_are_shown_as_somebody_scrolls_to_them(server, send, page):
    with connect(f"ws://127.0.0.1:{server.port}/v1/ingest") as socket:
        socket.recv()
        for number in range(120):
            socket.send(json.dumps({"call_id": f"n-{number}", "seq": 0, **started(agent=f"n-{number}")}))
        expect(page.locator("#call-count")).to_have_text("120", timeout=WAIT_MS)
        assert page.locator("#floor tbody tr").count() < 120
        for _ in range(3):
            page.mouse.wheel(0, 6000)
            page.wait_for_timeout(300)
        expect(page.locator("#floor tbody tr")).to_have_count(120, timeout=WAIT_MS)


def test_alerts_of_ended_calls_leave_the_waiting_list_and_wait_for_an_outcome(send, page):
    send(started(), said(THREAT))
    expect(page.locator("#alert-count")).to_have_text("1", timeout=WAIT_MS)
    send({"type": "call.ended", "offset_ms": 9000, "reason": "hangup"})
    expect(page.locator("#over-count")).to_have_text("1", timeout=WAIT_MS)
    expect(page.locator("#alert-count")).to_have_text("0")
    # On the floor it is calm at once: no ground behind its level, whatever it was.
    expect(page.locator("#floor tr.over .badge.critical")).to_have_css("background-color", "rgba(0, 0, 0, 0)")
    page.locator(".line button").click()
    page.wait_for_selector("#resolve")
    page.keyboard.press("3")
    page.keyboard.press("Enter")
    expect(page.locator("#over-count")).to_have_count(0, timeout=WAIT_MS)


def test_resolve_with_an_outcome_by_keyboard(server, send, page):
    send(started(), said(THREAT))
    page.wait_for_selector("#alerts .card", timeout=WAIT_MS)
    page.keyboard.press("j")
    page.keyboard.press("r")
    page.wait_for_selector("#resolve")
    # Nothing is chosen beforehand, and nothing is recorded that nobody chose.
    expect(page.locator("#resolve input:checked")).to_have_count(0)
    page.keyboard.press("Enter")
    expect(page.locator("#resolve")).to_be_visible()
    page.check("input[value=complaint]")
    page.fill("textarea[name=note]", "確認済み")
    page.click("#resolve button.primary")
    expect(page.locator("#alerts .card")).to_have_count(0, timeout=WAIT_MS)
    alert = httpx.get(f"{server.url}/v1/alerts?state=all").json()["alerts"][0]
    assert (alert["outcome"], alert["note"]) == ("complaint", "確認済み")


def test_both_languages(send, page):
    send(started(), said(THREAT))
    page.wait_for_selector(".card", timeout=WAIT_MS)
    assert "対応待ち" in page.inner_text("#alerts-title")
    page.click("#language")
    expect(page.locator("#alerts-title")).to_contain_text("Waiting")
    assert page.get_attribute("html", "lang") == "en"
    expect(page.locator(".card .badge").first).to_contain_text("Critical")
    # The phrase is read out to the caller and stays in the call's language.
    assert page.locator(".card .say [lang=ja]").first.inner_text()


def test_every_word_of_the_pages_exists_in_both_languages(page):
    keys = page.evaluate(
        "Promise.all([import('/words.ja.js'), import('/words.en.js')]).then(([ja, en]) => [Object.keys(ja.JA).sort(), Object.keys(en.EN).sort()])"
    )
    assert keys[0] == keys[1]
    sources = [
        httpx.get(page.url.split("#")[0] + f"{name}.js").text
        for name in (
            "app",
            "call",
            "desk",
            "dialogs",
            "floor",
            "health",
            "history",
            "inbox",
            "operator",
            "parts",
            "reports",
            "signin",
            "transcript",
        )
    ]
    used = page.evaluate(
        '(sources) => sources.flatMap((text) => [...text.matchAll(/\\bt\\("(\\w+)"/g)].map((hit) => hit[1]))', sources
    )
    assert len(used) > 100
    assert set(used) - set(keys[0]) == set()


def test_markup_in_a_transcript_never_runs(send, page):
    evil = '<img src=x onerror="window.hacked=1"><script>window.hacked=1</script>'
    # Without quotation marks in the words, for what is quoted may be somebody else's and alerts nobody.
    send(started(agent=evil, queue=evil), said(f"{THREAT}{evil.replace(chr(34), '')}"), said(THREAT, 2))
    page.wait_for_selector(".card", timeout=WAIT_MS)
    page.locator("#floor .who").first.click()
    page.wait_for_selector(".talk li", timeout=WAIT_MS)
    assert "<img" in page.inner_text(".talk")
    page.keyboard.press("2")
    page.wait_for_selector(".history tbody tr", timeout=WAIT_MS)
    page.locator(".history tbody button").first.click()
    assert page.evaluate("window.hacked") is None
    assert page.locator("main img, main script").count() == 0


def test_the_policy_forbids_inline_scripts_even_if_markup_got_in(server, page):
    policy = httpx.get(server.url).headers["content-security-policy"]
    assert "script-src 'self'" in policy
    assert "unsafe" not in policy
    page.evaluate("document.body.insertAdjacentHTML('beforeend', '<img src=\"data:,\" onerror=\"window.hacked=1\">')")
    page.wait_for_timeout(300)
    assert page.evaluate("window.hacked") is None
    page.mistakes.clear()  # the browser reports what it blocked


def test_marks_stand_on_the_right_characters(server, send, page):
    send(started(), said(f"😡𠮟ｶﾞ㍻、{THREAT}"))
    page.wait_for_selector("#alerts .card mark", timeout=WAIT_MS)
    evidence = httpx.get(f"{server.url}/v1/alerts").json()["alerts"][0]["evidence"][0]
    slices, at = [], 0
    for span in sorted(evidence["spans"], key=lambda span: (span["start"], -span["end"])):
        start = max(at, span["start"])
        if span["end"] > start:
            slices.append(evidence["text"][start : span["end"]])
            at = span["end"]
    assert page.locator("#alerts .card blockquote").first.locator("mark").all_inner_texts() == slices
    assert any("殺すぞ" in words for words in slices)


def test_the_call_shows_partials_steps_phrase_law_and_links(send, page):
    send(started(), said("荷物が届きません"), said("お前を殺", 2, is_final=False))
    page.locator("#floor .who").click()
    expect(page.locator(".talk li.partial")).to_contain_text("お前を殺", timeout=WAIT_MS)
    send(said(THREAT, 2))
    expect(page.locator(".talk li.partial")).to_have_count(0, timeout=WAIT_MS)
    expect(page.locator(".talk li.evident mark")).to_contain_text("殺す")
    expect(page.locator(".steps li")).to_have_count(4)
    expect(page.locator(".steps li.next")).to_contain_text("一次警告")
    assert "お電話を" in page.inner_text(".say .big")
    line, cited = page.locator(".talk li.evident .soft").first, page.locator(".guide .card blockquote .soft").first
    assert line.inner_text().split()[1].startswith(cited.inner_text())
    expect(page.locator(".guide")).to_contain_text("脅迫罪")
    assert page.locator(".guide > a").first.get_attribute("href") == "https://pbx.example/listen/c-1"
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.keyboard.press("c")
    expect(page.locator("#copy")).to_contain_text("コピーしました")
    assert page.evaluate("navigator.clipboard.readText()") == page.inner_text(".say .big")
    page.keyboard.press("Escape")
    expect(page.locator("#floor")).to_be_visible()


def test_a_miss_can_be_reported(server, send, page):
    send(started(), said("声がいやらしいね、どんな服を着てるの"))
    page.locator("#floor .who").click()
    page.locator(".talk .flag").first.click()
    page.check("input[value=sexual]")
    page.click("#flag button.primary")
    expect(page.locator(".said")).to_contain_text("報告しました", timeout=WAIT_MS)


def test_a_killed_server_is_shown_and_nothing_is_lost_or_doubled(server, send, page):
    send(started(), said(THREAT))
    page.wait_for_selector(".card", timeout=WAIT_MS)
    server.kill()
    page.wait_for_selector("#banner", timeout=WAIT_MS)
    assert "監視できていません" in page.inner_text("#banner")
    assert "監視できていません" in page.title()
    page.keyboard.press("j")
    page.keyboard.press("a")
    expect(page.locator(".card .problem")).to_contain_text("接続が切れている")
    server.start()
    page.wait_for_selector("#connection:not(.off)", timeout=WAIT_MS)
    assert page.locator("#banner").count() == 0
    send({"type": "agent.help", "offset_ms": 9000})
    expect(page.locator(".card")).to_have_count(2, timeout=WAIT_MS)
    expect(page.locator("#floor tbody tr")).to_have_count(1, timeout=WAIT_MS)


def test_a_lost_feed_is_loud_on_the_floor(send, page):
    send(started(), said("荷物が届きません"))
    # The connection that fed the call is closed; ten seconds later nobody is watching it.
    expect(page.locator("#floor tr.blind")).to_contain_text("監視できていません", timeout=20_000)
    expect(page.locator(".chip.blind b")).to_have_text("1")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_can_use_it(send, new_page, scheme):
    phone = new_page(width=390, height=844, color_scheme=scheme)
    send(started(), said(THREAT))
    phone.wait_for_selector(".card", timeout=WAIT_MS)
    assert phone.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    phone.locator(".card.first button.primary").click()
    phone.wait_for_selector(".talk li", timeout=WAIT_MS)
    assert phone.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def test_the_trend_rises_with_abuse_and_falls_as_the_call_calms_down(send, page):
    """Live, from `call.status` alone: a point for each ten seconds of the call."""
    row = page.locator("#floor tbody tr")

    def line(*, at_s: int, text: str) -> None:
        segment = said(text, at_s)
        send({**segment, "start_ms": at_s * 1000, "end_ms": at_s * 1000 + 2000})

    def points(count: int) -> None:
        page.wait_for_function(
            "(count) => (document.querySelector('#floor polyline')?.getAttribute('points').split(' ').length ?? 1) >= count",
            arg=count,
            timeout=WAIT_MS,
        )

    send(started())
    for count, at_s in enumerate((1, 11, 21, 31), start=1):
        line(at_s=at_s, text=f"{at_s}番の荷物の番号を教えてください")
        expect(row).to_have_count(1, timeout=WAIT_MS)
        points(count)
    expect(row.locator(".trend")).to_have_class("trend steady")
    line(at_s=41, text="お前バカじゃないのか、無能")
    expect(row.locator(".trend")).to_have_class("trend rising", timeout=WAIT_MS)
    expect(row.locator(".trend")).to_contain_text("上昇")
    for count, at_s in enumerate((61, 81, 101), start=6):
        line(at_s=at_s, text=f"{at_s}番の荷物の番号を教えてください")
        points(count)
    expect(row.locator(".trend")).to_have_class("trend falling", timeout=WAIT_MS)

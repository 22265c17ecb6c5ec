"""The reports page against a real server: its figures, its files, who sees whom, and how it prints; the incident report, too."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
import time

import httpx
import pytest
from playwright.sync_api import expect

from server.storage.statedb import open_engine
from server.storage.tables import ALERTS, CALLS
from tests.e2e.console.conftest import WAIT_MS, Server
from tests.e2e.console.test_console import THREAT, said, started
from tests.server.test_reports import alert_row, call_row

pytestmark = pytest.mark.needs("chromium")

HOUR_MS = 3_600_000
PASSWORD = "correct horse battery"


def history(server: Server) -> None:
    """Calls and alerts of the last hours and of ten days ago; one queue of six operators, one of three."""
    now_ms = time.time_ns() // 1_000_000
    calls, alerts = [], []
    for number in range(44):
        queue, agent = ("billing", f"b-{number % 8}") if number % 4 else ("vip", f"v-{number % 3}")
        old_ms = 240 * HOUR_MS if number % 11 == 0 else 0
        at_ms = now_ms - HOUR_MS - old_ms - number * 60_000
        level = ("none", "warning", "none", "critical")[number % 4]
        fields = {"queue": queue, "agent_id": agent, "level": level}
        calls.append(
            call_row(number, started_ms=at_ms, ended_ms=at_ms + 300_000, talk_ms=200_000 + number * 5000, **fields)
        )
        if level != "none":
            outcome = ("harassment", "", "false_alarm")[number % 3]
            state = "resolved" if outcome else "expired"
            more = {"state": state, "outcome": outcome, "raised_ms": at_ms + 60_000, "acknowledged_ms": at_ms + 75_000}
            alerts.append(
                alert_row(number, labels="threat,verbal_abuse" if number % 2 else "exposure", **more, **fields)
            )
    engine = open_engine(server.data_dir / "state.sqlite")
    with engine.begin() as connection:
        connection.execute(CALLS.insert(), calls)
        connection.execute(ALERTS.insert(), alerts)
    engine.dispose()


@pytest.fixture
def reports(server, new_page):
    history(server)
    page = new_page("/#/reports", lang="en-US", accept_downloads=True)
    page.wait_for_selector(".figures", timeout=WAIT_MS)
    return page


def figures(page) -> list[str]:
    return page.locator(".figures b").all_inner_texts()


def expected(report: dict) -> list[str]:
    def share(name: str) -> str:
        return "–" if report[name] is None else f"{100 * report[name]:.1f} %"

    def clock(name: str) -> str:
        seconds = report[name] and report[name] // 1000
        return "–" if seconds is None else f"{seconds // 60}:{seconds % 60:02d}"

    counts = [str(report[name]) for name in ("calls", "calls_with_warning", "alerts")]
    times = [clock("handle_ms"), clock("acknowledge_ms")]
    return [*counts[:2], share("share"), counts[2], *times, share("false_alarm_share")]


def bars(page, title: str) -> dict[str, int]:
    figure = page.locator("figure", has=page.locator("h3", has_text=title))
    return {
        row.locator("th").inner_text(): int(row.locator(".number").inner_text()) for row in figure.locator("tr").all()
    }


def test_the_figures_are_those_of_the_api(server, reports):
    report = httpx.get(f"{server.url}/v1/reports/prevalence?days=30").json()
    assert (report["calls"], report["alerts"]) == (44, 22)
    assert figures(reports) == expected(report)
    assert bars(reports, "By queue") == report["by_queue"]
    assert set(bars(reports, "By what it was").values()) == set(report["by_label"].values())
    assert sum(bars(reports, "By level").values()) == report["alerts"]
    # The canvas has a table beside it for whoever cannot see it, and the two are of the same numbers.
    by_day = reports.locator("figure", has=reports.locator("h3", has_text="By day"))
    by_day.locator("summary").click()
    told = {
        row.locator("th").inner_text(): int(row.locator("td").inner_text())
        for row in by_day.locator("details tbody tr").all()
    }
    assert told == {day: item["alerts"] for day, item in report["days"].items()}
    assert by_day.locator("canvas").count() == 1
    week = httpx.get(f"{server.url}/v1/reports/prevalence?days=7").json()
    assert week["calls"] < report["calls"]
    reports.select_option("#period", "7")
    expect(reports.locator(".figures b").first).to_have_text(str(week["calls"]), timeout=WAIT_MS)
    assert figures(reports) == expected(week)


def test_csv_and_json_hold_what_the_page_shows(server, send, reports):
    def downloaded(name: str) -> str:
        with reports.expect_download() as found:
            reports.locator("a[download]", has_text=name).click()
        return found.value.path().read_text(encoding="utf-8-sig")

    shown = figures(reports)
    rows = {(row["measure"], row["key"]): row["value"] for row in csv.DictReader(io.StringIO(downloaded("CSV")))}
    assert [rows["calls", ""], rows["calls_with_warning", ""], rows["alerts", ""]] == [shown[0], shown[1], shown[3]]
    assert int(rows["by_queue", "billing"]) == bars(reports, "By queue")["billing"]
    assert expected(json.loads(downloaded("JSON"))) == shown
    # One queue alone, when the floor's filter says so.
    send(started(queue="vip"), said("荷物が届きません"))
    reports.locator("#queue option", has_text="vip").wait_for(state="attached", timeout=WAIT_MS)
    reports.select_option("#queue", "vip")
    vip = httpx.get(f"{server.url}/v1/reports/prevalence?days=30&queue=vip").json()
    expect(reports.locator(".figures b").first).to_have_text(str(vip["calls"]), timeout=WAIT_MS)
    assert expected(json.loads(downloaded("JSON"))) == expected(vip)


def test_paper_has_the_figures_and_none_of_the_buttons(reports):
    reports.wait_for_selector("canvas")
    reports.emulate_media(media="print", color_scheme="dark")
    for gone in (".bar", "button", "select", "a[download]"):
        assert not any(item.is_visible() for item in reports.locator(gone).all()), gone
    for kept in (".figures b", "canvas", ".bars", "#agents"):
        assert reports.locator(kept).first.is_visible(), kept
    paper = reports.evaluate("getComputedStyle(document.body).backgroundColor + getComputedStyle(document.body).color")
    assert paper == "rgb(255, 255, 255)rgb(0, 0, 0)"
    # Numbers behind the charts are printed, too: nobody can unfold paper.
    assert reports.locator("details tbody td").first.is_visible()
    assert reports.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


@pytest.fixture
def house(tmp_path, browser):
    """A server on which people sign in, and a page for each."""
    server = Server(tmp_path / "data", "--auth")
    server.start()
    contexts = []

    def signed_in(role: str):
        subprocess.run(
            [sys.executable, "-m", "server.cli", "user", "add", role, "--role", role, "--password-stdin", "--data-dir", str(server.data_dir)],
            input=f"{PASSWORD}\n", text=True, check=True, capture_output=True,
        )  # fmt: skip
        contexts.append(browser.new_context(locale="ja-JP"))
        page = contexts[-1].new_page()
        page.goto(f"{server.url}/#/reports")
        page.fill("input[name=name]", role)
        page.fill("input[name=password]", PASSWORD)
        page.click("button.primary")
        page.wait_for_selector("#load-title", timeout=WAIT_MS)
        return page

    yield server, signed_in
    for context in contexts:
        context.close()
    server.kill()


def test_small_groups_are_hidden_and_names_are_for_leads(house):
    server, signed_in = house
    history(server)
    supervisor = signed_in("supervisor")
    load = supervisor.locator("section.load")
    expect(load.locator("tbody th")).to_have_text(["billing"])
    expect(load).to_contain_text("5人未満の窓口は個人が特定されうるため表示しません")
    expect(load).to_contain_text("氏名は責任者のみ")
    assert not any(f"{side}-{number}" in load.inner_text() for side in "bv" for number in range(9))
    lead = signed_in("lead")
    names = lead.locator("#agents tbody th").all_inner_texts()
    assert names == ["b-1", "b-2", "b-3", "b-5", "b-6", "b-7", "v-0", "v-1", "v-2"]
    expect(lead.locator("#agents .tag.alarm").first).to_contain_text("休憩")


def test_the_incident_report_prints_black_on_white_with_its_evidence(send, server, new_page):
    send(started(agent="a-17"), said(THREAT), {"type": "call.ended", "offset_ms": 9000, "reason": "hangup"})
    page = new_page("/v1/calls/c-1/incident?language=en", color_scheme="dark")
    expect(page.locator("mark").first).to_contain_text("殺すぞ")
    page.emulate_media(media="print", color_scheme="dark")
    style = page.evaluate(
        "[getComputedStyle(document.body), getComputedStyle(document.querySelector('mark'))].map((s) => [s.color, s.backgroundColor, s.fontWeight])"
    )
    assert style[0][1] == "rgb(255, 255, 255)"
    assert style[1][1:] == ["rgba(0, 0, 0, 0)", "700"]
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert page.locator("code").inner_text().startswith("sha256 ")
    assert page.pdf().startswith(b"%PDF")

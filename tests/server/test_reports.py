from __future__ import annotations

import csv
import io
import json
import random
import time
from collections import Counter
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import httpx
import pytest
import sqlalchemy as sa
from click.testing import CliRunner

from server.auth import Role, Tokens
from server.cli import main
from server.errors import RequestError
from server.exposure import BreakRule, exposure, loads
from server.http_reports import csv_text
from server.pages import report_page
from server.reports import Window, prevalence, zone_of
from server.storage.statedb import open_engine
from server.storage.tables import ALERTS, CALLS
from tests.server.running import serving

DAY = 86_400_000
NOW = round(datetime(2026, 11, 24, tzinfo=UTC).timestamp() * 1000)
LABELS = ("verbal_abuse", "threat", "threat,verbal_abuse", "")
LEVELS = ("notice", "warning", "escalate", "critical")


def alert_row(number: int, **fields):
    base = {
        "tenant": "default", "alert_id": f"a{number}", "instance": f"i{number}", "call_id": f"c{number}", "queue": "q1",
        "agent_id": "x", "language": "ja", "kind": "abuse", "level": "warning", "labels": "threat", "state": "open",
        "outcome": "", "version": 1, "raised_ms": NOW - 1, "acknowledged_ms": None, "body": b"\0" * 3000,
    }  # fmt: skip
    return {**base, **fields}


def call_row(number: int, **fields):
    base = {
        "tenant": "default", "instance": f"i{number}", "call_id": f"c{number}", "queue": "q1", "agent_id": "x",
        "language": "ja", "started_ms": NOW - 1, "ended_ms": NOW, "end_reason": "", "next_seq": 0, "level": "none",
        "talk_ms": 60_000, "hold_ms": 0, "monitoring": "ok",
    }  # fmt: skip
    return {**base, **fields}


def fill(folder, alerts, calls):
    engine = open_engine(folder / "state.sqlite")
    with engine.begin() as connection:
        if alerts:
            connection.execute(ALERTS.insert(), alerts)
        if calls:
            connection.execute(CALLS.insert(), calls)
    return engine


def window(days: int = 30, zone: str = "Asia/Tokyo", queues=None) -> Window:
    return Window(since_ms=NOW - days * DAY, until_ms=NOW, zone=ZoneInfo(zone), queues=queues)


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    chance = random.Random(7)
    alerts, calls = [], []
    for number in range(100_000):
        raised = NOW - chance.randrange(40 * DAY)
        state = chance.choice(("open", "acknowledged", "resolved", "resolved", "retracted"))
        took = chance.randrange(600_000) if state in ("acknowledged", "resolved") else None
        alerts.append(
            alert_row(
                number,
                tenant=chance.choice(("default", "default", "other")),
                queue=f"q{chance.randrange(8)}",
                kind=chance.choice(("abuse", "repetition")),
                level=chance.choice(LEVELS),
                labels=chance.choice(LABELS),
                state=state,
                outcome=chance.choice(("harassment", "false_alarm")) if state == "resolved" else "",
                raised_ms=raised,
                acknowledged_ms=None if took is None else raised + took,
            )
        )
        calls.append(
            call_row(
                number,
                queue=f"q{chance.randrange(8)}",
                started_ms=raised,
                level=chance.choice(("none", "none", *LEVELS)),
                talk_ms=chance.randrange(3_600_000),
            )
        )
    folder = tmp_path_factory.mktemp("many")
    return fill(folder, alerts, calls), alerts, calls


def test_a_hundred_thousand_alerts_are_counted_right(many):
    engine, alerts, calls = many
    report = prevalence(engine, "default", window())
    kept = [
        row for row in alerts
        if row["tenant"] == "default" and row["state"] != "retracted" and NOW - 30 * DAY <= row["raised_ms"] < NOW
    ]  # fmt: skip
    talked = [row for row in calls if NOW - 30 * DAY <= row["started_ms"] < NOW]
    zone = ZoneInfo("Asia/Tokyo")
    local = [datetime.fromtimestamp(row["raised_ms"] / 1000, tz=zone) for row in kept]
    grave = [row for row in talked if row["level"] in LEVELS[1:]]
    resolved = [row for row in kept if row["outcome"]]
    waits = sorted(row["acknowledged_ms"] - row["raised_ms"] for row in kept if row["acknowledged_ms"] is not None)
    assert report["alerts"] == len(kept)
    assert report["by_day"] == Counter(moment.date().isoformat() for moment in local)
    assert report["by_hour"] == Counter(f"{moment:%H}" for moment in local)
    assert report["by_label"] == Counter(label for row in kept for label in row["labels"].split(",") if label)
    for name in ("kind", "level", "queue"):
        assert report[f"by_{name}"] == Counter(row[name] for row in kept)
    assert (report["calls"], report["calls_with_warning"]) == (len(talked), len(grave))
    assert report["share"] == round(len(grave) / len(talked), 4)
    false = [row for row in resolved if row["outcome"] == "false_alarm"]
    assert report["false_alarm_share"] == round(len(false) / len(resolved), 4)
    assert report["handle_ms"] == round(sum(row["talk_ms"] for row in talked) / len(talked))
    assert report["acknowledge_ms"] == round(sum(waits) / len(waits))
    assert abs(report["acknowledge_p50_ms"] - waits[len(waits) // 2]) <= 1000
    assert abs(report["acknowledge_p90_ms"] - waits[len(waits) * 9 // 10]) <= 1000
    queue = [row for row in kept if row["queue"] == "q3"]
    assert report["queues"]["q3"]["alerts"] == len(queue)
    assert sum(day["calls"] for day in report["days"].values()) == len(talked)


@pytest.mark.parametrize("queues", [None, frozenset({"q1", "q2"})])
def test_no_row_of_a_table_is_read_to_count(many, queues):
    """What makes it quick whatever the machine does: `python -m benchmarks.reports` says how quick."""
    engine, _, _ = many
    asked = []

    def note(_connection, _cursor, statement, parameters, *_):
        asked.append((statement, parameters))

    sa.event.listen(engine, "before_cursor_execute", note)
    try:
        prevalence(engine, "default", window(queues=queues))
    finally:
        sa.event.remove(engine, "before_cursor_execute", note)
    assert len(asked) == 5
    with engine.connect() as connection:
        for statement, parameters in asked:
            plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters).all()
            read = [row.detail for row in plan if row.detail.startswith(("SCAN", "SEARCH"))]
            assert [detail.split(" (")[0] for detail in read] in (
                ["SEARCH alerts USING COVERING INDEX alerts_reported"],
                ["SEARCH calls USING COVERING INDEX calls_reported"],
            ), read
            assert all("tenant=?" in detail and "_ms>?" in detail for detail in read)


def test_queues_narrow_all_of_it(many):
    engine, _, _ = many
    report = prevalence(engine, "default", window(queues=frozenset({"q1"})))
    assert set(report["queues"]) == set(report["by_queue"]) == {"q1"}
    assert prevalence(engine, "default", window(queues=frozenset()))["calls"] == 0


def test_an_empty_house_has_a_report(tmp_path):
    report = prevalence(fill(tmp_path, [], []), "default", window())
    assert (report["calls"], report["share"], report["handle_p90_ms"], report["by_day"]) == (0, None, None, {})
    assert "該当なし" in report_page(report, zone=ZoneInfo("Asia/Tokyo"), language="ja")


def test_days_and_hours_follow_daylight_saving(tmp_path):
    spring = [datetime(2026, 3, 29, 0, 59, tzinfo=UTC), datetime(2026, 3, 29, 1, 1, tzinfo=UTC)]
    engine = fill(
        tmp_path, [alert_row(n, raised_ms=round(moment.timestamp() * 1000)) for n, moment in enumerate(spring)], []
    )
    span = Window(since_ms=0, until_ms=NOW, zone=ZoneInfo("Europe/Berlin"))
    assert prevalence(engine, "default", span)["by_hour"] == {"01": 1, "03": 1}
    nepal = Window(since_ms=0, until_ms=NOW, zone=zone_of("Asia/Kathmandu"))
    assert prevalence(engine, "default", nepal)["by_hour"] == {"06": 2}
    with pytest.raises(RequestError):
        zone_of("Nowhere/Land")


HOSTILE = '=HYPERLINK("x")<script>alert(1)</script>'


@pytest.mark.parametrize("language", ["ja", "en"])
def test_what_a_platform_names_a_queue_runs_nowhere(tmp_path, language):
    engine = fill(tmp_path, [alert_row(1, queue=HOSTILE)], [call_row(1, queue=HOSTILE)])
    report = prevalence(engine, "default", window())
    page = report_page(report, zone=ZoneInfo("Asia/Tokyo"), language=language)
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "http" not in page
    cells = [cell for row in csv.reader(io.StringIO(csv_text(report))) for cell in row]
    assert f"'{HOSTILE}" in cells
    assert HOSTILE not in cells


@pytest.mark.parametrize("form", ["json", "csv", "html"])
def test_the_command_line_writes_each_form(tmp_path, form):
    now_ms = time.time_ns() // 1_000_000
    fill(tmp_path, [alert_row(1, raised_ms=now_ms - 1000)], [call_row(1, started_ms=now_ms - 1000, level="warning")])
    out = tmp_path / f"out.{form}"
    args = ["report", "--data-dir", str(tmp_path), "--format", form]
    printed = CliRunner().invoke(main, args)
    assert printed.exit_code == 0, printed.output
    assert CliRunner().invoke(main, [*args, "--out", str(out)]).exit_code == 0
    text = out.read_text(encoding="utf-8-sig")
    if form == "json":
        assert json.loads(text)["share"] == 1.0
    else:
        assert ("share,,1.0" if form == "csv" else "100.0%") in text


def test_the_command_line_names_what_is_wrong(tmp_path):
    assert "no such database" in CliRunner().invoke(main, ["report", "--data-dir", str(tmp_path)]).output
    fill(tmp_path, [], [])
    assert "time zone" in CliRunner().invoke(main, ["report", "--data-dir", str(tmp_path), "--timezone", "X/Y"]).output


class TestExposure:
    RULE = BreakRule(calls=3, talk_ms=1_800_000)

    def found(self, tmp_path):
        calls = [
            call_row(number, agent_id=f"op-{number % 6}", level="warning" if number % 6 == 2 else "none")
            for number in range(24)
        ]
        calls.append(call_row(99, agent_id="op-9", queue="small", level="critical", talk_ms=2_000_000))
        return loads(fill(tmp_path, [], calls), "default", since_ms=0, until_ms=NOW, queues=None)

    def test_leads_see_names_in_the_order_of_the_alphabet_and_a_hint(self, tmp_path):
        agents = exposure(self.found(tmp_path), self.RULE, names=True)["agents"]
        assert [agent["agent_id"] for agent in agents] == sorted(agent["agent_id"] for agent in agents)
        assert [agent["agent_id"] for agent in agents if agent["break_suggested"]] == ["op-2", "op-9"]

    def test_others_see_groups_of_five_and_more_only(self, tmp_path):
        shown = exposure(self.found(tmp_path), self.RULE, names=False)
        assert "agents" not in shown
        assert shown["groups"]["small"] == {"hidden": True}
        assert (shown["groups"]["q1"]["agents"], shown["groups"]["q1"]["break_suggested"]) == (6, 1)
        assert "op-" not in json.dumps(shown)


async def test_the_endpoints(tmp_path):
    async with serving(tmp_path / "data", auth=True) as running:
        engine = running.app.runtime.log.state.engine
        now_ms = running.app.runtime.utc_ms()
        with engine.begin() as connection:
            rows = [alert_row(n, queue=f"q{n % 2}", raised_ms=now_ms - 1000) for n in range(4)]
            connection.execute(ALERTS.insert(), rows)
            connection.execute(
                CALLS.insert(), [call_row(n, queue=f"q{n % 2}", started_ms=now_ms - 1) for n in range(4)]
            )
        made = {}
        for role, queues in ((Role.SUPERVISOR, frozenset({"q1"})), (Role.LEAD, None), (Role.OPERATOR, None)):
            made[role] = Tokens(engine).create(name=role, tenant="default", role=role, queues=queues)[1]

        async def get(role, path):
            async with httpx.AsyncClient(base_url=running.http) as client:
                return await client.get(path, headers={"Authorization": f"Bearer {made[role]}"})

        report = (await get(Role.LEAD, "/v1/reports/prevalence?timezone=UTC&since=2026-01-01T00:00:00Z")).json()
        assert (report["alerts"], report["timezone"]) == (4, "UTC")
        assert (await get(Role.LEAD, "/v1/reports/prevalence?queue=q0")).json()["by_queue"] == {"q0": 2}
        assert (await get(Role.SUPERVISOR, "/v1/reports/prevalence?queue=q0")).json()["alerts"] == 0
        assert (await get(Role.SUPERVISOR, "/v1/reports/prevalence")).json()["by_queue"] == {"q1": 2}
        text = await get(Role.LEAD, "/v1/reports/prevalence?format=csv")
        assert text.headers["content-type"].startswith("text/csv")
        for wrong in ("timezone=X/Y", "since=yesterday", "since=2030-01-01T00:00:00Z", "days=0"):
            assert (await get(Role.LEAD, f"/v1/reports/prevalence?{wrong}")).status_code in (400, 422)
        assert (await get(Role.OPERATOR, "/v1/reports/prevalence")).status_code == 403
        assert "agents" in (await get(Role.LEAD, "/v1/reports/exposure")).json()
        assert "agents" not in (await get(Role.SUPERVISOR, "/v1/reports/exposure")).json()

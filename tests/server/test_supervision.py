from __future__ import annotations

import asyncio
import logging
import re

import httpx
import pytest
import sqlalchemy as sa

from detector.events import Action, SupervisorAction
from server.storage.embedded import EmbeddedLog
from server.storage.port import AuditEntry, Batch, Row
from server.storage.tables import AUDIT
from tests.server.running import ended, over, platform, said, serving, start, started, supervisor
from tests.server.test_alerts import one_alert

QUICK = {
    "unattended_s": 0.2,
    "routes": [
        {
            "queue": "billing",
            "tiers": [{"people": ["hanako"], "after_s": 0.1}, {"people": ["lead"], "senders": []}],
        }
    ],
}


def audit(running) -> list[tuple[str, str, str]]:
    with running.app.runtime.log.state.engine.connect() as connection:
        rows = connection.execute(sa.select(AUDIT.c.actor, AUDIT.c.action, AUDIT.c.detail).order_by(AUDIT.c.id))
        return [tuple(row) for row in rows if row.action.startswith("alert.")]


def without_id(entry: tuple[str, str, str]) -> tuple[str, str, str]:
    return (*entry[:2], re.sub(r" id=[0-9a-f]{16}$", "", entry[2]))


async def test_what_nobody_takes_goes_from_tier_to_tier_and_says_so(tmp_path):
    async with serving(tmp_path / "data", routing=QUICK) as running, supervisor(running) as watcher:
        await one_alert(running)
        told = [(await watcher.until("alert.unattended"))["alert"] for _ in range(2)]
    assert [(alert["tier"], alert["told"]) for alert in told] == [(1, ["lead"]), (2, [])]
    assert told[0]["state"] == "open"


async def test_who_acknowledges_in_time_stops_it(tmp_path):
    table = {"unattended_s": 1.5}
    async with serving(tmp_path / "data", routing=table) as running, supervisor(running) as watcher:
        alert = await one_alert(running)
        assert (await watcher.command(type="acknowledge", alert_id=alert["alert_id"]))["type"] == "ok"
        other = await one_alert(running, "c-2")
        seen = await watcher.until("alert.unattended")
    assert seen["alert"]["alert_id"] == other["alert_id"]


async def test_an_alert_below_the_least_level_waits_for_nobody(tmp_path):
    table = {"unattended_s": 0.1, "least_level": "critical"}
    async with serving(tmp_path / "data", routing=table) as running:
        await one_alert(running)
        assert running.app.runtime.supervision._due == []


async def test_after_a_restart_an_alert_of_an_ended_call_is_still_passed_on(tmp_path):
    running = await start(tmp_path / "data", routing={"unattended_s": 2})
    await one_alert(running)
    async with platform(running) as peer:
        await peer.send(ended(2))
        await peer.acked(2)
    await over(running)
    await running.stop()
    async with (
        serving(tmp_path / "data", routing={"unattended_s": 2}) as again,
        supervisor(again, "?after=1") as watcher,
    ):
        assert (await watcher.until("alert.unattended"))["alert"]["tier"] == 1
    async with serving(tmp_path / "data", routing={"unattended_s": 2}) as third:
        assert third.app.runtime.supervision._due == []


async def test_a_snooze_of_an_ended_call_ends_after_a_restart(tmp_path):
    running = await start(tmp_path / "data")
    alert = await one_alert(running)
    async with platform(running) as peer:
        await peer.send(ended(2))
        await peer.acked(2)
    await over(running)
    async with supervisor(running) as watcher:
        assert (await watcher.command(type="snooze", alert_id=alert["alert_id"], for_s=1))["type"] == "ok"
        cursor = running.app.runtime.log.cursor()
    await running.stop()
    async with serving(tmp_path / "data") as again, supervisor(again, f"?after={cursor}") as watcher:
        woken = (await watcher.until("alert.updated"))["alert"]
    assert (woken["state"], woken["tier"]) == ("open", 0)


async def test_every_action_is_on_the_audit_trail_and_a_refusal_says_so(tmp_path):
    async with serving(tmp_path / "data") as running, supervisor(running) as watcher:
        alert_id = (await one_alert(running))["alert_id"]
        await watcher.command(type="acknowledge", alert_id=alert_id, version=1)
        await watcher.command(type="acknowledge", alert_id=alert_id, version=1)
        await watcher.command(type="assign", alert_id=alert_id, to="jiro")
        async with httpx.AsyncClient(base_url=running.http) as client:
            await client.post(f"/v1/alerts/{alert_id}/resolve", json={"outcome": "complaint", "note": "secret words"})
        done = audit(running)
        assert [without_id(entry) for entry in done] == [
            ("local", "alert.acknowledge", "version=1"),
            ("local", "alert.acknowledge", "version=1"),
            ("local", "alert.acknowledge.refused", "version=1 refused=conflict"),
            ("local", "alert.assign", "to=jiro"),
            ("local", "alert.resolve", "outcome=complaint"),
        ]
        ids = [detail.rpartition("id=")[2] for _, _, detail in done]
        assert (len(set(ids)), ids[1]) == (4, ids[2]), "a refusal is of the action before it; equal actions stay apart"


async def test_unrouted_queues_are_a_warning_at_start_and_shown(tmp_path, caplog):
    running = await start(tmp_path / "data")
    await one_alert(running, queue="billing")
    await one_alert(running, "c-2", queue="tech")
    await running.stop()
    with caplog.at_level(logging.WARNING, "mamori.routing"):
        async with (
            serving(tmp_path / "data", routing=QUICK) as again,
            httpx.AsyncClient(base_url=again.http) as client,
        ):
            shown = (await client.get("/v1/routing")).json()
    assert [record.message for record in caplog.records if record.name == "mamori.routing"] == [
        "queues without a route in [routing]: tech"
    ]
    assert (shown["unrouted"], shown["routes"][0]["queue"]) == (["tech"], "billing")


class TestAttention:
    async def test_beyond_the_budget_an_alert_comes_muted_and_is_counted(self, tmp_path):
        async with (
            serving(tmp_path / "data", loud_alerts=2) as running,
            supervisor(running) as watcher,
            supervisor(running) as window,
            httpx.AsyncClient(base_url=running.http) as client,
        ):
            for number in range(4):
                await one_alert(running, f"c-{number}")
            seen = [(await watcher.until("alert.raised")) for _ in range(4)]
            again = [(await window.until("alert.raised"))["attention"] for _ in range(4)]
            state = (await client.get("/v1/attention")).json()
        assert [message["attention"]["loud"] for message in seen] == [True, True, False, False]
        assert [message["attention"]["muted"] for message in seen] == [0, 0, 1, 2]
        assert again == [message["attention"] for message in seen]
        assert (state["left"], state["muted"]) == (0, [message["alert"]["alert_id"] for message in seen[2:]])

    async def test_escalations_and_help_are_never_muted(self, tmp_path):
        async with serving(tmp_path / "data", loud_alerts=1) as running, supervisor(running) as watcher:
            await one_alert(running, "c-0")
            await one_alert(running, "c-1")
            await one_alert(running, "c-2", text="殺すぞ、死ね")
            seen = [(await watcher.until("alert.raised"))["attention"]["loud"] for _ in range(3)]
            running.app.runtime.press("default", "c-0", note="", by="x")
            help_call = await watcher.until("alert.raised")
        assert seen == [True, False, True]
        assert (help_call["alert"]["kind"], help_call["attention"]["loud"]) == ("distress", True)

    async def test_an_alert_is_loud_for_the_tier_whose_turn_it_is(self, tmp_path):
        async with serving(tmp_path / "data", routing=QUICK) as running, supervisor(running) as watcher:
            await one_alert(running)
            raised = (await watcher.until("alert.raised"))["attention"]
            first = (await watcher.until("alert.unattended"))["attention"]
            nobody = (await watcher.until("alert.unattended"))["attention"]
        assert [raised["reason"], first["reason"], nobody["reason"]] == ["other_tier", "other_tier", "new"]


async def test_monitoring_is_told_to_who_watches_one_queue_only(tmp_path):
    async with serving(tmp_path / "data") as running, supervisor(running, "?queues=tech") as watcher:
        await watcher.until("snapshot")
        running.app.runtime.floor.degrade("default", "storage")
        assert (await watcher.until("monitoring.degraded"))["reason"] == "storage"


@pytest.mark.parametrize("header", ["", "abc", "9" * 30])
async def test_a_last_event_id_that_is_none_begins_with_a_snapshot(tmp_path, header):
    async with (
        serving(tmp_path / "data") as running,
        httpx.AsyncClient(base_url=running.http) as client,
        client.stream("GET", "/v1/alerts/stream", headers={"Last-Event-ID": header}) as response,
    ):
        lines = response.aiter_lines()
        found = [await anext(lines) for _ in range(4)]
    assert found[3] == "event: snapshot"


async def test_a_silent_stream_is_kept_alive_and_ends_with_its_reader(tmp_path, monkeypatch):
    monkeypatch.setattr("server.sse.event_lines.__kwdefaults__", {"keep_alive_s": 0.05})
    async with serving(tmp_path / "data") as running:
        async with (
            httpx.AsyncClient(base_url=running.http) as client,
            client.stream("GET", "/v1/alerts/stream") as response,
        ):
            async for line in response.aiter_lines():
                if line == ": alive":
                    break
            assert len(running.app.runtime.hub) == 1
        while len(running.app.runtime.hub):
            await asyncio.sleep(0.01)


async def test_a_call_goes_on_while_its_alert_is_passed_on(tmp_path):
    async with (
        serving(tmp_path / "data", routing=QUICK) as running,
        supervisor(running) as watcher,
        platform(running) as peer,
    ):
        await peer.send(started(), said(1, "バカ"))
        await watcher.until("alert.unattended")
        await peer.send(said(2, "殺すぞ、死ね"))
        risen = (await watcher.until("alert.updated"))["alert"]
    assert risen["level"] == "critical"
    assert risen["version"] > 2


async def test_an_action_whose_entry_a_crash_swallowed_is_on_the_trail_after_the_restart_once(tmp_path):
    """The log takes the row first; the process dies before the records that follow from it are written.

    That somebody has done the same before, and that much stands on the trail since, does not hide that it is missing.
    """
    running = await start(tmp_path / "data")
    alert = await one_alert(running)
    async with supervisor(running) as watcher:
        await watcher.command(type="snooze", alert_id=alert["alert_id"], for_s=300)
    (before,) = audit(running)
    record = running.app.runtime.log.find_call("default", "c-1")
    await running.stop()
    log = EmbeddedLog(tmp_path / "data")
    repeated = SupervisorAction(
        action=Action.SNOOZE, alert_id=alert["alert_id"], by="local", for_s=300, action_id="00000000000000aa"
    )
    old = SupervisorAction(action=Action.ACKNOWLEDGE, alert_id=alert["alert_id"], by="hanako", version=1)
    names = {"tenant": "default", "instance": record.instance, "kind": "action", "utc_ms": record.started_ms + 9}
    log.append(Batch(rows=[Row(**names, value=repeated), Row(**names, value=old)])).result()
    other = AuditEntry(tenant="default", utc_ms=record.started_ms, actor="a", action="transcript.read", target="c")
    log.append(Batch(audit=[other] * 20_000)).result()
    log.close()
    for _ in range(2):
        async with serving(tmp_path / "data") as again:
            async with asyncio.timeout(10):
                while len(audit(again)) < 3:
                    await asyncio.sleep(0.01)
            assert audit(again) == [
                before,
                ("local", "alert.snooze", "for_s=300 id=00000000000000aa"),
                ("hanako", "alert.acknowledge", "version=1"),
            ]
            stored = again.app.runtime.log.alert("default", alert["alert_id"])
            assert (stored[1].state.value, stored[1].acknowledged_by) == ("acknowledged", "hanako")

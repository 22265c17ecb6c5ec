"""Observe mode alerts nobody and forgets nothing; shadow mode says where a candidate would have decided otherwise."""

from __future__ import annotations

import asyncio

import httpx

from detector.rules import default_rules
from tests.server.running import Running, ended, over, platform, said, serving, start, started, supervisor


async def get(running: Running, path: str) -> httpx.Response:
    async with httpx.AsyncClient(base_url=running.http) as client:
        return await client.get(path)


class TestObserve:
    async def test_nobody_is_told_and_everything_is_recorded(self, tmp_path):
        running = await start(tmp_path / "data", observe=True)
        async with platform(running) as peer, supervisor(running, "?calls=1") as watcher:
            assert (await watcher.until("snapshot"))["alerts"] == []
            await peer.send(started(), said(1, "バカ"))
            await peer.acked(1)
            status = await watcher.until("call.status")
            while not (observed := (await get(running, "/v1/alerts?state=observed")).json()["alerts"]):
                await asyncio.sleep(0.01)
            assert (await get(running, "/v1/alerts")).json()["alerts"] == []
            await peer.send(ended(2))
            await peer.acked(2)
        assert observed[0]["level"] == "warning"
        assert status["level"] == "none"
        await over(running)
        await running.stop()
        async with serving(tmp_path / "data") as later, supervisor(later, "?after=0") as watcher:
            async with platform(later) as peer:
                await peer.send(started(call_id="c-2"), said(1, "バカ", call_id="c-2"))
                await peer.acked(1, "c-2")
            first = await watcher.until("alert.raised")
        assert first["alert"]["call_id"] == "c-2"

    async def test_a_person_who_calls_for_help_is_answered(self, tmp_path):
        async with (
            serving(tmp_path / "data", observe=True) as running,
            supervisor(running) as watcher,
            platform(running) as peer,
        ):
            await peer.send(started(), {"type": "agent.help", "call_id": "c-1", "seq": 1, "offset_ms": 900})
            await peer.acked(1)
            raised = await watcher.until("alert.raised")
        assert (raised["alert"]["kind"], raised["alert"]["level"]) == ("distress", "escalate")


class TestShadow:
    async def test_differences_are_counted_and_named(self, tmp_path):
        rules = tmp_path / "mine.toml"
        rules.write_text('version = "mine"\n[abuse.levels]\nverbal_abuse = "escalate"\n', encoding="utf-8")
        async with serving(tmp_path / "data", shadow_rules=rules) as running, supervisor(running) as watcher:
            async with platform(running) as peer:
                await peer.send(started(), said(1, "バカ"), ended(2))
                await peer.send(started(call_id="c-2"), said(1, "はい", call_id="c-2"), ended(2, "c-2"))
                await peer.acked(2, "c-2")
                raised = await watcher.until("alert.raised")
            await over(running)
            report = (await get(running, "/v1/rules/shadow")).json()
        assert (raised["alert"]["level"], raised["alert"]["rules_version"]) == ("warning", default_rules().version)
        assert report == {
            "candidate": "mine",
            "calls": 2,
            "differing": 1,
            "changes": {"changed.abuse": 1},
            "recent": [
                {"call_id": "c-1", "differences": [{"kind": "abuse", "live": "warning", "candidate": "escalate"}]}
            ],
        }

    async def test_without_a_candidate_there_is_nothing_to_report(self, tmp_path):
        async with serving(tmp_path / "data") as running:
            assert (await get(running, "/v1/rules/shadow")).status_code == 404

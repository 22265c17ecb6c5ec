"""Faults of the machine below, on a real server."""

from __future__ import annotations

import asyncio
import shutil
import signal
import time

import httpx

from benchmarks.crash import Process
from server.client import IngestClient
from server.live.clockwork import SWEEP_S
from server.storage.daylog import DayLog
from server.storage.statedb import StateDatabase, open_engine
from tests.server.running import ended, over, platform, said, serving, started, supervisor


async def test_with_little_room_new_calls_are_refused_and_accepted_ones_go_on(tmp_path, monkeypatch):
    async with (
        serving(tmp_path) as running,
        platform(running) as peer,
        httpx.AsyncClient(base_url=running.http) as http,
    ):
        await peer.send(started())
        await peer.acked(0)
        little = shutil.disk_usage(tmp_path)._replace(free=1 << 20)
        monkeypatch.setattr("server.storage.embedded.shutil.disk_usage", lambda _path: little)
        while not running.app.runtime.watch.disk_low:
            await asyncio.sleep(0.05)
        await peer.send(started(call_id="c-2"))
        refusal = await peer.nacked()
        assert (refusal["code"], refusal["call_id"], refusal["retry"]) == ("overloaded", "c-2", True)
        assert refusal["retry_after_ms"] > 0
        await peer.send(said(1, "もしもし"))
        await peer.acked(1)
        answer = await http.get("/readyz")
        assert (answer.status_code, answer.json()["checks"]["disk"]) == (503, "low")
        assert "mamori_disk_free_bytes 1.048576e+06" in (await http.get("/metrics")).text
        monkeypatch.undo()
        while running.app.runtime.watch.disk_low:
            await asyncio.sleep(0.05)
        await peer.send(started(call_id="c-2"))
        await peer.acked(0, "c-2")
        assert (await http.get("/readyz")).status_code == 200


async def test_a_disk_that_cannot_be_asked_does_not_stop_the_watch_over_feeds(tmp_path, monkeypatch):
    def broken(_path):
        raise OSError(5, "Input/output error")

    async with serving(tmp_path, lost_after_s=0.2) as running, supervisor(running, "?calls=1") as floor:
        async with platform(running) as peer:
            await peer.send(started())
            await peer.acked(0)
            monkeypatch.setattr("server.storage.embedded.shutil.disk_usage", broken)
            await asyncio.sleep(1.5 * SWEEP_S)
        while (await floor.read()).get("monitoring", {}).get("state") != "lost":
            pass


async def test_sigterm_drains_within_ten_seconds_and_the_call_goes_on_after(tmp_path):
    process = Process(tmp_path)
    await process.start()
    async with IngestClient(f"ws://127.0.0.1:{process.port}") as client:
        await client.send({key: value for key, value in started().items() if key != "seq"})
        for number in range(1, 20):
            await client.send({key: value for key, value in said(number, "もしもし").items() if key != "seq"})
        began_s = time.monotonic()
        await process.kill(signal.SIGTERM)
        assert time.monotonic() - began_s < 10
        await process.start()
        await client.send({key: value for key, value in ended(20).items() if key != "seq"})
        await client.flush(20)
    await process.kill(signal.SIGTERM)
    record = StateDatabase(open_engine(tmp_path / "state.sqlite")).find_call("default", "c-1")
    rows = [item.row.seq for item in DayLog(tmp_path / "log").read_call("default", record.instance)]
    assert [seq for seq in rows if seq is not None] == list(range(21))


async def test_an_alert_that_could_not_be_stored_is_told_before_what_follows_from_it(tmp_path, monkeypatch):
    write, failures = StateDatabase.write, [OSError(), OSError(), OSError()]

    def failing(self, records):
        if records.alerts and failures:
            raise failures.pop()
        return write(self, records)

    monkeypatch.setattr(StateDatabase, "write", failing)
    async with serving(tmp_path) as running, platform(running) as peer, supervisor(running) as watcher:
        await peer.send(started(), said(1, "バカ"))
        while failures:
            await asyncio.sleep(0.01)
        # The next attempt comes after most of a second; what is said meanwhile could be stored at once.
        await peer.send(said(2, "死ね"), ended(3))
        assert (await watcher.until("monitoring.degraded"))["reason"] == "storage"
        told = [await watcher.until(kind) for kind in ("alert.raised", "alert.updated")]
        assert [(item["alert"]["kind"], item["alert"]["version"]) for item in told] == [("abuse", 1), ("abuse", 2)]
        assert told[0]["cursor"] < told[1]["cursor"]
        # The call's end waits for its alerts: a restart makes what is missing of open calls alone.
        await over(running)
    record = StateDatabase(open_engine(tmp_path / "state.sqlite")).find_call("default", "c-1")
    assert record.end_reason == "ended"

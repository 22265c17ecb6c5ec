"""The database is locked, the disk is full: on a real process, a real lock, and a real small disk where one may be mounted."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sqlite3
import time
from pathlib import Path

import pytest

from benchmarks.small_disk import small_disk
from tests.faults.process import CALM, THREAT, eventually, floor


@contextlib.contextmanager
def locked(*files: Path):
    held = [sqlite3.connect(file, isolation_level=None) for file in files]
    try:
        for connection in held:
            connection.execute("BEGIN IMMEDIATE")
        yield
    finally:
        for connection in held:
            connection.rollback()
            connection.close()


@pytest.mark.parametrize("which", ["state", "log"])
async def test_a_locked_database_is_seen_and_nothing_acknowledged_is_lost(tmp_path, which):
    async with floor(tmp_path) as here:
        await here.start("c-1")
        await here.client.flush()
        file = (
            here.data_dir / "state.sqlite" if which == "state" else next((here.data_dir / "log").glob("log-*.sqlite"))
        )
        with locked(file):
            await here.start("c-2")
            for _ in range(3):
                await here.say("c-1", CALM)
                await here.say("c-2", THREAT)
            seen_s = await here.check("log", "stalled", "OperationalError")
            assert seen_s < 4
            degraded = await here.hears(lambda item: item["type"] == "monitoring.degraded")
            assert degraded["reason"].startswith("log_")
            assert (await here.monitoring("c-1", "degraded"))["reason"].startswith("log_")
            assert await here.metric('mamori_check{check="log"}') == 0
            assert await here.metric("mamori_log_wait_seconds") > 0
            # Reading goes on.
            assert (await here.http.get("/v1/calls")).status_code == 200
            await here.check("log", "OperationalError")
        began_s = time.monotonic()
        await here.check("log", "ok")
        await here.client.flush(15)
        assert time.monotonic() - began_s < 10
        await here.hears(lambda item: item["type"] == "monitoring.restored")
        await here.hears_alert("c-2")
        await here.process.kill(signal.SIGKILL)
        assert here.stored("c-1") == list(range(4))
        assert here.stored("c-2") == list(range(4))
        await here.process.start()
        assert (await here.http.get("/v1/calls/c-2")).json()["ended_ms"] is None


async def test_locked_and_killed_what_was_acknowledged_is_there(tmp_path):
    async with floor(tmp_path) as here:
        acked: dict[str, int] = {}
        await here.start("c-1")
        await here.client.flush()
        with locked(here.data_dir / "state.sqlite"):
            await here.start("c-2")
            for _ in range(5):
                await here.say("c-2", CALM)
            await asyncio.sleep(6)
            acked["c-2"] = 6 - here.client.unacked
            await here.process.kill(signal.SIGKILL)
        assert len(here.stored("c-2")) >= acked["c-2"]
        await here.process.start()
        await here.client.flush(20)
        await here.process.kill(signal.SIGKILL)
        assert here.stored("c-2") == list(range(6))
        await here.process.start()


@pytest.mark.needs("mount")
async def test_a_full_disk_refuses_is_seen_and_lets_everything_in_once_there_is_room(tmp_path):
    with small_disk(tmp_path / "disk", 24) as ballast:
        async with floor(tmp_path, data_dir=tmp_path / "disk/data", MAMORI_MIN_FREE_MB="4") as here:
            await here.start("c-1", "c-2")
            await here.say("c-1", CALM)
            await here.client.flush()
            ballast.fill(leave=2 << 20)
            await here.check("disk", "low")
            await here.start("late")
            await eventually(lambda: [nack for nack in here.nacks if nack["code"] == "overloaded"])
            await here.say("c-1", THREAT)
            await here.hears_alert("c-1")
            assert here.client.unacked <= 1  # The new call alone waits.
            ballast.fill(leave=0)
            for _ in range(5):
                await here.say("c-1", CALM)
                await here.say("c-2", CALM)
            await here.check("log", "OperationalError")
            assert (await here.hears(lambda item: item["type"] == "monitoring.degraded"))["reason"].startswith("log_")
            assert (await here.ready())[0] == 503
            ballast.empty()
            began_s = time.monotonic()
            await here.check("log", "ok")
            await here.check("disk", "ok")
            await here.client.flush(20)
            assert time.monotonic() - began_s < 15
            await here.hears(lambda item: item["type"] == "monitoring.restored")
            await here.say("late", THREAT)
            await here.hears_alert("late")
            await here.client.flush(10)
            await here.process.kill(signal.SIGKILL)
            assert here.stored("c-1") == list(range(8))
            assert here.stored("c-2") == list(range(6))
            assert here.stored("late") == list(range(2))
            await here.process.start()

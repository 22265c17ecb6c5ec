"""Threads and loops that end, a fold that raises, a clock that jumps: on a real process."""

from __future__ import annotations

import asyncio
import signal
import time

from tests.faults.process import CALM, THREAT, eventually, floor


async def test_a_dead_writer_is_replaced_and_nothing_acknowledged_is_lost(tmp_path):
    async with floor(tmp_path) as here:
        await here.start("c-1", "c-2")
        await here.client.flush()
        here.on("log_dies")
        for _ in range(10):
            await here.say("c-1", CALM)
            await here.say("c-2", CALM)
        await here.struck("log_dies")
        began_s = time.monotonic()
        await here.client.flush(10)
        assert time.monotonic() - began_s < 8
        await here.check("log", "ok")
        assert await here.metric('mamori_faults_total{part="log_writer"}') == 1
        await here.say("c-1", THREAT)
        await here.hears_alert("c-1")
        await here.client.flush(10)
        await here.process.kill(signal.SIGKILL)
        assert here.stored("c-1") == list(range(12))
        assert here.stored("c-2") == list(range(11))
        await here.process.start()


async def test_clockwork_that_fails_is_seen_and_goes_on(tmp_path):
    async with floor(tmp_path, "--config", str(write(tmp_path, "idle_end_s = 1\n"))) as here:
        for name in ("tick", "sweep"):
            await here.start(name)
            here.on(f"{name}_fails")
            await here.check("clockwork", name)
            assert (await here.ready())[0] == 503
            assert await here.metric(f'mamori_faults_total{{part="{name}"}}') >= 1
            await here.say(name, THREAT)
            await here.hears_alert(name)
            here.off(f"{name}_fails")
            assert await here.check("clockwork", "ok") < 6
            # Calls end by themselves again, which is the sweep's work.
            await eventually(lambda name=name: here.statuses[name].get("ended"))


async def test_a_fold_that_raises_marks_its_call_and_spares_the_others(tmp_path):
    async with floor(tmp_path) as here:
        await here.start("bad", "good")
        await here.client.flush()
        here.on("fold_fails", "bad")
        for _ in range(3):
            await here.say("bad", THREAT)
            await here.say("good", CALM)
        await here.say("good", THREAT)
        await here.hears_alert("good")
        assert (await here.monitoring("bad", "degraded"))["reason"] == "internal_error"
        assert (await here.monitoring("good", "ok"))["reason"] == ""
        status, checks = await here.ready()
        assert (status, checks["calls"]) == (200, "faulty")
        await here.client.flush(10)
        # Started again with the fault still there, the server comes up, and the other call goes on.
        await here.process.kill(signal.SIGKILL)
        await here.process.start()
        await here.say("good", CALM)
        await here.client.flush(20)
        assert (await here.monitoring("bad", "degraded"))["reason"] == "internal_error"
        # Mended, the log is folded to the alert that was missing.
        await here.process.kill(signal.SIGKILL)
        here.off("fold_fails")
        await here.process.start()
        assert (await here.hears_alert("bad"))["alert"]["late"]
        await eventually(lambda: here.statuses["bad"]["monitoring"]["reason"] != "internal_error")


async def test_utc_that_jumps_moves_no_call_and_loses_nothing(tmp_path):
    async with floor(tmp_path) as here:
        await here.start("c-1")
        for seconds in (86_400 * 3, -86_400 * 3, -3_600, 40 * 365 * 86_400, 0):
            here.on("clock", seconds)
            await here.say("c-1", CALM)
            await here.client.flush(10)
        await here.say("c-1", THREAT)
        await here.hears_alert("c-1")
        status, checks = await here.ready()
        assert (status, checks["clockwork"]) == (200, "ok")
        await asyncio.sleep(1.5)  # Two sweeps: what follows UTC (reminders, sessions, retention) has looked at it.
        assert (await here.monitoring("c-1", "ok"))["reason"] == ""
        assert here.statuses["c-1"]["elapsed_ms"] < 60_000
        await here.process.kill(signal.SIGKILL)
        await here.process.start()
        await here.say("c-1", CALM)
        await here.client.flush(20)
        raised = [item["alert"]["kind"] for item in here.heard if item["type"] == "alert.raised"]
        assert raised.count("abuse") == 1
        await here.process.kill(signal.SIGTERM)
        assert here.stored("c-1") == list(range(8))
        await here.process.start()


def write(folder, text):
    path = folder / "mamori.toml"
    path.write_text(text, encoding="utf-8")
    return path

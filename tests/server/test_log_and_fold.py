"""What was folded is what the log says, whatever of it the disk did not take at first: a restart knows what the live call knew."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from concurrent.futures import Future

import pytest

from detector.events import Action, CallStarted, SupervisorAction
from detector.scoring import ScoreResult
from server import supervision
from server.errors import StorageError
from server.live import intake
from server.storage import codec
from server.storage.embedded import EmbeddedLog
from server.storage.port import Batch, CallRecord, Committed, Row
from tests.server.feeding import House, Wire
from tests.server.running import said, started

THREAT = "死ね"


@pytest.fixture
async def house(tmp_path) -> AsyncIterator[House]:
    found = House(tmp_path, idle_end_s=60)
    await found.start()
    yield found
    await found.stop()


async def connected(house: House) -> Wire:
    wire = Wire(house.app)
    await wire.ask("welcome")
    return wire


def rows(house: House) -> list[Row]:
    record = house.disk.find_call("default", "c-1")
    return [stored.row for stored in house.disk.read_call("default", record.instance)]


def raised(house: House) -> list[str]:
    return [entry.event.type.value for entry in house.disk.stream("default", after=0)]


async def test_a_score_that_the_log_does_not_take_is_not_folded_until_it_does(house, monkeypatch):
    wire = await connected(house)
    wire.say(started())
    await house.settle(wire)
    real, refused = house.disk.append, []

    def append(batch: Batch):
        if any(isinstance(row.value, ScoreResult) for row in batch.rows) and not refused:
            refused.append(batch)
            future: Future[Committed] = Future()
            future.set_exception(StorageError("the disk obeys the test"))
            return future
        return real(batch)

    monkeypatch.setattr(house.disk, "append", append)
    wire.say(said(1, THREAT))
    await house.settle(wire)
    call = house.app.runtime.calls["default", "c-1"]
    assert refused
    assert not call.session.idle
    assert raised(house) == []
    async with asyncio.timeout(10):
        while not raised(house):
            await asyncio.sleep(0.02)
    assert raised(house) == ["alert.raised"]
    assert [row.kind for row in rows(house)] == ["context.set", "call.started", "transcript.segment", "score"]
    await wire.leave()


async def test_a_call_that_was_reopened_is_restored_after_a_kill(house):
    wire = await connected(house)
    wire.say(started(), said(1, "もしもし"))
    await house.settle(wire)
    await house.later(61)
    await house.later(1)
    await house.over()
    wire.say(said(2, "まだいます"))
    await house.settle(wire)
    await house.kill()
    await house.start()
    assert ("default", "c-1") in house.app.runtime.calls
    wire = await connected(house)
    wire.say({"type": "call.ended", "call_id": "c-1", "seq": 3, "offset_ms": 60_000})
    await house.settle(wire)
    await house.over()
    assert house.disk.find_call("default", "c-1").end_reason == "ended"
    await wire.leave()


async def test_what_waited_is_taken_when_the_gap_before_it_is_given_up_for_an_event_far_ahead(house):
    wire = await connected(house)
    wire.say(started(), said(3, "三"))
    await house.settle(wire)
    house.clock.now_s += intake.GAP_S + 1  # And the clockwork has not come by yet.
    wire.say(said(100, "百"))
    await house.settle(wire)
    found = [row for row in rows(house) if row.kind in ("transcript.segment", "gap")]
    said_of = [row.seq if row.seq is not None else (row.value.first_seq, row.value.last_seq) for row in found]
    assert said_of == [(1, 2), 3, (4, 99), 100]
    assert not house.app.runtime.calls["default", "c-1"].waiting
    await wire.leave()


async def test_an_action_whose_answer_took_too_long_takes_effect_as_soon_as_it_is_stored(house, monkeypatch):
    monkeypatch.setattr(supervision, "ANSWER_S", 0.1)
    wire = await connected(house)
    wire.say(started(), said(1, THREAT))
    await house.settle(wire)
    async with asyncio.timeout(10):
        while not raised(house):
            await asyncio.sleep(0.02)
    alert = house.disk.alerts("default")[0]
    house.disk.hold()
    action = SupervisorAction(action=Action.ACKNOWLEDGE, alert_id=alert.alert_id, by="s")
    with pytest.raises(StorageError, match="takes effect once"):
        await house.app.runtime.act("default", action)
    house.disk.release()
    await house.settle(wire)
    await house.kill()
    await house.start()
    assert house.disk.alerts("default")[0].acknowledged_by == "s"
    assert raised(house) == ["alert.raised", "alert.acknowledged"]


def test_what_is_in_the_log_is_not_refused_while_the_database_takes_no_write(tmp_path):
    log = EmbeddedLog(tmp_path)
    row = Row(tenant="t", instance="c@1", kind=codec.kind_of(CallStarted()), utc_ms=1, seq=0, value=CallStarted())
    record = CallRecord(tenant="t", instance="c@1", call_id="c", queue="", agent_id="", language="ja", started_ms=1)
    held = sqlite3.connect(tmp_path / "state.sqlite", isolation_level=None)
    held.execute("BEGIN IMMEDIATE")
    future = log.append(Batch(rows=[row], calls=[record]))
    try:
        with pytest.raises(TimeoutError):
            future.result(6.5)  # The database waits five seconds for its lock.
        assert log.failure == "OperationalError"
    finally:
        held.rollback()
        held.close()
    assert future.result(10).positions
    assert log.failure == ""
    assert log.find_call("t", "c") == record
    assert len(list(log.read_call("t", "c@1"))) == 1
    log.close()

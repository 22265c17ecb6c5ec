import asyncio
import logging

import pytest
from sqlalchemy.exc import OperationalError

from server.errors import StorageError
from server.keeper import WELL_S, Keeper, insist


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


async def test_work_that_fails_goes_on_and_is_seen_for_a_while(monkeypatch, caplog):
    monkeypatch.setattr("server.keeper.PAUSE_S", 0.001)
    clock, told = Clock(), []
    keeper = Keeper(clock, lambda name, value: told.append((name, value)))
    done = 0

    async def work() -> None:
        nonlocal done
        done += 1
        if done == 2:
            raise KeyError("殺すぞ")

    keeper.every("sweep", 0.001, work)
    while done < 4:
        await asyncio.sleep(0.001)
    assert keeper.failing == {"sweep": "KeyError"}
    assert told == [("fault_sweep", 1)]
    clock.now += WELL_S + 0.1
    assert keeper.failing == {}
    await keeper.stop()
    # Which error, and where; never its text.
    record = next(item for item in caplog.records if item.levelno == logging.ERROR)
    assert (record.part, record.error, record.at.split(":")[0]) == ("sweep", "KeyError", "test_keeper.py")
    assert "殺すぞ" not in caplog.text


async def test_work_that_hangs_is_broken_off(monkeypatch):
    monkeypatch.setattr("server.keeper.PAUSE_S", 0.001)
    monkeypatch.setattr("server.keeper.LIMIT_S", 0.01)
    keeper = Keeper(Clock())
    begun = 0

    async def work() -> None:
        nonlocal begun
        begun += 1
        await asyncio.Event().wait()

    keeper.every("tick", 0.001, work)
    while begun < 3:
        await asyncio.sleep(0.001)
    assert keeper.failing == {"tick": "TimeoutError"}
    await keeper.stop()


async def test_what_should_never_end_is_started_again_however_it_ended(monkeypatch):
    monkeypatch.setattr("server.keeper.PAUSE_S", 0.001)
    keeper = Keeper(Clock())
    begun = 0

    async def forever() -> None:
        nonlocal begun
        begun += 1
        if begun == 1:
            return
        if begun == 2:
            raise OSError
        if begun == 3:
            asyncio.current_task().cancel()
        await asyncio.Event().wait()

    keeper.keep("planner", forever)
    while begun < 4:
        await asyncio.sleep(0.001)
    await keeper.stop()
    after = begun
    await asyncio.sleep(0.01)
    assert begun == after == 4


async def test_a_step_of_the_start_is_done_again_until_what_it_needs_answers(monkeypatch, caplog):
    monkeypatch.setattr("server.keeper.START_PAUSES_S", (0.0, 0.0))
    failures = [StorageError("nats: n1:4222 does not answer"), OperationalError("SELECT secret", None, OSError())]

    async def step() -> str:
        if failures:
            raise failures.pop(0)
        return "up"

    assert await insist(step) == "up"
    assert "nats: n1:4222 does not answer, tried again" in caplog.text
    assert "database: OperationalError, tried again" in caplog.text
    assert "secret" not in caplog.text
    failures += [StorageError("gone")] * 3
    with pytest.raises(StorageError, match="gone"):
        await insist(step)
    assert not failures

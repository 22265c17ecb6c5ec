"""Under load batches start apart, after a pause at once; results come back in the order of what was added."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future

import pytest

from detector.events import CallAlive
from server.groupwriter import PACE_S, Entry, GroupWriter
from server.storage.port import Batch, Committed, Row


class Log:
    """Commits at once and remembers when."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.batches: list[tuple[float, int]] = []
        self.last = 0

    def append(self, batch: Batch) -> Future[Committed]:
        self.batches.append((self.loop.time(), len(batch.rows)))
        positions = tuple(range(self.last, self.last + len(batch.rows)))
        self.last += len(batch.rows)
        future: Future[Committed] = Future()
        future.set_result(Committed(positions=positions, cursors=()))
        return future


def test_batches_are_paced_and_in_order() -> None:
    async def run() -> None:
        loop = asyncio.get_running_loop()
        log = Log(loop)
        writer = GroupWriter(log, loop)  # type: ignore[arg-type]
        told: list[int] = []
        row = Row(tenant="t", instance="i", kind="call.alive", utc_ms=0, value=CallAlive(offset_ms=0))

        def add() -> None:
            writer.add(Entry(rows=[row], done=lambda result: told.extend(result.positions)))

        began_s = loop.time()
        add()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert len(log.batches) == 1
        while loop.time() - began_s < 10 * PACE_S:
            add()
            await asyncio.sleep(0)
        await writer.quiet()
        # However the machine dawdles, no more batches fit in than the pace allows.
        assert len(log.batches) <= (loop.time() - began_s) / PACE_S + 2
        assert told == list(range(log.last))
        assert log.last > len(log.batches)

    asyncio.run(run())


def test_what_follows_from_one_entry_and_fails_is_that_entrys_loss_alone(caplog: pytest.LogCaptureFixture) -> None:
    async def run() -> None:
        loop = asyncio.get_running_loop()
        writer = GroupWriter(Log(loop), loop)  # type: ignore[arg-type]
        told: list[str] = []

        def failing(_result: object) -> None:
            raise ValueError("what was said")

        writer.add(Entry(done=lambda _: told.append("before")))
        writer.add(Entry(done=failing))
        writer.add(Entry(done=lambda _: told.append("after")))
        await asyncio.wait_for(writer.quiet(), 5)
        assert told == ["before", "after"]

    asyncio.run(run())
    assert "ValueError" in str(vars(caplog.records[-1]))
    assert "what was said" not in caplog.text

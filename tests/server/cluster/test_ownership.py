"""Who owns which partition, against a real NATS server: fair shares, deaths, stops, an outage, two of one name."""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from asyncio.subprocess import PIPE, Process
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from benchmarks.servers import Nats
from server.cluster.jetstream import JetStream
from server.cluster.ownership import Ownership
from server.cluster.subjects import PARTITIONS
from server.errors import StorageError

pytestmark = pytest.mark.needs("nats")
TAKEOVER_S = 5.0
ALL = set(range(PARTITIONS))


class Worker:
    """One in this process; notes what it was told."""

    def __init__(self, nats: JetStream, name: str, *, failing: int | None = None) -> None:
        self.told: list[tuple[str, int]] = []
        self.epochs: dict[int, list[int]] = {}
        self._failing = failing
        self.ownership = Ownership(nats, name, took=self._took, gave_up=self._gave_up)

    async def _took(self, partition: int, epoch: int) -> None:
        if partition == self._failing:
            raise StorageError("not read")
        self.told.append(("took", partition))
        self.epochs.setdefault(partition, []).append(epoch)

    async def _gave_up(self, partition: int) -> None:
        self.told.append(("gave", partition))

    @property
    def owned(self) -> set[int]:
        return {partition for partition in ALL if self.ownership.epoch_of(partition) is not None}


@asynccontextmanager
async def worker(url: str, name: str, *, failing: int | None = None):
    nats = JetStream(url, name=name)
    await nats.open()
    one = Worker(nats, name, failing=failing)
    one.ownership.start()
    try:
        yield one
    finally:
        await one.ownership.stop()
        await nats.close()


async def until(holds, *, within_s: float = 15.0) -> None:
    async with asyncio.timeout(within_s):
        while not holds():
            await asyncio.sleep(0.02)


async def test_shares_are_fair_and_nothing_is_owned_twice_as_workers_come_and_go(fresh_nats):
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(worker(fresh_nats, "a"))
        await until(lambda: first.owned == ALL)
        async with worker(fresh_nats, "b") as second, worker(fresh_nats, "c") as third:
            workers = (first, second, third)
            await until(lambda: sorted(len(item.owned) for item in workers) == [5, 5, 6])
            assert first.owned | second.owned | third.owned == ALL
            before = [list(item.told) for item in workers]
            await asyncio.sleep(2)
            assert [item.told for item in workers] == before, "partitions move while nobody comes or goes"
        # They left in order: nobody waits for a death.
        await until(lambda: first.owned == ALL, within_s=2.5)
    epochs: dict[int, list[int]] = {}
    for item in (first, second, third):
        for partition, found in item.epochs.items():
            epochs.setdefault(partition, []).extend(found)
    assert all(len(set(found)) == len(found) for found in epochs.values())


async def test_what_cannot_be_taken_over_is_given_back_and_tried_again(fresh_nats):
    async with worker(fresh_nats, "a", failing=3) as one:
        await until(lambda: one.owned == ALL - {3})
        one._failing = None
        await until(lambda: one.owned == ALL)


async def test_an_outage_leaves_nobody_sure_and_what_was_owned_is_owned_again(tmp_path):
    server = Nats(tmp_path / "nats")
    server.start()
    try:
        async with worker(server.url, "a") as one:
            await until(lambda: one.owned == ALL)
            told = list(one.told)
            server.send(signal.SIGSTOP)
            await until(lambda: not one.owned, within_s=4)
            server.send(signal.SIGCONT)
            await until(lambda: one.owned == ALL)
            assert one.told == told, "nobody else could have taken them"
    finally:
        server.kill()


async def test_two_of_one_name_never_own_the_same(fresh_nats):
    async with worker(fresh_nats, "a") as first, worker(fresh_nats, "a") as second:
        for _ in range(100):
            ours = [
                (item.ownership.epoch_of(partition), partition) for item in (first, second) for partition in item.owned
            ]
            assert len(set(ours)) == len(ours)
            await asyncio.sleep(0.02)


@asynccontextmanager
async def process(url: str, name: str):
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.server.cluster.owning", url, name, stdout=PIPE
    )
    try:
        yield child
    finally:
        if child.returncode is None:
            child.send_signal(signal.SIGCONT)
            child.kill()
            await child.wait()


async def lines_until(child: Process, holds) -> list[str]:
    said: list[str] = []
    async with asyncio.timeout(15):
        while not holds(said):
            said.append((await child.stdout.readline()).decode().strip())
    return said


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
async def test_a_death_or_a_stop_is_taken_over_in_time_and_who_wakes_up_knows(fresh_nats, how):
    async with worker(fresh_nats, "b") as heir, process(fresh_nats, "a") as child:
        await until(lambda: len(heir.owned) == PARTITIONS // 2)
        took = await lines_until(child, lambda said: sum(line.startswith("took") for line in said) == PARTITIONS // 2)
        theirs = {int(line.split()[1]): int(line.split()[2]) for line in took if line.startswith("took")}
        child.send_signal(how)
        began = time.monotonic()
        await until(lambda: heir.owned == ALL)
        assert time.monotonic() - began < TAKEOVER_S
        assert all(heir.epochs[partition][-1] > epoch for partition, epoch in theirs.items())
        if how is signal.SIGSTOP:
            child.send_signal(signal.SIGCONT)
            said = await lines_until(child, lambda said: sum(line.startswith("gave") for line in said) == len(theirs))
            woken = [line for line in said if line in ("sure", "unsure")]
            # What it had said before it was stopped may lie in the pipe; the first thing it finds out is that it is not sure.
            assert "unsure" in woken
            assert not any(line.startswith("took") for line in said[: said.index("unsure")])

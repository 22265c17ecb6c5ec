"""Which worker owns which partition: leases in a key-value bucket, changed by compare-and-set.

    w.WORKER      changes with every sign of life; empty once the worker has gone in good order
    p.PARTITION   the worker that owns it, empty while nobody does; the revision that gave it is the fencing epoch

All workers read the same leases and come to the same shares; each gives back what is not its share, and takes what is and has
no owner alive. That two believe to own a partition for a moment does no harm: the log refuses the older epoch.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Final

from server.cluster.jetstream import ConflictError, JetStream, Lease
from server.cluster.subjects import PARTITIONS
from server.errors import StorageError

BEAT_S: Final = 0.5
DEAD_S: Final = 3.0
"""Who has given no sign of life for so long has lost its partitions; with `BEAT_S` and the reading of the log it bounds a
takeover, 5 s."""
HOLD_S: Final = 2.0
"""Who could give no sign of life for so long stops by itself, before the others take over."""

_log = logging.getLogger("mamori.cluster")


def shares(holders: Mapping[int, str], alive: Iterable[str]) -> dict[int, str]:
    """Who should own each partition: as many for each as for any other, give or take one, and moved as few as may be."""
    names = sorted(alive)
    if not names:
        return {}
    room = {name: PARTITIONS // len(names) + (rank < PARTITIONS % len(names)) for rank, name in enumerate(names)}
    given: dict[int, str] = {}
    for partition in range(PARTITIONS):
        holder = holders.get(partition, "")
        if room.get(holder, 0) > 0:
            room[holder] -= 1
            given[partition] = holder
    free = iter([name for name in names for _ in range(room[name])])
    return {partition: given.get(partition) or next(free) for partition in range(PARTITIONS)}


class Ownership:
    """Takes part for one worker.

    Args:
        nats: where the leases are.
        name: of the worker, of letters, digits, `-` and `_`, unlike any other's.
        gained: takes a partition up under its epoch; one that fails is given back and tried again.
        lost: lets a partition go, at once.
        monotonic: seconds.
    """

    def __init__(
        self,
        nats: JetStream,
        name: str,
        *,
        gained: Callable[[int, int], Awaitable[None]],
        lost: Callable[[int], None],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._nats, self.name = nats, name
        self._gained, self._lost, self._monotonic = gained, lost, monotonic
        self.owned: dict[int, int] = {}
        """Epochs of the partitions that are owned, or being taken up."""
        self._seen: dict[str, tuple[int, float]] = {}
        self._beaten_s = monotonic()
        self._taking: dict[int, asyncio.Task[None]] = {}

    async def run(self) -> None:
        """Takes part until it is cancelled."""
        while True:
            if self._monotonic() - self._beaten_s > HOLD_S:
                for partition in list(self.owned):
                    self._let_go(partition)
            try:
                async with asyncio.timeout(HOLD_S):
                    await self.beat()
            except (StorageError, TimeoutError) as error:
                _log.warning("no sign of life could be given", extra={"error": type(error).__name__})
            await asyncio.sleep(BEAT_S)

    async def leave(self) -> None:
        """Gives everything back, in good order."""
        for partition, epoch in list(self.owned.items()):
            self._let_go(partition)
            await self._give_back(partition, epoch)
        try:
            mine = await self._nats.lease(f"w.{self.name}")
            if mine is not None:
                await self._nats.take_lease(f"w.{self.name}", "", revision=mine.revision)
        except StorageError:
            return

    def drop(self, partition: int) -> None:
        """A partition cannot be owned any longer, for its log failed: it is let go, and may be taken again by anybody."""
        epoch = self.owned.get(partition)
        if epoch is not None:
            self._let_go(partition)
            task = asyncio.get_running_loop().create_task(self._give_back(partition, epoch))
            self._taking[partition] = task
            task.add_done_callback(lambda _: self._taking.pop(partition, None))

    async def beat(self) -> None:
        """Gives a sign of life, and looks at who owns what.

        Raises:
            StorageError: NATS does not answer.
        """
        now_s = self._monotonic()
        mine = await self._nats.lease(f"w.{self.name}")
        await self._nats.take_lease(f"w.{self.name}", "alive", revision=mine.revision if mine is not None else 0)
        self._beaten_s = now_s
        leases = await self._nats.leases()
        alive = self._alive(leases)
        held = {partition: leases.get(f"p.{partition}") for partition in range(PARTITIONS)}
        holders = {partition: lease.value for partition, lease in held.items() if lease is not None}
        wanted = shares(holders, alive)
        for partition, epoch in list(self.owned.items()):
            lease = held[partition]
            if lease is None or lease.value != self.name or lease.revision != epoch:
                self._let_go(partition)
            elif wanted[partition] != self.name:
                self._let_go(partition)
                await self._give_back(partition, epoch)
        for partition, lease in held.items():
            stray = lease is not None and lease.value == self.name and partition not in self.owned
            if lease is not None and stray and partition not in self._taking and wanted[partition] != self.name:
                await self._give_back(partition, lease.revision)  # A try before was cut off.
        for partition, name in wanted.items():
            if name == self.name and partition not in self.owned and partition not in self._taking:
                holder = holders.get(partition, "")
                if holder not in alive or holder == self.name:
                    await self._take(partition, held[partition])

    def _alive(self, leases: Mapping[str, Lease]) -> set[str]:
        now_s, found = self._monotonic(), {self.name}
        for key, lease in leases.items():
            name = key.removeprefix("w.")
            if name == key or not lease.value:
                continue
            revision, since_s = self._seen.get(name, (0, now_s))
            if revision != lease.revision:
                since_s = now_s
            self._seen[name] = (lease.revision, since_s)
            if now_s - since_s < DEAD_S:
                found.add(name)
        return found

    async def _take(self, partition: int, lease: Lease | None) -> None:
        try:
            revision = lease.revision if lease is not None else 0
            epoch = await self._nats.take_lease(f"p.{partition}", self.name, revision=revision)
        except ConflictError:
            return
        self.owned[partition] = epoch
        self._taking[partition] = asyncio.get_running_loop().create_task(self._take_up(partition, epoch))

    async def _take_up(self, partition: int, epoch: int) -> None:
        try:
            await self._gained(partition, epoch)
        except Exception as error:
            _log.error("partition not taken up", extra={"partition": partition, "error": type(error).__name__})
            if self.owned.get(partition) == epoch:
                self._let_go(partition)
                await self._give_back(partition, epoch)
                await asyncio.sleep(BEAT_S)
        finally:
            self._taking.pop(partition, None)

    def _let_go(self, partition: int) -> None:
        if self.owned.pop(partition, None) is not None:
            self._lost(partition)

    async def _give_back(self, partition: int, epoch: int) -> None:
        try:
            await self._nats.take_lease(f"p.{partition}", "", revision=epoch)
        except StorageError:
            return  # It has another owner by now, or will have once we are taken for dead.

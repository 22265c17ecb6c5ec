"""Which worker owns which partition: leases, heartbeats, takeover, fair shares.

    w.NAME    one key a worker: the life it leads (`LIFE`), or nothing once it has left; written anew with every heartbeat
    p.N       one key a partition: NAME/LIFE of its owner, or nothing; its revision is the owner's epoch

A worker is dead for another one when its key has not changed for `DEAD_S` of that one's own monotonic clock; no clocks are
compared. It stops by itself `LEASE_S` after it began its last renewal that worked, which is sooner, so there is a pause
between two owners and never an overlap, as long as a process runs at all. One that is stopped meanwhile and wakes up holds an epoch that is
not the newest: what it writes is refused by the log and by the database, which check it (`server.cluster.log`).
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from server.cluster.jetstream import ConflictError, JetStream, Lease
from server.cluster.subjects import PARTITIONS
from server.errors import MamoriError, StorageError
from server.logs import fault

BEAT_S: Final = 0.7
"""From one heartbeat to the next."""
LEASE_S: Final = 2.0
"""So long after the beginning of its last renewal a worker acts as an owner: two heartbeats may be lost."""
DEAD_S: Final = 3.0
"""A worker whose key stands still for so long is taken for dead. With a heartbeat and the taking itself its partitions
are taken over within 5 s (design § 12)."""

Took = Callable[[int, int], Awaitable[None]]
GaveUp = Callable[[int], Awaitable[None]]

_log = logging.getLogger("mamori.cluster")


class Ownership:
    """One worker's share of the partitions.

    Args:
        nats: where the leases are.
        name: of this worker: letters, digits, `-` and `_`; no two that run may have the same.
        took: called with partition and epoch once a partition is ours, before `epoch_of` says so. If it raises, the
            partition is given back.
        gave_up: called with a partition that is ours no more, or is about to be given back; whoever comes next may take it
            only after it has returned, unless it was lost.
        partitions: how many there are.
        monotonic: seconds.
    """

    def __init__(
        self,
        nats: JetStream,
        name: str,
        *,
        took: Took,
        gave_up: GaveUp,
        partitions: int = PARTITIONS,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._nats = nats
        self._name = name
        self._me = f"{name}/{secrets.token_hex(6)}"
        self._took = took
        self._gave_up = gave_up
        self._partitions = partitions
        self._monotonic = monotonic
        self._epochs: dict[int, int] = {}
        self._renewed_s = float("-inf")
        self._revision: int | None = None
        self._seen: dict[str, tuple[int, float]] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._stopping = asyncio.Event()

    def epoch_of(self, partition: int) -> int | None:
        """The epoch under which a partition is ours at this moment; None when it is not, or when that is in doubt."""
        return self._epochs.get(partition) if self.sure else None

    @property
    def sure(self) -> bool:
        """Whether the last renewal is recent enough to act on."""
        return self._monotonic() < self._renewed_s + LEASE_S

    @property
    def held(self) -> frozenset[int]:
        """The partitions that are ours, or were when we last knew."""
        return frozenset(self._epochs)

    def start(self) -> None:
        """Begins to renew and to take. The two go on beside one another: what `took` has to read may last longer than a lease."""
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._every_beat(turn)) for turn in (self._renew, self._share)]

    async def stop(self) -> None:
        """Gives everything back and leaves, so that others need not wait for a death."""
        self._stopping.set()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(*(self._give_back(partition) for partition in sorted(self._epochs)))
        if self._revision is not None:
            try:
                await self._nats.take_lease(_worker(self._name), "", revision=self._revision)
            except StorageError as error:
                _log.warning("the others learn of this worker's end by its silence", extra=fault(error))

    async def _every_beat(self, turn: Callable[[], Awaitable[None]]) -> None:
        # A cancellation can be lost where it meets an answer (cpython issue 86296), so it alone ends nothing here.
        while not self._stopping.is_set():
            began_s = self._monotonic()
            try:
                await turn()
            except StorageError as error:
                # Until it answers again `epoch_of` says, soon, that nothing is ours.
                _log.warning("leases not renewed", extra=fault(error))
            await asyncio.sleep(max(0.0, BEAT_S - (self._monotonic() - began_s)))

    async def _share(self) -> None:
        """Looks around, gives up what is another's, then gives back what is over one's share or takes what lacks of it."""
        leases = await self._nats.leases()
        alive = self._alive(leases)
        owners = {partition: self._owner(leases, partition, alive) for partition in range(self._partitions)}
        for partition in sorted(self._epochs):
            if owners[partition] != self._me:
                await self._lost(partition)
        mine, quota = len(self._epochs), self._quota(alive)
        for partition in sorted(self._epochs, reverse=True)[: max(0, mine - quota)]:
            await self._give_back(partition)
        free = [partition for partition, owner in owners.items() if owner is None]
        wanted = free[: max(0, quota - mine)]
        await asyncio.gather(*(self._take(partition, leases.get(_partition(partition))) for partition in wanted))

    async def _renew(self) -> None:
        began_s = self._monotonic()
        key = _worker(self._name)
        if self._revision is None:
            known = await self._nats.lease(key)
            self._revision = known.revision if known is not None else 0
        try:
            self._revision = await self._nats.take_lease(key, self._me, revision=self._revision)
        except StorageError as error:
            # Whether it was written is not known; or another life of this name writes, and the newest is the one that counts.
            self._revision = None
            if not isinstance(error, ConflictError):
                raise
            _log.warning("another worker may have this worker's name", extra={"worker": self._name})
            return
        self._renewed_s = began_s

    def _alive(self, leases: Mapping[str, Lease]) -> list[str]:
        """The workers that live, as NAME/LIFE, in an order that all of them agree on."""
        now_s, alive = self._monotonic(), []
        for key, lease in leases.items():
            if not key.startswith("w."):
                continue
            revision, seen_s = self._seen.get(key, (0, now_s))
            if revision != lease.revision:
                seen_s = now_s
            self._seen[key] = (lease.revision, seen_s)
            if lease.value and now_s - seen_s < DEAD_S:
                alive.append(lease.value)
        return sorted(alive)

    def _owner(self, leases: Mapping[str, Lease], partition: int, alive: list[str]) -> str | None:
        """Who owns a partition and lives; None when nobody does."""
        lease = leases.get(_partition(partition))
        if lease is None:
            return None
        if lease.value == self._me and self._epochs.get(partition) != lease.revision:
            # Ours by a write whose answer was lost: under an epoch that `took` never heard of.
            return None
        return lease.value if lease.value in alive else None

    def _quota(self, alive: list[str]) -> int:
        """How many partitions are this worker's share; the shares of all add up."""
        if self._me not in alive:
            return len(self._epochs)
        share, over = divmod(self._partitions, len(alive))
        return share + (alive.index(self._me) < over)

    async def _take(self, partition: int, known: Lease | None) -> None:
        try:
            epoch = await self._nats.take_lease(
                _partition(partition), self._me, revision=known.revision if known is not None else 0
            )
        except ConflictError:
            return
        self._epochs[partition] = epoch
        try:
            await self._took(partition, epoch)
        except MamoriError as error:
            _log.error("a partition could not be taken over", extra={"partition": partition, **fault(error)})
            await self._give_back(partition)

    async def _lost(self, partition: int) -> None:
        """It is another's already, or nobody's; whatever of it is on its way is refused."""
        del self._epochs[partition]
        _log.warning("a partition was lost to another worker", extra={"partition": partition})
        await self._gave_up(partition)

    async def _give_back(self, partition: int) -> None:
        epoch = self._epochs[partition]
        try:
            await self._gave_up(partition)
        finally:
            del self._epochs[partition]
        try:
            await self._nats.take_lease(_partition(partition), "", revision=epoch)
        except StorageError as error:
            # It was taken from us meanwhile, or stays ours by name until it is seen that we do not hold it.
            _log.warning("a partition was not given back", extra={"partition": partition, **fault(error)})


def _worker(name: str) -> str:
    return f"w.{name}"


def _partition(number: int) -> str:
    return f"p.{number}"

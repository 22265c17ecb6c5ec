"""Makes a worker's entries durable, each under the ownership of its partition.

An entry of a partition that is not owned, or whose ownership ended meanwhile, is dropped without a word: whatever it was about
belongs to another owner, who comes to it from the log. Where the log does not take an entry, all of the partition is given up
and taken anew: only its log knows then what is there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace

from server.cluster import subjects
from server.errors import MamoriError
from server.groupwriter import Entry, GroupWriter
from server.storage.port import Batch, CallRecord, Committed, LedgerEntry, Log, Redaction, Row, Snapshot


class _UnderEpoch:
    """A log that takes batches under one epoch."""

    def __init__(self, log: Log, epoch: int) -> None:
        self._log, self._epoch = log, epoch

    def append(self, batch: Batch) -> Future[Committed]:
        return self._log.append(replace(batch, epoch=self._epoch))


class PartitionWriter:
    """Writes for one event loop.

    Args:
        log: where to.
        loop: on which `add` is called and results are delivered.
        on_fault: hears of an error that a `done` raised.
        on_failed: hears of a partition whose log did not take an entry.
    """

    def __init__(
        self,
        log: Log,
        loop: asyncio.AbstractEventLoop,
        on_fault: Callable[[BaseException], None],
        on_failed: Callable[[int], None],
    ) -> None:
        self._log, self._loop, self._on_fault, self._on_failed = log, loop, on_fault, on_failed
        self._common = GroupWriter(log, loop, on_fault)
        self._owned: dict[int, GroupWriter] = {}

    @property
    def outstanding(self) -> int:
        """Entries that are not durable yet."""
        return self._common.outstanding + sum(writer.outstanding for writer in self._owned.values())

    def own(self, partition: int, epoch: int) -> None:
        """Entries of a partition are written from now on."""
        self._owned[partition] = GroupWriter(_UnderEpoch(self._log, epoch), self._loop, self._on_fault)

    def lose(self, partition: int) -> None:
        """Entries of a partition are dropped from now on."""
        self._owned.pop(partition, None)

    def add(self, entry: Entry) -> None:
        """Queues an entry of one partition, or of none."""
        partition = _partition(entry)
        if partition is None:
            self._common.add(entry)
            return
        writer = self._owned.get(partition)
        if writer is None:
            return

        def done(result: Committed | MamoriError) -> None:
            if self._owned.get(partition) is not writer:
                return
            if isinstance(result, MamoriError):
                self._on_failed(partition)
            else:
                entry.done(result)

        writer.add(replace(entry, done=done))

    async def quiet(self) -> None:
        """Waits until nothing is outstanding."""
        for writer in (self._common, *self._owned.values()):
            await writer.quiet()


def _partition(entry: Entry) -> int | None:
    items: list[Row | CallRecord | Snapshot | Redaction | LedgerEntry] = [
        *entry.rows[:1],
        *entry.calls[:1],
        *entry.snapshots[:1],
        *entry.redactions[:1],
        *entry.ledger[:1],
    ]
    names = [(item.tenant, item.instance) for item in items] + [(alert[0], alert[1]) for alert in entry.alerts[:1]]
    return subjects.partition_of_instance(*names[0]) if names else None

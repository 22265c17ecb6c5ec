"""The `Log` port of the cluster: rows on JetStream, records on PostgreSQL, both only for partitions that this process owns.

The same promise as the embedded engine's: a batch that resolves is durable. Rows go first, each right behind the last one of
its partition, so that an owner of before is refused; the records that follow from them second, in one transaction that checks
the epoch. Alert events get their cursor from the alert stream, which holds who and which version, not what was said: the words
are in PostgreSQL alone, where they can be masked and forgotten. What a crash leaves untold, the next owner tells.

Longer than most files, for all of it shares one writer's order and one way to lose a partition.
"""

from __future__ import annotations

import asyncio
import shutil
import threading
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec
import sqlalchemy as sa

from detector.events import Segment
from server.clock import SYSTEM
from server.cluster import subjects
from server.cluster.entries import Entries, Entry, owned, read_entry
from server.cluster.jetstream import ConflictError, JetStream, Message, UnreachableNatsError
from server.cluster.subjects import ALERT_ROOT, ALERT_STREAM
from server.errors import FencedError, StorageError
from server.running_digits import masked_copy
from server.storage import dialect
from server.storage.port import (
    Batch,
    CallRecord,
    Instances,
    Redaction,
    Row,
    Snapshot,
    Stored,
    StreamEntry,
    Words,
    merged,
)
from server.storage.queued import Queued, QueuedLog, split
from server.storage.retention import forget_old
from server.storage.statedb import StateDatabase, open_postgres
from server.storage.tables import ALERT_EVENTS, PARTITIONS, UNTOLD
from server.storage.vault import PLAIN, Vault

OPEN_S: Final = 30.0
"""For anything that this thread awaits of the connection."""
ALONE: Final = 8
"""Calls of one partition that are read one by one; more are read together, with all between."""
RETRY_S: Final = 0.2

T = TypeVar("T")


class Told(msgspec.Struct, frozen=True):
    """One message of the alert stream: which version of which alert."""

    tenant: str
    alert_id: str
    version: int


@dataclass(slots=True)
class _Held:
    """A partition that is owned: under which epoch, and the sequence of its last message."""

    epoch: int
    last: int


class ClusterLog(QueuedLog):
    """The engine of a cluster.

    Args:
        nats: addresses.
        database: of PostgreSQL.
        data_dir: of this process, for free space alone.
        now_ms: UTC in milliseconds since 1970.
        vault: seals what people said; the same keys on every machine.
        replicas, keep_days: see `JetStream`.

    Raises:
        StorageError: one of the servers cannot be reached; says which.
        SetupError: an address is wrong, or a server too old.
    """

    def __init__(
        self,
        nats: str,
        database: str,
        *,
        data_dir: Path,
        now_ms: Callable[[], int] = SYSTEM.utc_ms,
        vault: Vault = PLAIN,
        replicas: int = 1,
        keep_days: int = 90,
    ) -> None:
        data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._data_dir, self._now_ms = data_dir, now_ms
        self._entries = Entries(vault)
        self._held: dict[int, _Held] = {}
        self._told: list[tuple[str, str, int]] = []
        self._loop = asyncio.new_event_loop()
        self._looping = threading.Thread(target=self._loop.run_forever, name="mamori-nats", daemon=True)
        self._looping.start()
        self._nats = JetStream(nats, replicas=replicas, keep_days=keep_days, name="mamori log")
        try:
            self._await(self._nats.open())
            state = StateDatabase(open_postgres(database), vault, partition_of=subjects.partition_of)
        except BaseException:
            self._end_loop()
            raise
        super().__init__(state)

    def _await(self, work: Awaitable[T], limit_s: float = OPEN_S) -> T:
        """Waits on this thread for something on the loop of the connection."""
        return asyncio.run_coroutine_threadsafe(_limited(work, limit_s), self._loop).result(limit_s + 1)

    def syncs_always(self) -> bool | None:
        """Whether NATS syncs each write to its disk; None where that may not be asked."""
        return self._await(self._nats.syncs_always())

    def agree(self, what: str, value: str) -> bool:
        """Whether every machine says the same of something; the first one to say decides."""
        return self._await(self._agree(f"same.{what}", value))

    async def _agree(self, key: str, value: str) -> bool:
        try:
            await self._nats.take_lease(key, value, revision=0)
        except ConflictError:
            found = await self._nats.lease(key)
            return found is not None and found.value == value
        return True

    @property
    def failure(self) -> str:
        """Why the last write failed, or that NATS is gone; empty when all is well."""
        return super().failure or self._nats.failure

    def free_bytes(self) -> int:
        """Free bytes of this machine's disk; those of NATS and PostgreSQL are watched where they run."""
        return shutil.disk_usage(self._data_dir).free

    def purge(self, *, keep_days: int, keep_record_days: int) -> int:
        """Takes words and records away that are older; the streams forget by themselves."""
        forget_old(
            self._state.engine,
            self._state.bodies,
            now_ms=self._now_ms(),
            keep_days=keep_days,
            keep_record_days=keep_record_days,
        )
        return 0

    def close(self) -> None:
        """Writes what is queued and closes the connections; a second call does nothing."""
        if self._end_writer():
            self._state.engine.dispose()
            self._end_loop()

    def _end_loop(self) -> None:
        self._await(self._nats.close(), 5)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._looping.join(5)
        self._loop.close()

    # Ownership.

    def take(self, partition: int, epoch: int) -> None:
        """This process owns a partition from now on; whoever did before can write nothing more.

        Args:
            epoch: higher than that of any owner before.

        Raises:
            FencedError: there is a newer owner.
            StorageError: a server did not answer.
        """
        self._held.pop(partition, None)
        with self._state.engine.begin() as connection:
            insert = dialect.insert(connection, PARTITIONS).values(
                partition=partition, epoch=epoch, owner="", seq=0, seq_epoch=epoch
            )
            taken = connection.execute(
                insert.on_conflict_do_update(
                    index_elements=["partition"], set_={"epoch": epoch}, where=PARTITIONS.c.epoch < epoch
                ).returning(PARTITIONS.c.epoch)
            )
            if taken.scalar() is None:
                raise FencedError("a newer owner has the partition")
        last = self._await(self._nats.publish(subjects.owner_subject(partition), owned(epoch)))
        self._held[partition] = _Held(epoch, last)
        self._tell_again(partition)

    def give_up(self, partition: int) -> None:
        """This process writes nothing more to a partition."""
        self._held.pop(partition, None)

    def _disown(self, partition: int, held: _Held) -> None:
        """An ownership is over; a newer one of this process stays."""
        if self._held.get(partition) is held:
            del self._held[partition]

    def _epoch_of(self, partition: int, batch: Batch) -> _Held:
        held = self._held.get(partition)
        if held is None or batch.epoch not in (None, held.epoch):
            raise FencedError("the partition is not ours")
        return held

    # Rows.

    def _commit(self, group: list[Queued]) -> None:
        """Commits a group; a partition that was lost, or a batch that cannot be written, fails alone."""
        self._error = ""
        # A run keeps the ownership that its batches were checked under: this process may lose the partition and take it
        # anew meanwhile, and what it wrote before must not stand behind what it has read back since.
        runs: dict[tuple[int, int], tuple[_Held, list[tuple[int, int, str, bytes]]]] = {}
        positions: list[list[int]] = [[0] * len(batch.rows) for batch, _ in group]
        failed: dict[int, Exception] = {}
        for index, (batch, _) in enumerate(group):
            try:
                messages = [(self._place(row, batch), self._entries.encode(row)) for row in batch.rows]
            except Exception as error:
                failed[index] = error
                continue
            for place, ((partition, held, subject), data) in enumerate(messages):
                _, run = runs.setdefault((partition, held.epoch), (held, []))
                run.append((index, place, subject, data))
        errors = self._await(self._write_runs(runs, positions)) if runs else {}
        for key, why in errors.items():
            failed |= {index: why for index, *_ in runs[key][1]}
        kept = []
        for index, (batch, future) in enumerate(group):
            if index in failed:
                self._error = type(failed[index]).__name__
                future.set_exception(_as_storage(failed[index]))
            else:
                kept.append((batch, future, tuple(positions[index])))
        self._follow(kept)

    def _place(self, row: Row, batch: Batch) -> tuple[int, _Held, str]:
        call_id = subjects.call_of(row.instance)
        partition = subjects.partition_of(row.tenant, call_id)
        return partition, self._epoch_of(partition, batch), subjects.log_subject(row.tenant, call_id)

    async def _write_runs(
        self, runs: dict[tuple[int, int], tuple[_Held, list[tuple[int, int, str, bytes]]]], positions: list[list[int]]
    ) -> dict[tuple[int, int], Exception]:
        """Writes each partition's messages, the partitions side by side; returns what failed, by partition and epoch."""

        async def one(key: tuple[int, int]) -> None:
            held, run = runs[key]
            first = held.last + 1
            await self._write(key[0], held, [(subject, data) for *_, subject, data in run])
            for offset, (index, place, *_) in enumerate(run):
                positions[index][place] = first + offset

        answers = await asyncio.gather(*map(one, runs), return_exceptions=True)
        return {key: answer for key, answer in zip(runs, answers, strict=True) if isinstance(answer, Exception)}

    async def _write(self, partition: int, held: _Held, messages: list[tuple[str, bytes]]) -> None:
        try:
            held.last = await self._nats.write(subjects.log_stream(partition), messages, after=held.last)
        except StorageError:
            # What of it is there is not known: only an owner that reads the log anew knows.
            self._disown(partition, held)
            raise

    # Reading.

    def read_call(self, tenant: str, instance: str, *, after: int = -1) -> Iterator[Stored]:
        """A call's rows after a position, in order."""
        for _, rows in self.read_many([(tenant, instance, after)]):
            yield from rows

    def read_many(self, wanted: Sequence[tuple[str, str, int]]) -> Iterator[tuple[int, list[Stored]]]:
        """Rows of many calls; where many are of one partition it is read once."""
        by_partition: dict[int, list[int]] = defaultdict(list)
        for index, (tenant, instance, _) in enumerate(wanted):
            by_partition[subjects.partition_of_instance(tenant, instance)].append(index)
        for partition, indexes in by_partition.items():
            if len(indexes) <= ALONE:
                patterns = [
                    (subjects.log_subject(wanted[index][0], subjects.call_of(wanted[index][1])), [index])
                    for index in indexes
                ]
            else:
                patterns = [(subjects.partition_subjects(partition), indexes)]
            for pattern, some in patterns:
                after = max(0, min(wanted[index][2] for index in some))
                messages = self._await(self._nats.read(pattern, stream=subjects.log_stream(partition), after=after))
                places = {(wanted[index][0], wanted[index][1]): index for index in some}
                found: dict[int, dict[int, Entry]] = {index: {} for index in some}
                for message in messages:
                    entry = read_entry(message)
                    place = places.get((entry.tenant, entry.instance)) if entry is not None else None
                    if entry is not None and place is not None:
                        found[place][entry.replaces or message.seq] = entry
                for index in some:
                    rows = [
                        self._entries.stored(position, entry)
                        for position, entry in sorted(found[index].items())
                        if position > wanted[index][2]
                    ]
                    if rows:
                        yield index, rows

    def open_calls(self, partition: int | None = None) -> list[tuple[CallRecord, Snapshot | None]]:
        """All calls without an end, or those of one partition."""
        return self._state.open_calls(partition)

    # The rights of callers.

    @property
    def words(self) -> Words:
        """What was said, for the rights of callers."""
        return self

    def deciding(self) -> AbstractContextManager[None]:
        """There are no holds here, and what retention takes nobody else gives back."""
        return nullcontext()

    def held(self) -> Instances:
        """Calls under legal hold: none."""
        return frozenset()

    def forget(self, tenant: str, instance: str) -> int:
        """Overwrites the messages of a call that has ended, and takes them out; returns how many."""
        call_id = subjects.call_of(instance)
        stream = subjects.log_stream(subjects.partition_of(tenant, call_id))
        done = 0
        for message in self._await(self._nats.read(subjects.log_subject(tenant, call_id), stream=stream)):
            entry = read_entry(message)
            if entry is not None and (entry.tenant, entry.instance) == (tenant, instance):
                self._await(self._nats.delete(message.seq, stream=stream))
                done += 1
        return done

    # Records.

    def _write_records(self, batches: list[Batch]) -> list[tuple[int | None, ...]]:
        for batch in batches:
            for item in batch.redactions:
                self._take_out(item, batch)
        epochs, records = self._epochs(batches), merged(batches)
        if not records.has_records:
            return split([], [0 for _ in batches])
        told, self._told = self._told, []
        with self._state.engine.begin() as connection:
            self._check(connection, epochs)
            _no_longer_untold(connection, told)
            versions = self._state.write_within(connection, records)
            fresh = [
                (
                    Told(tenant=tenant, alert_id=event.alert.alert_id, version=event.alert.version),
                    subjects.partition_of_instance(tenant, instance),
                )
                for (tenant, instance, event), version in zip(records.alerts, versions, strict=True)
                if version is not None
            ]
            if fresh:
                rows = [{**msgspec.to_builtins(item), "partition": partition} for item, partition in fresh]
                connection.execute(UNTOLD.insert(), rows)
        cursors = iter([self._tell(item) for item, _ in fresh])
        result = [None if version is None else next(cursors) for version in versions]
        return split(result, [len(batch.alerts) for batch in batches])

    def _epochs(self, batches: list[Batch]) -> dict[int, _Held]:
        """The partitions that records belong to, with their epochs.

        Raises:
            FencedError: one is not ours.
        """
        found: dict[int, _Held] = {}
        for batch in batches:
            instances: set[tuple[str, str]] = {
                *((item.tenant, item.instance) for item in batch.calls),
                *((item.tenant, item.instance) for item in batch.snapshots),
                *((item.tenant, item.instance) for item in batch.ledger),
                *((tenant, instance) for tenant, instance, _ in batch.alerts),
                *((item.tenant, item.instance) for item in batch.redactions),
            }
            for tenant, instance in instances:
                partition = subjects.partition_of_instance(tenant, instance)
                found[partition] = self._epoch_of(partition, batch)
        return found

    def _check(self, connection: sa.Connection, epochs: dict[int, _Held]) -> None:
        """Locks the partitions for the transaction, puts down how far their streams are, and checks who owns them."""
        for partition, held in sorted(epochs.items()):
            done = connection.execute(
                PARTITIONS.update()
                .where(PARTITIONS.c.partition == partition, PARTITIONS.c.epoch == held.epoch)
                .values(seq=held.last, seq_epoch=held.epoch)
            )
            if not done.rowcount:
                self._disown(partition, held)
                raise FencedError("a newer owner has the partition")

    def _take_out(self, item: Redaction, batch: Batch) -> None:
        """A segment was masked: a masked copy is written behind, read in the old one's place, and the old one overwritten."""
        call_id = subjects.call_of(item.instance)
        partition, subject = subjects.partition_of(item.tenant, call_id), subjects.log_subject(item.tenant, call_id)
        stream = subjects.log_stream(partition)
        found = [
            (message, entry)
            for message in self._await(self._nats.read(subject, stream=stream))
            if (entry := read_entry(message)) is not None
            and (entry.tenant, entry.instance) == (item.tenant, item.instance)
        ]
        latest = {entry.replaces or message.seq: entry for message, entry in found}
        for position, entry in latest.items():
            stored = self._entries.stored(position, entry)
            value = stored.row.value
            if not isinstance(value, Segment) or value.segment_id != item.segment_id:
                continue
            masked = replace(value, text=masked_copy(value.text, item.text))
            if masked != value:
                held = self._epoch_of(partition, batch)
                data = self._entries.encode(replace(stored.row, value=masked), replaces=position)
                self._await(self._write(partition, held, [(subject, data)]))
                latest[position] = _GONE
            for message, other in found:
                if (other.replaces or message.seq) == position and other is not latest[position]:
                    self._await(self._nats.delete(message.seq, stream=stream))

    # The alert stream.

    def _tell(self, told: Told) -> int | None:
        while True:
            try:
                cursor = self._await(tell(self._nats, told))
                self._told.append((told.tenant, told.alert_id, told.version))
                return cursor
            except UnreachableNatsError:
                if self._closed:
                    raise
                time.sleep(RETRY_S)

    def _tell_again(self, partition: int) -> None:
        """What the owner before left untold."""
        with self._state.engine.begin() as connection:
            columns = (UNTOLD.c.tenant, UNTOLD.c.alert_id, UNTOLD.c.version)
            left = connection.execute(
                sa.select(*columns).where(UNTOLD.c.partition == partition).order_by(UNTOLD.c.version)
            ).all()
        for row in left:
            self._await(tell(self._nats, Told(tenant=row.tenant, alert_id=row.alert_id, version=row.version)))
        with self._state.engine.begin() as connection:
            _no_longer_untold(connection, [tuple(row) for row in left])

    def stream(self, tenant: str, *, after: int, limit: int = 1000) -> list[StreamEntry]:
        """Alert events behind a cursor, with their words from PostgreSQL; what retention took is left out."""
        found: list[StreamEntry] = []
        while len(found) < limit:
            messages = self._await(
                self._nats.read(f"{ALERT_ROOT}.>", after=after, stream=ALERT_STREAM, limit=limit - len(found))
            )
            if not messages:
                break
            after = messages[-1].seq
            found += self.events_of(messages, tenant)
        return found

    def events_of(self, messages: Sequence[Message], tenant: str | None = None) -> list[StreamEntry]:
        """The events that messages of the alert stream name, in order; of one tenant, or of all."""
        told = [(message.seq, msgspec.msgpack.decode(message.data, type=Told)) for message in messages]
        items = [(cursor, item) for cursor, item in told if tenant in (None, item.tenant)]
        if not items:
            return []
        ids = {(item.tenant, item.alert_id, item.version) for _, item in items}
        columns = sa.tuple_(ALERT_EVENTS.c.tenant, ALERT_EVENTS.c.alert_id, ALERT_EVENTS.c.version)
        with self._state.engine.connect() as connection:
            rows = connection.execute(sa.select(ALERT_EVENTS).where(columns.in_(ids))).all()
        known = {(row.tenant, row.alert_id, row.version): event for row, event in self._state.bodies.events(rows)}
        return [
            StreamEntry(cursor=cursor, tenant=item.tenant, event=event)
            for cursor, item in items
            if (event := known.get((item.tenant, item.alert_id, item.version))) is not None
        ]

    def cursor(self) -> int:
        """The last cursor."""
        return self._await(self._nats.bounds(ALERT_STREAM))[1]

    def oldest_cursor(self) -> int:
        """The first cursor that is kept, 0 when there is none."""
        first, last = self._await(self._nats.bounds(ALERT_STREAM))
        return first if last >= first else 0


_GONE: Final = Entry(tenant="", instance="", kind="", utc_ms=0, payload=b"")


async def tell(nats: JetStream, told: Told) -> int | None:
    """Puts a version of an alert on the alert stream unless it, or a later one, is there; returns its cursor, None where a later one is.

    Raises:
        UnreachableNatsError: not confirmed; to be told again.
    """
    subject = subjects.alert_subject(told.tenant, told.alert_id)
    data = msgspec.msgpack.encode(told)
    while True:
        last = await nats.last(subject, stream=ALERT_STREAM)
        if last is not None:
            before = msgspec.msgpack.decode(last.data, type=Told).version
            if before >= told.version:
                return last.seq if before == told.version else None
        try:
            return await nats.publish(subject, data, after=last.seq if last is not None else 0)
        except ConflictError:
            continue


def _no_longer_untold(connection: sa.Connection, told: Sequence[tuple[Any, ...]]) -> None:
    if told:
        columns = sa.tuple_(UNTOLD.c.tenant, UNTOLD.c.alert_id, UNTOLD.c.version)
        connection.execute(UNTOLD.delete().where(columns.in_(told)))


def _as_storage(error: Exception) -> StorageError:
    return (
        error
        if isinstance(error, StorageError)
        else StorageError(f"the log did not take the write ({type(error).__name__})")
    )


async def _limited(work: Awaitable[T], limit_s: float) -> T:
    try:
        async with asyncio.timeout(limit_s):
            return await work
    except TimeoutError:
        raise UnreachableNatsError("nats: no answer in time") from None

"""The embedded engine: day logs and a state database on SQLite, written by one thread with group commit.

Batches queue up while the last transaction runs and become the next one, so there is no fixed delay and the rate grows
with the load. The day log commits first, the records that follow from it second: after a crash between the two, the
fold of the log makes them again. So what is in the log is never refused, or a restart would fold what the live call did
not: while the state database takes no writes, they are tried again and all else waits.
"""

from __future__ import annotations

import logging
import queue
import shutil
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from datetime import timedelta
from pathlib import Path
from typing import Final, TypeVar

from sqlalchemy.exc import OperationalError as SQLAlchemyOperationalError

from detector.alerts import Alert
from detector.events import EarlierComplaint
from server.errors import OverloadedError, StorageError
from server.storage.aside import purge_aside
from server.storage.daylog import DayLog, day_of
from server.storage.keyfile import KeySource, current_ids, open_vault
from server.storage.lock import Held, serve, share, shared
from server.storage.port import Batch, CallRecord, Committed, Snapshot, Stored, StreamEntry
from server.storage.retention import forget_records, forget_words
from server.storage.statedb import StateDatabase, open_engine
from server.storage.vault import PLAIN, Vault

MAX_QUEUED_BATCHES: Final = 20_000
"""Batches that wait for the disk; beyond it `append` refuses, and so does the server."""
MAX_GROUP: Final = 1_000
"""Batches in one transaction: at about 1 ms for 50 rows, it bounds the wait of the last one."""
RETRY_AFTER_MS: Final = 500
CLOSE_S: Final = 3.0
"""A writer that hangs for longer when the log is closed is left behind: what it did not write was never acknowledged."""
INSIST_S: Final = 0.2
"""After so long what follows from the log is given to the state database again, which did not take it."""
SCRUB_EVERY_S: Final = 1.0
"""At most so often are the journals emptied of what was masked after the fact."""

T = TypeVar("T")
_Queued = tuple[Batch, "Future[Committed]"]

_log = logging.getLogger("mamori.storage")


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


class EmbeddedLog:
    """The `Log` port on SQLite.

    Args:
        data_dir: directory of all files; made when absent, readable by its owner only.
        now_ms: UTC in milliseconds since 1970.
        vault: seals what people said, from `keyfile.open_vault`.
        lock: to be let go with the files.

    Raises:
        SetupError: something that must be alone in the directory is at work.
    """

    def __init__(
        self, data_dir: Path, *, now_ms: Callable[[], int] = _now_ms, vault: Vault = PLAIN, lock: Held | None = None
    ) -> None:
        self._locks = [share(data_dir), *([lock] if lock is not None else ())]
        self._data_dir = data_dir
        self._days = DayLog(data_dir / "log", vault)
        self._state = StateDatabase(open_engine(data_dir / "state.sqlite"), vault)
        self._now_ms = now_ms
        self._queue: queue.Queue[_Queued | None] = queue.Queue(MAX_QUEUED_BATCHES)
        self._failure = self._error = ""
        self._writing_since: float | None = None
        self.restarts = 0
        self._unscrubbed, self._scrub_due_s = False, 0.0
        self._closed = False
        self._starting = threading.Lock()
        self._thread = self._start_writer()

    @property
    def state(self) -> StateDatabase:
        """The state database, for tokens, reports and the audit chain."""
        return self._state

    @property
    def days(self) -> DayLog:
        """The day files, for what reaches back into them."""
        return self._days

    @property
    def failure(self) -> str:
        """Why the last transaction failed, as the error's class name; empty when it went well."""
        return self._failure if self._thread.is_alive() or self._closed else "writer_stopped"

    @property
    def depth(self) -> int:
        """Batches that wait for the disk."""
        return self._queue.qsize()

    @property
    def waited_s(self) -> float:
        """For how long the batch that is being written has waited for the disk, 0 while none is."""
        since = self._writing_since
        return 0.0 if since is None else max(0.0, time.monotonic() - since)

    def revive(self) -> bool:
        """Starts a writer in place of one that has died; whether it had. To be called now and then by whoever watches."""
        with self._starting:
            if self._closed or self._thread.is_alive():
                return False
            self.restarts += 1
            self._writing_since = None
            self._thread = self._start_writer()
        return True

    def _start_writer(self) -> threading.Thread:
        thread = threading.Thread(target=self._run, name="mamori-log", daemon=True)
        thread.start()
        return thread

    def append(self, batch: Batch) -> Future[Committed]:
        """Queues a batch; the future resolves when it is durable, or fails with `StorageError`.

        It cannot be cancelled: who waited may go, what was queued is written.
        """
        future: Future[Committed] = Future()
        future.set_running_or_notify_cancel()
        try:
            self._queue.put_nowait((batch, future))
        except queue.Full:
            raise OverloadedError(RETRY_AFTER_MS) from None
        return future

    def read_call(self, tenant: str, instance: str, *, after: int = -1) -> Iterator[Stored]:
        """A call's rows after a position, in order."""
        return self._days.read(tenant, instance, after=after)

    def read_many(self, wanted: Sequence[tuple[str, str, int]]) -> Iterator[tuple[int, list[Stored]]]:
        """Rows of many calls, each file opened once."""
        return self._days.read_many(wanted)

    def open_calls(self) -> list[tuple[CallRecord, Snapshot | None]]:
        """All calls without an end."""
        return self._state.open_calls()

    def find_call(self, tenant: str, call_id: str) -> CallRecord | None:
        """The latest instance of a call id."""
        return self._state.find_call(tenant, call_id)

    def calls(self, tenant: str, *, limit: int = 200, open_only: bool = False) -> list[CallRecord]:
        """Calls, newest first."""
        return self._state.calls(tenant, limit=limit, open_only=open_only)

    def alert(self, tenant: str, alert_id: str) -> tuple[str, Alert] | None:
        """An alert with its call instance."""
        return self._state.alert(tenant, alert_id)

    def alerts(
        self, tenant: str, *, open_only: bool = True, limit: int = 1000, call_id: str | None = None
    ) -> list[Alert]:
        """Alerts, newest first."""
        return self._state.alerts(tenant, open_only=open_only, limit=limit, call_id=call_id)

    def waiting_alerts(self, *, since_ms: int) -> list[tuple[str, str, Alert]]:
        """Open and snoozed alerts of all tenants, as (tenant, instance, alert)."""
        return self._state.waiting_alerts(since_ms=since_ms)

    def stream(self, tenant: str, *, after: int, limit: int = 1000) -> list[StreamEntry]:
        """Alert events behind a cursor."""
        return self._state.stream(tenant, after=after, limit=limit)

    def earlier_complaints(self, tenant: str, caller_key: str, *, since_ms: int, limit: int) -> list[EarlierComplaint]:
        """A caller's complaints in the ledger, newest first."""
        return self._state.earlier_complaints(tenant, caller_key, since_ms=since_ms, limit=limit)

    def cursor(self) -> int:
        """The last cursor."""
        return self._state.cursor_range()[1]

    def oldest_cursor(self) -> int:
        """The first cursor that is kept."""
        return self._state.cursor_range()[0]

    def purge(self, *, keep_days: int, keep_record_days: int) -> int:
        """Unlinks day files older than `keep_days`, takes the words of that age out of alerts, and deletes what is left
        of calls that ended more than `keep_record_days` ago, and copies that were set aside; calls under hold stay.

        Returns:
            How many day files went.
        """
        day_ms, now_ms = 86_400_000, self._now_ms()
        first, midnight_ms = day_of(now_ms) - timedelta(days=keep_days), now_ms - now_ms % day_ms
        with self._days.deciding():
            held = self._days.holds.instances()
            gone = len(self._days.purge(first))
            forget_words(self._state.engine, self._state.bodies, midnight_ms - keep_days * day_ms, held)
            forget_records(self._state.engine, midnight_ms - keep_record_days * day_ms, held)
            purge_aside(self._data_dir, now_ms=now_ms, keep_days=keep_days)
        self.scrub_soon()
        return gone

    def scrub_soon(self) -> None:
        """Words were overwritten beside the writer: the journals are emptied of them, where a reader holds one a little later."""
        if not (self._state.scrub() and self._days.clean):
            self._unscrubbed = True

    def free_bytes(self) -> int:
        """Free bytes of the disk that the data directory is on."""
        return shutil.disk_usage(self._data_dir).free

    def close(self) -> None:
        """Writes what is queued and closes the files; a second call does nothing."""
        with self._starting:
            if self._closed:
                return
            self._closed = True
        if self._thread.is_alive():
            self._queue.put(None)
            self._thread.join(CLOSE_S)
        self._state.engine.dispose()
        if not self._thread.is_alive():
            for lock in self._locks:
                lock.close()

    def _run(self) -> None:
        running = True
        while running:
            try:
                first = self._queue.get(timeout=SCRUB_EVERY_S if self._unscrubbed else None)
            except queue.Empty:
                self._scrub()
                continue
            group = [first]
            while len(group) < MAX_GROUP and not self._queue.empty():
                group.append(self._queue.get_nowait())
            running = None not in group
            self._take([item for item in group if item is not None])
            if self._unscrubbed and time.monotonic() >= self._scrub_due_s:
                self._scrub()
        self._days.close()

    def _take(self, group: list[_Queued]) -> None:
        """Commits a group and answers all of it, whatever happens: who was not answered would wait for ever."""
        self._writing_since = time.monotonic()
        try:
            self._commit(group)
        finally:
            self._writing_since = None
            lost = [future for _, future in group if not future.done()]
            for future in lost:
                future.set_exception(StorageError("the log's writer stopped before the write was done"))

    def _scrub(self) -> None:
        """Takes what was masked out of the journals as well; while a reader holds one it is tried again."""
        self._scrub_due_s = time.monotonic() + SCRUB_EVERY_S
        try:
            done = [self._days.scrub(), self._state.scrub()]
            self._unscrubbed = not all(done)
        except Exception as error:
            _log.warning("journal not emptied", extra={"error": type(error).__name__})

    def _commit(self, group: list[_Queued]) -> None:
        """Commits a group; if a batch is bad, one by one, so that it fails its own caller only. Where the disk or the
        database fails, all of the group do at once: each would wait as long for the same."""
        self._error = ""
        written = self._each(group, self._write_rows)
        kept = [(batch, future, positions) for (batch, future), positions in zip(group, written, strict=True)]
        kept = [item for item in kept if item[2] is not None]
        followed = self._each([(batch, future) for batch, future, _ in kept], self._insist)
        self._failure = self._error  # Whoever hears of the write finds the log well.
        for (_, future, positions), cursors in zip(kept, followed, strict=True):
            if positions is not None and cursors is not None:
                future.set_result(Committed(positions=positions, cursors=cursors))

    def _each(self, group: list[_Queued], write: Callable[[list[Batch]], list[T]]) -> list[T | None]:
        if not group:
            return []
        try:
            done: list[T | None] = list(write([batch for batch, _ in group]))
        except Exception as error:
            self._error = type(error).__name__
            _log.error("log write failed", extra={"error": self._error, "batches": len(group)})
            if len(group) > 1 and not _of_the_machine(error):
                return [result for item in group for result in self._each([item], write)]
            self._failure = self._error
            for _, future in group:
                future.set_exception(StorageError(f"the log did not take the write ({self._error})"))
            return [None for _ in group]
        return done

    def _insist(self, batches: list[Batch]) -> list[tuple[int | None, ...]]:
        """Writes the records, again and again while the disk or the database fails."""
        while True:
            try:
                return self._write_records(batches)
            except Exception as error:
                if self._closed or not any(batch.rows for batch in batches) or not _of_the_machine(error):
                    raise
                if not self._failure:
                    _log.error("records not written, tried again", extra={"error": type(error).__name__})
                self._failure = type(error).__name__
                time.sleep(INSIST_S)

    def _write_rows(self, batches: list[Batch]) -> list[tuple[int, ...]]:
        rows = [row for batch in batches for row in batch.rows]
        probing = any(batch.probe for batch in batches)
        positions = self._days.write(rows, now_ms=self._now_ms()) if rows or probing else []
        return _split(positions, [len(batch.rows) for batch in batches])

    def _write_records(self, batches: list[Batch]) -> list[tuple[int | None, ...]]:
        redactions = [item for batch in batches for item in batch.redactions]
        if redactions:
            self._days.redact(redactions)
            self._unscrubbed = True
        cursors = self._state.write(
            alerts=[alert for batch in batches for alert in batch.alerts],
            calls=list({(call.tenant, call.instance): call for batch in batches for call in batch.calls}.values()),
            snapshots=[snapshot for batch in batches for snapshot in batch.snapshots],
            audit=[entry for batch in batches for entry in batch.audit],
            ledger=[entry for batch in batches for entry in batch.ledger],
            redactions=redactions,
            probe=any(batch.probe for batch in batches),
        )
        return _split(cursors, [len(batch.alerts) for batch in batches])


def serving_log(data_dir: Path, source: KeySource) -> EmbeddedLog:
    """The log of the directory's one server.

    Raises:
        SetupError: a key is missing or wrong, or the directory is another's.
    """
    with shared(data_dir):  # The keys that are read are still right when they are used.
        vault = open_vault(data_dir, source)
        return EmbeddedLog(data_dir, vault=vault, lock=serve(data_dir, current_ids(vault)))


def _of_the_machine(error: Exception) -> bool:
    """Whether it is the disk or the database that fails (full, locked, not readable), not what was to be written."""
    return isinstance(error, OSError | sqlite3.OperationalError | SQLAlchemyOperationalError)


def _split(items: Sequence[T], sizes: Sequence[int]) -> list[tuple[T, ...]]:
    parts: list[tuple[T, ...]] = []
    start = 0
    for size in sizes:
        parts.append(tuple(items[start : start + size]))
        start += size
    return parts

"""What both engines share: a queue of batches that one thread commits in groups, and the reading of the state of record.

Batches queue up while the last transaction runs and become the next one, so there is no fixed delay and the rate grows
with the load. Knows nothing of where rows go: an engine says so in the methods that raise `NotImplementedError` here.
"""

from __future__ import annotations

import logging
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from typing import Final, TypeVar

from sqlalchemy.exc import OperationalError as SQLAlchemyOperationalError

from detector.alerts import Alert
from detector.events import EarlierComplaint
from server.errors import FencedError, OverloadedError, StorageError
from server.storage.port import Batch, CallRecord, Committed, Snapshot, Stored, StreamEntry, Words
from server.storage.statedb import StateDatabase

MAX_QUEUED_BATCHES: Final = 20_000
"""Batches that wait for the disk; beyond it `append` refuses, and so does the server."""
MAX_GROUP: Final = 1_000
"""Batches in one transaction: at about 1 ms for 50 rows, it bounds the wait of the last one."""
RETRY_AFTER_MS: Final = 500
CLOSE_S: Final = 3.0
"""A writer that hangs for longer when the log is closed is left behind: what it did not write was never acknowledged."""
INSIST_S: Final = 0.2
"""After so long what follows from the log is given to the state database again, which did not take it."""

T = TypeVar("T")
Queued = tuple[Batch, "Future[Committed]"]

_log = logging.getLogger("mamori.storage")


class QueuedLog:
    """The common half of the `Log` port; whoever derives from it calls `super().__init__` last, for it starts the writer.

    Args:
        state: where records go.
    """

    def __init__(self, state: StateDatabase) -> None:
        self._state = state
        self._queue: queue.Queue[Queued | None] = queue.Queue(MAX_QUEUED_BATCHES)
        self._failure = self._error = ""
        self._writing_since: float | None = None
        self.restarts = 0
        self._closed = False
        self._starting = threading.Lock()
        self._thread = self._start_writer()

    # What an engine must say.

    def _write_rows(self, batches: list[Batch]) -> list[tuple[int, ...]]:
        """Makes the rows of batches durable; returns their positions."""
        raise NotImplementedError

    def _write_records(self, batches: list[Batch]) -> list[tuple[int | None, ...]]:
        """Makes the records of batches durable; returns the cursors of their alert events."""
        raise NotImplementedError

    def _pause_s(self) -> float | None:
        """After so long without a batch `_tidy` is called; None for never."""
        return None

    def _tidy(self) -> None:
        """What is to be done now and then between two groups."""

    def _ended(self) -> None:
        """The writer ends."""

    def read_call(self, tenant: str, instance: str, *, after: int = -1) -> Iterator[Stored]:
        """A call's rows after a position, in order."""
        raise NotImplementedError

    def read_many(self, wanted: Sequence[tuple[str, str, int]]) -> Iterator[tuple[int, list[Stored]]]:
        """Rows of many calls."""
        raise NotImplementedError

    def free_bytes(self) -> int:
        """Room that is left for writes."""
        raise NotImplementedError

    def purge(self, *, keep_days: int, keep_record_days: int) -> int:
        """Takes away what is older; returns how many parts of the log went."""
        raise NotImplementedError

    def close(self) -> None:
        """Writes what is queued and closes everything."""
        raise NotImplementedError

    @property
    def words(self) -> Words:
        """What was said, for the rights of callers."""
        raise NotImplementedError

    def scrub_soon(self) -> None:
        """What was overwritten is to leave the journals, where there are any."""

    @property
    def state(self) -> StateDatabase:
        """The state database, for tokens, reports and the audit chain."""
        return self._state

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

    def open_calls(self) -> list[tuple[CallRecord, Snapshot | None]]:
        """All calls without an end."""
        return self._state.open_calls()

    def find_call(self, tenant: str, call_id: str) -> CallRecord | None:
        """The latest instance of a call id."""
        return self._state.find_call(tenant, call_id)

    def find_calls(self, tenant: str, call_ids: Sequence[str]) -> dict[str, CallRecord]:
        """The latest instance of each of many call ids."""
        return self._state.find_calls(tenant, call_ids)

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

    def _take(self, group: list[Queued]) -> None:
        """Commits a group and answers all of it, whatever happens: who was not answered would wait for ever."""
        self._writing_since = time.monotonic()
        try:
            self._commit(group)
        finally:
            self._writing_since = None
            lost = [future for _, future in group if not future.done()]
            for future in lost:
                future.set_exception(StorageError("the log's writer stopped before the write was done"))

    def _commit(self, group: list[Queued]) -> None:
        """Commits a group; if a batch is bad, one by one, so that it fails its own caller only. Where the disk or the
        database fails, all of the group do at once: each would wait as long for the same."""
        self._error = ""
        written = self._each(group, self._write_rows)
        kept = [(batch, future, positions) for (batch, future), positions in zip(group, written, strict=True)]
        self._follow([(batch, future, positions) for batch, future, positions in kept if positions is not None])

    def _follow(self, kept: list[tuple[Batch, Future[Committed], tuple[int, ...]]]) -> None:
        """The rows of these batches are durable, at these positions: writes their records, and answers."""
        followed = self._each([(batch, future) for batch, future, _ in kept], self._insist)
        self._failure = self._error  # Whoever hears of the write finds the log well.
        for (_, future, positions), cursors in zip(kept, followed, strict=True):
            if cursors is not None:
                future.set_result(Committed(positions=positions, cursors=cursors))

    def _each(self, group: list[Queued], write: Callable[[list[Batch]], list[T]]) -> list[T | None]:
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
            failed = error if isinstance(error, FencedError) else None
            for _, future in group:
                future.set_exception(failed or StorageError(f"the log did not take the write ({self._error})"))
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

    def _end_writer(self) -> bool:
        """Writes what is queued; False when that was done before."""
        with self._starting:
            if self._closed:
                return False
            self._closed = True
        if self._thread.is_alive():
            self._queue.put(None)
            self._thread.join(CLOSE_S)
        return True

    def _run(self) -> None:
        running = True
        while running:
            try:
                first = self._queue.get(timeout=self._pause_s())
            except queue.Empty:
                self._tidy()
                continue
            group = [first]
            while len(group) < MAX_GROUP and not self._queue.empty():
                group.append(self._queue.get_nowait())
            running = None not in group
            self._take([item for item in group if item is not None])
            self._tidy()
        self._ended()


def _of_the_machine(error: Exception) -> bool:
    """Whether it is the disk or the database that fails (full, locked, not readable), not what was to be written."""
    return isinstance(error, OSError | sqlite3.OperationalError | SQLAlchemyOperationalError)


def split(items: Sequence[T], sizes: Sequence[int]) -> list[tuple[T, ...]]:
    """Cuts a row of items into pieces of the given sizes."""
    parts: list[tuple[T, ...]] = []
    start = 0
    for size in sizes:
        parts.append(tuple(items[start : start + size]))
        start += size
    return parts

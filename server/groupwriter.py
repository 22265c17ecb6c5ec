"""Puts what the event loop wants to write into batches of the log, and hands the results back in order.

What comes after a pause is written in the same turn of the loop. Under load batches start at least `PACE_S` apart: each
costs a sync of the disk and two hand-overs between threads, however little is in it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Final, Protocol

from detector.alerts import AlertEvent
from server.errors import MamoriError
from server.logs import fault
from server.storage.port import AuditEntry, Batch, CallRecord, Committed, LedgerEntry, Redaction, Row, Snapshot

PACE_S: Final = 0.003
"""From the start of one batch to that of the next; an alert takes three batches, so it bounds what pacing adds to one."""

_log = logging.getLogger("mamori.log")


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What one caller wants written, and whom to tell.

    Args:
        done: called on the event loop with positions and cursors once all of it is durable, or with the error.
    """

    rows: Sequence[Row] = ()
    alerts: Sequence[tuple[str, str, AlertEvent]] = ()
    calls: Sequence[CallRecord] = ()
    snapshots: Sequence[Snapshot] = ()
    audit: Sequence[AuditEntry] = ()
    ledger: Sequence[LedgerEntry] = ()
    redactions: Sequence[Redaction] = ()
    done: Callable[[Committed | MamoriError], None] = field(default=lambda _: None)


class Writer(Protocol):
    """Whoever makes entries durable."""

    @property
    def outstanding(self) -> int:
        """Entries that are not durable yet."""

    def add(self, entry: Entry) -> None:
        """Queues an entry; its `done` hears, on the event loop, what became of it."""

    async def quiet(self) -> None:
        """Waits until nothing is outstanding."""


class Appends(Protocol):
    """The part of a log that is written to."""

    def append(self, batch: Batch) -> Future[Committed]:
        """See `Log.append`."""


class GroupWriter:
    """Writes for one event loop.

    Args:
        log: where to.
        loop: on which `add` is called and results are delivered.
        on_fault: hears of an error that a `done` raised; the other entries of its batch hear of their results all the same.
    """

    def __init__(
        self,
        log: Appends,
        loop: asyncio.AbstractEventLoop,
        on_fault: Callable[[BaseException], None] = lambda _: None,
    ) -> None:
        self._log = log
        self._loop = loop
        self._on_fault = on_fault
        self._entries: list[Entry] = []
        self._outstanding = 0
        self._flushed_s = 0.0
        self._quiet = asyncio.Event()
        self._quiet.set()

    @property
    def outstanding(self) -> int:
        """Entries that are not durable yet."""
        return self._outstanding

    def add(self, entry: Entry) -> None:
        """Queues an entry for the next batch."""
        if not self._entries:
            due_s = self._flushed_s + PACE_S
            if self._loop.time() >= due_s:
                self._loop.call_soon(self._flush)
            else:
                self._loop.call_at(due_s, self._flush)
        self._entries.append(entry)
        self._outstanding += 1
        self._quiet.clear()

    async def quiet(self) -> None:
        """Waits until nothing is outstanding."""
        await self._quiet.wait()

    def _flush(self) -> None:
        self._flushed_s = self._loop.time()
        entries, self._entries = self._entries, []
        batch = Batch(
            rows=[row for entry in entries for row in entry.rows],
            alerts=[alert for entry in entries for alert in entry.alerts],
            calls=[call for entry in entries for call in entry.calls],
            snapshots=[snapshot for entry in entries for snapshot in entry.snapshots],
            audit=[item for entry in entries for item in entry.audit],
            ledger=[item for entry in entries for item in entry.ledger],
            redactions=[item for entry in entries for item in entry.redactions],
        )
        try:
            future = self._log.append(batch)
        except MamoriError as error:
            self._finish(entries, error)
            return
        future.add_done_callback(lambda done: self._loop.call_soon_threadsafe(self._resolve, entries, done))

    def _resolve(self, entries: list[Entry], future: Future[Committed]) -> None:
        error = future.exception()
        if error is not None:
            self._finish(entries, error if isinstance(error, MamoriError) else MamoriError(type(error).__name__))
            return
        committed = future.result()
        row_at = alert_at = 0
        self._outstanding -= len(entries)
        for entry in entries:
            part = Committed(
                positions=committed.positions[row_at : row_at + len(entry.rows)],
                cursors=committed.cursors[alert_at : alert_at + len(entry.alerts)],
            )
            row_at += len(entry.rows)
            alert_at += len(entry.alerts)
            self._tell(entry, part)
        if not self._outstanding:
            self._quiet.set()

    def _finish(self, entries: list[Entry], error: MamoriError) -> None:
        self._outstanding -= len(entries)
        for entry in entries:
            self._tell(entry, error)
        if not self._outstanding:
            self._quiet.set()

    def _tell(self, entry: Entry, result: Committed | MamoriError) -> None:
        try:
            entry.done(result)
        except Exception as error:
            _log.error("what was stored could not be followed up", extra=fault(error))
            self._on_fault(error)

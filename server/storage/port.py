"""The log port: what the runtime needs of an engine, whichever it is.

The log is the truth. A `Batch` is one unit of durability: when its future resolves, all of it will survive a power
failure, and only then may anything of it be acknowledged or published.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from typing import Any, Protocol

from detector.alerts import Alert, AlertEvent
from detector.events import EarlierComplaint

Instances = frozenset[tuple[str, str]]
"""Calls, as tenant and instance."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row of a call's log.

    Args:
        tenant, instance: whose call it is; `instance` names one life of a call id.
        kind: a key of `codec.KINDS`.
        utc_ms: receipt, UTC milliseconds since 1970.
        seq: the platform's number of the event, or None for what the server added.
        value: the decoded value.
    """

    tenant: str
    instance: str
    kind: str
    utc_ms: int
    value: Any = field(repr=False)
    seq: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CallRecord:
    """What is stored of a call beside its log.

    Args:
        started_ms: UTC of its first event, milliseconds since 1970.
        ended_ms: UTC of its end, or None while it is open.
        next_seq: the lowest `seq` that is not consumed yet.
        level: the highest level that the call reached.
        caller_key: keyed hash of the caller; empty when unknown or forgotten, None for a call from before it was kept.
    """

    tenant: str
    instance: str
    call_id: str
    queue: str
    agent_id: str
    language: str
    started_ms: int
    ended_ms: int | None = None
    end_reason: str = ""
    next_seq: int = 0
    level: str = "none"
    talk_ms: int = 0
    hold_ms: int = 0
    monitoring: str = "ok"
    caller_key: str | None = ""

    @property
    def opened_ms(self) -> int:
        """When the call's first event came, by our own clock: it is part of the instance's name."""
        with suppress(ValueError):
            return int(self.instance.rpartition("@")[2])
        return self.started_ms


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A call's state at a point of its log: everything up to `position` is folded in.

    Args:
        position: the `Stored.position` of the last row that is contained.
        data: encoded `CallState`.
    """

    tenant: str
    instance: str
    position: int
    fold_version: int
    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """Who did what to what; ids and actions only, never transcript text.

    Args:
        once: one that says the same, whenever it was, makes this one needless: it may come twice after a crash, or from two
            owners of a call.
    """

    tenant: str
    utc_ms: int
    actor: str
    action: str
    target: str
    detail: str = ""
    once: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerEntry:
    """What an ended call leaves of one complaint, keyed by its caller; no words.

    Args:
        ordinal: 0 for the call's most raised complaint.
        caller_key: keyed hash of the caller.
        utc_ms: when the call ended.
        centre: see `detector.events.EarlierComplaint`.
        raisings: how often it was raised on that call.
    """

    tenant: str
    instance: str
    ordinal: int
    caller_key: str
    utc_ms: int
    model_version: str
    centre: bytes = field(repr=False)
    raisings: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Redaction:
    """A segment was masked after the fact: every stored copy of it is rewritten before the batch counts as durable.

    Args:
        text: the final's masked text, as long as the text that it replaces.
    """

    tenant: str
    instance: str
    segment_id: str
    text: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """One unit of durability, in the order: log rows, then the records that follow from them.

    A `probe` holds nothing: it shows whether both files take a write. In a cluster, `epoch` is that of the ownership under
    which it was made: it is refused under any other.
    """

    rows: Sequence[Row] = ()
    alerts: Sequence[tuple[str, str, AlertEvent]] = ()
    calls: Sequence[CallRecord] = ()
    snapshots: Sequence[Snapshot] = ()
    audit: Sequence[AuditEntry] = ()
    ledger: Sequence[LedgerEntry] = ()
    redactions: Sequence[Redaction] = ()
    probe: bool = False
    epoch: int | None = None

    @property
    def has_records(self) -> bool:
        """Whether there is anything in it for the state database."""
        return bool(
            self.alerts or self.calls or self.snapshots or self.audit or self.ledger or self.redactions or self.probe
        )


def merged(batches: Sequence[Batch]) -> Batch:
    """The records of several batches as one, in their order; of a call its last record alone. Rows are left out."""
    return Batch(
        alerts=[alert for batch in batches for alert in batch.alerts],
        calls=list({(call.tenant, call.instance): call for batch in batches for call in batch.calls}.values()),
        snapshots=[snapshot for batch in batches for snapshot in batch.snapshots],
        audit=[entry for batch in batches for entry in batch.audit],
        ledger=[entry for batch in batches for entry in batch.ledger],
        redactions=[item for batch in batches for item in batch.redactions],
        probe=any(batch.probe for batch in batches),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Committed:
    """A batch is durable.

    Args:
        positions: of its rows, in order; rising within a call.
        cursors: of its alert events, in order; None for one that was there already.
    """

    positions: tuple[int, ...]
    cursors: tuple[int | None, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """A row as read back."""

    position: int
    row: Row


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamEntry:
    """One alert event with its place in the alert stream."""

    cursor: int
    tenant: str
    event: AlertEvent


class Log(Protocol):
    """What the runtime needs of a storage engine. Reads are synchronous and belong on a worker thread."""

    def append(self, batch: Batch) -> Future[Committed]:
        """Makes a batch durable, in the order of the calls.

        Raises:
            OverloadedError: the write queue is full.
        """

    @property
    def failure(self) -> str:
        """Why the last write failed, in a word; empty when it went well."""

    @property
    def depth(self) -> int:
        """Batches that wait for the disk."""

    @property
    def waited_s(self) -> float:
        """For how long the write under way has lasted, 0 while there is none."""

    def revive(self) -> bool:
        """Replaces a writer that has died; whether it had."""

    def read_call(self, tenant: str, instance: str, *, after: int = -1) -> Iterator[Stored]:
        """A call's rows after a position, in order."""

    def read_many(self, wanted: Sequence[tuple[str, str, int]]) -> Iterator[tuple[int, list[Stored]]]:
        """Rows of many calls, given as (tenant, instance, position): index and rows, in order for each call."""

    def open_calls(self) -> list[tuple[CallRecord, Snapshot | None]]:
        """All calls that have not ended, with their last snapshots."""

    def find_call(self, tenant: str, call_id: str) -> CallRecord | None:
        """The latest instance of a call id."""

    def find_calls(self, tenant: str, call_ids: Sequence[str]) -> dict[str, CallRecord]:
        """The latest instance of each of many call ids; those that are unknown are left out."""

    def calls(self, tenant: str, *, limit: int = 200, open_only: bool = False) -> list[CallRecord]:
        """Calls, newest first."""

    def alert(self, tenant: str, alert_id: str) -> tuple[str, Alert] | None:
        """An alert as it stands, with its call instance."""

    def alerts(
        self, tenant: str, *, open_only: bool = True, limit: int = 1000, call_id: str | None = None
    ) -> list[Alert]:
        """Alerts, newest first."""

    def waiting_alerts(self, *, since_ms: int) -> list[tuple[str, str, Alert]]:
        """Open and snoozed alerts of all tenants raised since a UTC time, as (tenant, instance, alert)."""

    def stream(self, tenant: str, *, after: int, limit: int = 1000) -> list[StreamEntry]:
        """Alert events after a cursor, in order."""

    def earlier_complaints(self, tenant: str, caller_key: str, *, since_ms: int, limit: int) -> list[EarlierComplaint]:
        """A caller's complaints in the ledger since a UTC time, newest first; none for a shared number."""

    def cursor(self) -> int:
        """The last cursor that was given out, 0 before the first."""

    def oldest_cursor(self) -> int:
        """The first cursor that retention has kept, 0 when there is none."""

    def free_bytes(self) -> int:
        """Room that is left for writes."""

    def close(self) -> None:
        """Writes what is queued and closes the files."""


class Words(Protocol):
    """What was said in calls, for the rights of callers. Belongs on a worker thread."""

    def deciding(self) -> AbstractContextManager[None]:
        """Keeps the purge, holds and deletions from one another."""

    def held(self) -> Instances:
        """Calls under legal hold."""

    def read_call(self, tenant: str, instance: str, *, after: int = -1) -> Iterator[Stored]:
        """A call's rows after a position, in order."""

    def read_many(self, wanted: Sequence[tuple[str, str, int]]) -> Iterator[tuple[int, list[Stored]]]:
        """See `Log.read_many`."""

    def forget(self, tenant: str, instance: str) -> int:
        """Takes away all that the log of a call that has ended says; returns how many rows lost their content."""

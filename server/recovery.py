"""Reads calls back after a restart: the last snapshot, and the tail of the log folded on top of it.

Decides nothing of what is missing: it hands out what the fold asks for and what it raised, and the runtime makes the rest.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from detector.alerts import AlertEvent
from detector.events import Gap, SegmentRedacted
from detector.scoring import ScoreRequest, ScoreResult, Unscored
from detector.session import CallSession
from server.livecall import LiveCall, read_snapshot
from server.logs import fault
from server.storage.port import CallRecord, Log, Row, Snapshot, Stored

_log = logging.getLogger("mamori.recovery")


@dataclass(slots=True, kw_only=True)
class Restored:
    """One call as it was read back.

    Args:
        call: folded up to the last row that counts.
        last_ms: UTC of that row, milliseconds since 1970.
        requests: scores that the fold awaits and the log lacks, by id.
        events: alert events of the tail; the store knows those that it has already.
        redacted: segments that were masked after the fact; whether every copy was is not known.
    """

    call: LiveCall
    last_ms: int
    requests: dict[str, ScoreRequest] = field(default_factory=dict)
    events: list[AlertEvent] = field(default_factory=list)
    redacted: list[SegmentRedacted] = field(default_factory=list)


def read_back(
    log: Log,
    found: Sequence[tuple[CallRecord, Snapshot | None]],
    session_of: Callable[[CallRecord], CallSession],
    *,
    now_s: float,
) -> list[Restored]:
    """Restores calls, in the order given; each file of the log is opened once.

    Args:
        log: where their rows are.
        found: records with their snapshots.
        session_of: makes a fresh fold for a record.
        now_s: monotonic seconds.
    """
    restored = [
        Restored(call=_from_snapshot(record, snapshot, session_of(record), now_s), last_ms=record.started_ms)
        for record, snapshot in found
    ]
    wanted = [(item.call.record.tenant, item.call.record.instance, item.call.position) for item in restored]
    for index, rows in log.read_many(wanted):
        for stored in rows:
            restored[index].last_ms = stored.row.utc_ms
            _refold(restored[index], stored.position, stored.row)
    return restored


def refold(record: CallRecord, session: CallSession, rows: Iterable[Stored]) -> Restored:
    """Folds all of a call's rows into a fresh session, as a restart would."""
    restored = Restored(call=_from_snapshot(record, None, session, 0.0), last_ms=record.started_ms)
    for stored in rows:
        restored.last_ms = stored.row.utc_ms
        _refold(restored, stored.position, stored.row)
    return restored


def _from_snapshot(record: CallRecord, snapshot: Snapshot | None, session: CallSession, now_s: float) -> LiveCall:
    call = LiveCall(record=record, session=session, anchor_s=now_s, last_event_s=now_s)
    data = read_snapshot(snapshot)
    if data is not None and snapshot is not None:
        session.state = data.state
        call.next_seq, call.durable_seq, call.counted = data.next_seq, data.next_seq - 1, data.counted
        call.position = snapshot.position
    return call


def _refold(restored: Restored, position: int, row: Row) -> None:
    call = restored.call
    call.position = position
    call.folded += 1
    if row.seq is not None:
        if row.seq != call.durable_seq + 1:
            # One before it never became durable: the row was never acknowledged and comes again.
            return
        call.durable_seq, call.next_seq = row.seq, row.seq + 1
    if isinstance(row.value, Gap):
        call.durable_seq = max(call.durable_seq, row.value.last_seq)
        call.next_seq = call.durable_seq + 1
    if row.kind == "tombstone":
        return
    if isinstance(row.value, SegmentRedacted):
        restored.redacted.append(row.value)
    if isinstance(row.value, ScoreResult | Unscored):
        restored.requests.pop(row.value.request_id, None)
    try:
        outputs = call.session.receive(row.value, utc_ms=row.utc_ms)
    except Exception as error:
        # A fault of ours in one call must not keep the server from the others.
        _log.error("a call's log could not be folded again", extra={"call_id": call.record.call_id, **fault(error)})
        call.fault = "internal_error"
        return
    for output in outputs:
        if isinstance(output, ScoreRequest):
            restored.requests[output.request_id] = output
        elif isinstance(output, AlertEvent):
            restored.events.append(output)

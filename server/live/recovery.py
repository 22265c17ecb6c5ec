"""Reads calls back after a restart: the last snapshot, and the tail of the log folded on top of it.

`read_back` decides nothing of what is missing: it hands out what the fold asks for and what it raised; `Recovery` makes the rest.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from detector.alerts import AlertEvent
from detector.events import Gap, SegmentRedacted, SupervisorAction
from detector.scoring import ScoreRequest, ScoreResult, Unscored
from detector.session import CallSession
from server.groupwriter import Entry
from server.live.call import LiveCall, read_snapshot
from server.live.fold import Fold
from server.live.resources import Resources
from server.live.saving import Saving
from server.logs import fault
from server.storage.port import AuditEntry, CallRecord, Log, Redaction, Row, Snapshot, Stored
from server.trail import action_entry

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
        acted: what people did, as it belongs on the audit trail; whether it is there is not known.
    """

    call: LiveCall
    last_ms: int
    requests: dict[str, ScoreRequest] = field(default_factory=dict)
    events: list[AlertEvent] = field(default_factory=list)
    redacted: list[SegmentRedacted] = field(default_factory=list)
    acted: list[AuditEntry] = field(default_factory=list)


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
    if isinstance(row.value, SupervisorAction):
        restored.acted.append(action_entry(row.tenant, row.value, row.utc_ms))
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


class Recovery:
    """Brings calls back into one process.

    Args:
        shared: the log, the calls.
        saving: takes the alerts that the fold raises and the log may lack.
        fold: takes what goes on from there.
    """

    def __init__(self, shared: Resources, saving: Saving, fold: Fold) -> None:
        self._shared = shared
        self._saving = saving
        self._fold = fold

    def restore(self, found: list[tuple[CallRecord, Snapshot | None]]) -> list[LiveCall]:
        """Restores calls from snapshot and log tail; what the fold yields and the log lacks is made now, and is late."""
        restored = read_back(self._shared.log, found, self._shared.session, now_s=self._shared.clock.monotonic())
        self.take_up(restored)
        return [item.call for item in restored]

    def take_up(self, restored: Sequence[Restored]) -> None:
        """Follows calls that were read back."""
        now_s, now_ms = self._shared.clock.monotonic(), self._shared.clock.utc_ms()
        self._shared.calls |= {item.call.key: item.call for item in restored}
        if acted := [entry for item in restored for entry in item.acted]:
            self._shared.write(Entry(audit=acted))
        for item in restored:
            call, silent_s = item.call, max(0.0, (now_ms - item.last_ms) / 1000)
            call.anchor_media_ms = call.session.state.clock.elapsed_ms
            call.anchor_s = call.last_event_s = now_s - silent_s
            call.lost_at_s = now_s + self._shared.limits.lost_after_s
            if item.events:
                self._saving.save(call, [self._saving.linked(call, event, late=True) for event in item.events])
            if item.redacted:
                # A crash may have come between the log and what follows from it.
                names = {"tenant": call.record.tenant, "instance": call.record.instance}
                again = [Redaction(**names, segment_id=part.segment_id, text=part.text) for part in item.redacted]
                self._shared.write(Entry(redactions=again))
            call.late |= item.requests.keys()
            for request in item.requests.values():
                self._fold.scoring.ask(call, request, now_s)
            self._finish(call)

    def _finish(self, call: LiveCall) -> None:
        call.ending = call.session.state.ended
        for segment in call.session.state.transcript.finals:
            for item in call.running.take(segment, call.session.state.language)[1]:
                self._fold.mask(call, item)
        if call.session.state.ended and call.session.idle and not call.requests:
            if call.record.ended_ms is None:
                self._saving.retire(call)
            return
        if call.session.state.caller_key and call.session.state.earlier is None:
            self._fold.look_up(call)
        self._shared.timers.schedule(call)

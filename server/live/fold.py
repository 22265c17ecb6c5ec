"""Folds what is durable into its call, and performs what the fold asks for."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Any, Final

from detector.alerts import ActionAnswer, AlertEvent, Noted
from detector.desk import Output
from detector.events import CallStarted, ContextSet, EarlierComplaint, Segment, SegmentRedacted, TimerFired
from detector.ledger import MAX_EARLIER
from detector.replaying import media_time_ms
from detector.scoring import ScoreRequest
from server.clock import DAY_MS
from server.errors import MamoriError
from server.groupwriter import Entry
from server.live.call import SNAPSHOT_EVERY, LiveCall
from server.live.floor import Floor
from server.live.resources import INSIST_S, Resources
from server.live.saving import Saving
from server.live.scoring import Scoring
from server.storage.port import AuditEntry, CallRecord, Committed, Redaction, Row
from server.supervision import Supervision

DRIFT_MS: Final = 50
"""Media time that runs ahead of the clock by more than this brings the call's timers forward."""

_log = logging.getLogger("mamori.runtime")


class Fold:
    """The fold of all calls of one process.

    Args:
        shared: the log, the clock, the rules.
        floor: shows what was folded.
        saving: takes what it yields.
        supervision: hears of answers to actions.
    """

    def __init__(self, shared: Resources, floor: Floor, saving: Saving, supervision: Supervision) -> None:
        self._shared = shared
        self._floor = floor
        self._saving = saving
        self._supervision = supervision
        self.scoring = Scoring(shared, floor, self.fold)
        self._lookups: set[asyncio.Task[list[EarlierComplaint]]] = set()

    def add_input(
        self,
        call: LiveCall,
        value: Any,
        *,
        follow: Callable[[Committed | MamoriError], None] | None = None,
        audit: Sequence[AuditEntry] = (),
        redactions: Sequence[Redaction] = (),
        calls: Sequence[CallRecord] = (),
    ) -> None:
        """Logs an input that the server adds to a call and folds it once it is durable."""
        now_s, row = self._shared.clock.monotonic(), self._shared.row(call, value)

        def done(result: Committed | MamoriError) -> None:
            if follow is not None:
                follow(result)
            if isinstance(result, Committed):
                self.fold(call, row, result.positions[0], received_s=now_s)

        self._shared.write(Entry(rows=[row], audit=audit, redactions=redactions, calls=calls, done=done))

    def insist(self, call: LiveCall, value: Any) -> None:
        """Adds an input that must not be missing, and tries again while the log does not take it."""

        def follow(result: Committed | MamoriError) -> None:
            if isinstance(result, MamoriError):
                self._floor.degrade(call.record.tenant, "storage")
                self._shared.loop.call_later(INSIST_S, self.insist, call, value)

        if self._shared.calls.get(call.key) is call:
            self.add_input(call, value, follow=follow)

    def mask(self, call: LiveCall, item: SegmentRedacted) -> None:
        """A stored segment must be masked: its copies are rewritten, and only then does the fold hear of it."""
        call.masking[item.segment_id] = item.text
        tenant, instance = call.record.tenant, call.record.instance

        def follow(result: Committed | MamoriError) -> None:
            if isinstance(result, MamoriError):
                self._floor.degrade(tenant, "storage")
                self._shared.loop.call_later(INSIST_S, self.mask, call, item)

        redaction = Redaction(tenant=tenant, instance=instance, segment_id=item.segment_id, text=item.text)
        self.add_input(call, item, follow=follow, redactions=[redaction])

    def fold(self, call: LiveCall, row: Row, position: int, *, received_s: float, late: bool = False) -> None:
        """Folds a row that is durable.

        Args:
            call: whose row it is.
            row, position: as stored.
            received_s: monotonic time at which it came in.
            late: what it raises is late, for a restart came between.
        """
        call.position = max(call.position, position)
        call.folded += 1
        if row.kind == "tombstone":
            return
        try:
            outputs = call.session.receive(row.value, utc_ms=row.utc_ms, late=late)
        except Exception as error:
            self._stumbled(call, error)
            return
        if self._shared.shadow is not None:
            self._shared.shadow.fold(call.record, row.value, outputs, utc_ms=row.utc_ms)
        ahead_ms = 0
        if row.seq is not None and media_time_ms(row.value) is not None:
            ahead_ms = call.session.latest_ms - call.media_now_ms(received_s)
            call.anchor(call.session.latest_ms, received_s)
        if isinstance(row.value, SegmentRedacted):
            call.masking.pop(row.value.segment_id, None)
            # The last snapshot still holds what was masked: another takes its place as soon as may be.
            call.folded = SNAPSHOT_EVERY
        if isinstance(row.value, Segment | SegmentRedacted | CallStarted):
            self._floor.show(call, row)
        if isinstance(row.value, TimerFired):
            call.timer_pending = False
        if isinstance(row.value, CallStarted) and row.value.caller_key:
            self._shared.write(Entry(calls=[self._saving.record(call)]))
            self.look_up(call)
        call.status_due = True
        call.status_news |= bool(outputs) or not isinstance(row.value, Segment)
        # A partial in its time brings no timer forward, and one that was put off looks again when it fires.
        quiet = isinstance(row.value, Segment) and not row.value.is_final and ahead_ms <= DRIFT_MS
        if outputs or not quiet:
            self._perform(call, outputs, received_s=received_s)

    def _stumbled(self, call: LiveCall, error: Exception) -> None:
        """The fold of a call failed, which is a fault of ours: the call is marked for good, the others go on."""
        self._shared.fold_failed(error)
        call.fault = "internal_error"
        call.timer_pending = False
        call.status_news = True
        if call.ending and not call.session.state.ended:
            call.session.state.ended, call.session.state.end_reason = True, "internal_error"
            self._saving.retire(call)

    def look_up(self, call: LiveCall) -> None:
        """Reads the caller's earlier complaints, off the loop, and logs them as context of the call."""
        state = call.session.state
        since_ms = self._shared.clock.utc_ms() - call.session.rules.repetition.ledger_days * DAY_MS

        def read() -> list[EarlierComplaint]:
            return self._shared.log.earlier_complaints(
                call.record.tenant, state.caller_key, since_ms=since_ms, limit=MAX_EARLIER
            )

        task = self._shared.loop.create_task(asyncio.to_thread(read))
        self._lookups.add(task)

        def found(done: asyncio.Task[list[EarlierComplaint]]) -> None:
            self._lookups.discard(done)
            if done.cancelled():
                return
            if done.exception() is not None:
                _log.warning("ledger not read", extra={"error": type(done.exception()).__name__})
            elif done.result() and self._shared.calls.get(call.key) is call and not state.ended:
                self.add_input(call, ContextSet(earlier=tuple(done.result())))

        task.add_done_callback(found)

    def _perform(self, call: LiveCall, outputs: list[Output], *, received_s: float) -> None:
        events: list[AlertEvent] = []
        answers: list[Callable[[], None]] = []
        for output in outputs:
            match output:
                case ScoreRequest():
                    self.scoring.ask(call, output, received_s)
                case AlertEvent():
                    latency_ms = round((self._shared.clock.monotonic() - received_s) * 1000, 1)
                    events.append(self._saving.linked(call, output, latency_ms=latency_ms))
                case ActionAnswer():
                    answers.append(self._supervision.answered(call.record.instance, output))
                case Noted():
                    _log.info("noted", extra={"call_id": call.record.call_id, "what": output.what})
        if events:
            self._saving.save(call, events, answers)
        else:
            for tell in answers:
                tell()
        if call.session.state.ended and call.session.idle and not call.requests:
            if call.record.ended_ms is None:
                self._saving.retire(call)
            return
        self._shared.timers.schedule(call)
        if call.folded >= SNAPSHOT_EVERY and call.session.idle and not self._saving.unsaved:
            call.folded = 0
            self._shared.write(Entry(snapshots=[call.snapshot()]))

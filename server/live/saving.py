"""What follows from a fold is made durable, and told only then: alert events, and the end of a call."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from detector.alerts import AlertChange, AlertEvent
from detector.ledger import left_by
from server.errors import MamoriError
from server.groupwriter import Entry
from server.hub import Published
from server.live.call import LiveCall
from server.live.floor import Floor
from server.live.resources import INSIST_S, Resources
from server.storage.port import CallRecord, Committed, LedgerEntry
from server.storage.redactions import masked_alert
from server.supervision import Supervision

_log = logging.getLogger("mamori.runtime")


class Saving:
    """Stores and tells for one process.

    Args:
        shared: the log, the hub.
        floor: hears that something could not be stored.
        supervision: follows what people do with alerts.
    """

    def __init__(self, shared: Resources, floor: Floor, supervision: Supervision) -> None:
        self._shared = shared
        self._floor = floor
        self._supervision = supervision
        self.unsaved = 0
        """Calls whose alert events are on their way to the log."""

    def linked(self, call: LiveCall, event: AlertEvent, **fields: Any) -> AlertEvent:
        """An alert event with what the fold does not know: the house's links, and how or when it came about."""
        links = self._shared.links.fill(call.record.call_id, event.alert.call.agent_id)
        return replace(event, alert=replace(event.alert, links=links, **fields))

    def save(self, call: LiveCall, events: list[AlertEvent], answers: Sequence[Callable[[], None]] = ()) -> None:
        """Makes alert events durable, then tells everybody of them, and then those whose actions they answer.

        One write of a call at a time: were one to fail and the next to succeed, a version would be told before the one it
        follows.
        """
        call.unsaved += events
        call.untold += answers
        if not call.saving:
            call.saving = True
            self.unsaved += 1
            self._save_next(call, 0)

    def _save_next(self, call: LiveCall, attempt: int) -> None:
        tenant, instance = call.record.tenant, call.record.instance
        for name, text in call.masking.items():
            call.unsaved = [replace(event, alert=masked_alert(event.alert, name, text)[0]) for event in call.unsaved]
        events, call.unsaved = call.unsaved, []
        answers, call.untold = call.untold, []
        records = []
        level = call.session.state.book.peak.value
        if level != call.record.level:
            call.record = replace(call.record, level=level)
            records = [self.record(call)]

        def done(result: Committed | MamoriError) -> None:
            if isinstance(result, MamoriError):
                # An alert that cannot be stored now is stored later; until then the floor says that something is wrong.
                self._floor.degrade(tenant, "storage")
                call.unsaved, call.untold = events + call.unsaved, answers + call.untold
                self._shared.loop.call_later(min(5.0, 0.2 * 2**attempt), self._save_next, call, attempt + 1)
                return
            self._saved(call)
            self.publish(tenant, instance, events, result.cursors)
            for tell in answers:
                tell()

        entries = [(tenant, instance, event) for event in events]
        self._shared.write(Entry(alerts=entries, calls=records, done=done))

    def _saved(self, call: LiveCall) -> None:
        if call.unsaved:
            self._save_next(call, 0)
            return
        call.saving = False
        self.unsaved -= 1
        if call.closing:
            self._close(call)

    def publish(self, tenant: str, instance: str, events: list[AlertEvent], cursors: tuple[int | None, ...]) -> None:
        """Tells everybody of alert events that are durable; those without a cursor were told before."""
        for event, cursor in zip(events, cursors, strict=True):
            if cursor is None:
                continue
            alert = event.alert
            if alert.observed:
                self._shared.observe("alerts_observed", 1)
                continue
            self._supervision.changed(tenant, instance, alert)
            if event.type is AlertChange.RAISED and alert.latency_ms is not None:
                self._shared.observe("alert_latency_s", alert.latency_ms / 1000)
            self._shared.observe("alerts", 1)
            self._shared.hub.publish(
                Published(tenant=tenant, queue=alert.call.queue, topic="alert", cursor=cursor, event=event)
            )

    def record(self, call: LiveCall) -> CallRecord:
        """What is to be stored of a call as it stands."""
        state = call.session.state
        return replace(
            call.record,
            queue=state.queue,
            agent_id=state.agent_id,
            language=state.language,
            next_seq=call.next_seq,
            talk_ms=state.clock.talk_ms,
            hold_ms=state.clock.hold_total_ms,
            monitoring=state.monitoring.state.value,
            caller_key=state.caller_key,
        )

    def retire(self, call: LiveCall) -> None:
        """The call is over and nothing of it is awaited: its record is closed and its memory freed."""
        reason = call.session.state.end_reason or "ended"
        call.record = replace(self.record(call), ended_ms=self._shared.clock.utc_ms(), end_reason=reason)
        self._shared.hub.publish(self._floor.status(call))
        if self._shared.shadow is not None:
            self._shared.shadow.close(call.record)
        self._close(call)
        state = call.session.state
        _log.info(
            "call",
            extra={
                "call_id": call.record.call_id,
                "tenant": call.record.tenant,
                "queue": state.queue,
                "language": state.language,
                "elapsed_ms": state.clock.elapsed_ms,
                "rules": state.rules_version,
                "model": state.model_version,
                "level_reached": state.book.peak.value,
                "rounds": state.repetition.rounds,
                "talk_ms": state.clock.talk_ms,
                "hold_ms": state.clock.hold_total_ms,
                "unscored": state.unscored,
                "monitoring": state.monitoring.state.value,
                "end": reason,
            },
        )

    def _close(self, call: LiveCall) -> None:
        """Until its end is durable the call stays here, lest a late event find it open in the database; and until its alerts
        are, its end is not, for a restart makes what is missing of open calls alone."""
        call.closing = call.saving
        if call.saving or call.record.ended_ms is None:
            return

        def done(result: Committed | MamoriError) -> None:
            if isinstance(result, MamoriError):
                self._shared.loop.call_later(INSIST_S, self._close, call)
            elif call.record.ended_ms is not None:  # Else it was reopened meanwhile.
                self.forget(call)

        left = self._left(call)
        self._shared.write(Entry(calls=[call.record], snapshots=[call.snapshot()], ledger=left, done=done))

    def _left(self, call: LiveCall) -> list[LedgerEntry]:
        """What the call leaves in the ledger: nothing, where the caller is not known."""
        state = call.session.state
        if not state.caller_key or state.direction != "inbound":
            return []
        return [
            LedgerEntry(
                tenant=call.record.tenant,
                instance=call.record.instance,
                ordinal=ordinal,
                caller_key=state.caller_key,
                utc_ms=self._shared.clock.utc_ms(),
                model_version=state.model_version,
                centre=left.centre,
                raisings=left.raisings,
            )
            for ordinal, left in enumerate(left_by(state.repetition))
        ]

    def drop(self, call: LiveCall) -> None:
        """Another process follows the call from now on: nothing that is awaited of it here counts."""
        call.requests.clear()
        if call.saving:
            call.saving = False
            self.unsaved -= 1
        if self._shared.shadow is not None:
            self._shared.shadow.drop(call.record)
        self.forget(call)

    def forget(self, call: LiveCall) -> None:
        """The call is followed no more."""
        if self._shared.calls.get(call.key) is call:
            del self._shared.calls[call.key]
        self._shared.timers.forget(call)
        self._supervision.forget(call.record.instance)

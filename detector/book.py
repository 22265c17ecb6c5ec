"""The alerts of one call: at most one open of a kind, raised once, updated, retracted, expired.

Takes what the signals decided and yields the alert events that follow. Says nothing twice: an update leaves only when
the level, the labels, the ending step, the strongest evidence or its certainty changed.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Final

from detector.alerts import (
    CLOSED,
    Alert,
    AlertChange,
    AlertEvent,
    AlertState,
    CallSummary,
    Evidence,
    Guideline,
    Kind,
    Phrase,
    Suggestion,
    alert_id,
)
from detector.labels import Level
from detector.life import expire, retract

MAX_CLOSED: Final = 32
"""Closed alerts that a session remembers, so that acting on one is answered `closed`."""


NO_REASON: Final = Phrase(ja="", en="")
NO_SUGGESTION: Final = Suggestion(step="", supervisor=Phrase(ja="", en=""), operator_phrase=Phrase(ja="", en=""))
"""Stands in a finding of level `none`, which suggests nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What a signal decided for one kind of alert.

    Args:
        level: `none` when there is nothing (any more).
        reason: one sentence in both languages.
        labels: harassment labels, or the cause for distress.
        score: 0 to 1.
        evidence: strongest first, at most `alerts.MAX_EVIDENCE`.
        provisional: rests on a partial alone.
        guideline, suggestion: from the playbook.
        step: how far the ending procedure has come.
        trigger_segment_id: what set it off.
        gone: why the evidence went, for the retraction.
    """

    kind: Kind
    level: Level
    reason: Phrase = NO_REASON
    labels: tuple[str, ...] = ()
    score: float = 0.0
    evidence: tuple[Evidence, ...] = ()
    provisional: bool = False
    guideline: tuple[Guideline, ...] = ()
    suggestion: Suggestion = NO_SUGGESTION
    step: str = ""
    trigger_segment_id: str = ""
    gone: str = "evidence_withdrawn"


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """When and on which call something is decided: UTC for the record, media time for the decision.

    Args:
        utc: RFC 3339.
        late: decided only after a restart or an overload.
        observed: the call is only observed.
    """

    utc: str
    media_ms: int
    call: CallSummary
    call_id: str
    tenant: str
    instance: str
    rules_version: str
    model_version: str
    late: bool
    observed: bool = False


@dataclass(slots=True, kw_only=True)
class AlertBook:
    """A call's alerts by kind, and the closed ones by id; plain data."""

    current: dict[Kind, Alert] = field(default_factory=dict)
    ordinals: dict[Kind, int] = field(default_factory=dict)
    closed: dict[str, Alert] = field(default_factory=dict)
    peak: Level = Level.NONE
    cooling: dict[Kind, tuple[int, Level]] = field(default_factory=dict)
    held: list[Kind] = field(default_factory=list)

    @property
    def cooling_until_ms(self) -> list[int]:
        """Media times at which what was held back may be raised."""
        return [self.cooling[kind][0] for kind in self.held]

    def cool(self, kind: Kind, *, until_ms: int, level: Level) -> None:
        """An alert was resolved: until a media time only a higher level of its kind is raised."""
        self.cooling[kind] = (until_ms, level)

    def holds_back(self, finding: Finding, now_ms: int) -> bool:
        """Whether a new alert has to wait for the end of a cool-down."""
        if finding.kind in self.current or finding.kind not in self.cooling:
            return False
        until_ms, level = self.cooling[finding.kind]
        if now_ms >= until_ms:
            del self.cooling[finding.kind]
            self.held = [kind for kind in self.held if kind is not finding.kind]
            return False
        return finding.level <= level

    def note_held(self, kind: Kind) -> bool:
        """Notes that an alert waits; True the first time."""
        if kind in self.held:
            return False
        self.held.append(kind)
        return True

    def redact(self, segment_id: str, text: str) -> None:
        """Puts a masked text in place of a stored one in the evidence of open alerts."""
        for kind, alert in self.current.items():
            if any(segment_id in (piece.segment_id, piece.answer_segment_id) for piece in alert.evidence):
                self.current[kind] = replace(
                    alert, evidence=tuple(piece.redacted(segment_id, text) for piece in alert.evidence)
                )

    def find(self, wanted: str) -> Alert | None:
        """The alert of that id, open or closed."""
        for alert in self.current.values():
            if alert.alert_id == wanted:
                return alert
        return self.closed.get(wanted)

    @property
    def level(self) -> Level:
        """The call's level: the highest of its open alerts."""
        return max((alert.level for alert in self.current.values()), default=Level.NONE)

    def record(self, event: AlertEvent) -> None:
        """Puts a changed alert in the place of the old one."""
        alert = event.alert
        if alert.state in CLOSED:
            self.current.pop(alert.kind, None)
            self.ordinals[alert.kind] = self.ordinals.get(alert.kind, 0) + 1
            self.closed[alert.alert_id] = alert
            if len(self.closed) > MAX_CLOSED:
                del self.closed[next(iter(self.closed))]
        else:
            self.current[alert.kind] = alert
            if not alert.provisional:
                self.peak = max(self.peak, alert.level)

    def settle(self, finding: Finding, moment: Moment) -> AlertEvent | None:
        """Brings the kind's alert in line with what was found.

        Returns:
            The event that follows, or None when nothing changed that is worth saying. It is recorded already.
        """
        alert = self.current.get(finding.kind)
        if alert is None:
            event = None if finding.level is Level.NONE else self._raise(finding, moment)
        elif finding.level is Level.NONE:
            event = retract(alert, reason=finding.gone, now_utc=moment.utc)
        else:
            event = self._update(alert, finding, moment)
        if event is not None:
            self.record(event)
        return event

    def end(self, moment: Moment) -> list[AlertEvent]:
        """The call ended: notices expire, and what nobody was told of; warnings stay until somebody resolves them."""
        over = [alert for alert in self.current.values() if alert.level <= Level.NOTICE or alert.observed]
        events = [expire(alert, now_utc=moment.utc) for alert in over]
        for event in events:
            self.record(event)
        return events

    def _raise(self, finding: Finding, moment: Moment) -> AlertEvent:
        ordinal = self.ordinals.setdefault(finding.kind, 0)
        alert = Alert(
            alert_id=alert_id(moment.tenant, moment.instance, finding.kind, ordinal),
            call_id=moment.call_id,
            kind=finding.kind,
            level=finding.level,
            state=AlertState.OPEN,
            version=1,
            provisional=finding.provisional,
            labels=finding.labels,
            score=round(finding.score, 4),
            evidence=finding.evidence,
            reason=finding.reason.en,
            reason_text=finding.reason,
            guideline=finding.guideline,
            suggestion=finding.suggestion,
            call=moment.call,
            rules_version=moment.rules_version,
            model_version=moment.model_version,
            raised_at=moment.utc,
            raised_at_ms=moment.media_ms,
            trigger_segment_id=finding.trigger_segment_id,
            updated_at=moment.utc,
            step=finding.step,
            late=moment.late,
            observed=_observed(finding, moment),
        )
        return AlertEvent(type=AlertChange.RAISED, alert=alert)

    def _update(self, alert: Alert, finding: Finding, moment: Moment) -> AlertEvent | None:
        level = max(alert.level, finding.level)
        changed = [
            name
            for name, before, after in (
                ("level", alert.level, level),
                ("labels", frozenset(alert.labels), frozenset(finding.labels)),
                ("step", alert.step, finding.step),
                ("provisional", alert.provisional, finding.provisional),
                ("evidence", _strongest(alert.evidence), _strongest(finding.evidence)),
            )
            if before != after
        ]
        if not changed:
            return None
        state = alert.state
        if level > alert.level and state in (AlertState.ACKNOWLEDGED, AlertState.SNOOZED):
            state = AlertState.OPEN
            changed.append("state")
        anew = "state" in changed
        updated = replace(
            alert,
            waiting_since=moment.utc if level > alert.level or "provisional" in changed else alert.waiting_since,
            tier=0 if anew else alert.tier,
            told=() if anew else alert.told,
            observed=_observed(finding, moment),
            level=level,
            state=state,
            version=alert.version + 1,
            provisional=finding.provisional,
            labels=finding.labels,
            score=round(finding.score, 4),
            evidence=finding.evidence,
            reason=finding.reason.en if finding.level >= alert.level else alert.reason,
            reason_text=finding.reason if finding.level >= alert.level else alert.reason_text,
            guideline=finding.guideline,
            suggestion=finding.suggestion,
            call=moment.call,
            model_version=moment.model_version,
            updated_at=moment.utc,
            step=finding.step,
            snoozed_until_ms=0 if state is AlertState.OPEN else alert.snoozed_until_ms,
        )
        return AlertEvent(type=AlertChange.UPDATED, alert=updated, changed=tuple(changed))


def _observed(finding: Finding, moment: Moment) -> bool:
    """What the detector finds on an observed call is told to nobody; a person who calls for help is answered."""
    return moment.observed and "help" not in finding.labels


def _strongest(evidence: tuple[Evidence, ...]) -> tuple[str, str]:
    return (evidence[0].segment_id, evidence[0].text) if evidence else ("", "")

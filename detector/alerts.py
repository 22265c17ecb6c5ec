"""Alerts as values: what a supervisor is told, and on what evidence.

Field names are those of the alert stream's JSON, so that a server may encode an `Alert` as it is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from detector.labels import Level
from detector.scoring import Span

MAX_EVIDENCE = 5
"""Pieces of evidence on one alert (design: at most 5)."""


class Kind(StrEnum):
    """What an alert is about; a call has at most one open alert of each."""

    ABUSE = "abuse"
    REPETITION = "repetition"
    OVERLONG = "overlong"
    DISTRESS = "distress"


class AlertState(StrEnum):
    """Where an alert is in its life."""

    OPEN = "open"
    ACKNOWLEDGED = "acknowledged"
    SNOOZED = "snoozed"
    RESOLVED = "resolved"
    RETRACTED = "retracted"
    EXPIRED = "expired"


CLOSED = frozenset({AlertState.RESOLVED, AlertState.RETRACTED, AlertState.EXPIRED})
"""States that nothing follows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """One utterance that an alert rests on; `spans` count code points of `text`.

    Args:
        round: of repetition: which raising this is, from 1; else 0.
        answer: the operator's answer that this raising came after, or empty.
        answer_segment_id: the answer's segment, or empty.
    """

    segment_id: str
    speaker: str
    text: str
    at_ms: int
    spans: tuple[Span, ...] = ()
    round: int = 0
    answer: str = ""
    answer_segment_id: str = ""

    def redacted(self, segment_id: str, text: str) -> Evidence:
        """The same with a segment's text masked."""
        if segment_id == self.segment_id:
            return replace(self, text=text)
        return replace(self, answer=text) if segment_id == self.answer_segment_id else self


@dataclass(frozen=True, slots=True, kw_only=True)
class Guideline:
    """A published guideline that an alert rests on, with its name in both languages."""

    id: str
    ja: str
    en: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Phrase:
    """The same words in both languages."""

    ja: str
    en: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Suggestion:
    """What to do next: the step, the supervisor's action, and words for the operator to read out."""

    step: str
    supervisor: Phrase
    operator_phrase: Phrase
    law_may_apply: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CallSummary:
    """The call as it stood when the alert was last changed."""

    queue: str
    agent_id: str
    language: str
    elapsed_ms: int
    talk_ms: int
    rounds: int
    earlier_calls: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A house link, for example to listen in."""

    rel: str
    href: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """What a supervisor sees.

    Args:
        raised_at_ms: media time of the raise.
        raised_at: UTC, RFC 3339.
        version: 1 at the raise, one more at each change.
        reason: why, one English sentence or a short code for a retraction.
        reason_text: the same in both languages; empty for a retraction.
        step: how far the ending procedure has come in the operator's own words, or empty.
        late: found only after a restart or an overload.
        latency_ms: from receipt of the trigger to the alert, or None in a replay.
        acknowledged_by, assigned_to, resolved_by, outcome, note, snoozed_until_ms: what supervisors did;
            `snoozed_until_ms` is UTC milliseconds since 1970.
        observed: raised on a call that is only observed: recorded, told to nobody.
        waiting_since: UTC, RFC 3339, from which an open alert waits for somebody at its tier; empty for the raise.
        tier: how far it was passed on for want of somebody, 0 for not at all.
        told: people and senders it was passed on to last.
    """

    alert_id: str
    call_id: str
    kind: Kind
    level: Level
    state: AlertState
    version: int
    provisional: bool
    labels: tuple[str, ...]
    score: float
    evidence: tuple[Evidence, ...]
    reason: str
    guideline: tuple[Guideline, ...]
    suggestion: Suggestion
    call: CallSummary
    rules_version: str
    model_version: str
    raised_at: str
    raised_at_ms: int
    trigger_segment_id: str
    updated_at: str
    reason_text: Phrase = Phrase(ja="", en="")
    step: str = ""
    links: tuple[Link, ...] = ()
    late: bool = False
    latency_ms: float | None = None
    acknowledged_by: str = ""
    acknowledged_at: str = ""
    assigned_to: str = ""
    snoozed_until_ms: int = 0
    resolved_by: str = ""
    outcome: str = ""
    note: str = ""
    observed: bool = False
    waiting_since: str = ""
    tier: int = 0
    told: tuple[str, ...] = ()


class AlertChange(StrEnum):
    """The alert stream's events about alerts."""

    RAISED = "alert.raised"
    UPDATED = "alert.updated"
    RETRACTED = "alert.retracted"
    ACKNOWLEDGED = "alert.acknowledged"
    ASSIGNED = "alert.assigned"
    SNOOZED = "alert.snoozed"
    RESOLVED = "alert.resolved"
    EXPIRED = "alert.expired"
    UNATTENDED = "alert.unattended"


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertEvent:
    """One change of one alert; `(alert.alert_id, alert.version)` names it for ever."""

    type: AlertChange
    alert: Alert
    changed: tuple[str, ...] = ()


class Refusal(StrEnum):
    """Why an action on an alert was refused."""

    NOT_FOUND = "not_found"
    CONFLICT = "conflict"
    CLOSED = "closed"
    INVALID = "invalid"


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionAnswer:
    """The answer to a `SupervisorAction`: done (`refusal` is None), or why not, and who was first and when."""

    alert_id: str
    refusal: Refusal | None = None
    message: str = ""
    first_by: str = ""
    first_at: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Noted:
    """Something about a call that is no alert but belongs in its record, for example `speakers_swapped_detected`."""

    what: str
    detail: Mapping[str, str] = field(default_factory=dict)


def alert_id(tenant: str, instance: str, kind: Kind, ordinal: int) -> str:
    """The id of a call's alert: the same on every fold of the same events, so that nothing is raised twice.

    Args:
        tenant: the tenant's id.
        instance: the call instance's id (call id and start).
        kind: the alert's kind.
        ordinal: 0 for the call's first alert of this kind, one more after each that was closed.

    Returns:
        32 hexadecimal digits of a BLAKE2b hash.
    """
    key = "\x1f".join((tenant, instance, kind.value, str(ordinal)))
    return hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()

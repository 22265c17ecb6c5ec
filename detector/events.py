"""What goes into a call: the platform's events, and the inputs that the server adds to them.

All times named `*_ms` are media time, milliseconds from the start of the call. No value here has a wall clock; the
moment of receipt is passed beside the event.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from detector.labels import Speaker
from detector.scoring import ScoreResult, Unscored


@dataclass(frozen=True, slots=True, kw_only=True)
class CallStarted:
    """A call began.

    Args:
        language: `ja`, `en`, or another BCP 47 tag, which is then not scored.
        queue: the queue that the call came in on; empty when unknown.
        direction: `inbound` or `outbound`.
        agent_id: the operator's id at the platform, or empty.
        agent_name: the operator's name, or empty.
        caller_key: keyed hash of the caller's number or id, or empty; the number itself never gets here.
        metadata: the platform's own strings.
    """

    language: str = "ja"
    queue: str = ""
    direction: str = "inbound"
    agent_id: str = ""
    agent_name: str = ""
    caller_key: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """A piece of transcript: a partial, or the final that closes it.

    Args:
        segment_id: unique within the call; a later segment of the same id replaces the earlier partial.
        speaker: who spoke, as the platform says.
        text: the redacted text.
        start_ms: media time of its first sound, at least 0.
        end_ms: media time of its last sound, at least `start_ms`.
        is_final: whether the recogniser will not change it any more.
        confidence: the recogniser's own, 0 to 1, or None.
        language: of this segment, when it differs from the call's; else empty.
        masked: the recogniser says that it masked or took out a word in here: weak evidence, never more than that.
    """

    segment_id: str
    speaker: Speaker
    text: str
    start_ms: int
    end_ms: int
    is_final: bool = True
    confidence: float | None = None
    language: str = ""
    masked: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class CallAnswered:
    """An operator answered: talk time starts here."""

    offset_ms: int


class ChangeReason(StrEnum):
    """Why the people on a call changed."""

    TRANSFER = "transfer"
    CONFERENCE = "conference"
    SUPERVISOR_JOINED = "supervisor_joined"
    SUPERVISOR_LEFT = "supervisor_left"


@dataclass(frozen=True, slots=True, kw_only=True)
class CallChanged:
    """Another agent or queue took the call, or a supervisor joined or left; an empty field did not change."""

    offset_ms: int
    reason: ChangeReason
    agent_id: str = ""
    agent_name: str = ""
    queue: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallHeld:
    """The caller was put on hold."""

    offset_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CallResumed:
    """The caller was taken off hold."""

    offset_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CallAlive:
    """Nothing was said, but the feed is alive."""

    offset_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeakersSwapped:
    """The platform found that it had the two speakers the wrong way round since the call began."""

    swapped: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentHelp:
    """The operator pressed the help button.

    Args:
        offset_ms: media time.
        note: what the operator wrote, or empty.
        by: who pressed, or empty.
    """

    offset_ms: int
    note: str = ""
    by: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallEnded:
    """The call is over."""

    offset_ms: int
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TimerFired:
    """Time passed and nobody spoke: what was due by `offset_ms` is due now."""

    offset_ms: int


class MonitoringState(StrEnum):
    """Whether a call is being watched; anything but `ok` is shown loudly."""

    OK = "ok"
    INCOMPLETE = "incomplete"
    DEGRADED = "degraded"
    LOST = "lost"
    UNSUPPORTED_LANGUAGE = "unsupported_language"


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedLost:
    """The transcript stopped coming, with the reason (`disconnected`, `silence`, `one_speaker`)."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedRestored:
    """The transcript comes again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """Events `first_seq` to `last_seq` never came; the call goes on and is marked incomplete."""

    first_seq: int
    last_seq: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EarlierComplaint:
    """A complaint of an earlier call of the same caller, from the ledger.

    Args:
        call: instance of that call; complaints of one call count once.
        model_version: the classifier whose embedding space `centre` lies in.
        centre: mean embedding of its raisings, little-endian float16, unit length.
    """

    call: str
    model_version: str
    centre: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextSet:
    """What a decision takes from outside its call, logged before it is folded.

    Args:
        rules_version: the rules that this call keeps to its end.
        rules_digest: names the very text of those rules, whatever their version says; empty when unknown.
        model_version: the classifier at the call's start.
        observed: the call is only observed: its alerts are recorded and told to nobody.
        earlier_calls: calls of this caller with the same complaint within the ledger's window, 0 or more, where the
            sender knows their number; the ledger itself sends `earlier` and leaves the comparison to the fold.
        earlier: complaints of this caller's calls within the ledger's window, newest first.
    """

    rules_version: str = ""
    model_version: str = ""
    rules_digest: str = ""
    observed: bool = False
    earlier_calls: int = 0
    earlier: tuple[EarlierComplaint, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentRedacted:
    """A stored segment's text was masked after the fact; its length and offsets stay."""

    segment_id: str
    text: str


class Action(StrEnum):
    """What a supervisor can do with an alert."""

    ACKNOWLEDGE = "acknowledge"
    ASSIGN = "assign"
    SNOOZE = "snooze"
    RESOLVE = "resolve"


class Outcome(StrEnum):
    """What an alert turned out to be."""

    HARASSMENT = "harassment"
    COMPLAINT = "complaint"
    FALSE_ALARM = "false_alarm"


@dataclass(frozen=True, slots=True, kw_only=True)
class SupervisorAction:
    """Somebody acted on an alert.

    Args:
        action: what was done.
        alert_id: to which alert.
        by: who did it.
        version: the alert's version that the person saw, or None to act on whatever is there.
        to: whom it was assigned to (`assign`).
        for_s: seconds, 1 to 600 (`snooze`).
        outcome: what it was (`resolve`).
        note: free text (`resolve`), or empty.
        action_id: tells this action from an equal one, for the audit trail; the fold does not look at it. Empty in logs
            that were written before it was there.
    """

    action: Action
    alert_id: str
    by: str
    version: int | None = None
    to: str = ""
    for_s: int = 0
    outcome: Outcome | None = None
    note: str = ""
    action_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallReopened:
    """A call that was ended for want of events goes on after all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SnoozeOver:
    """An alert's snooze ran out."""

    alert_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertUnattended:
    """Nobody took an alert in time: it is passed on.

    Args:
        tier: the tier it goes to, from 1; the number of tiers when there is none left.
        told: people and senders of that tier; empty when there is none left.
    """

    alert_id: str
    tier: int
    told: tuple[str, ...] = ()


PlatformEvent = (
    CallStarted
    | Segment
    | CallAnswered
    | CallChanged
    | CallHeld
    | CallResumed
    | CallAlive
    | SpeakersSwapped
    | AgentHelp
    | CallEnded
)
"""What a telephony platform can say about a call."""

Input = (
    PlatformEvent
    | TimerFired
    | FeedLost
    | FeedRestored
    | Gap
    | ContextSet
    | SegmentRedacted
    | SupervisorAction
    | SnoozeOver
    | AlertUnattended
    | CallReopened
    | ScoreResult
    | Unscored
)
"""Everything that a call session folds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallEvent:
    """One event of one call, as an adapter or the wire decoder yields it.

    Args:
        call_id: the platform's id of the call, 1 to 256 characters.
        body: the event.
        seq: its number within the call, from 0, or None from a platform that does not count.
        at: UTC as RFC 3339 text, or None for the time of receipt.
        caller: number or id of the caller in the clear, only on `call.started`; the server replaces it by a keyed
            hash before anything is stored.
    """

    call_id: str
    body: PlatformEvent
    seq: int | None = None
    at: str | None = None
    caller: str | None = field(default=None, repr=False)

"""Everything that a call knows about itself, as plain data, so that a snapshot can hold it and a fold can go on from it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from detector.abuse import Abuse, Incident
from detector.book import AlertBook
from detector.events import EarlierComplaint, MonitoringState
from detector.labels import Speaker
from detector.overlong import TalkClock
from detector.repetition import Repetition
from detector.speakers import SpeakerWatch
from detector.timeline import Timeline
from detector.transcript import Transcript

FOLD_VERSION: Final = 11
"""Grows when this data or the fold changes its meaning: an older snapshot is then rebuilt from the log."""


@dataclass(slots=True, kw_only=True)
class Monitoring:
    """Whether the call is being watched.

    Args:
        unsupported: the language is not scored.
        lost: why the feed counts as lost, or empty.
        degraded: why the last utterance went unscored, or empty.
        incomplete: why events or scores are missing, or empty.
        heard: who was heard so far.
        last_speech_ms: end of the last words, media time.
        began_ms: media time at which the call was joined; 0 unless mid-way.
    """

    unsupported: bool = False
    lost: str = ""
    degraded: str = ""
    incomplete: str = ""
    heard: list[Speaker] = field(default_factory=list)
    last_speech_ms: int = 0
    began_ms: int = 0

    def scored_again(self) -> None:
        """An utterance has its score: the call is watched again, though what went unscored stays missing."""
        self.incomplete, self.degraded = self.incomplete or self.degraded, ""

    @property
    def state(self) -> MonitoringState:
        """The gravest of what is the matter."""
        if self.unsupported:
            return MonitoringState.UNSUPPORTED_LANGUAGE
        if self.lost:
            return MonitoringState.LOST
        if self.degraded:
            return MonitoringState.DEGRADED
        return MonitoringState.INCOMPLETE if self.incomplete else MonitoringState.OK

    @property
    def reason(self) -> str:
        """Why, as a short code; empty when all is well."""
        return "" if self.unsupported else self.lost or self.degraded or self.incomplete


@dataclass(slots=True, kw_only=True)
class Distress:
    """Signs that the operator or the caller is not well.

    Args:
        apologies_ms: media times of the operator's last apologies.
        silent_since_ms: end of abuse that the operator has not answered yet, or None.
        operator_heard_ms: end of the operator's last words that partials alone have told of.
        causes: what was found, first to last: `help`, `caller_at_risk`, `apology_loop`, `silence_after_abuse`.
        cause_at_ms: media time of each cause.
        segment_ids: the segment that each cause rests on, or empty.
    """

    apologies_ms: list[int] = field(default_factory=list)
    silent_since_ms: int | None = None
    operator_heard_ms: int = -1
    causes: list[str] = field(default_factory=list)
    cause_at_ms: list[int] = field(default_factory=list)
    segment_ids: list[str] = field(default_factory=list)

    def add(self, cause: str, at_ms: int, segment_id: str = "") -> None:
        """Notes a cause, once."""
        if cause not in self.causes:
            self.causes.append(cause)
            self.cause_at_ms.append(at_ms)
            self.segment_ids.append(segment_id)

    def remove(self, cause: str) -> None:
        """Takes a cause back."""
        if cause in self.causes:
            index = self.causes.index(cause)
            for kept in (self.causes, self.cause_at_ms, self.segment_ids):
                del kept[index]


@dataclass(frozen=True, slots=True, kw_only=True)
class StepGiven:
    """A step of the ending procedure, given in the operator's own words.

    Args:
        step: which.
        at_ms: media time at which the words ended.
        segment_id: where they are.
    """

    step: str
    at_ms: int
    segment_id: str


@dataclass(slots=True, kw_only=True)
class CallState:
    """A call between two inputs; nothing here is in flight.

    Args:
        step: how far the ending procedure has come in the operator's own words.
        step_at_ms: media time at which it got there.
        steps: those that were given, first to last.
        provisional: an incident that rests on a partial alone, or None.
        judged_rounds: raisings that a supervisor already judged when an alert was resolved.
        judged_overlong: level rank of overlong that was already judged.
        judged_causes: distress causes that were already judged.
        observed: recorded only; nobody is told of its alerts.
        earlier_calls: earlier calls of this caller about the same, so far.
        earlier: the caller's complaints in the ledger when the call began; None until they were looked up.
        speakers: whether the platform has the two the right way round.
        timeline: how the platform's times map to the call's own.
    """

    fold_version: int = FOLD_VERSION
    queue: str = ""
    agent_id: str = ""
    agent_name: str = ""
    language: str = "ja"
    direction: str = "inbound"
    caller_key: str = ""
    rules_version: str = ""
    rules_digest: str = ""
    model_version: str = ""
    earlier_calls: int = 0
    earlier: list[EarlierComplaint] | None = None
    observed: bool = False
    ended: bool = False
    end_reason: str = ""
    transcript: Transcript = field(default_factory=Transcript)
    clock: TalkClock = field(default_factory=TalkClock)
    repetition: Repetition = field(default_factory=Repetition)
    abuse: Abuse = field(default_factory=Abuse)
    provisional: Incident | None = None
    distress: Distress = field(default_factory=Distress)
    monitoring: Monitoring = field(default_factory=Monitoring)
    book: AlertBook = field(default_factory=AlertBook)
    step: str = ""
    step_at_ms: int = 0
    steps: list[StepGiven] = field(default_factory=list)
    judged_rounds: int = 1
    judged_overlong: int = 0
    judged_causes: list[str] = field(default_factory=list)
    speakers: SpeakerWatch = field(default_factory=SpeakerWatch)
    timeline: Timeline = field(default_factory=Timeline)
    unscored: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class CallStatus:
    """What the floor shows of a call; field names are those of `call.status`.

    Args:
        speakers: `as_labelled`, or `detected` or `platform`: who found the two labels to be the wrong way round.
    """

    call_id: str
    queue: str
    agent_id: str
    language: str
    level: str
    labels: tuple[str, ...]
    elapsed_ms: int
    talk_ms: int
    hold_ms: int
    limit_ms: int
    rounds: int
    risk: float
    step: str
    monitoring: dict[str, str]
    speakers: str = "as_labelled"

"""Abusive utterances of a call and the level that they add up to.

Holds one entry for each utterance that carried a harassment label, bounded; the level is a function of the entries,
so that an entry that grows, changes or is taken away needs no special case.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from detector import reasons
from detector.alerts import Phrase
from detector.gravity import announces_crime, endangers_life, is_stalking
from detector.labels import HARASSMENT_LABELS, Level
from detector.rules import AbuseRules
from detector.scoring import Span

MAX_INCIDENTS: Final = 32
"""Abusive utterances kept of one call: beyond it the weakest is forgotten, its count stays."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Incident:
    """One utterance that carried harassment labels.

    Args:
        unit_id: the utterance.
        segment_id: its segment that carries the evidence (the last, where several do).
        texts: text of each segment that it was made of, by segment id.
        spans: evidence by segment id.
        labels: harassment labels over the classifier's threshold, by score; where there are none, the strongest one alone.
        clear: those of them that reached the rules' score for a clear case.
        grave: `life`, `crime` or `stalking` where the words are that grave, else empty.
        at_ms: media time of its end.
        after_warning: whether the operator had given a first warning before.
        known: whether it is known that the customer spoke.
        masked: whether a masked word (`***`, or the recogniser's flag for one) is all that there is: weak evidence,
            however often it comes.
        score: the highest label score.
        faint: whether no label reached the classifier's threshold: nothing by itself.
        cautioned: whether the operator answered it with a caution or a warning.
        doubt: why it may be aimed at nobody on the line (see `doubt`), or empty: then it is never clear and adds up to nothing.
    """

    unit_id: str
    segment_id: str
    texts: Mapping[str, str]
    spans: Mapping[str, tuple[Span, ...]]
    labels: tuple[str, ...]
    clear: tuple[str, ...]
    grave: str
    at_ms: int
    after_warning: bool
    known: bool
    score: float
    masked: bool = False
    faint: bool = False
    cautioned: bool = False
    doubt: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AbuseDecision:
    """The level of a call's abuse and why.

    Args:
        level: `none` when nothing is left.
        reason: one sentence for the supervisor, in both languages.
        labels: labels that carry it, strongest first.
        score: the highest score among them.
    """

    level: Level
    reason: Phrase
    labels: tuple[str, ...]
    score: float


@dataclass(slots=True, kw_only=True)
class Abuse:
    """The incidents of a call, in order; plain data."""

    incidents: list[Incident] = field(default_factory=list)
    dismissed: list[str] = field(default_factory=list)
    last_clear_ms: int = -1

    def put(self, incident: Incident) -> None:
        """Adds an incident, or replaces that of the same utterance; one that was dismissed stays out."""
        self.drop(incident.unit_id)
        if incident.unit_id in self.dismissed:
            return
        self.incidents.append(incident)
        if incident.clear:
            self.last_clear_ms = max(self.last_clear_ms, incident.at_ms)
        if len(self.incidents) > MAX_INCIDENTS:
            self.incidents.remove(min(self.incidents[:-1], key=lambda item: item.score))

    def of(self, unit_id: str) -> Incident | None:
        """The incident of an utterance, or None."""
        return next((item for item in self.incidents if item.unit_id == unit_id), None)

    def redact(self, segment_id: str, text: str) -> None:
        """Puts a masked text in place of a stored one; spans stay, for the masking keeps lengths."""
        self.incidents = [
            replace(item, texts={**item.texts, segment_id: text}) if segment_id in item.texts else item
            for item in self.incidents
        ]

    def drop(self, unit_id: str) -> None:
        """Takes an utterance's incident away, if it has one."""
        self.incidents = [item for item in self.incidents if item.unit_id != unit_id]

    def caution(self, *, since_ms: int) -> None:
        """The operator cautioned the caller: what was unclear since a media time was not to the one who was spoken to."""
        self.incidents = [
            replace(item, cautioned=True) if not item.clear and not item.masked and item.at_ms >= since_ms else item
            for item in self.incidents
        ]

    def dismiss_all(self) -> None:
        """A supervisor said `false_alarm`: the same evidence never raises again, new evidence does."""
        self.dismissed = [*self.dismissed, *(item.unit_id for item in self.incidents)][-4 * MAX_INCIDENTS :]
        self.incidents = []


def gravity_of(text: str, language: str, labels: tuple[str, ...]) -> str:
    """`life`, `crime` or `stalking` for a threat or an intrusion that is that grave, else an empty string."""
    if "threat" in labels:
        if endangers_life(text, language):
            return "life"
        if announces_crime(text, language):
            return "crime"
    if ("intrusion" in labels or "threat" in labels) and is_stalking(text, language):
        return "stalking"
    return ""


def telling(incidents: list[Incident]) -> list[Incident]:
    """Those that are shown: faint ones only where there is nothing better."""
    return [item for item in incidents if not item.faint or item.cautioned] or incidents


def decide_abuse(incidents: list[Incident], rules: AbuseRules, *, now_ms: int) -> AbuseDecision:
    """Adds the incidents of a call up to a level.

    Args:
        incidents: what the call has.
        rules: the house's.
        now_ms: media time; unclear incidents fade with the rules' half-life and count within its window.
    """
    best = Level.NONE
    reason = reasons.NONE

    def reach(level: Level, why: Phrase, *, known: bool = True, threat: bool = False) -> None:
        nonlocal best, reason
        if not known and not threat:
            level = min(level, rules.unknown_speaker_limit)
        if level > best:
            best, reason = level, why

    clear_labels: list[str] = []
    all_known = all(item.known for item in incidents)
    for item in incidents:
        threat = "threat" in item.clear
        for label in item.clear:
            if label not in clear_labels:
                clear_labels.append(label)
            reach(rules.levels[label], reasons.clear(label), known=item.known, threat=threat)
        if item.clear and item.grave:
            reach(rules.grave, reasons.grave(item.grave), known=item.known, threat=threat)
        if item.clear and item.after_warning:
            reach(
                rules.again_after_warning,
                reasons.after_warning(item.clear[0]),
                known=item.known,
            )
        if item.masked:
            reach(rules.masked_word, reasons.masked(), known=item.known)
        elif item.cautioned:
            level = min(Level.WARNING, rules.levels[item.labels[0]])
            reach(level, reasons.cautioned(item.labels[0]), known=item.known)
        elif not item.clear and not item.faint:
            why = reasons.doubtful(item.labels[0], item.doubt) if item.doubt else reasons.unclear(item.labels[0])
            reach(Level.NOTICE, why, known=item.known)
    if len(clear_labels) >= 2:
        reach(rules.two_labels, reasons.several_kinds(clear_labels), known=all_known)
    unclear = [
        item
        for item in incidents
        if not (item.clear or item.masked or item.doubt) and now_ms - item.at_ms <= rules.unclear_window_s * 1000
    ]
    faded = sum(item.score * 0.5 ** ((now_ms - item.at_ms) / (rules.unclear_half_life_s * 1000)) for item in unclear)
    if len(unclear) >= rules.unclear_count and faded >= rules.unclear_weight:
        label = max(unclear, key=lambda item: item.score).labels[0]
        reach(
            rules.levels[label],
            reasons.unclear_again(len(unclear), label, rules.unclear_window_s / 60),
            known=all_known,
        )
    weight: dict[str, float] = {}
    for item in telling(incidents):
        for span_label in item.labels:
            weight[span_label] = max(weight.get(span_label, 0.0), item.score)
    labels = tuple(sorted(weight, key=lambda label: (-weight[label], HARASSMENT_LABELS.index(label))))
    return AbuseDecision(
        level=best, reason=reason, labels=labels, score=max((item.score for item in incidents), default=0.0)
    )

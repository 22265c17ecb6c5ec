"""House rules: when a call needs whom, as a readable TOML file.

Rules say nothing of how a signal is measured, only of what follows from it. They are parsed once into frozen values;
a mistake is reported with its line.
"""

from __future__ import annotations

import difflib
import math
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, is_dataclass, replace
from importlib import resources
from types import MappingProxyType
from typing import Any, Final, get_type_hints

from detector.labels import HARASSMENT_LABELS, Level
from detector.toml_lines import line_of

MAX_RULES_CHARS = 200_000
"""Size of a rules file that is still read."""
COMBINABLE: Final = ("abuse", "repetition", "overlong")
"""Kinds of alert that `[[combine]]` may speak of; distress accuses nobody and lifts nothing."""
_LEVELS: Final = tuple(level.value for level in Level)


class RulesError(ValueError):
    """A rules file is wrong.

    Args:
        message: what was expected.
        key: dotted path of the field.
        line: its line, from 1, or 0 when the file names no such line.
    """

    def __init__(self, message: str, *, key: str = "", line: int = 0) -> None:
        where = f"line {line}: " if line else ""
        super().__init__(f"{where}{key + ': ' if key else ''}{message}")
        self.key = key
        self.line = line


def _levels() -> Mapping[str, Level]:
    grave = {"threat", "exposure", "intrusion"}
    return MappingProxyType({label: Level.ESCALATE if label in grave else Level.WARNING for label in HARASSMENT_LABELS})


@dataclass(frozen=True, slots=True, kw_only=True)
class AbuseRules:
    """Levels of abusive utterances; the fields are those of `[abuse]` in `rules.toml`."""

    clear_score: float = 0.85
    grave_margin: float = 0.10
    hysteresis: float = 0.08
    unclear_score: float = 0.50
    unclear_count: int = 2
    unclear_window_s: float = 900
    unclear_half_life_s: float = 300
    unclear_weight: float = 1.0
    cautioned_within_s: float = 120
    two_labels: Level = Level.ESCALATE
    again_after_warning: Level = Level.ESCALATE
    grave: Level = Level.CRITICAL
    unknown_speaker_limit: Level = Level.WARNING
    masked_word: Level = Level.NOTICE
    levels: Mapping[str, Level] = field(default_factory=_levels)

    def clear_from(self, label: str) -> float:
        """The score from which one utterance with the label is a clear case."""
        return self.clear_score - (self.grave_margin if self.levels[label] >= Level.ESCALATE else 0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class PartialRules:
    """Provisional alerts; the fields are those of `[partials]`."""

    labels: tuple[str, ...] = ("threat", "intrusion", "sexual")
    score: float = 0.80
    confirm_within_s: float = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class EvidenceRules:
    """What speaks for a raising beside likeness; the fields are those of `[repetition.evidence]`."""

    shared_word: float = 0.18
    complaint: float = 0.40
    refusal: float = 0.12
    restated_word: float = 0.08
    ten_ideas: float = 0.28
    asked: float = 0.29


@dataclass(frozen=True, slots=True, kw_only=True)
class RepetitionRules:
    """Rounds of one complaint; the fields are those of `[repetition]`."""

    notice: int = 2
    warning: int = 3
    escalate: int = 5
    with_abuse: Level = Level.ESCALATE
    similarity: float = 0.47
    similarity_said_again: float = 0.17
    similarity_other_matter: float = 0.90
    complaint_score: float = 0.30
    earlier_calls: int = 2
    ledger_days: int = 7
    ledger_similarity: float = 0.62
    evidence: EvidenceRules = EvidenceRules()


@dataclass(frozen=True, slots=True, kw_only=True)
class OverlongRules:
    """Limits of talk time in minutes; the fields are those of `[overlong]`."""

    notice_min: float = 20
    warning_min: float = 30
    escalate_min: float = 60
    deadlock_raisings: int = 3
    deadlock_share: float = 0.33


@dataclass(frozen=True, slots=True, kw_only=True)
class DistressRules:
    """The operator's and the caller's distress; the fields are those of `[distress]`."""

    apologies: int = 4
    apology_window_s: float = 180
    silence_s: float = 12
    help: Level = Level.ESCALATE
    caller_at_risk: Level = Level.ESCALATE
    self_harm_score: float = 0.60


@dataclass(frozen=True, slots=True, kw_only=True)
class MonitoringRules:
    """When a feed counts as lost; the fields are those of `[monitoring]`."""

    silence_s: float = 90
    one_speaker_s: float = 180


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyRules:
    """What holds for alerts of every kind; the fields are those of `[policy]`."""

    cool_down_s: float = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class CombineRule:
    """One `[[combine]]`: `raises` is lifted to `to` when each kind in `when` has at least its level."""

    when: Mapping[str, Level]
    raises: str
    to: Level


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """All rules of a house; `for_queue` gives those of one queue."""

    version: str = "default"
    abuse: AbuseRules = AbuseRules()
    partials: PartialRules = PartialRules()
    repetition: RepetitionRules = RepetitionRules()
    overlong: OverlongRules = OverlongRules()
    distress: DistressRules = DistressRules()
    policy: PolicyRules = PolicyRules()
    monitoring: MonitoringRules = MonitoringRules()
    combine: tuple[CombineRule, ...] = ()
    queues: Mapping[str, Rules] = field(default_factory=lambda: MappingProxyType({}))

    def for_queue(self, queue: str) -> Rules:
        """The rules of a queue: its own where the file has some, else the house's."""
        return self.queues.get(queue, self)


def default_rules() -> Rules:
    """The rules that ship with the package, for a Japanese contact centre."""
    return parse_rules(resources.files("detector").joinpath("rules.toml").read_text(encoding="utf-8"))


def parse_rules(text: str) -> Rules:
    """Reads a rules file.

    Args:
        text: TOML, at most `MAX_RULES_CHARS` characters; what it leaves out keeps its default.

    Raises:
        RulesError: the first of what `check_rules` finds.
    """
    rules, mistakes = check_rules(text)
    if mistakes:
        raise mistakes[0]
    return rules


def check_rules(text: str) -> tuple[Rules, list[RulesError]]:
    """Reads a rules file and finds everything that is wrong with it.

    Returns:
        The rules, with defaults in place of what is wrong; and the mistakes in the order of their lines: not TOML, an
        unknown field, a value of the wrong type or out of range.
    """
    reader = _Reader(text)
    if len(text) > MAX_RULES_CHARS:
        return Rules(), [RulesError(f"a rules file has at most {MAX_RULES_CHARS} characters")]
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        found = re.search(r"line (\d+)", str(error))
        line = int(found[1]) if found else len(text.splitlines())
        return Rules(), [RulesError(f"not TOML: {error}", line=line)]
    rules = reader.read(data)
    return rules, sorted(reader.mistakes, key=lambda mistake: mistake.line)


class _Reader:
    """Builds rules out of parsed TOML and notes what is wrong; a wrong value keeps its default."""

    def __init__(self, text: str) -> None:
        self.mistakes: list[RulesError] = []
        self._lines = text.splitlines()

    def read(self, data: dict[str, Any]) -> Rules:
        queues = data.pop("queues", {})
        base: Rules = self._build(data, Rules(), ())
        self._check(base, ())
        own: dict[str, Rules] = {}
        if not isinstance(queues, dict):
            self._wrong(("queues",), "expected a table of queues")
            queues = {}
        for name, table in queues.items():
            path = ("queues", name)
            if not isinstance(table, dict):
                self._wrong(path, "expected a table")
                continue
            for key in ("version", "queues"):
                if table.pop(key, None) is not None:
                    self._wrong((*path, key), "a queue has no version or queues of its own")
            own[name] = self._build(table, base, path)
            self._check(own[name], path)
        return replace(base, queues=MappingProxyType(own))

    def _wrong(self, path: tuple[str, ...], message: str) -> None:
        self.mistakes.append(RulesError(message, key=".".join(path), line=line_of(self._lines, path)))

    def _build(self, table: dict[str, Any], base: Any, path: tuple[str, ...]) -> Any:
        hints = get_type_hints(type(base))
        changes: dict[str, Any] = {}
        for key, value in table.items():
            here = (*path, key)
            if key not in hints or key == "queues":
                known = ", ".join(name for name in hints if name != "queues")
                near = difflib.get_close_matches(key, hints, n=1)
                meant = f"; did you mean {near[0]}?" if near else ""
                self._wrong(here, f"unknown field{meant or ';'} known here: {known}")
                continue
            changes[key] = self._value(hints[key], value, getattr(base, key), here)
        return replace(base, **changes)

    def _value(self, hint: Any, value: Any, base: Any, path: tuple[str, ...]) -> Any:
        expected = ""
        if is_dataclass(base):
            if isinstance(value, dict):
                return self._build(value, base, path)
            expected = "a table"
        elif path[-1] == "combine":
            return self._combine(value, path)
        elif isinstance(base, Level):
            expected = "" if isinstance(value, str) and value in _LEVELS else f"a level ({', '.join(_LEVELS)})"
            value = Level(value) if not expected else value
        elif isinstance(base, Mapping):
            return self._levels(value, base, path)
        elif isinstance(base, tuple):
            labels = isinstance(value, list) and all(item in HARASSMENT_LABELS for item in value)
            expected = "" if labels else f"a list of labels ({', '.join(HARASSMENT_LABELS)})"
            value = tuple(value) if labels else value
        elif isinstance(base, str):
            expected = "" if isinstance(value, str) and value.strip() else "a text that is not empty"
        elif isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            expected = "a number"
        elif hint is int and not isinstance(value, int):
            expected = "a whole number"
        elif value < 0:
            expected = "a number of at least 0"
        if expected:
            self._wrong(path, f"expected {expected}, not {value!r}")
            return base
        return value

    def _levels(self, value: Any, base: Mapping[str, Level], path: tuple[str, ...]) -> Mapping[str, Level]:
        if not isinstance(value, dict):
            self._wrong(path, f"expected a table of levels by label ({', '.join(HARASSMENT_LABELS)}), not {value!r}")
            return base
        own = {}
        for label, word in value.items():
            if label in base:
                own[label] = self._value(Level, word, base[label], (*path, label))
            else:
                self._wrong((*path, label), f"unknown label; known: {', '.join(HARASSMENT_LABELS)}")
        return MappingProxyType({**base, **own})

    def _combine(self, value: Any, path: tuple[str, ...]) -> tuple[CombineRule, ...]:
        if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
            self._wrong(path, "expected tables headed [[combine]]")
            return ()
        found = []
        for item in value:
            when = item.get("when")
            kinds = f"one of {', '.join(COMBINABLE)}"
            if set(item) != {"when", "raises", "to"}:
                self._wrong(path, "expected exactly when, raises and to")
            elif (
                not isinstance(when, dict)
                or not when
                or not all(name in COMBINABLE and word in _LEVELS for name, word in when.items())
            ):
                self._wrong(path, f"when: expected levels by kind ({', '.join(COMBINABLE)}), not {when!r}")
            elif item["raises"] not in COMBINABLE:
                self._wrong(path, f"raises: expected {kinds}, not {item['raises']!r}")
            elif item["to"] not in _LEVELS:
                self._wrong(path, f"to: expected a level ({', '.join(_LEVELS)}), not {item['to']!r}")
            else:
                levels = MappingProxyType({name: Level(word) for name, word in when.items()})
                found.append(CombineRule(when=levels, raises=item["raises"], to=Level(item["to"])))
        return tuple(found)

    def _check(self, rules: Rules, path: tuple[str, ...]) -> None:
        """Checks what types cannot say: shares within 0 to 1, limits that rise."""
        shares = (
            ("abuse", "clear_score", rules.abuse.clear_score),
            ("abuse", "grave_margin", rules.abuse.grave_margin),
            ("abuse", "hysteresis", rules.abuse.hysteresis),
            ("abuse", "unclear_score", rules.abuse.unclear_score),
            ("partials", "score", rules.partials.score),
            ("repetition", "similarity", rules.repetition.similarity),
            ("repetition", "similarity_said_again", rules.repetition.similarity_said_again),
            ("repetition", "similarity_other_matter", rules.repetition.similarity_other_matter),
            ("repetition", "complaint_score", rules.repetition.complaint_score),
            ("repetition", "ledger_similarity", rules.repetition.ledger_similarity),
            ("overlong", "deadlock_share", rules.overlong.deadlock_share),
            ("distress", "self_harm_score", rules.distress.self_harm_score),
        )
        for section, key, value in shares:
            if value > 1:
                self._wrong((*path, section, key), f"expected a share from 0 to 1, not {value}")
        long, rounds, abuse = rules.overlong, rules.repetition, rules.abuse
        if not 0 < long.notice_min <= long.warning_min <= long.escalate_min:
            self._wrong(
                (*path, "overlong", "notice_min"), "limits must rise: 0 < notice_min <= warning_min <= escalate_min"
            )
        if not 2 <= rounds.notice <= rounds.warning <= rounds.escalate:
            self._wrong((*path, "repetition", "notice"), "raisings must rise: 2 <= notice <= warning <= escalate")
        if rounds.similarity_said_again > rounds.similarity:
            self._wrong((*path, "repetition", "similarity_said_again"), "expected at most similarity")
        if abuse.unclear_count < 1:
            self._wrong((*path, "abuse", "unclear_count"), "expected at least 1")
        if abuse.unclear_half_life_s <= 0:
            self._wrong((*path, "abuse", "unclear_half_life_s"), "expected a number above 0")
        if abuse.unclear_weight > abuse.unclear_count:
            self._wrong((*path, "abuse", "unclear_weight"), "expected at most unclear_count: fewer would never do")

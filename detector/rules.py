"""House rules: when a call needs whom, as a readable TOML file.

Rules say nothing of how a signal is measured, only of what follows from it. They are parsed once into frozen values;
a mistake is reported with its line.
"""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from importlib import resources
from types import MappingProxyType
from typing import Any, get_type_hints

from detector.labels import HARASSMENT_LABELS, Level

MAX_RULES_CHARS = 200_000
"""Size of a rules file that is still read."""


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

    clear_score: float = 0.65
    unclear_count: int = 2
    unclear_window_s: float = 300
    two_labels: Level = Level.ESCALATE
    again_after_warning: Level = Level.ESCALATE
    grave: Level = Level.CRITICAL
    unknown_speaker_limit: Level = Level.WARNING
    masked_word: Level = Level.NOTICE
    levels: Mapping[str, Level] = field(default_factory=_levels)


@dataclass(frozen=True, slots=True, kw_only=True)
class PartialRules:
    """Provisional alerts; the fields are those of `[partials]`."""

    labels: tuple[str, ...] = ("threat", "intrusion", "sexual")
    score: float = 0.92
    confirm_within_s: float = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class RepetitionRules:
    """Rounds of one complaint; the fields are those of `[repetition]`."""

    notice: int = 2
    warning: int = 3
    escalate: int = 5
    with_abuse: Level = Level.ESCALATE
    similarity: float = 0.52
    similarity_said_again: float = 0.40
    earlier_calls: int = 2
    ledger_days: int = 7
    ledger_similarity: float = 0.62


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
class Rules:
    """All rules of a house; `for_queue` gives those of one queue."""

    version: str = "default"
    abuse: AbuseRules = AbuseRules()
    partials: PartialRules = PartialRules()
    repetition: RepetitionRules = RepetitionRules()
    overlong: OverlongRules = OverlongRules()
    distress: DistressRules = DistressRules()
    monitoring: MonitoringRules = MonitoringRules()
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
        RulesError: not TOML, an unknown field, a value of the wrong type or out of range; with the line.
    """
    if len(text) > MAX_RULES_CHARS:
        raise RulesError(f"a rules file has at most {MAX_RULES_CHARS} characters")
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        found = re.search(r"line (\d+)", str(error))
        raise RulesError(f"not TOML: {error}", line=int(found[1]) if found else 0) from None
    queues = data.pop("queues", {})
    if not isinstance(queues, dict):
        raise RulesError("expected a table of queues", key="queues", line=_line_of(text, ("queues",)))
    base = _build(Rules, data, Rules(), (), text)
    _check(base, text, ())
    own = {}
    for name, table in queues.items():
        path = ("queues", name)
        if not isinstance(table, dict):
            raise RulesError("expected a table", key=".".join(path), line=_line_of(text, path))
        if "version" in table or "queues" in table:
            raise RulesError("a queue has no version or queues of its own", key=".".join(path))
        own[name] = _build(Rules, table, base, path, text)
        _check(own[name], text, path)
    complete: Rules = _replace(base, {"queues": MappingProxyType(own)})
    return complete


def _replace(value: Any, changes: dict[str, Any]) -> Any:
    current = {item.name: getattr(value, item.name) for item in fields(value)}
    return type(value)(**(current | changes))


def _build(kind: type[Any], table: dict[str, Any], base: Any, path: tuple[str, ...], text: str) -> Any:
    hints = get_type_hints(kind)
    changes: dict[str, Any] = {}
    for key, value in table.items():
        here = (*path, key)
        if key not in hints or key == "queues":
            known = ", ".join(name for name in hints if name != "queues")
            raise RulesError(f"unknown field; known here: {known}", key=".".join(here), line=_line_of(text, here))
        changes[key] = _value(hints[key], value, getattr(base, key), here, text)
    return _replace(base, changes)


def _value(hint: Any, value: Any, base: Any, path: tuple[str, ...], text: str) -> Any:
    def wrong(expected: str) -> RulesError:
        return RulesError(f"expected {expected}, not {value!r}", key=".".join(path), line=_line_of(text, path))

    if is_dataclass(base):
        if not isinstance(value, dict):
            raise wrong("a table")
        return _build(type(base), value, base, path, text)
    if isinstance(base, Level):
        return _level(value, wrong)
    if isinstance(base, Mapping):
        if not isinstance(value, dict) or not set(value) <= set(HARASSMENT_LABELS):
            raise wrong(f"a table of levels by label ({', '.join(HARASSMENT_LABELS)})")
        own = {label: _value(Level, word, base[label], (*path, label), text) for label, word in value.items()}
        return MappingProxyType({**base, **own})
    if isinstance(base, tuple):
        if not isinstance(value, list) or not set(value) <= set(HARASSMENT_LABELS):
            raise wrong(f"a list of labels ({', '.join(HARASSMENT_LABELS)})")
        return tuple(value)
    if isinstance(base, str):
        if not isinstance(value, str) or not value.strip():
            raise wrong("a text that is not empty")
        return value
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise wrong("a number")
    if hint is int and not isinstance(value, int):
        raise wrong("a whole number")
    if value < 0:
        raise wrong("a number of at least 0")
    return value


def _level(word: Any, wrong: Any) -> Level:
    try:
        return Level(word)
    except ValueError:
        raise wrong(f"a level ({', '.join(level.value for level in Level)})") from None


def _check(rules: Rules, text: str, path: tuple[str, ...]) -> None:
    """Checks what types cannot say: shares within 0 to 1, limits that rise."""

    def fail(section: str, key: str, message: str) -> RulesError:
        here = (*path, section, key)
        return RulesError(message, key=".".join(here), line=_line_of(text, here))

    shares = (
        ("abuse", "clear_score", rules.abuse.clear_score),
        ("partials", "score", rules.partials.score),
        ("repetition", "similarity", rules.repetition.similarity),
        ("repetition", "similarity_said_again", rules.repetition.similarity_said_again),
        ("repetition", "ledger_similarity", rules.repetition.ledger_similarity),
        ("overlong", "deadlock_share", rules.overlong.deadlock_share),
        ("distress", "self_harm_score", rules.distress.self_harm_score),
    )
    for section, key, value in shares:
        if value > 1:
            raise fail(section, key, f"expected a share from 0 to 1, not {value}")
    long = rules.overlong
    if not 0 < long.notice_min <= long.warning_min <= long.escalate_min:
        raise fail("overlong", "notice_min", "limits must rise: 0 < notice_min <= warning_min <= escalate_min")
    rounds = rules.repetition
    if not 2 <= rounds.notice <= rounds.warning <= rounds.escalate:
        raise fail("repetition", "notice", "raisings must rise: 2 <= notice <= warning <= escalate")
    if rules.abuse.unclear_count < 1:
        raise fail("abuse", "unclear_count", "expected at least 1")


def _line_of(text: str, path: tuple[str, ...]) -> int:
    """The line, from 1, that a field stands on; 0 when it is not written in the file."""
    table: tuple[str, ...] = ()
    for number, line in enumerate(text.splitlines(), 1):
        header = re.match(r"\s*\[([^\[\]]+)\]", line)
        if header:
            table = tuple(part.strip().strip("\"'") for part in header[1].split("."))
            if table == path:
                return number
            continue
        key = re.match(r"\s*([\w.\"'-]+)\s*=", line)
        if key and (*table, *(part.strip("\"'") for part in key[1].split("."))) == path:
            return number
    return 0

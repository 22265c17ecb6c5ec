"""The playbook: guideline, supervisor's action, operator's phrase and law for each situation, as a data file.

Knows nothing of how a level is reached; a house can put its own file in place of the bundled one.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from types import MappingProxyType
from typing import Any, Final

from detector.alerts import Guideline, Kind, Phrase, Suggestion
from detector.labels import HARASSMENT_LABELS, STEPS, Level
from detector.procedure import next_step
from detector.toml_lines import line_of

_SUPERVISOR: Final = (
    *(level.value for level in Level if level is not Level.NONE),
    "help",
    "caller_at_risk",
    "distress",
    "overlong",
    "repetition",
)
_OPERATOR: Final = (*STEPS, "repetition", "overlong", "help", "caller_at_risk")
_LEVELS: Final = tuple(level.value for level in Level if level is not Level.NONE)
_TOPICS: Final = (*HARASSMENT_LABELS, "repetition", "overlong")
_GUIDELINES: Final = (*HARASSMENT_LABELS, "repetition", "overlong", "help", "caller_at_risk", "distress")
_SECTIONS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "guideline": _GUIDELINES,
        "law": _TOPICS,
        "supervisor": _SUPERVISOR,
        "operator": _OPERATOR,
        "situation": _TOPICS,
        "phrase": _TOPICS,
    }
)


class PlaybookError(ValueError):
    """A playbook lacks something or has a value of the wrong kind.

    Args:
        message: what was expected.
        key: dotted path of the entry.
        line: its line, from 1, else that of the table it belongs to; 0 when the file has neither.
    """

    def __init__(self, message: str, *, key: str = "", line: int = 0) -> None:
        where = f"line {line}: " if line else ""
        super().__init__(f"{where}{key + ': ' if key else ''}{message}")
        self.key = key
        self.line = line


@dataclass(frozen=True, slots=True, kw_only=True)
class Playbook:
    """What to do and say, by situation.

    Args:
        version: of the file.
        guidelines: by label or signal.
        law: law that may apply, by label or signal.
        supervisor: what a supervisor does, by level or situation.
        operator: what an operator can read out, by step or situation.
        situations: what a supervisor does, by (label or signal, level), where it differs from the level's words.
        phrases: what an operator can read out, by (label or signal, step), where it differs from the step's words.
    """

    version: str
    guidelines: Mapping[str, Guideline]
    law: Mapping[str, tuple[str, ...]]
    supervisor: Mapping[str, Phrase]
    operator: Mapping[str, Phrase]
    situations: Mapping[tuple[str, str], Phrase] = field(default_factory=dict)
    phrases: Mapping[tuple[str, str], Phrase] = field(default_factory=dict)

    def guidelines_for(self, topics: Sequence[str]) -> tuple[Guideline, ...]:
        """The guidelines of the given labels or signals, in their order, those without one left out."""
        return tuple(self.guidelines[topic] for topic in topics if topic in self.guidelines)

    def suggest(self, *, kind: Kind, level: Level, labels: Sequence[str], step: str, cause: str) -> Suggestion:
        """What to do next.

        Args:
            kind: the alert's kind.
            level: its level.
            labels: its harassment labels, strongest first.
            step: how far the ending procedure has come, or empty.
            cause: for distress `help`, `caller_at_risk` or `distress`; else empty.
        """
        if kind is Kind.DISTRESS:
            phrase = self.operator["caller_at_risk" if cause == "caller_at_risk" else "help"]
            return Suggestion(step=cause, supervisor=self.supervisor[cause], operator_phrase=phrase)
        if kind is Kind.OVERLONG or (kind is Kind.REPETITION and level < Level.ESCALATE):
            return Suggestion(
                step="conclude" if kind is Kind.REPETITION else "call_back",
                supervisor=self.situations.get((kind.value, level.value), self.supervisor[kind.value]),
                operator_phrase=self.operator[kind.value],
                law_may_apply=self.law.get(kind.value, ()) if level >= Level.ESCALATE else (),
            )
        following = next_step(step)
        if level is Level.NOTICE:
            following = "caution"
        elif level >= Level.WARNING and following == "caution":
            following = "first_warning"
        law = tuple(dict.fromkeys(text for label in (*labels, kind.value) for text in self.law.get(label, ())))
        return Suggestion(
            step="takeover" if level is Level.CRITICAL else following,
            supervisor=self._situation((*labels, kind.value), level),
            operator_phrase=self._phrase(
                (*labels, kind.value), "may_end" if level is Level.CRITICAL and step else following
            ),
            law_may_apply=law if level > Level.NOTICE else (),
        )

    def _situation(self, topics: Sequence[str], level: Level) -> Phrase:
        """The supervisor's part, of the strongest label that has words of its own for the level."""
        own = (self.situations.get((topic, level.value)) for topic in topics)
        return next((phrase for phrase in own if phrase is not None), self.supervisor[level.value])

    def _phrase(self, topics: Sequence[str], step: str) -> Phrase:
        """The operator's words, of the strongest label that has its own for the step."""
        return self.phrases.get((topics[0], step), self.operator[step])


def default_playbook() -> Playbook:
    """The playbook that ships with the package."""
    return parse_playbook(resources.files("detector").joinpath("playbook.toml").read_text(encoding="utf-8"))


def parse_playbook(text: str) -> Playbook:
    """Reads a playbook file.

    Raises:
        PlaybookError: the first of what `check_playbook` finds.
    """
    found, mistakes = check_playbook(text)
    if mistakes:
        raise mistakes[0]
    return found


def check_playbook(text: str) -> tuple[Playbook, list[PlaybookError]]:
    """Reads a playbook file and finds everything that is wrong with it.

    Returns:
        The playbook, with gaps where entries are wrong; and the mistakes in the order of their lines: not TOML, an entry
        that is missing, unknown or not of the right kind.
    """
    reader = _Reader(text)
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        reader.wrong((), f"not TOML: {error}")
        data = {}
    else:
        reader.known(data)
    version = data.get("version")
    if data and (not isinstance(version, str) or not version.strip()):
        reader.wrong(("version",), "expected a text that is not empty")
    guidelines = {key: reader.texts(data, ("guideline", key), ("id", "ja", "en")) for key in _GUIDELINES}
    supervisor = {key: reader.texts(data, ("supervisor", key), ("ja", "en")) for key in _SUPERVISOR}
    operator = {key: reader.texts(data, ("operator", key), ("ja", "en")) for key in _OPERATOR}
    playbook = Playbook(
        version=str(version),
        guidelines=MappingProxyType({key: Guideline(**words) for key, words in guidelines.items() if words}),
        law=MappingProxyType(reader.law(data)),
        supervisor=MappingProxyType({key: Phrase(**words) for key, words in supervisor.items() if words}),
        operator=MappingProxyType({key: Phrase(**words) for key, words in operator.items() if words}),
        situations=reader.by_topic(data, "situation", _LEVELS),
        phrases=reader.by_topic(data, "phrase", STEPS),
    )
    return playbook, sorted(reader.mistakes, key=lambda mistake: mistake.line)


class _Reader:
    """Reads the parts of a playbook and notes what is wrong."""

    def __init__(self, text: str) -> None:
        self.mistakes: list[PlaybookError] = []
        self._lines = text.splitlines()

    def wrong(self, path: tuple[str, ...], message: str) -> None:
        self.mistakes.append(PlaybookError(message, key=".".join(path), line=line_of(self._lines, path)))

    def known(self, data: Mapping[str, Any]) -> None:
        """A section or an entry that nothing would ever read is a slip of the pen."""
        for section, table in data.items():
            if section not in {"version", *_SECTIONS}:
                self.wrong((section,), f"unknown; known: {', '.join(_SECTIONS)}")
            elif section != "version" and not isinstance(table, dict):
                self.wrong((section,), "expected a table")
            elif section in {"guideline", "supervisor", "operator", "law"}:
                for key in table:
                    if key not in _SECTIONS[section]:
                        self.wrong((section, key), f"unknown; known: {', '.join(_SECTIONS[section])}")

    def law(self, data: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
        table = data.get("law")
        found = {}
        for key, items in (table if isinstance(table, dict) else {}).items():
            if isinstance(items, list) and all(isinstance(item, str) and item.strip() for item in items):
                found[key] = tuple(items)
            else:
                self.wrong(("law", key), "expected a list of texts")
        if not isinstance(table, dict) and data:
            self.wrong(("law",), "expected a table")
        return found

    def by_topic(self, data: Mapping[str, Any], section: str, keys: Sequence[str]) -> Mapping[tuple[str, str], Phrase]:
        """Words by label or signal and by level or step; whatever is left out falls back to the general words."""
        found: dict[tuple[str, str], Phrase] = {}
        tables = data.get(section, {})
        for topic, table in (tables if isinstance(tables, dict) else {}).items():
            if topic not in _TOPICS or not isinstance(table, dict):
                self.wrong((section, topic), f"expected a table under one of {', '.join(_TOPICS)}")
                continue
            for key in table:
                if key not in keys:
                    self.wrong((section, topic, key), f"expected one of {', '.join(keys)}")
                elif words := self.texts(data, (section, topic, key), ("ja", "en")):
                    found[topic, key] = Phrase(**words)
        return MappingProxyType(found)

    def texts(self, data: Mapping[str, Any], path: tuple[str, ...], names: Sequence[str]) -> dict[str, str]:
        """The texts of one entry, or nothing where one of them is wrong."""
        if not data:
            return {}
        entry: Any = data
        for part in path:
            entry = entry.get(part) if isinstance(entry, dict) else None
        if not isinstance(entry, dict):
            self.wrong(path, "missing")
            return {}
        bad = [name for name in names if not isinstance(entry.get(name), str) or not entry[name].strip()]
        for name in bad:
            self.wrong((*path, name), "expected a text that is not empty")
        return {} if bad else {name: entry[name] for name in names}

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


class PlaybookError(ValueError):
    """A playbook lacks something or has a value of the wrong kind; the message names the entry."""


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
        PlaybookError: not TOML, or an entry is missing or not of the right kind.
    """
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise PlaybookError(f"not TOML: {error}") from None
    version = data.get("version")
    if not isinstance(version, str) or not version:
        raise PlaybookError("version: expected a text")
    return Playbook(
        version=version,
        guidelines=MappingProxyType(
            {key: Guideline(**_texts(data, "guideline", key, ("id", "ja", "en"))) for key in _GUIDELINES}
        ),
        law=MappingProxyType({key: tuple(map(str, items)) for key, items in _table(data, "law").items()}),
        supervisor=MappingProxyType(
            {key: Phrase(**_texts(data, "supervisor", key, ("ja", "en"))) for key in _SUPERVISOR}
        ),
        operator=MappingProxyType({key: Phrase(**_texts(data, "operator", key, ("ja", "en"))) for key in _OPERATOR}),
        situations=_by_topic(data, "situation", _LEVELS),
        phrases=_by_topic(data, "phrase", STEPS),
    )


def _by_topic(data: Mapping[str, Any], section: str, keys: Sequence[str]) -> Mapping[tuple[str, str], Phrase]:
    """Words by label or signal and by level or step; whatever is left out falls back to the general words."""
    found: dict[tuple[str, str], Phrase] = {}
    for topic, table in data.get(section, {}).items():
        if topic not in _TOPICS or not isinstance(table, dict):
            raise PlaybookError(f"{section}.{topic}: expected a table under one of {', '.join(_TOPICS)}")
        for key in table:
            if key not in keys:
                raise PlaybookError(f"{section}.{topic}.{key}: expected one of {', '.join(keys)}")
            texts = _texts({"in": table}, "in", key, ("ja", "en"), named=f"{section}.{topic}")
            found[topic, key] = Phrase(**texts)
    return MappingProxyType(found)


def _table(data: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    table = data.get(name)
    if not isinstance(table, dict):
        raise PlaybookError(f"{name}: expected a table")
    return table


def _texts(data: Mapping[str, Any], section: str, key: str, names: Sequence[str], *, named: str = "") -> dict[str, str]:
    entry = _table(data, section).get(key)
    if not isinstance(entry, dict):
        raise PlaybookError(f"{named or section}.{key}: missing")
    for name in names:
        if not isinstance(entry.get(name), str) or not entry[name].strip():
            raise PlaybookError(f"{named or section}.{key}.{name}: expected a text that is not empty")
    return {name: entry[name] for name in names}

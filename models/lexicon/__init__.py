"""The curated lexicon: entries per language, their gates, and the house's additions and mutes.

A lexicon knows words, not speakers' intent. It carries the degraded mode (`models.lexicon_scorer`) and the hint for
provisional alerts on partial transcripts; it never overrules the classifier on a final one. A Japanese pattern is never
tried on English text or the other way round.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any, Final

from detector.labels import CUES, OUTPUTS, Language, Speaker
from models.errors import LexiconError
from models.normalise import Normalised, normalise

_QUOTED: Final = {
    "ja": re.compile(
        r"[」』”\"']?(?:と|って)(?:言われ|いわれ|怒鳴られ|書(?:いて|かれ)|呼ばれ|言ってき|言うんです|言いやが|いう(?:商品|品名|名前|曲|映画|本|店)|ありますが)"
    ),
    "en": re.compile(
        r"\b(?:(?:he|she|they|someone|somebody|your (?:guy|agent|driver|colleague|rep)|my (?:boss|husband|wife|neighbou?r))"
        r"(?: just| actually)? (?:said|told|called|calls|shouted|yelled|says|threatened)|called me|told me|shouted at me|it says)\b"
    ),
}
"""Words that hand a phrase to somebody else: a quotation is a report, not abuse."""

_SELF: Final = {
    "ja": re.compile(r"(?:私|わたし|僕|ぼく|俺|自分|うち)(?:が|の方が|のほうが|って|は|も)[^。]{0,6}$"),
    "en": re.compile(r"\b(?:i|i'm|i am|i was|me|myself|i feel|i felt)\b[^.?!]{0,12}$"),
}
_THIRD: Final = {
    "ja": re.compile(
        r"(?:隣|近所|向かい|うちの(?:夫|旦那|息子|娘|上司|親|犬|猫)|主人|旦那|息子|上司|元彼|元夫|あの客|配達の人)[^。]{0,10}$"
    ),
    "en": re.compile(
        r"\b(?:my (?:neighbou?r|husband|wife|boss|ex|brother|son|daughter|dog|cat|landlord)|that driver|the other driver)\b[^.?!]{0,24}$"
    ),
}
_NEGATED_WISH: Final = {
    "ja": re.compile(r"^(?:気か|つもりか|思い|ほど|ような|(?:ろうか|たろか)?と思(?:った(?!ら)|いました))"),
    "en": re.compile(r"^\b for (?:that|this)\b"),
}
_DAMPED: Final = 0.25
"""Share of an entry's weight left beside a quotation, a third party or the speaker himself; chosen so that one damped
entry never reaches the threshold of .5."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One pattern and what it stands for.

    Args:
        pattern: regular expression over the normal form (`models.normalise`).
        label: an output of `detector.labels.OUTPUTS`.
        weight: 0 to 1, the share of its hits that are meant.
        speaker: whose words it is read in.
        grave: whether a hit in a partial transcript may raise a provisional alert.
        target: whether a quotation, a third party or the speaker himself takes weight away.
        reason: why the entry is there, for the one who reviews or mutes it.
    """

    pattern: str
    label: str
    weight: float
    reason: str
    speaker: Speaker = Speaker.CUSTOMER
    grave: bool = False
    target: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """A place where an entry matched: `start` and `end` in code points of the original text, `weight` after its gates."""

    label: str
    start: int
    end: int
    weight: float
    reason: str


class Lexicon:
    """Entries of all languages, compiled.

    Args:
        entries: per language code.
        terms: house terms per language, `{"ja": {"役立たずめ": "verbal_abuse"}}`; plain text, matched in the normal form.
        muted: patterns or plain terms (as written in an entry or in `terms`) that the house silenced.

    Raises:
        LexiconError: an entry or a house term is not valid.
    """

    def __init__(
        self,
        entries: Mapping[str, Sequence[Entry]],
        *,
        terms: Mapping[str, Mapping[str, str]] | None = None,
        muted: Iterable[str] = (),
    ) -> None:
        silenced = {normalise(term).text for term in muted} | set(muted)
        merged = {language: list(found) for language, found in entries.items()}
        for language, house in (terms or {}).items():
            merged.setdefault(language, []).extend(_house_entry(term, label) for term, label in house.items())
        self._muted = tuple(sorted(term for term in silenced if term))
        self._compiled: dict[str, list[tuple[Entry, re.Pattern[str]]]] = {}
        self._grave: dict[str, list[tuple[Entry, re.Pattern[str]]]] = {}
        for language, found in merged.items():
            kept = [(entry, _compiled(entry)) for entry in found if entry.pattern not in silenced]
            self._compiled[language] = kept
            self._grave[language] = [pair for pair in kept if pair[0].grave]

    def hits(self, text: Normalised, language: str, speaker: Speaker = Speaker.CUSTOMER) -> list[Hit]:
        """Where the lexicon matches `text`; an agent's words are read for cues alone, anyone else's as a customer's."""
        wanted = Speaker.AGENT if speaker is Speaker.AGENT else Speaker.CUSTOMER
        found: list[Hit] = []
        for entry, pattern in self._compiled.get(language, ()):
            if entry.speaker is wanted:
                for match in pattern.finditer(text.text):
                    if match.end() > match.start() and not self._is_muted(match.group()):
                        start, end = text.original(match.start(), match.end())
                        weight = entry.weight * (
                            _damping(text.text, match, entry.label, language) if entry.target else 1.0
                        )
                        found.append(Hit(label=entry.label, start=start, end=end, weight=weight, reason=entry.reason))
        return found

    def gravest_hint(self, text: str, language: str) -> tuple[str, ...]:
        """Labels that a partial transcript may provisionally raise: the grave entries alone, gates applied.

        Made for every partial of every call: a few microseconds where nothing matches.
        """
        grave = self._grave.get(language)
        if not grave:
            return ()
        normal = normalise(text).text
        labels = {
            entry.label
            for entry, pattern in grave
            for match in pattern.finditer(normal)
            if not (entry.target and _damping(normal, match, entry.label, language) < 1.0)
            and not self._is_muted(match.group())
        }
        return tuple(label for label in OUTPUTS if label in labels)

    def _is_muted(self, words: str) -> bool:
        return any(term in words for term in self._muted)


def load_lexicon(*, terms: Mapping[str, Mapping[str, str]] | None = None, muted: Iterable[str] = ()) -> Lexicon:
    """The bundled lexicon with the house's `terms` added and its `muted` ones silenced.

    Raises:
        LexiconError: an entry or a house term is not valid.
    """
    entries: dict[str, list[Entry]] = {}
    for language in Language:
        source = resources.files("models.lexicon").joinpath(f"{language.value}.toml")
        document = tomllib.loads(source.read_text(encoding="utf-8"))
        if document.get("language") != language.value:
            raise LexiconError(f"{source.name} says language {document.get('language')!r}")
        entries[language.value] = [_entry(item) for item in document["entry"]]
    return Lexicon(entries, terms=terms, muted=muted)


def _entry(item: dict[str, Any]) -> Entry:
    try:
        entry = Entry(**{**item, "speaker": Speaker(item.get("speaker", "customer"))})
    except (TypeError, ValueError) as error:
        raise LexiconError(f"lexicon entry {item!r}: {error}") from error
    if entry.label not in OUTPUTS or not 0 < entry.weight <= 1 or not entry.reason:
        raise LexiconError(f"lexicon entry {item!r}: unknown label, weight outside (0, 1] or no reason")
    return entry


def _house_entry(term: str, label: str) -> Entry:
    if label not in OUTPUTS:
        raise LexiconError(f"house term {term!r}: unknown label {label!r}")
    normal = normalise(term).text
    if not normal:
        raise LexiconError("a house term is empty")
    bounded = rf"\b{re.escape(normal)}\b" if normal.isascii() else re.escape(normal)
    speaker = Speaker.AGENT if label in CUES and label != "self_harm" else Speaker.CUSTOMER
    return Entry(pattern=bounded, label=label, weight=0.8, reason="house term", speaker=speaker, target=True)


def _compiled(entry: Entry) -> re.Pattern[str]:
    try:
        return re.compile(entry.pattern)
    except re.error as error:
        raise LexiconError(f"pattern {entry.pattern!r}: {error}") from error


def _damping(text: str, match: re.Match[str], label: str, language: str) -> float:
    """1 for words aimed at the listener, less where they are quoted, about somebody else or about the speaker."""
    before, after = text[: match.start()], text[match.end() :]
    quoted = _QUOTED["ja"].match(after[:16]) if language == "ja" else _QUOTED["en"].search(before[-48:])
    # "I'm stupid" is self-blame, "I'm going to kill you" is not.
    damped = (
        quoted
        or (label == "verbal_abuse" and _SELF[language].search(before[-16:]))
        or _THIRD[language].search(before[-32:])
        or _NEGATED_WISH[language].match(after)
    )
    return _DAMPED if damped else 1.0

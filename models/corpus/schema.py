"""One labelled utterance, and the JSON Lines files it lives in: `utterances.{ja,en}.{train,valid,test}.jsonl`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from detector.labels import CUES, HARASSMENT_LABELS, OUTPUTS, UTTERANCE_LABELS, Speaker
from detector.scoring import Turn
from models.errors import CorpusError

FOLDER: Final = Path(__file__).parent
"""Where the corpus lies."""

SPLITS: Final = ("train", "valid", "test")
LANGUAGES: Final = ("ja", "en")


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One utterance with its labels.

    Args:
        id: opaque, says nothing of the labels or of the place in its pass.
        text: the utterance, as a speech recogniser writes it.
        language: `ja` or `en`.
        speaker: `customer` or `agent`.
        context: up to 4 earlier turns, oldest first, each `agent: …` or `customer: …`.
        labels: of `UTTERANCE_LABELS`, in their order; empty is neutral.
        cues: of `CUES`, in their order.
        tags: manner of a positive or kind of a hard negative.
        spans: `(start, end)` code points of the decisive words; only where a harassment label stands.
        group: the pass it was written in; a split never cuts through one.
        persona, industry, region, writer: who speaks about what, and which writer wrote it.
        disputed: of `OUTPUTS`, those on which the writer and the blind second reader differ; training does not use them.
    """

    id: str
    text: str
    language: str
    speaker: str
    context: tuple[str, ...]
    labels: tuple[str, ...]
    cues: tuple[str, ...]
    tags: tuple[str, ...]
    spans: tuple[tuple[int, int], ...]
    group: str
    persona: str
    industry: str
    region: str
    writer: str
    disputed: tuple[str, ...] = ()

    @property
    def harassing(self) -> bool:
        """Whether any harassment label stands."""
        return any(label in HARASSMENT_LABELS for label in self.labels)

    @property
    def hard_negative(self) -> bool:
        """A customer's utterance that sounds like harassment and is none: tagged, and without a harassment label."""
        return self.speaker == Speaker.CUSTOMER and not self.harassing and bool(set(self.tags) - _NOT_HARD)


_NOT_HARD: Final = frozenset({"asr", "fragment", "pair"})
"""Tags that describe the form of an utterance, not a likeness to harassment."""


def turns(context: Iterable[str]) -> tuple[Turn, ...]:
    """`agent: …` and `customer: …` lines as turns; a line without a known speaker is `unknown`."""
    found: list[Turn] = []
    for line in context:
        name, mark, text = line.partition(":")
        known = bool(mark) and name.strip().lower() in {"agent", "customer", "unknown"}
        speaker = Speaker(name.strip().lower()) if known else Speaker.UNKNOWN
        found.append(Turn(speaker=speaker, text=text.strip() if known else line.strip()))
    return tuple(found)


def read_items(path: Path) -> Iterator[Item]:
    """The items of one file.

    Raises:
        CorpusError: a line breaks the schema.
    """
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            try:
                yield _checked(json.loads(line))
            except (ValueError, TypeError, KeyError) as error:
                raise CorpusError(f"{path.name}:{number}: {error}") from error


def read_split(split: str, *, languages: Iterable[str] = LANGUAGES, folder: Path = FOLDER) -> list[Item]:
    """All items of a split; an absent file is empty."""
    paths = [folder / f"utterances.{language}.{split}.jsonl" for language in languages]
    return [item for path in paths if path.is_file() for item in read_items(path)]


def write_items(path: Path, items: Iterable[Item]) -> None:
    """Writes items, one per line, in the given order."""
    with path.open("w", encoding="utf-8", newline="\n") as out:
        for item in items:
            record = asdict(item)
            record["spans"] = [{"start": start, "end": end} for start, end in item.spans]
            out.write(json.dumps(record, ensure_ascii=False) + "\n")


def _checked(record: dict[str, Any]) -> Item:
    spans = tuple((int(span["start"]), int(span["end"])) for span in record.pop("spans"))
    lists: dict[str, Any] = {name: tuple(record.pop(name)) for name in ("context", "labels", "cues", "tags")}
    lists["disputed"] = tuple(record.pop("disputed", ()))
    item = Item(**record, **lists, spans=spans)
    if not item.text.strip():
        raise ValueError("empty text")
    if item.language not in LANGUAGES or item.speaker not in {"customer", "agent"}:
        raise ValueError(f"language {item.language!r}, speaker {item.speaker!r}")
    unknown = (
        (set(item.labels) - set(UTTERANCE_LABELS)) | (set(item.cues) - set(CUES)) | (set(item.disputed) - set(OUTPUTS))
    )
    if unknown:
        raise ValueError(f"unknown labels {sorted(unknown)}")
    if any(not 0 <= start < end <= len(item.text) for start, end in spans):
        raise ValueError("a span lies outside its text")
    if bool(spans) != item.harassing:
        raise ValueError("spans stand where and only where a harassment label does")
    return item

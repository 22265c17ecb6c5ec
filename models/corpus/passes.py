"""Reads the passes that writers deliver, `PASSID.txt`: a JSON header, then one item a line in four fields.

    LABELS | TAGS | CONTEXT | TEXT

Labels are short codes separated by commas, `-` for none; turns of context are separated by ` / ` and begin with `a:` or `c:`;
the decisive words of the text stand in ⟦ ⟧.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from detector.labels import CUES, HARASSMENT_LABELS, UTTERANCE_LABELS
from models.corpus.schema import Item
from models.errors import CorpusError

_LOG: Final = logging.getLogger(__name__)

CODES: Final = {
    "va": "verbal_abuse",
    "th": "threat",
    "ex": "exposure",
    "ed": "excessive_demand",
    "au": "authority",
    "di": "discrimination",
    "se": "sexual",
    "in": "intrusion",
    "co": "complaint",
    "sh": "self_harm",
    "st1": "caution",
    "st2": "first_warning",
    "st3": "final_warning",
    "st4": "may_end",
    "ap": "apology",
    "an": "answer",
    "ho": "hold",
}
"""Short codes of the writers and labellers."""

_MARKS: Final = re.compile("[⟦⟧]")
_TURNS: Final = re.compile(r"\s/\s")
_FIELDS: Final = 4


def read_passes(folder: Path, *, speaker: str) -> Iterator[Item]:
    """Items of all `*.txt` passes of a folder; a line that is not valid is logged and left out.

    Raises:
        CorpusError: a pass has no header.
    """
    for path in sorted(folder.glob("*.txt")):
        lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
        header = _header(path, lines[0] if lines else "")
        for number, line in enumerate(lines[1:], 2):
            try:
                yield _item(line, header, path.stem, speaker)
            except (ValueError, KeyError) as error:
                _LOG.warning("%s:%d left out: %s", path.name, number, error)


def _header(path: Path, line: str) -> dict[str, str]:
    try:
        header = json.loads(line)
    except ValueError as error:
        raise CorpusError(f"{path.name}: no header: {error}") from error
    if not isinstance(header, dict) or header.get("lang") not in {"ja", "en"}:
        raise CorpusError(f"{path.name}: the header names no language")
    return header


def _item(line: str, header: dict[str, str], group: str, speaker: str) -> Item:
    fields = [field.strip() for field in line.split("|")]
    if len(fields) != _FIELDS:
        raise ValueError(f"{len(fields)} fields, expected {_FIELDS}")
    codes, tags, context, marked = fields
    text, spans = unmark(marked)
    if not text.strip():
        raise ValueError("empty text")
    names = {CODES[code] for code in _listed(codes)}
    labels = tuple(label for label in UTTERANCE_LABELS if label in names)
    harassing = any(label in HARASSMENT_LABELS for label in labels)
    if harassing and not spans:
        raise ValueError("a harassment label without ⟦⟧")
    turns = [turn for turn in _TURNS.split(context) if turn.strip()]
    return Item(
        id=f"{header['lang']}-{hashlib.blake2s(f'{group}/{text}'.encode(), digest_size=5).hexdigest()}",
        text=text,
        language=header["lang"],
        speaker=speaker,
        context=tuple(_turn(turn.strip()) for turn in turns[-4:]),
        labels=labels,
        cues=tuple(cue for cue in CUES if cue in names),
        tags=tuple(_listed(tags)),
        spans=spans if harassing else (),
        group=group,
        persona=header.get("persona", ""),
        industry=header.get("industry", ""),
        region=header.get("region", ""),
        writer=group.partition("-")[0],
    )


def _listed(field: str) -> list[str]:
    return [word for word in re.split(r"[\s,]+", field) if word not in {"", "-"}]


def unmark(marked: str) -> tuple[str, tuple[tuple[int, int], ...]]:
    """The text without ⟦ ⟧, and the ranges that they held.

    Raises:
        ValueError: the marks are nested or unbalanced.
    """
    text: list[str] = []
    spans: list[tuple[int, int]] = []
    opened: int | None = None
    for character in marked:
        if character == "⟦":
            if opened is not None:
                raise ValueError("nested ⟦")
            opened = len(text)
        elif character == "⟧":
            if opened is None:
                raise ValueError("⟧ without ⟦")
            if len(text) > opened:
                spans.append((opened, len(text)))
            opened = None
        else:
            text.append(character)
    if opened is not None:
        raise ValueError("⟦ without ⟧")
    return "".join(text), tuple(spans)


def _turn(line: str) -> str:
    name = {"a:": "agent", "c:": "customer"}[line[:2]]
    return f"{name}: {_MARKS.sub('', line[2:]).strip()}"

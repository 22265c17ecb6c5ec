"""The utterance, which is the unit that is scored: where its words come from, and where a long one is cut.

Knows nothing of who else spoke or when: what belongs together is the transcript's business.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Final

from detector.labels import Speaker
from detector.scoring import Span, Turn

SENTENCE_END: Final = re.compile(r"(?<=[。！？!?])\s*|(?<=[.])\s+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """Where a stretch of one segment lies in an utterance, in code points."""

    segment_id: str
    segment_start: int
    unit_start: int
    length: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """One utterance to be scored.

    Args:
        unit_id: id of its first segment, with `/n` where it begins at its n-th character; it stays while the unit grows.
        revision: 0 at first, one more each time that it grew.
        pieces: where its text came from.
    """

    unit_id: str
    revision: int
    speaker: Speaker
    language: str
    text: str
    start_ms: int
    end_ms: int
    pieces: tuple[Piece, ...]
    context: tuple[Turn, ...] = ()

    @property
    def request_id(self) -> str:
        """The id of the score request: the same on every fold of the same events."""
        return f"{self.unit_id}#{self.revision}"

    def masked(self, segment_id: str, text: str) -> Unit:
        """The same with one of its segments masked by a text of the same length."""
        masked = self.text
        for piece in self.pieces:
            if piece.segment_id == segment_id:
                part = text[piece.segment_start : piece.segment_start + piece.length]
                masked = masked[: piece.unit_start] + part + masked[piece.unit_start + piece.length :]
        return replace(self, text=masked)


def split_sentences(text: str, max_chars: int) -> list[tuple[int, int]]:
    """Cuts a text at sentence ends into parts of at most about `max_chars` code points.

    A sentence longer than that is cut at a comma or space, or hard where it has none.

    Returns:
        (start, end) of each part; together they cover the text.
    """
    if len(text) <= max_chars:
        return [(0, len(text))]
    cuts = [match.end() for match in SENTENCE_END.finditer(text) if 0 < match.end() < len(text)]
    parts: list[tuple[int, int]] = []
    start = 0
    while len(text) - start > max_chars:
        within = [cut for cut in cuts if start < cut <= start + max_chars]
        if within:
            cut = within[-1]
        else:
            soft = max(text.rfind(mark, start + max_chars // 2, start + max_chars) for mark in ("、", ",", " ", "　"))
            cut = soft + 1 if soft > start else start + max_chars
        parts.append((start, cut))
        start = cut
    parts.append((start, len(text)))
    return parts


def to_segments(unit: Unit, spans: tuple[Span, ...]) -> dict[str, tuple[Span, ...]]:
    """Maps spans of an utterance to the segments that it was made of.

    Returns:
        Spans by segment id, in code points of each segment's own text; a span over two segments is cut in two.
    """
    found: dict[str, list[Span]] = {}
    for span in spans:
        for piece in unit.pieces:
            start = max(span.start, piece.unit_start)
            end = min(span.end, piece.unit_start + piece.length)
            if start < end:
                shift = piece.segment_start - piece.unit_start
                found.setdefault(piece.segment_id, []).append(
                    Span(start=start + shift, end=end + shift, label=span.label, score=span.score)
                )
    return {segment_id: tuple(items) for segment_id, items in found.items()}

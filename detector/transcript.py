"""Folds segments into the talk: finals, partials, echoes, and the utterance, which is the unit that is scored.

Consecutive finals of one speaker that belong together are joined and scored as one, and a long one is split at
sentence ends, so that accuracy does not depend on where a recogniser happens to cut. Spans map back to each segment's
own characters.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import Final

from detector.events import Segment
from detector.labels import Speaker
from detector.scoring import Span, Turn
from detector.text import is_backchannel, squeeze

JOIN_GAP_MS: Final = 1500
"""Finals of one speaker closer than this are one utterance (design, "The scored unit")."""
MAX_UNIT_CHARS: Final = {"ja": 64, "en": 190}
"""About 40 tokens of the bundled tokeniser: what fits an input of 48 with its marks."""
MAX_PIECES: Final = 6
"""Segments that one utterance may grow to."""
MAX_CONTEXT_TURNS: Final = 4
MAX_HISTORY: Final = 40
"""Finals kept to judge a call again when its speakers turn out to be swapped."""
ECHO_WINDOW_MS: Final = 4000
"""The same sentence on the other channel within this time is an echo (line crosstalk, not an answer)."""
MIN_ECHO_CHARS: Final = 6
MAX_SEEN: Final = 4096
"""Segment ids remembered for de-duplication; beyond it the oldest half is forgotten."""
MAX_OPEN_PARTIALS: Final = 16
SWAP_REVISION: Final = 1000
"""Added to the revision of an utterance that is judged again under its other speaker: another request, another id."""

_SENTENCE_END: Final = re.compile(r"(?<=[。！？!?])\s*|(?<=[.])\s+")


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
        unit_id: id of its first segment, with `/n` for the n-th part of a split one; it stays while the unit grows.
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


@dataclass(slots=True, kw_only=True)
class Transcript:
    """The talk so far, bounded; plain data, so that a snapshot can hold it.

    Args:
        language: of the call; a segment may name its own.
        finals: the last finals, oldest first.
        turns: the last turns as context for scoring, joined per speaker.
        partials: open partials by segment id: (speaker, text, start_ms, end_ms).
        seen: ids of the finals that were folded, in order.
        unit: the last utterance of a customer while it can still grow.
    """

    language: str = "ja"
    swapped: bool = False
    finals: list[Segment] = field(default_factory=list)
    turns: list[Turn] = field(default_factory=list)
    partials: dict[str, Segment] = field(default_factory=dict)
    seen: dict[str, int] = field(default_factory=dict)
    unit: Unit | None = None

    def relabel(self, speaker: Speaker) -> Speaker:
        """The true speaker of a segment, given whether the call's labels are the wrong way round."""
        if not self.swapped or speaker is Speaker.UNKNOWN:
            return speaker
        return Speaker.AGENT if speaker is Speaker.CUSTOMER else Speaker.CUSTOMER

    def is_duplicate(self, segment: Segment) -> bool:
        """Whether the segment's final was folded before."""
        return segment.segment_id in self.seen

    def add_partial(self, segment: Segment) -> Segment | None:
        """Notes a partial.

        Returns:
            The partial with its true speaker, or None if it says nothing new.
        """
        before = self.partials.get(segment.segment_id)
        if self.is_duplicate(segment) or (before is not None and before.text == segment.text):
            return None
        if segment.segment_id not in self.partials and len(self.partials) >= MAX_OPEN_PARTIALS:
            del self.partials[next(iter(self.partials))]
        self.partials[segment.segment_id] = segment
        return replace(segment, speaker=self.relabel(segment.speaker))

    def add_final(self, segment: Segment) -> list[Unit]:
        """Folds a final.

        Returns:
            The utterances to score now: none for a duplicate, an echo or an empty text, several for a long segment.
        """
        if self.is_duplicate(segment):
            return []
        self.partials.pop(segment.segment_id, None)
        self._remember(segment.segment_id)
        segment = replace(segment, speaker=self.relabel(segment.speaker))
        if not squeeze(segment.text, self._language(segment)) and not segment.text.strip():
            return []
        if self._is_echo(segment):
            return []
        self.finals.append(segment)
        del self.finals[:-MAX_HISTORY]
        return self._units(segment)

    def redact(self, segment_id: str, text: str) -> None:
        """Puts a masked text in place of a stored one, in everything that is kept for context."""
        for index, segment in enumerate(self.finals):
            if segment.segment_id == segment_id:
                masked = replace(segment, text=text)
                self.finals[index] = masked
                self.turns = [
                    Turn(speaker=turn.speaker, text=turn.text.replace(segment.text, text)) for turn in self.turns
                ]
        self.unit = None

    def swap(self, *, from_now_on: bool) -> list[Unit]:
        """Turns the two speakers round in what was said so far.

        Args:
            from_now_on: whether later segments are labelled the wrong way round, too.

        Returns:
            The utterances of the kept history under their true speakers, oldest first, to be judged again.
        """
        self.swapped = from_now_on
        history = [replace(segment, speaker=_other(segment.speaker)) for segment in self.finals]
        self.finals, self.turns, self.unit = [], [], None
        units: dict[str, Unit] = {}
        for segment in history:
            self.finals.append(segment)
            for unit in self._units(segment):
                units[unit.unit_id] = replace(unit, revision=unit.revision + SWAP_REVISION)
        return list(units.values())

    def _remember(self, segment_id: str) -> None:
        self.seen[segment_id] = 1
        if len(self.seen) > MAX_SEEN:
            for old in list(self.seen)[: MAX_SEEN // 2]:
                del self.seen[old]

    def _language(self, segment: Segment) -> str:
        return segment.language or self.language

    def _is_echo(self, segment: Segment) -> bool:
        language = self._language(segment)
        text = squeeze(segment.text, language)
        if len(text) < MIN_ECHO_CHARS:
            return False
        return any(
            earlier.speaker is not segment.speaker
            and segment.start_ms - earlier.end_ms < ECHO_WINDOW_MS
            and abs(segment.start_ms - earlier.start_ms) < ECHO_WINDOW_MS
            and squeeze(earlier.text, language) == text
            for earlier in self.finals[-4:]
        )

    def _units(self, segment: Segment) -> list[Unit]:
        language = self._language(segment)
        speaker = segment.speaker
        if speaker is Speaker.AGENT:
            if not is_backchannel(segment.text, language):
                self.unit = None
            units = self._split(segment, language)
        elif (grown := self._grow(segment, language)) is not None:
            units = [grown]
            self.unit = grown
        else:
            units = self._split(segment, language)
            self.unit = units[-1]
        self._note_turn(segment)
        return units

    def _grow(self, segment: Segment, language: str) -> Unit | None:
        unit = self.unit
        if (
            unit is None
            or unit.speaker is not segment.speaker
            or segment.start_ms - unit.end_ms >= JOIN_GAP_MS
            or len(unit.pieces) >= MAX_PIECES
        ):
            return None
        joint = "" if language == "ja" or unit.text.endswith((" ", "。")) else " "
        if len(unit.text) + len(joint) + len(segment.text) > MAX_UNIT_CHARS.get(language, 190):
            return None
        piece = Piece(
            segment_id=segment.segment_id,
            segment_start=0,
            unit_start=len(unit.text) + len(joint),
            length=len(segment.text),
        )
        return Unit(
            unit_id=unit.unit_id,
            revision=unit.revision + 1,
            speaker=unit.speaker,
            language=language,
            text=unit.text + joint + segment.text,
            start_ms=unit.start_ms,
            end_ms=max(unit.end_ms, segment.end_ms),
            pieces=(*unit.pieces, piece),
            context=unit.context,
        )

    def _split(self, segment: Segment, language: str) -> list[Unit]:
        context = tuple(self.turns[-MAX_CONTEXT_TURNS:])
        parts = split_sentences(segment.text, MAX_UNIT_CHARS.get(language, 190))
        return [
            Unit(
                unit_id=segment.segment_id if len(parts) == 1 else f"{segment.segment_id}/{index}",
                revision=0,
                speaker=segment.speaker,
                language=language,
                text=segment.text[start:end],
                start_ms=segment.start_ms,
                end_ms=segment.end_ms,
                pieces=(Piece(segment_id=segment.segment_id, segment_start=start, unit_start=0, length=end - start),),
                context=context,
            )
            for index, (start, end) in enumerate(parts)
        ]

    def _note_turn(self, segment: Segment) -> None:
        limit = 2 * MAX_UNIT_CHARS.get(self._language(segment), 190)
        if self.turns and self.turns[-1].speaker is segment.speaker:
            text = f"{self.turns[-1].text} {segment.text}"[-limit:]
            self.turns[-1] = Turn(speaker=segment.speaker, text=text)
        else:
            self.turns.append(Turn(speaker=segment.speaker, text=segment.text[-limit:]))
            del self.turns[: -(MAX_CONTEXT_TURNS + 1)]


def split_sentences(text: str, max_chars: int) -> list[tuple[int, int]]:
    """Cuts a text at sentence ends into parts of at most about `max_chars` code points.

    A sentence longer than that is cut at a comma or space, or hard where it has none.

    Returns:
        (start, end) of each part; together they cover the text.
    """
    if len(text) <= max_chars:
        return [(0, len(text))]
    cuts = [match.end() for match in _SENTENCE_END.finditer(text) if 0 < match.end() < len(text)]
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


def _other(speaker: Speaker) -> Speaker:
    return {Speaker.AGENT: Speaker.CUSTOMER, Speaker.CUSTOMER: Speaker.AGENT}.get(speaker, speaker)

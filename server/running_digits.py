"""Digits that one speaker reads out over several segments: a card number in groups of four, each a segment of its own.

No segment alone says what they are, so the run is masked whatever it turns out to be, as soon as four digits have come
(design § 4, "Redaction"); what was stored of it before is rewritten. Each digit becomes one `MASK` for every character
that stood for it, so that lengths stay and offsets of evidence with them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import Final

from detector.events import Segment, SegmentRedacted
from detector.labels import Speaker
from server.digits import MASK, Token, has_digits, runs_of

MIN_RUN_DIGITS: Final = 4
MAX_PAUSE_MS: Final = 15_000
"""From the end of one group to the start of the next."""
MAX_PARTS: Final = 24
"""Segments in one run; of a longer one the oldest are masked already."""

_FILLER: Final = re.compile(
    r"(?:[\s、。,.・…ー〜\-]|えーっと|えーと|えっと|ええと|ええ|えー|あの|その|はい|うん|で|次が|続けて|それから|uh+|um+|er+m?|and|then|yeah|yes|ok(?:ay)?)*",
    re.IGNORECASE,
)
_CLOSING: Final = re.compile(
    r"(?:[\s、。,.・…ー〜?!？！\-]|です|になります|ですね|でして|で|の|と|ね|が|はい|えーと|えー|uh+|um+|and|then|ok(?:ay)?)*",
    re.IGNORECASE,
)
_ENDS_GROUP: Final = re.compile(r"$|[\s]*[、。,.…]|(?:です|になります|でお願い)")
_NUMERALS: Final = frozenset("〇零一二三四五六七八九" + MASK)


@dataclass(frozen=True, slots=True)
class _Group:
    """One segment's share of a run."""

    segment_id: str
    text: str
    tokens: tuple[Token, ...]
    end_ms: int

    @property
    def digits(self) -> int:
        return sum(len(token.digits) for token in self.tokens)

    @property
    def masked(self) -> str:
        return _blank(self.text, self.tokens)


@dataclass(slots=True)
class RunningDigits:
    """What each speaker of one call has read out last."""

    _runs: dict[Speaker, list[_Group]] = field(default_factory=dict)

    def take(self, segment: Segment, language: str) -> tuple[Segment, list[SegmentRedacted]]:
        """Takes the next segment of the call, already masked by what it holds alone.

        Args:
            segment: partial or final; a partial is masked and not remembered, its final comes.
            language: of the call, unless the segment names its own.

        Returns:
            The segment, masked as far as it goes on with a run, and the earlier segments that must be rewritten.
        """
        spoken = segment.language or language
        if not has_digits(segment.text, spoken):
            if segment.is_final and segment.speaker in self._runs:
                self._runs[segment.speaker] = self._running(segment)
            return segment, []
        run = self._running(segment)
        lead, tail = _ends(segment, spoken)
        rewrites: list[SegmentRedacted] = []
        if lead is not None and run:
            run.append(lead)
            if sum(group.digits for group in run) >= MIN_RUN_DIGITS:
                rewrites = [
                    SegmentRedacted(segment_id=group.segment_id, text=group.masked)
                    for group in run[:-1]
                    if group.masked != group.text
                ]
                run = [replace(group, text=group.masked) for group in run]
                segment = replace(segment, text=run[-1].text)
        elif lead is not None:
            run = [lead]
        if not segment.is_final:
            if rewrites:
                self._runs[segment.speaker] = run[:-1]
            return segment, rewrites
        if tail is not None and tail != lead:
            run = [replace(tail, text=segment.text)]
        elif lead is not None and tail is None:
            run = []
        self._runs[segment.speaker] = run[-MAX_PARTS:]
        return segment, rewrites

    def _running(self, segment: Segment) -> list[_Group]:
        """The run that a segment may go on with; a segment that comes again takes its earlier self's place."""
        run = list(self._runs.get(segment.speaker, ()))
        for index, group in enumerate(run):
            if group.segment_id == segment.segment_id:
                del run[index:]
                break
        return run if run and segment.start_ms - run[-1].end_ms <= MAX_PAUSE_MS else []


def masked_copy(text: str, masked: str) -> str:
    """The masked form of a stored copy of a segment.

    Args:
        text: the copy: the final itself, or a partial of it.
        masked: the final's masked text.
    """
    if len(text) == len(masked) and all(new in (old, MASK) for old, new in zip(text, masked, strict=True)):
        return masked
    for language in ("ja", "en"):
        text = _blank(text, [token for run in runs_of(text, language) for token in run])
    return text


def _ends(segment: Segment, language: str) -> tuple[_Group | None, _Group | None]:
    """The digits that a segment begins with and those that it ends with; the same when it holds nothing else."""
    runs = [run for run in runs_of(segment.text, language) if _is_read_out(run, segment.text)]
    if not runs:
        return None, None

    def group(run: list[Token]) -> _Group:
        return _Group(segment.segment_id, segment.text, tuple(run), segment.end_ms)

    first, last = runs[0], runs[-1]
    leads = _FILLER.fullmatch(segment.text, 0, first[0].start) and _ENDS_GROUP.match(segment.text, first[-1].end)
    trails = _CLOSING.fullmatch(segment.text, last[-1].end)
    return group(first) if leads else None, group(last) if trails else None


def _is_read_out(run: list[Token], text: str) -> bool:
    """Whether words are digits and no particles (「田中さん」, "that one"): figures are, words only in a row."""
    if any(char.isdigit() or char in _NUMERALS for token in run for char in text[token.start : token.end]):
        return True
    return len(run) >= (2 if text[run[0].start].isascii() else 3)


def _blank(text: str, tokens: tuple[Token, ...] | list[Token]) -> str:
    chars = list(text)
    for token in tokens:
        chars[token.start : token.end] = [MASK] * (token.end - token.start)
    return "".join(chars)

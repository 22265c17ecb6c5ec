"""Folds segments into the talk: finals, partials, echoes, and the utterance, which is the unit that is scored.

Consecutive finals of one speaker that belong together are joined and scored as one, and a long one is split at
sentence ends, so that accuracy does not depend on where a recogniser happens to cut. Spans map back to each segment's
own characters.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from difflib import SequenceMatcher
from typing import Final

from detector.events import Segment
from detector.history import History, digest, has_digest, remember
from detector.labels import Speaker
from detector.scoring import Turn
from detector.text import is_backchannel, is_operators_sentence, squeeze
from detector.units import SENTENCE_END, Piece, Unit, split_sentences

JOIN_GAP_MS: Final = 1500
"""Finals of one speaker closer than this are one utterance (design, "The scored unit")."""
MAX_UNIT_CHARS: Final = {"ja": 64, "en": 190}
"""About 40 tokens of the bundled tokeniser: what fits an input of 48 with its marks."""
MAX_PIECES: Final = 6
"""Segments that one utterance may grow to."""
MAX_CONTEXT_TURNS: Final = 4
ECHO_WINDOW_MS: Final = 4000
"""The same sentence on the other channel within this time is an echo (line crosstalk, not an answer)."""
MIN_ECHO_CHARS: Final = 6
ECHO_OVERLAP_MS: Final = 1500
"""Nearly the same sentence, as two recognitions of one sound, starts within this time; an operator who repeats back what
was said starts after it."""
ECHO_LIKENESS: Final = 0.8
"""Share of matching characters (difflib) from which two such sentences are one."""
SAME_START_MS: Final = 150
"""Starts closer than this do not say which channel heard the sentence first."""
MAX_OPEN_PARTIALS: Final = 16
MAX_VOICES: Final = 6
"""Changes of voice told apart within one segment; a segment with more is left to its label."""
SWAP_REVISION: Final = 1000
"""Added to the revision of an utterance that is judged again under its other speaker: another request, another id."""


@dataclass(slots=True, kw_only=True)
class Transcript:
    """The talk so far, bounded; plain data, so that a snapshot can hold it.

    Args:
        language: of the call; a segment may name its own.
        finals: the last finals.
        turns: the last turns as context for scoring, joined per speaker.
        partials: open partials by segment id: (speaker, text, start_ms, end_ms).
        seen: digests of the ids of the finals that were folded, in order, one behind the other.
        unit: the last utterance of a customer while it can still grow.
        withdrawn: ids of utterances that turned out to be an echo of the operator, since the last `add_final`.
    """

    language: str = "ja"
    swapped: bool = False
    finals: History = field(default_factory=History)
    turns: list[Turn] = field(default_factory=list)
    partials: dict[str, Segment] = field(default_factory=dict)
    seen: bytes = b""
    unit: Unit | None = None
    withdrawn: list[str] = field(default_factory=list)

    def relabel(self, speaker: Speaker) -> Speaker:
        """The true speaker of a segment, given whether the call's labels are the wrong way round."""
        if not self.swapped or speaker is Speaker.UNKNOWN:
            return speaker
        return Speaker.AGENT if speaker is Speaker.CUSTOMER else Speaker.CUSTOMER

    def relabelled(self, segment: Segment) -> Segment:
        """A segment with its true speaker."""
        return _said_by(segment, self.relabel(segment.speaker))

    def is_duplicate(self, segment: Segment) -> bool:
        """Whether the segment's final was folded before."""
        return has_digest(self.seen, digest(segment.segment_id))

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
        return self.relabelled(segment)

    def add_final(self, segment: Segment) -> list[Unit]:
        """Folds a final that is no duplicate (`is_duplicate`).

        Returns:
            The utterances to score now: none for an echo or an empty text, several for a long segment.
        """
        self.withdrawn = []
        self.partials.pop(segment.segment_id, None)
        self.seen = remember(self.seen, digest(segment.segment_id))
        segment = self.relabelled(segment)
        if not segment.text.strip() and not squeeze(segment.text, self._language(segment)):
            return []
        original = self._original(segment)
        if original is not None:
            if not self._was_first(segment, original):
                return []
            self._withdraw(original)
        self.finals.append(segment)
        return self._units(segment)

    def redact(self, segment_id: str, text: str) -> None:
        """Puts a masked text in place of a stored one, in everything that is kept for context."""
        before = self.finals.mask(segment_id, text)
        if before is not None:
            self.turns = [Turn(speaker=turn.speaker, text=turn.text.replace(before, text)) for turn in self.turns]
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
        self.finals, self.turns, self.unit = History(), [], None
        units: dict[str, Unit] = {}
        for segment in history:
            self.finals.append(segment)
            for unit in self._units(segment):
                units[unit.unit_id] = replace(unit, revision=unit.revision + SWAP_REVISION)
        return list(units.values())

    def _language(self, segment: Segment) -> str:
        return segment.language or self.language

    def _original(self, segment: Segment) -> Segment | None:
        """The other channel's hearing of the same sentence, or None."""
        near = [
            earlier
            for earlier in reversed(self.finals.recent)
            if earlier.speaker is not segment.speaker and abs(segment.start_ms - earlier.start_ms) < ECHO_WINDOW_MS
        ]
        language = self._language(segment)
        text = squeeze(segment.text, language) if near else ""
        if len(text) < MIN_ECHO_CHARS:
            return None
        for earlier in near:
            apart_ms = abs(segment.start_ms - earlier.start_ms)
            other = squeeze(earlier.text, language)
            if text == other and segment.start_ms - earlier.end_ms < ECHO_WINDOW_MS:
                return earlier
            alike = apart_ms < ECHO_OVERLAP_MS and 0.7 < len(text) / max(1, len(other)) < 1.4
            if alike and SequenceMatcher(None, text, other, autojunk=False).ratio() >= ECHO_LIKENESS:
                return earlier
        return None

    def _was_first(self, segment: Segment, earlier: Segment) -> bool:
        """Whether the hearing that came later is the speaker's own channel: sound crosses over with a delay.

        Where the starts do not tell, the customer's channel is believed, unless the words are an operator's.
        """
        lead_ms = earlier.start_ms - segment.start_ms
        if abs(lead_ms) >= SAME_START_MS:
            return lead_ms > 0
        operators = is_operators_sentence(segment.text, self._language(segment))
        return segment.speaker is (Speaker.AGENT if operators else Speaker.CUSTOMER)

    def _withdraw(self, echo: Segment) -> None:
        """Takes an echo back that was folded as if its channel's speaker had said it."""
        self.finals.remove_recent(echo.segment_id)
        if self.turns and self.turns[-1].speaker is echo.speaker and self.turns[-1].text == echo.text:
            del self.turns[-1]
        self.withdrawn.append(echo.segment_id)
        if self.unit is not None and self.unit.pieces[0].segment_id == echo.segment_id:
            self.unit = None

    def _units(self, segment: Segment) -> list[Unit]:
        units: list[Unit] = []
        voices = self._voices(segment)
        for start, end, speaker in voices:
            if len(voices) == 1:
                units += self._units_of(_said_by(segment, speaker), segment.text, 0, whole=True)
            else:
                part = replace(segment, speaker=speaker, text=segment.text[start:end])
                units += self._units_of(part, segment.text, start, whole=False)
        return units

    def _voices(self, segment: Segment) -> list[tuple[int, int, Speaker]]:
        """Who speaks in which characters of a segment: a recogniser may put both voices into one.

        Only whole sentences that operators alone say are told apart, in segments that are not the operator's.
        """
        language = self._language(segment)
        whole = [(0, len(segment.text), segment.speaker)]
        if segment.speaker is Speaker.AGENT:
            return whole
        runs: list[tuple[int, int, Speaker]] = []
        start = 0
        ends = [match.end() for match in SENTENCE_END.finditer(segment.text) if match.end() < len(segment.text)]
        for end in (*ends, len(segment.text)):
            operators = is_operators_sentence(segment.text[start:end], language)
            speaker = Speaker.AGENT if operators else segment.speaker
            if runs and runs[-1][2] is speaker:
                runs[-1] = (runs[-1][0], end, speaker)
            else:
                runs.append((start, end, speaker))
            start = end
        if len(runs) == 1 and segment.speaker is Speaker.CUSTOMER:
            return whole
        return runs if len(runs) <= MAX_VOICES else whole

    def _units_of(self, segment: Segment, text: str, start: int, *, whole: bool) -> list[Unit]:
        """The utterances of a segment, or of the part of it that begins at `start` of its `text`."""
        language = self._language(segment)
        speaker = segment.speaker
        if speaker is Speaker.AGENT:
            if not is_backchannel(segment.text, language):
                self.unit = None
            units = self._split(segment, language, text, start, whole=whole)
        elif whole and (grown := self._grow(segment, language)) is not None:
            units = [grown]
            self.unit = grown
        else:
            units = self._split(segment, language, text, start, whole=whole)
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

    def _split(self, segment: Segment, language: str, text: str, offset: int, *, whole: bool) -> list[Unit]:
        context = tuple(self.turns[-MAX_CONTEXT_TURNS:])
        parts = split_sentences(segment.text, MAX_UNIT_CHARS.get(language, 190))
        return [
            Unit(
                unit_id=segment.segment_id if whole and len(parts) == 1 else f"{segment.segment_id}/{offset + start}",
                revision=0,
                speaker=segment.speaker,
                language=language,
                text=text[offset + start : offset + end],
                start_ms=segment.start_ms,
                end_ms=segment.end_ms,
                pieces=(
                    Piece(
                        segment_id=segment.segment_id,
                        segment_start=offset + start,
                        unit_start=0,
                        length=end - start,
                    ),
                ),
                context=context,
            )
            for start, end in parts
        ]

    def _note_turn(self, segment: Segment) -> None:
        limit = 2 * MAX_UNIT_CHARS.get(self._language(segment), 190)
        if self.turns and self.turns[-1].speaker is segment.speaker:
            text = f"{self.turns[-1].text} {segment.text}"[-limit:]
            self.turns[-1] = Turn(speaker=segment.speaker, text=text)
        else:
            self.turns.append(Turn(speaker=segment.speaker, text=segment.text[-limit:]))
            del self.turns[: -(MAX_CONTEXT_TURNS + 1)]


def _said_by(segment: Segment, speaker: Speaker) -> Segment:
    return segment if segment.speaker is speaker else replace(segment, speaker=speaker)


def _other(speaker: Speaker) -> Speaker:
    return {Speaker.AGENT: Speaker.CUSTOMER, Speaker.CUSTOMER: Speaker.AGENT}.get(speaker, speaker)

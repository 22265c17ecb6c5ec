"""Counts the raisings of a complaint: the same one again, in whatever words, after it was answered.

`update` takes one utterance at a time and does O(1) work on a bounded number of topics. A topic is a complaint with the
mean embedding of its raisings; an operator's utterance of substance answers it, and only an answered topic can be
raised again.

What does not count (taxonomy, "repetition"): backchannels, numbers read out, the answer to the operator's own question,
what a new agent must be told after a transfer, and talk on in the same breath.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from detector.rules import RepetitionRules
from detector.speakers import speaks_like_a_caller
from detector.text import (
    announces_hold,
    apologises,
    changes_subject,
    content_words,
    insists,
    is_backchannel,
    is_question,
    mostly_digits,
    says_again,
    squeeze,
    substance,
    takes_over,
)

Vector = npt.NDArray[np.float32]

MAX_TOPICS: Final = 8
"""Complaints that are followed at once; the one that was silent longest is forgotten."""
MAX_RAISINGS: Final = 6
"""Raisings kept as evidence for each topic: the first and the last ones."""
MIN_SUBSTANCE: Final = 4
"""Ideas (see `text.substance`) that an utterance must have to raise or to answer a complaint."""
MAX_ANSWER_CHARS: Final = 200
"""Of an operator's answer, what is kept to be shown beside the raising that followed it."""
MAX_WORDS: Final = 40
"""Content words kept of a topic."""
MAX_SHARED: Final = 2
SHARED_WORD: Final = 0.10
NO_SHARED_WORD: Final = 0.08
"""What each shared content word (at most `MAX_SHARED`) adds to the cosine, and what is taken off when none is shared: chosen
with the thresholds on the development calls."""
HASH_DIMENSIONS: Final = 384


@dataclass(frozen=True, slots=True, kw_only=True)
class Raising:
    """One time that a complaint was raised.

    Args:
        number: which raising it is, from 1.
        unit_id: the utterance.
        segment_id: its last segment.
        at_ms: media time.
        text: its words.
        answer: the operator's answer that came before it, at most `MAX_ANSWER_CHARS`; empty for the first.
        answer_segment_id: the answer's segment, or empty.
    """

    number: int
    unit_id: str
    segment_id: str
    at_ms: int
    text: str
    answer: str = ""
    answer_segment_id: str = ""


@dataclass(slots=True, kw_only=True)
class Topic:
    """One complaint and its raisings.

    Args:
        centre: mean embedding of its raisings as little-endian float32, unit length.
        words: what its raisings spoke about, see `text.content_words`.
        raisings: how often it was raised; the first time counts as 1.
        kept: the raisings kept as evidence, oldest first: the first, and the last ones.
        answered: whether an answer came after the last raising.
        answer, answer_segment_id: that answer's words and segment.
        retold: whether the next raising tells a new agent, and therefore does not count.
        after_answer: whether it came up after an answer to an earlier complaint: should the two turn out to be one, that
            was a raising.
    """

    centre: bytes
    words: frozenset[str] = frozenset()
    raisings: int = 1
    kept: list[Raising] = field(default_factory=list)
    answered: bool = False
    answer: str = ""
    answer_segment_id: str = ""
    retold: bool = False
    after_answer: bool = False


@dataclass(slots=True, kw_only=True)
class Repetition:
    """The complaints of a call; plain data, so that a snapshot can hold it."""

    topics: list[Topic] = field(default_factory=list)
    agent_asked: bool = False

    @property
    def rounds(self) -> int:
        """Raisings of the complaint that was raised most often; 0 before the first."""
        return max((topic.raisings for topic in self.topics), default=0)

    @property
    def worst(self) -> Topic | None:
        """The complaint that was raised most often."""
        return max(self.topics, key=lambda topic: topic.raisings, default=None)

    def agent_spoke(self, text: str, language: str, *, segment_id: str = "") -> None:
        """Folds an operator's utterance: it may answer what was raised, ask something, or say that another took over."""
        if is_backchannel(text, language):
            return
        if takes_over(text, language):
            self.agent_changed()
        self.agent_asked = is_question(text, language)
        answers = (
            not announces_hold(text, language)
            and substance(text, language) >= MIN_SUBSTANCE
            and (not self.agent_asked or substance(text, language) >= 3 * MIN_SUBSTANCE)
            and (not apologises(text, language) or substance(text, language) >= 2 * MIN_SUBSTANCE)
        )
        if answers:
            for topic in self.topics:
                if not topic.answered:
                    topic.answered, topic.answer = True, text[:MAX_ANSWER_CHARS]
                    topic.answer_segment_id = segment_id

    def redact(self, segment_id: str, text: str) -> None:
        """Puts a masked text in place of a stored one."""
        for topic in self.topics:
            if topic.answer_segment_id == segment_id:
                topic.answer = text[:MAX_ANSWER_CHARS]
            for index, kept in enumerate(topic.kept):
                if kept.segment_id == segment_id:
                    topic.kept[index] = replace(kept, text=text)
                elif kept.answer_segment_id == segment_id:
                    topic.kept[index] = replace(kept, answer=text[:MAX_ANSWER_CHARS])

    def agent_changed(self) -> None:
        """A new agent took the call: each complaint must be told again, once, and that is no raising."""
        for topic in self.topics:
            topic.retold = True

    def holds(self, unit_id: str) -> bool:
        """Whether an utterance counted as a raising: one that grows further is the same raising."""
        return any(topic.kept and topic.kept[-1].unit_id == unit_id for topic in self.topics)

    def customer_spoke(
        self,
        *,
        unit_id: str,
        segment_id: str,
        text: str,
        language: str,
        at_ms: int,
        embedding: bytes,
        complains: float,
        rules: RepetitionRules,
    ) -> Topic | None:
        """Folds a customer's utterance.

        Args:
            unit_id: the utterance; one that holds a raising already (`holds`) must not come again.
            segment_id: its last segment, kept as evidence.
            text: its text.
            language: `ja` or `en`.
            at_ms: media time.
            embedding: little-endian float16, unit length, or empty for the lexical stand-in.
            complains: 0 to 1, how sure the classifier is that it complains or demands.
            rules: thresholds of similarity.

        Returns:
            The topic, if this raised it again (its second raising or a later one); else None.
        """
        if is_backchannel(text, language) or mostly_digits(text) or substance(text, language) < MIN_SUBSTANCE:
            return None
        again = says_again(text, language)
        stands = again or insists(text, language)
        words = content_words(text, language)
        vector = to_vector(embedding) if embedding else hashed_vector(text, language)
        needed = self._needed(text, language, rules)
        near = self._near(vector, words, needed)
        if not near:
            if complains >= rules.complaint_score or speaks_like_a_caller(text, language):
                self._open(vector, words, unit_id, segment_id, at_ms, text)
            return None
        topic = near[0]
        if complains < rules.complaint_score and not (stands and words & topic.words):
            return None
        topic.words = frozenset(sorted(topic.words | words)[:MAX_WORDS])
        for other in near[1:]:
            self._merge(topic, other)
        _lean(topic, vector)
        if not topic.answered or (self.agent_asked and not again):
            return None
        topic.answered = False
        if topic.retold:
            topic.retold = False
            return None
        topic.raisings += 1
        topic.kept.append(
            Raising(
                number=topic.raisings,
                unit_id=unit_id,
                segment_id=segment_id,
                at_ms=at_ms,
                text=text,
                answer=topic.answer,
                answer_segment_id=topic.answer_segment_id,
            )
        )
        _trim(topic)
        return topic

    def _needed(self, text: str, language: str, rules: RepetitionRules) -> float:
        """The similarity that it takes: less from one who insists, more from one who says that it is another matter."""
        if changes_subject(text, language):
            return rules.similarity_other_matter
        if says_again(text, language) or insists(text, language):
            return rules.similarity_said_again
        return rules.similarity

    def _near(self, vector: Vector, words: frozenset[str], needed: float) -> list[Topic]:
        """The topics at least so similar, nearest first: embeddings tell how alike two sentences are, the words they share
        whether they speak of the same thing."""
        found = []
        for index, topic in enumerate(self.topics):
            centre = np.frombuffer(topic.centre, dtype="<f4")
            if centre.shape != vector.shape:
                continue
            shared = min(MAX_SHARED, len(words & topic.words))
            likeness = float(centre @ vector) + (SHARED_WORD * shared if shared else -NO_SHARED_WORD)
            if likeness >= needed:
                found.append((-likeness, index, topic))
        return [topic for _, _, topic in sorted(found, key=lambda item: item[:2])]

    def _merge(self, topic: Topic, other: Topic) -> None:
        """Two topics turn out to be one complaint: what was raised under either name was raised of both."""
        first, second = sorted((topic, other), key=lambda item: item.kept[0].at_ms)
        shift = first.raisings - (0 if second.after_answer else 1)
        kept = [*first.kept, *(replace(item, number=item.number + shift) for item in second.kept)]
        mixed = (
            np.frombuffer(topic.centre, dtype="<f4") * topic.raisings
            + np.frombuffer(other.centre, dtype="<f4") * other.raisings
        )
        topic.centre = (mixed / max(float(np.linalg.norm(mixed)), 1e-9)).astype("<f4").tobytes()
        topic.raisings = second.raisings + shift
        topic.words = frozenset(sorted(topic.words | other.words)[:MAX_WORDS])
        topic.kept = sorted(kept, key=lambda item: (item.at_ms, item.number))
        topic.after_answer = first.after_answer
        topic.answered = topic.answered and other.answered
        topic.retold = topic.retold and other.retold
        _trim(topic)
        self.topics.remove(other)

    def _open(
        self, vector: Vector, words: frozenset[str], unit_id: str, segment_id: str, at_ms: int, text: str
    ) -> None:
        if len(self.topics) >= MAX_TOPICS:
            self.topics.remove(min(self.topics, key=lambda topic: (topic.raisings, topic.kept[-1].at_ms)))
        self.topics.append(
            Topic(
                centre=vector.astype("<f4").tobytes(),
                words=frozenset(sorted(words)[:MAX_WORDS]),
                after_answer=any(topic.answered for topic in self.topics),
                kept=[Raising(number=1, unit_id=unit_id, segment_id=segment_id, at_ms=at_ms, text=text)],
            )
        )


def _trim(topic: Topic) -> None:
    """Keeps the first raising and the last ones."""
    del topic.kept[1 : 1 + max(0, len(topic.kept) - MAX_RAISINGS)]


def _lean(topic: Topic, vector: Vector) -> None:
    """Moves a topic's centre towards a raising, by the running mean of unit vectors."""
    centre = np.frombuffer(topic.centre, dtype="<f4") * topic.raisings + vector
    norm = float(np.linalg.norm(centre))
    if norm > 0:
        topic.centre = (centre / norm).astype("<f4").tobytes()


def to_vector(embedding: bytes) -> Vector:
    """Reads an utterance embedding, float16 little-endian, into float32."""
    return np.frombuffer(embedding, dtype="<f2").astype(np.float32)


def hashed_vector(text: str, language: str) -> Vector:
    """A lexical stand-in for an embedding: hashed character trigrams (Japanese: bigrams), unit length.

    Used in degraded mode alone. Square roots damp repeated grams (as in TF weighting), and two texts of the same words
    come out near 1.

    Returns:
        Vector of shape (384,), float32.
    """
    folded = squeeze(text, language)
    size = 2 if language == "ja" else 3
    vector = np.zeros(HASH_DIMENSIONS, dtype=np.float32)
    for gram in _grams(folded, size):
        digest = hashlib.blake2b(gram.encode("utf-8", "surrogatepass"), digest_size=4).digest()
        vector[int.from_bytes(digest, "little") % HASH_DIMENSIONS] += 1
    vector = np.sqrt(vector)
    norm = float(np.linalg.norm(vector))
    return vector / norm if norm else vector


def _grams(text: str, size: int) -> Sequence[str]:
    return [text[index : index + size] for index in range(max(1, len(text) - size + 1))]

"""Counts the raisings of a complaint: the same one again, in whatever words, after it was answered.

`customer_spoke` takes one utterance at a time and does O(1) work on a bounded number of claims. A claim is an utterance that
complains, with its embedding; claims of the same complaint share a topic. Only a claim that was answered can be raised again,
and a raising needs an answer since the last one. How much speaks for a raising is weighed in `raising`; what was not found to
be one when it was said is not counted later.

What does not count (taxonomy, "repetition"): backchannels, numbers read out, the answer to the operator's own question,
what a new agent must be told after a transfer, talk on in the same breath, and what begins by taking the answer.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from detector.raising import Signs, is_raising
from detector.rules import RepetitionRules
from detector.speakers import speaks_like_a_caller
from detector.text import (
    accepts,
    announces_hold,
    apologises,
    asks_to_tell,
    changes_subject,
    insists,
    is_backchannel,
    is_question,
    mostly_digits,
    refuses,
    says_again,
    squeeze,
    substance,
    takes_over,
)
from detector.words import content_words

Vector = npt.NDArray[np.float32]

MAX_CLAIMS: Final = 8
"""Claims that are kept to compare with; the oldest of the topic that has most of them is forgotten, where all have one that of the
topic least raised, and its topic with it."""
MAX_RAISINGS: Final = 6
"""Raisings kept as evidence for each topic: the first and the last ones."""
MIN_SUBSTANCE: Final = 4
"""Ideas (see `text.substance`) that an utterance must have to raise or to answer a complaint."""
MAX_ANSWER_CHARS: Final = 200
"""Of an operator's answer, what is kept to be shown beside the raising that followed it."""
MAX_WORDS: Final = 24
"""Content words kept of a claim or an answer: more than an utterance of the scored length has."""
MAX_ANSWERS: Final = 4
"""Answers whose words are kept, to see whether the operator says the same again."""
NEAREST: Final = 2
"""The likeness is the mean of that to so many nearest claims: steadier than the nearest alone or than one mean of all."""
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
class Claim:
    """One utterance that complains.

    Args:
        unit_id: the utterance.
        topic: number of its topic.
        vector: the direction of its embedding, in bytes from -127 to 127; see `coarse`.
        words: what it speaks about, see `words.content_words`, with a space between them.
        answered: whether an answer came after it.
    """

    unit_id: str
    topic: int
    vector: bytes
    words: str
    answered: bool = False


@dataclass(slots=True, kw_only=True)
class Topic:
    """One complaint and its raisings.

    Args:
        number: its own, unique within the call.
        raisings: how often it was raised; the first time counts as 1.
        kept: the raisings kept as evidence, oldest first: the first, and the last ones.
        retold: whether the next raising tells a new agent, and therefore does not count.
    """

    number: int
    raisings: int = 1
    kept: list[Raising] = field(default_factory=list)
    retold: bool = False


@dataclass(slots=True, kw_only=True)
class Repetition:
    """The complaints of a call; plain data, so that a snapshot can hold it.

    Args:
        topics, claims: see there; every topic has at least one claim.
        agent_asked: whether the operator's last words were a question.
        agent_inquired: whether they asked the caller to tell something: the answer to that is no raising.
        answered: whether an answer came since the last raising; `answer` and `answer_segment_id` are its words.
        refusals: how many answers refused something.
        restated: content words that the last answer shares with an earlier one.
        answers: content words of the last answers, with a space between them.
        opened: topics opened so far.
    """

    topics: list[Topic] = field(default_factory=list)
    claims: list[Claim] = field(default_factory=list)
    agent_asked: bool = False
    agent_inquired: bool = False
    answered: bool = False
    answer: str = ""
    answer_segment_id: str = ""
    refusals: int = 0
    restated: int = 0
    answers: list[str] = field(default_factory=list)
    opened: int = 0

    @property
    def rounds(self) -> int:
        """Raisings of the complaint that was raised most often; 0 before the first."""
        return max([topic.raisings for topic in self.topics], default=0)

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
        self.agent_inquired = asks_to_tell(text, language)
        ideas = substance(text, language)
        answers = (
            not announces_hold(text, language)
            and ideas >= MIN_SUBSTANCE
            and (not self.agent_asked or ideas >= 3 * MIN_SUBSTANCE)
            and (not apologises(text, language) or ideas >= 2 * MIN_SUBSTANCE)
        )
        if not answers:
            return
        unanswered = any(not claim.answered for claim in self.claims)
        for claim in self.claims:
            claim.answered = True
        words = _bounded(content_words(text, language))
        self.restated = max((len(words.intersection(earlier.split())) for earlier in self.answers), default=0)
        self.answers = [*self.answers, _joined(words)][-MAX_ANSWERS:]
        self.refusals += refuses(text, language)
        if unanswered or not self.answered:  # a greeting before the first complaint is no answer to it
            self.answered = True
            self.answer, self.answer_segment_id = text[:MAX_ANSWER_CHARS], segment_id

    def redact(self, segment_id: str, text: str) -> None:
        """Puts a masked text in place of a stored one."""
        if self.answer_segment_id == segment_id:
            self.answer = text[:MAX_ANSWER_CHARS]
        for topic in self.topics:
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
        return any(topic.raisings > 1 and topic.kept[-1].unit_id == unit_id for topic in self.topics)

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
        self._forget(unit_id)
        ideas = substance(text, language)
        if is_backchannel(text, language) or mostly_digits(text) or ideas < MIN_SUBSTANCE:
            return None
        again = says_again(text, language)
        words = _bounded(content_words(text, language))
        vector = to_vector(embedding) if embedding else hashed_vector(text, language)
        near = self._near(vector)
        nearest = near[:NEAREST]
        signs = Signs(
            likeness=sum(value for value, _ in nearest) / len(nearest) if nearest else -1.0,
            shared_words=len(words.intersection(" ".join([claim.words for _, claim in near]).split())),
            complains=complains,
            insists=again or insists(text, language),
            other_matter=changes_subject(text, language),
            asked=self.agent_asked and not again,
            refusals=self.refusals,
            restated=self.restated,
            ideas=ideas,
        )
        claim = Claim(unit_id=unit_id, topic=0, vector=coarse(vector), words=_joined(words))
        raising = Raising(number=1, unit_id=unit_id, segment_id=segment_id, at_ms=at_ms, text=text)
        taken = accepts(text, language) and not signs.insists
        may = bool(near) and self.answered and not taken and (again or not self.agent_inquired)
        if may and is_raising(signs, rules):
            topic = self._topic(near, rules)
            claim.topic = topic.number
            self._claim(claim)
            return self._raise(topic, raising)
        if complains >= rules.complaint_score or speaks_like_a_caller(text, language):
            self._open(claim, raising)
        return None

    def _forget(self, unit_id: str) -> None:
        """An utterance that grew is weighed anew."""
        raised = {topic.number for topic in self.topics if topic.raisings > 1}
        kept = [claim for claim in self.claims if claim.unit_id != unit_id or claim.topic in raised]
        if len(kept) < len(self.claims):
            self.claims = kept
            self._drop_empty()

    def _near(self, vector: Vector) -> list[tuple[float, Claim]]:
        """Claims that were answered, most alike first, each with its cosine; of two alike the later one."""
        answered = [claim for claim in reversed(self.claims) if claim.answered and len(claim.vector) == vector.size]
        if not answered:
            return []
        cosines = (_directions(answered) @ vector).tolist()
        return sorted(zip(cosines, answered, strict=True), key=lambda pair: -pair[0])

    def _topic(self, near: list[tuple[float, Claim]], rules: RepetitionRules) -> Topic:
        """The topic of the nearest claim. Where the next nearest belongs to another topic and is as good as the same
        complaint, the two were one all along."""
        topic = self._of(near[0][1])
        if len(near) > 1 and near[1][1].topic != topic.number and near[1][0] >= rules.similarity:
            self._merge(topic, self._of(near[1][1]))
        return topic

    def _of(self, claim: Claim) -> Topic:
        return next(topic for topic in self.topics if topic.number == claim.topic)

    def _merge(self, topic: Topic, other: Topic) -> None:
        for claim in self.claims:
            if claim.topic == other.number:
                claim.topic = topic.number
        first, second = sorted((topic, other), key=lambda item: item.kept[0].at_ms)
        kept = sorted((*first.kept, *second.kept[1:]), key=lambda item: item.at_ms)
        topic.raisings += other.raisings - 1
        topic.kept = [
            item if not index else replace(item, number=topic.raisings - len(kept) + 1 + index)
            for index, item in enumerate(kept)
        ]
        topic.retold = topic.retold and other.retold
        _trim(topic)
        self.topics.remove(other)

    def _raise(self, topic: Topic, raising: Raising) -> Topic | None:
        self.answered = False
        if topic.retold:
            topic.retold = False
            return None
        topic.raisings += 1
        told = replace(raising, number=topic.raisings, answer=self.answer, answer_segment_id=self.answer_segment_id)
        topic.kept.append(told)
        _trim(topic)
        return topic

    def _open(self, claim: Claim, raising: Raising) -> None:
        """A complaint that raises nothing again: more of one that was not answered yet, or another one."""
        same_breath = next((other for other in reversed(self.claims) if not other.answered), None)
        if same_breath is not None:
            claim.topic = same_breath.topic
        else:
            self.opened += 1
            claim.topic = self.opened
            self.topics.append(Topic(number=self.opened, kept=[raising]))
        self._claim(claim)

    def _claim(self, claim: Claim) -> None:
        self.claims.append(claim)
        if len(self.claims) <= MAX_CLAIMS:
            return
        count = Counter([item.topic for item in self.claims])
        raisings = {topic.number: topic.raisings for topic in self.topics}
        spare = max(self.claims[:-1], key=lambda item: (count[item.topic], -raisings[item.topic]))
        self.claims.remove(spare)
        self._drop_empty()

    def _drop_empty(self) -> None:
        """Forgets topics without a claim."""
        alive = {claim.topic for claim in self.claims}
        self.topics = [topic for topic in self.topics if topic.number in alive]


def _bounded(words: frozenset[str]) -> frozenset[str]:
    return words if len(words) <= MAX_WORDS else frozenset(sorted(words)[:MAX_WORDS])


def _joined(words: frozenset[str]) -> str:
    """Words as they are kept: one string takes a sixth of a set of them."""
    return " ".join(sorted(words))


def _trim(topic: Topic) -> None:
    """Keeps the first raising and the last ones."""
    del topic.kept[1 : 1 + max(0, len(topic.kept) - MAX_RAISINGS)]


def centre_of(repetition: Repetition, topic: Topic) -> Vector:
    """Mean embedding of a topic's claims, unit length."""
    claims = [claim for claim in repetition.claims if claim.topic == topic.number]
    mean = np.sum(_directions([claim for claim in claims if len(claim.vector) == len(claims[-1].vector)]), axis=0)
    return np.asarray(mean / max(float(np.linalg.norm(mean)), 1e-9), dtype=np.float32)


def coarse(vector: Vector) -> bytes:
    """What is kept of an embedding: its direction, one signed byte for each dimension.

    Half of float16, for a floor holds thousands of calls; a cosine with it is off by some 3e-4, against thresholds of two digits.
    """
    peak = max(float(np.abs(vector).max(initial=0.0)), 1e-9)
    kept: bytes = np.rint(vector * (127.0 / peak)).astype(np.int8).tobytes()
    return kept


def _directions(claims: Sequence[Claim]) -> Vector:
    """The vectors of claims of one size, unit length, shape (claims, dimensions)."""
    kept = np.frombuffer(b"".join([claim.vector for claim in claims]), dtype=np.int8).astype(np.float32)
    kept = kept.reshape(len(claims), -1)
    kept /= np.sqrt(np.maximum(np.einsum("ij,ij->i", kept, kept), 1.0))[:, None]
    return kept


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

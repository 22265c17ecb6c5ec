"""Reads an utterance with a shallow model alone, and again with the deep one and what was said before where that could matter.

Most of what is said on a floor is nothing of the kind whatever came before it, and a model of half the layers sees that as
well. Context fills an input up to its longest, so it is read only where it could change what follows. Whether a second
reading is needed follows from the first reading's own scores, so the answer is a function of the request alone, as
every scorer's must be. Both models are taught the same utterance embedding, so that answers of either compare.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from detector.labels import HARASSMENT_LABELS, STEPS, Speaker
from detector.scoring import ScoreRequest, ScoreResult
from models.engine import PreparingScorer

GRAVE_FROM: Final = 0.08
"""Score of a harassment label, or of `self_harm`, from which the utterance is read again: a seventh of the threshold.
Chosen on the calls of the corpus, where 1 of 200 labelled utterances is below it."""
COMPLAINT_FROM: Final = 0.2
"""Score of `complaint` from which it is read again: two thirds of what opens a topic, and topics are told apart by the
deep model's embedding."""
STEP_FROM: Final = 0.1
"""Score of a step of the ending procedure from which an operator's words are read again; nothing follows from other cues."""

_GRAVE: Final = (*HARASSMENT_LABELS, "self_harm")


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstReading:
    """A request, and what the first reader prepared of it without its context."""

    request: ScoreRequest
    alone: Any


class CascadeScorer:
    """Wraps a classifier.

    Args:
        inner: the deep classifier; its second reading is with the context.
        first: reads first; the deep one itself when left out, and then a second reading only where there is a context.
    """

    def __init__(self, inner: PreparingScorer, first: PreparingScorer | None = None) -> None:
        self._inner = inner
        self._first = first or inner

    @property
    def model_version(self) -> str:
        """The deep classifier's, marked by the cascade, and by the first reader where that is another."""
        if self._first is self._inner:
            return f"{self._inner.model_version}+two1"
        return f"{self._inner.model_version}+{self._first.model_version.removeprefix('mamori-')}"

    def reads_alone(self, request: ScoreRequest) -> bool:
        """Whether the classifier's answer cannot depend on the request's context."""
        alone = getattr(self._inner, "reads_alone", None)
        return bool(alone is not None and alone(request))

    def prepare(self, request: ScoreRequest) -> tuple[FirstReading, int]:
        """What the first reading reads, and its padded length in tokens."""
        alone, length = self._first.prepare(replace(request, context=()) if request.context else request)
        return FirstReading(request=request, alone=alone), length

    def run(self, prepared: Sequence[FirstReading]) -> list[ScoreResult]:
        """Scores inputs of one padded length, in order."""
        results = self._first.run([item.alone for item in prepared])
        again: dict[int, dict[int, Any]] = defaultdict(dict)
        for index, (item, result) in enumerate(zip(prepared, results, strict=True)):
            if self._has_more(item.request) and unsure(result, item.request.speaker):
                whole, length = self._inner.prepare(item.request)
                again[length][index] = whole
        for inputs in again.values():
            for index, result in zip(inputs, self._inner.run(list(inputs.values())), strict=True):
                results[index] = result
        return [replace(result, model_version=self.model_version) for result in results]

    def _has_more(self, request: ScoreRequest) -> bool:
        """Whether a second reading would read anything that the first did not, or read it more deeply."""
        return self._first is not self._inner or (bool(request.context) and request.speaker is not Speaker.AGENT)

    def score(self, requests: Sequence[ScoreRequest]) -> list[ScoreResult]:
        """Scores a batch of any lengths; the answers come in the order of the requests."""
        return [self.run([self.prepare(request)[0]])[0] for request in requests]


def unsure(result: ScoreResult, speaker: Speaker) -> bool:
    """Whether another reading could change what follows from these scores."""
    scores = result.scores
    if speaker is Speaker.AGENT:
        return _highest(scores, STEPS) >= STEP_FROM
    return _highest(scores, _GRAVE) >= GRAVE_FROM or scores.get("complaint", 0.0) >= COMPLAINT_FROM


def _highest(scores: Mapping[str, float], outputs: Sequence[str]) -> float:
    return max(scores.get(output, 0.0) for output in outputs)

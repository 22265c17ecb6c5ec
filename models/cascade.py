"""Reads an utterance alone first, and again with what was said before only where that could change the decision.

Context fills an input up to its longest; most of what customers say is nothing of the kind whatever came before it, and
alone it costs half. Whether a second reading is needed follows from the first reading's own scores, so the answer is a
function of the request alone, as every scorer's must be.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from detector.labels import HARASSMENT_LABELS
from detector.scoring import ScoreRequest, ScoreResult
from models.engine import PreparingScorer

GRAVE_FROM: Final = 0.08
"""Score of a harassment label, or of `self_harm`, from which the utterance is read again: a seventh of the threshold.
Chosen on the calls of the corpus, where 1 of 200 labelled utterances is below it."""
COMPLAINT: Final = (0.2, 0.5)
"""Between these the score of `complaint` is too near the decision to be left to the first reading."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstReading:
    """A request, and what the classifier prepared of it without its context."""

    request: ScoreRequest
    alone: Any


class CascadeScorer:
    """Wraps a classifier.

    Args:
        inner: reads a request with and without its context.
    """

    def __init__(self, inner: PreparingScorer) -> None:
        self._inner = inner

    @property
    def model_version(self) -> str:
        """The classifier's, marked by the cascade."""
        return f"{self._inner.model_version}+two1"

    def reads_alone(self, request: ScoreRequest) -> bool:
        """Whether the classifier's answer cannot depend on the request's context."""
        alone = getattr(self._inner, "reads_alone", None)
        return bool(alone is not None and alone(request))

    def prepare(self, request: ScoreRequest) -> tuple[FirstReading, int]:
        """What the first reading reads, and its padded length in tokens."""
        alone, length = self._inner.prepare(replace(request, context=()) if request.context else request)
        return FirstReading(request=request, alone=alone), length

    def run(self, prepared: Sequence[FirstReading]) -> list[ScoreResult]:
        """Scores inputs of one padded length, in order."""
        results = self._inner.run([item.alone for item in prepared])
        again: dict[int, dict[int, Any]] = defaultdict(dict)
        for index, (item, result) in enumerate(zip(prepared, results, strict=True)):
            if item.request.context and unsure(result):
                whole, length = self._inner.prepare(item.request)
                again[length][index] = whole
        for inputs in again.values():
            for index, result in zip(inputs, self._inner.run(list(inputs.values())), strict=True):
                results[index] = result
        return [replace(result, model_version=self.model_version) for result in results]

    def score(self, requests: Sequence[ScoreRequest]) -> list[ScoreResult]:
        """Scores a batch of any lengths; the answers come in the order of the requests."""
        return [self.run([self.prepare(request)[0]])[0] for request in requests]


def unsure(result: ScoreResult) -> bool:
    """Whether what was said before could change what follows from these scores."""
    scores = result.scores
    grave = max(scores.get(label, 0.0) for label in (*HARASSMENT_LABELS, "self_harm"))
    low, high = COMPLAINT
    return grave >= GRAVE_FROM or low <= scores.get("complaint", 0.0) < high

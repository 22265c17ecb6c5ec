"""Degraded mode: the lexicon behind the `Scorer` protocol, for when no model is there or the model is too slow.

It has no context and no embedding, its scores are noisy-or sums of entry weights, and its answers are marked by their
`model_version`, so nobody takes them for the classifier's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from detector.labels import CUES, HARASSMENT_LABELS, OUTPUTS, Speaker
from detector.scoring import ScoreRequest, ScoreResult, Span
from models.lexicon import Hit, Lexicon, load_lexicon
from models.normalise import normalise

THRESHOLD: Final = 0.5
"""One meant entry is enough, a damped one is not."""


class LexiconScorer:
    """Scores by the lexicon alone.

    Args:
        lexicon: the bundled one when left out.
    """

    def __init__(self, lexicon: Lexicon | None = None) -> None:
        self._lexicon = lexicon or load_lexicon()

    @property
    def model_version(self) -> str:
        """Names the degraded mode."""
        return "lexicon-1"

    def score(self, requests: Sequence[ScoreRequest]) -> list[ScoreResult]:
        """Scores a batch; the answers come in the order of the requests."""
        return [self._score(request) for request in requests]

    def _score(self, request: ScoreRequest) -> ScoreResult:
        hits = self._lexicon.hits(normalise(request.text), request.language, request.speaker)
        scores = dict.fromkeys(CUES if request.speaker is Speaker.AGENT else OUTPUTS, 0.0)
        for hit in hits:
            if hit.label in scores:
                scores[hit.label] = 1.0 - (1.0 - scores[hit.label]) * (1.0 - hit.weight)
        return ScoreResult(
            request_id=request.request_id,
            scores=scores,
            labels=tuple(label for label, score in scores.items() if score >= THRESHOLD),
            spans=tuple(
                _span(hit) for hit in hits if hit.label in HARASSMENT_LABELS and scores[hit.label] >= THRESHOLD
            ),
            model_version=self.model_version,
        )


def _span(hit: Hit) -> Span:
    return Span(start=hit.start, end=hit.end, label=hit.label, score=hit.weight)

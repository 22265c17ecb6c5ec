"""A classifier with the lexicon beside it: words that leave no doubt are found even where the classifier is unsure.

The lexicon's gates (third parties, self-blame) have been applied before an entry counts, only an answer of at least
`CERTAIN` does, and none where somebody's words are reported: it can lift a label, never lower one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from detector.labels import OUTPUTS, Speaker
from detector.scoring import ScoreRequest, ScoreResult
from models.engine import PreparingScorer
from models.lexicon import Lexicon
from models.lexicon_scorer import LexiconScorer

CERTAIN: Final = 0.8
"""Score of the lexicon from which it is believed: one undamped entry of the stronger half."""
MILD: Final = frozenset({"verbal_abuse", "excessive_demand", "authority", "discrimination"})
MILD_LIFT: Final = 0.75
"""What a word lifts these labels to: over every threshold, and under what the default rules call a clear case. The classifier
read the whole and did not find it, so it takes two, or an operator's caution; a threat is not waited for."""
DISMISSED: Final = 0.10
"""Below this the classifier has read the whole and found nothing of the kind: a word lifts none of those labels then. On the
validation split and the development calls six of six were third parties, self-blame and reports, or another label's."""
DOUBTED_LIFT: Final = 0.70
"""What a word lifts a grave label to that the classifier gave less than `DISMISSED`: a notice, and with an operator's caution or a
second sign more, but no alarm by itself. There that was wrong three times of three (what one could have done to one's husband, a
neighbour's words), and once of 21 where the classifier gave more."""

_REPORTED: Final = re.compile(
    r"[「『\"“”]|(と|って)(言|い)(われ|ってき|った|う(人|奴|やつ))|(と|って)(書|か)(かれ|いて)|(と|って)(怒鳴|脅)|"
    r"\b(said|says|saying|told|tells|called|calls|calling|yell(ed|s)|shout(ed|s)|scream(ed|s)|wrote|texted|threatened)\b",
    re.IGNORECASE,
)
"""Somebody else's words may be in it: then the classifier, which reads the whole, decides alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SupportedInput:
    """What the classifier prepared, and what the lexicon answered; None where it has nothing to add."""

    inner: Any
    support: ScoreResult | None


class SupportedScorer:
    """Wraps a classifier.

    Args:
        inner: the classifier.
        lexicon: the house's; the bundled one when left out.
    """

    def __init__(self, inner: PreparingScorer, lexicon: Lexicon | None = None) -> None:
        self._inner = inner
        self._lexicon = LexiconScorer(lexicon)

    @property
    def model_version(self) -> str:
        """The classifier's, marked by the support."""
        return f"{self._inner.model_version}+lex2"

    def reads_alone(self, request: ScoreRequest) -> bool:
        """Whether the classifier's answer cannot depend on the request's context."""
        alone = getattr(self._inner, "reads_alone", None)
        return bool(alone is not None and alone(request))

    def prepare(self, request: ScoreRequest) -> tuple[SupportedInput, int]:
        """What both read of a request, and its padded length in tokens."""
        inner, length = self._inner.prepare(request)
        support = None
        if request.speaker is not Speaker.AGENT and not _REPORTED.search(request.text):
            answer = self._lexicon.score([request])[0]
            if any(score >= CERTAIN for score in answer.scores.values()):
                support = answer
        return SupportedInput(inner=inner, support=support), length

    def run(self, prepared: Sequence[SupportedInput]) -> list[ScoreResult]:
        """Scores inputs of one padded length, in order."""
        results = self._inner.run([item.inner for item in prepared])
        return [
            replace(result if item.support is None else _lifted(result, item.support), model_version=self.model_version)
            for item, result in zip(prepared, results, strict=True)
        ]

    def score(self, requests: Sequence[ScoreRequest]) -> list[ScoreResult]:
        """Scores a batch of any lengths; the answers come in the order of the requests."""
        return [self.run([self.prepare(request)[0]])[0] for request in requests]


def _lifted(result: ScoreResult, support: ScoreResult) -> ScoreResult:
    certain = {
        label
        for label, score in support.scores.items()
        if score >= CERTAIN and label in result.scores and not (label in MILD and result.scores[label] < DISMISSED)
    }
    scores = {
        label: max(score, _lift(label, score, support.scores[label])) if label in certain else score
        for label, score in result.scores.items()
    }
    added = certain - set(result.labels)
    labels = tuple(label for label in OUTPUTS if label in result.labels or label in added)
    spans = (*result.spans, *(span for span in support.spans if span.label in added))
    return replace(result, scores=scores, labels=labels, spans=spans)


def _lift(label: str, read: float, word: float) -> float:
    if label in MILD:
        return MILD_LIFT
    return DOUBTED_LIFT if read < DISMISSED else word

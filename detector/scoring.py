"""What the core asks of a classifier and what it is told: inference is an output of the fold, its answer an input.

The core never calls a model. It emits a `ScoreRequest`; a driver has it scored and folds the `ScoreResult` (or an
`Unscored`, with its reason) back into the call.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from detector.labels import Speaker


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One earlier turn of the call, given to the classifier as context."""

    speaker: Speaker
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Characters of a text that carried a label.

    Args:
        start: first character, in Unicode code points of the text.
        end: one past the last character.
        label: the label that the characters carried.
        score: 0 to 1.
    """

    start: int
    end: int
    label: str
    score: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreRequest:
    """One utterance to be scored.

    Args:
        request_id: unique within its call and deterministic, so that a replay makes the same.
        text: the (redacted) utterance, not empty.
        language: `ja` or `en`.
        speaker: whose utterance it is; an agent's is scored for cues alone.
        context: earlier turns, oldest first; a scorer uses the last 4.
        urgency: higher is scored first and shed last, 0 to 9.
    """

    request_id: str
    text: str
    language: str
    speaker: Speaker = Speaker.CUSTOMER
    context: tuple[Turn, ...] = ()
    urgency: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreResult:
    """A classifier's answer to one `ScoreRequest`.

    Args:
        request_id: that of the request.
        scores: calibrated probability, 0 to 1, per output of `detector.labels.OUTPUTS` that the model has.
        labels: the outputs whose score reached their threshold, in the order of `OUTPUTS`.
        spans: evidence in the request's text, for harassment labels over threshold.
        embedding: utterance embedding as little-endian float16, unit length; empty when the scorer has none. It
            depends on the text alone, never on the context.
        model_version: names the weights and thresholds that answered.
    """

    request_id: str
    scores: Mapping[str, float]
    labels: tuple[str, ...] = ()
    spans: tuple[Span, ...] = ()
    embedding: bytes = field(default=b"", repr=False)
    model_version: str = ""


class UnscoredReason(StrEnum):
    """Why an utterance has no score; each is visible on the call, for silence must not look like safety."""

    EXPIRED = "expired"
    SHED = "shed"
    FAILED = "failed"
    UNSUPPORTED_LANGUAGE = "unsupported_language"


@dataclass(frozen=True, slots=True, kw_only=True)
class Unscored:
    """Says that a request will not be answered.

    Args:
        request_id: that of the request.
        stand_in: what the word lists found in the utterance, if anything: it is judged by that, and counts as unscored all
            the same, for word lists miss most of what a classifier finds.
    """

    request_id: str
    reason: UnscoredReason
    stand_in: ScoreResult | None = None


class Scorer(Protocol):
    """Scores utterances, in this thread, blocking; an input's scores never depend on its batch neighbours."""

    @property
    def model_version(self) -> str:
        """Names the weights and thresholds, for alerts and logs."""

    def score(self, requests: Sequence[ScoreRequest]) -> list[ScoreResult]:
        """Scores a batch; the answers come in the order of the requests."""

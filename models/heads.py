"""From what the graph gives to scores and spans, row by row, in plain numpy.

Pooling and the label head stay outside the graph on purpose: inside it, the mean drifts in its last bits with the
number of rows, and a score must not depend on its neighbours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detector.labels import HARASSMENT_LABELS
from detector.scoring import Span

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelHead:
    """Linear in the first token and the pooled utterance.

    Args:
        weight: (outputs, 2 * width) float32.
        bias: (outputs,) float32.
    """

    weight: Floats
    bias: Floats

    def __call__(self, first: Floats, pooled: Floats) -> Floats:
        """Logits (outputs,) of one row. A plain sum of products: a matrix product may round otherwise per shape."""
        features = np.concatenate([first, pooled])
        logits: Floats = (self.weight * features).sum(axis=1) + self.bias
        return logits


def pool(hidden: Floats, utterance_end: int) -> Floats:
    """Mean of one row's utterance tokens and their separator: (width,) from (length, width)."""
    pooled: Floats = hidden[1:utterance_end].mean(axis=0)
    return pooled


def unit_half(pooled: Floats) -> bytes:
    """The embedding as little-endian float16 of unit length."""
    norm = float(np.sqrt((pooled * pooled).sum()))
    return (pooled / max(norm, 1e-12)).astype("<f2").tobytes()


def sigmoid(values: Floats) -> Floats:
    """1 / (1 + e^-x), without overflow."""
    result: Floats = (0.5 * (1.0 + np.tanh(0.5 * values.astype(np.float64)))).astype(np.float32)
    return result


def decode_spans(
    text: str,
    offsets: Sequence[tuple[int, int]],
    evidence: Floats,
    labels: Sequence[str],
    *,
    threshold: float = 0.5,
) -> list[Span]:
    """Evidence per label over threshold: runs of tokens that carry it, at least the strongest one.

    Args:
        text: the original utterance.
        offsets: per utterance token, code points of `text`.
        evidence: (tokens, harassment labels) probabilities.
        labels: harassment labels over their thresholds.
        threshold: probability from which a token belongs to a span.
    """
    spans: list[Span] = []
    for label in labels:
        column = evidence[:, HARASSMENT_LABELS.index(label)]
        if not len(column):
            continue
        wanted = column >= min(threshold, float(column.max()))
        # One piece of a word that falls short between two that do not is part of what is shown.
        wanted[1:-1] |= wanted[:-2] & wanted[2:]
        start: int | None = None
        for place in range(len(column) + 1):
            if place < len(column) and wanted[place]:
                start = place if start is None else start
            elif start is not None:
                span = _span(text, offsets[start][0], offsets[place - 1][1], label, float(column[start:place].max()))
                if span is not None:
                    spans.append(span)
                start = None
    return sorted(spans, key=lambda span: (span.start, span.end))


def _span(text: str, start: int, end: int, label: str, score: float) -> Span | None:
    """A span without white space and punctuation at its ends."""
    while start < end and not text[start].isalnum() and text[start] != "*":
        start += 1
    while end > start and not text[end - 1].isalnum() and text[end - 1] not in "*ー":
        end -= 1
    return Span(start=start, end=end, label=label, score=round(score, 4)) if end > start else None

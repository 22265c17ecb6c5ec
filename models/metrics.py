"""Figures about answers: F1 per label, false alarms, calibration error. Plain numpy, no plots."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelFigures:
    """One label over a set: counts of hits, misses and false alarms, and what follows from them (0 to 1)."""

    label: str
    support: int
    hits: int
    false: int

    @property
    def precision(self) -> float:
        """Share of answers that are right; 0 when there are none."""
        return self.hits / (self.hits + self.false) if self.hits + self.false else 0.0

    @property
    def recall(self) -> float:
        """Share of the labelled that was found; 0 when there are none."""
        return self.hits / self.support if self.support else 0.0

    @property
    def f1(self) -> float:
        """Harmonic mean of both."""
        total = self.support + self.hits + self.false
        return 2 * self.hits / total if total else 0.0


def label_figures(label: str, answers: Bools, truth: Bools) -> LabelFigures:
    """Figures of one label; both arrays (items,)."""
    return LabelFigures(
        label=label,
        support=int(truth.sum()),
        hits=int((answers & truth).sum()),
        false=int((answers & ~truth).sum()),
    )


def macro_f1(figures: Sequence[LabelFigures]) -> float:
    """Mean F1 over the labels that occur."""
    found = [figure.f1 for figure in figures if figure.support]
    return float(np.mean(found)) if found else 0.0


def average_precision(scores: Floats, truth: Bools) -> float:
    """Area under precision and recall; 0 without a positive."""
    if not truth.any():
        return 0.0
    order = np.argsort(-scores, kind="stable")
    hits = np.cumsum(truth[order])
    precision = hits / np.arange(1, len(order) + 1)
    return float(precision[truth[order]].mean())


def roc_auc(scores: Floats, truth: Bools) -> float:
    """Chance that a positive scores over a negative, ties counted half; .5 without one of each."""
    positive, negative = scores[truth], scores[~truth]
    if not len(positive) or not len(negative):
        return 0.5
    below = np.searchsorted(np.sort(negative), positive, side="left")
    up_to = np.searchsorted(np.sort(negative), positive, side="right")
    return float((below + up_to).sum() / 2 / len(positive) / len(negative))


def calibration_error(scores: Floats, truth: Bools, *, bins: int = 10) -> float:
    """Expected calibration error over equally wide bins, 0 to 1."""
    places = np.minimum((scores * bins).astype(int), bins - 1)
    error = 0.0
    for number in range(bins):
        inside = places == number
        if inside.any():
            error += abs(float(scores[inside].mean()) - float(truth[inside].mean())) * float(inside.mean())
    return error


def precision_at_recall(scores: Floats, truth: NDArray[np.bool_]) -> list[float]:
    """The best precision that is to be had at a recall of at least 0, .05, … 1; empty without a positive.

    Args:
        scores: (n,).
        truth: (n,).
    """
    if not truth.any():
        return []
    hits = np.cumsum(truth[np.argsort(-scores, kind="stable")])
    precision = hits / np.arange(1, len(hits) + 1)
    best_from_here = np.maximum.accumulate(precision[::-1])[::-1]
    # A recall of 0 asks for the first positive, or precision would be that of nothing at all.
    wanted = np.maximum(np.ceil(np.linspace(0.0, 1.0, 21) * truth.sum() - 1e-9), 1)
    return [round(float(best_from_here[np.searchsorted(hits, count)]), 4) for count in wanted]


def reliability(scores: Floats, truth: NDArray[np.bool_], *, bins: int = 10) -> list[tuple[float, float, int]]:
    """For each tenth of the scale that has any scores: mean score, share that is true, and how many.

    Args:
        scores: (n,) probabilities.
        truth: (n,).
        bins: parts of equal width.
    """
    places = np.minimum((scores * bins).astype(int), bins - 1)
    return [
        (round(float(scores[here].mean()), 4), round(float(truth[here].mean()), 4), int(here.sum()))
        for here in (places == place for place in range(bins))
        if here.any()
    ]

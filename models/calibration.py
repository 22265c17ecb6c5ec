"""Scores that mean what they say: per language and output a logistic curve over the raw logit, and a threshold."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_PRIOR: Final = 4.0
"""Weight, in examples, of the belief that the raw logit is already right; keeps rare labels from wild curves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """Calibrated probability = sigmoid(slope * logit + offset); the answer is yes from `threshold` on."""

    slope: float = 1.0
    offset: float = 0.0
    threshold: float = 0.5

    def probability(self, logit: float) -> float:
        """The calibrated probability of a raw logit."""
        return 0.5 * (1.0 + math.tanh(0.5 * (self.slope * logit + self.offset)))


def fit_curve(logits: Floats, truth: NDArray[np.bool_]) -> Curve:
    """Platt scaling by Newton's method, with a Gaussian prior around slope 1 and offset 0.

    Args:
        logits: raw, (examples,).
        truth: same shape. Without a yes and a no among them the curve stays at its prior.
    """
    if truth.all() or not truth.any():
        return Curve()
    prior = np.array([1.0, 0.0])
    design = np.stack([logits, np.ones_like(logits)], axis=1)

    def objective(parameters: Floats) -> float:
        odds = design @ parameters
        return float((np.logaddexp(0.0, odds) - truth * odds).sum() + _PRIOR / 2 * ((parameters - prior) ** 2).sum())

    parameters = prior.copy()
    for _ in range(50):
        probability = 0.5 * (1.0 + np.tanh(0.5 * (design @ parameters)))
        gradient = design.T @ (probability - truth) + _PRIOR * (parameters - prior)
        curvature = (design * (probability * (1 - probability))[:, None]).T @ design + _PRIOR * np.eye(2)
        change = np.linalg.solve(curvature, gradient)
        # A full step can overshoot where the logits are far too sure; halve it until it goes down.
        while objective(parameters - change) > objective(parameters) and float(np.abs(change).max()) > 1e-9:
            change = change / 2
        parameters = parameters - change
        if float(np.abs(change).max()) < 1e-8:
            break
    return Curve(slope=float(max(parameters[0], 0.05)), offset=float(parameters[1]))


def best_threshold(probabilities: Floats, truth: NDArray[np.bool_], *, anchor: float = 0.5) -> float:
    """The threshold of the best F1, drawn half way (in log odds) to `anchor`, for the best of few examples is luck."""
    if not truth.any():
        return anchor
    order = np.argsort(-probabilities, kind="stable")
    hits = np.cumsum(truth[order])
    f1 = 2 * hits / (np.arange(1, len(order) + 1) + truth.sum())
    place = int(np.argmax(f1))
    following = probabilities[order[place + 1]] if place + 1 < len(order) else 0.0
    best = float(np.clip((probabilities[order[place]] + following) / 2, 0.05, 0.95))
    return _sigmoid((_logit(best) + _logit(anchor)) / 2)


def _logit(probability: float) -> float:
    return math.log(probability / (1.0 - probability))


def _sigmoid(odds: float) -> float:
    return 1.0 / (1.0 + math.exp(-odds))

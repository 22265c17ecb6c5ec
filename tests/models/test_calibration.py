import numpy as np
import pytest

from models.calibration import Curve, best_threshold, fit_curve
from models.metrics import average_precision, calibration_error, label_figures, macro_f1, roc_auc


def test_a_curve_learns_that_logits_are_too_sure() -> None:
    rng = np.random.default_rng(0)
    odds = rng.normal(0, 1.5, 4000)
    truth = rng.random(4000) < 1 / (1 + np.exp(-odds))
    curve = fit_curve(odds * 3, truth)
    assert curve.slope == pytest.approx(1 / 3, abs=0.05)
    assert curve.probability(0.0) == pytest.approx(0.5, abs=0.05)


def test_few_examples_leave_the_curve_near_its_prior() -> None:
    assert fit_curve(np.array([1.0, 2.0]), np.array([True, True])) == Curve()
    curve = fit_curve(np.array([5.0, -5.0]), np.array([True, False]))
    assert 0.8 < curve.slope < 1.3


def test_the_threshold_parts_the_labels_and_is_drawn_to_its_anchor() -> None:
    scores = np.array([0.9, 0.8, 0.7, 0.2, 0.1])
    truth = np.array([True, True, True, False, False])
    assert 0.2 < best_threshold(scores, truth) < 0.7
    assert best_threshold(scores, np.zeros(5, dtype=np.bool_)) == 0.5


def test_the_shared_threshold_keeps_hard_negatives_quiet() -> None:
    torch = pytest.importorskip("torch")
    assert torch
    from models.train.thresholds import GRID, shared_threshold

    rng = np.random.default_rng(1)
    truth = np.zeros((400, 8), dtype=np.bool_)
    truth[np.arange(200), np.arange(200) % 8] = True
    scores = np.where(truth, 0.55, 0.0) + rng.random((400, 8)) * 0.4
    hard = ~truth.any(axis=1)
    threshold = shared_threshold([(scores, truth, hard)], allowed=0.02)
    assert (scores[hard] >= threshold).any(axis=1).mean() <= 0.02
    assert threshold <= 0.55
    assert shared_threshold([(np.ones((4, 8)), truth[200:204], hard[200:204])], allowed=0.0) == GRID[-1]


def test_figures() -> None:
    figures = label_figures("threat", np.array([True, True, False]), np.array([True, False, True]))
    assert (figures.precision, figures.recall, figures.f1) == (0.5, 0.5, 0.5)
    assert macro_f1([figures, label_figures("sexual", np.array([False]), np.array([False]))]) == 0.5
    scores, truth = np.array([0.9, 0.6, 0.4]), np.array([True, False, True])
    assert roc_auc(scores, truth) == 0.5
    assert average_precision(scores, truth) == pytest.approx((1 + 2 / 3) / 2)
    assert calibration_error(np.array([1.0, 0.0]), np.array([True, False])) == 0.0

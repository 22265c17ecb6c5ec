"""Chooses curves and thresholds on the valid split: the best F1 that keeps false alarms on hard negatives in bounds."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np

from detector.labels import HARASSMENT_LABELS, OUTPUTS, Speaker
from detector.scoring import ScoreRequest
from models.calibration import Curve, Floats, best_threshold, fit_curve, shift_for_false_alarms, shifted
from models.corpus.schema import LANGUAGES, Item, turns
from models.metrics import label_figures, macro_f1

_LOG: Final = logging.getLogger(__name__)

ALLOWED: Final = 0.02
"""Share of the valid split's hard negatives that may fire: a third below the target of 3 %, for thresholds that were
chosen on a set look better on it than they are."""


def request_of(item: Item) -> ScoreRequest:
    """A corpus item as a request."""
    return ScoreRequest(
        request_id=item.id,
        text=item.text,
        language=item.language,
        speaker=Speaker(item.speaker),
        context=turns(item.context),
    )


def choose(
    items: Sequence[Item], logits: Floats, *, allowed: float = ALLOWED
) -> tuple[dict[str, dict[str, Curve]], dict[str, Any]]:
    """Curves per language and output, and the figures they reach on `items`.

    Args:
        items: the valid split.
        logits: (items, outputs) raw.
        allowed: share of hard negatives that may fire.
    """
    curves: dict[str, dict[str, Curve]] = {}
    facts: dict[str, Any] = {}
    for language in LANGUAGES:
        found: dict[str, Curve] = {}
        for column, label in enumerate(OUTPUTS):
            rows = [n for n, item in enumerate(items) if item.language == language and _speaks_of(item, label)]
            truth = np.array([_truth(items[n], label) for n in rows], dtype=np.bool_)
            curve = fit_curve(logits[rows, column], truth)
            probabilities = _probabilities(curve, logits[rows, column])
            found[label] = replace(curve, threshold=best_threshold(probabilities, truth))
        customers = [n for n, item in enumerate(items) if item.language == language and item.speaker == "customer"]
        columns = [OUTPUTS.index(label) for label in HARASSMENT_LABELS]
        chosen = np.array([[found[OUTPUTS[c]].probability(float(logits[n, c])) for c in columns] for n in customers])
        chosen = chosen.reshape(len(customers), len(columns))
        hard = np.array([items[n].hard_negative for n in customers], dtype=np.bool_)
        clean = np.array([not items[n].harassing for n in customers], dtype=np.bool_)
        thresholds = [found[label].threshold for label in HARASSMENT_LABELS]
        shift = max(
            shift_for_false_alarms(chosen[hard], thresholds, allowed=allowed),
            shift_for_false_alarms(chosen[clean], thresholds, allowed=allowed),
        )
        for label in HARASSMENT_LABELS:
            found[label] = replace(found[label], threshold=shifted(found[label].threshold, shift))
        curves[language] = found
        moved = np.array([found[label].threshold for label in HARASSMENT_LABELS])
        answers = chosen >= moved
        figures = [
            label_figures(
                label, answers[:, n], np.array([label in items[row].labels for row in customers], dtype=np.bool_)
            )
            for n, label in enumerate(HARASSMENT_LABELS)
        ]
        facts[language] = {
            "items": len(customers),
            "shift": round(shift, 3),
            "macro_f1": round(macro_f1(figures), 4),
            "f1": {figure.label: round(figure.f1, 4) for figure in figures},
            "false_alarms_hard": _share(answers[hard]),
            "false_alarms_all": _share(answers[clean]),
            "any_recall": _share(answers[~clean]),
        }
        _LOG.info("%s: %s", language, facts[language])
    return curves, facts


def _share(answers: Any) -> float:
    return round(float(answers.any(axis=1).mean()), 4) if len(answers) else 0.0


def _speaks_of(item: Item, label: str) -> bool:
    operators = label in OUTPUTS[len(HARASSMENT_LABELS) + 2 :]
    return (item.speaker == Speaker.AGENT) == operators


def _truth(item: Item, label: str) -> bool:
    return label in item.labels or label in item.cues


def _probabilities(curve: Curve, logits: Floats) -> Floats:
    return np.array([curve.probability(float(logit)) for logit in logits])

"""Accuracy on labelled utterances: per label, per language, on hard negatives by kind, and how far scores can be believed."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from detector.labels import CUES, HARASSMENT_LABELS, UTTERANCE_LABELS, Speaker
from detector.scoring import Scorer, ScoreRequest, ScoreResult
from models.classify import parse_item
from models.errors import CorpusError, ItemError
from models.metrics import (
    LabelFigures,
    average_precision,
    calibration_error,
    label_figures,
    macro_f1,
    precision_at_recall,
    reliability,
    roc_auc,
)

_CHUNK: Final = 64
_FORM_TAGS: Final = frozenset({"asr", "fragment", "pair"})
"""Tags of an utterance's form; a negative with no other tag is an ordinary one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Labelled:
    """One utterance with what is true of it.

    Args:
        request: what is scored.
        labels: harassment labels, `complaint` and cues that hold.
        tags: manner, or kind of a negative.
        group: pass it was written in.
        spans: code point ranges that somebody marked as the words that carry the labels; none where nobody did.
    """

    request: ScoreRequest
    labels: frozenset[str]
    tags: frozenset[str]
    group: str
    spans: tuple[tuple[int, int], ...] = ()


def read_labelled(path: Path) -> list[Labelled]:
    """`classify` input plus `labels`, and optionally `cues`, `tags`, `group`, `spans` (`[{"start": 0, "end": 6}]`).

    Raises:
        CorpusError: a line is not valid.
    """
    found: list[Labelled] = []
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                record = json.loads(line)
                if not isinstance(record, dict) or not isinstance(record.get("labels"), list):
                    raise TypeError("expected an object with `classify` input and a list `labels`")
                labels = frozenset([*record["labels"], *record.get("cues", [])])
                unknown = labels - set(UTTERANCE_LABELS) - set(CUES)
                if unknown:
                    raise ValueError(f"unknown labels {sorted(unknown)}")
                found.append(
                    Labelled(
                        request=parse_item(record, request_id=str(number)),
                        labels=labels,
                        tags=frozenset(record.get("tags", [])),
                        group=str(record.get("group", "")),
                        spans=tuple((int(span["start"]), int(span["end"])) for span in record.get("spans", [])),
                    )
                )
            except json.JSONDecodeError:
                raise CorpusError(f"{path}:{number}: not JSON") from None
            except KeyError as error:
                raise CorpusError(f"{path}:{number}: {error.args[0]}: missing") from None
            except (ValueError, TypeError, AttributeError, ItemError) as error:
                raise CorpusError(f"{path}:{number}: {error}") from None
    return found


def evaluate_utterances(items: Sequence[Labelled], scorer: Scorer) -> dict[str, Any]:
    """The report as JSON-able values: one section per language and one for both."""
    results: list[ScoreResult] = []
    for start in range(0, len(items), _CHUNK):
        results.extend(scorer.score([item.request for item in items[start : start + _CHUNK]]))
    sections: dict[str, Any] = {}
    pairs = list(zip(items, results, strict=True))
    for language in sorted({item.request.language for item in items}):
        sections[language] = _section([pair for pair in pairs if pair[0].request.language == language])
    sections["all"] = _section(pairs)
    return {"model_version": scorer.model_version, "items": len(items), "sections": sections}


def _section(pairs: Sequence[tuple[Labelled, ScoreResult]]) -> dict[str, Any]:
    customers = [pair for pair in pairs if pair[0].request.speaker is not Speaker.AGENT]
    agents = [pair for pair in pairs if pair[0].request.speaker is Speaker.AGENT]
    labels = _per_label(customers, [*UTTERANCE_LABELS, "self_harm"])
    harassment = [figures for figures, _ in labels if figures.label in HARASSMENT_LABELS]
    clean = [pair for pair in customers if not pair[0].labels & set(HARASSMENT_LABELS)]
    hard = [pair for pair in clean if pair[0].tags - _FORM_TAGS]
    harassing = [pair for pair in customers if pair[0].labels & set(HARASSMENT_LABELS)]
    return {
        "customer_utterances": len(customers),
        "macro_f1": round(macro_f1(harassment), 4),
        "labels": {figures.label: {**_figures(figures), **more} for figures, more in labels},
        "any_harassment_recall": _share_fired(harassing),
        "false_alarms": {
            "all": _share_fired(clean),
            "hard": _share_fired(hard),
            "hard_items": len(hard),
            "by_tag": _by_tag(hard),
        },
        "recall_by_tag": _by_tag(harassing),
        "evidence": _evidence(harassing),
        "by_group": _by_group(customers),
        "agent_utterances": len(agents),
        "cues": {figures.label: {**_figures(figures), **more} for figures, more in _per_label(agents, CUES[1:])},
    }


def _per_label(
    pairs: Sequence[tuple[Labelled, ScoreResult]], labels: Iterable[str]
) -> list[tuple[LabelFigures, dict[str, Any]]]:
    found: list[tuple[LabelFigures, dict[str, Any]]] = []
    for label in labels:
        truth = np.array([label in item.labels for item, _ in pairs], dtype=np.bool_)
        scores = np.array([result.scores.get(label, 0.0) for _, result in pairs], dtype=np.float64)
        answers = np.array([label in result.labels for _, result in pairs], dtype=np.bool_)
        more = {
            "average_precision": round(average_precision(scores, truth), 4),
            "auc": round(roc_auc(scores, truth), 4),
            "calibration_error": round(calibration_error(scores, truth), 4) if len(scores) else 0.0,
            "precision_at_recall": precision_at_recall(scores, truth),
            "reliability": reliability(scores, truth),
        }
        found.append((label_figures(label, answers, truth), more))
    return found


def _figures(figures: LabelFigures) -> dict[str, float]:
    return {
        "support": figures.support,
        "precision": round(figures.precision, 4),
        "recall": round(figures.recall, 4),
        "f1": round(figures.f1, 4),
    }


def _fired(result: ScoreResult) -> bool:
    return any(label in HARASSMENT_LABELS for label in result.labels)


def _share_fired(pairs: Sequence[tuple[Labelled, ScoreResult]]) -> float:
    return round(sum(_fired(result) for _, result in pairs) / len(pairs), 4) if pairs else 0.0


def _by_tag(pairs: Sequence[tuple[Labelled, ScoreResult]]) -> dict[str, dict[str, float]]:
    tagged: Mapping[str, list[tuple[Labelled, ScoreResult]]] = defaultdict(list)
    for pair in pairs:
        for tag in pair[0].tags:
            tagged[tag].append(pair)
    return {tag: {"items": len(found), "fired": _share_fired(found)} for tag, found in sorted(tagged.items())}


def _evidence(pairs: Sequence[tuple[Labelled, ScoreResult]]) -> dict[str, float]:
    """How well the shown words are those that a person marked, on marked utterances whose harassment was found.

    Characters of all of them together count for precision and recall; `touched` is the share of utterances in which at
    least one marked character is shown, `within_half` that in which the two sets overlap by half of their union or more.
    """
    marked = [(item, result) for item, result in pairs if item.spans and _fired(result)]
    if not marked:
        return {"items": 0}
    shown = wanted = both = touched = half = 0
    for item, result in marked:
        truth = {place for start, end in item.spans for place in range(start, end)}
        answer = {
            place for span in result.spans if span.label in HARASSMENT_LABELS for place in range(span.start, span.end)
        }
        common = len(truth & answer)
        shown, wanted, both = shown + len(answer), wanted + len(truth), both + common
        touched += common > 0
        half += 2 * common >= len(truth | answer)
    precision, recall = both / max(shown, 1), both / max(wanted, 1)
    return {
        "items": len(marked),
        "precision": round(precision, 4),
        "recall": round(recall, 4),
        "f1": round(2 * precision * recall / max(precision + recall, 1e-9), 4),
        "touched": round(touched / len(marked), 4),
        "within_half": round(half / len(marked), 4),
    }


def _by_group(pairs: Sequence[tuple[Labelled, ScoreResult]]) -> dict[str, float]:
    """Spread over passes: the macro-F1 of the worst, the middle and the best of those with 20 utterances or more."""
    grouped: Mapping[str, list[tuple[Labelled, ScoreResult]]] = defaultdict(list)
    for pair in pairs:
        grouped[pair[0].group].append(pair)
    scores = sorted(
        macro_f1([figures for figures, _ in _per_label(found, HARASSMENT_LABELS)])
        for group, found in grouped.items()
        if group and len(found) >= 20
    )
    if not scores:
        return {}
    return {
        "groups": len(scores),
        "worst": round(scores[0], 4),
        "median": round(scores[len(scores) // 2], 4),
        "best": round(scores[-1], 4),
    }

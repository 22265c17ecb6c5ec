"""How far two blind labellings agree: Cohen's kappa per label and language, and the items they differ on."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from detector.labels import HARASSMENT_LABELS, OUTPUTS
from models.corpus.passes import CODES
from models.corpus.schema import LANGUAGES, Item

_LOG: Final = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """Agreement on one label in one language.

    Args:
        language: `ja` or `en`.
        label: an output, or `harassment` for any harassment label.
        items: labelled twice.
        first, second: how often each side gave the label.
        both: how often both did.
        kappa: Cohen's, -1 to 1; `nan` when neither side ever gave the label.
    """

    language: str
    label: str
    items: int
    first: int
    second: int
    both: int
    kappa: float


def read_second(folder: Path) -> dict[str, frozenset[str]]:
    """Labels by item id from all `*.tsv` (`id TAB comma-separated codes`, a reason may follow); a bad line is left out."""
    labels: dict[str, frozenset[str]] = {}
    for path in sorted(folder.glob("*.tsv")):
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if not line.strip():
                continue
            identifier, _, rest = line.partition("\t")
            codes = rest.partition("\t")[0]
            names = [code.strip() for code in codes.split(",") if code.strip() not in {"", "-"}]
            unknown = [code for code in names if code not in CODES]
            if unknown:
                _LOG.warning("%s:%d left out: unknown codes %s", path.name, number, unknown)
                continue
            labels[identifier.strip().removeprefix("## ")] = frozenset(CODES[code] for code in names)
    return labels


def kappa(first: Sequence[bool], second: Sequence[bool]) -> float:
    """Cohen's kappa of two sequences of yes and no; `nan` when chance alone explains everything."""
    count = len(first)
    if count == 0:
        return float("nan")
    observed = sum(one == other for one, other in zip(first, second, strict=True)) / count
    p_first, p_second = sum(first) / count, sum(second) / count
    chance = p_first * p_second + (1 - p_first) * (1 - p_second)
    return float("nan") if chance == 1.0 else (observed - chance) / (1 - chance)


def compare(items: Sequence[Item], second: Mapping[str, frozenset[str]]) -> list[Agreement]:
    """Agreement per language and label over the items that were labelled twice."""
    rows: list[Agreement] = []
    for language in LANGUAGES:
        both = [item for item in items if item.language == language and item.id in second]
        if not both:
            continue
        rows.extend(
            _row(language, label, [_has(item, label) for item in both], [label in second[i.id] for i in both])
            for label in OUTPUTS
        )
        harassment = frozenset(HARASSMENT_LABELS)
        rows.append(
            _row(language, "harassment", [i.harassing for i in both], [bool(harassment & second[i.id]) for i in both])
        )
    return rows


def disagreements(
    items: Sequence[Item], second: Mapping[str, frozenset[str]]
) -> list[tuple[Item, list[str], list[str]]]:
    """Items with `(labels only the writer gave, labels only the second labeller gave)`, where there are any."""
    found: list[tuple[Item, list[str], list[str]]] = []
    for item in items:
        if item.id in second:
            mine = {*item.labels, *item.cues}
            extra, missing = sorted(mine - second[item.id]), sorted(second[item.id] - mine)
            if extra or missing:
                found.append((item, extra, missing))
    return found


def _has(item: Item, label: str) -> bool:
    return label in item.labels or label in item.cues


def _row(language: str, label: str, first: Sequence[bool], second: Sequence[bool]) -> Agreement:
    return Agreement(
        language=language,
        label=label,
        items=len(first),
        first=sum(first),
        second=sum(second),
        both=sum(one and other for one, other in zip(first, second, strict=True)),
        kappa=kappa(first, second),
    )

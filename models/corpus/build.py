"""Turns writers' passes into the committed corpus: splits by pass and writer, and drops what fails the hygiene checks."""

from __future__ import annotations

import hashlib
import logging
import random
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from detector.labels import CUES, HARASSMENT_LABELS, OUTPUTS, UTTERANCE_LABELS
from models.corpus import hygiene
from models.corpus.passes import read_passes
from models.corpus.schema import LANGUAGES, SPLITS, Item, write_items

_LOG: Final = logging.getLogger(__name__)

Embed = Callable[[Sequence[str]], NDArray[np.float32]]
"""Texts to rows of unit length."""

_TEST_WRITER: Final = re.compile(r"[A-Z]T\d*$")
"""Writers whose passes nobody trains or tunes on (`JT01`, `ET`)."""

_VALID_PERCENT: Final = 8
"""Share of the other passes that thresholds and calibration are chosen on."""

_KEEP_FIRST: Final = {"test": 0, "valid": 1, "train": 2}
"""Of two items that are too alike, the later in this order goes: the test split is changed last."""


def split_of(item: Item) -> str:
    """The split of an item: by its writer, else by a hash of its pass, so that it never moves as passes are added."""
    if _TEST_WRITER.match(item.writer):
        return "test"
    digest = hashlib.blake2s(item.group.encode(), digest_size=4).digest()
    return "valid" if int.from_bytes(digest, "big") % 100 < _VALID_PERCENT else "train"


def gather(raw: Path | None, agent: Path | None, *, committed: Sequence[Item] = ()) -> list[Item]:
    """The committed items and those of the customers' and operators' passes, each id once, the passes' last."""
    items = list(committed)
    if raw is not None:
        items += read_passes(raw, speaker="customer")
    if agent is not None:
        items += read_passes(agent, speaker="agent")
    unique = {item.id: item for item in items}
    return list(unique.values())


def cleaned(items: Sequence[Item], *, embed: Embed | None = None) -> list[Item]:
    """The items that pass the hygiene checks, most protected split first.

    Args:
        items: any order.
        embed: the base encoder; without it likeness in meaning is not checked.
    """
    kept = sorted(items, key=lambda item: (_KEEP_FIRST[split_of(item)], item.id))
    kept = _without_later(kept, hygiene.near_duplicates([item.text for item in kept]), "5-gram overlap")
    kept = _without_stock_openings(kept)
    if embed is not None:
        kept = _without_later(kept, hygiene.alike(embed([item.text for item in kept])), "cosine")
    return kept


def _without_later(items: list[Item], pairs: Sequence[tuple[int, int, float]], why: str) -> list[Item]:
    dropped: set[int] = set()
    for first, second, _ in sorted(pairs):
        if first not in dropped:
            dropped.add(second)
    _LOG.info("%d items dropped for %s", len(dropped), why)
    return [item for number, item in enumerate(items) if number not in dropped]


def _without_stock_openings(items: list[Item]) -> list[Item]:
    sizes = Counter(item.language for item in items)
    seen: Counter[tuple[str, str]] = Counter()
    kept: list[Item] = []
    for item in items:
        key = (item.language, hygiene.opening(item.text))
        # One below the limit: the share is taken of what is left after dropping.
        if seen[key] < max(3, hygiene.opening_limit(sizes[item.language]) - 1):
            seen[key] += 1
            kept.append(item)
    _LOG.info("%d items dropped for stock openings", len(items) - len(kept))
    return kept


def write(items: Sequence[Item], folder: Path) -> dict[str, int]:
    """Writes the six files, shuffled by a fixed seed; returns the number of items per file."""
    counts: dict[str, int] = {}
    for language in LANGUAGES:
        for split in SPLITS:
            chosen = [item for item in items if item.language == language and split_of(item) == split]
            random.Random(20260401).shuffle(chosen)
            path = folder / f"utterances.{language}.{split}.jsonl"
            write_items(path, chosen)
            counts[path.name] = len(chosen)
    return counts


def settled(
    items: Sequence[Item], second: Mapping[str, frozenset[str]], third: Mapping[str, frozenset[str]]
) -> list[Item]:
    """The items after a second reading, and a third where the first two differ.

    Where a third reader decided, that decision stands. Else an item on which two readers differ whether there is harassment
    at all is left out, and labels on which they differ otherwise are marked as disputed. The test split is never
    filtered, or its figures would be those of the easy items.

    Args:
        items: with the writers' labels.
        second: labels of the blind second reader by item id.
        third: labels by those who settled a dispute, by item id.
    """
    kept: list[Item] = []
    for item in items:
        if item.id in third:
            kept.append(_relabelled(item, third[item.id]))
        elif item.id not in second:
            kept.append(item)
        elif split_of(item) == "test" or item.harassing == bool(second[item.id] & frozenset(HARASSMENT_LABELS)):
            differ = second[item.id] ^ {*item.labels, *item.cues}
            kept.append(replace(item, disputed=tuple(output for output in OUTPUTS if output in differ)))
    _LOG.info("%d items dropped as disputed", len(items) - len(kept))
    return kept


def _relabelled(item: Item, names: frozenset[str]) -> Item:
    labels = tuple(label for label in UTTERANCE_LABELS if label in names)
    harassing = any(label in HARASSMENT_LABELS for label in labels)
    spans = (item.spans or ((0, len(item.text)),)) if harassing else ()
    return replace(item, labels=labels, cues=tuple(cue for cue in CUES if cue in names), spans=spans, disputed=())

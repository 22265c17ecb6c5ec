"""Checks that the corpus is written, not stamped: near-duplicates, stock openings, and likeness in meaning."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from models.corpus.schema import Item
from models.normalise import normalise

MAX_JACCARD = 0.8
"""No pair of items shares more of its character 5-grams."""

MAX_OPENING_SHARE = 0.005
"""No opening of 6 characters begins more than this share of a language's items."""

MAX_COSINE = 0.95
"""Cosine in the base encoder above which two items count as the same sentence."""

MAX_COSINE_PAIRS = 3
"""Items over `MAX_COSINE` that a corpus may hold."""

_GRAM = 5
_OPENING = 6


def near_duplicates(texts: Sequence[str]) -> list[tuple[int, int, float]]:
    """Pairs `(i, j, jaccard)` with `i < j` over `MAX_JACCARD` in character 5-grams of the normal form.

    Prefix filtering (Chaudhuri, Ganti, Kaushik 2006): two sets that overlap so much must share one of their rarest
    elements, so only those are indexed.
    """
    grams = [_grams(text) for text in texts]
    frequency = Counter(gram for found in grams for gram in found)
    index: dict[str, list[int]] = defaultdict(list)
    pairs: list[tuple[int, int, float]] = []
    for number, found in enumerate(grams):
        rarest = sorted(found, key=lambda gram: (frequency[gram], gram))
        prefix = rarest[: len(found) - math.ceil(MAX_JACCARD * len(found)) + 1]
        for other in sorted({candidate for gram in prefix for candidate in index[gram]}):
            shared = len(found & grams[other])
            jaccard = shared / (len(found) + len(grams[other]) - shared)
            if jaccard > MAX_JACCARD:
                pairs.append((other, number, jaccard))
        for gram in prefix:
            index[gram].append(number)
    return pairs


def _grams(text: str) -> frozenset[str]:
    normal = normalise(text).text.replace(" ", "")
    if len(normal) < _GRAM:
        return frozenset({normal})
    return frozenset(normal[start : start + _GRAM] for start in range(len(normal) - _GRAM + 1))


def opening(text: str) -> str:
    """The first 6 characters of the normal form."""
    return normalise(text).text[:_OPENING]


def opening_limit(count: int) -> int:
    """How many of `count` items may share an opening; 3 where the corpus is too small for a share."""
    return max(3, math.floor(count * MAX_OPENING_SHARE))


def stock_openings(items: Sequence[Item]) -> dict[tuple[str, str], int]:
    """`(language, opening)` that begin too many items of their language, with their count."""
    sizes = Counter(item.language for item in items)
    counts = Counter((item.language, opening(item.text)) for item in items)
    return {key: count for key, count in counts.items() if count > opening_limit(sizes[key[0]])}


def alike(embeddings: NDArray[np.float32], *, block: int = 1024) -> list[tuple[int, int, float]]:
    """Pairs `(i, j, cosine)` with `i < j` over `MAX_COSINE`.

    Args:
        embeddings: (items, width), rows of unit length.
        block: rows compared at once.
    """
    pairs: list[tuple[int, int, float]] = []
    for start in range(0, len(embeddings), block):
        cosines = embeddings[start : start + block] @ embeddings.T
        for row, column in np.argwhere(cosines > MAX_COSINE):
            if start + row < column:
                pairs.append((int(start + row), int(column), float(cosines[row, column])))
    return pairs

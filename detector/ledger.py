"""The same caller with the same complaint across calls: what a call leaves for the ledger, and what it finds there.

Pure: the ledger itself is the server's. An entry holds a complaint's embedding and no words. By itself the ledger raises
a notice at most (design, "Repetition").
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from detector.events import EarlierComplaint
from detector.repetition import Repetition, centre_of

MAX_EARLIER: Final = 32
"""Entries of one caller that a call is compared with, the newest: four calls a day for a week."""
MAX_LEFT: Final = 3
"""Complaints that one call leaves in the ledger: those raised most often."""
SHARED_COMPLAINTS: Final = 6
"""Different complaints from one number within a day that mark it as shared (a switchboard, a hotel, a family line)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftComplaint:
    """A complaint as a call leaves it.

    Args:
        centre: mean embedding of its raisings, little-endian float16, unit length.
        raisings: how often it was raised on that call.
    """

    centre: bytes
    raisings: int


def left_by(repetition: Repetition) -> list[LeftComplaint]:
    """The complaints that a call leaves, most raised first."""
    ranked = sorted(repetition.topics, key=lambda topic: -topic.raisings)[:MAX_LEFT]
    return [
        LeftComplaint(centre=centre_of(repetition, topic).astype("<f2").tobytes(), raisings=topic.raisings)
        for topic in ranked
    ]


def earlier_calls(
    repetition: Repetition, earlier: Sequence[EarlierComplaint], *, model_version: str, similarity: float
) -> int:
    """Counts the earlier calls that raised one of this call's complaints.

    Args:
        repetition: this call's complaints.
        earlier: the caller's entries; those of another model are left out, their embeddings do not compare.
        model_version: of this call.
        similarity: cosine from which two complaints are the same.
    """
    centres = [centre_of(repetition, topic) for topic in repetition.topics]
    found = set()
    for entry in earlier:
        if entry.model_version != model_version or entry.call in found:
            continue
        vector = np.frombuffer(entry.centre, dtype="<f2").astype(np.float32)
        if any(centre.shape == vector.shape and float(centre @ vector) >= similarity for centre in centres):
            found.add(entry.call)
    return len(found)


def is_shared(day: Sequence[EarlierComplaint], *, similarity: float) -> bool:
    """Whether a number's complaints of one day are too many different ones to be one caller's."""
    kinds: list[np.ndarray[tuple[int], np.dtype[np.float32]]] = []
    for entry in day:
        vector = np.frombuffer(entry.centre, dtype="<f2").astype(np.float32)
        if all(known.shape != vector.shape or float(known @ vector) < similarity for known in kinds):
            kinds.append(vector)
        if len(kinds) >= SHARED_COMPLAINTS:
            return True
    return False

"""The labels that the data, the classifier, the policy and the console agree on.

Definitions are those of the taxonomy that the README quotes; the order is the order of the model's outputs and must
only ever grow at the end.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

HARASSMENT_LABELS: Final[tuple[str, ...]] = (
    "verbal_abuse",
    "threat",
    "exposure",
    "excessive_demand",
    "authority",
    "discrimination",
    "sexual",
    "intrusion",
)
"""Behaviour of the caller that is harassment by itself."""

UTTERANCE_LABELS: Final[tuple[str, ...]] = (*HARASSMENT_LABELS, "complaint")
"""What `mamori classify` answers with: the eight harassment labels and `complaint`."""

CUES: Final[tuple[str, ...]] = (
    "self_harm",
    "caution",
    "first_warning",
    "final_warning",
    "may_end",
    "apology",
    "answer",
    "hold",
)
"""Cues beside the labels: a caller who speaks of self-harm, and what an operator's utterance does (the four steps of the
ending procedure, an apology, an answer or explanation given, an announced hold)."""

STEPS: Final[tuple[str, ...]] = ("caution", "first_warning", "final_warning", "may_end")
"""The ending procedure, in its order."""

OUTPUTS: Final[tuple[str, ...]] = UTTERANCE_LABELS + CUES
"""All outputs of the classifier, in order."""

LABEL_VERSION: Final = "1"
"""Grows when the meaning of a label changes; written into the model's manifest and onto every alert."""


class Language(StrEnum):
    """Languages that are scored; any other is reported as `unsupported_language`."""

    JA = "ja"
    EN = "en"


class Speaker(StrEnum):
    """Who spoke, as the platform says."""

    CUSTOMER = "customer"
    AGENT = "agent"
    UNKNOWN = "unknown"


class Level(StrEnum):
    """How much a call needs a supervisor; ordered, and rising only while a call lasts."""

    NONE = "none"
    NOTICE = "notice"
    WARNING = "warning"
    ESCALATE = "escalate"
    CRITICAL = "critical"

    @property
    def rank(self) -> int:
        """0 for `none` to 4 for `critical`."""
        return _RANKS[self]

    def __lt__(self, other: object) -> bool:
        return self.rank < other.rank if isinstance(other, Level) else NotImplemented

    def __le__(self, other: object) -> bool:
        return self.rank <= other.rank if isinstance(other, Level) else NotImplemented

    def __gt__(self, other: object) -> bool:
        return self.rank > other.rank if isinstance(other, Level) else NotImplemented

    def __ge__(self, other: object) -> bool:
        return self.rank >= other.rank if isinstance(other, Level) else NotImplemented


_RANKS: Final = {level: rank for rank, level in enumerate(Level)}

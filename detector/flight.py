"""What of a call waits for scores: the inputs since the first that has none yet, in order, and the requests that were made.

Empty between inputs whenever every score is there; a snapshot of a call holds nothing of it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import Final

from detector.events import Input, Segment
from detector.labels import Speaker
from detector.scoring import ScoreRequest, ScoreResult, Unscored
from detector.units import Unit

SCORED_LANGUAGES: Final = frozenset({"ja", "en"})
GRAVE_URGENCY: Final = 8
PARTIAL_URGENCY: Final = 7
"""Of a partial with grave words: its final comes first, for that decides."""
CUSTOMER_URGENCY: Final = 3
AGENT_URGENCY: Final = 2
"""An operator's words are heard for the steps of the procedure alone. To both the level of the call is added."""
_WARNINGLIKE: Final = re.compile(
    r"控え|やめ|止め|終了|切ら|切り|警告|最後|最終|落ち着|冷静|暴言|これ以上|対応.{0,8}(かね|でき)|続く|"
    r"language|tone|shout|yell|swear|curs|insult|warn|end th|ending th|hang|disconnect|terminat|continue|calm|respect|"
    r"threat|inappropriate|acceptable",
    re.IGNORECASE,
)
"""Of an operator's words, only what may be a step of the ending procedure is scored: the rest decides nothing."""


@dataclass(slots=True, kw_only=True)
class Said:
    """Finals whose scores may be missing yet; `again` marks those judged anew after a swap."""

    units: list[Unit]
    segment: Segment | None
    withdrawn: tuple[str, ...] = ()
    again: bool = False

    def mask(self, segment_id: str, text: str) -> None:
        """Puts a masked text, as long as the old one, in place of a segment that waits here."""
        if self.segment is not None and self.segment.segment_id == segment_id:
            self.segment = replace(self.segment, text=text)
        self.units = [unit.masked(segment_id, text) for unit in self.units]


@dataclass(slots=True, kw_only=True)
class InFlight:
    """What waits.

    Args:
        queue: inputs in the order in which they were received.
        wanted: answers by request; None while one is missing.
        partials: partials whose score is awaited, by request.
    """

    queue: list[Said | Input] = field(default_factory=list)
    wanted: dict[str, ScoreResult | Unscored | None] = field(default_factory=dict)
    partials: dict[str, Segment] = field(default_factory=dict)

    def want(self, unit: Unit, *, urgency: int) -> ScoreRequest | None:
        """The request for an utterance's score, or None where it needs none."""
        if unit.language not in SCORED_LANGUAGES:
            return None
        by_agent = unit.speaker is Speaker.AGENT
        if by_agent and not _WARNINGLIKE.search(unit.text):
            return None
        self.wanted[unit.request_id] = None
        return ScoreRequest(
            request_id=unit.request_id,
            text=unit.text,
            language=unit.language,
            speaker=Speaker.AGENT if by_agent else Speaker.CUSTOMER,
            context=unit.context,
            urgency=urgency,
        )

    def arrive(self, answer: ScoreResult | Unscored) -> bool:
        """Notes the answer to a final's request, the first one; False where it answers none."""
        if answer.request_id not in self.wanted:
            return False
        if self.wanted[answer.request_id] is None:
            self.wanted[answer.request_id] = answer
        return True

    def drop_partials(self, segment_id: str) -> None:
        """The final is there: what a partial of it would have scored no longer matters."""
        for name in [name for name, partial in self.partials.items() if partial.segment_id == segment_id]:
            del self.partials[name]

    def mask(self, segment_id: str, text: str) -> None:
        """Puts a masked text in place of a segment that waits."""
        for said in self.queue:
            if isinstance(said, Said):
                said.mask(segment_id, text)

    def next(self) -> Said | Input | None:
        """Takes the next input that waits for nothing, or returns None."""
        if not self.queue:
            return None
        head = self.queue[0]
        if isinstance(head, Said) and any(self.wanted.get(unit.request_id, head) is None for unit in head.units):
            return None
        return self.queue.pop(0)

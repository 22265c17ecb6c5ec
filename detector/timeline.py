"""Keeps a call's media time running forward, whatever a platform's clock does.

A platform that restarts its offsets after a transfer, or sends one in the wrong unit, would freeze or blow up every
limit. So a jump shifts the times that follow: the call goes on from where it was.

What we ourselves add runs by our clock. It says nothing of the platform's: where a feed was away for minutes and then brings
what was said meanwhile, the timers are far ahead of it, and its times are right all the same.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final, TypeGuard

from detector.events import AgentHelp, CallEnded, Input, Segment, TimerFired

BACK_MS: Final = 120_000
"""Times so far behind the latest are a clock that was set back; less is a final that came late."""
IDLE: Final = "idle"
"""Reason of an end for want of events."""
AHEAD_MS: Final = 900_000
"""Silence longer than this ends a call (design, "No `seq`"), so outside hold a longer step is a clock that jumped."""


@dataclass(slots=True, kw_only=True)
class Timeline:
    """How a platform's times map to the call's own; plain data.

    Args:
        began_ms: media time of the first event that had one, or None; above 0 when the call was joined mid-way.
        latest_ms: the latest corrected time, of timers too.
        heard_ms: the latest corrected time that the platform gave: what its next one is compared with.
        shift_ms: added to the platform's times.
        jumps: how often the platform's clock jumped.
    """

    began_ms: int | None = None
    latest_ms: int = 0
    heard_ms: int = 0
    shift_ms: int = 0
    jumps: int = 0

    def corrected_ms(self, at_ms: int, *, on_hold: bool) -> int:
        """What a platform's time stands for; changes nothing."""
        return at_ms + self._shift_for(at_ms, on_hold=on_hold)

    def place(self, item: Input, *, on_hold: bool) -> Input:
        """The same event in the call's own time.

        Args:
            item: an event; timers are in the call's own time already.
            on_hold: whether the caller is on hold, when a long step is no jump.
        """
        times: Any = item
        if isinstance(item, TimerFired):
            self.latest_ms = max(self.latest_ms, item.offset_ms)
            return item
        if _may_be_ours(item):
            own_ms = max(0, item.offset_ms + self.shift_ms)
            self.latest_ms = max(self.latest_ms, own_ms)
            return replace(item, offset_ms=own_ms)
        if isinstance(item, Segment):
            first_ms, last_ms = item.start_ms, item.end_ms
        elif (offset_ms := getattr(item, "offset_ms", None)) is not None:
            first_ms = last_ms = offset_ms
        else:
            return item
        if self.began_ms is None:
            self.began_ms = first_ms
            self.heard_ms, self.latest_ms = last_ms, max(self.latest_ms, last_ms)
            return item
        shift_ms = self._shift_for(last_ms if last_ms < self.heard_ms - self.shift_ms else first_ms, on_hold=on_hold)
        if shift_ms != self.shift_ms:
            self.shift_ms, self.jumps = shift_ms, self.jumps + 1
        self.heard_ms = max(self.heard_ms, last_ms + shift_ms)
        self.latest_ms = max(self.latest_ms, self.heard_ms)
        if not shift_ms:
            return item
        if isinstance(item, Segment):
            start_ms = max(0, item.start_ms + shift_ms)
            return replace(item, start_ms=start_ms, end_ms=max(start_ms, item.end_ms + shift_ms))
        moved: Input = replace(times, offset_ms=max(0, last_ms + shift_ms))
        return moved

    def _shift_for(self, at_ms: int, *, on_hold: bool) -> int:
        if self.began_ms is None:
            return 0
        step_ms = at_ms + self.shift_ms - self.heard_ms
        if step_ms < -BACK_MS or (step_ms > AHEAD_MS and not on_hold):
            return self.latest_ms - at_ms
        return self.shift_ms


def _may_be_ours(item: Input) -> TypeGuard[AgentHelp | CallEnded]:
    """Whether the server may have added an event, in its own reckoning of the platform's time."""
    return isinstance(item, AgentHelp) or (isinstance(item, CallEnded) and item.reason == IDLE)

"""Whether the server can take another call, by what is measured: how late its work is, not how many calls there are.

The limits lie below what a caller of an accepted call would notice (p99 of chunk to alert: 150 ms at half load, and at most
2 s that a score is waited for), so that new calls are refused before those that were accepted suffer.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

OVER_S: Final = 1.0
"""So long a limit must be passed before calls are refused: a burst that passes by itself refuses nobody."""
MEAN_S: Final = 1.0
"""Lag of the event loop is a mean that forgets at this rate: a single pause, of a busy machine or for garbage, says little."""
CALM_S: Final = 3.0
"""So long all must be below half of their limits before calls are taken again, lest it swing to and fro."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lateness:
    """How late the work is, in seconds.

    Args:
        loop: of the event loop: how much later than it asked for a timer was called.
        log: since when the oldest write waits for the disk.
        scoring: since when the oldest utterance waits for its score.
    """

    loop: float = 0.0
    log: float = 0.0
    scoring: float = 0.0


LIMITS: Final = Lateness(loop=0.25, log=0.5, scoring=0.5)


class Pressure:
    """Refuses and takes calls with hysteresis."""

    def __init__(self) -> None:
        self.cause = ""
        """What is too late (`loop`, `log`, `scoring`), or empty while calls are taken."""
        self._mean_s, self._noted_s = 0.0, 0.0
        self._over_since: float | None = None
        self._calm_since: float | None = None

    def note(self, now_s: float, late: Lateness) -> None:
        """Takes a measurement, about ten times a second.

        Args:
            now_s: monotonic seconds.
            late: as measured now.
        """
        # However long one pause was, by itself it is forgotten before it refuses anybody.
        lag_s = min(late.loop, 2 * LIMITS.loop)
        self._mean_s += (lag_s - self._mean_s) * (1 - math.exp((self._noted_s - now_s) / MEAN_S))
        self._noted_s = now_s
        shares = {
            "loop": self._mean_s / LIMITS.loop,
            "log": late.log / LIMITS.log,
            "scoring": late.scoring / LIMITS.scoring,
        }
        worst = max(shares, key=lambda name: shares[name])
        if shares[worst] < 1.0:
            self._over_since = None
        elif self._over_since is None:
            self._over_since = now_s
        if shares[worst] >= 0.5:
            self._calm_since = None
        elif self._calm_since is None:
            self._calm_since = now_s
        if self._over_since is not None and now_s - self._over_since >= OVER_S:
            self.cause = worst
        elif self._calm_since is not None and now_s - self._calm_since >= CALM_S:
            self.cause = ""

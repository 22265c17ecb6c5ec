"""The clocks of the server. Media time is not among them: it comes with the events."""

from __future__ import annotations

import time
from typing import Final, Protocol

DAY_MS: Final = 86_400_000


class Clock(Protocol):
    """Monotonic time schedules, UTC records; they are never mixed."""

    def monotonic(self) -> float:
        """Seconds."""

    def utc_ms(self) -> int:
        """Milliseconds since 1970."""


class SystemClock:
    """The machine's clocks."""

    def monotonic(self) -> float:
        """Seconds of `time.monotonic`."""
        return time.monotonic()

    def utc_ms(self) -> int:
        """Milliseconds of `time.time_ns`."""
        return time.time_ns() // 1_000_000


SYSTEM: Final = SystemClock()
"""The machine's, for whoever is given no other."""

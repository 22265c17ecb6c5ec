"""How often something may be done: token buckets by name, bounded in number.

A bucket holds `burst` and fills at `rate_s` a second. A name that was not seen for long is forgotten, which can only
be in its favour: its bucket would be full again.
"""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

MAX_NAMES: Final = 20_000
"""Names that are remembered; beyond it the one that was quiet for longest is forgotten."""


@dataclass(slots=True)
class _Bucket:
    level: float
    at_s: float


class RateLimit:
    """One limit, applied to each name on its own.

    Args:
        rate_s: how many a second in the long run, above 0.
        burst: how many at once, at least 1.
        monotonic: seconds.
    """

    def __init__(self, rate_s: float, burst: float, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._rate_s = rate_s
        self._burst = burst
        self._monotonic = monotonic
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def take(self, name: str) -> float:
        """Takes one.

        Returns:
            0 when it may be done, else the seconds after which it may; nothing is taken then.
        """
        now_s = self._monotonic()
        bucket = self._buckets.get(name)
        if bucket is None:
            if len(self._buckets) >= MAX_NAMES:
                self._buckets.popitem(last=False)
            bucket = self._buckets[name] = _Bucket(self._burst, now_s)
        else:
            self._buckets.move_to_end(name)
            bucket.level = min(self._burst, bucket.level + (now_s - bucket.at_s) * self._rate_s)
            bucket.at_s = now_s
        if bucket.level < 1:
            return (1 - bucket.level) / self._rate_s
        bucket.level -= 1
        return 0.0

    def forgive(self, name: str) -> None:
        """Fills a name's bucket again."""
        self._buckets.pop(name, None)


def retry_after(wait_s: float) -> dict[str, str]:
    """The `Retry-After` header of a refusal, in whole seconds (RFC 9110, section 10.2.3)."""
    return {"Retry-After": str(max(1, math.ceil(wait_s)))}


class SignInLimits:
    """Bounds guessing of passwords: by address and name together, by address, and by name.

    The bound by name alone is wide, so that a stranger cannot lock a person out from where they usually work.
    """

    def __init__(self, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._pair = RateLimit(1 / 30, 5, monotonic=monotonic)
        self._address = RateLimit(1 / 6, 20, monotonic=monotonic)
        self._name = RateLimit(1 / 36, 100, monotonic=monotonic)

    def take(self, name: str, address: str) -> float:
        """Takes one try; 0, or the seconds after which another may be made."""
        return max(self._address.take(address), self._pair.take(f"{address}\x1f{name}"), self._name.take(name))

    def succeeded(self, name: str, address: str) -> None:
        """A sign-in that went well does not count against the person."""
        self._pair.forgive(f"{address}\x1f{name}")
        self._name.forgive(name)

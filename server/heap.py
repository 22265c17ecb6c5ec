"""Keeps the garbage collector from stopping the event loop.

Thousands of live calls are millions of objects, and a full collection looks at each of them: over a second in which nothing
is read, scored or told. Nearly all that a call leaves is freed by reference counts when the call goes. So the young
generations are collected often, and what survived is set aside every few seconds (`gc.freeze`), where no collection looks
at it again; it is still freed when its last reference goes. What cycles of long life leave behind is found in a full
collection at a moment when few calls are live, or once a day where there is no such moment.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable
from typing import Final

FREEZE_EVERY_S: Final = 5.0
TURN_S: Final = 1.0
FULL_EVERY_S: Final = 3600.0
FULL_LATEST_S: Final = 86_400.0
"""Where it is never quiet, one full collection a day whatever is live, for memory must not grow without end."""
FEW_CALLS: Final = 500
"""Live calls up to which a full collection is short: some 50 ms for every 500 calls (CPython 3.11)."""
YOUNG_OBJECTS: Final = 20_000
"""Allocations between two collections of the youngest generation: about 1 ms each."""
NEVER: Final = 1_000_000
"""A threshold that no count of collections reaches."""


class Heap:
    """Decides when garbage is collected.

    Args:
        live_calls: how many calls are live now.
        monotonic: seconds.
    """

    def __init__(self, live_calls: Callable[[], int], monotonic: Callable[[], float]) -> None:
        self._live_calls = live_calls
        self._monotonic = monotonic
        self._frozen_s = self._full_s = 0.0
        self._before: tuple[int, int, int] = gc.get_threshold()

    def start(self) -> None:
        """Takes the collector over; what the start of the process left is collected once and set aside."""
        self._before = gc.get_threshold()
        gc.collect()
        gc.freeze()
        gc.set_threshold(YOUNG_OBJECTS, 10, NEVER)
        self._frozen_s = self._full_s = self._monotonic()

    def stop(self) -> None:
        """Gives the collector back as it was."""
        gc.set_threshold(*self._before)
        gc.unfreeze()

    async def run(self) -> None:
        """Does so until cancelled."""
        self.start()
        try:
            while True:
                await asyncio.sleep(TURN_S)
                self.turn()
        finally:
            self.stop()

    def turn(self) -> None:
        """What falls due now; called every second on the event loop."""
        now_s = self._monotonic()
        since_s = now_s - self._full_s
        if since_s >= FULL_LATEST_S or (since_s >= FULL_EVERY_S and self._live_calls() <= FEW_CALLS):
            gc.unfreeze()
            gc.collect()
            gc.freeze()
            self._full_s = self._frozen_s = now_s
        elif now_s - self._frozen_s >= FREEZE_EVERY_S:
            gc.collect(1)
            gc.freeze()
            self._frozen_s = now_s

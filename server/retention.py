"""Applies the house's retention while the server runs, once an hour, off the event loop."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from server.clock import Clock
from server.keeper import Keeper
from server.storage.queued import QueuedLog

EVERY_S: Final = 3_600.0
MAX_JUMP_S: Final = 3_600.0
"""UTC that ran further ahead of monotonic time than this was set by hand or by mistake: nothing is deleted by it."""

_log = logging.getLogger("mamori.retention")


class Retention:
    """The clockwork of the retention.

    Args:
        log: what is purged.
        clock: UTC says what is old; monotonic time schedules, and shows whether UTC can be believed.
        keep_days: of what was said.
        keep_record_days: of what is left of a call without its words.
        keeper: keeps it going.
    """

    def __init__(self, log: QueuedLog, clock: Clock, *, keep_days: int, keep_record_days: int, keeper: Keeper) -> None:
        self._log = log
        self._clock = clock
        self._keep_days = keep_days
        self._keep_record_days = keep_record_days
        self._keeper = keeper

    def start(self) -> None:
        """Purges now and every hour."""
        self._began = (self._clock.utc_ms(), self._clock.monotonic())
        self._keeper.keep("retention", self._run)

    def trusted(self) -> bool:
        """Whether UTC has gone as far as monotonic time since the start."""
        utc_ms, now_s = self._began
        return (self._clock.utc_ms() - utc_ms) / 1000 - (self._clock.monotonic() - now_s) <= MAX_JUMP_S

    async def _run(self) -> None:
        while True:
            if self.trusted():
                await self._purge()
            else:
                _log.warning("UTC jumped ahead: nothing is purged until the server is started again")
            await asyncio.sleep(EVERY_S)

    async def _purge(self) -> None:
        try:
            days = await asyncio.to_thread(
                self._log.purge, keep_days=self._keep_days, keep_record_days=self._keep_record_days
            )
        except Exception as error:
            _log.error("purge failed", extra={"error": type(error).__name__})
        else:
            if days:
                _log.info("purged", extra={"days": days})

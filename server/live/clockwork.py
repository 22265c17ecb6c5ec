"""What happens without an event: timers fire, scores expire, gaps are given up, feeds are lost, calls end for want of events."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from detector.events import CallEnded, FeedLost, TimerFired
from detector.timeline import IDLE
from server.errors import MamoriError
from server.live.call import LiveCall
from server.live.floor import Floor
from server.live.fold import Fold
from server.live.reception import Reception
from server.live.resources import INSIST_S, Resources
from server.live.saving import Saving
from server.storage.port import Committed
from server.supervision import Supervision

TICK_S: Final = 0.1
SWEEP_S: Final = 1.0
SWEEP_CALLS: Final = 50
"""Calls that are looked after in one turn of the loop."""
STATUS_EVERY_S: Final = 1.0
STATUSES_PER_S: Final = 1_000
"""Statuses a second that say no more than that time went on; with more calls each of them says so less often."""

_log = logging.getLogger("mamori.runtime")


class Clockwork:
    """Turns for one process.

    Args:
        shared: the calls, the clock, what is watched.
        floor: shows statuses.
        saving, fold, reception, supervision: what falls due in each.
    """

    def __init__(
        self,
        shared: Resources,
        floor: Floor,
        saving: Saving,
        fold: Fold,
        reception: Reception,
        supervision: Supervision,
    ) -> None:
        self._shared = shared
        self._floor = floor
        self._saving = saving
        self._fold = fold
        self._reception = reception
        self._supervision = supervision
        self._tick_due_s = 0.0

    def start(self) -> None:
        """Starts turning; the shared keeper stops it."""
        self._shared.keeper.every("tick", TICK_S, self.tick)
        self._shared.keeper.every("sweep", SWEEP_S, self.sweep)

    async def tick(self) -> None:
        """What falls due to the tenth of a second: timers, scores that are not waited for, gaps."""
        now = self._shared.clock.monotonic()
        loop_s = self._shared.loop.time()
        lag_s = max(0.0, loop_s - self._tick_due_s) if self._tick_due_s else 0.0
        self._tick_due_s = 0.0
        self._shared.observe("loop_lag_s", lag_s)
        self._shared.watch.measure(loop_s, lag_s)
        for call in self._shared.timers.due(now):
            self._fire(call, now)
        self._fold.scoring.expire(now)
        if count := self._reception.take_count():
            self._shared.observe("events", count)
        self._reception.check_gaps(now)
        self._tick_due_s = self._shared.loop.time() + TICK_S

    def _fire(self, call: LiveCall, now: float) -> None:
        if self._shared.calls.get(call.key) is not call or call.session.state.ended:
            return
        due_ms = call.session.next_timer_ms
        if due_ms is None or call.timer_pending:
            return
        if call.media_now_ms(now) < due_ms:
            self._shared.timers.schedule(call)
            return
        call.timer_pending = True

        def follow(result: Committed | MamoriError) -> None:
            if isinstance(result, MamoriError):
                self._shared.loop.call_later(INSIST_S, self._fire_again, call)

        self._fold.add_input(call, TimerFired(offset_ms=due_ms), follow=follow)

    def _fire_again(self, call: LiveCall) -> None:
        call.timer_pending = False
        self._fire(call, self._shared.clock.monotonic())

    async def sweep(self) -> None:
        """What is looked after about once a second: threads, feeds, statuses, reminders, the disk."""
        self._shared.watch.mend()
        self._floor.tell_trouble()
        await self._sweep_calls(list(self._shared.calls.values()))
        await self._supervision.sweep()
        if self._floor.degraded_tenants and not self._saving.unsaved and not self._shared.log.failure:
            self._floor.restored()
        self.check_disk()

    async def _sweep_calls(self, calls: list[LiveCall]) -> None:
        """Looks after all calls, a few in each turn of the loop, so that events do not wait for it."""
        every_s = max(STATUS_EVERY_S, len(calls) / STATUSES_PER_S)
        for first in range(0, len(calls), SWEEP_CALLS):
            now, wanted = self._shared.clock.monotonic(), self._shared.hub.wants_status
            for call in calls[first : first + SWEEP_CALLS]:
                if self._shared.calls.get(call.key) is not call:
                    continue
                self._check_feed(call, now)
                if wanted and (call.status_news or (call.status_due and now - call.status_sent_s >= every_s)):
                    call.status_due = call.status_news = False
                    call.status_sent_s = now
                    self._shared.hub.publish(self._floor.status(call))
            await asyncio.sleep(0)

    def check_disk(self) -> None:
        """Below the limit new calls are refused: what room there is belongs to those that were accepted."""
        low = self._shared.log.free_bytes() < self._shared.limits.min_free_bytes
        if low != self._shared.watch.disk_low:
            self._shared.watch.disk_low = low
            _log.warning("disk space is low, new calls are refused" if low else "disk space is enough again")

    def _check_feed(self, call: LiveCall, now: float) -> None:
        state = call.session.state
        if state.ended or call.ending:
            return
        if call.lost_at_s is not None and now >= call.lost_at_s and call.owner is None:
            call.lost_at_s = None
            self._fold.insist(call, FeedLost(reason="disconnected"))
        if now - call.last_event_s >= self._shared.limits.idle_end_s and not state.clock.on_hold:
            call.ending = call.idling = True
            offset_ms = max(0, state.clock.elapsed_ms - state.timeline.shift_ms)
            self._fold.insist(call, CallEnded(offset_ms=offset_ms, reason=IDLE))

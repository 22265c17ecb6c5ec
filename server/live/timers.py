"""Which call's fold wants to be woken next."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterator

from server.live.call import LiveCall


class Timers:
    """The next timer of each call, in monotonic time; one that was brought forward leaves its old entry behind, which is passed over."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, LiveCall]] = []
        self._at: dict[int, float] = {}
        self._order = itertools.count()

    def schedule(self, call: LiveCall) -> None:
        """Takes a call's timer in, or brings it forward; one that was put off looks again when it fires."""
        due = call.due_s()
        known = self._at.get(id(call))
        if due is None or (known is not None and known <= due):
            return
        self._at[id(call)] = due
        heapq.heappush(self._heap, (due, next(self._order), call))

    def due(self, now_s: float) -> Iterator[LiveCall]:
        """The calls whose timers have fallen due; they may be scheduled anew meanwhile."""
        while self._heap and self._heap[0][0] <= now_s:
            due, _, call = heapq.heappop(self._heap)
            if self._at.get(id(call)) == due:
                del self._at[id(call)]
                yield call

    def forget(self, call: LiveCall) -> None:
        """The call is followed no more."""
        self._at.pop(id(call), None)

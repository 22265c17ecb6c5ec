"""What is scored next: a bounded queue by urgency, and batches of inputs of one padded length.

Nothing waits for a batch to fill. What queued up while the last batch ran becomes the next one: the most urgent and
oldest input first, joined by others of the same padded length, so that no work goes into padding. When the queue is full
the least urgent input is shed. The module knows no threads, clocks or models; the engine holds the lock.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Final

from detector.scoring import ScoreRequest, ScoreResult, Unscored

URGENCIES: Final = 10
"""`ScoreRequest.urgency` runs from 0 to 9."""

MAX_BATCH: Final = 8
"""Inputs in one batch. On a CPU larger ones gain nothing and keep the urgent waiting."""

MAX_BATCH_TOKENS: Final = 384
"""Padded tokens in one batch: eight inputs of the longest length."""

WINDOW: Final = 32
"""Inputs that are prepared ahead, so that batches of one length can be found among them."""


@dataclass(slots=True, kw_only=True)
class Pending:
    """A request under way.

    Args:
        request: what to score.
        future: where its caller waits.
        deadline: clock reading, in seconds, after which nobody wants the answer; `None` for never.
        submitted_at: clock reading in seconds.
        order: rises with each submission.
        prepared: what the scorer made of the request, once it has.
        padded_length: tokens after padding, once prepared.
    """

    request: ScoreRequest
    future: Future[ScoreResult | Unscored]
    deadline: float | None
    submitted_at: float
    order: int
    prepared: Any = None
    padded_length: int = 0

    @property
    def urgency(self) -> int:
        """The request's urgency, held within 0 to 9."""
        return min(max(self.request.urgency, 0), URGENCIES - 1)


class PendingQueue:
    """Bounded; first in, first out within an urgency; O(1) per operation.

    Args:
        limit: most inputs held, at least 1.
    """

    def __init__(self, limit: int) -> None:
        if limit < 1:
            raise ValueError("limit must be at least 1")
        self._limit = limit
        self._size = 0
        self._queues: tuple[deque[Pending], ...] = tuple(deque() for _ in range(URGENCIES))

    def __len__(self) -> int:
        return self._size

    def push(self, item: Pending) -> Pending | None:
        """Adds `item`; when full, returns what was shed: the oldest of the least urgent, or `item` itself."""
        shed: Pending | None = None
        if self._size >= self._limit:
            lowest = next(queue for queue in self._queues if queue)
            if item.urgency < lowest[0].urgency:
                return item
            shed = lowest.popleft()
            self._size -= 1
        self._queues[item.urgency].append(item)
        self._size += 1
        return shed

    def take(self, count: int = WINDOW) -> list[Pending]:
        """Up to `count` inputs, the most urgent first, the oldest first within an urgency."""
        taken: list[Pending] = []
        for queue in reversed(self._queues):
            while queue and len(taken) < count:
                taken.append(queue.popleft())
        self._size -= len(taken)
        return taken

    def put_back(self, items: Sequence[Pending]) -> None:
        """Returns inputs that `take` gave and no batch had room for, each to the head of its queue, in order."""
        for item in reversed(items):
            self._queues[item.urgency].appendleft(item)
        self._size += len(items)


def plan_batch(
    window: Sequence[Pending], *, max_batch: int = MAX_BATCH, max_tokens: int = MAX_BATCH_TOKENS
) -> tuple[list[Pending], list[Pending]]:
    """Splits a window (most urgent first, all prepared) into the next batch and the rest, both in order.

    The batch holds the first input and those that share its padded length, at most `max_batch` of them and at most
    `max_tokens` padded tokens (but always one).
    """
    if not window:
        return [], []
    length = window[0].padded_length
    room = max(1, min(max_batch, max_tokens // max(length, 1)))
    batch: list[Pending] = []
    rest: list[Pending] = []
    for item in window:
        fits = item.padded_length == length and len(batch) < room
        (batch if fits else rest).append(item)
    return batch, rest


def split(items: Sequence[Pending], keep: Callable[[Pending], bool]) -> tuple[list[Pending], list[Pending]]:
    """The items that `keep` keeps and the others, both in order."""
    kept: list[Pending] = []
    dropped: list[Pending] = []
    for item in items:
        (kept if keep(item) else dropped).append(item)
    return kept, dropped

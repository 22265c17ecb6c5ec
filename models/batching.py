"""What is scored next: a bounded queue by urgency, and batches of inputs of one padded length.

Nothing waits for a batch to fill. What queued up while the last batch ran becomes the next one: the most urgent and
oldest input first, joined by others of the same padded length, so that no work goes into padding. The module knows no
threads, clocks or models; the engine holds the lock.

When more comes than can be scored, the least urgent is shed, early enough that the rest is still of use: an input waits for
the share of its time that `patience` gives to its urgency, and a class whose oldest input has waited for half of that is
read from its newest end, for the oldest will hardly be in time. When the queue is full the least urgent input is shed at once.
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

HALF: Final = 0.5

WINDOW: Final = 32
"""Inputs that are prepared ahead, so that batches of one length can be found among them."""


def patience(urgency: int) -> float:
    """The share of its time, from submission to deadline, that an input may wait: 0.3 for the least urgent, 0.84 for the
    most. What is left serves the batch that runs, and those of the call that wait for this one's answer."""
    return 0.3 + 0.06 * urgency


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

    def weary(self, now: float, share: float = 1.0) -> bool:
        """Whether it has waited for this share of what its urgency allows; never without a deadline."""
        if self.deadline is None:
            return False
        allowed = patience(self.urgency) * (self.deadline - self.submitted_at)
        return now - self.submitted_at >= allowed * share


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

    def oldest(self) -> float | None:
        """When the input that has waited longest was submitted, or None while nothing waits."""
        return min((queue[0].submitted_at for queue in self._queues if queue), default=None)

    def shed(self, now: float) -> list[Pending]:
        """Takes out what has waited for too long to be worth scoring before the rest."""
        weary: list[Pending] = []
        for queue in self._queues:
            while queue and queue[0].weary(now):
                weary.append(queue.popleft())
        self._size -= len(weary)
        return weary

    def take(self, count: int = WINDOW, *, now: float = 0.0) -> list[Pending]:
        """Up to `count` inputs, the most urgent first; within an urgency the oldest first, or the newest first where the
        oldest is half weary."""
        taken: list[Pending] = []
        for queue in reversed(self._queues):
            behind = bool(queue) and queue[0].weary(now, HALF)
            while queue and len(taken) < count:
                taken.append(queue.pop() if behind else queue.popleft())
        self._size -= len(taken)
        return taken

    def put_back(self, items: Sequence[Pending]) -> None:
        """Returns inputs that `take` gave and no batch had room for, each to the end of its queue that it came from."""
        for item in sorted(items, key=lambda item: item.order, reverse=True):
            queue = self._queues[item.urgency]
            if queue and item.order > queue[0].order:
                _insert(queue, item)
            else:
                queue.appendleft(item)
        self._size += len(items)


def _insert(queue: deque[Pending], item: Pending) -> None:
    """Puts an input in its place by order; those that came while it was out are few."""
    newer: list[Pending] = []
    while queue and queue[-1].order > item.order:
        newer.append(queue.pop())
    queue.append(item)
    queue.extend(reversed(newer))


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

"""The in-process bus: what happened, to everybody who listens, each at their own pace.

A subscriber has a bounded queue. One that does not read is told to come back by its cursor rather than slowing anybody
else down; since the stream is durable, it misses nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from detector.alerts import AlertEvent

MAX_BACKLOG: Final = 2_000
"""Messages that wait for one subscriber; at more it is cut off and resumes by cursor."""
MAX_STATUSES: Final = 24_000
"""Calls of which a status waits, the newest alone: every live call, and as many that ended meanwhile, at the default of
`max_calls`. One that does not read would else collect every call of the day."""
BEHIND_S: Final = 5.0
"""A listener who has not taken what waits for so long does not read: statuses are sent every second."""
STATUS_WAIT_S: Final = 0.1
"""A call's status comes at most once a second: a tenth of it is not seen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """One message on the bus.

    Args:
        tenant: whose it is.
        queue: the call's queue, for subscribers that asked for some.
        topic: `alert`, `status`, `monitoring` or `call`.
        call_id: for `status` and `call`.
        cursor: place in the alert stream, for `alert`.
        event: the alert event, for `alert`.
        message: what to send, for the other topics.
    """

    tenant: str
    queue: str
    topic: str
    call_id: str = ""
    cursor: int = 0
    event: AlertEvent | None = field(default=None, repr=False)
    message: dict[str, Any] | None = field(default=None, repr=False)
    _encoded: list[msgspec.Raw] = field(default_factory=list, init=False, repr=False, compare=False)

    @property
    def encoded(self) -> msgspec.Raw:
        """The message as JSON, or of an `alert` the alert: encoded once, whoever listens."""
        if not self._encoded:
            value = self.message if self.event is None else self.event.alert
            self._encoded.append(msgspec.Raw(msgspec.json.encode(value)))
        return self._encoded[0]


class Subscription:
    """One listener.

    Args:
        tenant: only this tenant's messages come.
        queues: only these queues', or None for all.
        statuses: whether `call.status` comes, too.
        max_statuses: calls of which a status may wait; at more the listener is cut off, too.
    """

    def __init__(
        self, *, tenant: str, queues: frozenset[str] | None, statuses: bool, max_statuses: int = MAX_STATUSES
    ) -> None:
        self.tenant = tenant
        self.queues = queues
        self.statuses = statuses
        self._max_statuses = max_statuses
        self.watched: set[str] = set()
        self.overflowed = False
        self._backlog: deque[Published] = deque()
        self._statuses: dict[str, Published] = {}
        self._ready = asyncio.Event()
        self._urgent = asyncio.Event()
        self._waits_since: float | None = None

    def wants(self, item: Published) -> bool:
        """Whether a message is for this listener."""
        if item.tenant != self.tenant:
            return False
        if item.topic == "call":
            return item.call_id in self.watched
        if item.topic == "monitoring":
            return True  # It concerns every queue, and whoever watches one must not take silence for calm.
        if item.topic == "status" and not self.statuses:
            return False
        return self.queues is None or item.queue in self.queues

    def offer(self, item: Published) -> None:
        """Queues a message, or marks the listener as overflowed."""
        if self.overflowed:
            return
        if self._waits_since is None:
            self._waits_since = time.monotonic()
        if item.topic == "status":
            self._statuses[item.call_id] = item
        else:
            self._backlog.append(item)
            self._urgent.set()
        if len(self._backlog) > MAX_BACKLOG or len(self._statuses) > self._max_statuses:
            self.overflowed = True
            self._backlog.clear()
            self._statuses.clear()
        self._ready.set()

    def behind(self, now_s: float) -> bool:
        """Whether the listener has not read for too long what waits for it; `now_s` is monotonic."""
        return self._waits_since is not None and now_s - self._waits_since > BEHIND_S

    def end(self) -> None:
        """Nothing more comes."""
        self.overflowed = True
        self._ready.set()

    async def next(self) -> list[Published]:
        """Waits for messages and takes all that are there; empty once the listener overflowed.

        Statuses wait a moment for each other, so that a floor of hundreds comes in few pieces; all else comes at once.
        """
        await self._ready.wait()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._urgent.wait(), STATUS_WAIT_S)
        self._ready.clear()
        self._urgent.clear()
        self._waits_since = None
        taken = [*self._backlog, *self._statuses.values()]
        self._backlog.clear()
        self._statuses.clear()
        return taken


class Hub:
    """All listeners of this process."""

    def __init__(self) -> None:
        self.closed = False
        """No more is published: listeners end, and resume elsewhere or later."""
        self._subscriptions: set[Subscription] = set()
        self._bells: set[asyncio.Event] = set()

    def __len__(self) -> int:
        return len(self._subscriptions)

    @property
    def wants_status(self) -> bool:
        """Whether anybody listens to `call.status`."""
        return any(item.statuses for item in self._subscriptions)

    async def watching(self) -> None:
        """A listener watches another call; here nobody else needs to know."""

    def watchers(self, tenant: str, call_id: str) -> bool:
        """Whether anybody watches a call."""
        return any(item.tenant == tenant and call_id in item.watched for item in self._subscriptions)

    def tenants(self) -> set[str]:
        """Those that somebody listens for."""
        return {item.tenant for item in self._subscriptions}

    def behind(self) -> int:
        """How many listeners do not read what waits for them: their sockets are full."""
        now_s = time.monotonic()
        return sum(item.behind(now_s) for item in self._subscriptions)

    def close(self) -> None:
        """Ends all listeners."""
        self.closed = True
        for item in self._subscriptions:
            item.end()

    def subscribe(self, subscription: Subscription) -> None:
        """Adds a listener."""
        self._subscriptions.add(subscription)
        if self.closed:
            subscription.end()

    def unsubscribe(self, subscription: Subscription) -> None:
        """Removes a listener."""
        self._subscriptions.discard(subscription)

    def ring(self, bell: asyncio.Event) -> None:
        """Sets an event whenever an alert event was published, for those that read the durable stream themselves."""
        self._bells.add(bell)

    def publish(self, item: Published) -> None:
        """Hands a message to all whom it concerns."""
        if item.topic == "alert":
            for bell in self._bells:
                bell.set()
        for subscription in self._subscriptions:
            if subscription.wants(item):
                subscription.offer(item)

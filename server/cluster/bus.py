"""The bus of the cluster: what happens on any worker reaches the listeners of every process.

Alert events come by the alert stream, in its order and by its cursors, their words from PostgreSQL; nothing of them is lost
while a connection is gone. Statuses, segments and the news of monitoring are state: they are told to whoever is there.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any, Final

import msgspec

from server.cluster.jetstream import JetStream, Message
from server.cluster.log import ClusterLog
from server.cluster.subjects import ALERT_ROOT, ALERT_STREAM
from server.hub import Hub, Published

BUS: Final = "mamori.bus"
PRESENCE: Final = "mamori.listeners"
PRESENCE_S: Final = 1.0
GONE_S: Final = 5.0
"""A process that was not heard of for so long listens no more."""
RETRY_S: Final = 0.5
MAX_EVENTS: Final = 500
"""Alert events that are read from the database at once."""

_log = logging.getLogger("mamori.cluster")


class _News(msgspec.Struct, frozen=True):
    tenant: str
    queue: str
    topic: str
    call_id: str
    message: dict[str, Any]


class _Listeners(msgspec.Struct, frozen=True):
    """What the listeners of one process want."""

    process: str
    tenants: list[str]
    statuses: bool
    watched: list[tuple[str, str]]


class ClusterHub(Hub):
    """All listeners of this process, and what is known of those of others.

    Args:
        nats: an open connection.
        log: reads the words of alert events.
        name: of this process.
    """

    def __init__(self, nats: JetStream, log: ClusterLog, name: str) -> None:
        super().__init__()
        self._nats, self._log, self._name = nats, log, name
        self._others: dict[str, tuple[_Listeners, float]] = {}
        self._told: asyncio.Queue[Message] = asyncio.Queue()
        self._tasks: list[asyncio.Task[None]] = []
        self._statuses: dict[tuple[str, str], dict[str, Any]] = {}
        self.on_listeners: Callable[[], None] = lambda: None
        """Called when a process begins to listen for statuses: whoever has some tells all of them."""

    async def start(self) -> None:
        """Listens, from now on.

        Raises:
            StorageError: NATS does not answer.
        """
        last = (await self._nats.bounds(ALERT_STREAM))[1]
        self._nats.follow(f"{ALERT_ROOT}.>", stream=ALERT_STREAM, after=last, take=self._told.put_nowait)
        await self._nats.hear(BUS, self._heard)
        await self._nats.hear(PRESENCE, self._presence)
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._alerts()), loop.create_task(self._be_present())]

    async def stop(self) -> None:
        """Listens no more."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def wants_status(self) -> bool:
        """Whether anybody anywhere listens to `call.status`."""
        return super().wants_status or any(item.statuses for item in self._present())

    def watchers(self, tenant: str, call_id: str) -> bool:
        """Whether anybody anywhere watches a call."""
        wanted = (tenant, call_id)
        return super().watchers(tenant, call_id) or any(wanted in item.watched for item in self._present())

    def tenants(self) -> set[str]:
        """Those that somebody listens for."""
        return super().tenants().union(*(item.tenants for item in self._present()))

    def statuses(self, tenant: str) -> list[dict[str, Any]]:
        """The last `call.status` of every live call of a tenant, as far as they were told."""
        return [message for (owner, _), message in self._statuses.items() if owner == tenant]

    async def watching(self) -> None:
        """What is wanted here has changed: the others hear of it at once."""
        await self._tell_presence()

    def publish(self, item: Published) -> None:
        """Tells every process; an alert event is told by the alert stream, where it is already."""
        if item.topic == "alert" or item.message is None:
            return
        data = msgspec.msgpack.encode(
            _News(tenant=item.tenant, queue=item.queue, topic=item.topic, call_id=item.call_id, message=item.message)
        )
        self._nats.tell_soon(BUS, data)

    def _heard(self, data: bytes) -> None:
        news = msgspec.msgpack.decode(data, type=_News)
        if news.topic == "status":
            if news.message.get("ended"):
                self._statuses.pop((news.tenant, news.call_id), None)
            else:
                self._statuses[news.tenant, news.call_id] = news.message
        super().publish(
            Published(
                tenant=news.tenant, queue=news.queue, topic=news.topic, call_id=news.call_id, message=news.message
            )
        )

    async def _alerts(self) -> None:
        while True:
            messages = [await self._told.get()]
            while len(messages) < MAX_EVENTS and not self._told.empty():
                messages.append(self._told.get_nowait())
            while True:
                try:
                    entries = await asyncio.to_thread(self._log.events_of, messages)
                    break
                except Exception as error:
                    _log.warning("alert events not read, tried again", extra={"error": type(error).__name__})
                    await asyncio.sleep(RETRY_S)
            for entry in entries:
                alert = entry.event.alert
                if not alert.observed:
                    super().publish(
                        Published(
                            tenant=entry.tenant,
                            queue=alert.call.queue,
                            topic="alert",
                            cursor=entry.cursor,
                            event=entry.event,
                        )
                    )

    # Who listens where.

    def _present(self) -> list[_Listeners]:
        now_s = time.monotonic()
        return [item for item, seen_s in self._others.values() if now_s - seen_s < GONE_S]

    async def _be_present(self) -> None:
        while True:
            await self._tell_presence()
            await asyncio.sleep(PRESENCE_S)

    async def _tell_presence(self) -> None:
        watched = {(item.tenant, call_id) for item in self._subscriptions for call_id in item.watched}
        here = _Listeners(
            process=self._name,
            tenants=sorted(super().tenants()),
            statuses=super().wants_status,
            watched=sorted(watched),
        )
        await self._nats.tell(PRESENCE, msgspec.msgpack.encode(here))

    def _presence(self, data: bytes) -> None:
        item = msgspec.msgpack.decode(data, type=_Listeners)
        before = self._others.get(item.process)
        self._others[item.process] = (item, time.monotonic())
        if item.statuses and (before is None or not before[0].statuses):
            self.on_listeners()

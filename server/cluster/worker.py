"""The worker's side: takes events for the partitions that it owns, and answers for them.

Each gateway's connections appear to the runtime as feeds of its own. What is answered carries the epoch, so that a gateway does
not believe an owner of before.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import msgspec
from sqlalchemy.exc import SQLAlchemyError

from detector.events import SupervisorAction
from server.cluster import subjects
from server.cluster.jetstream import JetStream
from server.cluster.log import ClusterLog
from server.cluster.ownership import Ownership
from server.cluster.words import (
    GATEWAYS,
    WORKERS,
    Answer,
    Ask,
    Down,
    Downs,
    Owns,
    Present,
    Up,
    Ups,
    ask_subject,
    feed_subject,
    gate_subject,
)
from server.errors import EventError, MamoriError
from server.live.reception import RETRY_AFTER_MS
from server.logs import fault
from server.redaction import redact_event

if TYPE_CHECKING:
    from server.cluster.runtime import ClusterRuntime

TELL_S: Final = 1.0
GATEWAY_DEAD_S: Final = 5.0
"""A gateway that was not heard of for so long is gone, and its connections with it."""
ACT_S: Final = 10.0
MAX_NUMBERS: Final = 4_096
"""Events without a number of the platform's that one gateway sent last, known again when they come again."""

_log = logging.getLogger("mamori.cluster")


@dataclass(eq=False, slots=True)
class _RemoteFeed:
    """A connection of a gateway, as the runtime sees it."""

    tenant: str
    gateway: str
    worker: Worker

    def acked(self, call_id: str, seq: int) -> None:
        self.worker.say(self.gateway, Down(kind="acked", tenant=self.tenant, call_id=call_id, seq=seq))

    def refused(self, error: EventError, *, expected: int | None = None, retry_after_ms: int | None = None) -> None:
        self.worker.refuse(self, error, expected=expected, retry_after_ms=retry_after_ms)

    def settled(self) -> None:
        """The gateway counts for itself."""


@dataclass(slots=True)
class _Peer:
    seen_s: float
    feeds: dict[tuple[int, str], _RemoteFeed] = field(default_factory=dict)
    taken: dict[int, int] = field(default_factory=dict)


class Worker:
    """Owns partitions for one process.

    Args:
        nats: an open connection.
        log: the cluster's.
        runtime: follows the calls.
        name: of this process.
    """

    def __init__(self, nats: JetStream, log: ClusterLog, runtime: ClusterRuntime, name: str) -> None:
        self._nats, self._log, self._runtime, self._name = nats, log, runtime, name
        self.ownership = Ownership(nats, name, gained=self._gained, lost=self._lost)
        self._ready: dict[int, int] = {}
        self._subscriptions: dict[int, list[Any]] = {}
        self._peers: dict[str, _Peer] = {}
        self._out: dict[tuple[str, int], list[Down]] = defaultdict(list)
        self._flushing = False
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Takes part from now on."""
        await self._nats.hear(GATEWAYS, self._present)
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self.ownership.run()), loop.create_task(self._tell_owned())]

    async def stop(self) -> None:
        """Gives all partitions back."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.ownership.leave()

    def owns(self, partition: int) -> bool:
        """Whether a partition is followed here."""
        return partition in self._ready

    @property
    def partitions(self) -> int:
        """How many partitions are followed here."""
        return len(self._ready)

    # Partitions.

    async def _gained(self, partition: int, epoch: int) -> None:
        began_s = time.monotonic()
        await asyncio.to_thread(self._log.take, partition, epoch)
        restored = await asyncio.to_thread(self._runtime.read_back, partition)
        if self.ownership.owned.get(partition) != epoch:
            return
        self._runtime.take_up(partition, epoch, restored)
        self._ready[partition] = epoch
        self._subscriptions[partition] = [
            await self._nats.hear(feed_subject(partition), lambda data: self._fed(partition, epoch, data)),
            await self._nats.answer(ask_subject(partition), self._asked),
        ]
        if self._ready.get(partition) != epoch:
            self._unsubscribe(partition)
            return
        _log.info(
            "partition taken up",
            extra={"partition": partition, "calls": len(restored), "seconds": round(time.monotonic() - began_s, 2)},
        )
        self._tell(WORKERS, Owns(worker=self._name, owned=dict(self._ready)))

    def _lost(self, partition: int) -> None:
        self._ready.pop(partition, None)
        self._log.give_up(partition)
        self._runtime.drop(partition)
        self._unsubscribe(partition)

    def _unsubscribe(self, partition: int) -> None:
        for subscription in self._subscriptions.pop(partition, ()):
            self._nats.soon(subscription.unsubscribe())

    async def _tell_owned(self) -> None:
        while True:
            self._tell(WORKERS, Owns(worker=self._name, owned=dict(self._ready)))
            now_s = time.monotonic()
            for name, peer in list(self._peers.items()):
                if now_s - peer.seen_s > GATEWAY_DEAD_S:
                    del self._peers[name]
                    for feed in peer.feeds.values():
                        self._runtime.local.disconnected(feed)
            await asyncio.sleep(TELL_S)

    # Events.

    def _peer(self, gateway: str) -> _Peer:
        peer = self._peers.setdefault(gateway, _Peer(0.0))
        peer.seen_s = time.monotonic()
        return peer

    def _feed(self, gateway: str, number: int, tenant: str) -> _RemoteFeed:
        feeds = self._peer(gateway).feeds
        key = (number, tenant)
        if key not in feeds:
            feeds[key] = _RemoteFeed(tenant, gateway, self)
        return feeds[key]

    def _fed(self, partition: int, epoch: int, data: bytes) -> None:
        if self._ready.get(partition) != epoch:
            return
        said = msgspec.msgpack.decode(data, type=Ups)
        peer = self._peer(said.gateway)
        for up in said.items:
            try:
                self._up(said.gateway, peer, up)
            except Exception as error:
                # It is sent again; a fault in one event must not keep the others from being taken.
                _log.error("an event was not taken", extra=fault(error))

    def _up(self, gateway: str, peer: _Peer, up: Up) -> None:
        feed = self._feed(gateway, up.feed, up.tenant)
        if up.kind == "adopt":
            self._runtime.local.adopt(feed, up.call_id)
        elif up.seq is not None:
            self._one(feed, up)
        elif up.number in peer.taken:
            self.say(gateway, _about(up, "taken", seq=peer.taken[up.number]))
            self._say_durable(feed, up.call_id)
        else:
            self._one(feed, up)
            call = self._runtime.calls.get((up.tenant, up.call_id))
            if call is not None:
                peer.taken[up.number] = call.next_seq - 1
                while len(peer.taken) > MAX_NUMBERS:
                    del peer.taken[next(iter(peer.taken))]

    def _say_durable(self, feed: _RemoteFeed, call_id: str) -> None:
        seq = self._runtime.local.consumed(feed.tenant, call_id)
        if seq is not None:
            feed.acked(call_id, seq)

    def _one(self, feed: _RemoteFeed, up: Up) -> None:
        reception = self._runtime.local
        try:
            if up.kind == "bury":
                error = EventError(up.code, "refused by the gateway", call_id=up.call_id, seq=up.seq)
                if not reception.bury(feed, error, heard_ms=up.heard_ms):
                    self.say(feed.gateway, _about(up, "waits"))
                return
            language = reception.language_of(up.tenant, up.call_id)
            event = redact_event(up.event(), language, self._runtime.patterns)
            if reception.accept(feed, event, heard_ms=up.heard_ms):
                call = self._runtime.calls.get((up.tenant, up.call_id))
                if up.seq is None and call is not None:
                    self.say(feed.gateway, _about(up, "taken", seq=call.next_seq - 1))
            else:
                self.say(feed.gateway, _about(up, "waits"))
        except EventError as error:
            expected = error.expected if error.code == "gap" else None
            wait_ms = RETRY_AFTER_MS if error.code == "overloaded" else None
            self.refuse(feed, error, expected=expected, retry_after_ms=wait_ms, number=up.number)

    def refuse(
        self,
        feed: _RemoteFeed,
        error: EventError,
        *,
        expected: int | None = None,
        retry_after_ms: int | None = None,
        number: int = 0,
    ) -> None:
        """Tells a gateway that an event was refused."""
        down = Down(
            kind="refused",
            tenant=feed.tenant,
            call_id=error.call_id or "",
            seq=error.seq,
            number=number,
            code=error.code,
            message=error.message,
            field=error.field,
            retry=error.retry,
            expected=expected,
            retry_after_ms=retry_after_ms,
        )
        self.say(feed.gateway, down)

    def say(self, gateway: str, down: Down) -> None:
        """Tells a gateway what became of an event."""
        self._out[gateway, subjects.partition_of(down.tenant, down.call_id)].append(down)
        if not self._flushing:
            self._flushing = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        self._flushing = False
        out, self._out = self._out, defaultdict(list)
        for (gateway, partition), items in out.items():
            epoch = self._ready.get(partition)
            if epoch is not None:
                self._tell(gate_subject(gateway), Downs(partition=partition, epoch=epoch, items=items))

    def _tell(self, subject: str, message: msgspec.Struct) -> None:
        self._nats.tell_soon(subject, msgspec.msgpack.encode(message))

    def _present(self, data: bytes) -> None:
        said = msgspec.msgpack.decode(data, type=Present)
        peer = self._peer(said.gateway)
        for key in [key for key in peer.feeds if key[0] in said.gone]:
            self._runtime.local.disconnected(peer.feeds.pop(key))

    # Questions.

    async def _asked(self, data: bytes) -> bytes:
        ask = msgspec.msgpack.decode(data, type=Ask)
        try:
            answer = await self._answer(ask)
        except (MamoriError, SQLAlchemyError, TimeoutError) as error:
            _log.warning("not answered", extra={"what": ask.kind, "error": type(error).__name__})
            answer = Answer(failed=True)
        return msgspec.msgpack.encode(answer)

    async def _answer(self, ask: Ask) -> Answer:
        local = self._runtime.local
        if ask.kind == "consumed":
            seq = local.consumed(ask.tenant, ask.call_id)
            local.adopt(self._feed(ask.gateway, ask.feed, ask.tenant), ask.call_id)
            return Answer(seq=seq, language=local.language_of(ask.tenant, ask.call_id))
        if ask.kind == "status":
            status = self._runtime.status_here(ask.tenant, ask.call_id)
            return Answer(body=msgspec.msgpack.encode(status) if status is not None else b"")
        if ask.kind == "shadow":
            shadow = self._runtime.shadow
            body = msgspec.msgpack.encode(shadow.report(ask.tenant)) if shadow is not None else b""
            return Answer(worker=self._name, body=body)
        if ask.kind == "help":
            return Answer(found=self._runtime.press(ask.tenant, ask.call_id, note=ask.note, by=ask.by))
        action = msgspec.msgpack.decode(ask.body, type=SupervisorAction)
        async with asyncio.timeout(ACT_S):
            done = await self._runtime.supervision.act(ask.tenant, action)
        return Answer(body=msgspec.msgpack.encode(done), found=True)


def _about(up: Up, kind: str, *, seq: int | None = None) -> Down:
    return Down(kind=kind, tenant=up.tenant, call_id=up.call_id, seq=seq, number=up.number)

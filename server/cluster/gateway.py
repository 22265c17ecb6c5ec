"""The gateway's side: events go to the owner of their partition, and answers come back to the connection they came on.

An event stays here until its owner says that it is durable, and is sent again while nobody says so and whenever its partition
has a new owner; the owner knows by its number what it has seen. So nothing depends on a message between the two, and nothing
is acknowledged that is not in the log.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from detector.alerts import ActionAnswer
from detector.events import CallEvent, CallStarted, Gap, SupervisorAction
from server.clock import SYSTEM
from server.cluster import subjects
from server.cluster.jetstream import JetStream, UnreachableNatsError
from server.cluster.log import ClusterLog
from server.cluster.subjects import PARTITIONS
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
from server.errors import EventError, StorageError
from server.live.reception import Feed
from server.storage import codec
from server.vendors import Receipt

SWEEP_S: Final = 0.25
AGAIN_S: Final = 1.0
"""An event of which nothing was heard for so long is sent again; below the 2 s after which an owner tells of a gap."""
MAX_AGAIN_S: Final = 8.0
PRESENT_S: Final = 1.0
SILENT_S: Final = 4.0
"""A worker that was not heard of for so long owns nothing, as far as we can tell."""
ASK_S: Final = 15.0
"""So long an answer of an owner is waited for, over a takeover."""
STATUS_S: Final = 2.0
"""So long for what a page shows and can do without."""
MAX_ASKED: Final = 256
"""Questions of one `resume` that are under way at once."""
STILL_S: Final = 2.0
"""A loop that has not come round for so long stood still."""
CATCH_UP_S: Final = 1.0
"""So long afterwards what is read was sent before."""
MAX_PACK: Final = 256_000
"""Bytes of bodies in one message; NATS takes 1 MB."""

_log = logging.getLogger("mamori.cluster")
_Key = tuple[str, str]


@dataclass(slots=True)
class _Item:
    up: Up
    feed: Feed
    seq: int | None
    in_window: bool = True


@dataclass(slots=True)
class _Route:
    """One call that events are fed to from here: what is not durable yet, by number."""

    feed: Feed | None = None
    items: dict[int, _Item] = field(default_factory=dict)
    language: str = "ja"
    ending: bool = False
    sent_s: float = 0.0
    again_s: float = AGAIN_S


class Gateway:
    """Takes the place of `Reception` where events come in, in every process of a cluster.

    Args:
        nats: an open connection.
        log: asked where no owner answers.
        name: of this process.
    """

    def __init__(self, nats: JetStream, log: ClusterLog, name: str) -> None:
        self._nats, self._log, self._name = nats, log, name
        self._routes: dict[_Key, _Route] = {}
        self._unsettled: set[_Key] = set()
        self._numbers = itertools.count(1)
        self._feed_numbers = itertools.count(1)
        self._feeds: dict[Feed, int] = {}
        self._out: dict[int, list[Up]] = defaultdict(list)
        self._flushing = False
        self._owners: dict[int, tuple[int, float]] = {}
        self._gone: list[int] = []
        self._awake_s, self._awake_ms = time.monotonic(), SYSTEM.utc_ms()
        self._before_ms, self._caught_up_s = 0, 0.0
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Listens to workers, from now on."""
        await self._nats.hear(gate_subject(self._name), self._answered)
        await self._nats.hear(WORKERS, self._owns)
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._sweep()), loop.create_task(self._be_present())]

    async def stop(self) -> None:
        """Sends no more."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def ownerless(self) -> int:
        """Partitions without an owner that is heard of."""
        now_s = time.monotonic()
        return sum(
            partition not in self._owners or now_s - self._owners[partition][1] > SILENT_S
            for partition in range(PARTITIONS)
        )

    # As `Reception`.

    def accept(self, feed: Feed, event: CallEvent) -> bool:
        """Takes an event; it counts against the window until it is durable, refused, or waits for an earlier one."""
        route = self._route(feed, event.call_id)
        if isinstance(event.body, CallStarted):
            route.language = event.body.language
        kind = codec.kind_of(event.body)
        route.ending = kind == "call.ended"
        up = Up(
            number=next(self._numbers),
            feed=self._number(feed),
            tenant=feed.tenant,
            call_id=event.call_id,
            kind=kind,
            body=codec.encode(event.body),
            seq=event.seq,
            at=event.at,
            heard_ms=self._heard_ms(),
        )
        self._take(route, feed, up)
        return True

    def bury(self, feed: Feed, error: EventError) -> bool:
        """A tombstone is to be logged for an event that was refused for good."""
        if error.call_id is None or error.seq is None:
            return False
        up = Up(
            number=next(self._numbers),
            feed=self._number(feed),
            tenant=feed.tenant,
            call_id=error.call_id,
            kind="bury",
            seq=error.seq,
            code=error.code,
            heard_ms=self._heard_ms(),
        )
        self._take(self._route(feed, error.call_id), feed, up)
        return True

    async def resumed(self, feed: Feed, call_ids: Sequence[str]) -> dict[str, int | None]:
        """A connection goes on with calls: up to which number the events of each are durable, as their owners say."""
        room = asyncio.Semaphore(MAX_ASKED)

        async def one(call_id: str) -> int | None:
            async with room:
                upto = await self._upto(feed, call_id)
            self.adopt(feed, call_id)
            return upto

        return dict(zip(call_ids, await asyncio.gather(*map(one, call_ids)), strict=True))

    def language_of(self, tenant: str, call_id: str) -> str:
        """The language of a call that is fed from here."""
        route = self._routes.get((tenant, call_id))
        return route.language if route is not None else "ja"

    def adopt(self, feed: Feed, call_id: str) -> None:
        """A connection says that it feeds this call from now on."""
        self._route(feed, call_id)
        self._send(self._adopting(feed, call_id))

    def disconnected(self, feed: Feed) -> None:
        """A connection is gone: what of it is not durable comes again by another."""
        for key in [key for key, route in self._routes.items() if route.feed is feed]:
            route = self._routes[key]
            route.items = {number: item for number, item in route.items.items() if item.feed is not feed}
            route.feed = None
            self._tidy(key, route)
        number = self._feeds.pop(feed, 0)
        if number:
            self._gone.append(number)
            self._tell_present()

    def _route(self, feed: Feed, call_id: str) -> _Route:
        route = self._routes.setdefault((feed.tenant, call_id), _Route())
        route.feed = feed
        return route

    def _number(self, feed: Feed) -> int:
        if isinstance(feed, Receipt):
            return 0  # One message by HTTP is no connection that could be gone.
        if feed not in self._feeds:
            self._feeds[feed] = next(self._feed_numbers)
        return self._feeds[feed]

    def _adopting(self, feed: Feed, call_id: str) -> Up:
        return Up(number=0, feed=self._number(feed), tenant=feed.tenant, call_id=call_id, kind="adopt")

    def _take(self, route: _Route, feed: Feed, up: Up) -> None:
        if not route.items:
            route.sent_s, route.again_s = time.monotonic(), AGAIN_S
        again = next((n for n, item in route.items.items() if up.seq is not None and item.seq == up.seq), None)
        if again is not None and route.items[again].in_window:
            route.items[again].feed.settled()
        if again is not None:
            del route.items[again]
        route.items[up.number] = _Item(up, feed, up.seq)
        self._unsettled.add((up.tenant, up.call_id))
        self._send(up)

    def _heard_ms(self) -> int:
        """UTC of now; for what lay in the sockets while this process stood still, of before that: its senders may have gone on
        elsewhere since."""
        now_s = time.monotonic()
        if now_s - self._awake_s > STILL_S:
            self._before_ms, self._caught_up_s = self._awake_ms, now_s + CATCH_UP_S
            self._awake_s = now_s
        return self._before_ms if now_s < self._caught_up_s else SYSTEM.utc_ms()

    # To the owners.

    def _send(self, up: Up) -> None:
        self._out[subjects.partition_of(up.tenant, up.call_id)].append(up)
        if not self._flushing:
            self._flushing = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        self._flushing = False
        out, self._out = self._out, defaultdict(list)
        for partition, ups in out.items():
            pack: list[Up] = []
            size = 0
            for up in ups:
                if pack and size + len(up.body) > MAX_PACK:
                    self._tell(feed_subject(partition), Ups(gateway=self._name, items=pack))
                    pack, size = [], 0
                pack.append(up)
                size += len(up.body) + 200
            self._tell(feed_subject(partition), Ups(gateway=self._name, items=pack))

    def _tell(self, subject: str, message: msgspec.Struct) -> None:
        self._nats.tell_soon(subject, msgspec.msgpack.encode(message))

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_S)
            self._heard_ms()  # It may be the first to run after a while.
            now_s = time.monotonic()
            self._awake_s, self._awake_ms = now_s, SYSTEM.utc_ms()
            for key in list(self._unsettled):
                route = self._routes.get(key)
                if route is None or not route.items:
                    self._unsettled.discard(key)
                elif now_s - route.sent_s >= route.again_s:
                    route.again_s = min(MAX_AGAIN_S, route.again_s * 2)
                    self._again(route, now_s)

    def _again(self, route: _Route, now_s: float) -> None:
        route.sent_s = now_s
        for item in sorted(route.items.values(), key=lambda item: item.up.number if item.seq is None else item.seq):
            self._send(item.up)

    def _owns(self, data: bytes) -> None:
        said = msgspec.msgpack.decode(data, type=Owns)
        now_s = time.monotonic()
        for partition, epoch in said.owned.items():
            before, _ = self._owners.get(partition, (0, 0.0))
            if epoch < before:
                continue
            self._owners[partition] = (epoch, now_s)
            if epoch > before:
                self._new_owner(partition, now_s)

    def _new_owner(self, partition: int, now_s: float) -> None:
        for (tenant, call_id), route in self._routes.items():
            if subjects.partition_of(tenant, call_id) == partition:
                if route.feed is not None:
                    self._send(self._adopting(route.feed, call_id))
                route.again_s = AGAIN_S
                self._again(route, now_s)

    async def _be_present(self) -> None:
        while True:
            self._tell_present()
            await asyncio.sleep(PRESENT_S)

    def _tell_present(self) -> None:
        gone, self._gone = self._gone, []
        self._tell(GATEWAYS, Present(gateway=self._name, gone=gone))

    # From the owners.

    def _answered(self, data: bytes) -> None:
        said = msgspec.msgpack.decode(data, type=Downs)
        if said.epoch < self._owners.get(said.partition, (0, 0.0))[0]:
            return
        for item in said.items:
            key = (item.tenant, item.call_id)
            route = self._routes.get(key)
            if route is not None:
                self._settle(key, route, item)

    def _settle(self, key: _Key, route: _Route, said: Down) -> None:
        if said.kind == "acked" and said.seq is not None:
            done = [number for number, item in route.items.items() if item.seq is not None and item.seq <= said.seq]
            feeds = {id(feed): feed for feed in (route.feed, *(route.items[number].feed for number in done)) if feed}
            for number in done:
                self._pop(route, number)
            for feed in feeds.values():
                feed.acked(said.call_id, said.seq)
            self._tidy(key, route)
        elif said.kind == "taken" and said.number in route.items:
            route.items[said.number].seq = said.seq
        elif said.kind == "waits" and said.number in route.items:
            item = route.items[said.number]
            if item.in_window:
                item.in_window = False
                item.feed.settled()
        elif said.kind == "refused":
            number = said.number or next((n for n, item in route.items.items() if item.seq == said.seq), 0)
            sender = route.items[number].feed if number in route.items else route.feed
            if number in route.items:
                self._pop(route, number)
            if sender is not None:
                sender.refused(said.error(), expected=said.expected, retry_after_ms=said.retry_after_ms)
            self._tidy(key, route)

    def _pop(self, route: _Route, number: int) -> None:
        item = route.items.pop(number)
        if item.in_window:
            item.feed.settled()

    def _tidy(self, key: _Key, route: _Route) -> None:
        if not route.items and (route.ending or route.feed is None or isinstance(route.feed, Receipt)):
            self._routes.pop(key, None)
            self._unsettled.discard(key)

    # Questions.

    async def _ask(self, ask: Ask, partition: int | None = None, *, within_s: float = ASK_S) -> Answer:
        """Asks the owner of the call, or of a partition, over a takeover if need be.

        Raises:
            UnreachableNatsError: no owner answered in time.
        """
        if partition is None:
            partition = subjects.partition_of(ask.tenant, ask.call_id)
        subject = ask_subject(partition)
        data = msgspec.msgpack.encode(ask)
        deadline_s = time.monotonic() + within_s
        while True:
            try:
                answer = await self._nats.ask(subject, data, within_s=within_s)
                return msgspec.msgpack.decode(answer, type=Answer)
            except UnreachableNatsError:
                if time.monotonic() >= deadline_s:
                    raise
                await asyncio.sleep(SWEEP_S)

    async def _upto(self, feed: Feed, call_id: str) -> int | None:
        ask = Ask(kind="consumed", tenant=feed.tenant, call_id=call_id, gateway=self._name, feed=self._number(feed))
        try:
            answer = await self._ask(ask)
            if answer.failed:
                raise UnreachableNatsError("the owner could not say")
            self._route(feed, call_id).language = answer.language
            return answer.seq
        except UnreachableNatsError:
            return await asyncio.to_thread(self._from_log, feed.tenant, call_id)

    def _from_log(self, tenant: str, call_id: str) -> int | None:
        """How far the log is, where no owner answers: what it holds was consumed, or will be by whoever takes the call up."""
        record = self._log.find_call(tenant, call_id)
        if record is None:
            return None
        last = -1
        for stored in self._log.read_call(tenant, record.instance):
            if stored.row.seq == last + 1:
                last += 1
            if isinstance(stored.row.value, Gap):
                last = max(last, stored.row.value.last_seq)
        return last if last >= 0 else None

    async def act(self, tenant: str, call_id: str, action: SupervisorAction) -> ActionAnswer:
        """Has the owner of a call act on one of its alerts; answered after its commit.

        Raises:
            StorageError: it could not be done now.
        """
        answer = await self._ask(Ask(kind="act", tenant=tenant, call_id=call_id, body=msgspec.msgpack.encode(action)))
        if answer.failed:
            raise StorageError("not stored, try again")
        return msgspec.msgpack.decode(answer.body, type=ActionAnswer)

    async def help(self, tenant: str, call_id: str, *, note: str, by: str) -> bool:
        """The help button of a call was pressed; False when there is no such live call."""
        answer = await self._ask(Ask(kind="help", tenant=tenant, call_id=call_id, note=note, by=by))
        if answer.failed:
            raise StorageError("not stored, try again")
        return answer.found

    async def status(self, tenant: str, call_id: str) -> dict[str, Any] | None:
        """A live call's status, from its owner; None where there is no such call, or no owner that answers soon."""
        try:
            answer = await self._ask(Ask(kind="status", tenant=tenant, call_id=call_id), within_s=STATUS_S)
        except UnreachableNatsError:
            return None
        found: dict[str, Any] | None = msgspec.msgpack.decode(answer.body) if answer.body else None
        return found

    async def shadow(self, tenant: str) -> list[dict[str, Any]]:
        """What each worker that follows calls under candidate rules reports.

        Raises:
            StorageError: a partition has no owner now.
        """
        ask = Ask(kind="shadow", tenant=tenant, call_id="")
        answers = await asyncio.gather(*(self._ask(ask, partition) for partition in range(PARTITIONS)))
        by_worker = {answer.worker: answer.body for answer in answers if answer.body}
        return [msgspec.msgpack.decode(body) for body in by_worker.values()]

"""The ingest websocket, `WS /v1/ingest`: events in, acknowledgements out.

Knows the protocol and the connection, nothing of calls: an event goes to the runtime, whose answers come back through
`_Feed`. A bad event is answered and the connection lives on; a peer that does not read its answers is not read from.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

import msgspec

from detector.events import CallEvent
from server.auth import FEEDERS, Gate, Principal
from server.errors import EventError
from server.live.reception import RETRY_AFTER_MS
from server.redaction import hash_caller, redact_event
from server.runtime import Runtime
from server.sockets import CLOSE_POLICY, Receive, Scope, Send, converse, shake_hands
from server.wire import PROTOCOL, Resume, decode_event, decode_frame, nack, parse_frame

MAX_ANSWERS: Final = 4_096
"""Nacks that wait for a peer that does not read; beyond it the peer is not read from either."""


class _Feed:
    """One connection as the runtime sees it; acks of one call are merged while the peer is busy."""

    def __init__(self, principal: Principal, window: int) -> None:
        self.principal = principal
        self.tenant = principal.tenant
        self.window = window
        self.in_flight = 0
        self._acks: dict[str, int] = {}
        self._answers: list[bytes] = []
        self._ready = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()

    def acked(self, call_id: str, seq: int) -> None:
        self._acks[call_id] = max(seq, self._acks.get(call_id, -1))
        self._ready.set()

    def refused(self, error: EventError, *, expected: int | None = None, retry_after_ms: int | None = None) -> None:
        self.answer(nack(error, expected=expected, retry_after_ms=retry_after_ms))

    def answer(self, message: bytes) -> None:
        self._answers.append(message)
        self._ready.set()
        self._check_room()

    def taken(self) -> None:
        self.in_flight += 1
        self._check_room()

    def settled(self) -> None:
        self.in_flight -= 1
        self._check_room()

    def _check_room(self) -> None:
        if self.in_flight < self.window and len(self._answers) < MAX_ANSWERS:
            self._room.set()
        else:
            self._room.clear()

    async def room(self) -> None:
        """Waits until the window and the answers have room again."""
        await self._room.wait()

    async def outgoing(self) -> list[bytes]:
        """Waits for answers and acks and takes them."""
        await self._ready.wait()
        self._ready.clear()
        acks, self._acks = self._acks, {}
        answers, self._answers = self._answers, []
        self._check_room()
        return answers + [
            msgspec.json.encode({"type": "ack", "call_id": call_id, "seq": seq}) for call_id, seq in acks.items()
        ]


class IngestEndpoint:
    """The ASGI endpoint.

    Args:
        runtime: takes the events.
        gate: checks who comes in.
        window: unacknowledged events per connection beyond which it is not read.
        max_frame_bytes: told in the welcome; the server closes a larger frame with 1009.
        caller_key: secret of the keyed hash of callers.
    """

    def __init__(self, runtime: Runtime, gate: Gate, *, window: int, max_frame_bytes: int, caller_key: bytes) -> None:
        self._runtime = runtime
        self._gate = gate
        self._window = window
        self._max_frame_bytes = max_frame_bytes
        self._caller_key = caller_key

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one connection to its end."""
        principal = await shake_hands(scope, receive, send, self._gate, FEEDERS)
        if principal is None:
            return
        feed = _Feed(principal, self._window)
        welcome = {
            "type": "welcome",
            "protocol": PROTOCOL,
            "window": self._window,
            "max_frame_bytes": self._max_frame_bytes,
        }
        await send({"type": "websocket.send", "text": msgspec.json.encode(welcome).decode()})
        try:
            revoked = await converse(self._read(feed, receive), self._write(feed, send), self._gate, principal)
        finally:
            self._runtime.reception.disconnected(feed)
        if revoked:
            await send({"type": "websocket.close", "code": CLOSE_POLICY, "reason": "token no longer valid"})

    async def _read(self, feed: _Feed, receive: Receive) -> None:
        while True:
            message = await receive()
            if message["type"] == "websocket.disconnect":
                return
            if self._runtime.draining:
                # Nothing of it is taken: it is not acknowledged, and the close that follows says to resume.
                continue
            await self._frame(feed, message.get("text"))
            await feed.room()

    async def _write(self, feed: _Feed, send: Send) -> None:
        while True:
            for message in await feed.outgoing():
                await send({"type": "websocket.send", "text": message.decode()})

    async def _frame(self, feed: _Feed, text: str | None) -> None:
        event = decode_frame(text) if text is not None else None
        if event is not None:
            self._event(feed, event)
            return
        try:
            if text is None:
                raise EventError("bad_json", "expected a text frame")
            items = parse_frame(text)
        except EventError as error:
            feed.refused(error)
            return
        for item in items:
            if isinstance(item, dict) and item.get("type") == "resume":
                await self._resume(feed, item)
            else:
                self._item(feed, item)
            if feed.in_flight >= feed.window:
                await feed.room()

    async def _resume(self, feed: _Feed, item: dict[str, Any]) -> None:
        try:
            wanted = msgspec.convert(item, Resume)
        except msgspec.ValidationError:
            feed.refused(EventError("bad_event", "expected a list of call ids", field="call_ids"))
            return
        calls = await self._runtime.reception.resumed(feed, wanted.call_ids)
        feed.answer(msgspec.json.encode({"type": "resumed", "calls": calls}))

    def _item(self, feed: _Feed, item: Any) -> None:
        try:
            event = decode_event(item)
        except EventError as error:
            feed.refused(error)
            if not error.retry and self._runtime.reception.bury(feed, error):
                feed.taken()
            return
        self._event(feed, event)

    def _event(self, feed: _Feed, event: CallEvent) -> None:
        wait_s = self._gate.event_wait_s(feed.principal)
        if wait_s:
            excess = EventError(
                "rate_limited", "too many events a second", call_id=event.call_id, seq=event.seq, retry=True
            )
            feed.refused(excess, retry_after_ms=max(1, round(wait_s * 1000)))
            return
        try:
            if self._runtime.reception.accept(feed, self._clean(feed, event)):
                feed.taken()
        except EventError as error:
            expected = error.expected if error.code == "gap" else None
            feed.refused(
                error,
                expected=expected,
                retry_after_ms=RETRY_AFTER_MS if error.code == "overloaded" else None,
            )

    def _clean(self, feed: _Feed, event: CallEvent) -> CallEvent:
        event = hash_caller(event, self._caller_key, feed.tenant)
        return redact_event(
            event, self._runtime.reception.language_of(feed.tenant, event.call_id), self._runtime.patterns
        )

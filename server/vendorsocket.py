"""`WS /v1/ingest?format=NAME`: a platform's own messages, one a frame, text or binary.

The server speaks first, as on the plain socket, with the format's name in its welcome. `{"type":"ack","messages":N}` says
that the first N messages of this connection are durable or refused for good; a refused one was named before by
`{"type":"nack","message":INDEX,…}`, and one with `retry` true may be sent again. `{"type":"notice"}` tells once what a
house should know: masked words, unknown types, items that could not be read. After a lost connection a client sends
again whatever was not acknowledged: repeated messages are known by their utterances' ids.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any, Final
from urllib.parse import parse_qsl

import msgspec

from detector.adapters.frame import Format
from server.auth import FEEDERS, Gate, Principal
from server.errors import EventError
from server.live.reception import RETRY_AFTER_MS
from server.runtime import Runtime
from server.sockets import CLOSE_POLICY, Receive, Scope, Send, converse, headers_of, shake_hands
from server.vendors import Receipt, Vendors
from server.wire import PROTOCOL

MAX_QUERY_FIELDS: Final = 32
MAX_ANSWERS: Final = 4_096


def query_of(scope: Scope) -> dict[str, str]:
    """Parameters of the address; of a repeated one the last counts, and beyond the bound there are none."""
    try:
        return dict(parse_qsl(scope["query_string"].decode("latin-1"), max_num_fields=MAX_QUERY_FIELDS))
    except ValueError:
        return {}


class _Connection:
    """One connection: as the owner of its calls it is a `Feed`, though the runtime answers its receipts."""

    def __init__(self, principal: Principal, window: int) -> None:
        self.tenant = principal.tenant
        self._window = window
        self._under_way: deque[Receipt | None] = deque()
        self._done = 0
        self._told = 0
        self._answers: list[bytes] = []
        self.count = 0
        self._ready = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()

    def acked(self, call_id: str, seq: int) -> None:
        """Answers go to the receipts."""

    def refused(self, error: EventError, *, expected: int | None = None, retry_after_ms: int | None = None) -> None:
        """Answers go to the receipts."""

    def settled(self) -> None:
        """Answers go to the receipts."""

    def answer(self, message: dict[str, Any]) -> None:
        self._answers.append(msgspec.json.encode(message))
        self._ready.set()

    def nack(self, index: int, error: EventError, retry_after_ms: int | None = None) -> None:
        message: dict[str, Any] = {
            "type": "nack",
            "message": index,
            "call_id": error.call_id,
            "code": error.code,
            "field": error.field or None,
            "reason": error.message,
            "retry": error.retry,
        }
        if error.retry:
            message["retry_after_ms"] = retry_after_ms or RETRY_AFTER_MS
        self.answer(message)

    def under_way(self, receipt: Receipt | None) -> None:
        self._under_way.append(receipt)
        self.advance()

    def advance(self) -> None:
        """Counts the messages at the head that are settled."""
        while self._under_way and (self._under_way[0] is None or self._under_way[0].finished):
            self._under_way.popleft()
            self._done += 1
            self._ready.set()
        full = len(self._under_way) >= self._window or len(self._answers) >= MAX_ANSWERS
        (self._room.clear if full else self._room.set)()

    async def room(self) -> None:
        await self._room.wait()

    async def outgoing(self) -> list[bytes]:
        await self._ready.wait()
        self._ready.clear()
        answers, self._answers = self._answers, []
        if self._done > self._told:
            self._told = self._done
            answers.append(msgspec.json.encode({"type": "ack", "messages": self._done}))
        self.advance()
        return answers


class VendorEndpoint:
    """The ASGI endpoint.

    Args:
        window: messages under way per connection beyond which it is not read.
        max_frame_bytes: told in the welcome.
    """

    def __init__(self, runtime: Runtime, gate: Gate, vendors: Vendors, *, window: int, max_frame_bytes: int) -> None:
        self._runtime = runtime
        self._gate = gate
        self._vendors = vendors
        self._window = window
        self._max_frame_bytes = max_frame_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one connection to its end."""
        principal = await shake_hands(scope, receive, send, self._gate, FEEDERS)
        if principal is None:
            return
        query = query_of(scope)
        form = self._vendors.formats.get(query.get("format", ""))
        if form is None:
            await send({"type": "websocket.close", "code": CLOSE_POLICY, "reason": "no such format"})
            return
        if form.one_call and not query.get("call_id") and not form.names_calls:
            await send({"type": "websocket.close", "code": CLOSE_POLICY, "reason": "call_id missing in the address"})
            return
        welcome = {
            "type": "welcome",
            "protocol": PROTOCOL,
            "format": form.name,
            "window": self._window,
            "max_frame_bytes": self._max_frame_bytes,
        }
        await send({"type": "websocket.send", "text": msgspec.json.encode(welcome).decode()})
        connection = _Connection(principal, self._window)
        try:
            revoked = await converse(
                self._read(connection, principal, form, scope, query, receive),
                self._write(connection, send),
                self._gate,
                principal,
            )
        finally:
            self._runtime.reception.disconnected(connection)
        if revoked:
            await send({"type": "websocket.close", "code": CLOSE_POLICY, "reason": "token no longer valid"})

    async def _read(
        self,
        connection: _Connection,
        principal: Principal,
        form: Format,
        scope: Scope,
        query: dict[str, str],
        receive: Receive,
    ) -> None:
        headers = headers_of(scope)
        while True:
            message = await receive()
            if message["type"] == "websocket.disconnect":
                return
            text = message.get("text")
            data = text.encode("utf-8", "surrogatepass") if text is not None else message.get("bytes") or b""
            index, connection.count = connection.count, connection.count + 1

            def done(receipt: Receipt, index: int = index) -> None:
                if receipt.refusal is not None and receipt.refusal.retry:
                    self._vendors.failed(form, receipt)
                if receipt.refusal is not None:
                    connection.nack(index, receipt.refusal, receipt.retry_after_ms)
                connection.advance()

            envelope = self._vendors.envelope(principal, headers=headers, path=scope["path"], query=query)
            try:
                receipt = self._vendors.deliver(principal, form, data, envelope, done=done, owner=connection)
            except EventError as error:
                connection.nack(index, error)
                connection.under_way(None)
            else:
                for report in receipt.reports:
                    connection.answer({"type": "notice", "code": report.kind.value, "detail": report.detail})
                connection.under_way(receipt)
            await connection.room()

    async def _write(self, connection: _Connection, send: Send) -> None:
        while True:
            for message in await connection.outgoing():
                await send({"type": "websocket.send", "text": message.decode()})

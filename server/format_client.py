"""A client that sends a platform's own messages, `WS /v1/ingest?format=NAME`: what a bridge needs.

It keeps each message until the server says that it is durable, and sends again after a lost connection whatever is not:
the server knows repeated messages by their utterances' ids. Its memory is bounded: `send` waits when too much is under way.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlencode

from websockets.asyncio.client import ClientConnection

from server.link import MAX_UNACKED, Link

_log = logging.getLogger("mamori.client")


class FormatClient(Link):
    """Sends messages of one format over one connection.

    Args:
        url: `ws://…` or `wss://…` up to the host.
        form: name of the format.
        token: bearer token, or None.
        query: further parameters of the address: `call_id`, `speaker`, `channels`, `language` …
        on_answer: called with each nack and notice.

    Example:
        async with FormatClient("ws://127.0.0.1:8787", "contact_lens") as client:
            number = await client.send(record)
            await client.durable(number)
    """

    def __init__(
        self,
        url: str,
        form: str,
        *,
        token: str | None = None,
        query: Mapping[str, str] | None = None,
        on_answer: Callable[[dict[str, Any]], None] = lambda _answer: None,
    ) -> None:
        super().__init__([f"{url.rstrip('/')}/v1/ingest?{urlencode({**(query or {}), 'format': form})}"], token=token)
        self._on_answer = on_answer
        self._count = 0
        self._unacked: OrderedDict[int, bytes] = OrderedDict()
        self._queue: deque[int] = deque()
        self._sent: deque[int] = deque()  # in the order of this connection, from `_settled` on
        self._settled = 0
        self._again: set[int] = set()

    @property
    def unacked(self) -> int:
        """Messages that are not durable yet."""
        return len(self._unacked)

    async def send(self, message: bytes | str) -> int:
        """Queues a message; waits only when too many are under way.

        Returns:
            Its number, for `durable`.

        Raises:
            RefusedError: the server does not let this client in.
        """
        await self._room(MAX_UNACKED)
        number, self._count = self._count, self._count + 1
        self._unacked[number] = message.encode() if isinstance(message, str) else message
        self._queue.append(number)
        self._wake.set()
        return number

    async def durable(self, number: int) -> None:
        """Waits until everything up to a message is durable, so that a bridge may move its checkpoint.

        Raises:
            RefusedError: the server does not let this client in.
        """
        while self._unacked and next(iter(self._unacked)) <= number:
            if self._refusal is not None:
                raise self._refusal
            self._acked.clear()
            await self._acked.wait()

    async def _resume(self, socket: ClientConnection) -> None:
        self._sent, self._settled = deque(), 0
        self._again.clear()
        self._queue = deque(self._unacked)

    async def _write(self, socket: ClientConnection) -> None:
        while True:
            while self._queue and len(self._sent) < self._window:
                number = self._queue.popleft()
                if number in self._unacked:
                    self._sent.append(number)
                    await socket.send(self._unacked[number])
            self._wake.clear()
            if not self._queue or len(self._sent) >= self._window:
                await self._wake.wait()

    def _take(self, message: dict[str, Any]) -> None:
        kind = message["type"]
        if kind == "ack":
            for _ in range(message["messages"] - self._settled):
                number = self._sent.popleft()
                if number not in self._again:
                    self._unacked.pop(number, None)
                self._again.discard(number)
            self._settled = message["messages"]
            self._acked.set()
            self._wake.set()
        elif kind == "nack":
            self._on_answer(message)
            number = self._sent[message["message"] - self._settled]
            if message["retry"]:
                self._again.add(number)
                asyncio.get_running_loop().call_later(message["retry_after_ms"] / 1000, self._once_more, number)
            else:
                _log.warning("message refused: %s %s", message["code"], message["field"] or "")
        elif kind == "notice":
            self._on_answer(message)

    def _once_more(self, number: int) -> None:
        if number in self._unacked:
            self._queue.append(number)
            self._wake.set()

"""A small client of the ingest websocket: connects, sends in order, resumes after a loss, and loses nothing.

It keeps every event until it is acknowledged, waits when the window is full, and sends again from where the server says
it has come to. The demo, the load generator and the examples all use it. For messages in a platform's own format there is
`server.format_client`.
"""

from __future__ import annotations

import asyncio
import json
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from typing import Any

from websockets.asyncio.client import ClientConnection

from server.link import MAX_BACKOFF_S, MAX_UNACKED, Link, RefusedError

__all__ = ["MAX_BACKOFF_S", "MAX_UNACKED", "IngestClient", "RefusedError"]


class IngestClient(Link):
    """Streams events of many calls over one connection.

    Args:
        url: `ws://…` or `wss://…` up to the host, or the whole address of the endpoint; of a cluster several.
        token: bearer token, or None.
        on_nack: called with each nack.

    Example:
        async with IngestClient("ws://127.0.0.1:8787") as client:
            await client.send({"type": "call.started", "call_id": "c-1"})
    """

    def __init__(
        self,
        url: str | Sequence[str],
        *,
        token: str | None = None,
        on_nack: Callable[[dict[str, Any]], None] = lambda _nack: None,
    ) -> None:
        given = (url,) if isinstance(url, str) else url
        super().__init__([item if "/v1/" in item else f"{item.rstrip('/')}/v1/ingest" for item in given], token=token)
        self._on_nack = on_nack
        self._next: dict[str, int] = {}
        self._unacked: OrderedDict[tuple[str, int], str] = OrderedDict()
        self._queue: deque[tuple[str, int]] = deque()
        self._sent: set[tuple[str, int]] = set()

    @property
    def unacked(self) -> int:
        """Events that are not acknowledged yet."""
        return len(self._unacked)

    async def send(self, event: dict[str, Any]) -> int:
        """Queues an event and numbers it; waits only when too many are unacknowledged.

        Returns:
            The event's `seq`.

        Raises:
            RefusedError: the server does not let this client in.
        """
        await self._room(MAX_UNACKED)
        call_id = event["call_id"]
        seq = self._next.get(call_id, 0)
        self._next[call_id] = seq + 1
        key = (call_id, seq)
        self._unacked[key] = _frame({**event, "seq": seq})
        self._queue.append(key)
        self._wake.set()
        return seq

    async def _resume(self, socket: ClientConnection) -> None:
        self._sent.clear()
        waiting = dict.fromkeys(call_id for call_id, _ in self._unacked)
        if waiting and self.connects > 1:
            await socket.send(json.dumps({"type": "resume", "call_ids": list(waiting)}))
            while (message := json.loads(await socket.recv()))["type"] != "resumed":
                self._take(message)
            for call_id, seq in message["calls"].items():
                if seq is not None:
                    self._drop(call_id, seq)
        self._queue = deque(self._unacked)

    async def _write(self, socket: ClientConnection) -> None:
        while True:
            while self._queue and len(self._sent) < self._window:
                key = self._queue.popleft()
                if key in self._unacked:
                    self._sent.add(key)
                    await socket.send(self._unacked[key])
            self._wake.clear()
            if not self._queue or len(self._sent) >= self._window:
                await self._wake.wait()

    def _take(self, message: dict[str, Any]) -> None:
        if message["type"] == "ack":
            self._drop(message["call_id"], message["seq"])
        elif message["type"] == "nack":
            self._on_nack(message)
            key = (message["call_id"], message["seq"])
            if message["seq"] is not None and key in self._unacked:
                self._sent.discard(key)
                if message["retry"]:
                    delay_s = message.get("retry_after_ms", 100) / 1000
                    asyncio.get_running_loop().call_later(delay_s, self._again, key)
                else:
                    del self._unacked[key]
                    self._acked.set()

    def _again(self, key: tuple[str, int]) -> None:
        if key in self._unacked:
            self._queue.append(key)
            self._wake.set()

    def _drop(self, call_id: str, upto: int) -> None:
        seq = upto
        while (key := (call_id, seq)) in self._unacked:
            del self._unacked[key]
            self._sent.discard(key)
            seq -= 1
        self._acked.set()
        self._wake.set()


def _frame(event: dict[str, Any]) -> str:
    """A text frame; a lone surrogate, which UTF-8 cannot carry, goes escaped, and the server judges it."""
    text = json.dumps(event, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        return json.dumps(event)
    return text

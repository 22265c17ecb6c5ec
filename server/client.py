"""A small client of the ingest websocket: connects, sends in order, resumes after a loss, and loses nothing.

It keeps every event until it is acknowledged, waits when the window is full, and sends again from where the server says
it has come to. The demo, the load generator and the examples all use it.
"""

from __future__ import annotations

import asyncio
import json
from collections import OrderedDict, deque
from collections.abc import Callable
from types import TracebackType
from typing import Any, Final

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

MAX_BACKOFF_S: Final = 5.0
MAX_UNACKED: Final = 100_000
"""Events kept for a server that is away; beyond it `send` waits."""


class IngestClient:
    """Streams events of many calls over one connection.

    Args:
        url: `ws://…` or `wss://…` up to the host, or the whole address of the endpoint.
        token: bearer token, or None.
        on_nack: called with each nack.

    Example:
        async with IngestClient("ws://127.0.0.1:8787") as client:
            await client.send({"type": "call.started", "call_id": "c-1"})
    """

    def __init__(
        self, url: str, *, token: str | None = None, on_nack: Callable[[dict[str, Any]], None] = lambda _nack: None
    ) -> None:
        self._url = url if "/v1/" in url else f"{url.rstrip('/')}/v1/ingest"
        self._token = token
        self._on_nack = on_nack
        self._next: dict[str, int] = {}
        self._unacked: OrderedDict[tuple[str, int], str] = OrderedDict()
        self._queue: deque[tuple[str, int]] = deque()
        self._window = 1024
        self._sent: set[tuple[str, int]] = set()
        self._wake = asyncio.Event()
        self._acked = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.connects = 0

    async def __aenter__(self) -> IngestClient:
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            await self.flush()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    @property
    def unacked(self) -> int:
        """Events that are not acknowledged yet."""
        return len(self._unacked)

    async def send(self, event: dict[str, Any]) -> int:
        """Queues an event and numbers it; waits only when too many are unacknowledged.

        Returns:
            The event's `seq`.
        """
        while len(self._unacked) >= MAX_UNACKED:
            self._acked.clear()
            await self._acked.wait()
        call_id = event["call_id"]
        seq = self._next.get(call_id, 0)
        self._next[call_id] = seq + 1
        key = (call_id, seq)
        self._unacked[key] = json.dumps({**event, "seq": seq}, ensure_ascii=False)
        self._queue.append(key)
        self._wake.set()
        return seq

    async def flush(self, timeout_s: float = 60) -> None:
        """Waits until everything is acknowledged.

        Raises:
            TimeoutError: it took longer than `timeout_s`.
        """
        async with asyncio.timeout(timeout_s):
            while self._unacked:
                self._acked.clear()
                await self._acked.wait()

    async def _run(self) -> None:
        backoff_s = 0.1
        while True:
            try:
                headers = {"Authorization": f"Bearer {self._token}"} if self._token else {}
                async with connect(self._url, additional_headers=headers, max_size=None) as socket:
                    self.connects += 1
                    backoff_s = 0.1
                    await self._talk(socket)
            except (OSError, ConnectionClosed, InvalidHandshake, TimeoutError):
                await asyncio.sleep(backoff_s)
                backoff_s = min(MAX_BACKOFF_S, backoff_s * 2)

    async def _talk(self, socket: ClientConnection) -> None:
        welcome = json.loads(await socket.recv())
        self._window = welcome["window"]
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
        reader = asyncio.create_task(self._read(socket))
        writer = asyncio.create_task(self._write(socket))
        try:
            await asyncio.wait({reader, writer}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            ended = [task for task in (reader, writer) if task.done()]
            reader.cancel()
            writer.cancel()
            await asyncio.gather(reader, writer, return_exceptions=True)
        for task in ended:
            task.result()

    async def _read(self, socket: ClientConnection) -> None:
        async for text in socket:
            self._take(json.loads(text))

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

"""A client's connection to a websocket of this server: opened again with growing pauses whenever it is lost.

What is sent and how it is resumed is the business of `client.py` (events) and `format_client.py` (platforms' messages).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Final, Self

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidURI

MIN_BACKOFF_S: Final = 0.1
MAX_BACKOFF_S: Final = 5.0
MAX_UNACKED: Final = 100_000
"""What is kept for a server that is away; beyond it `send` waits."""
CLOSE_POLICY: Final = 1008
PING_S: Final = 10.0
"""So often it asks whether the server is alive, and so long it waits for the answer: a server that stands still keeps its
connections, and holds up a client with other servers to go to for no longer than both. The library's own pings wait for room in
the socket without a limit, and then for the other side to close."""
OPEN_S: Final = 5.0
"""For a server to let a client in: one that stands still takes connections, too."""


class RefusedError(ConnectionError):
    """The server does not let this client in: token, role, or address are wrong. Trying again would not help."""


class UnreachableError(ConnectionError):
    """Nobody answered at the address; says which, and why the last try failed."""


class Link(ABC):
    """A connection that comes back.

    Args:
        urls: of the endpoint; where there are several, of one cluster, the next is tried whenever one is lost.
        token: bearer token, or None.
    """

    def __init__(self, urls: Sequence[str], *, token: str | None) -> None:
        self._urls = urls
        self._at = 0
        self._token = token
        self._window = 1024
        self._wake = asyncio.Event()
        self._acked = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._refusal: RefusedError | None = None
        self._failure = ""
        self.connects = 0

    @property
    def _url(self) -> str:
        return self._urls[self._at % len(self._urls)]

    @property
    @abstractmethod
    def unacked(self) -> int:
        """What is not acknowledged yet."""

    @abstractmethod
    async def _resume(self, socket: ClientConnection) -> None:
        """Settles after the welcome what the server has, and queues what it lacks."""

    @abstractmethod
    async def _write(self, socket: ClientConnection) -> None:
        """Sends what is queued, for ever."""

    @abstractmethod
    def _take(self, message: dict[str, Any]) -> None:
        """Takes an answer of the server."""

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                await self.flush()
        finally:
            if self._task is not None:
                self._task.cancel()
                await asyncio.gather(self._task, return_exceptions=True)

    async def reach(self, timeout_s: float = 10) -> None:
        """Waits for the first connection, for those who would rather know than wait.

        Raises:
            UnreachableError: there was none within `timeout_s`.
            RefusedError: the server does not let this client in.
        """
        try:
            async with asyncio.timeout(timeout_s):
                while not self.connects:
                    if self._refusal is not None:
                        raise self._refusal
                    self._acked.clear()
                    await self._acked.wait()
        except TimeoutError:
            address = self._url.partition("?")[0]
            raise UnreachableError(f"{address}: no connection within {timeout_s:g} s: {self._failure}") from None

    async def flush(self, timeout_s: float = 60) -> None:
        """Waits until everything is acknowledged.

        Raises:
            TimeoutError: it took longer than `timeout_s`.
            RefusedError: the server does not let this client in.
        """
        async with asyncio.timeout(timeout_s):
            await self._room(1)

    async def _room(self, limit: int) -> None:
        """Waits until fewer than `limit` are unacknowledged."""
        while True:
            if self._refusal is not None:
                raise self._refusal
            if self.unacked < limit:
                return
            self._acked.clear()
            await self._acked.wait()

    async def _run(self) -> None:
        backoff_s = MIN_BACKOFF_S
        while self._refusal is None:
            try:
                headers = {"Authorization": f"Bearer {self._token}"} if self._token else {}
                async with connect(
                    self._url,
                    additional_headers=headers,
                    max_size=None,
                    open_timeout=OPEN_S,
                    ping_interval=None,
                ) as socket:
                    watching = asyncio.create_task(_leave_if_still(socket))
                    try:
                        welcome = json.loads(await socket.recv())
                        self.connects += 1
                        self._acked.set()
                        backoff_s = MIN_BACKOFF_S
                        self._window = welcome["window"]
                        await self._resume(socket)
                        await self._talk(socket)
                    finally:
                        watching.cancel()
            except InvalidURI:
                self._refusal = RefusedError("address: expected ws://HOST:PORT or wss://HOST:PORT")
                self._acked.set()
            except (OSError, ConnectionClosed, InvalidHandshake, TimeoutError) as error:
                self._failure = str(error) or type(error).__name__
                if isinstance(error, ConnectionClosed) and error.rcvd is not None and error.rcvd.code == CLOSE_POLICY:
                    self._refusal = RefusedError(f"refused: {error.rcvd.reason}")
                    self._acked.set()
                    return
                self._at += 1
                await asyncio.sleep(backoff_s)
                backoff_s = min(MAX_BACKOFF_S, backoff_s * 2)

    async def _talk(self, socket: ClientConnection) -> None:
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
        # Iterating would swallow the close, whose code says whether to come back.
        while True:
            self._take(json.loads(await socket.recv()))


async def _leave_if_still(socket: ClientConnection) -> None:
    """Cuts a connection whose other end answers no ping any more."""
    with contextlib.suppress(ConnectionClosed):
        while True:
            await asyncio.sleep(PING_S)
            try:
                async with asyncio.timeout(PING_S):
                    await (await socket.ping())
            except TimeoutError:
                socket.transport.abort()
                return

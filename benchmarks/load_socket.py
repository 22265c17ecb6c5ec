"""A websocket client for load: as few microseconds as may be, so that the sender keeps its schedule on a busy machine.

Knows frames and nothing of what is in them. It masks with a key of zeros, which RFC 6455 § 5.3 leaves to the client; the
server unmasks all the same. Text frames in one piece, no extensions.
"""

from __future__ import annotations

import asyncio
import base64
import os
import struct
from collections.abc import Callable
from typing import Any

MAX_SMALL = 125
MAX_MEDIUM = 65_535


def frame(payload: bytes, opcode: int = 1) -> bytes:
    """A whole client frame; opcode 1 is text, 8 close, 10 pong."""
    size = len(payload)
    if size <= MAX_SMALL:
        return struct.pack("!BBI", 0x80 | opcode, 0x80 | size, 0) + payload
    if size <= MAX_MEDIUM:
        return struct.pack("!BBHI", 0x80 | opcode, 0x80 | 126, size, 0) + payload
    return struct.pack("!BBQI", 0x80 | opcode, 0x80 | 127, size, 0) + payload


class LoadSocket(asyncio.Protocol):
    """One connection.

    Args:
        port: of the server on loopback.
        path: of the endpoint, with its query.
        received: hears of each text message.
        closed: hears that the connection is gone, for whatever reason.
    """

    def __init__(
        self, port: int, path: str, received: Callable[[bytes], None], closed: Callable[[], None] = lambda: None
    ) -> None:
        self._port = port
        self._path = path
        self._received = received
        self._closed = closed
        self._buffer = b""
        self._transport: Any = None
        self._opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.open = False

    async def connect(self) -> LoadSocket:
        """Opens it and shakes hands.

        Raises:
            ConnectionError: the server does not answer with 101.
        """
        await asyncio.get_running_loop().create_connection(lambda: self, "127.0.0.1", self._port)
        await self._opened
        return self

    def send(self, payload: bytes) -> None:
        """Sends a text frame; what the peer does not read waits here."""
        self._transport.write(frame(payload))

    def abort(self) -> None:
        """Drops the connection as a broken network would."""
        self._transport.abort()

    def close(self) -> None:
        """Says good-bye and closes."""
        if self.open:
            self._transport.write(frame(struct.pack("!H", 1000), opcode=8))
        self._transport.close()

    def connection_made(self, transport: Any) -> None:
        """Asks for the upgrade."""
        self._transport = transport
        key = base64.b64encode(os.urandom(16)).decode()
        transport.write(
            f"GET {self._path} HTTP/1.1\r\nHost: 127.0.0.1:{self._port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )

    def data_received(self, data: bytes) -> None:
        """Takes bytes off the wire."""
        data = self._buffer + data if self._buffer else data
        if not self.open:
            head, end, data = data.partition(b"\r\n\r\n")
            if not end:
                self._buffer = head
                return
            if b" 101 " not in head[:20]:
                self._opened.set_exception(ConnectionError("the server did not upgrade the connection"))
                self._transport.close()
                return
            self.open = True
            self._opened.set_result(None)
        self._buffer = self._frames(data)

    def _frames(self, data: bytes) -> bytes:
        """Hands out the whole frames; returns the rest."""
        at, size = 0, len(data)
        while size - at >= 2:
            opcode, length, start = data[at] & 15, data[at + 1], at + 2
            if length == 126:
                start += 2
                length = int.from_bytes(data[at + 2 : start], "big")
            elif length == 127:
                start += 8
                length = int.from_bytes(data[at + 2 : start], "big")
            if size < start + length:
                break
            at = start + length
            if opcode == 1:
                self._received(data[start:at])
            elif opcode == 9:
                self._transport.write(frame(data[start:at], opcode=10))
        return data[at:]

    def connection_lost(self, error: Exception | None) -> None:
        """The connection is gone."""
        self.open = False
        if not self._opened.done():
            self._opened.set_exception(ConnectionError("closed while shaking hands"))
            self._opened.exception()
        self._closed()

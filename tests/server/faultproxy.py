"""A TCP proxy that does to a connection what networks do: delays, splits at any byte, drops what is under way, cuts."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

LONGEST_PIECE = 400


class FaultProxy:
    """Passes bytes both ways, badly.

    Args:
        port: of the server on loopback.
        seed: of the faults.
        cut_share: chance that a piece is lost and its connection with it; bytes never change and never swap, TCP sees to that.
        delay_s: longest pause before a piece.
    """

    def __init__(self, port: int, seed: int, *, cut_share: float = 0.02, delay_s: float = 0.003) -> None:
        self._target = port
        self._chance = random.Random(seed)
        self._cut_share = cut_share
        self._delay_s = delay_s
        self._writers: set[asyncio.StreamWriter] = set()
        self.honest = False
        self.connections = self.cuts = self.pieces = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection to its end."""
        self.connections += 1
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            writer.close()
            return
        ends = {writer, far_writer}
        self._writers |= ends
        ways = [
            asyncio.ensure_future(self._pass(reader, far_writer)),
            asyncio.ensure_future(self._pass(far_reader, writer)),
        ]
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)
        for end in ends:
            end.transport.abort()
        self._writers -= ends

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                while data:
                    size = len(data) if self.honest else self._chance.randint(1, LONGEST_PIECE)
                    piece, data = data[:size], data[size:]
                    if not self.honest:
                        if self._chance.random() < self._cut_share:
                            self.cuts += 1
                            return
                        if self._chance.random() < 0.2:
                            await asyncio.sleep(self._chance.random() * self._delay_s)
                    self.pieces += 1
                    writer.write(piece)
                    await writer.drain()


@asynccontextmanager
async def faults(port: int, seed: int, **fields: float) -> AsyncIterator[tuple[FaultProxy, int]]:
    """Yields the proxy and its port."""
    proxy = FaultProxy(port, seed, **fields)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    async with server:
        yield proxy, server.sockets[0].getsockname()[1]
        server.close()
        for writer in list(proxy._writers):
            writer.transport.abort()
        await asyncio.sleep(0)

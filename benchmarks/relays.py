"""The wires between NATS servers, so that one can be cut off from the others as a broken network would do it.

Each server reaches each other one through a relay of its own. A server that is cut off hears nothing more and is not heard, though all
its connections stay open, and its clients still reach it; what was on its way arrives when the wires are mended.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Sequence
from functools import partial

from benchmarks.servers import free_port


class Relays:
    """Relays on a thread of their own, for servers are started by blocking calls.

    Args:
        routes: port of each server for the others.
    """

    def __init__(self, routes: Sequence[int]) -> None:
        self._routes = routes
        self._ports = {(a, b): free_port() for a in range(len(routes)) for b in range(len(routes)) if a != b}
        self._open = [asyncio.Event() for _ in routes]
        self._loop = asyncio.new_event_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._servers: list[asyncio.Server] = []
        self._thread = threading.Thread(target=self._loop.run_forever, name="relays", daemon=True)

    def to_others(self, server: int) -> list[int]:
        """The ports by which a server reaches the others."""
        return [port for (a, _), port in self._ports.items() if a == server]

    def __enter__(self) -> Relays:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(5)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(5)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()

    def cut(self, server: int) -> None:
        """Cuts one server off from the others."""
        self._loop.call_soon_threadsafe(self._open[server].clear)

    def mend(self, server: int) -> None:
        """Lets it be heard again."""
        self._loop.call_soon_threadsafe(self._open[server].set)

    async def _listen(self) -> None:
        for event in self._open:
            event.set()
        for (a, b), port in self._ports.items():
            serve = partial(self._serve, a, b)
            self._servers.append(await asyncio.start_server(serve, "127.0.0.1", port))

    async def _end(self) -> None:
        for server in self._servers:
            server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, a: int, b: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        with contextlib.suppress(OSError, asyncio.CancelledError), contextlib.closing(writer):
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._routes[b])
            with contextlib.closing(far_writer):
                ways = [
                    asyncio.ensure_future(self._pass(*way, a, b))
                    for way in ((reader, far_writer), (far_reader, writer))
                ]
                try:
                    await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    for one in ways:
                        one.cancel()
                    await asyncio.gather(*ways, return_exceptions=True)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, a: int, b: int) -> None:
        while data := await reader.read(65_536):
            await self._open[a].wait()
            await self._open[b].wait()
            writer.write(data)
            await writer.drain()

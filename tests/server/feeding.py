"""A whole application without a network: connections are queues, the disk and the clock obey the test.

The disk can be slow (what was appended waits), fail (the next batch is lost and its callers are told) or be pulled (what
waited is lost and nobody is told, as when the process is killed). Everything above it is the product's own.
"""

from __future__ import annotations

import asyncio
import json
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from server.app import Mamori, create_app
from server.errors import StorageError
from server.settings import Settings
from server.storage.embedded import EmbeddedLog
from server.storage.port import Batch, Committed
from tests.server.running import ScriptedScorer

SETTLE_S = 20


class Clock:
    """Stands still until it is moved; far ahead of the engine's own, so that no score expires by itself."""

    def __init__(self) -> None:
        self.now_s = 1e9
        self._utc_ms = 1_764_000_000_000

    def monotonic(self) -> float:
        return self.now_s

    def utc_ms(self) -> int:
        self._utc_ms += 1
        return self._utc_ms + round((self.now_s - 1e9) * 1000)


class Disk(EmbeddedLog):
    """The embedded log on a disk that obeys."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        super().__init__(folder, now_ms=clock.utc_ms)
        self._waiting: list[tuple[Batch, Future[Committed], bool]] | None = None
        self._failing = 0

    @property
    def slow(self) -> bool:
        return self._waiting is not None

    @property
    def failing(self) -> bool:
        return self._failing > 0

    def append(self, batch: Batch) -> Future[Committed]:
        fails = self._failing > 0 and any(row.seq is not None for row in batch.rows)
        self._failing -= fails
        future: Future[Committed] = Future()
        if self._waiting is not None:
            self._waiting.append((batch, future, fails))
        else:
            self._pass(batch, future, fails)
        return future

    def _pass(self, batch: Batch, future: Future[Committed], fails: bool) -> None:
        if fails:
            future.set_exception(StorageError("the disk obeys the test"))
            return
        super().append(batch).add_done_callback(lambda done: future.set_result(done.result()))

    def hold(self) -> None:
        self._waiting = []

    def release_first(self) -> None:
        if self._waiting:
            self._pass(*self._waiting.pop(0))

    def release(self) -> None:
        waiting, self._waiting = self._waiting or [], None
        for item in waiting:
            self._pass(*item)

    def fail_next(self) -> None:
        self._failing = 1

    def pull(self) -> None:
        self._waiting = []
        self.close()


class Wire:
    """One ingest connection."""

    def __init__(self, app: Mamori) -> None:
        self._to_app: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.heard: list[dict[str, Any]] = []
        self.codes: list[int] = []
        scope = {"type": "websocket", "path": "/v1/ingest", "query_string": b"", "headers": [(b"host", b"127.0.0.1")]}
        self._to_app.put_nowait({"type": "websocket.connect"})
        self._task = asyncio.create_task(app(scope, self._to_app.get, self._send))

    @property
    def unread(self) -> bool:
        """Whether frames wait for the application."""
        return not self._to_app.empty()

    async def _send(self, message: Any) -> None:
        if message["type"] == "websocket.send":
            self.heard.append(json.loads(message["text"]))
        elif message["type"] == "websocket.close":
            self.codes.append(message["code"])

    def say(self, *messages: Any) -> None:
        for message in messages:
            self._to_app.put_nowait({"type": "websocket.receive", "text": json.dumps(message, ensure_ascii=False)})

    async def leave(self) -> None:
        self._to_app.put_nowait({"type": "websocket.disconnect", "code": 1006})
        await self._task

    async def ask(self, kind: str, *messages: Any) -> dict[str, Any]:
        """Says something and waits for the next message of a kind."""
        before = len(self.heard)
        self.say(*messages)
        async with asyncio.timeout(SETTLE_S):
            while not (found := [item for item in self.heard[before:] if item["type"] == kind]):
                await asyncio.sleep(0.0005)
        return found[0]


class House:
    """Application, disk and clock over one data folder."""

    def __init__(self, folder: Path, **fields: Any) -> None:
        self._folder = folder
        self._fields = fields
        self.clock = Clock()

    async def start(self) -> None:
        self.disk = Disk(self._folder, self.clock)
        self.app = create_app(Settings(data_dir=self._folder, **self._fields), scorer=ScriptedScorer(), log=self.disk)
        self.app.runtime.clock = self.clock
        self._life = self.app.api.router.lifespan_context(self.app.api)
        await self._life.__aenter__()

    async def stop(self) -> None:
        self.disk.release()
        await self._life.__aexit__(None, None, None)

    async def kill(self) -> None:
        """What was not durable is lost; nothing is written any more."""
        self.disk.pull()
        runtime = self.app.runtime
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        runtime.engine.close()

    async def later(self, seconds: float) -> None:
        """Time passes, and the runtime's clockwork turns once."""
        self.clock.now_s += seconds
        await asyncio.sleep(0.12)

    async def settle(self, *wires: Wire) -> None:
        """Lets everything happen that can happen without time or disk."""
        runtime, quiet = self.app.runtime, 0
        async with asyncio.timeout(SETTLE_S):
            while quiet < 4:
                await asyncio.sleep(0.0005)
                waits = runtime.writer.outstanding and not self.disk.slow
                scoring = any(call.requests for call in runtime.calls.values())
                quiet = 0 if waits or scoring or any(wire.unread for wire in wires) else quiet + 1

    async def over(self) -> None:
        """Waits until no call is live: each has ended, and what follows from its end is durable."""
        async with asyncio.timeout(SETTLE_S):
            while self.app.runtime.calls:
                await asyncio.sleep(0.001)

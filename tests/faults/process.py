"""A server process with real clients around it, and what can be seen of its state from outside."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
from websockets.asyncio.client import connect

from benchmarks.crash import Process
from server.client import IngestClient
from server.storage.daylog import DayLog
from server.storage.statedb import StateDatabase, open_engine
from tests.server.running import Supervisor, said, started

WAIT_S = 30
THREAT = "殺すぞ、お前の家に火をつけてやる"
CALM = "荷物がまだ届いていないので調べてください"


class Floor:
    """The process, a platform that follows the protocol, and a supervisor who hears of every call."""

    def __init__(self, process: Process, switches: Path, data_dir: Path) -> None:
        self.process = process
        self.data_dir = data_dir
        self._switches = switches
        self.heard: list[dict[str, Any]] = []
        self.statuses: dict[str, dict[str, Any]] = {}
        self.nacks: list[dict[str, Any]] = []
        self.http = httpx.AsyncClient(base_url=f"http://127.0.0.1:{process.port}", timeout=20)
        self.client = self.platform()
        self._numbers: dict[str, int] = {}
        self._news = asyncio.Event()

    def platform(self) -> IngestClient:
        return IngestClient(f"ws://127.0.0.1:{self.process.port}", on_nack=self.nacks.append)

    def url(self, path: str) -> str:
        return f"ws://127.0.0.1:{self.process.port}{path}"

    # Faults.

    def on(self, name: str, text: object = "") -> None:
        part = self._switches / f".{name}"
        part.write_text(str(text), encoding="utf-8")
        part.rename(self._switches / name)

    def off(self, name: str) -> None:
        (self._switches / name).unlink()

    async def struck(self, name: str) -> None:
        """Waits until a fault that strikes once has done so."""
        await eventually(lambda: not (self._switches / name).exists())

    # What calls do.

    async def start(self, *call_ids: str) -> None:
        for call_id in call_ids:
            self._numbers[call_id] = 0
            await self.client.send(unnumbered(started(call_id=call_id)))

    async def say(self, call_id: str, text: str, speaker: str = "customer") -> None:
        self._numbers[call_id] += 1
        number = self._numbers[call_id]
        await self.client.send(unnumbered(said(number, text, call_id=call_id, speaker=speaker)))

    # What is seen.

    async def listen(self) -> None:
        """Follows the alert stream as the console does, over restarts."""
        after = ""
        while True:
            with contextlib.suppress(OSError, Exception):
                async with connect(self.url(f"/v1/alerts?calls=1{after}"), max_size=None) as socket:
                    async for text in socket:
                        message = json.loads(text)
                        if "cursor" in message:
                            after = f"&after={message['cursor']}"
                        if message["type"] == "call.status":
                            self.statuses[message["call_id"]] = message
                        else:
                            self.heard.append(message)
                        self._news.set()
            await asyncio.sleep(0.1)

    async def hears(self, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Waits for a message of the alert stream, heard before or to come."""
        seen = 0
        async with asyncio.timeout(WAIT_S):
            while True:
                self._news.clear()
                for message in self.heard[seen:]:
                    if wanted(message):
                        return message
                seen = len(self.heard)
                await self._news.wait()

    async def hears_alert(self, call_id: str, kind: str = "abuse") -> dict[str, Any]:
        return await self.hears(
            lambda message: (
                message["type"] == "alert.raised"
                and (message["alert"]["call_id"], message["alert"]["kind"]) == (call_id, kind)
            )
        )

    async def monitoring(self, call_id: str, state: str) -> dict[str, Any]:
        """Waits until the console shows this state of a call."""
        await eventually(lambda: self.statuses.get(call_id, {}).get("monitoring", {}).get("state") == state)
        found: dict[str, Any] = self.statuses[call_id]["monitoring"]
        return found

    async def ready(self) -> tuple[int, dict[str, str]]:
        answer = await self.http.get("/readyz")
        return answer.status_code, answer.json()["checks"]

    async def check(self, name: str, *values: str) -> float:
        """Waits until a check of `/readyz` says one of these; seconds that took."""
        began_s = time.monotonic()
        async with asyncio.timeout(WAIT_S):
            while (await self.ready())[1].get(name) not in values:
                await asyncio.sleep(0.05)
        return time.monotonic() - began_s

    async def metric(self, line: str) -> float:
        """The value of a metric with its labels, 0 while it is not there."""
        for found in (await self.http.get("/metrics")).text.splitlines():
            if found.rpartition(" ")[0] == line:
                return float(found.rpartition(" ")[2])
        return 0.0

    def stored(self, call_id: str) -> list[int]:
        """The numbers of a call's events in the log that count, after the process has ended."""
        state = StateDatabase(open_engine(self.data_dir / "state.sqlite"))
        record = state.find_call("default", call_id)
        state.engine.dispose()
        if record is None:
            return []
        kept: list[int] = []
        for item in DayLog(self.data_dir / "log").read_call("default", record.instance):
            if item.row.seq == len(kept):
                kept.append(item.row.seq)
        return kept


def unnumbered(event: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in event.items() if key != "seq"}


async def eventually(true: Callable[[], Any], within_s: float = WAIT_S) -> None:
    async with asyncio.timeout(within_s):
        while not true():
            await asyncio.sleep(0.02)


@asynccontextmanager
async def floor(folder: Path, *options: str, data_dir: Path | None = None, **env: str) -> AsyncIterator[Floor]:
    """A server that breaks on demand."""
    switches = folder / "switches"
    switches.mkdir(exist_ok=True)
    data_dir = data_dir or folder / "data"
    process = Process(data_dir, "tests.faults.faulty", str(switches), options=options, env=env)
    await process.start()
    found = Floor(process, switches, data_dir)
    listening = asyncio.create_task(found.listen())
    try:
        async with found.http, found.client:
            yield found
    finally:
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
        await process.kill(signal.SIGKILL)


__all__ = ["CALM", "THREAT", "WAIT_S", "Floor", "Supervisor", "eventually", "floor", "unnumbered"]

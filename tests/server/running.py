"""The real application on a real port, with the scripted scorer, and small real clients."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import uvicorn
from websockets.asyncio.client import ClientConnection, connect

from detector.scoring import ScoreRequest, ScoreResult
from server.app import Mamori, create_app
from server.keepalive import PatientProtocol
from server.settings import Settings
from tests.detector.scripted import score

WAIT_S = 10
OVER_S = 60


class ScriptedScorer:
    """Answers from the words."""

    model_version = "scripted"

    def score(self, requests: Sequence[ScoreRequest]) -> list[ScoreResult]:
        return score(requests)


class Running:
    """A server that listens."""

    def __init__(self, app: Mamori, server: uvicorn.Server, task: asyncio.Task[None]) -> None:
        self.app = app
        self._server = server
        self._task = task
        self.port = server.servers[0].sockets[0].getsockname()[1]

    @property
    def http(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def url(self, path: str) -> str:
        return f"ws://127.0.0.1:{self.port}{path}"

    async def stop(self) -> None:
        self._server.should_exit = True
        await self._task


async def start(folder: Path, *, scorer: Any = None, **fields: Any) -> Running:
    settings = Settings(data_dir=folder, **fields)
    app = create_app(settings, scorer=scorer or ScriptedScorer())
    config = uvicorn.Config(
        app, host="127.0.0.1", port=0, ws=PatientProtocol, ws_max_size=settings.max_frame_bytes, log_level="error",
        ws_per_message_deflate=False,
    )  # fmt: skip
    server = uvicorn.Server(config)
    server.install_signal_handlers = lambda: None
    task = asyncio.create_task(server.serve())
    while not server.started:
        assert not task.done()
        await asyncio.sleep(0.01)
    return Running(app, server, task)


@asynccontextmanager
async def serving(folder: Path, **fields: Any) -> AsyncIterator[Running]:
    running = await start(folder, **fields)
    try:
        yield running
    finally:
        await running.stop()


async def over(running: Running, call_id: str = "", tenant: str = "default") -> None:
    """Waits until a call, or every call, is over for good: scored to its end, and its end durable.

    An acknowledgement says only that an event is durable: its score, and what follows from that, come later.
    """
    calls = running.app.runtime.calls
    async with asyncio.timeout(OVER_S):
        while (tenant, call_id) in calls if call_id else calls:
            await asyncio.sleep(0.01)


class Platform:
    """An ingest connection that remembers what it was told."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.acks: dict[str, int] = {}
        self.nacks: list[dict[str, Any]] = []
        self.others: list[dict[str, Any]] = []

    async def send(self, *events: Any) -> None:
        for event in events:
            await self.socket.send(event if isinstance(event, str | bytes) else json.dumps(event, ensure_ascii=False))

    async def read(self) -> dict[str, Any]:
        message = json.loads(await asyncio.wait_for(self.socket.recv(), WAIT_S))
        if message["type"] == "ack":
            self.acks[message["call_id"]] = message["seq"]
        elif message["type"] == "nack":
            self.nacks.append(message)
        else:
            self.others.append(message)
        return message

    async def acked(self, seq: int, call_id: str = "c-1") -> None:
        while self.acks.get(call_id, -1) < seq:
            await self.read()

    async def nacked(self, count: int = 1) -> dict[str, Any]:
        while len(self.nacks) < count:
            await self.read()
        return self.nacks[count - 1]


@asynccontextmanager
async def platform(running: Running, **headers: str) -> AsyncIterator[Platform]:
    async with connect(running.url("/v1/ingest"), additional_headers=headers) as socket:
        peer = Platform(socket)
        assert (await peer.read())["type"] == "welcome"
        yield peer


@asynccontextmanager
async def supervisor(running: Running, query: str = "", **headers: str) -> AsyncIterator[Supervisor]:
    async with connect(running.url(f"/v1/alerts{query}"), additional_headers=headers) as socket:
        yield Supervisor(socket)


class Supervisor:
    """An alert connection."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self._ref = 0

    async def read(self) -> dict[str, Any]:
        message: dict[str, Any] = json.loads(await asyncio.wait_for(self.socket.recv(), WAIT_S))
        return message

    async def until(self, kind: str) -> dict[str, Any]:
        while (message := await self.read())["type"] != kind:
            pass
        return message

    async def command(self, **fields: Any) -> dict[str, Any]:
        self._ref += 1
        await self.socket.send(json.dumps({**fields, "ref": str(self._ref)}))
        while True:
            message = await self.read()
            if message.get("ref") == str(self._ref):
                return message


def started(seq: int = 0, call_id: str = "c-1", **fields: Any) -> dict[str, Any]:
    return {"type": "call.started", "call_id": call_id, "seq": seq, "language": "ja", "queue": "billing", **fields}


def said(
    seq: int | None, text: str, *, call_id: str = "c-1", speaker: str = "customer", **fields: Any
) -> dict[str, Any]:
    number = 0 if seq is None else seq
    event = {
        "type": "transcript.segment",
        "call_id": call_id,
        "seq": seq,
        "segment_id": f"s{number}",
        "speaker": speaker,
        "text": text,
        "start_ms": number * 5000,
        "end_ms": number * 5000 + 2000,
        **fields,
    }
    return {key: value for key, value in event.items() if value is not None}


def ended(seq: int, call_id: str = "c-1") -> dict[str, Any]:
    return {"type": "call.ended", "call_id": call_id, "seq": seq, "offset_ms": seq * 5000 + 3000}

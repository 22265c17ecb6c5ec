"""The pull client against a stand-in of Genesys' API and websocket, and our real server."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from detector.adapters.registry import BUNDLED
from server import genesys_pull
from server.errors import SetupError
from server.format_client import FormatClient
from server.genesys_pull import MAX_TOPICS, GenesysAccount, GenesysPull, Topics
from tests.detector.adapters.telling import STARTED_MS, call, told
from tests.server.running import serving

QUEUE = "v2.routing.queues.q1.conversations.calls"


class Genesys:
    """Grants tokens, opens channels, notes subscriptions, and says what it is told to."""

    def __init__(self) -> None:
        self.port = 0
        self.refuse = False
        self.channels = 0
        self.topics: dict[str, list[str]] = {}
        self.sockets: dict[str, WebSocket] = {}
        self.pings = 0
        self.app = Starlette(
            routes=[
                Route("/oauth/token", self.token, methods=["POST"]),
                Route("/api/v2/notifications/channels", self.channel, methods=["POST"]),
                Route("/api/v2/notifications/channels/{id}/subscriptions", self.subscribe, methods=["PUT"]),
                WebSocketRoute("/channels/{id}", self.socket),
            ]
        )

    async def token(self, request: Request) -> JSONResponse:
        assert request.headers["authorization"].startswith("Basic ")
        return JSONResponse({"access_token": "t", "expires_in": 86400}, status_code=401 if self.refuse else 200)

    async def channel(self, request: Request) -> JSONResponse:
        assert request.headers["authorization"] == "Bearer t"
        self.channels += 1
        name = f"ch-{self.channels}"
        uri = f"ws://127.0.0.1:{self.port}/channels/{name}"
        return JSONResponse({"id": name, "connectUri": uri, "expires": "2999-01-01T00:00:00.000Z"})

    async def subscribe(self, request: Request) -> JSONResponse:
        self.topics[request.path_params["id"]] = [topic["id"] for topic in await request.json()]
        return JSONResponse({"entities": []})

    async def socket(self, socket: WebSocket) -> None:
        await socket.accept()
        self.sockets[socket.path_params["id"]] = socket
        async for text in socket.iter_text():
            self.pings += json.loads(text) == {"message": "ping"}
            await socket.send_json({"topicName": "channel.metadata", "eventBody": {"message": "pong"}})

    async def until(self, channel: str, topics: list[str]) -> WebSocket:
        for _ in range(500):
            if self.topics.get(channel) == topics and channel in self.sockets:
                return self.sockets[channel]
            await asyncio.sleep(0.01)
        raise AssertionError(self.topics)


def conversation(state: str) -> dict[str, Any]:
    people = [{"purpose": "customer", "calls": [{"state": state}]}, {"purpose": "agent", "calls": [{"state": state}]}]
    return {"topicName": QUEUE, "eventBody": {"id": "c-1", "participants": people}}


@pytest.fixture
async def genesys():
    stand_in = Genesys()
    server = uvicorn.Server(
        uvicorn.Config(stand_in.app, host="127.0.0.1", port=0, ws="websockets-sansio", log_level="error")
    )
    task = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    stand_in.port = server.servers[0].sockets[0].getsockname()[1]
    yield stand_in
    server.should_exit = True
    await task


def account(genesys: Genesys) -> GenesysAccount:
    base = f"http://127.0.0.1:{genesys.port}"
    return GenesysAccount(
        region="x", client_id="id", client_secret="secret", queues=("q1",), login_url=base, api_url=base
    )


async def test_a_call_is_followed_over_a_closing_socket_and_its_topic_dropped_at_its_end(
    tmp_path, genesys, monkeypatch
):
    monkeypatch.setattr(genesys_pull, "PING_S", 0.02)
    messages = [data.decode() for data, _ in told(BUNDLED["genesys"], call(partials=False))]
    transcription = "v2.conversations.c-1.transcription"
    async with (
        serving(tmp_path) as running,
        httpx.AsyncClient() as http,
        FormatClient(running.url(""), "genesys") as onward,
    ):
        pull = GenesysPull(account(genesys), onward, http)
        task = asyncio.create_task(pull.run())
        socket = await genesys.until("ch-1", [QUEUE])
        await socket.send_json(conversation("connected"))
        await genesys.until("ch-1", [QUEUE, transcription])
        for message in messages[:3]:
            await socket.send_text(message)
        await socket.send_json({"topicName": "v2.system.socket_closing", "eventBody": {"message": "bye"}})
        socket = await genesys.until("ch-2", [QUEUE, transcription])
        for message in messages[2:]:
            await socket.send_text(message)
        await socket.send_json(conversation("terminated"))
        await genesys.until("ch-2", [QUEUE])
        while not genesys.pings:
            await asyncio.sleep(0.01)
        await onward.flush()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        record = running.app.runtime.log.find_call("default", "c-1")
        while record.ended_ms is None:
            await asyncio.sleep(0.01)
            record = running.app.runtime.log.find_call("default", "c-1")
        assert record.started_ms == STARTED_MS
        assert (pull.connects, pull.messages) == (2, len(messages) + 1)
        found = running.app.runtime.log.alerts("default", open_only=False)
        assert [(alert.kind.value, alert.level.value) for alert in found] == [("abuse", "critical")]


async def test_a_silent_connection_is_replaced(tmp_path, genesys, monkeypatch):
    monkeypatch.setattr(genesys_pull, "SILENCE_S", 0.05)
    monkeypatch.setattr(genesys_pull, "MIN_BACKOFF_S", 0.01)
    async with (
        serving(tmp_path) as running,
        httpx.AsyncClient() as http,
        FormatClient(running.url(""), "genesys") as onward,
    ):
        pull = GenesysPull(account(genesys), onward, http)
        task = asyncio.create_task(pull.run())
        await genesys.until("ch-2", [QUEUE])
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_refused_client_is_told_at_once(tmp_path, genesys):
    genesys.refuse = True
    async with (
        serving(tmp_path) as running,
        httpx.AsyncClient() as http,
        FormatClient(running.url(""), "genesys") as onward,
    ):
        with pytest.raises(SetupError, match="refuses the OAuth client"):
            await GenesysPull(account(genesys), onward, http).run()


def test_topics_are_bounded_and_the_oldest_goes_first():
    topics = Topics(("q1",))
    for number in range(MAX_TOPICS + 5):
        assert topics.heard(QUEUE, {"id": f"c{number}", "participants": []})
    assert len(topics.list()) == MAX_TOPICS
    assert "v2.conversations.c0.transcription" not in topics.list()
    assert not topics.heard(QUEUE, {"id": "c900"})
    assert not topics.heard("v2.other", {"id": "x"})
    assert not topics.heard(QUEUE, {"id": 5})


def test_a_secret_is_not_printed():
    assert "hush" not in repr(GenesysAccount(region="x", client_id="a", client_secret="hush"))

"""Pings: a peer that we do not read is not taken for dead, one that is gone is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvicorn
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from server.keepalive import PatientProtocol

PING_S = 0.1


@asynccontextmanager
async def serving(app: Any) -> AsyncIterator[str]:
    config = uvicorn.Config(
        app, host="127.0.0.1", port=0, ws=PatientProtocol, ws_ping_interval=PING_S, ws_ping_timeout=PING_S,
        lifespan="off", log_level="error",
    )  # fmt: skip
    server = uvicorn.Server(config)
    server.install_signal_handlers = lambda: None
    task = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    yield f"ws://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    await task


def echo_after(pause_s: float) -> Any:
    async def app(_scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        await asyncio.sleep(pause_s)
        while (message := await receive())["type"] == "websocket.receive":
            await send({"type": "websocket.send", "text": message["text"]})

    return app


async def test_who_is_not_read_for_long_is_not_taken_for_dead() -> None:
    async with serving(echo_after(20 * PING_S)) as url, connect(url, ping_interval=None) as socket:
        for number in range(50):
            await socket.send(f"{number} {'.' * 20_000}")
        heard = [await asyncio.wait_for(socket.recv(), 10) for _ in range(50)]
        assert [str(text).split()[0] for text in heard] == [str(number) for number in range(50)]


async def test_who_is_read_and_answers_no_ping_is_cut_off() -> None:
    async with serving(echo_after(0)) as url, connect(url, ping_interval=None) as socket:
        socket.transport.pause_reading()
        await asyncio.sleep(20 * PING_S)
        socket.transport.resume_reading()
        with pytest.raises(ConnectionClosed) as closed:
            await asyncio.wait_for(socket.recv(), 10)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1011

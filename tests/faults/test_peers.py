"""Peers that do not read, a receiver that hangs, an end by SIGTERM among all of them: on a real process."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from contextlib import asynccontextmanager

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from benchmarks.crash import Process
from server import link
from server.client import IngestClient
from tests.faults.process import CALM, THREAT, Floor, eventually, floor
from tests.server.running import said, started


@asynccontextmanager
async def deaf(here: Floor, path: str):
    """A raw connection that opens the websocket and then reads nothing more."""
    reader, writer = await asyncio.open_connection("127.0.0.1", here.process.port, limit=1024)
    writer.write(
        f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{here.process.port}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
    )
    assert b"101" in await reader.readline()
    reader._transport.pause_reading()
    try:
        yield writer
    finally:
        writer.transport.abort()


def frame(text: str) -> bytes:
    data = text.encode()
    head = bytes([0x81, 0x80 | len(data)]) if len(data) < 126 else bytes([0x81, 0xFE]) + len(data).to_bytes(2, "big")
    return head + bytes(4) + data


async def test_a_supervisor_who_does_not_read_holds_up_nobody(tmp_path):
    async with floor(tmp_path) as here, deaf(here, "/v1/alerts?calls=1"):
        calls = [f"c-{number}" for number in range(20)]
        await here.start(*calls)
        for call_id in calls:
            await here.say(call_id, THREAT)
        for call_id in calls:
            await here.hears_alert(call_id)
        assert (await here.ready())[0] == 200


@pytest.mark.parametrize("waiting", [2, 1_000])
async def test_a_client_leaves_a_server_that_stands_still(tmp_path, monkeypatch, waiting):
    """A stopped process keeps its connections and takes new ones: only that it does not answer tells."""
    monkeypatch.setattr(link, "PING_S", 0.5)
    monkeypatch.setattr(link, "OPEN_S", 0.5)
    first, second = Process(tmp_path / "first"), Process(tmp_path / "second")
    await asyncio.gather(first.start(), second.start())
    try:
        async with IngestClient([f"ws://127.0.0.1:{process.port}" for process in (first, second)]) as client:
            await client.reach()
            os.kill(first.pid, signal.SIGSTOP)
            stopped_s = time.monotonic()
            await client.send(started())
            for number in range(1, waiting):  # Of many the connection takes a part only, and then nothing more.
                await client.send(said(number, CALM * 100))
            await eventually(lambda: client.connects == 2)
            assert time.monotonic() - stopped_s < 5
            await client.flush()
    finally:
        os.kill(first.pid, signal.SIGCONT)
        await asyncio.gather(first.kill(), second.kill())


async def test_a_platform_that_does_not_read_is_not_read_from_and_the_others_are(tmp_path):
    async with floor(tmp_path) as here, deaf(here, "/v1/ingest") as writer:
        # Each is refused, with an answer that nobody reads, until the server does not read on.
        bad = frame(json.dumps({"type": "nonsense", "call_id": "x" * 200, "seq": None}))
        sent, stuck = 0, False
        while not stuck and sent < 400_000:
            writer.write(bad * 500)
            sent += 500
            try:
                await asyncio.wait_for(writer.drain(), 3)
            except TimeoutError:
                stuck = True
        assert stuck
        await here.start("c-1")
        await here.say("c-1", THREAT)
        await here.hears_alert("c-1")
        assert (await here.ready())[0] == 200


async def test_a_receiver_that_hangs_is_seen_and_holds_up_nobody(tmp_path):
    held: list[asyncio.StreamWriter] = []
    answering = asyncio.Event()

    async def receive(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        held.append(writer)
        await reader.read(10)
        if answering.is_set():
            writer.write(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
            await writer.drain()
            writer.close()

    server = await asyncio.start_server(receive, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    secret = tmp_path / "secret"
    secret.write_text("whsec_" + "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", encoding="utf-8")
    secret.chmod(0o600)
    settings = tmp_path / "mamori.toml"
    settings.write_text(
        f'[senders.hook]\nkind = "webhook"\nurl = "http://127.0.0.1:{port}/"\nsecret_file = "{secret}"\n'
        'allow_networks = ["127.0.0.0/8"]\ntimeout_s = 1\n',
        encoding="utf-8",
    )
    async with server, floor(tmp_path, "--config", str(settings)) as here:
        await here.start("c-1", "c-2")
        await here.say("c-1", THREAT)
        await here.hears_alert("c-1")
        await here.check("delivery", "hook:timeout")
        assert (await here.ready())[0] == 200
        assert await here.metric('mamori_check{check="delivery"}') == 0
        assert await here.metric('mamori_deliveries_total{kind="webhook",verdict="retry"}') >= 1
        await here.say("c-2", THREAT)
        await here.hears_alert("c-2")
        answering.set()
        assert await here.check("delivery", "ok") < 15  # The second attempt comes after 5 s.
        for writer in held:
            writer.close()


@pytest.mark.parametrize("path", ["/v1/ingest", "/v1/alerts", "/v1/guidance?call=c-1"])
async def test_at_sigterm_clients_are_told_to_resume(tmp_path, path):
    async with floor(tmp_path) as here, connect(here.url(path)) as socket:
        if path != "/v1/ingest":
            await here.start("c-1")
            await here.client.flush()
        await asyncio.sleep(0.2)
        began_s = time.monotonic()
        ending = asyncio.create_task(here.process.kill(signal.SIGTERM))
        with pytest.raises(ConnectionClosed) as closed:
            while True:
                await asyncio.wait_for(socket.recv(), 10)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1012
        await ending
        assert time.monotonic() - began_s < 5
        await here.process.start()


async def test_at_sigterm_what_is_durable_is_acknowledged_and_the_deaf_hold_up_nobody(tmp_path):
    async with (
        floor(tmp_path) as here,
        deaf(here, "/v1/alerts?calls=1"),
        deaf(here, "/v1/ingest") as writer,
        here.http.stream("GET", "/v1/alerts/stream"),
        connect(here.url("/v1/ingest")) as socket,
    ):
        bad = frame(json.dumps({"type": "nonsense", "call_id": "x" * 200, "seq": None}))
        writer.write(bad * 20_000)
        await socket.recv()
        for number in range(50):
            await socket.send(json.dumps(said(number, CALM) if number else started()))
        await asyncio.sleep(0.05)
        began_s = time.monotonic()
        ending = asyncio.create_task(here.process.kill(signal.SIGTERM))
        acked = -1
        with pytest.raises(ConnectionClosed):
            while True:
                message = json.loads(await asyncio.wait_for(socket.recv(), 10))
                acked = max(acked, message["seq"])
        await ending
        assert time.monotonic() - began_s < 10
        stored = here.stored("c-1")
        assert acked + 1 == len(stored) > 0  # No more was stored than they were told, and no less.
        await here.process.start()
        await eventually(lambda: here.client.connects > 1)

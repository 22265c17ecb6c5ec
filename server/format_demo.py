"""The demo's calls told in a platform's own format, over the way in that the platform would take."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final, Protocol
from urllib.parse import parse_qsl, urlencode

import httpx

from detector.adapters.frame import Format, Telling
from detector.events import CallEvent
from detector.replaying import media_time_ms
from server.format_client import FormatClient
from server.vendorposts import twilio_signature
from server.wire import decode_event

POST_ATTEMPTS: Final = 5


class Teller(Protocol):
    """Brings one call's messages to the server."""

    async def tell(self, side: str, message: bytes) -> None:
        """Sends a message; `side` names the connection of a split format."""


class _Sockets:
    def __init__(self, clients: Mapping[str, FormatClient]) -> None:
        self._clients = clients

    async def tell(self, side: str, message: bytes) -> None:
        await self._clients[side].send(message)


class _Posts:
    def __init__(self, client: httpx.AsyncClient, form: Format, path: str, *, signed_url: str, secret: str) -> None:
        self._client = client
        self._form = form
        self._path = path
        self._signed_url = signed_url
        self._secret = secret

    async def tell(self, _side: str, message: bytes) -> None:
        headers = {"Content-Type": self._form.media_type}
        if self._secret:
            fields = parse_qsl(message.decode(), keep_blank_values=True)
            headers["X-Twilio-Signature"] = twilio_signature(self._signed_url + self._path, fields, self._secret)
        for attempt in range(POST_ATTEMPTS):
            answer = await self._client.post(self._path, content=message, headers=headers)
            if answer.status_code != 503:
                answer.raise_for_status()
                return
            await asyncio.sleep(2**attempt)
        answer.raise_for_status()


class FormatStage:
    """Where the demo plays when it speaks a platform's format.

    Args:
        form: the format.
        base: `http://host:port` of the server.
        public_url: the address that signatures are over.
        secret: Twilio's auth token, or empty.
    """

    def __init__(self, form: Format, base: str, *, public_url: str = "", secret: str = "") -> None:
        self._form = form
        self._base = base
        self._public_url = public_url
        self._secret = secret
        self._shared: dict[str, FormatClient] = {}
        self._http: httpx.AsyncClient | None = None

    @asynccontextmanager
    async def open(self) -> AsyncIterator[FormatStage]:
        """Opens what all calls share."""
        async with contextlib.AsyncExitStack() as stack:
            if self._form.webhook:
                self._http = await stack.enter_async_context(httpx.AsyncClient(base_url=self._base, timeout=15))
            elif not self._form.one_call:
                for language in ("ja", "en"):
                    query = self._form.query(Telling(call_id="", language=language))
                    client = FormatClient(self._base.replace("http", "ws", 1), self._form.name, query=query)
                    self._shared[language] = await stack.enter_async_context(client)
            yield self

    async def play(self, events: Iterator[dict[str, Any]], *, call_id: str, language: str, speed: float) -> None:
        """Tells one call at `speed` times real time."""
        telling = Telling(call_id=call_id, language=language, started_ms=time.time_ns() // 1_000_000)
        loop = asyncio.get_running_loop()
        started_s = loop.time()
        told: list[CallEvent] = []
        async with self._teller(telling) as teller:
            for item in events:
                event = decode_event(item)
                await asyncio.sleep(max(0.0, started_s + (media_time_ms(event.body) or 0) / 1000 / speed - loop.time()))
                told.append(event)
                if self._form.write is not None:
                    for side in self._form.sides(event):
                        for message in self._form.write(event, telling):
                            await teller.tell(side, message)
            if self._form.write_call is not None:
                for message in self._form.write_call(told, telling):
                    await teller.tell("", message)

    @asynccontextmanager
    async def _teller(self, telling: Telling) -> AsyncIterator[Teller]:
        query = self._form.query(telling)
        if self._http is not None:
            path = f"/v1/ingest/{self._form.name}" + (f"?{urlencode(query)}" if query else "")
            yield _Posts(self._http, self._form, path, signed_url=self._public_url, secret=self._secret)
            return
        if self._shared:
            yield _Sockets({"": self._shared[telling.language]})
            return
        url = self._base.replace("http", "ws", 1)
        sides = ("customer", "agent") if self._form.split else ("",)
        async with contextlib.AsyncExitStack() as stack:
            clients = {}
            for side in sides:
                more = {"speaker": side} if side else {}
                client = FormatClient(url, self._form.name, query={**query, **more})
                clients[side] = await stack.enter_async_context(client)
            yield _Sockets(clients)

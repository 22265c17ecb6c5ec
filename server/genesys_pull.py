"""Pulls transcriptions out of Genesys Cloud's notification websocket and sends them on as they are.

Genesys pushes transcripts per conversation, and only those that a channel subscribes to. So this client subscribes to the
calls of the named queues, adds the transcription topic of each conversation that begins there, and drops it when the
conversation is over. It opens a new channel when the old one closes, expires or falls silent, with the same topics;
Genesys repeats nothing that was said in between, and the server marks such calls by itself.

Documented by Genesys (notification service, and its SDKs' listeners): OAuth client credentials, `POST
/api/v2/notifications/channels` with `connectUri` and `expires`, `PUT …/subscriptions` with the whole list of topics, at
most 1,000; `{"message":"ping"}` answered on topic `channel.metadata`; `v2.system.socket_closing` a minute before a close.
Unverified against a real organisation: the shape of a call's participants in `v2.routing.queues.{id}.conversations.calls`.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

import httpx
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from server.errors import SetupError
from server.format_client import FormatClient

MAX_TOPICS: Final = 1_000
"""Topics of one channel (Genesys' own limit)."""
PING_S: Final = 30.0
SILENCE_S: Final = 75.0
"""Without a word for so long, pongs included, a connection is taken for dead."""
RENEW_BEFORE_S: Final = 600.0
"""A channel lives for 24 hours; so long before its end a new one is opened."""
MIN_BACKOFF_S: Final = 0.5
MAX_BACKOFF_S: Final = 30.0
_OVER: Final = ("disconnected", "terminated")

_log = logging.getLogger("mamori.genesys")


@dataclass(frozen=True, slots=True, kw_only=True)
class GenesysAccount:
    """How to reach an organisation.

    Args:
        region: domain of the region, for example `mypurecloud.jp`.
        client_id, client_secret: of an OAuth client (client credentials) that may read conversations and notifications.
        queues: ids of the queues whose calls are followed.
        login_url, api_url: instead of those of the region.
    """

    region: str
    client_id: str
    client_secret: str = field(repr=False)
    queues: tuple[str, ...] = ()
    login_url: str = ""
    api_url: str = ""

    @property
    def login(self) -> str:
        """Address of the token endpoint's host."""
        return self.login_url or f"https://login.{self.region}"

    @property
    def api(self) -> str:
        """Address of the platform API."""
        return self.api_url or f"https://api.{self.region}"


class Topics:
    """What a channel subscribes to: the queues' calls, and the transcription of each conversation that is under way."""

    def __init__(self, queues: tuple[str, ...]) -> None:
        self._queues = tuple(f"v2.routing.queues.{queue}.conversations.calls" for queue in queues)
        self._conversations: OrderedDict[str, None] = OrderedDict()

    def list(self) -> list[str]:
        """All topics, at most `MAX_TOPICS`."""
        return [*self._queues, *(f"v2.conversations.{name}.transcription" for name in self._conversations)]

    def heard(self, topic: str, body: Mapping[str, Any]) -> bool:
        """Takes a notification about a queue's calls.

        Returns:
            Whether the topics changed.
        """
        name = body.get("id")
        if topic not in self._queues or not isinstance(name, str) or not name:
            return False
        if _is_over(body):
            return self._conversations.pop(name, 0) is None
        if name in self._conversations:
            self._conversations.move_to_end(name)
            return False
        while len(self._queues) + len(self._conversations) >= MAX_TOPICS:
            gone, _ = self._conversations.popitem(last=False)
            _log.error("more than %d conversations at once: one is no longer followed (%s)", MAX_TOPICS, gone)
        self._conversations[name] = None
        return True


def _is_over(body: Mapping[str, Any]) -> bool:
    """Whether every customer and every operator of a conversation has left it."""
    participants = body.get("participants")
    if not isinstance(participants, list):
        return False
    states = [
        call.get("state")
        for participant in participants
        if isinstance(participant, dict) and participant.get("purpose") in ("customer", "external", "agent", "user")
        for call in participant.get("calls") or ()
        if isinstance(call, dict)
    ]
    return bool(states) and all(state in _OVER for state in states)


class GenesysPull:
    """The client.

    Args:
        account: the organisation.
        onward: sends what was said to our server; bounded, so a server that is away slows this down.
        http: for Genesys' API.
    """

    def __init__(self, account: GenesysAccount, onward: FormatClient, http: httpx.AsyncClient) -> None:
        self._account = account
        self._onward = onward
        self._http = http
        self._topics = Topics(account.queues)
        self._changed = asyncio.Event()
        self.connects = 0
        self.messages = 0

    async def run(self) -> None:
        """Pulls for ever.

        Raises:
            SetupError: Genesys does not let us in.
        """
        backoff_s = MIN_BACKOFF_S
        while True:
            try:
                token = await self._token()
                channel = await self._post(f"{self._account.api}/api/v2/notifications/channels", token, None)
                await self._subscribe(channel["id"], token)
                async with connect(channel["connectUri"], ping_interval=None, max_size=2**20) as socket:
                    self.connects += 1
                    backoff_s = MIN_BACKOFF_S
                    await self._follow(socket, channel, token)
            except (OSError, ConnectionClosed, InvalidHandshake, TimeoutError, httpx.HTTPError, KeyError) as error:
                _log.warning("connection lost (%s), again in %.1f s", type(error).__name__, backoff_s)
                await asyncio.sleep(backoff_s)
                backoff_s = min(MAX_BACKOFF_S, backoff_s * 2)

    async def _token(self) -> str:
        answer = await self._http.post(
            f"{self._account.login}/oauth/token",
            data={"grant_type": "client_credentials"},
            auth=(self._account.client_id, self._account.client_secret),
        )
        if answer.status_code in (400, 401, 403):
            raise SetupError(f"Genesys refuses the OAuth client ({answer.status_code})")
        return str(answer.raise_for_status().json()["access_token"])

    async def _post(self, url: str, token: str, body: Any) -> dict[str, Any]:
        answer = await self._http.post(url, json=body, headers={"Authorization": f"Bearer {token}"})
        if answer.status_code == 403:
            raise SetupError("the OAuth client may not use notifications: give it the permission")
        found: dict[str, Any] = answer.raise_for_status().json()
        return found

    async def _subscribe(self, channel: str, token: str) -> None:
        self._changed.clear()
        topics = [{"id": topic} for topic in self._topics.list()]
        url = f"{self._account.api}/api/v2/notifications/channels/{channel}/subscriptions"
        answer = await self._http.put(url, json=topics, headers={"Authorization": f"Bearer {token}"})
        answer.raise_for_status()

    async def _follow(self, socket: ClientConnection, channel: Mapping[str, Any], token: str) -> None:
        """Follows one connection until it is to be replaced."""
        tasks = {
            asyncio.create_task(self._read(socket)),
            asyncio.create_task(self._ping(socket)),
            asyncio.create_task(self._keep_subscribed(str(channel["id"]), token)),
        }
        try:
            async with asyncio.timeout(_life_s(channel.get("expires"))):
                done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        except TimeoutError:
            return
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        for task in done:
            task.result()

    async def _read(self, socket: ClientConnection) -> None:
        while True:
            async with asyncio.timeout(SILENCE_S):
                text = await socket.recv()
            try:
                message = json.loads(text)
            except ValueError:
                continue
            topic = message.get("topicName", "") if isinstance(message, dict) else ""
            body = message.get("eventBody") if topic else None
            if topic == "v2.system.socket_closing":
                return
            if topic.endswith(".transcription"):
                self.messages += 1
                await self._onward.send(text)
            elif isinstance(body, dict) and self._topics.heard(topic, body):
                self._changed.set()

    async def _ping(self, socket: ClientConnection) -> None:
        while True:
            await asyncio.sleep(PING_S)
            await socket.send('{"message":"ping"}')

    async def _keep_subscribed(self, channel: str, token: str) -> None:
        while True:
            await self._changed.wait()
            await self._subscribe(channel, token)


def _life_s(expires: Any) -> float:
    """Seconds until a channel is to be replaced."""
    try:
        ends = datetime.fromisoformat(str(expires))
        left_s = (ends - datetime.now(UTC)).total_seconds()
    except (ValueError, TypeError):
        left_s = 24 * 3600.0
    return max(60.0, left_s - RENEW_BEFORE_S)

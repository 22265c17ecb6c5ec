"""One attempt: signs a body, posts it, and says how that ended. Whatever goes wrong comes back as an `Attempt`."""

from __future__ import annotations

import asyncio
import email.utils
import ssl
from datetime import UTC, datetime
from typing import Final

import httpcore2
import msgspec
from standardwebhooks import Webhook

from server.delivery.address import AddressRefusedError, make_pool
from server.delivery.config import SenderConfig, SenderKind
from server.delivery.outbox import Message
from server.delivery.retry import Attempt
from server.delivery.secrets import Secrets

USER_AGENT: Final = b"Mamori/1"
_CLOUDEVENTS: Final = b"application/cloudevents+json; charset=utf-8"
_JSON: Final = b"application/json; charset=utf-8"

Headers = list[tuple[bytes, bytes]]


def signed(keys: tuple[str, ...], message_id: str, at: datetime, body: bytes) -> Headers:
    """The headers of Standard Webhooks 1.0; several keys give several signatures, separated by spaces."""
    text = body.decode()
    signatures = " ".join(Webhook(key).sign(message_id, at, text) for key in keys)
    return [
        (b"webhook-id", message_id.encode()),
        (b"webhook-timestamp", str(int(at.timestamp())).encode()),
        (b"webhook-signature", signatures.encode()),
    ]


class Poster:
    """Posts for one sender, over connections of its own.

    Args:
        config, secrets: of the sender.
        context: TLS settings instead of the system's.
    """

    def __init__(self, config: SenderConfig, secrets: Secrets, *, context: ssl.SSLContext | None = None) -> None:
        self._config = config
        self._secrets = secrets
        self._pool = make_pool(config.allow_networks, context=context)

    @property
    def url(self) -> str:
        """Where it posts to; may be a secret."""
        return self._secrets.url

    @property
    def signing_secret(self) -> str:
        """By which its receiver signs what comes back; empty where nothing does."""
        return self._secrets.signing_secret

    async def post(self, message: Message, *, at: datetime) -> Attempt:
        """Makes one attempt, bounded in time as a whole."""
        body, headers = self._request(message, at)
        return await self._attempt(self._secrets.url, body, headers, at)

    async def say(self, url: str, body: bytes) -> Attempt:
        """Posts a JSON body to another address of the same receiver, once."""
        headers = [(b"content-type", _JSON), (b"user-agent", USER_AGENT), (b"content-length", str(len(body)).encode())]
        return await self._attempt(url, body, headers, datetime.now(UTC))

    async def _attempt(self, url: str, body: bytes, headers: Headers, at: datetime) -> Attempt:
        try:
            async with (
                asyncio.timeout(self._config.timeout_s),
                self._pool.stream("POST", url, headers=headers, content=body) as response,
            ):
                found = {name.lower(): value for name, value in response.headers}
                return Attempt(status=response.status, retry_after_s=_retry_after(found.get(b"retry-after"), at))
        except AddressRefusedError:
            return Attempt(error="address_refused")
        except (TimeoutError, httpcore2.TimeoutException):
            return Attempt(error="timeout")
        except (ssl.SSLError, httpcore2.ConnectError) as error:
            return Attempt(error="tls" if "ssl" in f"{error!r} {error.__cause__!r}".lower() else "connection")
        except (httpcore2.NetworkError, httpcore2.ProtocolError, httpcore2.UnsupportedProtocol, OSError):
            return Attempt(error="connection")

    async def close(self) -> None:
        """Closes the connections."""
        await self._pool.aclose()

    def _request(self, message: Message, at: datetime) -> tuple[bytes, Headers]:
        body, kind = message.body, self._config.kind
        if kind is SenderKind.PAGERDUTY:
            event = {"routing_key": self._secrets.routing_key, **msgspec.json.decode(body)}
            body = msgspec.json.encode(event)
        enveloped = kind is SenderKind.WEBHOOK and self._config.envelope == "cloudevents" and message.alert_id
        headers: Headers = [(b"content-type", _CLOUDEVENTS if enveloped else _JSON), (b"user-agent", USER_AGENT)]
        if kind is SenderKind.WEBHOOK:
            headers += signed(self._secrets.signing_keys, message.message_id, at, body)
        headers.append((b"content-length", str(len(body)).encode()))
        return body, headers


def _retry_after(value: bytes | None, now: datetime) -> float | None:
    """Reads `Retry-After` (RFC 9110, section 10.2.3): seconds or a date; None when it is neither."""
    if value is None:
        return None
    text = value.decode("latin-1").strip()
    if text.isascii() and text.isdigit() and len(text) < 10:
        return float(text)
    try:
        moment = email.utils.parsedate_to_datetime(text)
    except ValueError:
        return None
    moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    return max(0.0, (moment - now).total_seconds())

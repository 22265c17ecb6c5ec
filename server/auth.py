"""Who is asking, and what they may see: one `Principal` for every endpoint and stream.

Tokens are 32 random bytes as unpadded base64url, shown once and kept as SHA-256 alone: they have full entropy, so a slow
hash would protect nothing. The tenant comes from the token and from nowhere else, so tenants cannot mix.
"""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import sqlalchemy as sa

from server.errors import RequestError
from server.storage.tables import TOKENS

DEFAULT_TENANT: Final = "default"
TOKEN_PREFIX: Final = "mmr_"  # noqa: S105 - marks a token as ours, is none
_TOKEN_BYTES: Final = 32


class Role(StrEnum):
    """What somebody may do; `admin` may do everything within the tenant."""

    PLATFORM = "platform"
    OPERATOR = "operator"
    SUPERVISOR = "supervisor"
    LEAD = "lead"
    ADMIN = "admin"


WATCHERS: Final = frozenset({Role.SUPERVISOR, Role.LEAD, Role.ADMIN})
FEEDERS: Final = frozenset({Role.PLATFORM, Role.ADMIN})


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """Who is asking.

    Args:
        name: for the record of what they do.
        tenant: whose data they see.
        role: what they may do.
        queues: only these queues, or None for all.
    """

    name: str
    tenant: str
    role: Role
    queues: frozenset[str] | None = None

    def may_see(self, queue: str) -> bool:
        """Whether a queue is within the scope."""
        return self.queues is None or queue in self.queues

    def need(self, roles: frozenset[Role]) -> None:
        """Refuses unless the role is one of these.

        Raises:
            RequestError: `forbidden`.
        """
        if self.role not in roles:
            raise RequestError("forbidden", f"needs one of {', '.join(sorted(roles))}", status=403)


OPEN: Final = Principal(name="local", tenant=DEFAULT_TENANT, role=Role.ADMIN)
"""Everybody, on a loopback server without authentication."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRecord:
    """A token as it is listed; the secret is not in it."""

    token_id: str
    name: str
    tenant: str
    role: Role
    queues: frozenset[str] | None
    created_ms: int
    expires_ms: int | None
    revoked_ms: int | None


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


class Tokens:
    """Tokens of all tenants.

    Args:
        engine: of the state database.
        now_ms: UTC, milliseconds since 1970.
    """

    def __init__(self, engine: sa.Engine, *, now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000) -> None:
        self._engine = engine
        self._now_ms = now_ms

    def create(
        self, *, name: str, tenant: str, role: Role, queues: frozenset[str] | None = None, days: int | None = None
    ) -> tuple[TokenRecord, str]:
        """Makes a token.

        Args:
            days: until it expires; None for never.

        Returns:
            Its record, and the secret, which is not kept.
        """
        secret = TOKEN_PREFIX + base64.urlsafe_b64encode(secrets.token_bytes(_TOKEN_BYTES)).decode().rstrip("=")
        now_ms = self._now_ms()
        record = TokenRecord(
            token_id=secrets.token_hex(6),
            name=name,
            tenant=tenant,
            role=role,
            queues=queues,
            created_ms=now_ms,
            expires_ms=None if days is None else now_ms + days * 86_400_000,
            revoked_ms=None,
        )
        with self._engine.begin() as connection:
            connection.execute(
                TOKENS.insert().values(
                    token_id=record.token_id,
                    digest=_digest(secret),
                    name=name,
                    tenant=tenant,
                    role=role.value,
                    queues="" if queues is None else ",".join(sorted(queues)),
                    created_ms=now_ms,
                    expires_ms=record.expires_ms,
                )
            )
        return record, secret

    def list(self) -> list[TokenRecord]:
        """All tokens, oldest first."""
        with self._engine.connect() as connection:
            return [_record(row) for row in connection.execute(sa.select(TOKENS).order_by(TOKENS.c.created_ms))]

    def revoke(self, token_id: str) -> bool:
        """Makes a token worthless at once; False when there is none of that id."""
        with self._engine.begin() as connection:
            changed = connection.execute(
                TOKENS.update()
                .where(TOKENS.c.token_id == token_id, TOKENS.c.revoked_ms.is_(None))
                .values(revoked_ms=self._now_ms())
            )
        return changed.rowcount > 0

    def principal(self, secret: str) -> Principal | None:
        """Who holds a token; None when it is unknown, revoked or expired."""
        with self._engine.connect() as connection:
            row = connection.execute(sa.select(TOKENS).where(TOKENS.c.digest == _digest(secret))).first()
        if row is None:
            return None
        record = _record(row)
        if record.revoked_ms is not None or (record.expires_ms is not None and record.expires_ms <= self._now_ms()):
            return None
        return Principal(name=record.name, tenant=record.tenant, role=record.role, queues=record.queues)


def _record(row: sa.Row[tuple[object, ...]]) -> TokenRecord:
    fields = row._mapping
    return TokenRecord(
        token_id=fields["token_id"],
        name=fields["name"],
        tenant=fields["tenant"],
        role=Role(fields["role"]),
        queues=frozenset(fields["queues"].split(",")) if fields["queues"] else None,
        created_ms=fields["created_ms"],
        expires_ms=fields["expires_ms"],
        revoked_ms=fields["revoked_ms"],
    )


def bearer_of(headers: Mapping[str, str]) -> str | None:
    """The token that a request carries: in `Authorization`, or as websocket subprotocol `bearer.TOKEN`."""
    scheme, _, credentials = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and credentials.strip():
        return credentials.strip()
    for offered in headers.get("sec-websocket-protocol", "").split(","):
        if offered.strip().startswith("bearer."):
            return offered.strip().removeprefix("bearer.")
    return None


class Gate:
    """Checks who may come in.

    Args:
        tokens: of the house, or None when the server is open (loopback only).
        hosts: allowed values of `Host`, without port.
        origins: allowed values of `Origin` beside those of the allowed hosts.
    """

    def __init__(self, tokens: Tokens | None, *, hosts: frozenset[str], origins: frozenset[str]) -> None:
        self._tokens = tokens
        self._hosts = hosts
        self._origins = origins

    @property
    def open(self) -> bool:
        """Whether no token is asked for."""
        return self._tokens is None

    def host_allowed(self, headers: Mapping[str, str]) -> bool:
        """Whether `Host` and `Origin` are ours: any web page can open a socket to loopback."""
        if _hostname(headers.get("host", "")) not in self._hosts:
            return False
        origin = headers.get("origin")
        if origin is None or origin in self._origins:
            return True
        return _hostname(origin.partition("://")[2]) in self._hosts and "://" in origin

    def principal(self, headers: Mapping[str, str]) -> Principal | None:
        """Who is asking, or None when the token is missing or wrong."""
        if self._tokens is None:
            return OPEN
        secret = bearer_of(headers)
        return self._tokens.principal(secret) if secret else None


_HOST: Final = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(:\d{1,5})?")


def _hostname(host: str) -> str:
    """The name without its port; empty for anything else, two `Host` headers joined by a comma included."""
    match = _HOST.fullmatch(host.strip().lower())
    return match[1] if match is not None else ""

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
from typing import TYPE_CHECKING, Final

import sqlalchemy as sa

from server.access.csrf import HEADER, SAFE_METHODS, csrf_matches
from server.access.limits import RateLimit
from server.errors import RequestError
from server.storage.tables import TOKENS

if TYPE_CHECKING:
    from server.access.sessions import Session, Sessions

DEFAULT_TENANT: Final = "default"
TOKEN_PREFIX: Final = "mmr_"  # noqa: S105 - marks a token as ours, is none
_TOKEN_BYTES: Final = 32
BURST_S: Final = 10
"""A limit's bucket holds so many seconds' worth, so that a client that resumes is not refused."""
MAX_STANDING: Final = 10_000
"""Credentials of open streams whose standing is remembered."""


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
        credential: what let them in, as `token:ID` or `session:ID`; empty on an open server. Never a secret.
    """

    name: str
    tenant: str
    role: Role
    queues: frozenset[str] | None = None
    credential: str = ""

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
                    queues=queues_column(queues),
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
        return self._one(TOKENS.c.digest == _digest(secret))

    def stands(self, token_id: str) -> bool:
        """Whether a token that let somebody in is still good."""
        return self._one(TOKENS.c.token_id == token_id) is not None

    def _one(self, which: sa.ColumnElement[bool]) -> Principal | None:
        with self._engine.connect() as connection:
            row = connection.execute(sa.select(TOKENS).where(which)).first()
        if row is None:
            return None
        record = _record(row)
        if record.revoked_ms is not None or (record.expires_ms is not None and record.expires_ms <= self._now_ms()):
            return None
        return Principal(
            name=record.name,
            tenant=record.tenant,
            role=record.role,
            queues=record.queues,
            credential=f"token:{record.token_id}",
        )


def queues_column(queues: frozenset[str] | None) -> str:
    """Queues as one column holds them; empty for all."""
    return "" if queues is None else ",".join(sorted(queues))


def queues_of(column: str) -> frozenset[str] | None:
    """Reads `queues_column`."""
    return frozenset(column.split(",")) if column else None


def _record(row: sa.Row[tuple[object, ...]]) -> TokenRecord:
    fields = row._mapping
    return TokenRecord(
        token_id=fields["token_id"],
        name=fields["name"],
        tenant=fields["tenant"],
        role=Role(fields["role"]),
        queues=queues_of(fields["queues"]),
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How often one credential may do things; each with a burst of ten seconds' worth.

    Args:
        requests_s: HTTP requests and commands a second.
        events_s: ingested events a second.
    """

    requests_s: float = 50
    events_s: float = 20_000


class Gate:
    """Checks who may come in, and how often.

    Args:
        tokens: of the house, or None when the server is open (loopback only).
        hosts: allowed values of `Host`, without port.
        origins: allowed values of `Origin` beside those of the allowed hosts.
        sessions: of people who signed in, or None when only tokens count.
        secure: whether the browser reaches us over TLS; the cookie is then `Secure` and bound to the host.
        limits: how often one credential may do things.
        recheck_s: seconds after which an open stream asks whether its credential still stands.
    """

    def __init__(
        self,
        tokens: Tokens | None,
        *,
        hosts: frozenset[str],
        origins: frozenset[str],
        sessions: Sessions | None = None,
        secure: bool = False,
        limits: Limits | None = None,
        recheck_s: float = 15.0,
    ) -> None:
        self.recheck_s = recheck_s
        self._standing: dict[str, tuple[float, bool]] = {}
        limits = limits or Limits()
        self._tokens = tokens
        self._hosts = hosts
        self._origins = origins
        self._sessions = sessions
        self.secure = secure
        # The prefix makes a browser refuse the cookie unless it is Secure, without Domain and for the path / (RFC 6265bis).
        self.cookie = "__Host-mamori" if secure else "mamori"
        self._requests = RateLimit(limits.requests_s, limits.requests_s * BURST_S)
        self._events = RateLimit(limits.events_s, limits.events_s * BURST_S)

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

    def principal(self, headers: Mapping[str, str], *, method: str = "GET") -> Principal | None:
        """Who is asking, or None when token and session are missing or wrong.

        A cookie comes along with what any page sends, so it counts only with the CSRF token where something is changed,
        and on a websocket (`method` is then `WEBSOCKET`) only with an `Origin`, which `host_allowed` has checked.

        Raises:
            RequestError: `csrf`.
        """
        if self._tokens is None:
            return OPEN
        secret = bearer_of(headers)
        if secret:
            return self._tokens.principal(secret)
        found = self.session(headers)
        if found is None:
            return None
        session, cookie = found
        if method == "WEBSOCKET":
            return session.principal if "origin" in headers else None
        if method not in SAFE_METHODS and not csrf_matches(cookie, headers.get(HEADER, "")):
            raise RequestError("csrf", "expected the session's token in X-CSRF-Token", status=403)
        return session.principal

    def session(self, headers: Mapping[str, str]) -> tuple[Session, str] | None:
        """The session of the request's cookie with the cookie's value, or None."""
        cookie = cookie_of(headers, self.cookie)
        if self._sessions is None or not cookie:
            return None
        session = self._sessions.find(cookie)
        return (session, cookie) if session is not None else None

    def stands(self, principal: Principal) -> bool:
        """Whether what let somebody in is still good; long-lived streams ask from time to time.

        The answer for one credential is kept for `recheck_s`, so that ten thousand connections of one token cost one look.
        """
        now_s = time.monotonic()
        known = self._standing.get(principal.credential)
        if known is not None and now_s - known[0] < self.recheck_s:
            return known[1]
        good = self._still_good(principal)
        while len(self._standing) >= MAX_STANDING:
            self._standing.pop(next(iter(self._standing)))
        self._standing[principal.credential] = (now_s, good)
        return good

    def _still_good(self, principal: Principal) -> bool:
        kind, _, name = principal.credential.partition(":")
        if kind == "token" and self._tokens is not None:
            return self._tokens.stands(name)
        if kind == "session" and self._sessions is not None:
            return self._sessions.find_id(name) is not None
        return self._tokens is None

    def request_wait_s(self, principal: Principal) -> float:
        """Counts a request or command; 0, or the seconds after which it may be made."""
        return self._requests.take(principal.credential) if principal.credential else 0.0

    def event_wait_s(self, principal: Principal) -> float:
        """Counts an ingested event; 0, or the seconds after which it may be sent."""
        return self._events.take(principal.credential) if principal.credential else 0.0


def cookie_of(headers: Mapping[str, str], name: str) -> str:
    """The value of a cookie, or empty; of two of the same name the first counts (RFC 6265, section 5.4)."""
    for part in headers.get("cookie", "").replace(",", ";").split(";"):
        key, _, value = part.strip().partition("=")
        if key == name:
            return value
    return ""


_HOST: Final = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(:\d{1,5})?")


def _hostname(host: str) -> str:
    """The name without its port; empty for anything else, two `Host` headers joined by a comma included."""
    match = _HOST.fullmatch(host.strip().lower())
    return match[1] if match is not None else ""

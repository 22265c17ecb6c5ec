"""Sessions of people who signed in: a random cookie, kept as its hash alone, that expires and can be revoked."""

from __future__ import annotations

import base64
import hashlib
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

import sqlalchemy as sa

from server.auth import Principal, Role, queues_column, queues_of
from server.storage.tables import SESSIONS, USERS

_SECRET_BYTES: Final = 32
MAX_SESSIONS_EACH: Final = 20
"""Sessions of one person; one more ends the oldest."""


class Method(StrEnum):
    """How somebody signed in."""

    PASSWORD = "password"  # noqa: S105 - names a way to sign in, is none
    OIDC = "oidc"


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """A session as its owner sees it."""

    principal: Principal
    session_id: str
    method: Method
    expires_ms: int


class Sessions:
    """All sessions.

    Args:
        engine: of the state database.
        hours: after which a session ends, whatever happens in it.
        now_ms: UTC, milliseconds since 1970.
    """

    def __init__(
        self,
        engine: sa.Engine,
        *,
        hours: float = 12,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._engine = engine
        self._life_ms = round(hours * 3_600_000)
        self._now_ms = now_ms

    def create(self, principal: Principal, method: Method) -> tuple[Session, str]:
        """Begins a session; what is long over is swept out on the way.

        Returns:
            The session, and the cookie's value, which is not kept.
        """
        secret = base64.urlsafe_b64encode(secrets.token_bytes(_SECRET_BYTES)).decode().rstrip("=")
        now_ms = self._now_ms()
        session_id = secrets.token_hex(8)
        principal = replace(principal, credential=f"session:{session_id}")
        session = Session(principal=principal, session_id=session_id, method=method, expires_ms=now_ms + self._life_ms)
        mine = (SESSIONS.c.name == principal.name) & (SESSIONS.c.method == method.value)
        with self._engine.begin() as connection:
            connection.execute(SESSIONS.delete().where(SESSIONS.c.expires_ms <= now_ms))
            connection.execute(
                SESSIONS.insert().values(
                    digest=_digest(secret),
                    session_id=session_id,
                    name=principal.name,
                    tenant=principal.tenant,
                    role=principal.role.value,
                    queues=queues_column(principal.queues),
                    method=method.value,
                    created_ms=now_ms,
                    expires_ms=session.expires_ms,
                )
            )
            kept = (
                sa.select(SESSIONS.c.session_id)
                .where(mine)
                .order_by(SESSIONS.c.created_ms.desc(), SESSIONS.c.session_id)
                .limit(MAX_SESSIONS_EACH)
            )
            connection.execute(SESSIONS.delete().where(mine, SESSIONS.c.session_id.not_in(kept)))
        return session, secret

    def find(self, secret: str) -> Session | None:
        """The session of a cookie; None when it is unknown, revoked or over, or its local account is shut."""
        return self._one(SESSIONS.c.digest == _digest(secret))

    def find_id(self, session_id: str) -> Session | None:
        """The session of an id, for streams that check from time to time whether it still stands."""
        return self._one(SESSIONS.c.session_id == session_id)

    def end(self, session_id: str) -> None:
        """Signs out."""
        with self._engine.begin() as connection:
            connection.execute(SESSIONS.delete().where(SESSIONS.c.session_id == session_id))

    def end_all(self, name: str) -> int:
        """Ends every session of a person; returns how many."""
        with self._engine.begin() as connection:
            return connection.execute(SESSIONS.delete().where(SESSIONS.c.name == name)).rowcount

    def _one(self, which: sa.ColumnElement[bool]) -> Session | None:
        query = (
            sa.select(SESSIONS, USERS.c.disabled_ms, USERS.c.name.label("account"))
            .select_from(SESSIONS.outerjoin(USERS, SESSIONS.c.name == USERS.c.name))
            .where(which)
        )
        with self._engine.connect() as connection:
            row = connection.execute(query).first()
        if row is None or row.expires_ms <= self._now_ms():
            return None
        if row.method == Method.PASSWORD and (row.account is None or row.disabled_ms is not None):
            return None
        principal = Principal(
            name=row.name,
            tenant=row.tenant,
            role=Role(row.role),
            queues=queues_of(row.queues),
            credential=f"session:{row.session_id}",
        )
        return Session(
            principal=principal, session_id=row.session_id, method=Method(row.method), expires_ms=row.expires_ms
        )


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()

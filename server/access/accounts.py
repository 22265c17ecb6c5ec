"""Local accounts of a small house: a name, an argon2id hash, a role.

A wrong name costs as much time as a wrong password, so that names cannot be told apart by the clock.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from server.auth import Principal, Role, queues_column, queues_of
from server.errors import SetupError
from server.storage.tables import USERS

MIN_PASSWORD_CHARS: Final = 12
MAX_PASSWORD_CHARS: Final = 256
"""Argon2 reads all of it: a bound keeps a stranger from making the server hash megabytes."""
MAX_NAME_CHARS: Final = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """A local account as it is listed; the hash is not in it."""

    name: str
    tenant: str
    role: Role
    queues: frozenset[str] | None
    created_ms: int
    disabled_ms: int | None


class Accounts:
    """The local accounts of all tenants; a name is unique in the house.

    Args:
        engine: of the state database.
        now_ms: UTC, milliseconds since 1970.
        hasher: argon2id, by default with the library's own parameters (RFC 9106, low memory).
    """

    def __init__(
        self,
        engine: sa.Engine,
        *,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
        hasher: PasswordHasher | None = None,
    ) -> None:
        self._engine = engine
        self._now_ms = now_ms
        self._hasher = hasher or PasswordHasher()
        self._nobody = ""

    def add(
        self, *, name: str, password: str, tenant: str, role: Role, queues: frozenset[str] | None = None
    ) -> Account:
        """Makes an account.

        Raises:
            SetupError: the name is taken or not usable, or the password is weak.
        """
        if not name or len(name) > MAX_NAME_CHARS or not name.isprintable() or name != name.strip():
            raise SetupError(f"name: expected 1 to {MAX_NAME_CHARS} printable characters")
        check_password(password, name)
        now_ms = self._now_ms()
        with self._engine.begin() as connection:
            try:
                connection.execute(
                    USERS.insert().values(
                        name=name,
                        tenant=tenant,
                        role=role.value,
                        queues=queues_column(queues),
                        hash=self._hasher.hash(password),
                        created_ms=now_ms,
                    )
                )
            except sa.exc.IntegrityError:
                raise SetupError("name: there is such an account already") from None
        return Account(name=name, tenant=tenant, role=role, queues=queues, created_ms=now_ms, disabled_ms=None)

    def list(self) -> list[Account]:
        """All accounts by name."""
        with self._engine.connect() as connection:
            return [_account(row) for row in connection.execute(sa.select(USERS).order_by(USERS.c.name))]

    def find(self, name: str) -> Account | None:
        """One account, or None."""
        with self._engine.connect() as connection:
            row = connection.execute(sa.select(USERS).where(USERS.c.name == name)).first()
        return _account(row) if row is not None else None

    def set_password(self, name: str, password: str) -> bool:
        """Sets a password; False when there is no such account. The caller ends the person's sessions.

        Raises:
            SetupError: the password is weak.
        """
        check_password(password, name)
        return self._set(name, hash=self._hasher.hash(password))

    def disable(self, name: str, *, disabled: bool = True) -> bool:
        """Shuts an account, or opens it again; False when there is none. The caller ends the person's sessions."""
        return self._set(name, disabled_ms=self._now_ms() if disabled else None)

    def check(self, name: str, password: str) -> Principal | None:
        """Who signs in with this name and password; None when either is wrong or the account is shut."""
        with self._engine.connect() as connection:
            row = connection.execute(sa.select(USERS).where(USERS.c.name == name)).first()
        if not self._nobody:
            self._nobody = self._hasher.hash("nobody has this password")
        stored = row.hash if row is not None else self._nobody
        try:
            self._hasher.verify(stored, password[:MAX_PASSWORD_CHARS])
        except (VerificationError, InvalidHashError):
            return None
        if row is None or row.disabled_ms is not None or len(password) > MAX_PASSWORD_CHARS:
            return None
        if self._hasher.check_needs_rehash(stored):
            self._set(name, hash=self._hasher.hash(password))
        account = _account(row)
        return Principal(name=account.name, tenant=account.tenant, role=account.role, queues=account.queues)

    def _set(self, name: str, **values: object) -> bool:
        with self._engine.begin() as connection:
            changed = connection.execute(USERS.update().where(USERS.c.name == name).values(**values))
        return changed.rowcount > 0


def check_password(password: str, name: str) -> None:
    """Refuses a weak password: short, of one character, or the name itself.

    Raises:
        SetupError: says what is expected, never what was given.
    """
    if not MIN_PASSWORD_CHARS <= len(password) <= MAX_PASSWORD_CHARS:
        raise SetupError(f"password: expected {MIN_PASSWORD_CHARS} to {MAX_PASSWORD_CHARS} characters")
    if len(set(password)) < 5 or name.lower() in password.lower():
        raise SetupError("password: expected at least five different characters, and not the name")


def _account(row: sa.Row[tuple[object, ...]]) -> Account:
    fields = row._mapping
    return Account(
        name=fields["name"],
        tenant=fields["tenant"],
        role=Role(fields["role"]),
        queues=queues_of(fields["queues"]),
        created_ms=fields["created_ms"],
        disabled_ms=fields["disabled_ms"],
    )

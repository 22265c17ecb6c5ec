"""What SQLite and PostgreSQL each say in their own way; all other SQL is the same for both."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

_PROBE: Final = {"sqlite": "PRAGMA user_version=0", "postgresql": "SELECT pg_current_xact_id()"}
_AUDIT_LOCK: Final = 0x6D616D6F72690001
_SCHEMA_LOCK: Final = 0x6D616D6F72690002
"""Names of locks in PostgreSQL: "mamori" and a number."""


def insert(connection: sa.Connection, table: sa.Table) -> sqlite.Insert | postgresql.Insert:
    """An insert that knows `ON CONFLICT`."""
    return postgresql.insert(table) if connection.dialect.name == "postgresql" else sqlite.insert(table)


def probe(connection: sa.Connection) -> None:
    """Makes the transaction write, without changing anything: its commit shows whether the disk takes it."""
    connection.exec_driver_sql(_PROBE[connection.dialect.name])


def lock_audit(connection: sa.Connection) -> None:
    """Keeps other processes from the end of the audit chain until this transaction ends; SQLite has one writer anyway."""
    if connection.dialect.name == "postgresql":
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_AUDIT_LOCK)))


def lock_schema(connection: sa.Connection) -> None:
    """Keeps other processes from migrating until this transaction ends; who comes second finds it done."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("SET LOCAL lock_timeout = '60s'")
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_SCHEMA_LOCK)))


def lock_alerts(connection: sa.Connection) -> None:
    """Keeps others from writing alerts until this transaction ends, from its first read on."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("LOCK TABLE alerts, alert_events IN SHARE ROW EXCLUSIVE MODE")
    else:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

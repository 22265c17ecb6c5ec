"""The ledger's rows: who complained about what before, by keyed hash of the caller and embedding of the complaint."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

from detector.events import EarlierComplaint
from detector.ledger import is_shared
from detector.rules import RepetitionRules
from server.clock import DAY_MS
from server.storage.bodies import Bodies
from server.storage.dialect import insert
from server.storage.port import LedgerEntry
from server.storage.tables import LEDGER, LEDGER_SHARED

MAX_A_DAY: Final = 64
"""Entries of one number within a day that are looked at: far more than one caller makes."""
_SAME: Final = RepetitionRules().ledger_similarity


def put(connection: sa.Connection, entry: LedgerEntry, bodies: Bodies) -> None:
    """Writes one entry; a number with too many different complaints in a day is marked shared, and its entries go."""
    if _shared(connection, entry.tenant, entry.caller_key):
        return
    row = {name: getattr(entry, name) for name in entry.__dataclass_fields__} | {"centre": bodies.centre_body(entry)}
    connection.execute(insert(connection, LEDGER).values(**row).on_conflict_do_nothing())
    since_ms = entry.utc_ms - DAY_MS
    day = _entries(connection, entry.tenant, entry.caller_key, since_ms=since_ms, limit=MAX_A_DAY, bodies=bodies)
    if is_shared(day, similarity=_SAME):
        forget(connection, entry.tenant, entry.caller_key)
        connection.execute(
            LEDGER_SHARED.insert().values(tenant=entry.tenant, caller_key=entry.caller_key, utc_ms=entry.utc_ms)
        )


def read(
    connection: sa.Connection, tenant: str, caller_key: str, *, since_ms: int, limit: int, bodies: Bodies
) -> list[EarlierComplaint]:
    """A caller's entries since a UTC time in milliseconds, newest first; none for a shared number."""
    if _shared(connection, tenant, caller_key):
        return []
    return _entries(connection, tenant, caller_key, since_ms=since_ms, limit=limit, bodies=bodies)


def forget(connection: sa.Connection, tenant: str, caller_key: str) -> int:
    """Deletes a caller's entries; returns how many there were."""
    both = (LEDGER.c.tenant == tenant) & (LEDGER.c.caller_key == caller_key)
    return int(connection.execute(LEDGER.delete().where(both)).rowcount)


def purge(connection: sa.Connection, before_ms: int) -> int:
    """Deletes all entries and marks older than a UTC time in milliseconds; returns how many entries went."""
    connection.execute(LEDGER_SHARED.delete().where(LEDGER_SHARED.c.utc_ms < before_ms))
    return int(connection.execute(LEDGER.delete().where(LEDGER.c.utc_ms < before_ms)).rowcount)


def clear(connection: sa.Connection) -> int:
    """Deletes everything, as when the key of the callers' hashes changes; returns how many entries went."""
    connection.execute(LEDGER_SHARED.delete())
    return int(connection.execute(LEDGER.delete()).rowcount)


def _shared(connection: sa.Connection, tenant: str, caller_key: str) -> bool:
    both = (LEDGER_SHARED.c.tenant == tenant) & (LEDGER_SHARED.c.caller_key == caller_key)
    return connection.execute(sa.select(sa.literal(1)).select_from(LEDGER_SHARED).where(both)).first() is not None


def _entries(
    connection: sa.Connection, tenant: str, caller_key: str, *, since_ms: int, limit: int, bodies: Bodies
) -> list[EarlierComplaint]:
    query = (
        sa.select(LEDGER)
        .where(LEDGER.c.tenant == tenant, LEDGER.c.caller_key == caller_key, LEDGER.c.utc_ms >= since_ms)
        .order_by(LEDGER.c.utc_ms.desc(), LEDGER.c.ordinal)
        .limit(limit)
    )
    return [
        EarlierComplaint(call=row.instance, model_version=row.model_version, centre=centre)
        for row in connection.execute(query)
        if (centre := bodies.centre(row)) is not None
    ]

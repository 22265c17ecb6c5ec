"""What goes when its time is over: words of calls, then what is left of them; and calls that a legal hold keeps.

Words live in the day files, in snapshots and in the evidence of alerts; all three go together. What remains (who, when,
which level, what was done) serves reports for as long as the house says. The audit chain holds no words and stays.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Final

import msgspec
import sqlalchemy as sa

from detector.alerts import Alert, AlertEvent
from server.storage import codec
from server.storage.port import Stored
from server.storage.tables import ALERT_EVENTS, ALERTS, CALLS, FLAGS, SNAPSHOTS

CHUNK: Final = 200
"""Rows in one transaction, so that the log never waits long for the database."""
_ALERT: Final = msgspec.msgpack.Decoder(Alert)
_EVENT: Final = msgspec.msgpack.Decoder(AlertEvent)
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS held (
    tenant TEXT NOT NULL,
    instance TEXT NOT NULL,
    position INTEGER NOT NULL,
    kind TEXT NOT NULL,
    utc_ms INTEGER NOT NULL,
    seq INTEGER,
    payload BLOB NOT NULL,
    PRIMARY KEY (instance, tenant, position)
);
"""

Instances = frozenset[tuple[str, str]]


class Holds:
    """Calls under a legal hold, in a file of their own that no purge touches.

    Args:
        path: of the file; made when the first call is put under hold.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def _open(self) -> sqlite3.Connection:
        if not self._path.exists():
            self._path.touch(mode=0o600)
        connection = sqlite3.connect(self._path, timeout=5)
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA secure_delete=ON")
        connection.executescript(_SCHEMA)
        return connection

    def add(self, rows: Iterable[Stored]) -> int:
        """Copies a call's rows here; returns how many; the same rows again change nothing."""
        values = [
            (row.tenant, row.instance, item.position, row.kind, row.utc_ms, row.seq, codec.encode(row.value))
            for item in rows
            for row in (item.row,)
        ]
        connection = self._open()
        try:
            with connection:
                connection.executemany("INSERT OR IGNORE INTO held VALUES (?, ?, ?, ?, ?, ?, ?)", values)
        finally:
            connection.close()
        return len(values)

    def release(self, tenant: str, instance: str) -> int:
        """Deletes a call from here; returns how many rows there were."""
        if not self._path.exists():
            return 0
        connection = self._open()
        try:
            with connection:
                found = connection.execute("DELETE FROM held WHERE instance = ? AND tenant = ?", (instance, tenant))
                return found.rowcount
        finally:
            connection.close()

    def instances(self) -> Instances:
        """The calls under hold, as (tenant, instance)."""
        if not self._path.exists():
            return frozenset()
        connection = self._open()
        try:
            return frozenset(connection.execute("SELECT DISTINCT tenant, instance FROM held"))
        finally:
            connection.close()

    def read(self, tenant: str, instance: str, *, after: int, before: int) -> list[Stored]:
        """A held call's rows between two positions, both exclusive, in order."""
        if not self._path.exists():
            return []
        connection = self._open()
        try:
            found = connection.execute(
                "SELECT position, kind, utc_ms, seq, payload FROM held "
                "WHERE instance = ? AND tenant = ? AND position > ? AND position < ? ORDER BY position",
                (instance, tenant, after, before),
            ).fetchall()
        finally:
            connection.close()
        return [
            codec.stored(tenant, instance, position, kind=kind, utc_ms=utc_ms, seq=seq, payload=payload)
            for position, kind, utc_ms, seq, payload in found
        ]


def _without_words(alert: Alert) -> Alert:
    return replace(alert, evidence=tuple(replace(piece, text="", answer="", spans=()) for piece in alert.evidence))


def forget_words(engine: sa.Engine, before_ms: int, held: Instances) -> int:
    """Takes what was said out of alerts and their history, and deletes snapshots of calls that ended by then.

    Args:
        before_ms: UTC; what was raised or written before goes.
        held: calls that keep theirs.

    Returns:
        How many alerts and entries of their history lost their words.
    """
    done = 0
    low: tuple[int, str] = (-1, "")
    while True:
        key = sa.tuple_(ALERTS.c.raised_ms, ALERTS.c.alert_id)
        query = sa.select(ALERTS).where(ALERTS.c.raised_ms < before_ms, key > low)
        query = query.order_by(ALERTS.c.raised_ms, ALERTS.c.alert_id).limit(CHUNK)
        with engine.begin() as connection:
            rows = connection.execute(query).all()
            for row in rows:
                alert = _ALERT.decode(row.body)
                if (row.tenant, row.instance) in held or _without_words(alert) == alert:
                    continue
                one = (ALERTS.c.tenant == row.tenant) & (ALERTS.c.alert_id == row.alert_id)
                connection.execute(
                    ALERTS.update().where(one).values(body=msgspec.msgpack.encode(_without_words(alert)))
                )
                done += 1
        if len(rows) < CHUNK:
            break
        low = (rows[-1].raised_ms, rows[-1].alert_id)
    done += _forget_history(engine, before_ms, held)
    old = sa.select(CALLS.c.instance).where(CALLS.c.tenant == SNAPSHOTS.c.tenant, CALLS.c.ended_ms < before_ms)
    with engine.begin() as connection:
        connection.execute(SNAPSHOTS.delete().where(SNAPSHOTS.c.instance.in_(old)))
    return done


def _forget_history(engine: sa.Engine, before_ms: int, held: Instances) -> int:
    done, cursor = 0, 0
    while True:
        query = (
            sa.select(ALERT_EVENTS)
            .where(ALERT_EVENTS.c.utc_ms < before_ms, ALERT_EVENTS.c.cursor > cursor)
            .order_by(ALERT_EVENTS.c.cursor)
            .limit(CHUNK)
        )
        with engine.begin() as connection:
            rows = connection.execute(query).all()
            for row in rows:
                event = _EVENT.decode(row.body)
                plain = replace(event, alert=_without_words(event.alert))
                if (row.tenant, row.instance) in held or plain == event:
                    continue
                body = msgspec.msgpack.encode(plain)
                connection.execute(ALERT_EVENTS.update().where(ALERT_EVENTS.c.cursor == row.cursor).values(body=body))
                done += 1
        if len(rows) < CHUNK:
            return done
        cursor = rows[-1].cursor


def forget_records(engine: sa.Engine, before_ms: int, held: Instances) -> int:
    """Deletes what is left of calls that ended before a UTC time; returns how many calls went."""
    done = 0
    while True:
        query = (
            sa.select(CALLS.c.tenant, CALLS.c.instance).where(CALLS.c.ended_ms < before_ms).order_by(CALLS.c.ended_ms)
        )
        with engine.connect() as connection:
            # As many more as are held may stand in front.
            rows = connection.execute(query.limit(CHUNK + len(held))).all()
        gone = [(row.tenant, row.instance) for row in rows if (row.tenant, row.instance) not in held]
        if not gone:
            return done
        with engine.begin() as connection:
            for tenant, instance in gone:
                for table in (ALERT_EVENTS, ALERTS, SNAPSHOTS, FLAGS, CALLS):
                    connection.execute(table.delete().where(table.c.tenant == tenant, table.c.instance == instance))
        done += len(gone)

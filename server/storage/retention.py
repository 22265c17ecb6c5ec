"""What goes when its time is over: words of calls, then what is left of them; and calls that a legal hold keeps.

Words live in the day files, in snapshots and in the evidence of alerts; all three go together. What remains (who, when,
which level, what was done) serves reports for as long as the house says. The audit chain holds no words and stays.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

import sqlalchemy as sa

from detector.alerts import Alert
from server.clock import DAY_MS
from server.storage import codec, dialect
from server.storage.bodies import Bodies
from server.storage.port import Instances, Stored
from server.storage.tables import ALERT_EVENTS, ALERTS, CALLS, FLAGS, OUTBOX, SNAPSHOTS
from server.storage.vault import PLAIN, SealError, Vault

SCOPE: Final = "held"
"""The vault's scope of calls under hold."""
CHUNK: Final = 200
"""Rows in one transaction, so that the log never waits long for the database."""
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


class Holds:
    """Calls under a legal hold, in a file of their own that no purge touches.

    Args:
        path: of the file; made when the first call is put under hold.
        vault: seals the payloads.
    """

    def __init__(self, path: Path, vault: Vault = PLAIN) -> None:
        self._path = path
        self._vault = vault

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
            (row.tenant, row.instance, item.position, row.kind, row.utc_ms, row.seq, self._sealed(item))
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
        return [self._stored(tenant, instance, *row) for row in found]

    def _sealed(self, item: Stored) -> bytes:
        row = item.row
        name = codec.row_name(row.instance, row.kind, item.position, row.utc_ms, row.seq)
        return self._vault.seal(row.tenant, SCOPE, name, codec.encode(row.value))

    def _stored(
        self, tenant: str, instance: str, position: int, kind: str, utc_ms: int, seq: int | None, payload: bytes
    ) -> Stored:
        try:
            payload = self._vault.open(tenant, SCOPE, codec.row_name(instance, kind, position, utc_ms, seq), payload)
        except SealError:
            return codec.unreadable(tenant, instance, position, utc_ms=utc_ms, seq=seq)
        return codec.stored(tenant, instance, position, kind=kind, utc_ms=utc_ms, seq=seq, payload=payload)


@contextmanager
def writing(engine: sa.Engine) -> Iterator[sa.Connection]:
    """A transaction beside which nobody writes from its first read on, so that nothing newer is overwritten."""
    with engine.begin() as connection:
        dialect.lock_alerts(connection)
        yield connection


def without_words(alert: Alert) -> Alert:
    """An alert without what was said and what was noted on it."""
    evidence = tuple(replace(piece, text="", answer="", spans=()) for piece in alert.evidence)
    return replace(alert, evidence=evidence, note="")


def forget_old(
    engine: sa.Engine,
    bodies: Bodies,
    *,
    now_ms: int,
    keep_days: int,
    keep_record_days: int,
    held: Instances = frozenset(),
) -> None:
    """Takes away what the state database has kept for long enough, by whole UTC days; calls that are held keep theirs."""
    midnight_ms = now_ms - now_ms % DAY_MS
    forget_words(engine, bodies, midnight_ms - keep_days * DAY_MS, held)
    forget_records(engine, midnight_ms - keep_record_days * DAY_MS, held)


def forget_words(engine: sa.Engine, bodies: Bodies, before_ms: int, held: Instances) -> int:
    """Takes what was said and noted out of alerts, their history, flags and messages, deletes snapshots of calls that
    ended by then, and takes away by whom the calls were.

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
        with writing(engine) as connection:
            rows = connection.execute(query).all()
            for row, alert in bodies.alerts(rows):
                if (row.tenant, row.instance) in held or without_words(alert) == alert:
                    continue
                one = (ALERTS.c.tenant == row.tenant) & (ALERTS.c.alert_id == row.alert_id)
                body = bodies.alert_body(row.tenant, without_words(alert))
                connection.execute(ALERTS.update().where(one).values(body=body))
                done += 1
        if len(rows) < CHUNK:
            break
        low = (rows[-1].raised_ms, rows[-1].alert_id)
    done += _forget_history(engine, bodies, before_ms, held)
    old = sa.select(CALLS.c.instance).where(CALLS.c.tenant == SNAPSHOTS.c.tenant, CALLS.c.ended_ms < before_ms)
    with engine.begin() as connection:
        connection.execute(SNAPSHOTS.delete().where(SNAPSHOTS.c.instance.in_(old)))
    _forget_loose_words(engine, before_ms, held)
    return done


def _forget_loose_words(engine: sa.Engine, before_ms: int, held: Instances) -> None:
    """Notes on flags, messages on their way, whose call it was; calls under hold keep theirs, a message has no call."""
    for table, column, empty, when in (
        (FLAGS, "note", b"", FLAGS.c.utc_ms),
        (CALLS, "caller_key", "", CALLS.c.ended_ms),
    ):
        query = sa.select(table.c.tenant, table.c.instance).distinct().where(when < before_ms, table.c[column] != empty)
        with engine.connect() as connection:
            found = [(row.tenant, row.instance) for row in connection.execute(query)]
        for start in range(0, len(found), CHUNK):
            with engine.begin() as connection:
                for tenant, instance in found[start : start + CHUNK]:
                    if (tenant, instance) not in held:
                        one = (table.c.tenant == tenant) & (table.c.instance == instance) & (when < before_ms)
                        connection.execute(table.update().where(one).values({column: empty}))
    unsent = (OUTBOX.c.created_ms < before_ms) & (OUTBOX.c.body != b"")
    with engine.begin() as connection:
        connection.execute(OUTBOX.update().where(unsent).values(body=b"", state="dead", reason="too_old"))


def _forget_history(engine: sa.Engine, bodies: Bodies, before_ms: int, held: Instances) -> int:
    done, cursor = 0, 0
    while True:
        query = (
            sa.select(ALERT_EVENTS)
            .where(ALERT_EVENTS.c.utc_ms < before_ms, ALERT_EVENTS.c.cursor > cursor)
            .order_by(ALERT_EVENTS.c.cursor)
            .limit(CHUNK)
        )
        with writing(engine) as connection:
            rows = connection.execute(query).all()
            for row, event in bodies.events(rows):
                plain = replace(event, alert=without_words(event.alert))
                if (row.tenant, row.instance) in held or plain == event:
                    continue
                body = bodies.event_body(row.tenant, plain)
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

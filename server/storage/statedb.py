"""The state database: calls, alerts and their stream, snapshots, audit, tokens. SQLAlchemy Core over the shared tables.

Everything here follows from the log and can be made again from it, but for audit, tokens and flags.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, cast

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from sqlalchemy.exc import OperationalError

from detector.alerts import CLOSED, Alert, AlertEvent, AlertState
from detector.events import EarlierComplaint
from detector.replaying import parse_utc_ms
from server.errors import SetupError, StorageError
from server.storage import dialect
from server.storage import ledger as ledger_table
from server.storage.bodies import Bodies
from server.storage.daylog import scrub
from server.storage.port import AuditEntry, Batch, CallRecord, Snapshot, StreamEntry
from server.storage.redactions import redact
from server.storage.retention import CHUNK, without_words
from server.storage.tables import ALERT_EVENTS, ALERTS, AUDIT, CALLS, SNAPSHOTS
from server.storage.vault import PLAIN, Vault

MIN_POSTGRES: Final = 15
POSTGRES_PORT: Final = 5432
CONNECT_S: Final = 5
"""Seconds for a connection, and for a free one of the pool."""
_SESSION: Final = "-c synchronous_commit=on -c statement_timeout=30000 -c lock_timeout=5000 -c idle_in_transaction_session_timeout=10000"
"""What a commit confirms is on the disk, whatever the server's own setting; a process that was stopped in the middle of a
transaction loses it, and its locks with it."""

_CLOSED: Final = tuple(state.value for state in CLOSED)
_ALERT_COLUMNS: Final = (ALERTS.c.tenant, ALERTS.c.alert_id, ALERTS.c.version, ALERTS.c.instance, ALERTS.c.body)


def open_engine(path: Path) -> sa.Engine:
    """Opens the SQLite state database durably and brings its schema up to date."""
    if not path.exists():
        path.touch(mode=0o600)
    engine = sa.create_engine(f"sqlite:///{path}", connect_args={"timeout": 5, "check_same_thread": False})

    @sa.event.listens_for(engine, "connect")
    def _pragmas(connection: Any, _record: Any) -> None:
        cursor = connection.cursor()
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "secure_delete=ON", "foreign_keys=ON"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    migrate(engine)
    return engine


def open_postgres(url: str) -> sa.Engine:
    """Opens the state of record on PostgreSQL and brings its schema up to date.

    Args:
        url: `postgresql://USER:PASSWORD@HOST:PORT/NAME`.

    Raises:
        SetupError: not such an address, or the extra `cluster` is not installed.
        StorageError: the server cannot be reached, or is too old; says which.
    """
    engine = _postgres_engine(url)
    where = f"{engine.url.host or 'localhost'}:{engine.url.port or POSTGRES_PORT}"
    try:
        with engine.connect() as connection:
            version = int((connection.dialect.server_version_info or (0,))[0])
        if version < MIN_POSTGRES:
            raise StorageError(f"database: PostgreSQL {version} at {where}; expected {MIN_POSTGRES} or newer")
        migrate(engine)
    except OperationalError as error:
        engine.dispose()
        raise StorageError(f"database: PostgreSQL at {where} cannot be reached ({type(error.orig).__name__})") from None
    return engine


def _postgres_engine(url: str) -> sa.Engine:
    try:
        address = sa.make_url(url)
    except sa.exc.ArgumentError:
        address = None
    if address is None or address.get_backend_name() != "postgresql":
        raise SetupError("database: expected postgresql://USER:PASSWORD@HOST:PORT/NAME")
    try:
        return sa.create_engine(
            address.set(drivername="postgresql+psycopg"),
            pool_pre_ping=True,
            pool_timeout=CONNECT_S,
            connect_args={"connect_timeout": CONNECT_S, "options": _SESSION},
        )
    except ModuleNotFoundError:
        raise SetupError("database: PostgreSQL needs the extra `cluster`: pip install 'mamori[cluster]'") from None


def migrate(engine: sa.Engine) -> None:
    """Applies the migrations that the database lacks; one process at a time."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    with engine.begin() as connection:
        dialect.lock_schema(connection)
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


class StateDatabase:
    """Reads from any thread, writes from one.

    Args:
        engine: from `open_engine`.
        vault: seals the words in it.
        partition_of: of a tenant and a call id, where calls are spread over workers.
    """

    def __init__(
        self,
        engine: sa.Engine,
        vault: Vault = PLAIN,
        *,
        partition_of: Callable[[str, str], int] | None = None,
    ) -> None:
        self.engine = engine
        self._partition_of = partition_of
        self.bodies = Bodies(vault)

    def write(self, records: Batch) -> list[int | None]:
        """Writes a batch's records in one transaction; a probe writes a page that says what it said before.

        Returns:
            For each alert event its cursor, or None where that version of the alert is known already.
        """
        if not records.has_records:
            return []
        with self.engine.begin() as connection:
            return self.write_within(connection, records)

    def write_within(self, connection: sa.Connection, records: Batch) -> list[int | None]:
        """`write` within a transaction of the caller's."""
        if records.probe:
            dialect.probe(connection)
        if records.calls:
            self._put(connection, CALLS, [{**_fields(item), **self._place(item)} for item in records.calls])
        if records.snapshots:
            rows = [{**_fields(item), "data": self.bodies.snapshot_data(item)} for item in records.snapshots]
            self._put(connection, SNAPSHOTS, rows)
        cursors = [self._alert(connection, tenant, instance, event) for tenant, instance, event in records.alerts]
        for entry in records.audit:
            self._audit(connection, entry)
        for left in records.ledger:
            ledger_table.put(connection, left, self.bodies)
        for item in records.redactions:
            redact(connection, item, self.bodies)
        return cursors

    def _place(self, call: CallRecord) -> dict[str, int]:
        return {} if self._partition_of is None else {"partition": self._partition_of(call.tenant, call.call_id)}

    def scrub(self) -> bool:
        """Empties the journal, where overwritten pages live on; False while a reader holds it.

        PostgreSQL has no such thing: there old versions of a row go with its vacuum.
        """
        if self.engine.dialect.name != "sqlite":
            return True
        connection = self.engine.raw_connection()
        try:
            return scrub(cast("sqlite3.Connection", connection.driver_connection))
        finally:
            connection.close()

    def _put(self, connection: sa.Connection, table: sa.Table, rows: list[dict[str, Any]]) -> None:
        insert = dialect.insert(connection, table)
        keys = [column.name for column in table.primary_key]
        changes = {name: insert.excluded[name] for name in rows[0] if name not in keys}
        connection.execute(insert.on_conflict_do_update(index_elements=keys, set_=changes), rows)

    def _alert(self, connection: sa.Connection, tenant: str, instance: str, event: AlertEvent) -> int | None:
        event = self._as_forgotten(connection, tenant, instance, event)
        alert = event.alert
        written = connection.execute(
            dialect.insert(connection, ALERT_EVENTS)
            .values(
                tenant=tenant,
                alert_id=alert.alert_id,
                version=alert.version,
                instance=instance,
                utc_ms=parse_utc_ms(alert.updated_at),
                body=self.bodies.event_body(tenant, event),
            )
            .on_conflict_do_nothing(index_elements=["tenant", "alert_id", "version"])
            .returning(ALERT_EVENTS.c.cursor)
        ).scalar()
        if written is None:
            return None
        row = {
            "tenant": tenant,
            "alert_id": alert.alert_id,
            "instance": instance,
            "call_id": alert.call_id,
            "queue": alert.call.queue,
            "agent_id": alert.call.agent_id,
            "language": alert.call.language,
            "kind": alert.kind.value,
            "level": alert.level.value,
            "labels": ",".join(alert.labels),
            "state": alert.state.value,
            "outcome": alert.outcome,
            "version": alert.version,
            "raised_ms": parse_utc_ms(alert.raised_at),
            "acknowledged_ms": parse_utc_ms(alert.acknowledged_at) if alert.acknowledged_at else None,
            "body": self.bodies.alert_body(tenant, alert),
        }
        self._put(connection, ALERTS, [row])
        return int(written)

    def _as_forgotten(self, connection: sa.Connection, tenant: str, instance: str, event: AlertEvent) -> AlertEvent:
        """Whoever acts on an alert of a call that is over may have read it before its words were taken away: they stay away."""
        over = sa.select(CALLS.c.ended_ms).where(CALLS.c.tenant == tenant, CALLS.c.instance == instance)
        if connection.execute(over).scalar() is None:
            return event
        stored = connection.execute(
            sa.select(*_ALERT_COLUMNS).where(ALERTS.c.tenant == tenant, ALERTS.c.alert_id == event.alert.alert_id)
        ).first()
        before = self.bodies.alert(stored) if stored is not None else None
        gone = {piece.segment_id for piece in before.evidence if not piece.text} if before is not None else set()
        if not gone:
            return event
        pairs = zip(event.alert.evidence, without_words(event.alert).evidence, strict=True)
        evidence = tuple(plain if piece.segment_id in gone else piece for piece, plain in pairs)
        return replace(event, alert=replace(event.alert, evidence=evidence))

    def _audit(self, connection: sa.Connection, entry: AuditEntry) -> None:
        dialect.lock_audit(connection)
        fields = _fields(entry)
        once = fields.pop("once")
        if once:
            same = [AUDIT.c[name] == value for name, value in fields.items() if name != "utc_ms"]
            if connection.execute(sa.select(AUDIT.c.id).where(*same)).first() is not None:
                return
        last = connection.execute(sa.select(AUDIT.c.digest).order_by(AUDIT.c.id.desc()).limit(1)).scalar() or ""
        connection.execute(AUDIT.insert().values(**fields, digest=chain_digest(last, entry)))

    def verify_audit(self) -> int | None:
        """Checks the audit chain.

        Returns:
            None if it is whole, else the id of the first entry that does not follow from the one before.
        """
        last = ""
        with self.engine.connect() as connection:
            for row in connection.execute(sa.select(AUDIT).order_by(AUDIT.c.id)):
                if chain_digest(last, audit_entry(row)) != row.digest:
                    return int(row.id)
                last = row.digest
        return None

    def open_calls(self, partition: int | None = None) -> list[tuple[CallRecord, Snapshot | None]]:
        """All calls without an end, or those of a partition, with their snapshots."""
        joined = sa.select(CALLS, SNAPSHOTS.c.position, SNAPSHOTS.c.fold_version, SNAPSHOTS.c.data).select_from(
            CALLS.outerjoin(
                SNAPSHOTS, (CALLS.c.tenant == SNAPSHOTS.c.tenant) & (CALLS.c.instance == SNAPSHOTS.c.instance)
            )
        )
        with self.engine.connect() as connection:
            query = joined.where(CALLS.c.ended_ms.is_(None)).order_by(CALLS.c.started_ms)
            if partition is not None:
                query = query.where(CALLS.c.partition == partition)
            rows = connection.execute(query)
            return [(_call(row), self.bodies.snapshot(row) if row.data is not None else None) for row in rows]

    def find_call(self, tenant: str, call_id: str) -> CallRecord | None:
        """The latest instance of a call id."""
        query = (
            sa.select(CALLS)
            .where(CALLS.c.tenant == tenant, CALLS.c.call_id == call_id)
            .order_by(CALLS.c.started_ms.desc(), CALLS.c.instance.desc())
            .limit(1)
        )
        with self.engine.connect() as connection:
            row = connection.execute(query).first()
        return _call(row) if row is not None else None

    def find_calls(self, tenant: str, call_ids: Sequence[str]) -> dict[str, CallRecord]:
        """The latest instance of each of many call ids; those that are unknown are left out."""
        found: dict[str, CallRecord] = {}
        with self.engine.connect() as connection:
            for at in range(0, len(call_ids), CHUNK):
                some = CALLS.c.call_id.in_(call_ids[at : at + CHUNK])
                query = sa.select(CALLS).where(CALLS.c.tenant == tenant, some)
                for row in connection.execute(query.order_by(CALLS.c.started_ms, CALLS.c.instance)):
                    found[row.call_id] = _call(row)
        return found

    def calls(self, tenant: str, *, limit: int, open_only: bool) -> list[CallRecord]:
        """Calls, newest first."""
        query = sa.select(CALLS).where(CALLS.c.tenant == tenant).order_by(CALLS.c.started_ms.desc()).limit(limit)
        if open_only:
            query = query.where(CALLS.c.ended_ms.is_(None))
        with self.engine.connect() as connection:
            return [_call(row) for row in connection.execute(query)]

    def queues(self) -> list[tuple[str, str]]:
        """The queues of all calls that are known, as (tenant, queue)."""
        with self.engine.connect() as connection:
            found = connection.execute(sa.select(CALLS.c.tenant, CALLS.c.queue).distinct())
            return sorted((row.tenant, row.queue) for row in found if row.queue)

    def alert(self, tenant: str, alert_id: str) -> tuple[str, Alert] | None:
        """An alert and its call instance."""
        query = sa.select(*_ALERT_COLUMNS).where(ALERTS.c.tenant == tenant, ALERTS.c.alert_id == alert_id)
        with self.engine.connect() as connection:
            row = connection.execute(query).first()
        alert = self.bodies.alert(row) if row is not None else None
        return (row.instance, alert) if row is not None and alert is not None else None

    def alerts(self, tenant: str, *, open_only: bool, limit: int, call_id: str | None) -> list[Alert]:
        """Alerts, newest first."""
        query = sa.select(*_ALERT_COLUMNS).where(ALERTS.c.tenant == tenant).order_by(ALERTS.c.raised_ms.desc())
        if open_only:
            query = query.where(ALERTS.c.state.not_in(_CLOSED))
        if call_id is not None:
            query = query.where(ALERTS.c.call_id == call_id)
        with self.engine.connect() as connection:
            return [alert for _, alert in self.bodies.alerts(connection.execute(query.limit(limit)))]

    def waiting_alerts(self, *, since_ms: int) -> list[tuple[str, str, Alert]]:
        """Open and snoozed alerts of all tenants, as (tenant, instance, alert)."""
        query = sa.select(*_ALERT_COLUMNS).where(
            ALERTS.c.state.in_((AlertState.OPEN.value, AlertState.SNOOZED.value)), ALERTS.c.raised_ms >= since_ms
        )
        with self.engine.connect() as connection:
            found = self.bodies.alerts(connection.execute(query))
            return [(row.tenant, row.instance, alert) for row, alert in found]

    def stream(self, tenant: str, *, after: int, limit: int) -> list[StreamEntry]:
        """Alert events behind a cursor; fewer than `limit` only where there are no more."""
        query = sa.select(ALERT_EVENTS).where(ALERT_EVENTS.c.tenant == tenant).order_by(ALERT_EVENTS.c.cursor)
        found: list[StreamEntry] = []
        with self.engine.connect() as connection:
            while (missing := limit - len(found)) > 0:
                rows = connection.execute(query.where(ALERT_EVENTS.c.cursor > after).limit(missing)).all()
                found += [
                    StreamEntry(cursor=row.cursor, tenant=tenant, event=event)
                    for row, event in self.bodies.events(rows)
                ]
                if len(rows) < missing:
                    break
                after = rows[-1].cursor
        return found

    def earlier_complaints(self, tenant: str, caller_key: str, *, since_ms: int, limit: int) -> list[EarlierComplaint]:
        """A caller's complaints in the ledger, newest first."""
        with self.engine.connect() as connection:
            return ledger_table.read(connection, tenant, caller_key, since_ms=since_ms, limit=limit, bodies=self.bodies)

    def cursor_range(self) -> tuple[int, int]:
        """First and last cursor of the stream, 0 and 0 when it is empty."""
        query = sa.select(sa.func.min(ALERT_EVENTS.c.cursor), sa.func.max(ALERT_EVENTS.c.cursor))
        with self.engine.connect() as connection:
            low, high = connection.execute(query).one()
        return low or 0, high or 0


def audit_entry(row: Any) -> AuditEntry:
    """An entry of the audit trail, from its row."""
    return AuditEntry(
        tenant=row.tenant,
        utc_ms=row.utc_ms,
        actor=row.actor,
        action=row.action,
        target=row.target,
        detail=row.detail,
    )


def chain_digest(previous: str, entry: AuditEntry) -> str:
    """SHA-256 over the digest of the entry before and this entry's fields: a change anywhere breaks the chain."""
    text = "\x1f".join(
        (previous, entry.tenant, str(entry.utc_ms), entry.actor, entry.action, entry.target, entry.detail)
    )
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _fields(value: Any) -> dict[str, Any]:
    return {name: getattr(value, name) for name in value.__dataclass_fields__}


def _call(row: Any) -> CallRecord:
    return CallRecord(**{name: getattr(row, name) for name in CallRecord.__dataclass_fields__})

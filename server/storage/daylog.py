"""The event log as one SQLite file per UTC day, so that purging a day is unlinking a file.

Knows rows and positions, nothing of calls or alerts. One thread writes; any thread reads, each over its own connection.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, closing
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Final

from detector.events import Segment
from server.running_digits import masked_copy
from server.storage import codec
from server.storage.lock import deciding
from server.storage.port import Instances, Redaction, Row, Stored
from server.storage.retention import Holds
from server.storage.vault import MARK, PLAIN, SealError, Vault

SCHEMA_VERSION: Final = 1
_ROW_BITS: Final = 36
"""A position is the day's ordinal above this many bits of row number: 68 thousand million rows a day."""
_MARK: Final = bytes((MARK,))
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS log (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    tenant TEXT NOT NULL,
    instance TEXT NOT NULL,
    kind TEXT NOT NULL,
    utc_ms INTEGER NOT NULL,
    seq INTEGER,
    payload BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS log_by_call ON log (instance, tenant);
"""
_ROWS_AT_ONCE: Final = (128, 32, 8, 1)
"""Rows in one statement. sqlite3 gives the interpreter lock away at each statement and waits to have it back, up to
`sys.getswitchinterval` while the event loop is busy: row by row, sixty rows took a tenth of a second."""
_INTO: Final = "INSERT INTO log (id, tenant, instance, kind, utc_ms, seq, payload) VALUES "
_INSERT: Final = {size: _INTO + ", ".join(["(?, ?, ?, ?, ?, ?, ?)"] * size) for size in _ROWS_AT_ONCE}

_log = logging.getLogger("mamori.storage")


def day_of(utc_ms: int) -> date:
    """The UTC day of a moment in milliseconds since 1970."""
    return datetime.fromtimestamp(utc_ms / 1000, tz=UTC).date()


def scope_of(day: date) -> str:
    """The vault's scope of a day: no day has more values than one key may seal."""
    return f"log/{day.isoformat()}"


def position_of(day: date, row_id: int) -> int:
    """A position: rises with the day, and within it with the row."""
    return (day.toordinal() << _ROW_BITS) | row_id


def connect(path: Path) -> sqlite3.Connection:
    """Opens a file durably: WAL, a full sync at each commit, deleted content overwritten, readable by its owner only.

    Raises:
        FileNotFoundError: there is no such file; an empty one in its place would pass for a day of the log.
    """
    connection = _opened(path, "rw", timeout_s=5)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA secure_delete=ON")
    return connection


def connect_to_read(path: Path, *, timeout_s: float = 5) -> sqlite3.Connection:
    """Opens a file for reading alone.

    Raises:
        FileNotFoundError: there is no such file.
    """
    return _opened(path, "ro", timeout_s=timeout_s)


def _opened(path: Path, mode: str, *, timeout_s: float) -> sqlite3.Connection:
    address = f"{path.absolute().as_uri()}?mode={mode}"
    try:
        return sqlite3.connect(address, uri=True, isolation_level=None, check_same_thread=False, timeout=timeout_s)
    except sqlite3.OperationalError:
        if path.exists():
            raise
        raise FileNotFoundError(path.name) from None


def scrub(connection: sqlite3.Connection) -> bool:
    """Moves the journal into the file and empties it, without waiting; False while a reader holds it."""
    connection.execute("PRAGMA busy_timeout=0")
    try:
        return bool(connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0)
    except sqlite3.OperationalError:
        return False
    finally:
        connection.execute("PRAGMA busy_timeout=5000")


class DayLog:
    """The day files of one directory.

    Args:
        folder: where they are; made when absent.
        vault: seals the payloads.
    """

    def __init__(self, folder: Path, vault: Vault = PLAIN) -> None:
        self._folder = folder
        self._vault = vault
        self.holds = Holds(folder / "held.sqlite", vault)
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._day: date | None = None
        self._writer: sqlite3.Connection | None = None
        self._unscrubbed: set[date] = set()

    @property
    def clean(self) -> bool:
        """Whether what was overwritten beside the writer is out of every file's journal."""
        return not self._unscrubbed

    def days(self) -> list[date]:
        """The days that have a file, oldest first."""
        return sorted(date.fromisoformat(path.stem.removeprefix("log-")) for path in self._folder.glob("log-*.sqlite"))

    def write(self, rows: Iterable[Row], *, now_ms: int) -> list[int]:
        """Writes rows in one transaction that is durable when this returns; without rows, a page that says what it said before.

        The day never goes back, even when the clock does: positions only rise.

        Returns:
            The position of each row.

        Raises:
            sqlite3.Error: nothing of it was written.
        """
        connection, day = self._writer_for(day_of(now_ms))
        connection.execute("BEGIN IMMEDIATE")
        try:
            top = connection.execute("SELECT coalesce(max(id), 0) FROM log").fetchone()[0]
            prepared = [
                (
                    row_id, row.tenant, row.instance, row.kind, row.utc_ms, row.seq,
                    self._sealed(day, row_id, row.tenant, row.instance, row.kind, row.utc_ms, row.seq, row.value),
                )
                for row_id, row in enumerate(rows, top + 1)
            ]  # fmt: skip
            if not prepared:
                connection.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
            start = 0
            while start < len(prepared):
                size = next(size for size in _ROWS_AT_ONCE if size <= len(prepared) - start)
                flat = [value for row in prepared[start : start + size] for value in row]
                connection.execute(_INSERT[size], flat)
                start += size
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        return [position_of(day, top + 1 + index) for index in range(len(prepared))]

    def read_call(self, tenant: str, instance: str, *, after: int = -1) -> Iterator[Stored]:
        """A call's rows behind a position, in order."""
        for _, stored in self.read_many([(tenant, instance, after)]):
            yield from stored

    def read_many(self, wanted: Sequence[tuple[str, str, int]]) -> Iterator[tuple[int, list[Stored]]]:
        """The rows of many calls, each file opened once.

        Args:
            wanted: (tenant, instance, position after which to read) of each call.

        Yields:
            Index into `wanted` and rows of that call, file by file, so that a call that spans days comes several
            times, oldest rows first.
        """
        days = self.days()
        oldest = position_of(days[0], 0) if days else 1 << 62
        for index, (tenant, instance, after) in enumerate(wanted):
            if after < oldest and (held := self.holds.read(tenant, instance, after=after, before=oldest)):
                yield index, held
        for day in days:
            behind = position_of(day, (1 << _ROW_BITS) - 1)
            try:
                connection = connect_to_read(self._path(day))
            except FileNotFoundError:
                continue  # Purged since the days were listed.
            try:
                for index, (tenant, instance, after) in enumerate(wanted):
                    if after >= behind:
                        continue
                    floor = max(0, after - position_of(day, 0))
                    found = connection.execute(
                        "SELECT id, kind, utc_ms, seq, payload FROM log "
                        "WHERE instance = ? AND tenant = ? AND id > ? ORDER BY id",
                        (instance, tenant, floor),
                    )
                    rows = [self._stored(day, tenant, instance, *row) for row in found]
                    if rows:
                        yield index, rows
            finally:
                connection.close()

    def held(self) -> Instances:
        """Calls under legal hold."""
        return self.holds.instances()

    def deciding(self) -> AbstractContextManager[None]:
        """Keeps the purge, holds and deletions from one another, in whatever process."""
        return deciding(self._folder)

    def redact(self, items: Sequence[Redaction]) -> None:
        """Rewrites segments that were masked after the fact, partials of them too, in the two newest files: a run of
        digits is no older. The old bytes are overwritten in the file; `scrub` takes them out of its journal.

        Belongs on the writer's thread.
        """
        for day in self.days()[-2:]:
            try:
                connection = self._writer if day == self._day and self._writer is not None else connect(self._path(day))
            except FileNotFoundError:
                continue
            try:
                connection.execute("BEGIN IMMEDIATE")
                for item in items:
                    self._redact(connection, day, item)
                connection.execute("COMMIT")
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                if connection is not self._writer:
                    self._unscrubbed.add(day)
                    connection.close()

    def _redact(self, connection: sqlite3.Connection, day: date, item: Redaction) -> None:
        tenant, instance = item.tenant, item.instance
        found = connection.execute(
            "SELECT id, kind, utc_ms, seq, payload FROM log WHERE instance = ? AND tenant = ? AND kind = ?",
            (instance, tenant, "transcript.segment"),
        ).fetchall()
        for row_id, kind, utc_ms, seq, payload in found:
            segment = self._stored(day, tenant, instance, row_id, kind, utc_ms, seq, payload).row.value
            if not isinstance(segment, Segment) or segment.segment_id != item.segment_id:
                continue
            masked = replace(segment, text=masked_copy(segment.text, item.text))
            sealed = self._sealed(day, row_id, tenant, instance, kind, utc_ms, seq, masked)
            connection.execute("UPDATE log SET payload = ? WHERE id = ?", (sealed, row_id))

    def forget(self, tenant: str, instance: str) -> int:
        """Puts tombstones in the place of all that a call's log says, so that its numbers stay and its words go.

        Returns:
            How many rows lost their content.
        """
        done = 0
        for day in self.days():
            try:
                connection = connect(self._path(day))
            except FileNotFoundError:
                continue
            try:
                connection.execute("BEGIN IMMEDIATE")
                found = connection.execute(
                    "SELECT id, utc_ms, seq FROM log WHERE instance = ? AND tenant = ? AND kind != 'tombstone'",
                    (instance, tenant),
                ).fetchall()
                for row_id, utc_ms, seq in found:
                    sealed = self._sealed(
                        day, row_id, tenant, instance, "tombstone", utc_ms, seq, codec.Tombstone(code="forgotten")
                    )
                    connection.execute("UPDATE log SET kind = 'tombstone', payload = ? WHERE id = ?", (sealed, row_id))
                connection.execute("COMMIT")
                done += len(found)
                if not scrub(connection):
                    self._unscrubbed.add(day)
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                connection.close()
        return done

    def _sealed(
        self, day: date, row_id: int, tenant: str, instance: str, kind: str, utc_ms: int, seq: int | None, value: object
    ) -> bytes:
        payload = codec.encode(value)
        if not self._vault.active:
            return payload
        name = codec.row_name(instance, kind, row_id, utc_ms, seq)
        return self._vault.seal(tenant, scope_of(day), name, payload)

    def _stored(
        self,
        day: date,
        tenant: str,
        instance: str,
        row_id: int,
        kind: str,
        utc_ms: int,
        seq: int | None,
        payload: bytes,
    ) -> Stored:
        position = position_of(day, row_id)
        try:
            if self._vault.active or payload[:1] == _MARK:
                name = codec.row_name(instance, kind, row_id, utc_ms, seq)
                payload = self._vault.open(tenant, scope_of(day), name, payload)
        except SealError as error:
            what = {"tenant": tenant, "scope": scope_of(day), "row": row_id, "why": str(error)}
            _log.error("stored value cannot be opened", extra=what)
            return codec.unreadable(tenant, instance, position, utc_ms=utc_ms, seq=seq)
        return codec.stored(tenant, instance, position, kind=kind, utc_ms=utc_ms, seq=seq, payload=payload)

    def scrub(self) -> bool:
        """Empties the journals: what was overwritten lives on until its file has taken the journal in.

        Belongs on the writer's thread.

        Returns:
            False while a reader holds one.
        """
        done = self._writer is None or scrub(self._writer)
        for day in list(self._unscrubbed):
            try:
                with closing(connect(self._path(day))) as connection:
                    clean = scrub(connection)
            except FileNotFoundError:
                clean = True
            if clean:
                self._unscrubbed.discard(day)
        return done and self.clean

    def purge(self, before: date) -> list[date]:
        """Unlinks the files of all days before a day.

        Returns:
            The days that are gone.
        """
        gone = [day for day in self.days() if day < before and day != self._day]
        for day in gone:
            for suffix in ("", "-wal", "-shm"):
                Path(f"{self._path(day)}{suffix}").unlink(missing_ok=True)
        return gone

    def close(self) -> None:
        """Closes the writer's file."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _path(self, day: date) -> Path:
        return self._folder / f"log-{day.isoformat()}.sqlite"

    def _writer_for(self, day: date) -> tuple[sqlite3.Connection, date]:
        if self._day is None and (known := self.days()):
            day = max(day, known[-1])
        if self._day is not None:
            day = max(day, self._day)
        if self._writer is None or day != self._day:
            self.close()
            self._path(day).touch(mode=0o600)
            self._writer = connect(self._path(day))
            self._writer.executescript(_SCHEMA)
            self._writer.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
            self._day = day
        return self._writer, day

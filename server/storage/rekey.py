"""Goes through every sealed value of a data directory: to seal it anew with the newest keys, or to see whether it opens.

Works in small transactions over files that may be in use, so it can run beside a server that knows the new key, and can be
started again after it was broken off.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

from server.errors import SetupError
from server.storage import codec
from server.storage.bodies import SEALED, Place
from server.storage.daylog import connect, connect_to_read, scope_of, scrub
from server.storage.keyfile import (
    KeySource,
    check_mark,
    current_ids,
    drop_mark,
    read_keys,
    read_mark,
    write_mark,
)
from server.storage.lock import attend, serving_with
from server.storage.retention import SCOPE
from server.storage.vault import SealError, Vault

CHUNK: Final = 500
"""Rows in one transaction, so that a server beside it never waits long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Column:
    """One sealed column of one file."""

    path: Path
    table: str
    body: str
    names: tuple[str, ...]
    place: Callable[[Any], Place]


def _columns(data_dir: Path) -> Iterator[_Column]:
    state = data_dir / "state.sqlite"
    if state.exists():
        for (table, body), (names, place) in SEALED.items():
            yield _Column(path=state, table=table, body=body, names=names, place=place)
    names = ("tenant", "instance", "kind", "utc_ms", "seq")
    for path in sorted((data_dir / "log").glob("log-*.sqlite")):
        scope = scope_of(date.fromisoformat(path.stem.removeprefix("log-")))
        yield _Column(path=path, table="log", body="payload", names=("id", *names), place=_row_place(scope, "id"))
    held = data_dir / "log" / "held.sqlite"
    if held.exists():
        named = ("position", *names)
        yield _Column(path=held, table="held", body="payload", names=named, place=_row_place(SCOPE, "position"))


def _row_place(scope: str, number: str) -> Callable[[Any], Place]:
    def place(row: Any) -> Place:
        name = codec.row_name(row.instance, row.kind, getattr(row, number), row.utc_ms, row.seq)
        return row.tenant, scope, name

    return place


def _pages(connection: sqlite3.Connection, column: _Column) -> Iterator[list[tuple[int, Place, bytes]]]:
    """The column's values as (rowid, place, value), each page read within the transaction that the caller opened."""
    query = (
        f"SELECT rowid, {column.body}, {', '.join(column.names)} FROM {column.table} "  # noqa: S608 - names of ours
        f"WHERE rowid > ? AND length({column.body}) > 0 ORDER BY rowid LIMIT {CHUNK}"
    )
    last = -1
    while True:
        rows = connection.execute(query, (last,)).fetchall()
        yield [
            (rowid, column.place(SimpleNamespace(**dict(zip(column.names, names, strict=True)))), value)
            for rowid, value, *names in rows
        ]
        if len(rows) < CHUNK:
            return
        last = rows[-1][0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rekeyed:
    """What became of the values.

    Args:
        changed: sealed anew, or opened.
        damaged: those that cannot be opened; they stay as they are, and one of them must not keep all others.
    """

    changed: int
    damaged: int = 0


def rekey(data_dir: Path, source: KeySource, *, off: bool = False) -> Rekeyed:
    """Seals every value with the newest key of its tenant; values that were not sealed before are sealed now.

    Args:
        off: open every value instead, and leave it so.

    Returns:
        What became of the values.

    Raises:
        SetupError: there are no keys, one is missing or wrong, or the directory is in use by a server that would go on
            without them.
    """
    with attend(data_dir) as alone:
        keys, mark = read_keys(source), read_mark(data_dir)
        if not keys:
            raise SetupError("encryption: set key_file or key_command")
        if mark is not None:
            check_mark(data_dir, mark, keys, source)
        known, current = set(mark.checks) if mark is not None else set(), current_ids(Vault(keys))
        began_plain = mark is None or mark.unfinished
        if not alone and (off or began_plain):
            raise SetupError(f"{data_dir}: in use; stop the server first")
        if not alone and (serving_with(data_dir) or frozenset()) != current:
            raise SetupError(f"{data_dir}: in use by what does not know the newest key; restart the server first")
        target = Vault() if off else Vault(keys)
        reader = Vault(keys, accept_plain=began_plain)
        write_mark(data_dir, Vault(keys), known | current, unfinished=off or began_plain)
        parts = [_rekey_column(column, reader, target) for column in _columns(data_dir)]
        found = Rekeyed(changed=sum(part.changed for part in parts), damaged=sum(part.damaged for part in parts))
        if off:
            drop_mark(data_dir)
        else:
            # What cannot be opened may be a value of an older key in the wrong place.
            write_mark(data_dir, Vault(keys), current | known if found.damaged else current)
        return found


def _rekey_column(column: _Column, reader: Vault, target: Vault) -> Rekeyed:
    done = damaged = 0
    update = f"UPDATE {column.table} SET {column.body} = ? WHERE rowid = ?"  # noqa: S608 - names of ours
    try:
        connected = connect(column.path)
    except FileNotFoundError:
        return Rekeyed(changed=0)  # A purge came between.
    with closing(connected) as connection:
        pages = _pages(connection, column)
        while True:
            connection.execute("BEGIN IMMEDIATE")
            try:
                page = next(pages, None)
                for rowid, place, value in page or ():
                    try:
                        if target.current(place[0], value):
                            continue
                        sealed = target.seal(*place, reader.open(*place, value))
                    except SealError:
                        damaged += 1
                        continue
                    connection.execute(update, (sealed, rowid))
                    done += 1
                connection.execute("COMMIT")
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
            if page is None:
                scrub(connection)
                return Rekeyed(changed=done, damaged=damaged)


def unopened(data_dir: Path, vault: Vault) -> Iterator[str]:
    """Values that cannot be opened, one line for each table and reason."""
    for column in _columns(data_dir):
        found: dict[str, list[int]] = {}
        try:
            connected = connect_to_read(column.path)
        except FileNotFoundError:
            continue  # A purge came between.
        with closing(connected) as connection:
            for page in _pages(connection, column):
                for rowid, place, value in page:
                    try:
                        vault.open(*place, value)
                    except SealError as error:
                        found.setdefault(str(error), []).append(rowid)
        for why, rows in found.items():
            yield f"{column.path.name}: {column.table}: {len(rows)} values cannot be opened ({why}), the first in row {rows[0]}"

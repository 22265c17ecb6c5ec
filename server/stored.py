"""What the command line does with stored data while no server needs to run."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Final

from detector.alerts import AlertEvent
from detector.events import ContextSet, Gap
from detector.playbook import Playbook
from detector.replaying import Replay
from detector.rules import Rules, default_rules
from detector.scoring import Scorer, ScoreResult, Unscored
from detector.session import no_other_rules
from server.errors import SetupError
from server.installation import Installation
from server.keys import house_key
from server.redaction import caller_key
from server.rulebook import Rulebook
from server.storage import ledger
from server.storage.daylog import connect_to_read
from server.storage.lock import alone
from server.storage.port import CallRecord
from server.storage.rekey import unopened
from server.storage.statedb import StateDatabase, open_postgres
from server.storage.tables import CALLS

MAX_STORED: Final = 100_000
"""Stored calls that one comparison of rules replays, the newest."""


def stored_calls(where: Installation, call_id: str | None, tenant: str = "default") -> list[CallRecord]:
    """One stored call, or all of a tenant, newest first.

    Raises:
        SetupError: no such call.
    """
    state = where.state()
    if call_id is None:
        return state.calls(tenant, limit=MAX_STORED, open_only=False)
    record = state.find_call(tenant, call_id)
    if record is None:
        raise SetupError(f"{where.data_dir}: no call of that id")
    return [record]


def replay_stored(
    where: Installation,
    records: Iterable[CallRecord],
    *,
    scorer: Scorer,
    rules: Rules | None,
    playbook: Playbook,
    gate: Callable[[str, str], bool],
) -> Iterator[AlertEvent]:
    """Recomputes stored calls: what went in is taken from their logs, with what supervisors did and what the ledger knew.

    Args:
        rules: for all of them, or None for the rules that each call began with.
    """
    book = Rulebook(where.data_dir / "rules", current=default_rules(), digest="")
    log = where.days()
    for record in records:
        run = Replay(
            rules=rules or default_rules(),
            playbook=playbook,
            score=scorer.score,
            gate=gate,
            tenant=record.tenant,
            rulebook=book.find if rules is None else no_other_rules,
        )
        placed = frozenset(
            stored.row.value.request_id
            for stored in log.read_call(record.tenant, record.instance)
            if isinstance(stored.row.value, ScoreResult | Unscored)
        )
        call = run.restore(record.call_id, instance=record.instance, started_ms=record.started_ms, placed=placed)
        expected = 0
        for stored in log.read_call(record.tenant, record.instance):
            row = stored.row
            if row.seq is not None:
                if row.seq != expected:
                    # One before it never became durable: it was not acknowledged and came again.
                    continue
                expected += 1
            if isinstance(row.value, Gap):
                expected = max(expected, row.value.last_seq + 1)
            value = row.value
            if rules is not None and isinstance(value, ContextSet):
                value = replace(value, rules_version=rules.version, rules_digest="")
            if row.kind != "tombstone":
                yield from run.feed_stored(call, value)
        yield from run.release(call)


def verify(where: Installation) -> list[str]:
    """Checks the audit chain, that SQLite finds no damage in any file, and that every sealed value opens in its place; of a
    cluster the chain alone.

    Returns:
        What is wrong, one line each.
    """
    problems, data_dir = [], where.data_dir
    state = where.state() if where.database is None else StateDatabase(open_postgres(where.database))
    broken = state.verify_audit()
    if broken is not None:
        problems.append(f"audit: entry {broken} does not follow from the one before it")
    if where.database is not None:
        state.engine.dispose()
        return problems
    for path in (data_dir / "state.sqlite", *sorted((data_dir / "log").glob("*.sqlite"))):
        try:
            connection = connect_to_read(path)
        except FileNotFoundError:
            continue  # A purge came between.
        try:
            answer = connection.execute("PRAGMA integrity_check").fetchone()[0]
        except sqlite3.DatabaseError as error:
            answer = str(error)
        finally:
            connection.close()
        if answer != "ok":
            problems.append(f"{path.name}: {answer}")
    return problems if problems else list(unopened(data_dir, where.vault()))


def purge(where: Installation, keep_days: int, keep_record_days: int) -> int:
    """Applies the retention once, as the server does every hour; returns how many day files went."""
    where.state().engine.dispose()
    log = where.log()
    try:
        return log.purge(keep_days=keep_days, keep_record_days=keep_record_days)
    finally:
        log.close()


def hold(where: Installation, call_id: str, tenant: str) -> int:
    """Copies a call to where no purge comes; returns how many rows were copied.

    Raises:
        SetupError: no such call, it has not ended yet, or its words are gone already.
    """
    (record,) = stored_calls(where, call_id, tenant)
    if record.ended_ms is None:
        raise SetupError("call: expected one that has ended; put it under hold then")
    log = where.days()
    with log.deciding():
        rows = list(log.read_call(tenant, record.instance))
        if not rows:
            raise SetupError("call: nothing of its transcript is left")
        return log.holds.add(rows)


def release(where: Installation, call_id: str, tenant: str) -> int:
    """Ends a call's hold; the next purge treats it like any other. Returns how many rows were deleted.

    Raises:
        SetupError: no such call.
    """
    (record,) = stored_calls(where, call_id, tenant)
    log = where.days()
    with log.deciding():
        return log.holds.release(tenant, record.instance)


def forget_caller(where: Installation, tenant: str, caller: str) -> int:
    """Deletes a caller's entries in the ledger; returns how many there were.

    Raises:
        SetupError: there is no database, or the caller is withheld or no valid number and so has no entries.
    """
    key = key_of(where, tenant, caller)
    with where.state().engine.begin() as connection:
        return ledger.forget(connection, tenant, key)


def key_of(where: Installation, tenant: str, caller: str) -> str:
    """A caller's keyed hash.

    Raises:
        SetupError: the caller is withheld or no valid number, and so nothing is kept under it.
    """
    key = caller_key(caller, house_key(where.data_dir, "caller"), tenant)
    if key is None:
        raise SetupError("caller: expected a valid number or an id; nothing is kept of others")
    return key


def rotate_caller_key(where: Installation) -> int:
    """Replaces the key of the callers' hashes; the ledger starts anew and calls from before are nobody's any more, since
    hashes of two keys cannot be compared.

    Returns:
        How many entries were deleted.

    Raises:
        SetupError: a server is running.
    """
    state = where.state()
    with alone(where.data_dir):
        with state.engine.begin() as connection:
            count = ledger.clear(connection)
            connection.execute(CALLS.update().values(caller_key=""))
        (where.data_dir / "caller.key").unlink(missing_ok=True)
        house_key(where.data_dir, "caller")
    return count

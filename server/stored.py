"""What the command line does with stored data while no server needs to run."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

from detector.alerts import AlertEvent
from detector.events import ContextSet, Gap
from detector.playbook import Playbook
from detector.replaying import Replay
from detector.rules import Rules, default_rules
from detector.scoring import Scorer
from detector.session import no_other_rules
from server.errors import SetupError
from server.keys import house_key
from server.redaction import caller_key
from server.rulebook import Rulebook
from server.storage import ledger
from server.storage.daylog import DayLog
from server.storage.embedded import EmbeddedLog
from server.storage.port import CallRecord
from server.storage.statedb import StateDatabase, open_engine


def _state(data_dir: Path) -> StateDatabase:
    path = data_dir / "state.sqlite"
    if not path.exists():
        raise SetupError(f"{path}: no such database")
    return StateDatabase(open_engine(path))


MAX_STORED: Final = 100_000
"""Stored calls that one comparison of rules replays, the newest."""


def stored_calls(data_dir: Path, call_id: str | None, tenant: str = "default") -> list[CallRecord]:
    """One stored call, or all of a tenant, newest first.

    Raises:
        SetupError: no such call.
    """
    state = _state(data_dir)
    if call_id is None:
        return state.calls(tenant, limit=MAX_STORED, open_only=False)
    record = state.find_call(tenant, call_id)
    if record is None:
        raise SetupError(f"{data_dir}: no call of that id")
    return [record]


def replay_stored(
    data_dir: Path,
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
    book = Rulebook(data_dir / "rules", current=default_rules(), digest="")
    log = DayLog(data_dir / "log")
    for record in records:
        run = Replay(
            rules=rules or default_rules(),
            playbook=playbook,
            score=scorer.score,
            gate=gate,
            tenant=record.tenant,
            rulebook=book.find if rules is None else no_other_rules,
        )
        call = run.restore(record.call_id, instance=record.instance, started_ms=record.started_ms)
        expected = 0
        for stored in log.read(record.tenant, record.instance):
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


def verify(data_dir: Path) -> list[str]:
    """Checks the audit chain, and that SQLite finds no damage in any file.

    Returns:
        What is wrong, one line each.
    """
    problems = []
    state = _state(data_dir)
    broken = state.verify_audit()
    if broken is not None:
        problems.append(f"audit: entry {broken} does not follow from the one before it")
    for path in (data_dir / "state.sqlite", *sorted((data_dir / "log").glob("log-*.sqlite"))):
        connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
        try:
            answer = connection.execute("PRAGMA integrity_check").fetchone()[0]
        except sqlite3.DatabaseError as error:
            answer = str(error)
        finally:
            connection.close()
        if answer != "ok":
            problems.append(f"{path.name}: {answer}")
    return problems


def purge(data_dir: Path, keep_days: int, keep_record_days: int) -> int:
    """Applies the retention once, as the server does every hour; returns how many day files went."""
    _state(data_dir).engine.dispose()
    log = EmbeddedLog(data_dir)
    try:
        return log.purge(keep_days=keep_days, keep_record_days=keep_record_days)
    finally:
        log.close()


def hold(data_dir: Path, call_id: str, tenant: str) -> int:
    """Copies a call to where no purge comes; returns how many rows were copied.

    Raises:
        SetupError: no such call, it has not ended yet, or its words are gone already.
    """
    (record,) = stored_calls(data_dir, call_id, tenant)
    if record.ended_ms is None:
        raise SetupError("call: expected one that has ended; put it under hold then")
    log = DayLog(data_dir / "log")
    rows = list(log.read(tenant, record.instance))
    if not rows:
        raise SetupError("call: nothing of its transcript is left")
    return log.holds.add(rows)


def release(data_dir: Path, call_id: str, tenant: str) -> int:
    """Ends a call's hold; the next purge treats it like any other. Returns how many rows were deleted.

    Raises:
        SetupError: no such call.
    """
    (record,) = stored_calls(data_dir, call_id, tenant)
    return DayLog(data_dir / "log").holds.release(tenant, record.instance)


def forget_caller(data_dir: Path, tenant: str, caller: str) -> int:
    """Deletes a caller's entries in the ledger; returns how many there were.

    Raises:
        SetupError: there is no database, or the caller is withheld or no valid number and so has no entries.
    """
    key = caller_key(caller, house_key(data_dir, "caller"), tenant)
    if key is None:
        raise SetupError("caller: expected a valid number or an id; others are never in the ledger")
    with _state(data_dir).engine.begin() as connection:
        return ledger.forget(connection, tenant, key)


def rotate_caller_key(data_dir: Path) -> int:
    """Replaces the key of the callers' hashes; the ledger starts anew, since hashes of two keys cannot be compared.

    Returns:
        How many entries were deleted.
    """
    with _state(data_dir).engine.begin() as connection:
        count = ledger.clear(connection)
    (data_dir / "caller.key").unlink(missing_ok=True)
    house_key(data_dir, "caller")
    return count

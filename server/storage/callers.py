"""All that is stored of one caller, by keyed hash: to hand it out, and to take it away.

What goes: words and notes in the log, snapshots, alerts and their history, messages, flags, and the ledger. What stays: that a
call took place, how long it took and which level it reached, no longer tied to anybody; the log keeps its numbers, so that
what was acknowledged stays so. A call under legal hold is never touched.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

import sqlalchemy as sa

from detector.events import CallStarted
from server.errors import KeptError
from server.storage.port import CallRecord, Words
from server.storage.retention import CHUNK, without_words, writing
from server.storage.statedb import StateDatabase
from server.storage.tables import ALERT_EVENTS, ALERTS, CALLS, FLAGS, LEDGER, LEDGER_SHARED, OUTBOX, SNAPSHOTS

MAX_NAMED: Final = 5
"""Calls that a refusal names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gone:
    """What was taken away.

    Args:
        calls: whose words went.
        kept: calls that a legal hold keeps.
    """

    calls: int
    kept: int = 0


def calls_of(state: StateDatabase, words: Words, tenant: str, caller_key: str) -> list[CallRecord]:
    """A caller's calls, oldest first."""
    _fill(state, words, tenant)
    query = sa.select(CALLS).where(CALLS.c.tenant == tenant, CALLS.c.caller_key == caller_key)
    with state.engine.connect() as connection:
        rows = connection.execute(query.order_by(CALLS.c.started_ms, CALLS.c.instance)).all()
    return [CallRecord(**{name: getattr(row, name) for name in CallRecord.__dataclass_fields__}) for row in rows]


def _fill(state: StateDatabase, words: Words, tenant: str) -> None:
    """Calls from before the hash was on the record get it from their log; those that have no log any more are nobody's."""
    unknown = (CALLS.c.tenant == tenant) & CALLS.c.caller_key.is_(None)
    while True:
        with state.engine.connect() as connection:
            found = list(connection.execute(sa.select(CALLS.c.instance).where(unknown).limit(CHUNK)).scalars())
        keys = dict.fromkeys(found, "")
        for index, stored in words.read_many([(tenant, instance, -1) for instance in found]):
            for item in stored:
                if isinstance(item.row.value, CallStarted):
                    keys[found[index]] = item.row.value.caller_key
        with state.engine.begin() as connection:
            for instance, key in keys.items():
                one = unknown & (CALLS.c.instance == instance)
                connection.execute(CALLS.update().where(one).values(caller_key=key))
        if len(found) < CHUNK:
            return


def ledger_of(state: StateDatabase, tenant: str, caller_key: str) -> list[dict[str, Any]]:
    """What the ledger holds of a caller, without the embeddings: calls, times, how often something was raised."""
    query = (
        sa.select(LEDGER.c.instance, LEDGER.c.ordinal, LEDGER.c.utc_ms, LEDGER.c.raisings)
        .where(LEDGER.c.tenant == tenant, LEDGER.c.caller_key == caller_key)
        .order_by(LEDGER.c.utc_ms, LEDGER.c.instance, LEDGER.c.ordinal)
    )
    with state.engine.connect() as connection:
        return [dict(row._mapping) for row in connection.execute(query)]


def check_free(words: Words, records: list[CallRecord]) -> None:
    """Refuses to forget what must be kept.

    Raises:
        KeptError: calls are under legal hold, or under way.
    """
    held = words.held()
    for code, kept, why in (
        ("held", [item for item in records if (item.tenant, item.instance) in held], "under legal hold"),
        ("live", [item for item in records if item.ended_ms is None], "still under way"),
    ):
        if kept:
            names = ", ".join(item.call_id for item in kept[:MAX_NAMED]) + (" …" if len(kept) > MAX_NAMED else "")
            raise KeptError(code, f"{len(kept)} of the caller's calls are {why}: {names}")


def forget_caller(
    state: StateDatabase, words: Words, tenant: str, caller_key: str, *, began_by_ms: int, now_ms: int
) -> Gone:
    """Takes away all that is stored of a caller's calls, but for those under legal hold.

    A call without an end is closed: only one that an older backup brought back can be here.

    Args:
        began_by_ms: UTC; calls whose first event came later are somebody's new calls, and stay.
        now_ms: UTC.
    """
    held, done, kept = words.held(), 0, 0
    for record in calls_of(state, words, tenant, caller_key):
        if record.opened_ms > began_by_ms:
            continue
        if (tenant, record.instance) in held:
            kept += 1
            continue
        words.forget(tenant, record.instance)
        with writing(state.engine) as connection:
            _forget_call(connection, state, record, now_ms)
        done += 1
    changed = done
    with state.engine.begin() as connection:
        for table in (LEDGER, LEDGER_SHARED):
            mine = (table.c.tenant == tenant) & (table.c.caller_key == caller_key) & (table.c.utc_ms <= began_by_ms)
            changed += connection.execute(table.delete().where(mine)).rowcount
    if changed:
        state.scrub()
    return Gone(calls=done, kept=kept)


def _forget_call(connection: sa.Connection, state: StateDatabase, record: CallRecord, now_ms: int) -> None:
    def mine(table: sa.Table) -> sa.ColumnElement[bool]:
        return (table.c.tenant == record.tenant) & (table.c.instance == record.instance)

    bodies = state.bodies
    rows = connection.execute(sa.select(ALERTS).where(mine(ALERTS))).all()
    for row, alert in bodies.alerts(rows):
        body = bodies.alert_body(record.tenant, without_words(alert))
        connection.execute(ALERTS.update().where(mine(ALERTS), ALERTS.c.alert_id == row.alert_id).values(body=body))
    history = sa.select(ALERT_EVENTS).where(
        ALERT_EVENTS.c.tenant == record.tenant, ALERT_EVENTS.c.alert_id.in_([row.alert_id for row in rows])
    )
    for row, event in bodies.events(connection.execute(history).all()):
        body = bodies.event_body(record.tenant, replace(event, alert=without_words(event.alert)))
        connection.execute(ALERT_EVENTS.update().where(ALERT_EVENTS.c.cursor == row.cursor).values(body=body))
    for row in rows:
        waiting = (OUTBOX.c.tenant == record.tenant) & (OUTBOX.c.alert_id == row.alert_id) & (OUTBOX.c.body != b"")
        connection.execute(OUTBOX.update().where(waiting).values(body=b"", state="dead", reason="forgotten"))
    connection.execute(SNAPSHOTS.delete().where(mine(SNAPSHOTS)))
    connection.execute(FLAGS.update().where(mine(FLAGS)).values(note=b""))
    values: dict[str, Any] = {"caller_key": ""}
    if record.ended_ms is None:
        values |= {"ended_ms": now_ms, "end_reason": "forgotten"}
    connection.execute(CALLS.update().where(mine(CALLS)).values(values))

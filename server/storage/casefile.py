"""Reads all that is stored of one call, for its incident report."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

import sqlalchemy as sa

from server.incident import Flag, Sources
from server.storage.bodies import Bodies
from server.storage.port import AuditEntry, CallRecord, Stored
from server.storage.statedb import audit_entry
from server.storage.tables import ALERT_EVENTS, ALERTS, AUDIT, CALLS, FLAGS

MAX_ISSUES: Final = 1_000
"""Issued reports of one call that are looked through for a hash."""


def find_instance(engine: sa.Engine, tenant: str, call_id: str, instance: str | None) -> CallRecord | None:
    """A call by its id, the latest of that id unless one of its instances is named."""
    query = sa.select(CALLS).where(CALLS.c.tenant == tenant, CALLS.c.call_id == call_id)
    if instance is not None:
        query = query.where(CALLS.c.instance == instance)
    with engine.connect() as connection:
        row = connection.execute(query.order_by(CALLS.c.started_ms.desc(), CALLS.c.instance.desc()).limit(1)).first()
    return CallRecord(**{name: getattr(row, name) for name in CallRecord.__dataclass_fields__}) if row else None


def read_sources(
    engine: sa.Engine, bodies: Bodies, record: CallRecord, read_call: Callable[[str, str], Iterator[Stored]]
) -> Sources:
    """The call's log, alerts with their history, and flags."""
    tenant, instance = record.tenant, record.instance
    with engine.connect() as connection:
        alerts = [
            alert
            for _, alert in bodies.alerts(
                connection.execute(
                    sa.select(ALERTS)
                    .where(ALERTS.c.tenant == tenant, ALERTS.c.call_id == record.call_id, ALERTS.c.instance == instance)
                    .order_by(ALERTS.c.raised_ms, ALERTS.c.alert_id)
                )
            )
        ]
        history = [
            event
            for _, event in bodies.events(
                connection.execute(
                    sa.select(ALERT_EVENTS)
                    .where(
                        ALERT_EVENTS.c.tenant == tenant,
                        ALERT_EVENTS.c.alert_id.in_([alert.alert_id for alert in alerts]),
                    )
                    .order_by(ALERT_EVENTS.c.cursor)
                )
            )
        ]
        flags = [
            Flag(
                segment_id=row.segment_id,
                labels=tuple(filter(None, row.labels.split(","))),
                note=bodies.note(row),
                actor=row.actor,
                utc_ms=row.utc_ms,
            )
            for row in connection.execute(
                sa.select(FLAGS).where(FLAGS.c.tenant == tenant, FLAGS.c.instance == instance).order_by(FLAGS.c.id)
            )
        ]
    return Sources(record=record, rows=list(read_call(tenant, instance)), alerts=alerts, history=history, flags=flags)


def issued(engine: sa.Engine, tenant: str, instance: str) -> list[AuditEntry]:
    """The reports that were issued of a call, newest first; the detail of each begins with its hash."""
    query = (
        sa.select(AUDIT)
        .where(AUDIT.c.tenant == tenant, AUDIT.c.action == "incident.issue", AUDIT.c.target == instance)
        .order_by(AUDIT.c.id.desc())
        .limit(MAX_ISSUES)
    )
    with engine.connect() as connection:
        return [audit_entry(row) for row in connection.execute(query)]

"""Prevalence: how often it happens, by day, hour, queue, label and level, counted in the database."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

import sqlalchemy as sa

from server.storage.tables import ALERTS, CALLS

_DAY_MS: Final = 86_400_000
_HOUR_MS: Final = 3_600_000


def prevalence(
    engine: sa.Engine,
    tenant: str,
    *,
    since_ms: int,
    until_ms: int,
    offset_minutes: int = 0,
    queues: frozenset[str] | None,
) -> dict[str, Any]:
    """Counts alerts and calls.

    Args:
        since_ms, until_ms: UTC milliseconds since 1970, the end exclusive.
        offset_minutes: of the house's time zone from UTC, for days and hours.
        queues: only these, or None.

    Returns:
        JSON-ready counts; `share` is calls with a warning or above over all calls.
    """
    shift = offset_minutes * 60_000
    within = [ALERTS.c.tenant == tenant, ALERTS.c.raised_ms >= since_ms, ALERTS.c.raised_ms < until_ms]
    called = [CALLS.c.tenant == tenant, CALLS.c.started_ms >= since_ms, CALLS.c.started_ms < until_ms]
    if queues is not None:
        within.append(ALERTS.c.queue.in_(queues))
        called.append(CALLS.c.queue.in_(queues))

    def count(connection: sa.Connection, key: sa.ColumnElement[Any]) -> dict[str, int]:
        query = sa.select(key, sa.func.count()).where(*within, ALERTS.c.state != "retracted").group_by(key)
        return {str(name): number for name, number in connection.execute(query)}

    day = (ALERTS.c.raised_ms + shift) / _DAY_MS
    with engine.connect() as connection:
        labels: dict[str, int] = {}
        for joined, number in count(connection, ALERTS.c.labels).items():
            for label in filter(None, joined.split(",")):
                labels[label] = labels.get(label, 0) + number
        by_day = count(connection, sa.cast(sa.func.floor(day), sa.Integer))
        hour = sa.cast(sa.func.floor((ALERTS.c.raised_ms + shift) / _HOUR_MS), sa.Integer) % 24
        by_hour = count(connection, hour)
        calls, handle_ms = connection.execute(
            sa.select(sa.func.count(), sa.func.avg(CALLS.c.talk_ms)).where(*called)
        ).one()
        harassed = connection.execute(
            sa.select(sa.func.count()).where(*called, CALLS.c.level.in_(("warning", "escalate", "critical")))
        ).scalar_one()
        acknowledged = connection.execute(
            sa.select(sa.func.avg(ALERTS.c.acknowledged_ms - ALERTS.c.raised_ms)).where(
                *within, ALERTS.c.acknowledged_ms.is_not(None)
            )
        ).scalar()
        outcomes = count(connection, ALERTS.c.outcome)
        result = {
            "since_ms": since_ms,
            "until_ms": until_ms,
            "calls": calls,
            "calls_with_warning": harassed,
            "share": round(harassed / calls, 4) if calls else None,
            "alerts": sum(count(connection, ALERTS.c.kind).values()),
            "by_kind": count(connection, ALERTS.c.kind),
            "by_level": count(connection, ALERTS.c.level),
            "by_queue": count(connection, ALERTS.c.queue),
            "by_label": labels,
            "by_day": {_date(int(key)): number for key, number in sorted(by_day.items())},
            "by_hour": {f"{int(key):02d}": number for key, number in sorted(by_hour.items())},
            "handle_ms": round(handle_ms) if handle_ms is not None else None,
            "acknowledge_ms": round(acknowledged) if acknowledged is not None else None,
        }
    resolved = sum(number for key, number in outcomes.items() if key)
    result["false_alarm_share"] = round(outcomes.get("false_alarm", 0) / resolved, 4) if resolved else None
    return result


def _date(day: int) -> str:
    return datetime.fromtimestamp(day * 86_400, tz=UTC).date().isoformat()

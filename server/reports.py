"""Prevalence: how often it happens, by day, hour, queue, label and level; how long it takes; how often it was a false alarm.

Counted in the database over two covering indices, in a handful of grouped queries; only group rows reach Python. Days and hours
are those of a time zone, daylight saving included: alerts are grouped by quarter hours, which no zone cuts through.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from typing import Any, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import sqlalchemy as sa

from server.errors import RequestError
from server.storage.tables import ALERTS, CALLS

_QUARTER_MS: Final = 900_000
"""Every offset from UTC in use is a multiple of a quarter of an hour."""
_SECOND_MS: Final = 1_000
"""Durations are grouped by whole seconds; a percentile is exact to a second."""
GRAVE: Final = ("warning", "escalate", "critical")


def zone_of(name: str, *, offset_minutes: int | None = None) -> tzinfo:
    """A time zone by name, or by its offset from UTC.

    Raises:
        RequestError: there is no zone of that name.
    """
    if offset_minutes is not None:
        return timezone(timedelta(minutes=offset_minutes))
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise RequestError("bad_request", "expected a time zone, for example Asia/Tokyo", field="timezone") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """What a report covers.

    Args:
        since_ms, until_ms: UTC milliseconds since 1970, the end exclusive.
        zone: of days and hours.
        queues: only these, or None for all.
    """

    since_ms: int
    until_ms: int
    zone: tzinfo
    queues: frozenset[str] | None = None


@dataclass(slots=True, kw_only=True)
class _Durations:
    """Durations by whole seconds: how many there are of each."""

    counts: dict[int, int] = field(default_factory=lambda: defaultdict(int))
    total_ms: int = 0

    def add(self, seconds: int, count: int, total_ms: int) -> None:
        self.counts[seconds] += count
        self.total_ms += total_ms

    def fields(self, name: str) -> dict[str, int | None]:
        """Mean, median and 90th percentile in milliseconds; None of each when there is nothing."""
        count = sum(self.counts.values())
        if not count:
            return {f"{name}_ms": None, f"{name}_p50_ms": None, f"{name}_p90_ms": None}
        found: dict[str, int | None] = {f"{name}_ms": round(self.total_ms / count)}
        for percent in (50, 90):
            rank, seen = -(-count * percent // 100), 0
            for seconds in sorted(self.counts):
                seen += self.counts[seconds]
                if seen >= rank:
                    found[f"{name}_p{percent}_ms"] = seconds * _SECOND_MS
                    break
        return found


@dataclass(slots=True, kw_only=True)
class _Queue:
    calls: int = 0
    grave: int = 0
    alerts: int = 0
    resolved: int = 0
    false: int = 0
    handle: _Durations = field(default_factory=_Durations)
    acknowledge: _Durations = field(default_factory=_Durations)

    def fields(self) -> dict[str, Any]:
        return {
            "calls": self.calls,
            "calls_with_warning": self.grave,
            "share": _share(self.grave, self.calls),
            "alerts": self.alerts,
            "false_alarm_share": _share(self.false, self.resolved),
            **self.handle.fields("handle"),
            **self.acknowledge.fields("acknowledge"),
        }


def prevalence(engine: sa.Engine, tenant: str, window: Window) -> dict[str, Any]:
    """Counts alerts that were not retracted, and calls.

    Returns:
        JSON-ready counts. `share` is calls that reached a warning or above over all calls; `false_alarm_share` is false
        alarms over resolved alerts; `handle_…` is talk time, `acknowledge_…` from the raise to the acknowledgement.
    """
    queues: dict[str, _Queue] = defaultdict(_Queue)
    counts: dict[str, dict[str, int]] = {
        name: defaultdict(int) for name in ("by_kind", "by_level", "by_label", "by_outcome")
    }
    with engine.connect() as connection:
        for kind, level, queue, labels, outcome, number in connection.execute(_alerts_by_what(tenant, window)):
            queues[queue].alerts += number
            counts["by_kind"][kind] += number
            counts["by_level"][level] += number
            for label in filter(None, labels.split(",")):
                counts["by_label"][label] += number
            if outcome:
                counts["by_outcome"][outcome] += number
                queues[queue].resolved += number
                queues[queue].false += number if outcome == "false_alarm" else 0
        for queue, seconds, number, total_ms in connection.execute(_acknowledgements(tenant, window)):
            queues[queue].acknowledge.add(seconds, number, total_ms)
        for queue, grave, seconds, number, total_ms in connection.execute(_calls_by_what(tenant, window)):
            queues[queue].calls += number
            queues[queue].grave += number if grave else 0
            queues[queue].handle.add(seconds, number, total_ms)
        alert_times = [(row[0], row[1]) for row in connection.execute(_alerts_by_time(tenant, window))]
        call_times = [(row[0], row[1], row[2]) for row in connection.execute(_calls_by_time(tenant, window))]
    whole = _Queue()
    for item in queues.values():
        _add(whole, item)
    by_hour: dict[str, int] = defaultdict(int)
    for quarter, number in alert_times:
        by_hour[f"{_local(quarter, window.zone):%H}"] += number
    days = _days(alert_times, call_times, window.zone)
    fields = whole.fields()
    return {
        "since_ms": window.since_ms,
        "until_ms": window.until_ms,
        "timezone": str(window.zone),
        **fields,
        **{name: dict(sorted(found.items())) for name, found in counts.items()},
        "by_queue": {name: item.alerts for name, item in sorted(queues.items()) if item.alerts},
        "by_day": {day: item["alerts"] for day, item in days.items() if item["alerts"]},
        "by_hour": dict(sorted(by_hour.items())),
        "days": days,
        "queues": {name: item.fields() for name, item in sorted(queues.items())},
    }


def _alerts_within(tenant: str, window: Window) -> list[sa.ColumnElement[bool]]:
    within = [
        ALERTS.c.tenant == tenant,
        ALERTS.c.raised_ms >= window.since_ms,
        ALERTS.c.raised_ms < window.until_ms,
        ALERTS.c.state != "retracted",
    ]
    return within if window.queues is None else [*within, ALERTS.c.queue.in_(sorted(window.queues))]


def _calls_within(tenant: str, window: Window) -> list[sa.ColumnElement[bool]]:
    within = [
        CALLS.c.tenant == tenant,
        CALLS.c.started_ms >= window.since_ms,
        CALLS.c.started_ms < window.until_ms,
    ]
    return within if window.queues is None else [*within, CALLS.c.queue.in_(sorted(window.queues))]


def _alerts_by_what(tenant: str, window: Window) -> sa.Select[Any]:
    key = (ALERTS.c.kind, ALERTS.c.level, ALERTS.c.queue, ALERTS.c.labels, ALERTS.c.outcome)
    return sa.select(*key, sa.func.count()).where(*_alerts_within(tenant, window)).group_by(*key)


def _alerts_by_time(tenant: str, window: Window) -> sa.Select[Any]:
    quarter = ALERTS.c.raised_ms // _QUARTER_MS
    return sa.select(quarter, sa.func.count()).where(*_alerts_within(tenant, window)).group_by(quarter)


def _acknowledgements(tenant: str, window: Window) -> sa.Select[Any]:
    took_ms = ALERTS.c.acknowledged_ms - ALERTS.c.raised_ms
    seconds = took_ms // _SECOND_MS
    within = (*_alerts_within(tenant, window), ALERTS.c.acknowledged_ms.is_not(None))
    return (
        sa.select(ALERTS.c.queue, seconds, sa.func.count(), sa.func.sum(took_ms))
        .where(*within)
        .group_by(ALERTS.c.queue, seconds)
    )


def _calls_by_what(tenant: str, window: Window) -> sa.Select[Any]:
    grave, seconds = CALLS.c.level.in_(GRAVE), CALLS.c.talk_ms // _SECOND_MS
    return (
        sa.select(CALLS.c.queue, grave, seconds, sa.func.count(), sa.func.sum(CALLS.c.talk_ms))
        .where(*_calls_within(tenant, window))
        .group_by(CALLS.c.queue, grave, seconds)
    )


def _calls_by_time(tenant: str, window: Window) -> sa.Select[Any]:
    grave, quarter = CALLS.c.level.in_(GRAVE), CALLS.c.started_ms // _QUARTER_MS
    return sa.select(quarter, grave, sa.func.count()).where(*_calls_within(tenant, window)).group_by(quarter, grave)


def _add(whole: _Queue, part: _Queue) -> None:
    whole.calls += part.calls
    whole.grave += part.grave
    whole.alerts += part.alerts
    whole.resolved += part.resolved
    whole.false += part.false
    for into, out_of in ((whole.handle, part.handle), (whole.acknowledge, part.acknowledge)):
        into.total_ms += out_of.total_ms
        for seconds, count in out_of.counts.items():
            into.counts[seconds] += count


def _days(
    alerts: Iterable[tuple[int, int]], calls: Iterable[tuple[int, bool, int]], zone: tzinfo
) -> dict[str, dict[str, int]]:
    days: dict[str, dict[str, int]] = defaultdict(lambda: {"alerts": 0, "calls": 0, "calls_with_warning": 0})
    for quarter, number in alerts:
        days[_local(quarter, zone).date().isoformat()]["alerts"] += number
    for quarter, grave, number in calls:
        day = days[_local(quarter, zone).date().isoformat()]
        day["calls"] += number
        day["calls_with_warning"] += number if grave else 0
    return dict(sorted(days.items()))


def _local(quarter: int, zone: tzinfo) -> datetime:
    return datetime.fromtimestamp(quarter * _QUARTER_MS / 1000, tz=UTC).astimezone(zone)


def _share(part: int, whole: int) -> float | None:
    return round(part / whole, 4) if whole else None


def table_rows(report: Mapping[str, Any]) -> list[tuple[str, str, Any]]:
    """A report as rows of (measure, key, value), for CSV; a nested measure is `queues.handle_ms` with the queue as key."""
    rows: list[tuple[str, str, Any]] = []
    for measure, value in report.items():
        if not isinstance(value, dict):
            rows.append((measure, "", value))
            continue
        for key, inner in value.items():
            if isinstance(inner, dict):
                rows += [(f"{measure}.{name}", key, number) for name, number in inner.items()]
            else:
                rows.append((measure, key, inner))
    return rows

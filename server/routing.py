"""Who is called for an alert, and who next if nobody comes: queue to tiers of people and senders, with hours.

Pure: the moment is an argument. An alert begins at the first tier that is on duty. Whoever is told has the tier's time to
acknowledge, assign-and-acknowledge, snooze or resolve; then it passes on to the next tier that is on duty. If no tier is
on duty, the last one is told all the same: better to wake somebody than nobody.
"""

from __future__ import annotations

import logging
import re
from datetime import UTC, datetime, time, timedelta
from typing import Annotated, Final, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from detector.alerts import Alert, AlertState
from detector.labels import Level
from detector.replaying import parse_utc_ms

ANY: Final = "*"
MAX_NAMED: Final = 20
"""Queues that one warning names."""
_DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_HOURS: Final = re.compile(r"(?:(?P<days>[a-z,-]+) )?(?P<start>\d\d:\d\d)-(?P<end>\d\d:\d\d)")
_EXPECTED: Final = "expected for example mon-fri 09:00-18:00"

_log = logging.getLogger("mamori.routing")


class Hours:
    """A span of the week, for example `mon-fri 09:00-18:00`; an end before the start is on the next day.

    Raises:
        ValueError: the text says something else.
    """

    def __init__(self, text: str) -> None:
        match = _HOURS.fullmatch(text)
        if match is None:
            raise ValueError(_EXPECTED)
        self._days = _days(match["days"] or "mon-sun")
        self._start = _clock(match["start"])
        self._end = _clock(match["end"])
        if self._start == self._end:
            raise ValueError("the span is empty; leave hours out for always, or use 00:00-24:00")

    def covers(self, local: datetime) -> bool:
        """Whether a local moment lies within; the start counts, the end does not."""
        since = timedelta(hours=local.hour, minutes=local.minute, seconds=local.second)
        today = local.weekday()
        if self._start < self._end:
            return today in self._days and self._start <= since < self._end
        return (today in self._days and since >= self._start) or ((today - 1) % 7 in self._days and since < self._end)


def _days(text: str) -> frozenset[int]:
    found: set[int] = set()
    for part in text.split(","):
        first, _, last = part.partition("-")
        if first not in _DAYS or (last and last not in _DAYS):
            raise ValueError(_EXPECTED)
        start, end = _DAYS.index(first), _DAYS.index(last or first)
        found.update((start + offset) % 7 for offset in range((end - start) % 7 + 1))
    return frozenset(found)


def _clock(text: str) -> timedelta:
    if text == "24:00":
        return timedelta(hours=24)
    try:
        moment = time.fromisoformat(text)
    except ValueError:
        raise ValueError(_EXPECTED) from None
    return timedelta(hours=moment.hour, minutes=moment.minute)


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError("expected a time zone, for example Asia/Tokyo") from None
    return name


def _span(text: str) -> str:
    Hours(text)
    return text


ZoneName = Annotated[str, AfterValidator(_zone)]
LevelName = Literal["notice", "warning", "escalate", "critical"]


class Tier(BaseModel):
    """People and senders that are told together."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    people: tuple[str, ...] = ()
    senders: tuple[str, ...] = ()
    hours: tuple[Annotated[str, AfterValidator(_span)], ...] = ()
    after_s: float | None = Field(default=None, gt=0, le=86_400)


class Route(BaseModel):
    """The tiers of one queue, or of all that have none of their own (`*`)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    queue: str = Field(min_length=1, max_length=256)
    tenant: str = Field(default="default", min_length=1, max_length=64)
    timezone: ZoneName | None = None
    tiers: tuple[Tier, ...] = Field(min_length=1, max_length=10)


class RoutingTable(BaseModel):
    """All routes of the house.

    Args:
        timezone: in which hours are read where a route names none.
        unattended_s: seconds that a tier has, where it names none.
        least_level: alerts below it are passed on to nobody.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    timezone: ZoneName = "Asia/Tokyo"
    unattended_s: float = Field(default=120, gt=0, le=86_400)
    least_level: LevelName = "warning"
    routes: tuple[Route, ...] = ()

    def route(self, tenant: str, queue: str) -> Route | None:
        """The route of a queue, its own before the tenant's `*`; None when there is neither."""
        found = None
        for route in self.routes:
            if route.tenant == tenant and route.queue == queue:
                return route
            if route.tenant == tenant and route.queue == ANY:
                found = found or route
        return found

    def on_duty(self, tenant: str, queue: str, *, utc_ms: int, least: int = 0) -> int | None:
        """The first tier from `least` on that is on duty; None when there is none, or no route."""
        route = self.route(tenant, queue)
        if route is None:
            return None
        local = datetime.fromtimestamp(utc_ms / 1000, tz=UTC).astimezone(ZoneInfo(route.timezone or self.timezone))
        for index, tier in enumerate(route.tiers):
            if index >= least and (not tier.hours or any(Hours(span).covers(local) for span in tier.hours)):
                return index
        return None

    def first(self, tenant: str, queue: str, *, utc_ms: int) -> int:
        """The tier at which an alert of that moment begins: the first on duty, else the last; 0 without a route."""
        route = self.route(tenant, queue)
        if route is None:
            return 0
        found = self.on_duty(tenant, queue, utc_ms=utc_ms)
        return len(route.tiers) - 1 if found is None else found

    def tier(self, tenant: str, queue: str, index: int) -> Tier | None:
        """A tier of a queue's route, or None when there is none of that number."""
        route = self.route(tenant, queue)
        return route.tiers[index] if route is not None and index < len(route.tiers) else None

    def due_ms(self, tenant: str, queue: str, index: int, *, since_ms: int) -> int:
        """UTC milliseconds at which a tier's time is up."""
        tier = self.tier(tenant, queue, index)
        limit_s = self.unattended_s if tier is None or tier.after_s is None else tier.after_s
        return since_ms + round(limit_s * 1000)

    def next(self, tenant: str, queue: str, index: int, *, utc_ms: int) -> tuple[int, tuple[str, ...]]:
        """Where an alert goes from a tier whose time is up.

        Returns:
            The tier and whom it tells; the number of tiers and nobody when there is none left.
        """
        route = self.route(tenant, queue)
        count = len(route.tiers) if route is not None else 1
        found = self.on_duty(tenant, queue, utc_ms=utc_ms, least=index + 1)
        if found is None:
            return max(count, index + 1), ()
        tier = self.tier(tenant, queue, found)
        return found, (*tier.people, *tier.senders) if tier is not None else ()

    def last(self, tenant: str, queue: str, index: int) -> bool:
        """Whether an alert that has come this far is passed on no more."""
        route = self.route(tenant, queue)
        return index >= (len(route.tiers) if route is not None else 1)

    def unrouted(self, queues: list[tuple[str, str]]) -> list[tuple[str, str]]:
        """Those of the (tenant, queue) pairs that have no route."""
        return [(tenant, queue) for tenant, queue in queues if self.route(tenant, queue) is None]


def warn_unrouted(table: RoutingTable, queues: list[tuple[str, str]]) -> None:
    """Says in the log which queues have no route: their alerts reach the open streams and call nobody."""
    names = sorted({queue for _, queue in table.unrouted(queues)})
    if names:
        shown = ", ".join(names[:MAX_NAMED]) + (" and more" if len(names) > MAX_NAMED else "")
        _log.warning("queues without a route in [routing]: %s", shown)


def tier_of(table: RoutingTable, tenant: str, alert: Alert) -> int:
    """The tier that an alert waits for: where it was passed on to, else where it began."""
    return alert.tier or table.first(tenant, alert.call.queue, utc_ms=parse_utc_ms(waiting_since(alert)))


def waiting_since(alert: Alert) -> str:
    """UTC, RFC 3339, from which an open alert waits at its tier."""
    return alert.waiting_since or alert.raised_at


def passes_on(table: RoutingTable, alert: Alert) -> bool:
    """Whether an alert is of those that somebody must take: open, certain, and grave enough."""
    return alert.state is AlertState.OPEN and not alert.provisional and alert.level >= Level(table.least_level)

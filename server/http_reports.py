"""The HTTP endpoints of reports: prevalence as JSON or CSV, and operators' load."""

# Annotations are evaluated at once here: FastAPI reads the dependencies in them, which only exist within the methods.

import asyncio
import csv
import io
from collections.abc import Callable
from functools import partial
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, FastAPI, Query
from fastapi.responses import JSONResponse, Response

from detector.replaying import parse_utc_ms
from server.auth import WATCHERS, Gate, Principal, Role
from server.clock import DAY_MS
from server.errors import RequestError
from server.exposure import BreakRule, exposure, loads
from server.http_access import needs
from server.reports import Window, prevalence, table_rows, zone_of
from server.storage.port import AuditEntry, Batch
from server.storage.queued import QueuedLog

HOUR_MS: Final = 3_600_000
NAMERS: Final = frozenset({Role.LEAD, Role.ADMIN})
"""Who may see single operators."""


def csv_text(report: dict[str, Any]) -> str:
    """A report as CSV: measure, key, value. A cell that a spreadsheet would take for a formula is quoted."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(["measure", "key", "value"])
    writer.writerows((measure, _inert(key), value) for measure, key, value in table_rows(report))
    return out.getvalue()


def _inert(cell: str) -> str:
    return f"'{cell}" if cell.startswith(("=", "+", "-", "@", "\t", "\r")) else cell


class ReportsApi:
    """The endpoints' handlers.

    Args:
        log: where alerts and calls are counted.
        gate: checks who is asking.
        utc_ms: UTC, milliseconds since 1970.
        timezone: of days and hours, where a request names none.
        break_rule: when a break is suggested.
    """

    def __init__(
        self, log: QueuedLog, gate: Gate, utc_ms: Callable[[], int], *, timezone: str, break_rule: BreakRule
    ) -> None:
        self._log = log
        self._gate = gate
        self._utc_ms = utc_ms
        self._timezone = timezone
        self._break_rule = break_rule

    def mount(self, app: FastAPI) -> None:
        """Adds the routes."""
        router = APIRouter(prefix="/v1/reports", tags=["reports"])
        router.get("/prevalence", response_model=None, responses={200: {"content": {"text/csv": {}}}})(
            self._prevalence()
        )
        router.get("/exposure")(self._exposure())
        app.include_router(router)

    def _prevalence(self) -> Any:
        async def report(
            who: Annotated[Principal, needs(self._gate, WATCHERS)],
            days: Annotated[int, Query(ge=1, le=3660)] = 30,
            since: Annotated[str | None, Query(description="RFC 3339; instead of `days`")] = None,
            until: Annotated[str | None, Query(description="RFC 3339, exclusive; now if left out")] = None,
            timezone: Annotated[str | None, Query(max_length=64, description="of days and hours")] = None,
            offset_minutes: Annotated[int | None, Query(ge=-840, le=840)] = None,
            queue: Annotated[list[str] | None, Query(description="may be repeated")] = None,
            form: Annotated[Literal["json", "csv"], Query(alias="format")] = "json",
        ) -> Response:
            """How often it happened, by day, hour, queue, label and level; handle time, time to acknowledge, false alarms."""
            until_ms = self._utc_ms() + 1 if until is None else _moment(until, "until")
            since_ms = until_ms - days * DAY_MS if since is None else _moment(since, "since")
            if since_ms >= until_ms:
                raise RequestError("bad_request", "expected a moment before `until`", field="since")
            window = Window(
                since_ms=since_ms,
                until_ms=until_ms,
                zone=zone_of(timezone or self._timezone, offset_minutes=offset_minutes),
                queues=narrowed(who, queue),
            )
            found = await asyncio.to_thread(prevalence, self._log.state.engine, who.tenant, window)
            if form == "json":
                return JSONResponse(found)
            headers = {"Content-Disposition": 'attachment; filename="prevalence.csv"'}
            return Response(csv_text(found), media_type="text/csv; charset=utf-8", headers=headers)

        return report

    def _exposure(self) -> Any:
        async def report(
            who: Annotated[Principal, needs(self._gate, WATCHERS)],
            hours: Annotated[int, Query(ge=1, le=168)] = 8,
            queue: Annotated[list[str] | None, Query(description="may be repeated")] = None,
        ) -> dict[str, Any]:
            """How much harassment operators met lately, and a hint at who needs a break; names for leads only."""
            until_ms, names = self._utc_ms() + 1, who.role in NAMERS
            found = await asyncio.to_thread(
                partial(
                    loads,
                    self._log.state.engine,
                    who.tenant,
                    since_ms=until_ms - hours * HOUR_MS,
                    until_ms=until_ms,
                    queues=narrowed(who, queue),
                )
            )
            if names:
                entry = AuditEntry(
                    tenant=who.tenant, utc_ms=until_ms, actor=who.name, action="exposure.read", target=f"hours={hours}"
                )
                await asyncio.wrap_future(self._log.append(Batch(audit=[entry])))
            return {"hours": hours, **exposure(found, self._break_rule, names=names)}

        return report


def narrowed(who: Principal, queues: list[str] | None) -> frozenset[str] | None:
    """The queues asked for, within those that the principal may see; None for all."""
    if not queues:
        return who.queues
    return frozenset(name for name in queues if who.may_see(name))


def _moment(text: str, field: str) -> int:
    try:
        return parse_utc_ms(text)
    except ValueError:
        raise RequestError("bad_request", "expected RFC 3339, for example 2026-11-01T00:00:00Z", field=field) from None

"""The HTTP endpoints of incident reports and of what supervisors taught."""

# Annotations are evaluated at once here: FastAPI reads the dependencies in them, which only exist within the methods.

import asyncio
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Annotated, Any, Final, Literal

import msgspec
from fastapi import APIRouter, Body, FastAPI, Query
from fastapi.responses import HTMLResponse, JSONResponse, Response

from detector.desk import utc_text
from server.auth import WATCHERS, Gate, Principal, Role
from server.clock import DAY_MS
from server.errors import RequestError
from server.feedback import judgements, training_rows
from server.http_access import needs
from server.incident import FORMAT, assemble, digest
from server.incident_forms import incident_page, vcon
from server.reports import zone_of
from server.storage.casefile import find_instance, issued, read_sources
from server.storage.port import AuditEntry, Batch
from server.storage.queued import QueuedLog

CONFIDANTS: Final = frozenset({Role.LEAD, Role.ADMIN})
"""Who may see people's names and notes in a report, and take training rows."""
VCON_TYPE: Final = "application/vcon+json"


def issue_of(document: dict[str, Any], *, at: str, by: str) -> dict[str, Any]:
    """A report as it is handed out: the document, its hash, and when and by whom it was issued."""
    return {"incident": document, "sha256": digest(document), "issued_at": at, "issued_by": by}


def verdict(document: Mapping[str, Any], claimed: str, entries: list[AuditEntry]) -> dict[str, Any]:
    """Whether a report is what was issued.

    Args:
        document: the report's `incident`.
        claimed: its `sha256`.
        entries: reports issued of that call, from the audit trail.

    Returns:
        `intact`: the content has the hash that it claims, and a report of that hash was issued; and what of it failed.
    """
    found = digest(document)
    matching = [entry for entry in entries if entry.detail.split(" ")[0] == f"sha256={found}"]
    reason = ""
    if found != claimed:
        reason = "the content does not have the hash that it claims"
    elif not matching:
        reason = "no report of that hash was issued"
    return {
        "intact": not reason,
        "reason": reason,
        "sha256": found,
        "issued": [{"at": utc_text(entry.utc_ms), "by": entry.actor} for entry in matching],
    }


class IncidentsApi:
    """The endpoints' handlers.

    Args:
        log: where calls and alerts are.
        gate: checks who is asking.
        utc_ms: UTC, milliseconds since 1970.
        timezone: of a page, where a request names none.
    """

    def __init__(self, log: QueuedLog, gate: Gate, utc_ms: Callable[[], int], *, timezone: str) -> None:
        self._log = log
        self._gate = gate
        self._utc_ms = utc_ms
        self._timezone = timezone

    def mount(self, app: FastAPI) -> None:
        """Adds the routes."""
        router = APIRouter(prefix="/v1", tags=["incidents"])
        forms: dict[str, Any] = {"text/html": {}, VCON_TYPE: {}}
        router.get("/calls/{call_id}/incident", response_model=None, responses={200: {"content": forms}})(
            self._incident()
        )
        router.post("/incidents/verify")(self._verify())
        lines: dict[str, Any] = {"application/x-ndjson": {}}
        router.get("/reports/feedback", response_model=None, responses={200: {"content": lines}})(self._feedback())
        app.include_router(router)

    def _incident(self) -> Any:
        async def incident(
            call_id: str,
            who: Annotated[Principal, needs(self._gate, WATCHERS)],
            form: Annotated[Literal["html", "json", "vcon"], Query(alias="format")] = "html",
            personal: Annotated[
                bool, Query(description="With people's names and notes; leads and admins only")
            ] = False,
            language: Annotated[Literal["ja", "en"], Query(description="of the page")] = "ja",
            timezone: Annotated[str | None, Query(max_length=64, description="of the page")] = None,
            instance: Annotated[
                str | None, Query(max_length=320, description="of a call id used more than once")
            ] = None,
        ) -> Response:
            """The incident report of a call; its hash is put on the audit trail."""
            if personal:
                who.need(CONFIDANTS)
            zone = timezone or self._timezone
            zone_of(zone)
            found = await asyncio.to_thread(self._assemble, who, call_id, instance, personal)
            issue = issue_of(found, at=utc_text(self._utc_ms()), by=who.name if personal else "")
            detail = f"sha256={issue['sha256']} format={form} personal={str(personal).lower()}"
            await self._audit(who, "incident.issue", found["call"]["instance"], detail)
            if form == "html":
                return HTMLResponse(
                    await asyncio.to_thread(partial(incident_page, issue, language=language, timezone=zone))
                )
            headers = {"Content-Disposition": f'attachment; filename="incident-{issue["sha256"][:12]}.{form}.json"'}
            if form == "json":
                return JSONResponse(issue, headers=headers)
            return JSONResponse(vcon(issue), headers=headers, media_type=VCON_TYPE)

        return incident

    def _assemble(self, who: Principal, call_id: str, instance: str | None, personal: bool) -> dict[str, Any]:
        engine = self._log.state.engine
        record = find_instance(engine, who.tenant, call_id, instance)
        if record is None or not who.may_see(record.queue):
            raise RequestError("not_found", "no such call", status=404)
        return assemble(read_sources(engine, self._log.state.bodies, record, self._log.read_call), personal=personal)

    def _verify(self) -> Any:
        async def verify(
            who: Annotated[Principal, needs(self._gate, WATCHERS)],
            report: Annotated[dict[str, Any], Body(description="A report as issued: its JSON form, or a vCon")],
        ) -> dict[str, Any]:
            """Whether a report is what was issued: unchanged, and on the audit trail."""
            issue = unwrap(report)
            call = issue["incident"].get("call")
            instance = call.get("instance") if isinstance(call, dict) else None
            entries = await asyncio.to_thread(issued, self._log.state.engine, who.tenant, str(instance))
            return verdict(issue["incident"], issue["sha256"], entries)

        return verify

    def _feedback(self) -> Any:
        async def feedback(
            who: Annotated[Principal, needs(self._gate, CONFIDANTS)],
            days: Annotated[int, Query(ge=1, le=3660)] = 90,
        ) -> Response:
            """Misses and false alarms as redacted training rows, one JSON object a line, in the schema of the corpus."""
            since_ms = self._utc_ms() - days * DAY_MS

            def lines() -> tuple[bytes, int]:
                rows = [row for row in feedback_rows(self._log, who.tenant, since_ms, who.queues) if row is not None]
                return b"".join(msgspec.json.encode(row) + b"\n" for row in rows), len(rows)

            body, count = await asyncio.to_thread(lines)
            await self._audit(who, "feedback.export", f"days={days}", f"rows={count}")
            headers = {"Content-Disposition": 'attachment; filename="feedback.jsonl"'}
            return Response(body, media_type="application/x-ndjson", headers=headers)

        return feedback

    async def _audit(self, who: Principal, action: str, target: str, detail: str) -> None:
        entry = AuditEntry(
            tenant=who.tenant, utc_ms=self._utc_ms(), actor=who.name, action=action, target=target, detail=detail
        )
        await asyncio.wrap_future(self._log.append(Batch(audit=[entry])))


def unwrap(report: Mapping[str, Any]) -> dict[str, Any]:
    """The issued report within its JSON form or a vCon.

    Raises:
        RequestError: it is neither.
    """
    candidates: list[Any] = [report]
    analyses = report.get("analysis")
    if isinstance(analyses, list):
        candidates += [item.get("body") for item in analyses if isinstance(item, dict)]
    for item in candidates:
        incident = item.get("incident") if isinstance(item, dict) else None
        if isinstance(incident, dict) and incident.get("format") == FORMAT and isinstance(item.get("sha256"), str):
            return {"incident": incident, "sha256": item["sha256"]}
    raise RequestError("bad_request", f"expected a report of the format {FORMAT}, or a vCon that holds one")


def feedback_rows(
    log: QueuedLog, tenant: str, since_ms: int, queues: frozenset[str] | None
) -> Iterator[dict[str, Any] | None]:
    """Training rows of a tenant; None for what cannot be one."""
    found = judgements(log.state.engine, log.state.bodies, tenant, since_ms=since_ms, queues=queues)
    return training_rows(found, tenant, partial(log.read_call, tenant))

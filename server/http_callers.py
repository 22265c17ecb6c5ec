"""The HTTP endpoints of a caller's rights: an export, and a deletion for good."""

# Annotations are evaluated at once here: FastAPI reads the dependencies in them, which only exist within the methods.

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Annotated, Any, Final

import msgspec
from fastapi import APIRouter, FastAPI
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field

from server.auth import Gate, Principal
from server.callers import Callers, read_key
from server.errors import KeptError, RequestError, SetupError
from server.http_access import needs
from server.http_incidents import CONFIDANTS
from server.redaction import caller_key
from server.storage.port import AuditEntry, Batch
from server.storage.queued import QueuedLog

MAX_CALLS: Final = 200
"""Calls of one page of an export: a long one is a megabyte."""


class CallerRequest(BaseModel):
    """Who is meant: a number or id, or its keyed hash. In a body, for addresses are written into logs."""

    model_config = ConfigDict(extra="forbid")

    caller: str | None = Field(None, min_length=1, max_length=256, description="Phone number or id")
    caller_key: str | None = Field(None, min_length=64, max_length=64, description="Keyed hash, from an export")


class ExportRequest(CallerRequest):
    """What is wanted of a caller."""

    personal: bool = Field(False, description="With the names of the house's own people, and their notes")
    after: str = Field("", max_length=320, description="`next` of the page before; none for the first page")
    limit: int = Field(50, ge=1, le=MAX_CALLS, description="Calls of one page")


class CallersApi:
    """The endpoints' handlers; for leads and admins of all queues.

    Args:
        callers: what is stored of them.
        log: for the audit trail.
        gate: checks who is asking.
        secret: the key of the callers' hashes.
        utc_ms: UTC, milliseconds since 1970.
    """

    def __init__(
        self, callers: Callers, log: QueuedLog, gate: Gate, *, secret: bytes, utc_ms: Callable[[], int]
    ) -> None:
        self._callers = callers
        self._log = log
        self._gate = gate
        self._secret = secret
        self._utc_ms = utc_ms

    def mount(self, app: FastAPI) -> None:
        """Adds the routes."""
        router = APIRouter(prefix="/v1/callers", tags=["callers"])
        router.post("/export", response_model=dict[str, Any])(self._export())
        router.post("/delete")(self._delete())
        app.include_router(router)

    def _key(self, who: Principal, body: CallerRequest) -> str:
        if who.queues is not None:
            raise RequestError("forbidden", "needs all queues: a caller's calls come in on any", status=403)
        if (body.caller is None) == (body.caller_key is None):
            raise RequestError("bad_request", "expected caller or caller_key", field="caller", status=422)
        if body.caller is not None:
            key = caller_key(body.caller, self._secret, who.tenant)
            if key is None:
                raise RequestError("bad_request", "expected a valid number or an id", field="caller", status=422)
            return key
        try:
            return read_key(body.caller_key or "")
        except SetupError as error:
            raise RequestError("bad_request", str(error), field="caller_key", status=422) from None

    def _export(self) -> Any:
        one_at_a_time = asyncio.Lock()

        async def export(body: ExportRequest, who: Annotated[Principal, needs(self._gate, CONFIDANTS)]) -> Response:
            """All that is stored of a caller, page by page: as long as `next` is not null; the access is put on record."""
            key = self._key(who, body)
            read = partial(self._page, who.tenant, key, body)
            try:
                async with one_at_a_time:
                    count, page = await asyncio.to_thread(read)
            except SetupError as error:
                raise RequestError("bad_request", str(error), field="after", status=422) from None
            await self._audit(who, "caller.export", key, f"calls={count} personal={str(body.personal).lower()}")
            return Response(page, media_type="application/json")

        return export

    def _page(self, tenant: str, key: str, body: ExportRequest) -> tuple[int, bytes]:
        """How many calls are on a page, and the page, encoded: that takes its time, too."""
        document = self._callers.export(tenant, key, personal=body.personal, after=body.after, limit=body.limit)
        return len(document["calls"]), msgspec.json.encode(document)

    def _delete(self) -> Any:
        async def delete(
            body: CallerRequest, who: Annotated[Principal, needs(self._gate, CONFIDANTS)]
        ) -> dict[str, Any]:
            """Deletes the words of a caller's calls everywhere, for good; refused for calls under legal hold or under way."""
            key = self._key(who, body)
            try:
                count = await asyncio.to_thread(self._callers.forget, who.tenant, key)
            except KeptError as error:
                await self._audit(who, "caller.delete.refused", key, error.code)
                raise RequestError(error.code, f"{error}; nothing was deleted", status=409) from None
            except SetupError:
                await self._audit(who, "caller.delete.failed", key, "list")
                raise RequestError(
                    "unavailable", "the list of forgotten callers cannot be written", status=503
                ) from None
            except Exception as error:
                # The hash is on the list: the next start goes on with it.
                await self._audit(who, "caller.delete.failed", key, type(error).__name__)
                raise
            self._log.scrub_soon()
            await self._audit(who, "caller.delete", key, f"calls={count}")
            return {"ok": True, "caller_key": key, "calls": count}

        return delete

    async def _audit(self, who: Principal, action: str, target: str, detail: str) -> None:
        entry = AuditEntry(
            tenant=who.tenant, utc_ms=self._utc_ms(), actor=who.name, action=action, target=target, detail=detail
        )
        await asyncio.wrap_future(self._log.append(Batch(audit=[entry])))

"""The HTTP endpoints: classify, calls, alerts, reports, health. Requests are validated by pydantic, refusals are typed."""

# Annotations are evaluated at once here: FastAPI reads the dependencies in them, which only exist within the methods.

import asyncio
import time
from collections.abc import Callable
from typing import Annotated, Any, Final

import msgspec
from fastapi import APIRouter, FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response, StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from detector.events import Action, Segment
from detector.labels import HARASSMENT_LABELS, OUTPUTS, UTTERANCE_LABELS, Speaker
from detector.scoring import ScoreRequest, Turn, Unscored
from server.access.signin import SignIn
from server.alerts import AlertStream, answer_message, in_scope, parse_action, transcript
from server.attention import Attentions
from server.auth import FEEDERS, WATCHERS, Gate, Principal, Role
from server.errors import MamoriError, RequestError
from server.http_access import needs
from server.metrics import Metrics
from server.redaction import redact
from server.runtime import Runtime
from server.sse import event_lines, resume_point
from server.storage.port import AuditEntry, Batch, CallRecord
from server.storage.queued import QueuedLog
from server.storage.tables import FLAGS
from server.vendorposts import VendorPosts
from server.watch import ASIDE, WELL

MAX_ITEMS: Final = 256
MAX_TEXT: Final = 16_000
_RULE_MAKERS: Final = frozenset({Role.LEAD, Role.ADMIN})
_STATUS: Final = {"not_found": 404, "conflict": 409, "closed": 409, "invalid": 422}
_ANYBODY: Final = frozenset(Role)


class ClassifyItem(BaseModel):
    """One utterance to classify."""

    model_config = ConfigDict(extra="ignore")

    id: str | int | None = None
    text: str = Field(max_length=MAX_TEXT)
    language: str = Field("ja", pattern="^(ja|en)$")
    speaker: str = Field("customer", pattern="^(customer|agent|unknown)$")
    context: list[str] = Field(
        default_factory=list, max_length=64, description="Earlier turns, `agent: …`, oldest first"
    )


class ClassifyRequest(BaseModel):
    """Utterances to classify."""

    items: list[ClassifyItem] = Field(max_length=MAX_ITEMS)


class FlagRequest(BaseModel):
    """A missed utterance, as a supervisor sees it."""

    segment_id: str = Field(min_length=1, max_length=256)
    labels: list[str] = Field(default_factory=list, max_length=len(HARASSMENT_LABELS))
    note: str = Field("", max_length=4000)


class HelpRequest(BaseModel):
    """A call for help."""

    note: str = Field("", max_length=4000)


class ActionRequest(BaseModel):
    """What a supervisor does with an alert."""

    version: int | None = None
    to: str = Field("", max_length=256)
    for_s: int = 0
    outcome: str | None = None
    note: str = Field("", max_length=4000)


def turns_of(context: list[str]) -> tuple[Turn, ...]:
    """Reads context lines `agent: …` and `customer: …`; a line without a speaker is the customer's."""
    turns = []
    for line in context[-4:]:
        who, separator, text = line.partition(":")
        known = separator and who.strip() in tuple(Speaker)
        turns.append(
            Turn(
                speaker=Speaker(who.strip()) if known else Speaker.CUSTOMER,
                text=text.strip() if known else line.strip(),
            )
        )
    return tuple(turns)


class Api:
    """The endpoints' handlers.

    Args:
        runtime: of this process.
        log: the embedded engine, for reports, flags and audit.
        gate: checks who is asking.
        metrics: for `/metrics`.
        sign_in: the endpoints of signing in.
        attentions: what each supervisor hears.
        posts: the endpoint of platforms that post.
        checks: what is well, for `/readyz`.
    """

    def __init__(
        self,
        runtime: Runtime,
        log: QueuedLog,
        gate: Gate,
        metrics: Metrics,
        sign_in: SignIn,
        attentions: Attentions,
        posts: VendorPosts,
        checks: Callable[[], dict[str, str]],
    ) -> None:
        self._runtime = runtime
        self._log = log
        self._gate = gate
        self._metrics = metrics
        self._sign_in = sign_in
        self._attentions = attentions
        self._posts = posts
        self._checks = checks

    def mount(self, app: FastAPI) -> None:
        """Adds the routes and the handlers of errors."""
        router = APIRouter(prefix="/v1")
        router.post("/classify")(self._classify())
        router.get("/calls")(self._calls())
        router.get("/calls/{call_id}")(self._call())
        router.get("/calls/{call_id}/events")(self._call_events())
        router.post("/calls/{call_id}/flag")(self._flag())
        router.post("/calls/{call_id}/help")(self._help())
        router.get("/alerts")(self._alerts())
        router.get("/alerts/stream")(self._stream())
        for action in Action:
            router.post(f"/alerts/{{alert_id}}/{action.value}", name=action.value)(self._action(action))
        router.get("/routing")(self._routing())
        router.get("/rules/shadow")(self._shadow())
        router.get("/attention")(self._attention())
        self._sign_in.mount(router)
        self._posts.mount(router)
        app.include_router(router)
        app.get("/healthz")(self._healthz())
        unready = {"description": "Not all is well; `checks` says what.", "content": {"application/json": {}}}
        app.get("/readyz", responses={503: unready})(self._readyz())
        app.get("/metrics", include_in_schema=False)(self._metrics_text())
        app.add_exception_handler(RequestError, _refused)
        app.add_exception_handler(MamoriError, _unavailable)
        app.add_exception_handler(RequestValidationError, _invalid)

    def _principal(self, roles: frozenset[Role]) -> Any:
        return needs(self._gate, roles)

    def _classify(self) -> Any:
        async def classify(
            body: ClassifyRequest, _who: Annotated[Principal, self._principal(_ANYBODY)]
        ) -> dict[str, Any]:
            """Scores utterances; the text is redacted by the same rules as a call's."""
            deadline = time.monotonic() + 30
            jobs = []
            for index, item in enumerate(body.items):
                patterns = self._runtime.patterns
                text = redact(item.text, item.language, patterns)
                request = ScoreRequest(
                    request_id=str(index),
                    text=text,
                    language=item.language,
                    speaker=Speaker.AGENT if item.speaker == "agent" else Speaker.CUSTOMER,
                    context=turns_of([redact(line, item.language, patterns) for line in item.context]),
                )
                jobs.append(asyncio.wrap_future(self._runtime.engine.submit(request, deadline=deadline)))
            answers = await asyncio.gather(*jobs)
            items: list[dict[str, Any]] = []
            for item, answer in zip(body.items, answers, strict=True):
                if isinstance(answer, Unscored):
                    items.append({"id": item.id, "error": answer.reason.value})
                    continue
                items.append(
                    {
                        "id": item.id,
                        "scores": {name: round(answer.scores.get(name, 0.0), 6) for name in UTTERANCE_LABELS},
                        "labels": [name for name in answer.labels if name in UTTERANCE_LABELS],
                        "cues": [name for name in answer.labels if name in OUTPUTS and name not in UTTERANCE_LABELS],
                        "spans": [msgspec.to_builtins(span) for span in answer.spans],
                    }
                )
            return {"items": items, "model_version": self._runtime.engine.model_version}

        return classify

    def _calls(self) -> Any:
        async def calls(
            who: Annotated[Principal, self._principal(WATCHERS)],
            open_only: bool = False,
            limit: Annotated[int, Query(ge=1, le=1000)] = 200,
        ) -> dict[str, Any]:
            """Calls, newest first; live ones with their status."""
            records = await asyncio.to_thread(self._log.calls, who.tenant, limit=limit, open_only=open_only)
            live = {status["call_id"]: status for status in self._runtime.floor.statuses(who.tenant)}
            items: list[dict[str, Any]] = []
            for record in records:
                status = live.get(record.call_id) if record.ended_ms is None else None
                queue = status["queue"] if status else record.queue
                if who.may_see(queue):
                    items.append({**_shown(record), "queue": queue, "status": status})
            return {"calls": items}

        return calls

    async def _scoped(self, who: Principal, call_id: str) -> tuple[CallRecord, dict[str, Any] | None]:
        """A call within the scope, and its status while it lasts."""
        found = await in_scope(self._runtime, who, call_id)
        if found is None:
            raise RequestError("not_found", "no such call", status=404)
        return found

    def _call(self) -> Any:
        async def call(
            call_id: str, who: Annotated[Principal, self._principal(WATCHERS | {Role.OPERATOR})]
        ) -> dict[str, Any]:
            """One call: record, status, alerts."""
            record, status = await self._scoped(who, call_id)
            alerts = await asyncio.to_thread(self._log.alerts, who.tenant, open_only=False, call_id=call_id)
            return {
                **_shown(record),
                "status": status,
                "links": msgspec.to_builtins(self._runtime.links.fill(call_id, record.agent_id)),
                "alerts": [msgspec.to_builtins(alert) for alert in alerts],
            }

        return call

    def _call_events(self) -> Any:
        async def events(call_id: str, who: Annotated[Principal, self._principal(WATCHERS)]) -> dict[str, Any]:
            """The call's transcript (the last 200 segments); the access is put on record."""
            segments = await transcript(self._runtime, who, call_id)
            if segments is None:
                raise RequestError("not_found", "no such call", status=404)
            return {"call_id": call_id, "segments": segments}

        return events

    def _said(self, record: Any, segment_id: str) -> bool:
        rows = self._log.read_call(record.tenant, record.instance)
        return any(isinstance(row.row.value, Segment) and row.row.value.segment_id == segment_id for row in rows)

    def _flag(self) -> Any:
        async def flag(
            call_id: str, body: FlagRequest, who: Annotated[Principal, self._principal(WATCHERS)]
        ) -> dict[str, Any]:
            """Notes an utterance that the product missed."""
            if unknown := set(body.labels) - set(HARASSMENT_LABELS):
                raise RequestError("bad_request", f"{len(unknown)} unknown labels", field="labels", status=422)
            record, _ = await self._scoped(who, call_id)
            now_ms = self._runtime.clock.utc_ms()

            def store() -> None:
                if not self._said(record, body.segment_id):
                    raise RequestError("not_found", "no such segment in the call", field="segment_id", status=404)
                note = redact(body.note, "ja", self._runtime.patterns)
                bodies = self._log.state.bodies
                with self._log.state.engine.begin() as connection:
                    connection.execute(
                        FLAGS.insert().values(
                            tenant=who.tenant,
                            instance=record.instance,
                            segment_id=body.segment_id,
                            labels=",".join(body.labels),
                            note=bodies.note_body(who.tenant, record.instance, body.segment_id, now_ms, note),
                            actor=who.name,
                            utc_ms=now_ms,
                        )
                    )

            await asyncio.to_thread(store)
            await self._audit(who, "flag", f"{record.instance}/{body.segment_id}")
            return {"ok": True}

        return flag

    def _help(self) -> Any:
        async def help_me(
            call_id: str,
            who: Annotated[Principal, self._principal(_ANYBODY)],
            body: HelpRequest | None = None,
        ) -> dict[str, Any]:
            """The operator asks for help: an alert at once."""
            note = redact(body.note, "ja", self._runtime.patterns) if body is not None else ""
            if not await self._runtime.help(who.tenant, call_id, note=note, by=who.name):
                raise RequestError("not_found", "no such live call", status=404)
            return {"ok": True}

        return help_me

    def _alerts(self) -> Any:
        async def alerts(
            who: Annotated[Principal, self._principal(WATCHERS)],
            state: Annotated[str, Query(pattern="^(open|all|observed)$")] = "open",
            limit: Annotated[int, Query(ge=1, le=1000)] = 200,
        ) -> dict[str, Any]:
            """Alerts, newest first; `state=all` with the closed ones, `state=observed` those that nobody was told of."""
            found = await asyncio.to_thread(self._log.alerts, who.tenant, open_only=state == "open", limit=limit)
            wanted = [alert for alert in found if alert.observed == (state == "observed")]
            shown = [msgspec.to_builtins(alert) for alert in wanted if who.may_see(alert.call.queue)]
            return {"alerts": shown, "cursor": await asyncio.to_thread(self._log.cursor)}

        return alerts

    def _action(self, action: Action) -> Any:
        async def act(
            alert_id: str,
            who: Annotated[Principal, self._principal(WATCHERS)],
            body: ActionRequest | None = None,
        ) -> Response:
            """Acknowledges, assigns, snoozes or resolves an alert."""
            fields = (body or ActionRequest(to="", note="")).model_dump()
            fields["alert_id"] = alert_id
            parsed = parse_action(action.value, fields, who.name, self._runtime.patterns)
            found = await asyncio.to_thread(self._log.alert, who.tenant, alert_id)
            if found is None or not who.may_see(found[1].call.queue):
                raise RequestError("not_found", "no such alert", status=404)
            answer = await self._runtime.act(who.tenant, parsed)
            status = 200 if answer.refusal is None else _STATUS[answer.refusal.value]
            return JSONResponse(answer_message(None, answer), status_code=status)

        return act

    def _stream(self) -> Any:
        async def stream(
            request: Request,
            who: Annotated[Principal, self._principal(WATCHERS)],
            after: Annotated[int | None, Query(ge=0)] = None,
            queues: str = "",
            calls: bool = False,
        ) -> StreamingResponse:
            """The alert stream as server-sent events; `Last-Event-ID` resumes."""
            cursor = resume_point(request.headers.get("last-event-id", ""), after)
            wanted = frozenset(queues.split(",")) if queues else None
            source = AlertStream(self._runtime, who, self._attentions, queues=wanted, statuses=calls)
            headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
            return StreamingResponse(
                event_lines(source, self._gate, who, cursor), media_type="text/event-stream", headers=headers
            )

        return stream

    def _shadow(self) -> Any:
        async def shadow(who: Annotated[Principal, self._principal(_RULE_MAKERS)]) -> dict[str, Any]:
            """Where candidate rules would have alerted otherwise on the calls since the start of the process that follows them."""
            report = await self._runtime.shadow_report(who.tenant)
            if report is None:
                raise RequestError("not_found", "no candidate rules: see the setting shadow_rules", status=404)
            return report

        return shadow

    def _routing(self) -> Any:
        async def routing(who: Annotated[Principal, self._principal(WATCHERS)]) -> dict[str, Any]:
            """Who is called for the alerts of which queue, and the queues for which nobody is."""
            table = self._runtime.supervision.routing
            seen = await asyncio.to_thread(self._log.state.queues)
            live = [(who.tenant, call.session.state.queue) for call in self._runtime.calls.values()]
            mine = sorted(
                {pair for pair in [*seen, *live] if pair[0] == who.tenant and who.may_see(pair[1]) and pair[1]}
            )
            routes = [route.model_dump() for route in table.routes if route.tenant == who.tenant]
            return {
                **table.model_dump(exclude={"routes"}),
                "routes": routes,
                "unrouted": [queue for _, queue in table.unrouted(mine)],
            }

        return routing

    def _attention(self) -> Any:
        async def attention(who: Annotated[Principal, self._principal(WATCHERS)]) -> dict[str, Any]:
            """The budget of loud alerts of whoever asks, and the alerts that it muted."""
            return self._attentions.state(who.tenant, who.name)

        return attention

    def _healthz(self) -> Any:
        async def healthz() -> dict[str, str]:
            """The process answers."""
            return {"status": "ok"}

        return healthz

    def _readyz(self) -> Any:
        async def readyz() -> Response:
            """Whether calls are monitored and taken: log, engine, scoring and clockwork are well, and there is room."""
            checks = self._checks()
            good = all(value in WELL for name, value in checks.items() if name not in ASIDE)
            return JSONResponse({"ready": good, "checks": checks}, status_code=200 if good else 503)

        return readyz

    def _metrics_text(self) -> Any:
        async def metrics(
            _who: Annotated[Principal, self._principal(FEEDERS | WATCHERS)],
        ) -> Response:
            """Prometheus."""
            return Response(self._metrics.text(), media_type="text/plain; version=0.0.4")

        return metrics

    async def _audit(self, who: Principal, action: str, target: str) -> None:
        entry = AuditEntry(
            tenant=who.tenant, utc_ms=self._runtime.clock.utc_ms(), actor=who.name, action=action, target=target
        )
        await asyncio.wrap_future(self._log.append(Batch(audit=[entry])))


def _shown(record: CallRecord) -> dict[str, Any]:
    """A call's record as people see it: whose it was is nobody's to compare."""
    fields: dict[str, Any] = msgspec.to_builtins(record)
    del fields["caller_key"]
    return fields


async def _refused(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestError)  # noqa: S101 - registered for this class alone
    detail = {"code": error.code, "field": error.field or None, "message": error.message}
    return JSONResponse({"error": detail}, status_code=error.status, headers=error.headers)


async def _invalid(_request: Request, error: Exception) -> Response:
    """FastAPI's own answer quotes what was sent; what was sent must not come back."""
    assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for this class alone
    found = [{name: item[name] for name in ("loc", "msg", "type")} for item in error.errors()]
    field = ".".join(str(part) for part in found[0]["loc"]) if found else None
    first = {"code": "bad_request", "field": field, "message": found[0]["msg"] if found else "not valid"}
    return JSONResponse({"error": first, "detail": found}, status_code=422)


async def _unavailable(_request: Request, _error: Exception) -> Response:
    detail = {"code": "unavailable", "field": None, "message": "not stored, try again"}
    return JSONResponse({"error": detail}, status_code=503, headers={"Retry-After": "2"})

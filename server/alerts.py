"""The alert stream, `WS /v1/alerts`: alerts out, supervisors' commands in; and the same as server-sent events.

A client that comes back with its cursor gets everything after it from the store and then the live stream, without a hole
and without a double: it listens before it reads, and what it read is skipped when it comes live.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import parse_qs

import msgspec

from detector.alerts import ActionAnswer
from detector.events import Action, Outcome, Segment, SupervisorAction
from detector.labels import Speaker
from server.attention import Attentions
from server.auth import WATCHERS, Gate, Principal
from server.errors import MamoriError, RequestError
from server.heard import folded, speakers_of
from server.hub import MAX_STATUSES, Published, Subscription
from server.redaction import HousePatterns, redact
from server.runtime import Runtime
from server.sockets import (
    CLOSE_POLICY,
    CLOSE_RESTARTING,
    CLOSE_TRY_AGAIN,
    Receive,
    Scope,
    Send,
    shake_hands,
    until_revoked,
)
from server.storage.port import AuditEntry, Batch, CallRecord

MAX_WATCHES: Final = 20
"""Calls that one connection may watch (design § 4)."""
TRANSCRIPT_SEGMENTS: Final = 200
PAGE: Final = 1_000
BATCH: Final = 500
"""Messages of one frame at most, for those that asked for several at once."""
MAX_BEHIND: Final = 100_000
"""A cursor further behind than this is answered by a reset: replaying it would take longer than a snapshot."""


class _CommandBody(msgspec.Struct, frozen=True):
    type: str
    ref: str | int | None = None
    alert_id: str = ""
    version: int | None = None
    to: str = ""
    for_s: int = 0
    outcome: str | None = None
    note: str = ""
    call_id: str = ""


def parse_action(command: str, fields: dict[str, Any], by: str, patterns: HousePatterns = ()) -> SupervisorAction:
    """Reads a supervisor's action; its note is masked like what was said.

    Raises:
        RequestError: `bad_request` with the field.
    """
    try:
        body = msgspec.convert({**fields, "type": command}, _CommandBody)
    except msgspec.ValidationError as error:
        message, _, path = str(error).partition(" - at `$")
        raise RequestError("bad_request", message, field=path.strip(".`")) from None
    outcome = None
    if command == Action.RESOLVE:
        try:
            outcome = Outcome(body.outcome or "")
        except ValueError:
            raise RequestError("bad_request", f"expected one of {', '.join(Outcome)}", field="outcome") from None
    return SupervisorAction(
        action=Action(command),
        alert_id=body.alert_id,
        by=by,
        version=body.version,
        to=body.to,
        for_s=body.for_s,
        outcome=outcome,
        note=redact(body.note, "ja", patterns),
    )


def answer_message(ref: str | int | None, answer: ActionAnswer) -> dict[str, Any]:
    """The reply to a command."""
    if answer.refusal is None:
        return {"type": "ok", "ref": ref}
    message: dict[str, Any] = {
        "type": "error",
        "ref": ref,
        "code": answer.refusal.value,
        "message": answer.message,
    }
    if answer.first_by or answer.first_at:
        message["first"] = {"by": answer.first_by, "at": answer.first_at}
    return message


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """One message of the stream.

    Args:
        cursor: where it stands, or None for state that has no place in history.
        kind: its `type`.
        body: all of it, as JSON.
    """

    cursor: int | None
    kind: str
    body: bytes = field(repr=False)


class AlertStream:
    """One listener's view: history after a cursor, then live, in order and once.

    Args:
        runtime: where alerts come from.
        principal: who listens; decides tenant and queues.
        attentions: says what may be loud for this listener.
        queues: narrowed to these, or None.
        statuses: whether `call.status` comes, too.
    """

    def __init__(
        self,
        runtime: Runtime,
        principal: Principal,
        attentions: Attentions,
        *,
        queues: frozenset[str] | None,
        statuses: bool,
    ) -> None:
        allowed = principal.queues
        if queues is not None:
            allowed = queues if allowed is None else allowed & queues
        self._runtime = runtime
        self._hub = runtime.hub
        self._name = principal.name
        self._attentions = attentions
        self.subscription = Subscription(
            tenant=principal.tenant,
            queues=allowed,
            statuses=statuses,
            max_statuses=max(MAX_STATUSES, 2 * runtime.limits.max_calls),
        )

    async def messages(self, after: int | None) -> AsyncGenerator[Told, None]:
        """Yields one message after another until the listener is too slow; then it ends."""
        batches = self.batches(after)
        try:
            async for batch in batches:
                for told in batch:
                    yield told
        finally:
            await batches.aclose()

    async def batches(self, after: int | None) -> AsyncGenerator[list[Told], None]:
        """Yields what there is at a time until the listener is too slow; then it ends."""
        self._hub.subscribe(self.subscription)
        try:
            # The bus may bring what this listener has heard elsewhere: another process of a cluster can be ahead of it.
            sent = after or 0
            async for batch in self._begin(after):
                if batch[0].kind == "reset":
                    sent = 0
                sent = max(sent, *(told.cursor or 0 for told in batch))
                yield batch
            while True:
                items = await self.subscription.next()
                batch = [self._told(item) for item in items if item.topic != "alert" or item.cursor > sent]
                if batch:
                    yield batch
                if self.subscription.overflowed:
                    return
        finally:
            self._hub.unsubscribe(self.subscription)

    async def _begin(self, after: int | None) -> AsyncGenerator[list[Told], None]:
        log, tenant = self._runtime.log, self.subscription.tenant
        last = await asyncio.to_thread(log.cursor)
        if after is not None:
            oldest = await asyncio.to_thread(log.oldest_cursor)
            if after > last or (oldest and after < oldest - 1) or last - after > MAX_BEHIND:
                yield [_plain({"type": "reset"})]
                after = None
        if after is None:
            alerts = await asyncio.to_thread(log.alerts, tenant)
            told = [alert for alert in alerts if not alert.observed]
            shown = [alert for alert in told if self._queue_wanted(alert.call.queue)]
            yield [_plain({"type": "snapshot", "cursor": last, "alerts": shown}, cursor=last)]
        else:
            while entries := await asyncio.to_thread(log.stream, tenant, after=after, limit=PAGE):
                after = entries[-1].cursor
                wanted = [
                    Published(tenant=tenant, queue="", topic="alert", cursor=entry.cursor, event=entry.event)
                    for entry in entries
                    if self._queue_wanted(entry.event.alert.call.queue) and not entry.event.alert.observed
                ]
                if wanted:
                    yield [self._told(item) for item in wanted]
        if self.subscription.statuses:
            statuses = [item for item in self._runtime.floor.statuses(tenant) if self._queue_wanted(item["queue"])]
            if statuses:
                yield [_plain(status) for status in statuses]
        reason = self._runtime.floor.degraded(tenant)
        if reason:
            yield [_plain({"type": "monitoring.degraded", "reason": reason})]

    def _queue_wanted(self, queue: str) -> bool:
        return self.subscription.queues is None or queue in self.subscription.queues

    def _told(self, item: Published) -> Told:
        if item.event is None:
            return Told(cursor=None, kind=(item.message or {}).get("type", ""), body=bytes(item.encoded))
        attention = self._attentions.decide(self.subscription.tenant, self._name, item.cursor, item.event)
        message: dict[str, Any] = {
            "type": item.event.type.value,
            "cursor": item.cursor,
            "alert": item.encoded,
            "attention": attention.message(),
        }
        if item.event.changed:
            message["changed"] = item.event.changed
        return _plain(message, cursor=item.cursor)


def _plain(message: dict[str, Any], *, cursor: int | None = None) -> Told:
    return Told(cursor=cursor, kind=message["type"], body=msgspec.json.encode(message))


class AlertsEndpoint:
    """The ASGI websocket endpoint."""

    def __init__(self, runtime: Runtime, gate: Gate, attentions: Attentions) -> None:
        self._runtime = runtime
        self._gate = gate
        self._attentions = attentions

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one connection to its end."""
        principal = await shake_hands(scope, receive, send, self._gate, WATCHERS)
        if principal is None:
            return
        query = parse_qs(scope.get("query_string", b"").decode("latin-1"))
        after = query.get("after", [""])[0]
        if after and not (after.isascii() and after.isdigit() and len(after) <= 18):
            await send({"type": "websocket.close", "code": 1008, "reason": "after: expected a cursor"})
            return
        queues = query.get("queues", [""])[0]
        stream = AlertStream(
            self._runtime,
            principal,
            self._attentions,
            queues=frozenset(queues.split(",")) if queues else None,
            statuses=query.get("calls", ["0"])[0] == "1",
        )
        batched = query.get("batch", ["0"])[0] == "1"
        connection = _Connection(self._runtime, principal, stream, send, self._gate, batched=batched)
        loop = asyncio.get_running_loop()
        writer = loop.create_task(connection.write(int(after) if after else None))
        reader = loop.create_task(connection.read(receive))
        guard = loop.create_task(until_revoked(self._gate, principal))
        done, pending = await asyncio.wait({writer, reader, guard}, return_when=asyncio.FIRST_COMPLETED)
        for task in pending:
            task.cancel()
        await asyncio.gather(writer, reader, guard, return_exceptions=True)
        if guard in done:
            await send({"type": "websocket.close", "code": CLOSE_POLICY, "reason": "no longer signed in"})


class _Connection:
    def __init__(
        self, runtime: Runtime, principal: Principal, stream: AlertStream, send: Send, gate: Gate, *, batched: bool
    ) -> None:
        self._batched = batched
        self._gate = gate
        self._runtime = runtime
        self._principal = principal
        self._stream = stream
        self._send = send
        self._sending = asyncio.Lock()

    async def _say(self, message: dict[str, Any]) -> None:
        await self._frame(msgspec.json.encode(message))

    async def _frame(self, body: bytes) -> None:
        async with self._sending:
            await self._send({"type": "websocket.send", "text": body.decode()})

    async def write(self, after: int | None) -> None:
        async for batch in self._stream.batches(after):
            bodies = [told.body for told in batch]
            if self._batched:
                bodies = [b"[" + b",".join(bodies[at : at + BATCH]) + b"]" for at in range(0, len(bodies), BATCH)]
            for body in bodies:
                await self._frame(body)
        # It comes back with its cursor and misses nothing.
        restarting = self._runtime.hub.closed
        code, reason = (CLOSE_RESTARTING, "restarting") if restarting else (CLOSE_TRY_AGAIN, "too slow")
        await self._send({"type": "websocket.close", "code": code, "reason": f"{reason}, resume by cursor"})

    async def read(self, receive: Receive) -> None:
        while True:
            message = await receive()
            if message["type"] == "websocket.disconnect":
                return
            await self._say(await self._command(message.get("text")))

    async def _command(self, text: str | None) -> dict[str, Any]:
        ref = None
        try:
            data = msgspec.json.decode(text or "")
            if not isinstance(data, dict):
                raise RequestError("bad_request", "expected an object")
            ref = data.get("ref")
            kind = data.get("type")
            if self._gate.request_wait_s(self._principal):
                raise RequestError("rate_limited", "too many commands", status=429)
            if kind == "ping":
                return {"type": "ok", "ref": ref}
            if kind in ("watch", "unwatch"):
                return await self._watch(kind, ref, data.get("call_id"))
            if kind not in tuple(Action):
                raise RequestError("bad_request", "unknown command", field="type")
            fields = {key: value for key, value in data.items() if key != "type"}
            action = parse_action(kind, fields, self._principal.name, self._runtime.patterns)
            await self._check_scope(action.alert_id)
            return answer_message(ref, await self._runtime.act(self._principal.tenant, action))
        except msgspec.DecodeError:
            return {"type": "error", "ref": None, "code": "bad_json", "message": "expected one JSON object"}
        except RequestError as error:
            return {"type": "error", "ref": ref, "code": error.code, "message": str(error)}
        except MamoriError:
            return {"type": "error", "ref": ref, "code": "unavailable", "message": "not stored, try again"}

    async def _check_scope(self, alert_id: str) -> None:
        found = await asyncio.to_thread(self._runtime.log.alert, self._principal.tenant, alert_id)
        if found is None or not self._principal.may_see(found[1].call.queue):
            raise RequestError("not_found", "no such alert", status=404)

    async def _watch(self, kind: str, ref: Any, call_id: Any) -> dict[str, Any]:
        watched = self._stream.subscription.watched
        if not isinstance(call_id, str) or not call_id:
            raise RequestError("bad_request", "expected a call id", field="call_id")
        if kind == "unwatch":
            watched.discard(call_id)
            return {"type": "ok", "ref": ref}
        if len(watched) >= MAX_WATCHES and call_id not in watched:
            raise RequestError("too_many", f"at most {MAX_WATCHES} calls at once")
        watched.add(call_id)
        await self._runtime.hub.watching()
        segments = await transcript(self._runtime, self._principal, call_id)
        if segments is None:
            watched.discard(call_id)
            raise RequestError("not_found", "no such call", status=404)
        await self._say({"type": "call.transcript", "call_id": call_id, "segments": segments})
        return {"type": "ok", "ref": ref}


async def in_scope(
    runtime: Runtime, principal: Principal, call_id: str
) -> tuple[CallRecord, dict[str, Any] | None] | None:
    """A call and, while it lasts, its status; None when there is no such call in the listener's scope."""
    record = await asyncio.to_thread(runtime.log.find_call, principal.tenant, call_id)
    if record is None:
        return None
    status = await runtime.status_of(principal.tenant, call_id) if record.ended_ms is None else None
    return (record, status) if principal.may_see(status["queue"] if status is not None else record.queue) else None


async def transcript(runtime: Runtime, principal: Principal, call_id: str) -> list[dict[str, Any]] | None:
    """The last segments of a call, finals and open partials; the access is put on record.

    Returns:
        At most 200 segments, oldest first, each with who really said it (`said_by`), or None when there is no such call in
        the listener's scope.
    """
    found = await in_scope(runtime, principal, call_id)
    if found is None:
        return None
    record, _ = found
    live = runtime.calls.get((principal.tenant, call_id))

    def read() -> list[dict[str, Any]]:
        rows = list(runtime.log.read_call(principal.tenant, record.instance))
        turned = (live.session.state if live is not None else folded(record, rows).state).speakers.turned
        latest: dict[str, tuple[Segment, Speaker]] = {}
        for segment, speaker in speakers_of(rows, turned):
            if not (segment.segment_id in latest and latest[segment.segment_id][0].is_final):
                latest[segment.segment_id] = segment, speaker
        shown = list(latest.values())[-TRANSCRIPT_SEGMENTS:]
        return [{**msgspec.to_builtins(segment), "said_by": speaker.value} for segment, speaker in shown]

    entry = AuditEntry(
        tenant=principal.tenant,
        utc_ms=runtime.clock.utc_ms(),
        actor=principal.name,
        action="transcript.read",
        target=record.instance,
    )
    await asyncio.wrap_future(runtime.log.append(Batch(audit=[entry])))
    return await asyncio.to_thread(read)

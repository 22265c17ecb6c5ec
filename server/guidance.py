"""The operator's stream, `WS /v1/guidance?call=ID`: what to say next on one call, and whether help is on its way.

It carries no transcript text: an operator heard the call, and their screen may be shared with a customer in the room. It says
where the call stands as soon as that changes, and while nothing changes every ten seconds.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final
from urllib.parse import parse_qs

import msgspec

from detector.alerts import CLOSED, Alert, AlertState, Kind
from server.auth import WATCHERS, Gate, Principal, Role
from server.hub import Published, Subscription
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

AUDIENCE: Final = WATCHERS | {Role.OPERATOR}
STEADY_S: Final = 10.0
"""After how long an unchanged state is said again: the page takes a longer silence for a lost connection."""
_TIMES: Final = frozenset({"talk_ms", "elapsed_ms"})
_ORDER: Final = (Kind.DISTRESS, Kind.ABUSE, Kind.REPETITION, Kind.OVERLONG)
"""Of alerts of one level: whose words the operator needs first."""


class _CallSubscription(Subscription):
    """Hears of one call alone: its alerts and its status."""

    def __init__(self, principal: Principal, call_id: str) -> None:
        super().__init__(tenant=principal.tenant, queues=principal.queues, statuses=True)
        self._call_id = call_id

    def wants(self, item: Published) -> bool:
        """Whether a message is about the call, in a queue within the scope."""
        if item.tenant != self.tenant or (self.queues is not None and item.queue not in self.queues):
            return False
        return (item.event.alert.call_id if item.event is not None else item.call_id) == self._call_id


class Guidance:
    """Where one call stands, for its operator.

    Args:
        call_id: of the platform.
    """

    def __init__(self, call_id: str) -> None:
        self._call_id = call_id
        self._status: dict[str, Any] | None = None
        self._alerts: dict[str, Alert] = {}

    def take(self, item: Published) -> None:
        """Takes in what the bus says."""
        if item.topic == "status" and item.message is not None:
            self.status(item.message)
        elif item.event is not None:
            self.alert(item.event.alert)

    def status(self, status: dict[str, Any]) -> None:
        """Takes a `call.status`."""
        before = self._status
        if before is not None and before.get("ended") and not status.get("ended"):
            self._alerts.clear()  # The platform uses the id for another call.
        self._status = status

    def alert(self, alert: Alert) -> None:
        """Takes an alert as it stands now."""
        if alert.state in CLOSED or alert.observed:
            self._alerts.pop(alert.alert_id, None)
        else:
            self._alerts[alert.alert_id] = alert

    def message(self) -> dict[str, Any]:
        """What the operator's page shows."""
        status = self._status
        live = status is not None and not status.get("ended")
        alerts = sorted(self._alerts.values(), key=lambda item: (-item.level.rank, _ORDER.index(item.kind)))
        first = alerts[0] if alerts and live else None
        helpers = [item.acknowledged_by for item in alerts if item.state is AlertState.ACKNOWLEDGED]
        return {
            "type": "guidance",
            "call_id": self._call_id,
            "live": live,
            "ended": status is not None and not live,
            "language": status["language"] if status else "",
            "level": first.level.value if first else "none",
            "step": status["step"] if status else "",
            "next": first.suggestion.step if first else "",
            "kind": first.kind.value if first else "",
            "phrase": msgspec.to_builtins(first.suggestion.operator_phrase) if first else None,
            "helper": helpers[0] if helpers else "",
            "help": any("help" in item.labels for item in alerts),
            "rounds": status["rounds"] if status else 0,
            "talk_ms": status["talk_ms"] if status else 0,
            "elapsed_ms": status["elapsed_ms"] if status else 0,
            "limit_ms": status["limit_ms"] if status else 0,
            "monitoring": status["monitoring"] if status else {"state": "ok", "reason": ""},
        }


class GuidanceEndpoint:
    """The ASGI websocket endpoint."""

    def __init__(self, runtime: Runtime, gate: Gate) -> None:
        self._runtime = runtime
        self._gate = gate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one connection to its end."""
        principal = await shake_hands(scope, receive, send, self._gate, AUDIENCE)
        if principal is None:
            return
        call_id = parse_qs(scope.get("query_string", b"").decode("latin-1")).get("call", [""])[0]
        if not call_id or len(call_id) > 256:
            await send({"type": "websocket.close", "code": CLOSE_POLICY, "reason": "call: expected a call id"})
            return
        loop = asyncio.get_running_loop()
        writer = loop.create_task(self._write(principal, call_id, send))
        reader = loop.create_task(_until_gone(receive))
        guard = loop.create_task(until_revoked(self._gate, principal))
        tasks = {writer, reader, guard}
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks - done:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if reader not in done:
            restarting = self._runtime.hub.closed
            code = CLOSE_POLICY if guard in done else CLOSE_RESTARTING if restarting else CLOSE_TRY_AGAIN
            await send({"type": "websocket.close", "code": code, "reason": "connect again"})

    async def _write(self, principal: Principal, call_id: str, send: Send) -> None:
        subscription = _CallSubscription(principal, call_id)
        guidance = Guidance(call_id)
        hub = self._runtime.hub
        hub.subscribe(subscription)
        try:
            await self._begin(principal, call_id, guidance)
            said: dict[str, Any] = {}
            while not subscription.overflowed:
                message = guidance.message()
                if {**message, **dict.fromkeys(_TIMES)} != {**said, **dict.fromkeys(_TIMES)} or not said:
                    await send({"type": "websocket.send", "text": msgspec.json.encode(message).decode()})
                    said = message
                try:
                    items = await asyncio.wait_for(subscription.next(), STEADY_S)
                except TimeoutError:
                    said = {}
                    continue
                for item in items:
                    guidance.take(item)
        finally:
            hub.unsubscribe(subscription)

    async def _begin(self, principal: Principal, call_id: str, guidance: Guidance) -> None:
        status = await self._runtime.status_of(principal.tenant, call_id)
        if status is None or not principal.may_see(status["queue"]):
            return
        guidance.status(status)
        for alert in await asyncio.to_thread(self._runtime.log.alerts, principal.tenant, call_id=call_id):
            guidance.alert(alert)


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "websocket.disconnect":
        pass

"""What the floor sees of live calls beside their alerts: statuses, segments for who watches, and that calls are not watched."""

from __future__ import annotations

from typing import Any

import msgspec

from detector.events import MonitoringState, Segment, SegmentRedacted
from server.hub import Published
from server.live.call import LiveCall
from server.live.resources import Resources
from server.storage.port import Row
from server.watch import SHEDDING


class Floor:
    """Publishes for one process.

    Args:
        shared: the calls, the hub, and what is watched.
    """

    def __init__(self, shared: Resources) -> None:
        self._shared = shared
        self.trouble = ""
        """Why not every call is fully watched now, or empty."""
        self._degraded: dict[str, str] = {}

    def show(self, call: LiveCall, row: Row) -> None:
        """A segment goes to those who watch the call."""
        tenant, call_id = call.key
        if isinstance(row.value, Segment | SegmentRedacted) and self._shared.hub.watchers(tenant, call_id):
            fields = msgspec.to_builtins(row.value)
            said = fields
            if isinstance(row.value, Segment):
                said = {
                    "segment": {**fields, "said_by": call.session.state.transcript.relabel(row.value.speaker).value}
                }
            kind = "segment" if isinstance(row.value, Segment) else "segment.redacted"
            self._shared.hub.publish(
                Published(
                    tenant=tenant,
                    queue=call.session.state.queue,
                    topic="call",
                    call_id=call_id,
                    message={"type": kind, "call_id": call_id, **said},
                )
            )

    def status(self, call: LiveCall) -> Published:
        """The call's `call.status` as it stands."""
        status = call.session.status()
        message = {"type": "call.status", **msgspec.to_builtins(status)}
        # What the call itself has to say of a lost feed is no less grave, and its own.
        own = status.monitoring["state"] in (MonitoringState.OK, MonitoringState.INCOMPLETE)
        if fault := call.fault or (self._blind if own else ""):
            message["monitoring"] = {"state": MonitoringState.DEGRADED.value, "reason": fault}
        if links := self._shared.links.fill(status.call_id, status.agent_id):
            message["links"] = msgspec.to_builtins(links)
        if call.session.state.ended:
            message["ended"] = True
        return Published(
            tenant=call.record.tenant, queue=status.queue, topic="status", call_id=status.call_id, message=message
        )

    def statuses(self, tenant: str) -> list[dict[str, Any]]:
        """`call.status` of every live call of a tenant."""
        return [
            message
            for (owner, _), call in self._shared.calls.items()
            if owner == tenant and (message := self.status(call).message) is not None
        ]

    def not_monitored(self) -> int:
        """Live calls of which something was or is not heard or not scored."""
        if self._blind:
            return len(self._shared.calls)
        return sum(
            bool(call.fault) or call.session.state.monitoring.state.value != "ok"
            for call in self._shared.calls.values()
        )

    def degraded(self, tenant: str) -> str:
        """Why a tenant's calls are not fully monitored, or empty."""
        return self.trouble or self._degraded.get(tenant, "")

    @property
    def degraded_tenants(self) -> int:
        """Tenants that were told of trouble of their own."""
        return len(self._degraded)

    def degrade(self, tenant: str, reason: str) -> None:
        """A tenant hears, once, that its calls are not fully monitored."""
        if self._degraded.get(tenant) != reason:
            self._degraded[tenant] = reason
            message = {"type": "monitoring.degraded", "reason": reason}
            self._shared.hub.publish(Published(tenant=tenant, queue="", topic="monitoring", message=message))

    def restored(self) -> None:
        """The trouble of all tenants is over."""
        for tenant in list(self._degraded):
            reason = self._degraded.pop(tenant)
            message = {"type": "monitoring.restored", "reason": reason}
            self._shared.hub.publish(Published(tenant=tenant, queue="", topic="monitoring", message=message))

    @property
    def _blind(self) -> str:
        """Why no call at all is watched now, or empty; what is shed is marked on its own call."""
        return "" if self.trouble == SHEDDING else self.trouble

    def tell_trouble(self) -> None:
        """The floor hears at once when calls are not watched, for whatever reason, and when they are again."""
        before, self.trouble = self.trouble, self._shared.watch.unwatched()
        if before == self.trouble:
            return
        kind = "monitoring.degraded" if self.trouble else "monitoring.restored"
        message = {"type": kind, "reason": self.trouble or before}
        for tenant in self._shared.hub.tenants():
            self._shared.hub.publish(Published(tenant=tenant, queue="", topic="monitoring", message=message))
        for call in self._shared.calls.values():
            call.status_news = True

"""The driver: connects calls, log, engine and bus. It performs what the pure core asks for, and nothing else.

Everything that goes into a call is durable before it is folded, in the order of the log, so that a restart that folds the
log again comes to the same alerts. One event loop owns all calls; inference and disk run on threads of their own.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from detector.alerts import ActionAnswer, AlertEvent
from detector.events import AgentHelp, SupervisorAction
from server.errors import MamoriError
from server.groupwriter import Entry
from server.live.call import LiveCall
from server.live.clockwork import Clockwork
from server.live.floor import Floor
from server.live.fold import Fold
from server.live.reception import Reception
from server.live.recovery import Recovery
from server.live.resources import Resources
from server.live.saving import Saving
from server.routing import RoutingTable
from server.storage.port import AuditEntry, Committed
from server.supervision import Supervision

DRAIN_S: Final = 1.5
"""So long a server that is told to end waits for its log."""
FAREWELL_S: Final = 0.1
"""Time for the last acknowledgements to go out before the sockets close."""

_log = logging.getLogger("mamori.runtime")


@dataclass(kw_only=True, eq=False)
class Runtime(Resources):
    """All live calls of one process: what its parts share (see `Resources`), and the parts.

    Args:
        routing: who is called for an alert, and who next.
        make_floor: shows what happens, on this process or on all.
    """

    routing: RoutingTable = field(default_factory=RoutingTable)
    make_floor: Callable[..., Floor] = field(default=Floor)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.supervision = Supervision(self, self.routing)
        self.floor = self.make_floor(self)
        self.saving = Saving(self, self.floor, self.supervision)
        self._fold = Fold(self, self.floor, self.saving, self.supervision)
        self.recovery = Recovery(self, self.saving, self._fold)
        self.reception = Reception(self, self.saving, self._fold, self.recovery)
        self.clockwork = Clockwork(self, self.floor, self.saving, self._fold, self.reception, self.supervision)

    async def start(self) -> None:
        """Restores the open calls and starts the clockwork."""
        self.begin()
        self.clockwork.check_disk()
        self.recovery.restore(self.log.open_calls())
        self.supervision.restore()
        self.clockwork.start()
        self.ready = True

    def checks(self) -> dict[str, str]:
        """What else must be well, for `/readyz`: nothing on one machine."""
        return {}

    async def status_of(self, tenant: str, call_id: str) -> dict[str, Any] | None:
        """A live call's status as it stands; None when there is no such live call."""
        return self.status_here(tenant, call_id)

    def status_here(self, tenant: str, call_id: str) -> dict[str, Any] | None:
        """`status_of`, of the calls that this process follows."""
        live = self.calls.get((tenant, call_id))
        return None if live is None or live.session.state.ended else msgspec.to_builtins(live.session.status())

    async def shadow_report(self, tenant: str) -> dict[str, Any] | None:
        """What candidate rules would have made of a tenant's calls; None where there are no such rules."""
        return self.shadow.report(tenant) if self.shadow is not None else None

    def partitions_followed(self) -> int:
        """Partitions of a cluster whose calls are followed here: none on one machine."""
        return 0

    def on_duty(self) -> bool:
        """Whether what only one process may do is this one's to do."""
        return True

    async def drain(self) -> None:
        """Takes no more events, and waits for a while until what was taken is durable and those who sent it know."""
        self.ready, self.draining = False, True
        await self._quiet(DRAIN_S)
        await asyncio.sleep(FAREWELL_S)
        self.hub.close()

    async def stop(self) -> None:
        """Stops taking events, makes everything durable, writes snapshots."""
        self.ready, self.draining = False, True
        await self.keeper.stop()
        if not await self._quiet(DRAIN_S):
            return
        for call in self.calls.values():
            # An alert that is not durable yet must come out of the log again.
            if call.session.idle and call.folded and not call.saving:
                self.write(Entry(snapshots=[call.snapshot()]))
        await self._quiet(DRAIN_S)

    async def _quiet(self, limit_s: float) -> bool:
        """Waits until nothing is on its way to the log; False when it took too long."""
        try:
            async with asyncio.timeout(limit_s):
                await self.writer.quiet()
        except TimeoutError:
            _log.error("the log does not take what is left, it is not acknowledged")
            return False
        return True

    async def help(self, tenant: str, call_id: str, *, note: str, by: str) -> bool:
        """The help button of a call was pressed outside the feed; False when there is no such live call."""
        return self.press(tenant, call_id, note=note, by=by)

    def press(self, tenant: str, call_id: str, *, note: str, by: str) -> bool:
        """The help button of a call was pressed outside the feed; False when there is no such live call."""
        call = self.calls.get((tenant, call_id))
        if call is None or call.session.state.ended:
            return False
        now_ms = call.media_now_ms(self.clock.monotonic())
        # In the platform's time, like every event that may have come from there.
        offset_ms = max(0, now_ms - call.session.state.timeline.shift_ms)
        self._fold.add_input(call, AgentHelp(offset_ms=offset_ms, note=note, by=by))
        return True

    async def act(self, tenant: str, action: SupervisorAction) -> ActionAnswer:
        """A supervisor acts on an alert; see `Supervision.act`."""
        return await self.supervision.act(tenant, action)

    def add_input(
        self,
        call: LiveCall,
        value: Any,
        *,
        follow: Callable[[Committed | MamoriError], None] | None = None,
        audit: Sequence[AuditEntry] = (),
    ) -> None:
        """Logs an input that the server adds to a call and folds it once it is durable."""
        self._fold.add_input(call, value, follow=follow, audit=audit)

    def publish(self, tenant: str, instance: str, events: list[AlertEvent], cursors: tuple[int | None, ...]) -> None:
        """Tells everybody of alert events that are durable; those without a cursor were told before."""
        self.saving.publish(tenant, instance, events, cursors)

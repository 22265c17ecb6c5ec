"""The runtime of one process of a cluster: the calls of the partitions that it owns, and the way to those of others.

A gateway owns none; a worker's calls come from gateways, itself perhaps among them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from detector.alerts import ActionAnswer, Refusal
from detector.events import SupervisorAction
from server.cluster import subjects
from server.cluster.bus import ClusterHub
from server.cluster.gateway import Gateway
from server.cluster.jetstream import JetStream
from server.cluster.log import ClusterLog
from server.cluster.worker import Worker
from server.cluster.writer import PartitionWriter
from server.keeper import insist
from server.live.floor import Floor
from server.live.recovery import Restored, read_back
from server.runtime import Runtime
from server.shadow import together


class _ClusterFloor(Floor):
    """Shows the calls of every worker."""

    def statuses(self, tenant: str) -> list[dict[str, Any]]:
        """The last `call.status` of every live call of a tenant."""
        hub = self._shared.hub
        return hub.statuses(tenant) if isinstance(hub, ClusterHub) else super().statuses(tenant)


@dataclass(kw_only=True, eq=False)
class ClusterRuntime(Runtime):
    """See `Runtime`.

    Args:
        cluster_log, bus: the log and the hub, by what more they are.
        nats: a connection, opened by `start`.
        name: of this process, unlike any other's.
        works: whether it takes partitions.
    """

    cluster_log: ClusterLog
    bus: ClusterHub
    nats: JetStream
    name: str
    works: bool = True
    make_floor: Callable[..., Floor] = field(default=_ClusterFloor)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.local = self.reception
        self.gateway = Gateway(self.nats, self.cluster_log, self.name)
        self.reception = self.gateway  # type: ignore[assignment]
        self.worker = Worker(self.nats, self.cluster_log, self, self.name)

    def make_writer(self) -> PartitionWriter:
        """Writes each entry under the ownership of its partition."""
        self.partitions = PartitionWriter(self.log, self.loop, self.fold_failed, self.worker.ownership.drop)
        return self.partitions

    async def start(self) -> None:
        """Joins the cluster.

        Raises:
            StorageError: NATS does not answer, nor did it a while later.
        """
        await insist(self.nats.open)
        self.begin()
        self.clockwork.check_disk()
        self.bus.on_listeners = self._tell_all
        await self.bus.start()
        await self.gateway.start()
        if self.works:
            await self.worker.start()
        self.clockwork.start()
        self.ready = True

    async def stop(self) -> None:
        """Leaves the cluster, in good order."""
        await super().stop()
        if self.works:
            await self.worker.stop()
        await self.gateway.stop()
        await self.bus.stop()
        await self.nats.close()

    def checks(self) -> dict[str, str]:
        """NATS, and whether every partition has an owner."""
        missing = self.gateway.ownerless()
        return {
            "nats": self.nats.failure or "ok",
            "partitions": f"{missing} without an owner" if missing else "ok",
        }

    def partitions_followed(self) -> int:
        """Partitions whose calls are followed here."""
        return self.worker.partitions

    def on_duty(self) -> bool:
        """Whether what only one process may do is this one's to do: it is whose the first partition is."""
        return self.worker.owns(0)

    def _tell_all(self) -> None:
        for call in self.calls.values():
            call.status_news = True

    # Partitions.

    def read_back(self, partition: int) -> list[Restored]:
        """Reads the open calls of a partition, on a thread."""
        found = self.cluster_log.open_calls(partition)
        return read_back(self.log, found, self.session, now_s=self.clock.monotonic())

    def take_up(self, partition: int, epoch: int, restored: list[Restored]) -> None:
        """Follows the calls of a partition from now on."""
        self.partitions.own(partition, epoch)
        self.local.forget_refused()
        self.recovery.take_up(restored)
        self.supervision.restore(lambda tenant, instance: subjects.partition_of_instance(tenant, instance) == partition)

    def drop(self, partition: int) -> None:
        """Follows the calls of a partition no more, and writes nothing of them."""
        self.partitions.lose(partition)
        for call in [call for call in self.calls.values() if subjects.partition_of(*call.key) == partition]:
            self.saving.drop(call)
        self.supervision.drop(lambda tenant, instance: subjects.partition_of_instance(tenant, instance) == partition)

    # What people do.

    async def act(self, tenant: str, action: SupervisorAction) -> ActionAnswer:
        """Has the owner of the call act."""
        found = await asyncio.to_thread(self.log.alert, tenant, action.alert_id)
        if found is None:
            return ActionAnswer(alert_id=action.alert_id, refusal=Refusal.NOT_FOUND, message="no such alert")
        return await self.gateway.act(tenant, found[1].call_id, action)

    async def help(self, tenant: str, call_id: str, *, note: str, by: str) -> bool:
        """Has the owner of the call raise it."""
        return await self.gateway.help(tenant, call_id, note=note, by=by)

    async def status_of(self, tenant: str, call_id: str) -> dict[str, Any] | None:
        """A live call's status as it stands, whoever follows it; None when there is no such live call, or nobody says so."""
        return self.status_here(tenant, call_id) or await self.gateway.status(tenant, call_id)

    async def shadow_report(self, tenant: str) -> dict[str, Any] | None:
        """What candidate rules would have made of a tenant's calls, those of all workers; None where no worker has such rules."""
        reports = await self.gateway.shadow(tenant)
        return together(reports) if reports else None

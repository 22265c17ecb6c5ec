"""Disturbs a real cluster again and again under traffic, and checks that nothing acknowledged was lost.

    python -m benchmarks.cluster_crash --cycles 20 --seed 1

Three NATS servers with three copies of each stream, PostgreSQL, two gateways and three workers run on this machine. In each
cycle calls begin at both gateways and, while they last, one process is killed (`kill -9`; PostgreSQL by its own quickest end,
`SIGQUIT`) and started again, or stopped (`SIGSTOP`) for longer than a worker may be silent and woken, or a NATS server is cut
off from the other two until everything was acknowledged all the same. A client that loses its gateway goes on at the other one.
Two supervisors follow the alerts and change gateways by their cursor.

The checker is that of `benchmarks.crash`; beyond it, each supervisor must have heard every alert event once, in order.
`recovery_s` is the time from each disturbance until all that was sent before and meanwhile was acknowledged.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Final, TypeVar

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

from benchmarks.cluster_members import Cluster, cluster
from benchmarks.crash import Outcome, call_events, check
from benchmarks.servers import NoServerError
from server.client import IngestClient
from server.cluster.jetstream import UnreachableNatsError
from server.cluster.log import ClusterLog
from server.storage.port import Stored

T = TypeVar("T")

STOPPED_S: Final = 6.0
"""Twice as long as a worker may give no sign of life."""
AWAY_S: Final = 2.0
"""So long what was killed stays away."""
SETTLE_S: Final = 60.0
"""So long after a disturbance everything must be acknowledged."""


@dataclass(slots=True)
class ClusterOutcome(Outcome):
    """What the checker found, and what concerns a cluster alone.

    Args:
        recovery_s: by disturbance, the time of each.
        missed: alert events that a supervisor did not hear of, or more than once, or out of order.
        never_ended: calls that are open when all should have ended.
        not_back: processes that did not become ready again.
    """

    recovery_s: dict[str, list[float]] = field(default_factory=dict)
    missed: int = 0
    never_ended: int = 0
    not_back: int = 0

    @property
    def whole(self) -> bool:
        """Whether nothing was lost, doubled or disordered, and all came back."""
        sound: bool = Outcome.whole.fget(self)  # type: ignore[attr-defined]
        return sound and not (self.missed or self.never_ended or self.not_back)


class Supervisor:
    """Follows the alert stream by its cursor, at another gateway whenever its connection is lost or it is told to change.

    Args:
        ports: of the gateways.
        calls: whether it hears of calls too.
    """

    def __init__(self, ports: list[int], *, calls: bool = False) -> None:
        self._ports = ports
        self._calls = int(calls)
        self._at = 0
        self._task = asyncio.create_task(self._follow())
        self.socket: ClientConnection | None = None
        self.cursor: int | None = None
        self.events: list[dict[str, Any]] = []

    async def _follow(self) -> None:
        while True:
            after = f"&after={self.cursor}" if self.cursor is not None else ""
            port = self._ports[self._at % len(self._ports)]
            url = f"ws://127.0.0.1:{port}/v1/alerts?calls={self._calls}{after}"
            with contextlib.suppress(OSError, WebSocketException, TimeoutError):
                async with connect(url, ping_interval=2, ping_timeout=2) as self.socket:
                    async for text in self.socket:
                        message = json.loads(text)
                        self.cursor = message.get("cursor", self.cursor)
                        self.events.append(message)
            self._at += 1
            await asyncio.sleep(0.1)

    @property
    def heard(self) -> list[tuple[int, str, int]]:
        """Cursor, alert and version of the alert events, as they came."""
        return [
            (event["cursor"], event["alert"]["alert_id"], event["alert"]["version"])
            for event in self.events
            if "alert" in event
        ]

    async def change(self) -> None:
        """Goes to another gateway."""
        if self.socket is not None:
            await self.socket.close()

    async def stop(self) -> None:
        """Hears no more."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Disturbance:
    """One way to disturb.

    Args:
        name: of the kind.
        begin: strikes; what is killed or stopped is back when it returns. Nobody waits for it.
        mend: called once everything is acknowledged in spite of it.
    """

    name: str
    begin: Callable[[], Awaitable[None]]
    mend: Callable[[], None] = lambda: None


def disturbances(running: Cluster, chance: random.Random, stopped_s: float) -> Iterator[Disturbance]:
    """One of each kind, in random order, for ever."""
    members: dict[str, Any] = {
        "gateway": running.gateways,
        "worker": running.workers,
        "nats": running.nats,
        "postgres": [running.postgres],
    }

    def killed(kind: str) -> Disturbance:
        async def begin() -> None:
            victim = chance.choice(members[kind])
            await asyncio.to_thread(victim.kill)
            await asyncio.sleep(AWAY_S)
            await asyncio.to_thread(victim.start)

        return Disturbance(name=f"{kind} killed", begin=begin)

    def stopped(kind: str) -> Disturbance:
        async def begin() -> None:
            victim = chance.choice(members[kind])
            victim.send(signal.SIGSTOP)
            try:
                await asyncio.sleep(stopped_s)
            finally:
                victim.send(signal.SIGCONT)

        return Disturbance(name=f"{kind} stopped", begin=begin)

    def cut_off() -> Disturbance:
        victim = chance.randrange(len(running.nats))

        async def begin() -> None:
            running.relays.cut(victim)

        return Disturbance(name="nats cut off", begin=begin, mend=lambda: running.relays.mend(victim))

    while True:
        kinds = [*(make(kind) for make in (killed, stopped) for kind in members), cut_off()]
        yield from chance.sample(kinds, len(kinds))


async def run(
    cycles: int, seed: int, folder: Path, *, calls_per_cycle: int = 12, stopped_s: float = STOPPED_S
) -> ClusterOutcome:
    """Runs the cycles and checks.

    Args:
        calls_per_cycle: that begin in each.
        stopped_s: for which a process that is stopped stands still.

    Raises:
        NoServerError: NATS or PostgreSQL is not on this machine.
    """
    outcome = ClusterOutcome(cycles=cycles)
    began_s = time.monotonic()
    with cluster(
        folder, gateways=2, workers=3, nats_servers=3, told=lambda step: print(f"starting {step}", file=sys.stderr)
    ) as running:
        sent: dict[str, list[dict[str, Any]]] = {}
        # Each has its own, or what is sent and struck would follow the order in which tasks come to draw.
        content, blows, pace = (random.Random(f"{seed} {name}") for name in ("content", "blows", "pace"))
        kinds = islice(disturbances(running, blows, stopped_s), cycles)
        await _disturb(running, folder, kinds, content, pace, calls_per_cycle, sent, outcome)
        for member in (*running.gateways, *running.workers):
            await asyncio.to_thread(member.end)
        outcome.count(sent)
        log = await asyncio.to_thread(_open, running, folder)
        try:
            await asyncio.to_thread(check, log, sent, outcome)
        finally:
            await asyncio.to_thread(log.close)
    outcome.seconds = round(time.monotonic() - began_s, 1)
    return outcome


class _PatientLog(ClusterLog):
    """Waits for a stream that has no leader yet: one that nobody wrote to lately may be long about it."""

    def read_call(self, tenant: str, instance: str, *, after: int = -1) -> Iterator[Stored]:
        read = super().read_call
        return iter(_patiently(lambda: list(read(tenant, instance, after=after))))


def _open(running: Cluster, folder: Path) -> ClusterLog:
    """Opens the log, as patiently as a process that starts."""
    nats, database = running.options[1], running.options[3]
    return _patiently(lambda: _PatientLog(nats, database, data_dir=folder / "checker", replicas=3))


def _patiently(step: Callable[[], T]) -> T:
    deadline_s = time.monotonic() + SETTLE_S
    while True:
        try:
            return step()
        except UnreachableNatsError:
            if time.monotonic() > deadline_s:
                raise
            time.sleep(1)


async def _disturb(
    running: Cluster,
    folder: Path,
    kinds: Iterator[Disturbance],
    content: random.Random,
    pace: random.Random,
    calls_per_cycle: int,
    sent: dict[str, list[dict[str, Any]]],
    outcome: ClusterOutcome,
) -> None:
    ports = [gateway.port for gateway in running.gateways]
    urls = [f"ws://127.0.0.1:{port}" for port in ports]
    supervisors = [Supervisor(ports), Supervisor(ports[::-1])]
    clients = [IngestClient(urls), IngestClient(urls[::-1])]

    async def feed(client: IngestClient, call_id: str) -> None:
        for event in sent[call_id]:
            await client.send(event)
            await asyncio.sleep(pace.random() * 0.2)

    async with clients[0], clients[1]:
        # Who has no cursor yet begins with what there is by then, and cannot be asked for all of it.
        while any(item.cursor is None for item in supervisors):  # noqa: ASYNC110 - they tell nobody
            await asyncio.sleep(0.05)
        for cycle, disturbance in enumerate(kinds):
            names = [f"c{cycle}-{number}" for number in range(calls_per_cycle)]
            sent.update({name: call_events(name, content) for name in names})
            feeding = [asyncio.create_task(feed(content.choice(clients), name)) for name in names]
            await asyncio.sleep(pace.random())
            print(f"{cycle:4} {disturbance.name:18} ", end="", file=sys.stderr, flush=True)
            struck_s = time.monotonic()
            striking = asyncio.ensure_future(disturbance.begin())
            await asyncio.gather(*feeding)
            settled = await _settled(clients, outcome)
            took_s = round(time.monotonic() - struck_s, 1)
            disturbance.mend()
            await striking
            print(f"{took_s:5} s", file=sys.stderr, flush=True)
            if not settled:
                outcome.examples.append(f"{disturbance.name}: not acknowledged within {SETTLE_S:.0f} s")
                break
            outcome.recovery_s.setdefault(disturbance.name, []).append(took_s)
            await pace.choice(supervisors).change()
        members = (*running.gateways, *running.workers)
        found = await asyncio.gather(*(asyncio.to_thread(member.wait) for member in members), return_exceptions=True)
        why = [repr(error) for error in found if isinstance(error, BaseException)]
        outcome.not_back, outcome.examples = len(why), [*outcome.examples, *why]
        await _compare(running, folder, supervisors, outcome)


async def _settled(clients: list[IngestClient], outcome: ClusterOutcome) -> bool:
    try:
        await asyncio.gather(*(client.flush(SETTLE_S) for client in clients))
    except TimeoutError:
        outcome.unacknowledged = sum(client.unacked for client in clients)
        return False
    return True


async def _compare(running: Cluster, folder: Path, supervisors: list[Supervisor], outcome: ClusterOutcome) -> None:
    """Every call ends, and each supervisor has heard what the alert stream holds, once and in order."""
    log = await asyncio.to_thread(_open, running, folder)
    try:
        deadline_s = time.monotonic() + SETTLE_S
        while True:
            await asyncio.sleep(3)
            # What was acknowledged last may wait for its score still, and that for a stream's new leader.
            left = await asyncio.to_thread(log.open_calls)
            entries = await asyncio.to_thread(_patiently, partial(log.stream, "default", after=0, limit=1_000_000))
            told = [(entry.cursor, entry.event.alert.alert_id, entry.event.alert.version) for entry in entries]
            heard = not left and all(item.heard == told for item in supervisors)
            if heard or time.monotonic() > deadline_s:
                break
        outcome.never_ended = len(left)
        outcome.examples += [f"{record.call_id} never ended" for record, _ in left]
        for number, item in enumerate(supervisors):
            if item.heard != told:
                lacks, more = Counter(told) - Counter(item.heard), Counter(item.heard) - Counter(told)
                outcome.missed += max(1, lacks.total() + more.total())
                outcome.examples.append(f"supervisor {number} lacks {sorted(lacks)}, heard too often {sorted(more)}")
            await item.stop()
    finally:
        await asyncio.to_thread(log.close)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cycles", type=int, default=9, help="disturbances; every nine are one of each kind")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--calls", type=int, default=12, help="that begin in each cycle")
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        try:
            outcome = asyncio.run(run(chosen.cycles, chosen.seed, Path(folder), calls_per_cycle=chosen.calls))
        except NoServerError as error:
            sys.exit(str(error))
    outcome.report(chosen.json)


if __name__ == "__main__":
    main()

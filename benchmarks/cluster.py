"""What a cluster costs beside one machine's engine, how it grows with workers and calls, and how long a takeover takes.

    python -m benchmarks.cluster                              # embedded, then 1, 2 and 4 workers, 300 calls for 30 s each
    python -m benchmarks.cluster --calls 300,600 --seconds 60 --workers 1,2

The load is that of `benchmarks.load`. All processes share this machine's cores, so more workers can show that nothing gets
lost or slow by them and what they cost, not that more is carried: that takes more machines. CPU is that of each kind of
process, in cores; the sender's is not counted. NATS runs with `sync_interval: always`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks.cluster_members import Cluster, Member, cluster
from benchmarks.load import load_client
from server.client import IngestClient

TICKS: Final = os.sysconf("SC_CLK_TCK")
TALK: Final = ("請求書の件でお電話しました", "かしこまりました、お調べいたします", "先月の分がまだ届いていません")
"""What was said in each call before a takeover."""


def cpu_s(pids: Sequence[int]) -> float:
    """Seconds of CPU that processes and their children of now have used, from /proc."""
    total = 0
    for one in [*pids, *(child for pid in pids for child in _children(pid))]:
        fields = Path(f"/proc/{one}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / TICKS


def _children(pid: int) -> list[int]:
    return [int(name) for name in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()]


async def load(port: int, calls: int, seconds: float, kinds: dict[str, list[int]]) -> dict[str, Any]:
    """One run against a port; `kinds` names the processes whose CPU is counted."""
    client = await load_client(port, "ten", calls, seconds, {"warm_s": seconds / 4})
    before, began_s = {kind: cpu_s(pids) for kind, pids in kinds.items()}, time.monotonic()
    await asyncio.sleep(seconds)
    took_s = time.monotonic() - began_s
    cores = {kind: round((cpu_s(pids) - before[kind]) / took_s, 2) for kind, pids in kinds.items()}
    out, _ = await client.communicate()
    figures: dict[str, Any] = json.loads(out)
    return {"calls": calls, "cores": cores, "cores_all": round(sum(cores.values()), 2), **figures}


def kinds_of(running: Cluster) -> dict[str, list[int]]:
    """The cluster's processes by kind."""
    return {
        "gateway": [item.process.pid for item in running.gateways],
        "worker": [item.process.pid for item in running.workers],
        "nats": [server.pid for server in running.nats],
        "postgres": [running.postgres.pid],
    }


async def takeover(running: Cluster, calls: int) -> float:
    """Seconds from the kill of one of two workers until every call's next event is acknowledged."""
    async with IngestClient(f"ws://127.0.0.1:{running.gateways[0].port}") as client:
        for number in range(calls):
            name = f"takeover-{number}"
            await client.send({"type": "call.started", "call_id": name, "language": "ja"})
            for place, text in enumerate(TALK):
                said = {"segment_id": f"s{place}", "speaker": ("customer", "agent")[place % 2], "text": text}
                times = {"start_ms": place * 3_000, "end_ms": place * 3_000 + 2_000}
                await client.send({"type": "transcript.segment", "call_id": name, **said, **times})
        await _acknowledged(client)
        running.workers[0].process.kill()
        began_s = time.monotonic()
        for number in range(calls):
            await client.send({"type": "call.alive", "call_id": f"takeover-{number}", "offset_ms": 9_000})
        await _acknowledged(client)
        return time.monotonic() - began_s


async def _acknowledged(client: IngestClient) -> None:
    async with asyncio.timeout(60):
        while client.unacked:  # noqa: ASYNC110 - the client has no event for it
            await asyncio.sleep(0.01)


async def measure(chosen: argparse.Namespace) -> list[dict[str, Any]]:
    """All runs, printed as they come."""
    results = []
    print("engine       calls  events/s  alert p50    p99   ack p50   p99   cores  by kind", flush=True)

    def show(name: str, figures: dict[str, Any]) -> None:
        results.append({"engine": name, **figures})
        alerts = f"{figures['alerts_received']}/{figures['alerts_expected']} alerts"
        print(
            f"{name:11} {figures['calls']:6} {figures['events_per_s']:9} {figures['alert']['p50_ms']:10}"
            f" {figures['alert']['p99_ms']:6} {figures['ack']['p50_ms']:9} {figures['ack']['p99_ms']:6}"
            f" {figures['cores_all']:7}  {figures['cores']}, {alerts}, {figures['unacknowledged']} unacknowledged",
            flush=True,
        )

    for calls in chosen.calls:
        with tempfile.TemporaryDirectory() as folder:
            alone = Member(Path(folder) / "alone", "all", settings={"MAMORI_LOG_LEVEL": "warning"})
            try:
                alone.wait()
                show("embedded", await load(alone.port, calls, chosen.seconds, {"server": [alone.process.pid]}))
            finally:
                alone.end()
        for workers in chosen.workers:
            with (
                tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder,
                cluster(Path(folder), gateways=1, workers=workers, nats_servers=chosen.nats) as running,
            ):
                show(
                    f"{workers} workers", await load(running.gateways[0].port, calls, chosen.seconds, kinds_of(running))
                )
    for calls in chosen.takeover_calls:
        times = []
        for _ in range(chosen.takeovers):
            with (
                tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder,
                cluster(Path(folder), gateways=1, workers=2) as running,
            ):
                times.append(round(await takeover(running, calls), 2))
        print(f"takeover, kill -9 to the last acknowledgement of {calls} calls: {times} s", flush=True)
        results.append({"takeover_calls": calls, "takeover_s": times})
    return results


def _numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=_numbers, default=[300])
    parser.add_argument("--workers", type=_numbers, default=[1, 2, 4])
    parser.add_argument("--nats", type=int, choices=(1, 3), default=1, help="servers, and copies of each stream")
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--takeovers", type=int, default=3, help="how often each is measured")
    parser.add_argument("--takeover-calls", type=_numbers, default=[64, 1_000], help="calls of both workers then")
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args()
    results = asyncio.run(measure(chosen))
    if chosen.json:
        chosen.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

"""The load of a large contact centre on one server: what it costs, how fast alerts are, and where it ends.

    python -m benchmarks.load --calls 5000 --minutes 10                    # 10 connections
    python -m benchmarks.load --shape each --calls 10000 --minutes 10     # a connection for each call
    python -m benchmarks.load --shape storm --calls 2000 --minutes 2      # all connections drop and come back within 5 s
    python -m benchmarks.load --steps 1000,2000,3000,4000 --minutes 1     # at which it saturates, and what then

Each call has a customer final of 20 to 60 characters and an agent final every 12 s and one partial a second while someone
speaks; no two texts are alike beyond backchannels (`benchmarks.load_talk`). Calls end and others follow. The sender is
a process of its own that keeps its schedule whatever the server does: times count from when a chunk was due. Its CPU is
told apart from the server's, but on one machine the two share the cores. Prints tables; `--json` keeps the figures.

Alerts are timed for threats in plain words, which the server scores before all else: beyond what it carries, abuse without
such words is slower than the figure says, or unscored, which is counted. The p99 of the loop's lag is of looks ten times a
second, so a pause counts once, however long; None: beyond the largest bucket.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import resource
import signal
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.load_stages import sample

WARM_S = 24.0
RAMP_S = 12.0
SAMPLE_EVERY_S = 5.0
CONNECTIONS: dict[str, Callable[[int], int]] = {
    "ten": lambda _calls: 10,
    "each": lambda calls: calls,
    "storm": lambda calls: max(10, calls // 10),
}
THREADS = {"MainThread": "loop", "mamori-log": "log", "mamori-inference": "scoring"}
SATURATED_P99_MS = 1_000


@dataclass(slots=True)
class Reading:
    """The server at one moment."""

    at_s: float
    memory_mb: float
    handles: int
    disk_mb: float


@dataclass(slots=True)
class Server:
    """`mamori serve` in a process of its own."""

    folder: Path
    process: asyncio.subprocess.Process
    port: int
    readings: list[Reading] = field(default_factory=list)

    @classmethod
    async def start(cls, folder: Path) -> Server:
        """Starts one on a free port; what it says goes to a file.

        Raises:
            RuntimeError: it ended or said nothing within a minute.
        """
        said = folder / "server.log"
        with said.open("wb") as stream:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "server.cli", "serve", "--port", "0", "--data-dir", str(folder / "data")),
                stderr=stream,
                stdout=stream,
            )
        for _ in range(600):
            found = re.search(r"ready on \S+?:(\d+)/", said.read_text(encoding="utf-8", errors="replace"))
            if found is not None:
                return cls(folder, process, int(found[1]))
            if process.returncode is not None:
                break
            await asyncio.sleep(0.1)
        raise RuntimeError("the server did not start: " + said.read_text(encoding="utf-8", errors="replace")[-500:])

    def read(self) -> Reading:
        """Memory, file handles and disk now."""
        pid = self.process.pid
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
        resident = re.search(r"VmRSS:\s+(\d+)", status)
        disk = sum(path.stat().st_size for path in (self.folder / "data").rglob("*") if path.is_file())
        handles = len(list(Path(f"/proc/{pid}/fd").iterdir()))
        reading = Reading(time.monotonic(), int(resident[1]) / 1024 if resident else 0.0, handles, disk / 2**20)
        self.readings.append(reading)
        return reading

    async def metrics(self) -> dict[str, float]:
        """What `/metrics` says, by name with labels."""
        url = f"http://127.0.0.1:{self.port}/metrics"

        def fetch() -> str:
            with urllib.request.urlopen(url, timeout=30) as answer:
                return str(answer.read().decode())

        text = await asyncio.to_thread(fetch)
        lines = (line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
        return {name: float(value) for name, value in lines}

    async def stop(self) -> None:
        """Ends it as an operator would."""
        self.process.send_signal(signal.SIGTERM)
        await self.process.wait()


async def run(
    shape: str, calls: int, seconds: float, folder: Path, *, floors: int = 1, profile: bool = True, **further: float
) -> dict[str, Any]:
    """One run on a fresh server.

    Args:
        shape: `ten`, `each` or `storm`.
        calls: at the same time.
        seconds: of sending, ramp included.
        folder: for the server's data, empty.
        floors: listeners that get every call's status.
        profile: whether stacks are sampled in the middle of the run.
        further: options of `benchmarks.load_client`, with underscores.
    """
    server = await Server.start(folder)
    try:
        before = server.read()
        warm_s = min(WARM_S, seconds / 3)
        options = {"warm_s": warm_s, "floors": floors, **further}
        client = await load_client(server.port, shape, calls, seconds, options)
        watching = asyncio.create_task(_watch(server))
        await asyncio.sleep(warm_s)
        first = await server.metrics()
        began_s = time.monotonic()
        stages: dict[str, float] = {}
        if profile:
            stages = await sample(server.process.pid, min(20.0, seconds / 3))
        await asyncio.sleep(max(0.0, seconds - warm_s - (time.monotonic() - began_s) - 1.0))
        last, took_s = await server.metrics(), time.monotonic() - began_s
        after = server.read()
        said, _ = await client.communicate()
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
        end = await server.metrics()
    finally:
        if server.process.returncode is None:
            await server.stop()
    figures: dict[str, Any] = json.loads(said)
    return {
        "shape": shape,
        "calls": calls,
        "connections": CONNECTIONS[shape](calls),
        "seconds": seconds,
        **figures,
        **_server_side(first, last, end, took_s),
        "stages": stages,
        "memory_before_mb": round(before.memory_mb, 1),
        "memory_mb": round(after.memory_mb, 1),
        "memory_per_call_kb": round((after.memory_mb - before.memory_mb) * 1024 / calls, 1),
        "readings": [
            [round(r.at_s - before.at_s), round(r.memory_mb), r.handles, round(r.disk_mb)] for r in server.readings
        ],
    }


async def load_client(
    port: int, shape: str, calls: int, seconds: float, further: dict[str, float]
) -> asyncio.subprocess.Process:
    """Starts the sender as a process of its own, and waits until it is connected; it prints its figures as JSON."""
    options = {
        "port": port,
        "calls": calls,
        "connections": CONNECTIONS[shape](calls),
        "seconds": seconds,
        "ramp-s": min(RAMP_S, seconds / 4),
        "storm-at-s": seconds / 2 if shape == "storm" else 0,
        **{name.replace("_", "-"): value for name, value in further.items()},
    }
    client = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks.load_client"),
        *(part for name, value in options.items() for part in (f"--{name}", str(value))),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert client.stderr is not None
    if b"connected" not in await client.stderr.readline():
        raise RuntimeError((await client.stderr.read()).decode(errors="replace")[-500:])
    return client


async def _watch(server: Server) -> None:
    while True:
        await asyncio.sleep(SAMPLE_EVERY_S)
        server.read()


def _server_side(
    first: dict[str, float], last: dict[str, float], end: dict[str, float], took_s: float
) -> dict[str, Any]:
    """Shares of one core by thread, event-loop lag, scores: between two readings; what was not scored, over all."""

    def gone(name: str) -> float:
        return last.get(name, 0.0) - first.get(name, 0.0)

    cpu = {
        name: sum(gone(key) for key in last if key.startswith(f'mamori_thread_cpu_seconds_total{{thread="{thread}'))
        / took_s
        for thread, name in THREADS.items()
    }
    cpu["all"] = gone("process_cpu_seconds_total") / took_s
    lags = sorted(
        (float(found[1]), gone(key))
        for key in last
        if (found := re.match(r'mamori_loop_lag_seconds_bucket{le="([\d.]+)"}', key))
    )
    count = gone("mamori_loop_lag_seconds_count") or 1
    scored, cached = gone("mamori_scored_total"), gone("mamori_score_cache_hits_total")
    return {
        "cpu": {name: round(share, 3) for name, share in cpu.items()},
        "loop_lag_p50_s": next((at for at, below in lags if below >= count * 0.5), None),
        "loop_lag_p99_s": next((at for at, below in lags if below >= count * 0.99), None),
        "scored_per_s": round(scored / took_s, 1),
        "cache_hit_rate": round(cached / max(1.0, cached + scored), 3),
        "unscored": {
            found[1]: round(value)
            for key, value in end.items()
            if (found := re.match(r'mamori_unscored_total{reason="(\w+)"}', key))
        },
    }


def saturated(figures: dict[str, Any]) -> bool:
    """Whether the server fell behind: events that wait for longer than a second to be durable, or no answer at all."""
    return bool(figures["unacknowledged"] or figures["ack"]["p99_ms"] > SATURATED_P99_MS or figures["unscored"])


def table(figures: dict[str, Any]) -> str:
    """What is printed of one run."""
    wide = {name: value for name, value in figures.items() if name != "readings"}
    lines = [f"{name:22} {value}" for name, value in wide.items()]
    lines.append("   s   memory MB   handles   disk MB")
    step = max(1, len(figures["readings"]) // 12)
    lines += [f"{at:4} {memory:11} {handles:9} {disk:9}" for at, memory, handles, disk in figures["readings"][::step]]
    return "\n".join(lines)


def raise_file_limit() -> int:
    """Lets this process and its children open as many files as the system allows; returns how many."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


async def steps(chosen: argparse.Namespace) -> list[dict[str, Any]]:
    """One run for each number of calls."""
    results = []
    for calls in chosen.steps or [chosen.calls]:
        with tempfile.TemporaryDirectory() as folder:
            figures = await run(
                chosen.shape, calls, chosen.minutes * 60, Path(folder), floors=chosen.floors, profile=chosen.profile
            )
        results.append(figures)
        print(table(figures), flush=True)
    if chosen.steps:
        print("\n calls  events/s   alert p50    p99   ack p99   cpu  alerts      saturated")
        for item in results:
            alerts = f"{item['alerts_received']}/{item['alerts_expected']}"
            print(
                f"{item['calls']:6} {item['events_per_s']:9} {item['alert']['p50_ms']:11} {item['alert']['p99_ms']:6}"
                f" {item['ack']['p99_ms']:9} {item['cpu']['all']:5} {alerts:>11} {saturated(item)!s:>9}"
            )
    return results


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=list(CONNECTIONS), default="ten")
    parser.add_argument("--calls", type=int, default=1000)
    parser.add_argument("--steps", type=lambda text: [int(part) for part in text.split(",")])
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--floors", type=int, default=1, help="listeners that get every call's status")
    parser.add_argument("--profile", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args()
    limit = raise_file_limit()
    need = CONNECTIONS[chosen.shape](max(chosen.steps or [chosen.calls])) + 100
    if limit < need:
        parser.error(f"the system allows {limit} open files, this run needs {need}")
    results = asyncio.run(steps(chosen))
    if chosen.json:
        chosen.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

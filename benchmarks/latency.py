"""From a chunk sent to an alert received, over real websockets, on a real server process.

    python -m benchmarks.latency --calls 500 --seconds 60

Each call sends a customer final and an agent final every 12 s and one partial a second while someone speaks. A share of
the customer's finals is abusive; for those the time from the client's send to the supervisor's receipt is measured on the
monotonic clock. The sender keeps its schedule when the server is slow: a chunk's time counts from when it was due.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import signal
import statistics
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from websockets.asyncio.client import connect

from benchmarks.crash import Process
from models.corpus.callscript import parse_scripts, plain
from server.client import IngestClient

TURN_S = 12.0
PARTIAL_S = 1.0
SPEECH_S = 4.0
ABUSE_SHARE = 0.05
ABUSE = ("お前を殺すぞ、覚悟しておけ", "ぶっ殺すぞこの野郎、今から行くからな")


@dataclass(frozen=True, slots=True)
class Figures:
    """What was measured."""

    calls: int
    seconds: float
    events_sent: int
    events_acknowledged: int
    events_per_s: float
    alerts_expected: int
    alerts_received: int
    p50_ms: float
    p99_ms: float
    max_ms: float
    server_cpu_share: float
    memory_start_mb: float
    memory_end_mb: float
    memory_per_call_kb: float


def usage(pid: int) -> tuple[float, float]:
    """CPU seconds and resident megabytes of a process, from /proc."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rsplit(")", 1)[1].split()
    resident = next(
        line for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines() if "VmRSS" in line
    )
    return (int(fields[11]) + int(fields[12])) / 100, int(resident.split()[1]) / 1024


def talk() -> tuple[list[str], list[str]]:
    """What customers and agents say: the calls that ship with the project."""
    scripts = []
    for path in (*Path("models/corpus").glob("calls.*.txt"), Path("server/demo_calls.txt")):
        scripts += parse_scripts(path.read_text(encoding="utf-8"))
    lines = [line for script in scripts if not script.meta.get("harassing") for line in script.lines if line.text]
    customer = [plain(line.text) for line in lines if line.speaker == "customer"]
    return customer, [plain(line.text) for line in lines if line.speaker == "agent"]


class Load:
    """Calls over one connection.

    Args:
        client: sends the events.
        due: when each abusive chunk was due, by call id: the call's first alert belongs to it.
    """

    def __init__(self, client: IngestClient, seed: int) -> None:
        self.client = client
        self._chance = random.Random(seed)
        self._customer, self._agent = talk()
        self.due: dict[str, float] = {}
        self.sent = 0

    async def call(self, call_id: str, start_s: float, end_s: float) -> None:
        """One call, on its schedule."""
        loop = asyncio.get_running_loop()

        async def send(at_s: float, event: dict[str, Any]) -> None:
            await asyncio.sleep(max(0.0, at_s - loop.time()))
            await self.client.send({**event, "call_id": call_id})
            self.sent += 1

        await send(start_s, {"type": "call.started", "language": "ja", "queue": "load"})
        turn, at_s = 0, start_s
        while at_s + TURN_S < end_s:
            for speaker, offset_s in (("agent", 0.0), ("customer", TURN_S / 2)):
                begin_s = at_s + offset_s
                abusive = speaker == "customer" and call_id not in self.due and self._chance.random() < ABUSE_SHARE
                text = self._chance.choice(
                    ABUSE if abusive else self._customer if speaker == "customer" else self._agent
                )
                text = f"{text} {self._chance.randint(100, 999)}" if not abusive else text
                segment = {
                    "type": "transcript.segment",
                    "segment_id": f"{speaker[0]}{turn}",
                    "speaker": speaker,
                    "start_ms": round((begin_s - start_s) * 1000),
                }
                steps = int(SPEECH_S / PARTIAL_S)
                for step in range(1, steps):
                    upto = max(1, len(text) * step // steps)
                    so_far = begin_s + step * PARTIAL_S
                    partial = {"text": text[:upto], "end_ms": round((so_far - start_s) * 1000), "is_final": False}
                    await send(so_far, {**segment, **partial})
                done_s = begin_s + SPEECH_S
                if abusive:
                    self.due.setdefault(call_id, done_s)
                await send(done_s, {**segment, "text": text, "end_ms": round((done_s - start_s) * 1000)})
            turn += 1
            at_s += TURN_S


async def measure(calls: int, seconds: float, connections: int, folder: Path) -> Figures:
    """Runs the load and measures."""
    process = Process(folder)
    await process.start()
    assert process.pid is not None
    loop = asyncio.get_running_loop()
    received: dict[str, float] = {}
    async with contextlib.AsyncExitStack() as stack:
        alerts = await stack.enter_async_context(connect(f"ws://127.0.0.1:{process.port}/v1/alerts", max_size=None))

        async def watch() -> None:
            async for text in alerts:
                now = loop.time()
                message = json.loads(text)
                if message["type"] in ("alert.raised", "alert.updated"):
                    alert = message["alert"]
                    if alert["kind"] == "abuse" and not alert["provisional"]:
                        received.setdefault(alert["call_id"], now)

        url = f"ws://127.0.0.1:{process.port}"
        clients = [await stack.enter_async_context(IngestClient(url)) for _ in range(connections)]
        loads = [Load(client, seed) for seed, client in enumerate(clients)]
        watching = asyncio.create_task(watch())
        cpu_before, memory_before = usage(process.pid)
        begin_s = loop.time() + 0.5
        async with asyncio.TaskGroup() as group:
            for number in range(calls):
                start_s = begin_s + TURN_S * number / calls
                group.create_task(loads[number % connections].call(f"c{number}", start_s, begin_s + seconds))
        await asyncio.sleep(2)
        cpu_after, memory_after = usage(process.pid)
        elapsed_s = loop.time() - begin_s
        acknowledged = sum(load.sent - load.client.unacked for load in loads)
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
    await process.kill(signal.SIGTERM)
    due = {call_id: at_s for load in loads for call_id, at_s in load.due.items()}
    latencies = sorted((received[call_id] - at_s) * 1000 for call_id, at_s in due.items() if call_id in received)
    sent = sum(load.sent for load in loads)
    return Figures(
        calls=calls,
        seconds=round(elapsed_s, 1),
        events_sent=sent,
        events_acknowledged=acknowledged,
        events_per_s=round(sent / elapsed_s, 1),
        alerts_expected=len(due),
        alerts_received=len(latencies),
        p50_ms=round(statistics.median(latencies), 1) if latencies else 0.0,
        p99_ms=round(latencies[int(len(latencies) * 0.99)], 1) if latencies else 0.0,
        max_ms=round(latencies[-1], 1) if latencies else 0.0,
        server_cpu_share=round((cpu_after - cpu_before) / elapsed_s, 3),
        memory_start_mb=round(memory_before, 1),
        memory_end_mb=round(memory_after, 1),
        memory_per_call_kb=round((memory_after - memory_before) * 1024 / calls, 1),
    )


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=500)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--connections", type=int, default=4)
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = asyncio.run(measure(chosen.calls, chosen.seconds, chosen.connections, Path(folder)))
    for name, value in asdict(figures).items():
        print(f"{name:22} {value}")
    if chosen.json:
        chosen.json.write_text(json.dumps(asdict(figures)), encoding="utf-8")


if __name__ == "__main__":
    main()

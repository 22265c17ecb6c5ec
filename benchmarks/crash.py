"""Kills a real server again and again under traffic, and proves that nothing acknowledged was lost.

    python -m benchmarks.crash --cycles 100 --seed 1

Calls stream in over the real websocket by the client that follows the protocol. At random moments the process gets
`kill -9` and is started again over the same data. In the end the checker compares with what must be there:

- every acknowledged event is in the log, once, in the order of its call;
- every alert that the same calls give without a crash was raised, once, with rising versions and without a hole. Alerts
  of distress are left out of this comparison: they follow the clock, which runs on while the server is away.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import signal
import socket
import sys
import tempfile
import time
from collections import Counter, defaultdict
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from detector.events import Segment
from detector.playbook import default_playbook
from detector.rules import default_rules
from models.scorer import load_scorer
from server.app import partial_gate
from server.client import IngestClient
from server.replay import replay
from server.storage.daylog import DayLog
from server.storage.statedb import StateDatabase, open_engine
from server.wire import decode_event

LINES = (
    ("customer", "殺すぞ、お前の家に火をつけてやる"),
    ("agent", "恐れ入りますが、そのようなお言葉はお控えください"),
    ("customer", "荷物がまだ届いていないので調べてください"),
    ("customer", "you useless moron, I will kill you"),
    ("agent", "確認いたしますので、少々お待ちください"),
    ("customer", "はい、わかりました"),
)


@dataclass(slots=True)
class Outcome:
    """What the checker found."""

    cycles: int = 0
    calls: int = 0
    events: int = 0
    acknowledged: int = 0
    lost_events: int = 0
    doubled_events: int = 0
    disordered_calls: int = 0
    expected_alerts: int = 0
    lost_alerts: int = 0
    doubled_alerts: int = 0
    broken_versions: int = 0
    late_alerts: int = 0
    seconds: float = 0.0
    restart_s: list[float] = field(default_factory=list)
    examples: list[str] = field(default_factory=list)

    @property
    def whole(self) -> bool:
        """Whether nothing was lost, doubled or disordered."""
        return not (
            self.lost_events
            or self.doubled_events
            or self.disordered_calls
            or self.lost_alerts
            or self.doubled_alerts
            or self.broken_versions
        )


class Process:
    """`mamori serve` as a process of its own."""

    def __init__(self, data_dir: Path) -> None:
        with socket.socket() as found:
            found.bind(("127.0.0.1", 0))
            self.port = int(found.getsockname()[1])
        self._data_dir = data_dir
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> float:
        """Starts it; returns seconds until it listens."""
        began_s = time.monotonic()
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "server.cli", "serve", "--port", str(self.port), "--data-dir", str(self._data_dir)),
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
        assert self._process.stderr is not None
        async for line in self._process.stderr:
            if b"ready on" in line:
                return time.monotonic() - began_s
        raise RuntimeError("the server did not start")

    @property
    def pid(self) -> int | None:
        """The process, or None before the start."""
        return self._process.pid if self._process is not None else None

    async def kill(self, how: int = signal.SIGKILL) -> None:
        """Ends it."""
        assert self._process is not None
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(how)
        await self._process.wait()


def call_events(call_id: str, chance: random.Random) -> list[dict[str, Any]]:
    """One call of about a dozen events."""
    events: list[dict[str, Any]] = [{"type": "call.started", "call_id": call_id, "language": "ja", "queue": "q"}]
    at_ms = 0
    for number in range(chance.randint(4, 12)):
        speaker, text = chance.choice(LINES)
        at_ms += chance.randint(2000, 6000)
        events.append(
            {
                "type": "transcript.segment",
                "call_id": call_id,
                "segment_id": f"s{number}",
                "speaker": speaker,
                "text": text,
                "start_ms": at_ms,
                "end_ms": at_ms + 1500,
            }
        )
    events.append({"type": "call.ended", "call_id": call_id, "offset_ms": at_ms + 2500})
    return events


async def run(cycles: int, seed: int, folder: Path, *, calls_per_cycle: int = 12) -> Outcome:
    """Runs the cycles and checks."""
    chance = random.Random(seed)
    outcome = Outcome(cycles=cycles)
    began_s = time.monotonic()
    process = Process(folder)
    await process.start()
    sent: dict[str, list[dict[str, Any]]] = {}

    async def feed(client: IngestClient, call_id: str) -> None:
        for event in sent[call_id]:
            await client.send(event)
            await asyncio.sleep(chance.random() * 0.02)

    async with IngestClient(f"ws://127.0.0.1:{process.port}") as client:
        for cycle in range(cycles):
            names = [f"c{cycle}-{number}" for number in range(calls_per_cycle)]
            sent.update({name: call_events(name, chance) for name in names})
            feeding = [asyncio.create_task(feed(client, name)) for name in names]
            await asyncio.sleep(chance.random() * 0.25)
            await process.kill()
            outcome.restart_s.append(round(await process.start(), 2))
            await asyncio.gather(*feeding)
        await client.flush(120)
    await asyncio.sleep(3)
    await process.kill(signal.SIGTERM)
    outcome.calls = len(sent)
    outcome.events = outcome.acknowledged = sum(map(len, sent.values()))
    check(folder, sent, outcome)
    outcome.seconds = round(time.monotonic() - began_s, 1)
    return outcome


def check(folder: Path, sent: dict[str, list[dict[str, Any]]], outcome: Outcome) -> None:
    """Compares log and alerts with what was sent."""
    state = StateDatabase(open_engine(folder / "state.sqlite"))
    log = DayLog(folder / "log")
    raised: Counter[tuple[str, str]] = Counter()
    versions: dict[str, list[int]] = defaultdict(list)
    for entry in state.stream("default", after=0, limit=1_000_000):
        alert = entry.event.alert
        versions[alert.alert_id].append(alert.version)
        if entry.event.type.value == "alert.raised":
            raised[alert.call_id, alert.kind.value] += 1
            outcome.late_alerts += alert.late
    outcome.broken_versions = sum(found != list(range(1, len(found) + 1)) for found in versions.values())
    events = [decode_event(event) for call in sent.values() for event in call]
    scorer = load_scorer(None)
    for call_id, wanted in sent.items():
        record = state.find_call("default", call_id)
        rows = [stored.row for stored in log.read("default", record.instance)] if record is not None else []
        seqs = [row.seq for row in rows if row.seq is not None]
        counted = Counter(seqs)
        outcome.lost_events += len(set(range(len(wanted))) - set(counted))
        outcome.doubled_events += sum(number - 1 for number in counted.values())
        outcome.disordered_calls += seqs != sorted(seqs)
        texts = [row.value.text for row in rows if isinstance(row.value, Segment)]
        outcome.disordered_calls += texts != [event["text"] for event in wanted if "text" in event]
    expected = Counter(
        (change.alert.call_id, change.alert.kind.value)
        for change in replay(
            events, scorer=scorer, rules=default_rules(), playbook=default_playbook(), gate=partial_gate()
        )
        if change.type.value == "alert.raised"
    )
    outcome.expected_alerts = expected.total()
    for timed in [key for key in (*expected, *raised) if key[1] == "distress"]:
        expected.pop(timed, None)
        raised.pop(timed, None)
    lost, doubled = expected - raised, raised - expected
    outcome.lost_alerts, outcome.doubled_alerts = lost.total(), doubled.total()
    outcome.examples = [f"lost {call_id} {kind}" for call_id, kind in sorted(lost)]
    outcome.examples += [f"doubled {call_id} {kind}" for call_id, kind in sorted(doubled)]
    state.engine.dispose()


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cycles", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        outcome = asyncio.run(run(chosen.cycles, chosen.seed, Path(folder)))
    for name, value in asdict(outcome).items():
        print(f"{name:20} {value}")
    print("whole" if outcome.whole else "NOT WHOLE")
    if chosen.json:
        chosen.json.write_text(json.dumps(asdict(outcome)), encoding="utf-8")
    sys.exit(0 if outcome.whole else 1)


if __name__ == "__main__":
    main()

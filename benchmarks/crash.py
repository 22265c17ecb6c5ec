"""Kills a real server again and again under traffic, and checks that nothing acknowledged was lost.

    python -m benchmarks.crash --cycles 100 --seed 1

Calls stream in over the real websocket by the client that follows the protocol. At random moments the process gets
`kill -9` and is started again over the same data. In the end the checker compares with what must be there:

- every acknowledged event is in the log, once, in the order of its call;
- every utterance has its score in the log, or the reason why it has none (a machine that is too busy lets some expire);
- what the log folds to is what the supervisors were told: the same alerts, versions and levels;
- every alert that the same calls give without a crash, with the same utterances unscored, was raised, once, with rising
  versions and without a hole. Alerts of distress are left out of this comparison: they follow the clock, which runs on
  while the server is away.

`--calls` sets how many calls begin in each cycle; `--server` names a module, with its arguments, that serves in place of
`server.cli`, for example one whose model is slow.

`--disk-full` fills a small disk under the server instead (root may mount one): first below `min_free_mb`, where a new call must
be refused, then to the last byte, and kills it there in every other cycle.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import http.client
import json
import os
import random
import shlex
import signal
import sys
import tempfile
import time
from collections import Counter, defaultdict, deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from benchmarks.servers import free_port
from benchmarks.small_disk import small_disk
from detector.alerts import AlertEvent
from detector.events import Segment
from detector.playbook import default_playbook
from detector.rules import default_rules
from detector.scoring import Scorer, ScoreRequest, ScoreResult, Unscored
from detector.session import CallSession
from models.scorer import load_scorer
from server.app import partial_gate
from server.client import IngestClient
from server.live.recovery import refold
from server.replay import replay
from server.storage.embedded import EmbeddedLog
from server.storage.port import CallRecord, Log, Row, Stored
from server.wire import decode_event

LINES = (
    ("customer", "殺すぞ、お前の家に火をつけてやる"),
    ("agent", "恐れ入りますが、そのようなお言葉はお控えください"),
    ("customer", "荷物がまだ届いていないので調べてください"),
    ("customer", "you useless moron, I will kill you"),
    ("agent", "確認いたしますので、少々お待ちください"),
    ("customer", "はい、わかりました"),
)

FLUSH_S = 120
"""So long after the last restart everything must be acknowledged."""
BACKLOG_CYCLES = 3
"""A kill waits until no more than the events of so many cycles are unacknowledged: a server that is killed before it has heard
what it missed gets nowhere, and proves nothing."""
EVENTS_PER_CALL = 10
"""About so many events has a call."""
MIN_FREE_MIB = 4
"""Below so much room the server under test refuses new calls."""
LOW_SEEN_S = 1.5
"""After so long it has seen that there is little room: it looks once a second."""
SAID_LINES = 1_000
"""Lines of a server's log that are kept."""


@dataclass(slots=True)
class Outcome:
    """What the checker found."""

    cycles: int = 0
    calls: int = 0
    events: int = 0
    acknowledged: int = 0
    unacknowledged: int = 0
    lost_events: int = 0
    doubled_events: int = 0
    disordered_calls: int = 0
    expected_alerts: int = 0
    lost_alerts: int = 0
    doubled_alerts: int = 0
    broken_versions: int = 0
    diverged_calls: int = 0
    late_alerts: int = 0
    unscored: int = 0
    unanswered: int = 0
    void_rows: int = 0
    refused_calls: int = 0
    seconds: float = 0.0
    restart_s: list[float] = field(default_factory=list)
    examples: list[str] = field(default_factory=list)

    def count(self, sent: Mapping[str, Sequence[dict[str, Any]]]) -> None:
        """Notes what was sent, by call; what was not acknowledged is known by then."""
        self.calls = len(sent)
        self.events = sum(map(len, sent.values()))
        self.acknowledged = self.events - self.unacknowledged

    def report(self, json_file: Path | None) -> NoReturn:
        """Prints it, writes it as JSON where wanted, and ends the process: with 0 only if it is whole."""
        for name, value in asdict(self).items():
            print(f"{name:20} {value}")
        print("whole" if self.whole else "NOT WHOLE")
        if json_file:
            json_file.write_text(json.dumps(asdict(self)), encoding="utf-8")
        sys.exit(0 if self.whole else 1)

    @property
    def whole(self) -> bool:
        """Whether nothing was lost, doubled or disordered."""
        return not (
            self.lost_events
            or self.unacknowledged
            or self.doubled_events
            or self.disordered_calls
            or self.lost_alerts
            or self.doubled_alerts
            or self.broken_versions
            or self.diverged_calls
            or self.unanswered
        )


class Process:
    """`mamori serve` as a process of its own.

    Args:
        data_dir: of the server.
        command: module and arguments before `serve`.
        options: further options of `serve`.
        env: further environment variables.
    """

    def __init__(
        self,
        data_dir: Path,
        *command: str,
        options: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.port = free_port()
        serve = ("serve", "--port", str(self.port), "--data-dir", str(data_dir), *options)
        self._command = (sys.executable, "-m", *(command or ("server.cli",)), *serve)
        self._env = {**os.environ, "PYTHONUNBUFFERED": "1", **(env or {})}
        self._process: asyncio.subprocess.Process | None = None
        self._draining: asyncio.Task[None] | None = None
        self.said: deque[str] = deque(maxlen=SAID_LINES)

    async def start(self) -> float:
        """Starts it; returns seconds until it listens."""
        began_s = time.monotonic()
        self._process = await asyncio.create_subprocess_exec(
            *self._command, stderr=asyncio.subprocess.PIPE, env=self._env
        )
        assert self._process.stderr is not None
        async for line in self._process.stderr:
            self.said.append(line.decode().rstrip())
            if b"ready on" in line:
                # What it says is read to the end: a full pipe would hold the server.
                self._draining = asyncio.create_task(self._read(self._process.stderr))
                return time.monotonic() - began_s
        raise RuntimeError("the server did not start: " + " | ".join(self.said))

    async def _read(self, stream: asyncio.StreamReader) -> None:
        async for line in stream:
            self.said.append(line.decode().rstrip())

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
        if self._draining is not None:
            await self._draining


@contextlib.asynccontextmanager
async def running(
    process: Process, outcome: Outcome, on_nack: Callable[[dict[str, Any]], None] = lambda _nack: None
) -> AsyncIterator[IngestClient]:
    """A client of the process; what `settle` noted as not acknowledged is not waited for again."""
    try:
        async with IngestClient(f"ws://127.0.0.1:{process.port}", on_nack=on_nack) as client:
            yield client
    except TimeoutError:
        if not outcome.unacknowledged:
            await process.kill()
            raise
    except BaseException:
        await process.kill()
        raise


async def connected(client: IngestClient, kills: int, backlog: int) -> None:
    """Waits until the client has found the server again after so many kills, and has at most a backlog left: else they would
    strike an idle one, or one that never gets beyond what it missed."""
    async with asyncio.timeout(FLUSH_S):
        while client.connects <= kills or client.unacked > backlog:  # noqa: ASYNC110 - it counts, it tells nobody
            await asyncio.sleep(0.01)


async def settle(client: IngestClient, process: Process, outcome: Outcome) -> None:
    """Waits until all is acknowledged; if that does not come, notes what the server says of itself."""
    try:
        await client.flush(FLUSH_S)
    except TimeoutError:
        outcome.unacknowledged = client.unacked
        answer = await asyncio.to_thread(_readiness, process.port)
        outcome.examples.append(f"{client.unacked} events were never acknowledged; /readyz: {answer}")


def _readiness(port: int) -> str:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", "/readyz")
    return connection.getresponse().read().decode()


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


async def run(
    cycles: int, seed: int, folder: Path, *, calls_per_cycle: int = 12, command: Sequence[str] = ()
) -> Outcome:
    """Runs the cycles and checks; `command` serves in place of `server.cli`."""
    chance = random.Random(seed)
    outcome = Outcome(cycles=cycles)
    began_s = time.monotonic()
    process = Process(folder, *command)
    await process.start()
    sent: dict[str, list[dict[str, Any]]] = {}

    async def feed(client: IngestClient, call_id: str) -> None:
        for event in sent[call_id]:
            await client.send(event)
            await asyncio.sleep(chance.random() * 0.02)

    async with running(process, outcome) as client:
        for cycle in range(cycles):
            await connected(client, cycle, calls_per_cycle * EVENTS_PER_CALL * BACKLOG_CYCLES)
            names = [f"c{cycle}-{number}" for number in range(calls_per_cycle)]
            sent.update({name: call_events(name, chance) for name in names})
            feeding = [asyncio.create_task(feed(client, name)) for name in names]
            await asyncio.sleep(chance.random() * 0.25)
            await process.kill()
            outcome.restart_s.append(round(await process.start(), 2))
            await asyncio.gather(*feeding)
        await settle(client, process, outcome)
    await asyncio.sleep(3)
    await process.kill(signal.SIGTERM)
    outcome.count(sent)
    check_folder(folder, sent, outcome)
    outcome.seconds = round(time.monotonic() - began_s, 1)
    return outcome


async def run_full(cycles: int, seed: int, folder: Path, *, calls_per_cycle: int = 8, mib: int = 48) -> Outcome:
    """Fills the disk under the server, kills it there in every other cycle, gives the room back, and checks.

    Raises:
        NoDiskError: no small disk may be mounted here.
    """
    chance = random.Random(seed)
    outcome = Outcome(cycles=cycles)
    began_s = time.monotonic()
    sent: dict[str, list[dict[str, Any]]] = {}
    refused: set[str] = set()

    def nacked(nack: dict[str, Any]) -> None:
        if nack["code"] == "overloaded" and nack["seq"] == 0:
            refused.add(nack["call_id"])

    async def feed(client: IngestClient, call_id: str) -> None:
        for event in sent[call_id]:
            await client.send(event)
            await asyncio.sleep(chance.random() * 0.1)

    with small_disk(folder, mib) as ballast:
        process = Process(folder / "data", env={"MAMORI_MIN_FREE_MB": str(MIN_FREE_MIB)})
        await process.start()
        async with running(process, outcome, nacked) as client:
            for cycle in range(cycles):
                names = [f"c{cycle}-{number}" for number in range(calls_per_cycle)]
                late = f"late{cycle}"
                sent.update({name: call_events(name, chance) for name in (*names, late)})
                feeding = [asyncio.create_task(feed(client, name)) for name in names]
                await asyncio.sleep(chance.random() * 0.5)
                ballast.fill(leave=MIN_FREE_MIB << 19)
                await asyncio.sleep(LOW_SEEN_S)
                feeding.append(asyncio.create_task(feed(client, late)))
                await asyncio.sleep(0.2 + chance.random() * 0.3)
                ballast.fill(leave=0)
                await asyncio.sleep(chance.random() * 0.5)
                if cycle % 2:
                    await process.kill()
                ballast.empty()
                if cycle % 2:
                    outcome.restart_s.append(round(await process.start(), 2))
                await asyncio.gather(*feeding)
                await settle(client, process, outcome)
        outcome.refused_calls = len(refused & {f"late{cycle}" for cycle in range(cycles)})
        await asyncio.sleep(3)
        await process.kill(signal.SIGTERM)
        outcome.count(sent)
        check_folder(folder / "data", sent, outcome)
    outcome.seconds = round(time.monotonic() - began_s, 1)
    return outcome


class _AsLogged:
    """Answers as the log has it: what the server declared unscored stays so, the rest is scored anew.

    Args:
        scorer: the classifier that the server ran.
        rows: of one call.
    """

    def __init__(self, scorer: Scorer, rows: Sequence[Row]) -> None:
        self._scorer = scorer
        self.model_version = scorer.model_version
        self._answered: set[str] = set()
        self._unscored: dict[str, Unscored] = {}
        self.unanswered = 0
        for row in rows:
            if isinstance(row.value, ScoreResult | Unscored) and row.value.request_id not in self._answered:
                self._answered.add(row.value.request_id)
                if isinstance(row.value, Unscored):
                    self._unscored[row.value.request_id] = row.value

    def score(self, requests: Sequence[ScoreRequest]) -> list[Any]:
        """Scores; counts what the log has no answer to, neither a score nor why there is none."""
        self.unanswered += sum(request.request_id not in self._answered for request in requests)
        known = self._unscored
        return [known.get(request.request_id) or self._scorer.score([request])[0] for request in requests]

    @property
    def unscored(self) -> int:
        """Utterances that the server declared unscored."""
        return len(self._unscored)


def check_folder(folder: Path, sent: dict[str, list[dict[str, Any]]], outcome: Outcome) -> None:
    """Compares what is in a data directory with what was sent."""
    log = EmbeddedLog(folder)
    try:
        check(log, sent, outcome)
    finally:
        log.close()


def check(log: Log, sent: dict[str, list[dict[str, Any]]], outcome: Outcome) -> None:
    """Compares log and alerts with what was sent."""
    raised: Counter[tuple[str, str]] = Counter()
    versions: dict[str, list[int]] = defaultdict(list)
    told: dict[str, list[AlertEvent]] = defaultdict(list)
    for entry in log.stream("default", after=0, limit=1_000_000):
        alert = entry.event.alert
        versions[alert.alert_id].append(alert.version)
        told[alert.call_id].append(entry.event)
        if entry.event.type.value == "alert.raised":
            raised[alert.call_id, alert.kind.value] += 1
            outcome.late_alerts += alert.late
    outcome.broken_versions = sum(found != list(range(1, len(found) + 1)) for found in versions.values())
    scorer = load_scorer(None)
    expected: Counter[tuple[str, str]] = Counter()
    for call_id, wanted in sent.items():
        record = log.find_call("default", call_id)
        stored = list(log.read_call("default", record.instance)) if record is not None else []
        rows = [item.row for item in stored]
        if record is not None and _essence(_refolded(record, stored)) != _essence(told[call_id]):
            outcome.diverged_calls += 1
            outcome.examples.append(f"the log of {call_id} does not fold to its alerts")
        _check_events(rows, wanted, outcome)
        answers = _AsLogged(scorer, rows)
        for change in replay(
            map(decode_event, wanted),
            scorer=answers,
            rules=default_rules(),
            playbook=default_playbook(),
            gate=partial_gate(),
        ):
            expected[call_id, change.alert.kind.value] += change.type.value == "alert.raised"
        outcome.unscored += answers.unscored
        outcome.unanswered += answers.unanswered
    outcome.expected_alerts = expected.total()
    for timed in [key for key in (*expected, *raised) if key[1] == "distress"]:
        expected.pop(timed, None)
        raised.pop(timed, None)
    lost, doubled = expected - raised, raised - expected
    outcome.lost_alerts, outcome.doubled_alerts = lost.total(), doubled.total()
    outcome.examples += [f"lost {call_id} {kind}" for call_id, kind in sorted(lost)]
    outcome.examples += [f"doubled {call_id} {kind}" for call_id, kind in sorted(doubled)]


def _refolded(record: CallRecord, stored: Sequence[Stored]) -> list[AlertEvent]:
    session = CallSession(
        tenant=record.tenant,
        call_id=record.call_id,
        instance=record.instance,
        rules=default_rules(),
        playbook=default_playbook(),
        gate=partial_gate(),
    )
    return refold(record, session, stored).events


def _essence(events: Sequence[AlertEvent]) -> list[tuple[str, int, str, str, tuple[str, ...], int]]:
    """What must be the same however often it is folded; when it was stored and whether it came late may differ."""
    return sorted(
        (
            event.alert.alert_id,
            event.alert.version,
            event.type.value,
            event.alert.level.value,
            tuple(piece.segment_id for piece in event.alert.evidence),
            event.alert.raised_at_ms,
        )
        for event in events
    )


def _check_events(rows: Sequence[Row], wanted: list[dict[str, Any]], outcome: Outcome) -> None:
    """A row counts if it is the next of its call. One that does not is of a write that was refused after it had reached the
    log: it came again, and must say the same as the one that counts."""
    kept: list[Row] = []
    for row in rows:
        if row.seq is None:
            continue
        if row.seq == len(kept):
            kept.append(row)
        elif row.seq < len(kept) and row.value == kept[row.seq].value:
            outcome.void_rows += 1
        elif row.seq < len(kept):
            outcome.doubled_events += 1
        else:
            outcome.void_rows += 1
    outcome.lost_events += max(0, len(wanted) - len(kept))
    texts = [row.value.text for row in kept if isinstance(row.value, Segment)]
    outcome.disordered_calls += texts != [event["text"] for event in wanted if "text" in event]


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cycles", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--disk-full", action="store_true", help="fill the disk instead")
    parser.add_argument("--calls", type=int, help="that begin in each cycle, 12 by default, or 8 with --disk-full")
    parser.add_argument("--server", default="", help="serves in place of server.cli")
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "disk"
        if chosen.disk_full:
            work = run_full(chosen.cycles, chosen.seed, folder, calls_per_cycle=chosen.calls or 8)
        else:
            command = shlex.split(chosen.server)
            work = run(chosen.cycles, chosen.seed, folder, calls_per_cycle=chosen.calls or 12, command=command)
        outcome = asyncio.run(work)
    outcome.report(chosen.json)


if __name__ == "__main__":
    main()

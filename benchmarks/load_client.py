"""The sending half of `benchmarks.load`, in a process of its own: many calls on a fixed schedule, and supervisors who listen.

    python -m benchmarks.load_client --port 8787 --calls 1000 --connections 10 --seconds 60

An event is sent when it is due, whatever the server does; what the server does not read waits in this process, and its
time counts from when it was due. Unacknowledged events are kept and sent again after a loss, as the protocol asks.
Prints one JSON object.
"""

from __future__ import annotations

import argparse
import asyncio
import heapq
import json
import random
import resource
import sys
import time
from collections import Counter, deque
from collections.abc import Container, Iterator
from dataclasses import dataclass, field
from typing import Any

import msgspec
import uvloop

from benchmarks.load_socket import LoadSocket
from benchmarks.load_talk import ABUSE, AGENT, BACKCHANNELS, CUSTOMER

TURN_S = 12.0
SPEECH_S = 4.0
PARTIAL_S = 1.0
ABUSE_SHARE = 0.03
"""Of the customers' finals, until the call has its alert."""
BACKCHANNEL_SHARE = 0.15
"""Of the customers' finals: 「はい」 and the like, as in benchmarks.inference."""
TICK_S = 0.004
"""What falls due within so many seconds is sent together, late by up to that, which counts: waking for each event costs more
CPU than the events."""
SETTLE_STEP_S = 0.1
SAMPLE_EVERY = 20
"""One event in so many has its acknowledgement timed."""

Due = tuple[float, bytes, bool]
"""Seconds after the call's start, the event, and whether it is the abuse that an alert is waited for."""


class _Message(msgspec.Struct):
    type: str
    call_id: str | None = None
    seq: int | None = None
    code: str = ""
    retry: bool = False
    retry_after_ms: int = 100
    calls: dict[str, int | None] = {}
    alert: _Alert | None = None


class _Alert(msgspec.Struct):
    call_id: str
    kind: str
    provisional: bool = False


_DECODER = msgspec.json.Decoder(_Message)
_ENCODER = msgspec.json.Encoder()


@dataclass(slots=True)
class Call:
    """A call under way."""

    call_id: str
    line: Line
    start_s: float
    events: Iterator[Due]
    seq: int = 0
    unacked: deque[tuple[int, bytes]] = field(default_factory=deque)
    timed: deque[tuple[int, float]] = field(default_factory=deque)
    held: bool = False
    """The server has no room for it now: what it says waits for the next attempt."""


class Talk:
    """Draws what is said.

    Args:
        seed: of the run.
        abuse_share: of the customers' finals, until the call has its alert.
    """

    def __init__(self, seed: int, abuse_share: float) -> None:
        self._abuse_share = abuse_share
        self._chance = random.Random(seed)
        self._customer = self._agent = self._abuse = seed * 1_000

    def events(self, call_id: str, seconds: float) -> Iterator[Due]:
        """The events of one call, without their `seq`; they end after about `seconds`."""
        yield 0.0, _open(call_id, {"type": "call.started", "language": "ja", "queue": "load"}), False
        abused, turn = False, 0
        while (turn + 1) * TURN_S <= seconds:
            for speaker, offset_s in (("agent", 0.0), ("customer", TURN_S / 2)):
                text, abusive = self._draw(speaker, abused)
                abused = abused or abusive
                yield from _spoken(call_id, f"{speaker[0]}{turn}", speaker, text, turn * TURN_S + offset_s, abusive)
            turn += 1
        offset_ms = round(turn * TURN_S * 1000)
        yield turn * TURN_S, _open(call_id, {"type": "call.ended", "offset_ms": offset_ms}), False

    def _draw(self, speaker: str, abused: bool) -> tuple[str, bool]:
        if speaker == "agent":
            self._agent += 1
            return AGENT.text(self._agent), False
        drawn = self._chance.random()
        if drawn < self._abuse_share and not abused:
            self._abuse += 1
            return ABUSE.text(self._abuse), True
        if drawn > 1 - BACKCHANNEL_SHARE:
            return self._chance.choice(BACKCHANNELS), False
        self._customer += 1
        return CUSTOMER.text(self._customer), False


def _spoken(call_id: str, name: str, speaker: str, text: str, begin_s: float, abusive: bool) -> Iterator[Due]:
    """Partials once a second, then the final."""
    same = {"type": "transcript.segment", "segment_id": name, "speaker": speaker, "start_ms": round(begin_s * 1000)}
    steps = int(SPEECH_S / PARTIAL_S) if len(text) > 8 else 1
    for step in range(1, steps):
        at_s = begin_s + step * PARTIAL_S
        so_far = text[: len(text) * step // steps]
        yield at_s, _open(call_id, {**same, "text": so_far, "end_ms": round(at_s * 1000), "is_final": False}), False
    done_s = begin_s + (SPEECH_S if steps > 1 else PARTIAL_S)
    yield done_s, _open(call_id, {**same, "text": text, "end_ms": round(done_s * 1000)}), abusive


def _open(call_id: str, fields: dict[str, Any]) -> bytes:
    """An event whose closing brace and `seq` come when it is sent."""
    return _ENCODER.encode({**fields, "call_id": call_id})[:-1]


class Line:
    """One connection and the calls on it."""

    def __init__(self, sender: Sender, port: int) -> None:
        self._sender = sender
        self._port = port
        self._socket: LoadSocket | None = None
        self._waiting_resume = False
        self.calls: dict[str, Call] = {}

    async def open(self) -> None:
        """Connects, and resumes what is not acknowledged."""
        self._socket = await LoadSocket(self._port, "/v1/ingest", self._take, self._lost).connect()
        open_calls = [call_id for call_id, call in self.calls.items() if call.seq]
        if open_calls:
            self._waiting_resume = True
            self._socket.send(_ENCODER.encode({"type": "resume", "call_ids": open_calls}))

    def send(self, data: bytes) -> None:
        """Sends an event now, or after the resume that is under way."""
        if self._socket is not None and not self._waiting_resume:
            self._socket.send(data)

    def drop(self) -> None:
        """Breaks the connection."""
        if self._socket is not None:
            self._socket.abort()

    def close(self) -> None:
        """Closes the connection for good."""
        if self._socket is not None:
            socket, self._socket = self._socket, None
            socket.close()

    def _lost(self) -> None:
        if self._socket is not None:
            self._socket = None
            self._sender.counts["connections_lost"] += 1

    def _take(self, data: bytes) -> None:
        message = _DECODER.decode(data)
        call = self.calls.get(message.call_id or "")
        if message.type == "ack":
            if call is not None and message.seq is not None:
                self._sender.acknowledged(call, message.seq)
        elif message.type == "nack":
            self._sender.counts[f"nack_{message.code}"] += 1
            # All that was on its way is refused, one by one: one attempt for all of it.
            if call is not None and message.retry and not call.held:
                call.held = True
                asyncio.get_running_loop().call_later(message.retry_after_ms / 1000, self._again, call)
        elif message.type == "resumed":
            self._waiting_resume = False
            for call_id, seq in message.calls.items():
                if seq is not None and call_id in self.calls:
                    self._sender.acknowledged(self.calls[call_id], seq)
            for waiting in list(self.calls.values()):
                self._again(waiting)

    def _again(self, call: Call) -> None:
        call.held = False
        for _, data in call.unacked:
            self.send(data)


class Sender:
    """All calls of the run.

    Args:
        port: of the server.
        calls: at the same time.
        connections: that they are spread over.
        call_s: mean length of a call; one that ends is followed by another.
        ramp_s: seconds over which calls begin.
        warm_s: seconds after the start from which latencies count.
        seed: of the run.
        abuse_share: see `Talk`.
    """

    def __init__(
        self,
        *,
        port: int,
        calls: int,
        connections: int,
        call_s: float,
        ramp_s: float,
        warm_s: float,
        seed: int,
        abuse_share: float,
    ) -> None:
        self._slots, self._call_s, self._ramp_s, self._warm_s = calls, call_s, ramp_s, warm_s
        self._talk, self._chance, self._seed = Talk(seed, abuse_share), random.Random(seed + 1), seed
        self.lines = [Line(self, port) for _ in range(connections)]
        self.counts: Counter[str] = Counter()
        self.sent = 0
        self.late_ms: list[float] = []
        self.ack_ms: list[float] = []
        self.due: dict[str, float] = {}
        self.unacked = self.unacked_max = 0
        self._heap: list[tuple[float, int, bytes, bool, Call]] = []
        self._number = self._pushed = 0
        self._begin_s = 0.0

    def acknowledged(self, call: Call, upto: int) -> None:
        """Everything of a call up to `upto` is durable."""
        while call.unacked and call.unacked[0][0] <= upto:
            call.unacked.popleft()
            self.unacked -= 1
        while call.timed and call.timed[0][0] <= upto:
            self.ack_ms.append((time.monotonic() - call.timed.popleft()[1]) * 1000)

    async def run(self, seconds: float) -> None:
        """Sends for so long; then ends all calls at once, which is no part of what is measured."""
        self._begin_s = time.monotonic()
        for slot in range(self._slots):
            # The first calls are under way already, so that later ones do not begin and end in step.
            length_s = self._call_s * self._chance.uniform(0.1, 1.5)
            self._begin(self.lines[slot % len(self.lines)], self._begin_s + self._ramp_s * slot / self._slots, length_s)
        end_s = self._begin_s + seconds
        while (now := time.monotonic()) < end_s:
            while self._heap[0][0] <= now:
                self._fire()
                now = time.monotonic()
            await asyncio.sleep(max(TICK_S, self._heap[0][0] - now))

    def _begin(self, line: Line, at_s: float, length_s: float) -> None:
        self._number += 1
        call_id = f"load-{self._seed}-{self._number}"
        call = Call(call_id, line, at_s, self._talk.events(call_id, max(TURN_S, length_s)))
        line.calls[call_id] = call
        self._push(call)

    def _push(self, call: Call) -> None:
        after = next(call.events, None)
        if after is None:
            self._begin(call.line, call.start_s + self._last_s(call), self._call_s * self._chance.uniform(0.5, 1.5))
            return
        self._pushed += 1
        heapq.heappush(self._heap, (call.start_s + after[0], self._pushed, after[1], after[2], call))

    def _last_s(self, call: Call) -> float:
        return max(0.0, time.monotonic() - call.start_s) + TURN_S / 2

    def _fire(self) -> None:
        due_s, number, data, abusive, call = heapq.heappop(self._heap)
        data += b',"seq":%d}' % call.seq
        if not call.held:
            call.line.send(data)
        call.unacked.append((call.seq, data))
        self.unacked += 1
        self.unacked_max = max(self.unacked_max, self.unacked)
        if due_s - self._begin_s >= self._warm_s:
            if abusive:
                self.due.setdefault(call.call_id, due_s)
            if not number % SAMPLE_EVERY:
                call.timed.append((call.seq, due_s))
                self.late_ms.append((time.monotonic() - due_s) * 1000)
        call.seq += 1
        self.sent += 1
        self._push(call)


class Supervisor:
    """Listens to alerts; `statuses` makes it a floor with every call's status.

    Args:
        port: of the server.
        statuses: whether to listen to statuses in place of alerts.
        due: calls whose alert is waited for. What comes of others is counted and not timed: an alert that was there
            before the abuse was said would be infinitely fast.
    """

    def __init__(self, port: int, *, statuses: bool, due: Container[str] = ()) -> None:
        self._path = "/v1/alerts?calls=1" if statuses else "/v1/alerts"
        self._port = port
        self._statuses = statuses
        self._due = due
        self.received: dict[str, float] = {}
        self.counts: Counter[str] = Counter()
        self.lost = 0
        self._stopping = False

    async def open(self) -> None:
        """Connects."""
        self._socket = await LoadSocket(self._port, self._path, self._take, self._gone).connect()

    def close(self) -> None:
        """Closes."""
        self._stopping = True
        self._socket.close()

    def _gone(self) -> None:
        if not self._stopping:
            self.lost += 1
            self._again = asyncio.get_running_loop().create_task(self.open())

    def _take(self, data: bytes) -> None:
        if self._statuses:
            self.counts["call.status" if b'"call.status"' in data[:40] else "other"] += 1
            return
        now = time.monotonic()
        message = _DECODER.decode(data)
        self.counts[message.type] += 1
        alert = message.alert
        if message.type not in ("alert.raised", "alert.updated") or alert is None or alert.kind != "abuse":
            return
        if alert.call_id not in self._due:
            self.counts["not_timed"] += 1
        elif not alert.provisional:
            self.received.setdefault(alert.call_id, now)


def percentiles(values: list[float]) -> dict[str, float]:
    """Count, p50, p99 and the largest; zeros where there is nothing."""
    if not values:
        return {"count": 0, "p50_ms": 0.0, "p99_ms": 0.0, "max_ms": 0.0}
    ranked = sorted(values)
    return {
        "count": len(ranked),
        "p50_ms": round(ranked[len(ranked) // 2], 1),
        "p99_ms": round(ranked[int(len(ranked) * 0.99)], 1),
        "max_ms": round(ranked[-1], 1),
    }


async def storm(sender: Sender, within_s: float, chance: random.Random) -> None:
    """Drops every connection at once; each comes back at a random moment within so many seconds."""
    for line in sender.lines:
        line.drop()

    async def back(line: Line, after_s: float) -> None:
        await asyncio.sleep(after_s)
        await line.open()

    await asyncio.gather(*(back(line, chance.uniform(0, within_s)) for line in sender.lines))


async def run(chosen: argparse.Namespace) -> dict[str, Any]:
    """The whole run."""
    sender = Sender(
        port=chosen.port,
        calls=chosen.calls,
        connections=chosen.connections,
        call_s=chosen.call_s,
        ramp_s=chosen.ramp_s,
        warm_s=chosen.warm_s,
        seed=chosen.seed,
        abuse_share=chosen.abuse_share,
    )
    listener = Supervisor(chosen.port, statuses=False, due=sender.due)
    floors = [Supervisor(chosen.port, statuses=True) for _ in range(chosen.floors)]
    for supervisor in (listener, *floors):
        await supervisor.open()
    for first in range(0, len(sender.lines), 100):
        await asyncio.gather(*(line.open() for line in sender.lines[first : first + 100]))
    print("connected", file=sys.stderr, flush=True)
    storms = []
    if chosen.storm_at_s:
        loop = asyncio.get_running_loop()

        def begin() -> None:
            storms.append(loop.create_task(storm(sender, chosen.storm_s, random.Random(chosen.seed))))

        loop.call_later(chosen.storm_at_s, begin)
    cpu_s, began_s = time.process_time(), time.monotonic()
    await sender.run(chosen.seconds)
    cpu_s, took_s = time.process_time() - cpu_s, time.monotonic() - began_s
    for _ in range(round(chosen.settle_s / SETTLE_STEP_S)):
        if not sender.unacked and not sender.due.keys() - listener.received.keys():
            break
        await asyncio.sleep(SETTLE_STEP_S)
    await asyncio.gather(*storms)
    latencies = [
        (listener.received[call_id] - due_s) * 1000
        for call_id, due_s in sender.due.items()
        if call_id in listener.received
    ]
    result = {
        "sent": sender.sent,
        "events_per_s": round(sender.sent / took_s, 1),
        "unacknowledged": sender.unacked,
        "unacknowledged_max": sender.unacked_max,
        "alerts_expected": len(sender.due),
        "alerts_received": len(latencies),
        "alert": percentiles(latencies),
        "ack": percentiles(sender.ack_ms),
        "sender_late": percentiles(sender.late_ms),
        "client_cpu_share": round(cpu_s / took_s, 3),
        "counts": dict(sender.counts),
        "alert_messages": dict(listener.counts),
        "floor_messages": sum(floor.counts.total() for floor in floors),
        "listeners_lost": listener.lost + sum(floor.lost for floor in floors),
    }
    for line in sender.lines:
        line.close()
    for supervisor in (listener, *floors):
        supervisor.close()
    await asyncio.sleep(0.2)
    return result


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--calls", type=int, required=True)
    parser.add_argument("--connections", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--call-s", type=float, default=360)
    parser.add_argument("--ramp-s", type=float, default=12)
    parser.add_argument("--warm-s", type=float, default=24)
    parser.add_argument("--settle-s", type=float, default=15)
    parser.add_argument("--floors", type=int, default=1)
    parser.add_argument("--storm-at-s", type=float, default=0)
    parser.add_argument("--storm-s", type=float, default=5)
    parser.add_argument("--abuse-share", type=float, default=ABUSE_SHARE)
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    print(json.dumps(uvloop.run(run(chosen))))


if __name__ == "__main__":
    main()

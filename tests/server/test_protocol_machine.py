"""Hypothesis drives the ingest protocol: order, doubles, gaps, lost connections, slow and failing disks, restarts, kills."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections import Counter
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from detector.alerts import AlertChange
from detector.events import Gap, Segment
from detector.playbook import default_playbook
from detector.rules import default_rules
from server.app import partial_gate
from server.replay import replay
from server.wire import decode_event
from tests.exploring import tries
from tests.server.feeding import House, Wire
from tests.server.running import ScriptedScorer, ended, said, started

CALLS = ("c-1", "c-2")
TEXTS = ("もしもし", "このバカ", "荷物が届かないです", "死ね", "はい")
LENGTH = 12
"""Events of a call before its end."""


def event(call_id: str, seq: int) -> dict[str, Any]:
    """The event that a call has at a number: always the same."""
    if seq == 0:
        return started(0, call_id)
    if seq == LENGTH:
        return ended(LENGTH, call_id)
    return said(seq, TEXTS[(seq * 7 + len(call_id)) % len(TEXTS)], call_id=call_id)


class ProtocolMachine(RuleBasedStateMachine):
    """Platforms that send as badly as the protocol allows, and a house in which everything goes wrong."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.folder = Path(tempfile.mkdtemp())
        self.house = House(self.folder)
        self.wires: list[Wire] = []
        self.acked = dict.fromkeys(CALLS, -1)
        self.sent = dict.fromkeys(CALLS, -1)
        self.gave_up = False

    def run(self, step: Coroutine[Any, Any, Any]) -> Any:
        return self.runner.run(step)

    @initialize()
    def begin(self) -> None:
        self.run(self.house.start())

    # What platforms do.

    @precondition(lambda self: len(self.wires) < 2)
    @rule()
    def connect(self) -> None:
        async def step() -> Wire:
            wire = Wire(self.house.app)
            await wire.ask("welcome")
            return wire

        self.wires.append(self.run(step()))

    @precondition(lambda self: self.wires)
    @rule(data=st.data(), call_id=st.sampled_from(CALLS), count=st.integers(1, 4))
    def send_next(self, data: st.DataObject, call_id: str, count: int) -> None:
        first = self.sent[call_id] + 1
        seqs = data.draw(st.permutations(range(first, min(first + count, LENGTH))))
        self._say(data, call_id, seqs)

    @precondition(lambda self: self.wires)
    @rule(data=st.data(), call_id=st.sampled_from(CALLS), ahead=st.integers(2, 9))
    def send_early(self, data: st.DataObject, call_id: str, ahead: int) -> None:
        if (seq := self.acked[call_id] + ahead) < LENGTH:
            self._say(data, call_id, [seq])

    @precondition(lambda self: self.wires and max(self.sent.values()) >= 0)
    @rule(data=st.data(), call_id=st.sampled_from(CALLS))
    def send_again(self, data: st.DataObject, call_id: str) -> None:
        if self.sent[call_id] >= 0:
            self._say(data, call_id, [data.draw(st.integers(0, self.sent[call_id]))])

    @precondition(lambda self: self.wires)
    @rule(data=st.data(), call_id=st.sampled_from(CALLS))
    def send_far_ahead(self, data: st.DataObject, call_id: str) -> None:
        wire = self._wire(data)
        wire.say(said(900, "遠い", call_id=call_id))
        self._settle()
        assert [item for item in wire.heard if item.get("code") == "gap"] or self.house.disk.slow

    @precondition(lambda self: self.wires)
    @rule(data=st.data())
    def resume(self, data: st.DataObject) -> None:
        wire = self._wire(data)
        answer = self.run(wire.ask("resumed", {"type": "resume", "call_ids": list(CALLS)}))
        for call_id, seq in answer["calls"].items():
            assert (-1 if seq is None else seq) >= self.acked[call_id], "a resume takes back what was acknowledged"
            assert (-1 if seq is None else seq) <= self._durable(call_id), "a resume promises what is not durable"

    @precondition(lambda self: self.wires)
    @rule(data=st.data())
    def disconnect(self, data: st.DataObject) -> None:
        wire = self._wire(data)
        self.wires.remove(wire)
        self.run(wire.leave())
        self._hear(wire)

    # What happens to the house.

    @precondition(lambda self: not self.house.disk.slow)
    @rule()
    def disk_slows(self) -> None:
        self.house.disk.hold()

    @precondition(lambda self: self.house.disk.slow)
    @rule()
    def disk_recovers(self) -> None:
        self.house.disk.release()
        self._settle()

    @precondition(lambda self: self.wires and not self.house.disk.failing)
    @rule()
    def disk_fails_once(self) -> None:
        self.house.disk.fail_next()

    @rule(seconds=st.sampled_from((1.0, 3.0, 11.0)))
    def time_passes(self, seconds: float) -> None:
        self._settle()
        self.run(self.house.later(seconds))
        self._settle()

    @rule(killed=st.booleans())
    def restart(self, killed: bool) -> None:
        async def step() -> None:
            if killed:
                await self.house.kill()
            else:
                for wire in self.wires:
                    await wire.leave()
                await self.house.stop()
            for wire in self.wires:
                self._hear(wire)
            self.wires.clear()
            await self.house.start()

        self.run(step())

    # What must hold.

    @invariant()
    def acknowledged_means_durable(self) -> None:
        for wire in self.wires:
            self._hear(wire)
        for call_id in CALLS:
            assert self.acked[call_id] <= self._durable(call_id)

    def teardown(self) -> None:
        try:
            if hasattr(self.house, "app"):
                self.run(self._finish())
        finally:
            self.runner.close()
            shutil.rmtree(self.folder)

    async def _finish(self) -> None:
        """A platform that follows the protocol brings both calls to their end; then everything is compared."""
        self.house.disk.release()
        for wire in self.wires:
            await wire.leave()
        wire = Wire(self.house.app)
        resumed = (await wire.ask("resumed", {"type": "resume", "call_ids": list(CALLS)}))["calls"]
        for _ in range(20):
            for call_id in CALLS:
                done = max(self.acked[call_id], -1 if resumed[call_id] is None else resumed[call_id])
                wire.say(*(event(call_id, seq) for seq in range(done + 1, LENGTH + 1)))
            await self.house.settle(wire)
            self._hear(wire)
            if all(self.acked[call_id] == LENGTH or resumed[call_id] == LENGTH for call_id in CALLS):
                break
        await self.house.over()
        self._compare()
        await wire.leave()
        await self.house.stop()

    def _compare(self) -> None:
        expected: Counter[str] = Counter()
        for call_id in CALLS:
            assert self._durable(call_id) == LENGTH, "an event was never acknowledged"
            if self._gaps(call_id):
                continue
            events = [decode_event(event(call_id, seq)) for seq in range(LENGTH + 1)]
            changes = replay(
                events, scorer=ScriptedScorer(), rules=default_rules(), playbook=default_playbook(), gate=partial_gate()
            )
            kinds = [change.alert.kind.value for change in changes if change.type is AlertChange.RAISED]
            expected[call_id] = kinds.count("abuse")
        told = [entry.event for entry in self.house.disk.stream("default", after=0)]
        versions = Counter((item.alert.alert_id, item.alert.version) for item in told)
        assert max(versions.values(), default=1) == 1, "an alert's version was told twice"
        raised = [item.alert for item in told if item.type is AlertChange.RAISED and item.alert.kind.value == "abuse"]
        for call_id, count in expected.items():
            assert sum(alert.call_id == call_id for alert in raised) == count, "an alert was lost or doubled"

    # How it is seen.

    def _wire(self, data: st.DataObject) -> Wire:
        return data.draw(st.sampled_from(self.wires), label="wire") if len(self.wires) > 1 else self.wires[0]

    def _say(self, data: st.DataObject, call_id: str, seqs: Any) -> None:
        self._wire(data).say(*(event(call_id, seq) for seq in seqs))
        self.sent[call_id] = max([self.sent[call_id], *seqs])
        self._settle()

    def _settle(self) -> None:
        self.run(self.house.settle(*self.wires))

    def _hear(self, wire: Wire) -> None:
        for message in wire.heard:
            if message["type"] == "ack":
                call_id = message["call_id"]
                self.acked[call_id] = max(self.acked[call_id], message["seq"])

    def _rows(self, call_id: str) -> list[Any]:
        record = self.house.disk.find_call("default", call_id)
        return [item.row for item in self.house.disk.read_call("default", record.instance)] if record else []

    def _gaps(self, call_id: str) -> list[Gap]:
        return [row.value for row in self._rows(call_id) if isinstance(row.value, Gap)]

    def _durable(self, call_id: str) -> int:
        """The number up to which the log holds everything, by the rule that a row counts only if it is the next."""
        last = -1
        for row in self._rows(call_id):
            if isinstance(row.value, Gap) and row.value.first_seq == last + 1:
                last = row.value.last_seq
            elif row.seq == last + 1:
                last += 1
                if isinstance(row.value, Segment):
                    assert row.value.text == event(call_id, last)["text"]
        return last


TestProtocol = ProtocolMachine.TestCase
TestProtocol.settings = tries(10, stateful_step_count=20, suppress_health_check=[HealthCheck.data_too_large])

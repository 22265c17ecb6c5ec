"""The log of a live call folded again, from any snapshot and cut anywhere, leads to the alerts that were told live.

What a server does is done here without one: every input is logged and then folded, answers come late and in any order, the
process dies now and then, and the last snapshot with the log's tail takes its place.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from detector.alerts import AlertEvent
from detector.events import (
    Action,
    AgentHelp,
    CallEnded,
    CallHeld,
    CallResumed,
    ContextSet,
    EarlierComplaint,
    Input,
    Outcome,
    Segment,
    SegmentRedacted,
    SpeakersSwapped,
    SupervisorAction,
    TimerFired,
)
from detector.labels import Speaker
from detector.scoring import ScoreRequest, Unscored, UnscoredReason
from detector.session import CallSession
from detector.state import CallState
from tests.detector.calls import PLAYBOOK, RULES
from tests.detector.scripted import answer, vector
from tests.detector.test_properties import TEXTS
from tests.exploring import tries

Told = dict[tuple[str, int], AlertEvent]

steps = st.lists(
    st.one_of(
        st.tuples(
            st.sampled_from(["say", "say", "partial"]),
            st.sampled_from(list(Speaker)),
            st.sampled_from(TEXTS),
            st.integers(-1000, 6000),
        ),
        st.tuples(st.sampled_from(["hold", "resume", "timer", "help"]), st.integers(500, 200_000)),
        st.tuples(st.just("act"), st.sampled_from(list(Action)), st.sampled_from(list(Outcome)), st.integers(0, 9)),
        st.tuples(st.sampled_from(["swap", "earlier", "redact"])),
        st.tuples(st.just("answer"), st.integers(0, 9), st.booleans()),
        st.tuples(st.sampled_from(["snapshot", "die"])),
    ),
    max_size=40,
)


@dataclass
class House:
    """A call, its log, what supervisors were told, and the scores that are awaited."""

    log: list[Input] = field(default_factory=list)
    told: Told = field(default_factory=dict)
    awaited: dict[str, ScoreRequest] = field(default_factory=dict)
    snapshot: tuple[int, bytes] | None = None
    clashes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.session = session(None)

    def take(self, item: Input) -> None:
        self.log.append(item)
        self._fold(len(self.log) - 1)

    def _fold(self, at: int) -> None:
        item = self.log[at]
        self.awaited.pop(getattr(item, "request_id", ""), None)
        for output in self.session.receive(item, utc_ms=at):
            if isinstance(output, ScoreRequest):
                self.awaited[output.request_id] = output
            elif isinstance(output, AlertEvent):
                name = (output.alert.alert_id, output.alert.version)
                if self.told.setdefault(name, output) != output:
                    self.clashes.append(f"{output.type} {name}")

    def answer(self, number: int, *, scored: bool) -> None:
        if self.awaited:
            request = list(self.awaited.values())[number % len(self.awaited)]
            late = Unscored(request_id=request.request_id, reason=UnscoredReason.EXPIRED)
            self.take(answer(request) if scored else late)

    def keep(self) -> None:
        if self.session.idle:
            self.snapshot = len(self.log), msgspec.msgpack.encode(self.session.state)

    def die(self) -> None:
        self.awaited.clear()
        first, data = self.snapshot or (0, b"")
        self.session = session(msgspec.msgpack.decode(data, type=CallState) if data else None)
        for at in range(first, len(self.log)):
            self._fold(at)


def session(state: CallState | None) -> CallSession:
    return CallSession(
        tenant="t", call_id="c", instance="c@0", rules=RULES, playbook=PLAYBOOK, state=state,
        gate=lambda text, _language: "晒す" in text,
    )  # fmt: skip


def live(plan: list[tuple]) -> House:
    """Runs a plan to its end, where every score has come."""
    house, at_ms = House(), 0
    for number, step in enumerate(plan):
        if step[0] in ("say", "partial"):
            _, speaker, text, pause_ms = step
            start_ms = max(0, at_ms + pause_ms)
            at_ms = start_ms + 1500
            house.take(
                Segment(
                    segment_id=f"s{number // 2}", speaker=speaker, text=text, start_ms=start_ms, end_ms=at_ms,
                    is_final=step[0] == "say",
                )
            )  # fmt: skip
        elif step[0] == "act":
            _, action, outcome, which = step
            ids = list(dict.fromkeys(name for name, _ in house.told)) or ["none"]
            act = SupervisorAction(
                action=action, alert_id=ids[which % len(ids)], by="s", to="b", for_s=60, outcome=outcome
            )
            house.take(act)
        elif step[0] == "answer":
            house.answer(step[1], scored=step[2])
        elif step[0] == "snapshot":
            house.keep()
        elif step[0] == "die":
            house.die()
        elif step[0] == "swap":
            house.take(SpeakersSwapped())
        elif step[0] == "earlier":
            centre = EarlierComplaint(call=f"e{number}", model_version="scripted", centre=vector("返金"))
            house.take(ContextSet(earlier=(centre,)))
        elif step[0] == "redact":
            said = [item for item in house.log if isinstance(item, Segment) and item.is_final]
            if said:
                house.take(SegmentRedacted(segment_id=said[-1].segment_id, text="＊" * len(said[-1].text)))
        else:
            at_ms += step[1]
            kind = {"hold": CallHeld, "resume": CallResumed, "timer": TimerFired, "help": AgentHelp}[step[0]]
            house.take(kind(offset_ms=at_ms))
    while house.awaited:
        house.answer(0, scored=True)
    house.take(CallEnded(offset_ms=at_ms + 1000))
    return house


@tries(300)
@given(steps)
def test_a_log_folded_again_from_any_snapshot_leads_to_the_alerts_that_were_told(plan):
    house = live(plan)
    assert not house.clashes
    whole = House(log=house.log)
    whole.die()
    assert whole.told == house.told
    assert whole.session.state == house.session.state


@tries(200)
@given(steps)
def test_no_alert_is_raised_twice_and_no_version_is_left_out_whenever_the_process_dies(plan):
    house = live(plan)
    for alert_id in {name for name, _ in house.told}:
        versions = sorted(version for name, version in house.told if name == alert_id)
        assert versions == list(range(1, len(versions) + 1))

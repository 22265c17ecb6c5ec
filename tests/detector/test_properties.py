"""What must hold for every call: order of scores, duplicates, restarts."""

from __future__ import annotations

from dataclasses import replace

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from detector.alerts import CLOSED, AlertChange, AlertEvent
from detector.events import AgentHelp, CallEnded, CallHeld, CallResumed, Input, Segment, TimerFired
from detector.labels import Speaker
from detector.scoring import ScoreRequest
from detector.session import CallSession
from detector.state import CallState
from server.live import intake
from server.live.call import LiveCall
from server.live.intake import REORDER_WINDOW
from server.storage.port import CallRecord
from tests.detector.calls import PLAYBOOK, RULES
from tests.detector.scripted import answer
from tests.exploring import tries

TEXTS = (
    "バカ",
    "アホかも",
    "晒すぞ",
    "返金してくださいと言っているんですが、どうなりましたか",
    "届かない荷物の話をもう一度しますね、よろしいですか",
    "規約により返金はいたしかねます、日割りの計算もございません",
    "このままそのようなご発言が続くようでしたら、お電話を終了させていただきます",
    "はい",
    "申し訳ございません",
    "もう消えたいんです",
)

steps = st.lists(
    st.one_of(
        st.tuples(st.just("say"), st.sampled_from(list(Speaker)), st.sampled_from(TEXTS), st.integers(200, 6000)),
        st.tuples(st.sampled_from(["hold", "resume", "timer", "help"]), st.integers(500, 400_000)),
    ),
    max_size=25,
)


def inputs(plan: list[tuple]) -> list[Input]:
    """A call's inputs in order; media time only rises."""
    at_ms, made = 0, []
    for number, step in enumerate(plan):
        if step[0] == "say":
            _, speaker, text, pause_ms = step
            start_ms = at_ms + pause_ms
            at_ms = start_ms + 1500
            made.append(Segment(segment_id=f"s{number}", speaker=speaker, text=text, start_ms=start_ms, end_ms=at_ms))
        else:
            at_ms += step[1]
            kind = {"hold": CallHeld, "resume": CallResumed, "timer": TimerFired, "help": AgentHelp}[step[0]]
            made.append(kind(offset_ms=at_ms))
    made.append(CallEnded(offset_ms=at_ms + 1000))
    return made


def session(state: CallState | None = None) -> CallSession:
    return CallSession(tenant="t", call_id="c", instance="c@0", rules=RULES, playbook=PLAYBOOK, state=state)


def fold(
    items: list[Input], delays: list[int], *, speakers_known: bool = False
) -> tuple[CallSession, list[AlertEvent]]:
    """Folds inputs; the n-th score arrives `delays[n]` inputs late, and all do before the end."""
    call, events, waiting, asked = session(), [], [], 0
    call.state.speakers.settled = speakers_known
    for number, item in enumerate(items):
        if isinstance(item, CallEnded):
            due, waiting = waiting, []
        else:
            due = [entry for entry in waiting if entry[0] <= number]
            waiting = [entry for entry in waiting if entry[0] > number]
        queue = [request for _, request in due]
        outputs = []
        for request in queue:
            outputs += call.receive(answer(request), utc_ms=0)
        outputs += call.receive(item, utc_ms=0)
        for output in outputs:
            if isinstance(output, ScoreRequest):
                late = delays[asked % len(delays)] if delays else 0
                asked += 1
                if late == 0:
                    outputs += call.receive(answer(output), utc_ms=0)
                else:
                    waiting.append((number + late, output))
            elif isinstance(output, AlertEvent):
                events.append(output)
    return call, events


@tries(120)
@given(steps, st.lists(st.integers(0, 5), max_size=6))
def test_late_scores_change_nothing_in_the_end(plan, delays):
    without_help = [step for step in plan if step[0] != "help"]
    prompt, _ = fold(inputs(without_help), [])
    late, _ = fold(inputs(without_help), delays)
    assert late.idle
    assert prompt.state == late.state


@tries(80)
@given(steps)
def test_duplicates_change_nothing(plan):
    items = inputs(plan)
    once, first = fold(items, [])
    doubled = [item for item in items for _ in range(2 if isinstance(item, Segment) else 1)]
    twice, second = fold(doubled, [])
    assert once.state == twice.state
    assert first == second


@tries(80)
@given(steps)
def test_never_two_open_alerts_of_a_kind_and_versions_only_rise(plan):
    _, events = fold(inputs(plan), [])
    open_by_kind: dict[str, tuple[str, int]] = {}
    for event in events:
        alert = event.alert
        before = open_by_kind.get(alert.kind.value)
        if event.type is AlertChange.RAISED:
            assert before is None
            assert alert.version == 1
        else:
            assert before == (alert.alert_id, alert.version - 1)
        if alert.state in CLOSED:
            open_by_kind.pop(alert.kind.value, None)
        else:
            open_by_kind[alert.kind.value] = (alert.alert_id, alert.version)


@tries(80)
@given(steps, st.data())
def test_a_restart_from_a_snapshot_goes_on_as_if_nothing_had_happened(plan, data):
    items = inputs(plan)
    whole, events = fold(items, [])
    cut = data.draw(st.integers(0, len(items)))
    before, first = fold(items[:cut], [])
    state = msgspec.msgpack.decode(msgspec.msgpack.encode(before.state), type=CallState)
    after, second = session(state), []
    for item in items[cut:]:
        outputs = after.receive(item, utc_ms=0)
        for output in outputs:
            if isinstance(output, ScoreRequest):
                outputs += after.receive(answer(output), utc_ms=0)
            elif isinstance(output, AlertEvent):
                second.append(output)
    assert [event.alert.alert_id for event in first + second] == [event.alert.alert_id for event in events]
    assert after.state == whole.state


def levels(call: CallSession) -> dict[str, str]:
    return {kind.value: alert.level.value for kind, alert in call.state.book.current.items()}


@tries(80)
@given(steps, st.data())
def test_a_customers_sentence_cut_anywhere_leads_to_the_same_alerts(plan, data):
    # No two lines are the same words, or the second would be taken for an echo of the first, and half of it would not;
    # and they are apart, so that each is an utterance of its own however it is cut.
    apart = [(*step[:3], max(1500, step[3])) if step[0] == "say" else step for step in plan]
    whole = [
        replace(item, text=f"{number}番、{item.text}、{number}") if isinstance(item, Segment) else item
        for number, item in enumerate(inputs(apart))
    ]
    cut: list[Input] = []
    for item in whole:
        if not isinstance(item, Segment) or item.speaker is Speaker.AGENT or len(item.text) < 2:
            cut.append(item)
            continue
        at = data.draw(st.integers(1, len(item.text) - 1))
        middle_ms = item.start_ms + 700
        cut.append(replace(item, text=item.text[:at], end_ms=middle_ms))
        cut.append(replace(item, segment_id=f"{item.segment_id}b", text=item.text[at:], start_ms=middle_ms + 100))
    # The plan lets everybody say anything: half a phrase must not decide who is who.
    before, _ = fold(whole[:-1], [], speakers_known=True)
    after, _ = fold(cut[:-1], [], speakers_known=True)
    assert before.state.repetition.rounds == after.state.repetition.rounds
    assert before.state.step == after.state.step
    assert levels(before) == levels(after)


@tries(80)
@given(steps, st.data())
def test_events_shuffled_within_the_reorder_window_lead_to_the_same_state(plan, data):
    items = list(enumerate(inputs(plan)))
    shuffled: list[tuple[int, Input]] = []
    while items:
        shuffled.append(items.pop(data.draw(st.integers(0, min(len(items), REORDER_WINDOW) - 1))))
    record = CallRecord(tenant="t", instance="c@0", call_id="c", queue="", agent_id="", language="ja", started_ms=0)
    call, taken = LiveCall(record=record, session=session()), []
    for seq, item in shuffled:
        placing, number = intake.place(call, seq)
        if placing is intake.Placing.EARLY:
            intake.wait(call, number, item, 0.0)
            continue
        assert placing is intake.Placing.NEXT
        taken.append(item)
        call.next_seq = number + 1
        for later, waited in intake.due(call):
            taken.append(waited)
            call.next_seq = later + 1
    straight, first = fold(inputs(plan), [])
    mended, second = fold(taken, [])
    assert straight.state == mended.state
    assert first == second


@tries(60)
@given(steps, st.data())
def test_partials_in_between_change_nothing_in_the_end(plan, data):
    plain = inputs(plan)
    mixed: list[Input] = []
    for item in plain:
        if isinstance(item, Segment) and data.draw(st.booleans()):
            shown = data.draw(st.integers(0, len(item.text)))
            mixed.append(replace(item, text=item.text[:shown], end_ms=item.start_ms + 300, is_final=False))
        mixed.append(item)
    before, _ = fold(plain, [])
    after, _ = fold(mixed, [])
    after.state.distress.operator_heard_ms = before.state.distress.operator_heard_ms
    assert levels(before) == levels(after)
    assert before.state.repetition == after.state.repetition
    assert before.state.clock == after.state.clock


@tries(60)
@given(st.lists(steps, min_size=2, max_size=3), st.data())
def test_calls_that_interleave_do_not_touch_each_other(plans, data):
    queues = [inputs(plan) for plan in plans]
    alone = [fold(items, [])[1] for items in queues]
    calls, seen = [session() for _ in queues], [[] for _ in queues]
    left = [list(items) for items in queues]
    while any(left):
        index = data.draw(st.sampled_from([index for index, items in enumerate(left) if items]))
        outputs = calls[index].receive(left[index].pop(0), utc_ms=0)
        for output in outputs:
            if isinstance(output, ScoreRequest):
                outputs += calls[index].receive(answer(output), utc_ms=0)
            elif isinstance(output, AlertEvent):
                seen[index].append(output)
    assert seen == alone

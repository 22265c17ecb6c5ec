"""What supervisors, platforms and the server itself do to a call, beside what is said on it."""

from __future__ import annotations

import pytest

from detector.alerts import ActionAnswer, AlertChange, Refusal
from detector.events import (
    Action,
    AgentHelp,
    AlertUnattended,
    CallEnded,
    CallReopened,
    FeedLost,
    FeedRestored,
    Outcome,
    SnoozeOver,
    SpeakersSwapped,
    SupervisorAction,
)
from detector.scoring import ScoreResult
from tests.detector.calls import RULES, Call


def resolve(call: Call, alert_id: str, outcome: Outcome = Outcome.FALSE_ALARM) -> ActionAnswer:
    action = SupervisorAction(action=Action.RESOLVE, alert_id=alert_id, by="sato", outcome=outcome)
    (answer,) = (output for output in call.give(action) if isinstance(output, ActionAnswer))
    return answer


def raised(call: Call, kind: str) -> int:
    return sum(event.type is AlertChange.RAISED and event.alert.kind.value == kind for event in call.events)


def test_an_alert_that_is_none_of_the_calls_is_not_found():
    call = Call()
    assert resolve(call, "another").refusal is Refusal.NOT_FOUND
    for item in (SnoozeOver(alert_id="another"), AlertUnattended(alert_id="another", tier=1)):
        assert call.give(item) == []


@pytest.mark.parametrize("outcome", list(Outcome))
def test_a_second_press_of_the_button_is_a_new_call_for_help(outcome):
    call = Call()
    call.give(AgentHelp(offset_ms=1000, note="", by="a"))
    assert (raised(call, "distress"), call.level("distress")) == (1, "escalate")
    assert resolve(call, call.alert("distress").alert_id, outcome).refusal is None
    assert call.level("distress") == "none"
    call.say("A", "少々お待ちください")
    assert raised(call, "distress") == 1
    call.give(AgentHelp(offset_ms=9000, note="", by="a"))
    assert raised(call, "distress") == 2


def go_on(call: Call, minutes: int) -> None:
    for number in range(minutes):
        call.say("CA"[number % 2], f"その件の{number}番目についてご説明いたします", seconds=55, gap=5)


def test_an_overlong_call_that_was_judged_is_raised_again_at_the_next_level_only():
    call = Call()
    limits = RULES.overlong
    call.say("A", "お電話ありがとうございます")
    call.say("C", "このバカ")
    go_on(call, round(limits.notice_min) + 2)
    assert call.level("overlong") == "notice"
    assert resolve(call, call.alert("overlong").alert_id, Outcome.COMPLAINT).refusal is None
    go_on(call, 2)
    assert call.level("overlong") == "none"
    go_on(call, round(limits.warning_min - limits.notice_min))
    assert (call.level("overlong"), raised(call, "overlong")) == ("warning", 2)


def test_a_platform_that_says_nothing_was_swapped_settles_the_speakers():
    call = Call()
    call.say("C", "バカ")
    before = call.level("abuse")
    call.give(SpeakersSwapped(swapped=False))
    assert call.level("abuse") == before == "warning"
    call.give(SpeakersSwapped(swapped=True))
    assert call.level("abuse") == "none", "what the operator said is no abuse by the caller"


def test_a_lost_feed_shows_until_it_is_back():
    call = Call()
    call.give(FeedLost(reason="disconnected"))
    assert call.session.status().monitoring == {"state": "lost", "reason": "disconnected"}
    call.give(FeedRestored())
    assert call.session.status().monitoring["state"] == "ok"


def test_a_call_ends_once_and_may_be_opened_again():
    call = Call()
    call.say("C", "もしもし")
    call.give(CallEnded(offset_ms=9000, reason="idle"))
    assert call.session.state.ended
    assert call.give(CallEnded(offset_ms=99_000, reason="hangup")) == []
    assert call.session.state.end_reason == "idle"
    call.give(CallReopened())
    assert (call.session.state.ended, call.session.state.end_reason) == (False, "")
    call.say("C", "バカ")
    assert call.level("abuse") == "warning"


def test_a_score_that_nobody_asked_for_changes_nothing():
    call = Call()
    call.say("C", "もしもし")
    assert call.give(ScoreResult(request_id="stray", scores={"threat": 0.99}, labels=("threat",))) == []
    assert call.level("abuse") == "none"

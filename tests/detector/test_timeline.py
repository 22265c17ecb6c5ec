from __future__ import annotations

from detector.alerts import Noted
from detector.events import AgentHelp, CallAnswered, CallEnded, CallHeld, CallReopened, CallResumed, TimerFired
from tests.detector.calls import Call

MINUTE_MS = 60_000


def jumps(call: Call) -> int:
    return sum(isinstance(item, Noted) and item.what == "clock_jumped" for item in call.outputs)


def test_a_clock_that_starts_anew_after_a_transfer_goes_on_from_where_the_call_was():
    call = Call()
    call.give(CallAnswered(offset_ms=0))
    for at_ms in range(60_000, 11 * MINUTE_MS, 60_000):
        call.say("A", "はい、確認しております", start_ms=at_ms)
    before_ms = call.session.status().elapsed_ms
    call.say("C", "もしもし、聞こえますか", start_ms=2_000, end_ms=4_000)
    call.say("A", "はい、聞こえております", start_ms=5_000, end_ms=8_000)
    assert jumps(call) == 1
    assert call.session.status().elapsed_ms == before_ms + 4_000


def test_a_clock_that_leaps_does_not_make_a_long_call():
    call = Call()
    call.give(CallAnswered(offset_ms=0))
    call.say("C", "もしもし", start_ms=1_000)
    call.say("A", "はい、サポートです", start_ms=1_700_000_000_000, end_ms=1_700_000_002_000)
    assert call.session.status().talk_ms < MINUTE_MS
    assert call.level("overlong") == "none"


def test_a_late_final_is_no_jump():
    call = Call()
    call.say("A", "はい", start_ms=100_000)
    call.say("C", "遅れて届いた言葉です", start_ms=40_000, end_ms=42_000)
    assert jumps(call) == 0
    assert call.session.status().elapsed_ms == 103_000


def test_a_long_hold_is_no_jump():
    call = Call()
    call.give(CallAnswered(offset_ms=0))
    call.give(CallHeld(offset_ms=10_000))
    call.give(CallResumed(offset_ms=10_000 + 40 * MINUTE_MS))
    assert jumps(call) == 0
    assert call.session.status().hold_ms == 40 * MINUTE_MS


def test_a_call_joined_mid_way_is_neither_lost_nor_long_at_its_first_words():
    call = Call()
    call.say("C", "それでさっきの件なんですけど", start_ms=25 * MINUTE_MS)
    assert call.session.status().monitoring["state"] == "ok"
    assert call.level("overlong") == "none"
    call.give(TimerFired(offset_ms=25 * MINUTE_MS + 93_000))
    assert call.session.status().monitoring["state"] == "lost"


LATE_TALK = (
    ("C", "荷物がまだ届いていないので調べてください", 2_000, 3_500),
    ("A", "確認いたしました、明日お届けの予定でございます", 5_000, 6_500),
    ("C", "荷物が届かないと言っているんです", 8_000, 9_500),
    ("C", "荷物がまだ届いていないので調べてください", 10_000, 11_500),
    ("A", "申し訳ございません、明日お届けの予定でございます", 13_000, 14_500),
    ("C", "荷物が届かないと言っているんです", 16_000, 17_500),
)


def test_time_that_ran_on_while_the_feed_was_away_is_no_clock_of_the_platform():
    prompt, late = Call(), Call()
    for call in (prompt, late):
        call.say("C", "もしもし", start_ms=0, end_ms=1_000)
    # The feed stops, nobody seems to speak, somebody presses the button; then all that was said meanwhile comes at once.
    for due_ms in (91_000, 180_000, 400_000):
        late.give(TimerFired(offset_ms=due_ms))
    late.give(AgentHelp(offset_ms=410_000, by="o"))
    for who, text, start_ms, end_ms in LATE_TALK:
        prompt.say(who, text, start_ms=start_ms, end_ms=end_ms)
        late.say(who, text, start_ms=start_ms, end_ms=end_ms)
    assert jumps(late) == 0
    assert late.session.state.repetition == prompt.session.state.repetition
    assert late.session.state.transcript == prompt.session.state.transcript


def test_a_call_that_ended_for_want_of_events_goes_on_in_the_platforms_time():
    call = Call()
    call.say("C", "もしもし", start_ms=0, end_ms=1_000)
    call.give(TimerFired(offset_ms=180_000))
    call.give(CallEnded(offset_ms=180_000, reason="idle"))
    call.give(CallReopened())
    call.say("C", "まだいます", start_ms=2_000, end_ms=3_000)
    assert jumps(call) == 0
    assert call.session.state.transcript.finals.last.start_ms == 2_000

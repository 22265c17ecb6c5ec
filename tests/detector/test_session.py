from __future__ import annotations

import pytest

from detector.alerts import ActionAnswer, AlertChange, AlertState, Noted, Refusal
from detector.events import (
    Action,
    AgentHelp,
    CallAnswered,
    CallChanged,
    CallEnded,
    CallHeld,
    CallResumed,
    ChangeReason,
    Gap,
    Outcome,
    Segment,
    SpeakersSwapped,
    SupervisorAction,
    TimerFired,
)
from detector.labels import Speaker
from detector.scoring import ScoreRequest, ScoreResult, Span, Unscored, UnscoredReason
from tests.detector.calls import RULES, Call


def act(call: Call, action: Action, kind: str = "abuse", **fields) -> ActionAnswer:
    alert = call.alert(kind)
    out = call.give(SupervisorAction(action=action, alert_id=alert.alert_id, by="sup-1", **fields))
    return next(item for item in out if isinstance(item, ActionAnswer))


class TestAbuse:
    @pytest.mark.parametrize(
        ("said", "level"),
        [
            (["バカ"], "warning"),
            (["晒すぞ"], "escalate"),
            (["バカ", "土下座しろ"], "escalate"),
            (["死ねと言ってる、殺すぞ"], "critical"),
            (["アホかも"], "notice"),
            (["アホかも", "アホかもな"], "warning"),
            (["返金してください"], "none"),
        ],
        ids=["clear", "exposure", "two labels", "life", "unclear", "twice unclear", "complaint"],
    )
    def test_level_follows_the_table(self, said, level):
        call = Call()
        for words in said:
            call.say("A", "はい、ご用件をお伺いいたします")
            call.say("C", words)
        assert call.level("abuse") == level

    def test_the_same_again_after_a_first_warning_escalates(self):
        call = Call()
        call.say("C", "バカ")
        call.say("A", "このままそのようなご発言が続くようでしたら、お電話を終了させていただきます")
        assert call.session.state.step == "first_warning"
        call.say("C", "バカはバカだろ")
        assert call.level("abuse") == "escalate"
        assert "first warning" in call.alert("abuse").reason

    def test_one_open_alert_is_updated_not_raised_again(self):
        call = Call()
        call.say("C", "バカ")
        call.say("A", "申し訳ございません、確認いたします")
        call.say("C", "晒すぞ")
        kinds = [event.type for event in call.events if event.alert.kind.value == "abuse"]
        assert kinds == [AlertChange.RAISED, AlertChange.UPDATED]

    def test_evidence_spans_point_into_the_segments_own_text(self):
        call = Call()
        call.say("C", "😡なんだよ、", seconds=1)
        call.say("C", "このバカが", seconds=1, gap=0.3)
        evidence = call.alert("abuse").evidence[0]
        span = evidence.spans[0]
        assert evidence.text[span.start : span.end] == "バカ"
        assert evidence.segment_id == "s2"

    def test_an_unknown_speaker_stays_at_warning_except_a_threat(self):
        call = Call()
        call.say("U", "晒すぞ")
        assert call.level("abuse") == "warning"
        other = Call()
        other.say("U", "死ね、殺すぞ")
        assert other.level("abuse") == "critical"

    def test_a_masked_word_is_weak_however_often_it_comes(self):
        call = Call()
        for _ in range(4):
            call.say("A", "はい、確認いたしますのでお願いいたします")
            call.say("C", "この***が")
        assert call.level("abuse") == "notice"

    def test_a_quote_completed_by_the_next_segment_takes_the_alert_back(self):
        call = Call(hold_scores=True)
        call.say("C", "バカ", seconds=1)
        call.score(call.requests[0])
        assert call.level("abuse") == "warning"
        call.say("C", "って前の担当の人に言われたんです", seconds=1, gap=0.2)
        grown = call.requests[1]
        assert grown.text == "バカって前の担当の人に言われたんです"
        quiet = type(call.requests[0])  # the classifier understands the quote now
        assert quiet is ScoreRequest

        call.give(ScoreResult(request_id=grown.request_id, scores={"verbal_abuse": 0.1}))
        assert call.alert("abuse") is None
        assert call.events[-1].type is AlertChange.RETRACTED


class TestOrder:
    def test_scores_are_applied_in_the_order_of_the_talk(self):
        call = Call(hold_scores=True)
        call.say("C", "バカ")
        call.say("A", "このままそのようなご発言が続くようでしたら、お電話を終了させていただきます")
        call.say("C", "バカ、もう一度言う")
        first, warning, second = call.requests
        call.score(second)
        assert call.events == []
        call.score(warning)
        call.score(first)
        assert [event.alert.level.value for event in call.events if event.type is AlertChange.RAISED] == ["warning"]
        assert call.level("abuse") == "escalate"

    def test_a_missing_score_does_not_hold_the_call_for_ever_and_is_shown(self):
        call = Call(hold_scores=True)
        call.say("C", "なにか言った")
        call.say("C", "バカ", gap=5)
        call.give(Unscored(request_id=call.requests[0].request_id, reason=UnscoredReason.EXPIRED))
        assert call.session.status().monitoring == {"state": "degraded", "reason": "unscored_expired"}
        call.score(call.requests[1])
        assert call.level("abuse") == "warning"
        # Watched again, though something is missing.
        assert call.session.status().monitoring == {"state": "incomplete", "reason": "unscored_expired"}

    def test_what_word_lists_found_is_heard_and_the_call_counts_as_unscored_all_the_same(self):
        call = Call(hold_scores=True)
        call.say("C", "バカ")
        name = call.requests[0].request_id
        found = ScoreResult(
            request_id=name,
            scores={"verbal_abuse": 0.9},
            labels=("verbal_abuse",),
            spans=(Span(start=0, end=2, label="verbal_abuse", score=0.9),),
            model_version="lexicon-1",
        )
        call.give(Unscored(request_id=name, reason=UnscoredReason.FAILED, stand_in=found))
        assert call.level("abuse") == "warning"
        assert call.events[0].alert.model_version == "lexicon-1"
        assert call.session.status().monitoring == {"state": "degraded", "reason": "unscored_failed"}

    def test_the_help_button_waits_for_nothing(self):
        call = Call(hold_scores=True)
        call.say("C", "なにか言った")
        call.give(AgentHelp(offset_ms=6000))
        assert call.level("distress") == "escalate"


class TestRepetition:
    def rounds(self, call: Call, times: int) -> None:
        for number in range(times):
            call.say("C", f"返金してくださいと言っているんです、その{number}回目の話です")
            call.say("A", "規約により返金はいたしかねます、日割りの計算もございません")

    @pytest.mark.parametrize(
        ("times", "level"), [(1, "none"), (2, "notice"), (3, "warning"), (4, "warning"), (5, "escalate")]
    )
    def test_levels_by_raising(self, times, level):
        call = Call()
        self.rounds(call, times)
        assert call.session.state.repetition.rounds == times
        assert call.level("repetition") == level

    def test_evidence_shows_the_raisings_side_by_side(self):
        call = Call()
        self.rounds(call, 3)
        assert len(call.alert("repetition").evidence) == 3

    def test_without_an_answer_it_is_one_raising(self):
        call = Call()
        for _ in range(4):
            call.say("C", "返金してくださいと言っているんです、お願いしますよ")
            call.say("A", "はい")
        assert call.session.state.repetition.rounds == 1

    def test_telling_a_new_agent_is_no_raising(self):
        call = Call()
        self.rounds(call, 1)
        call.give(CallChanged(offset_ms=call.at_ms, reason=ChangeReason.TRANSFER, agent_id="b"))
        self.rounds(call, 1)
        assert call.session.state.repetition.rounds == 1
        self.rounds(call, 1)
        assert call.session.state.repetition.rounds == 2

    def test_an_answer_to_the_operators_question_is_no_raising(self):
        call = Call()
        self.rounds(call, 1)
        call.say("A", "ご返金をご希望の理由をもう一度お聞かせいただけますでしょうか")
        call.say("C", "返金してほしいのは使っていないからです、それだけです")
        assert call.session.state.repetition.rounds == 1

    @pytest.mark.parametrize(
        ("words", "rounds"),
        [
            ("わかりました、返金のことは書面でその話をお送りください", 1),
            ("はい、それでお願いします、返金は振り込みでその話のとおり", 1),
            ("だから返金してくださいと言っているんです、何回目の話ですか", 2),
            ("わかりました、でもね返金してくださいと言っているんです、何回目の話ですか", 2),
        ],
    )
    def test_who_takes_the_answer_raises_nothing(self, words, rounds):
        call = Call()
        self.rounds(call, 1)
        call.say("C", words)
        assert call.session.state.repetition.rounds == rounds

    def test_with_abuse_it_escalates(self):
        call = Call()
        call.say("C", "バカ")
        self.rounds(call, 2)
        assert call.level("repetition") == "escalate"


class TestOverlong:
    def test_a_calm_long_call_stays_at_notice(self):
        call = Call()
        call.give(CallAnswered(offset_ms=0))
        call.give(TimerFired(offset_ms=90 * 60_000))
        assert call.level("overlong") == "notice"

    def test_limits_with_abuse(self):
        call = Call()
        call.give(CallAnswered(offset_ms=0))
        call.say("C", "バカ")
        call.give(TimerFired(offset_ms=31 * 60_000))
        assert call.level("overlong") == "warning"
        call.give(TimerFired(offset_ms=61 * 60_000))
        assert call.level("overlong") == "escalate"

    def test_hold_does_not_count(self):
        call = Call()
        call.give(CallAnswered(offset_ms=0))
        call.give(CallHeld(offset_ms=60_000))
        call.give(CallResumed(offset_ms=21 * 60_000))
        call.give(TimerFired(offset_ms=22 * 60_000))
        assert call.level("overlong") == "none"
        assert call.session.status().hold_ms == 20 * 60_000

    def test_an_announced_silence_counts_as_hold(self):
        call = Call()
        call.say("A", "確認いたしますので少々お待ちください")
        call.say("C", "はい", gap=300)
        assert call.session.status().hold_ms == 300_000

    def test_the_next_timer_is_the_next_limit(self):
        call = Call()
        call.give(CallAnswered(offset_ms=5_000))
        while call.session.next_timer_ms < 20 * 60_000:
            call.give(TimerFired(offset_ms=call.session.next_timer_ms))
        assert call.session.next_timer_ms == 20 * 60_000 + 5_000


class TestDistress:
    def test_a_caller_who_speaks_of_self_harm(self):
        call = Call()
        call.say("C", "もう消えたいんです")
        assert call.level("distress") == "escalate"
        assert "caller_at_risk" in call.alert("distress").reason
        assert call.level("abuse") == "none"

    def test_an_apology_loop_after_abuse(self):
        call = Call()
        call.say("C", "バカ")
        for _ in range(4):
            call.say("A", "誠に申し訳ございません")
        assert call.level("distress") == "notice"

    def test_apologies_without_abuse_are_manners(self):
        call = Call()
        for _ in range(6):
            call.say("A", "誠に申し訳ございません")
        assert call.level("distress") == "none"

    def test_silence_after_abuse(self):
        call = Call()
        call.say("C", "バカ")
        call.give(TimerFired(offset_ms=call.at_ms + 12_000))
        assert "silent" in call.alert("distress").reason


class TestPartials:
    def provisional(self) -> Call:
        call = Call(gate=lambda text, language: "死ね" in text)
        segment = Segment(
            segment_id="p1", speaker=Speaker.CUSTOMER, text="死ね", start_ms=0, end_ms=800, is_final=False
        )
        call.give(segment)
        return call

    def test_the_gravest_raise_at_once_and_the_final_confirms(self):
        call = self.provisional()
        assert call.alert("abuse").provisional
        call.say("C", "死ねよ本当に", segment_id="p1", start_ms=0, end_ms=2000)
        assert not call.alert("abuse").provisional
        assert [event.type for event in call.events] == [AlertChange.RAISED, AlertChange.UPDATED]

    def test_the_final_takes_it_back(self):
        call = self.provisional()
        call.say("C", "しねばいいというものではない", segment_id="p1", start_ms=0, end_ms=2000)
        assert call.events[-1].type is AlertChange.RETRACTED
        assert call.events[-1].alert.reason == "final_differs"

    def test_without_a_final_it_is_taken_back(self):
        call = self.provisional()
        assert call.session.next_timer_ms == 5_800
        call.give(TimerFired(offset_ms=5_800))
        assert call.events[-1].alert.reason == "no_final"


class TestSpeakers:
    def test_the_platform_swaps(self):
        call = Call()
        call.say("A", "バカじゃないのか返事しろ")
        assert call.level("abuse") == "none"
        call.give(SpeakersSwapped(swapped=True))
        assert call.level("abuse") == "warning"

    def test_a_swap_takes_an_operators_words_back(self):
        call = Call()
        call.say("C", "バカとおっしゃいましたか")
        call.give(SpeakersSwapped(swapped=True))
        assert call.events[-1].type is AlertChange.RETRACTED

    def test_swapped_channels_are_detected(self):
        call = Call()
        call.say("C", "お電話ありがとうございます、佐藤でございます")
        call.say("A", "バカじゃないのか、昨日の荷物はどこだ")
        call.say("C", "お客様番号をお願いいたします、お調べいたします")
        assert any(isinstance(item, Noted) for item in call.outputs)
        assert call.level("abuse") == "warning"


class TestLife:
    def test_acknowledge_once(self):
        call = Call()
        call.say("C", "バカ")
        assert act(call, Action.ACKNOWLEDGE).refusal is None
        again = act(call, Action.ACKNOWLEDGE)
        assert again.refusal is Refusal.CONFLICT
        assert again.first_by == "sup-1"

    def test_a_rise_opens_it_again(self):
        call = Call()
        call.say("C", "バカ")
        act(call, Action.ACKNOWLEDGE)
        call.say("C", "晒すぞ", gap=5)
        assert call.alert("abuse").state is AlertState.OPEN

    def test_after_false_alarm_the_same_evidence_never_raises_again(self):
        call = Call()
        call.say("C", "バカ")
        act(call, Action.RESOLVE, outcome=Outcome.FALSE_ALARM)
        call.say("A", "はい、かしこまりました、お調べいたします")
        assert call.alert("abuse") is None
        call.say("C", "バカだなあ", gap=RULES.policy.cool_down_s)
        assert call.level("abuse") == "warning"
        raised = [event.alert.alert_id for event in call.events if event.type is AlertChange.RAISED]
        assert len(set(raised)) == 2

    def test_resolve_needs_an_outcome(self):
        call = Call()
        call.say("C", "バカ")
        assert act(call, Action.RESOLVE).refusal is Refusal.INVALID

    def test_at_the_end_notices_expire_and_warnings_stay(self):
        call = Call()
        call.say("C", "アホかも")
        call.give(AgentHelp(offset_ms=call.at_ms))
        call.give(CallEnded(offset_ms=call.at_ms))
        assert call.alert("abuse") is None
        assert call.level("distress") == "escalate"


def test_a_gap_marks_the_call():
    call = Call()
    call.give(Gap(first_seq=2, last_seq=3))
    assert call.session.status().monitoring == {"state": "incomplete", "reason": "gap"}


def test_a_silent_feed_counts_as_lost_and_comes_back():
    call = Call()
    call.say("C", "もしもし")
    call.give(TimerFired(offset_ms=call.at_ms + 90_000))
    assert call.session.status().monitoring["state"] == "lost"
    call.say("A", "お待たせいたしました", gap=1)
    assert call.session.status().monitoring["state"] == "ok"


def test_other_languages_are_never_scored():
    call = Call(language="fr")
    call.session.state.monitoring.unsupported = True
    call.say("C", "バカ")
    assert call.requests == []
    assert call.session.status().monitoring["state"] == "unsupported_language"


def test_the_same_sentence_on_both_channels_is_heard_once():
    call = Call()
    call.say("A", "本日はお電話ありがとうございます", seconds=2)
    call.say("C", "本日はお電話ありがとうございます", start_ms=2100, end_ms=4100)
    assert len(list(call.session.state.transcript.finals)) == 1


def test_what_is_graver_is_scored_first():
    call = Call(hold_scores=True, gate=lambda text, _language: "殺す" in text)
    call.say("A", "そのようなお言葉はお控えください")
    call.say("C", "荷物がまだ届きません", gap=5)
    call.give(
        Segment(segment_id="p", speaker=Speaker.CUSTOMER, text="殺す", start_ms=20_000, end_ms=21_000, is_final=False)
    )
    call.say("C", "殺すぞ", gap=20)
    by_text = {request.text: request.urgency for request in call.requests}
    assert by_text["殺すぞ"] > by_text["殺す"] > by_text["荷物がまだ届きません"]
    assert by_text["荷物がまだ届きません"] > by_text["そのようなお言葉はお控えください"]
    call.say("C", "バカ", gap=5)
    for request in call.requests:
        call.score(request)
    call.say("C", "それで荷物はどこですか", gap=5)
    assert call.level("abuse") != "none"
    assert by_text["殺す"] > call.requests[-1].urgency > by_text["荷物がまだ届きません"]

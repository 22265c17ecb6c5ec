"""Decision table of the policy: one sentence a case."""

from __future__ import annotations

from dataclasses import replace

from detector.alerts import Noted
from detector.events import Action, Outcome, Segment, SegmentRedacted, SupervisorAction, TimerFired
from detector.labels import Speaker
from detector.rules import default_rules, parse_rules
from detector.scoring import ScoreResult
from tests.detector.calls import Call

ROUND = "返金してくださいと言っているんです、その話です"
ANSWER = "規約により返金はいたしかねます、日割りの計算もございません"


def resolve(call: Call, kind: str = "abuse") -> None:
    alert = call.alert(kind)
    call.give(SupervisorAction(action=Action.RESOLVE, alert_id=alert.alert_id, by="s", outcome=Outcome.COMPLAINT))


class TestCoolDown:
    def test_the_same_level_waits_and_is_raised_by_the_timer(self):
        call = Call()
        call.say("C", "バカ")
        resolve(call)
        until_ms = call.at_ms + 30_000
        call.say("C", "バカだなあ", gap=5)
        assert call.level("abuse") == "none"
        assert [item.detail for item in call.outputs if isinstance(item, Noted)] == [{"kind": "abuse"}]
        assert call.session.next_timer_ms <= until_ms
        call.give(TimerFired(offset_ms=until_ms))
        assert call.level("abuse") == "warning"

    def test_a_higher_level_does_not_wait(self):
        call = Call()
        call.say("C", "バカ")
        resolve(call)
        call.say("C", "晒すぞ", gap=5)
        assert call.level("abuse") == "escalate"

    def test_distress_never_cools_down(self):
        call = Call()
        call.say("C", "もう消えたいんです")
        resolve(call, "distress")
        assert call.session.state.book.cooling == {}


class TestHysteresis:
    def grown(self, score: float) -> str:
        call = Call(hold_scores=True)
        call.say("C", "バカ", seconds=1)
        call.score(call.requests[0])
        call.say("C", "なんだよ", seconds=1, gap=0.2)
        name = call.requests[1].request_id
        call.give(ScoreResult(request_id=name, scores={"verbal_abuse": score}, labels=("verbal_abuse",)))
        incident = call.session.state.abuse.incidents[0]
        return "clear" if incident.clear else "unclear"

    def test_what_was_clear_stays_clear_just_below_the_score(self):
        assert self.grown(0.80) == "clear"

    def test_but_not_far_below(self):
        assert self.grown(0.75) == "unclear"


class TestDecay:
    def level(self, *gaps_s: float) -> str:
        call = Call()
        call.say("C", "アホかも")
        for gap_s in gaps_s:
            call.say("A", "はい、ご用件をお伺いいたします", gap=gap_s - 8)
            call.say("C", "アホかもな")
        return call.level("abuse")

    def test_two_unclear_utterances_soon_after_each_other_count_as_one_clear_case(self):
        assert self.level(120) == "warning"

    def test_they_fade_when_long_apart(self):
        assert self.level(400) == "notice"

    def test_but_a_third_adds_to_what_is_left(self):
        assert self.level(400, 280) == "warning"


class TestCombine:
    RULES = parse_rules('[[combine]]\nwhen = { repetition = "notice" }\nraises = "abuse"\nto = "critical"\n')

    def test_a_kind_is_lifted_by_another_and_the_reason_says_so(self):
        call = Call(rules=self.RULES)
        call.say("C", "バカ")
        for _ in range(2):
            call.say("C", ROUND, gap=4)
            call.say("A", ANSWER)
        assert call.level("abuse") == "critical"
        assert "because of repetition" in call.alert("abuse").reason

    def test_a_kind_that_found_nothing_is_not_lifted(self):
        call = Call(rules=self.RULES)
        for _ in range(2):
            call.say("C", ROUND, gap=4)
            call.say("A", ANSWER)
        assert call.level("repetition") == "notice"
        assert call.level("abuse") == "none"


def test_rounds_are_shown_side_by_side_with_the_answers_between_them():
    call = Call()
    for number in range(3):
        call.say("C", f"{ROUND}{number}", gap=4)
        call.say("A", ANSWER)
    shown = [(piece.round, piece.answer) for piece in call.alert("repetition").evidence]
    assert shown == [(3, ANSWER), (2, ANSWER), (1, "")]


def test_a_question_keeps_being_answered_until_the_operator_speaks_again():
    call = Call()
    call.say("C", ROUND)
    call.say("A", ANSWER)
    call.say("A", "恐れ入りますが、理由をお聞かせいただけますでしょうか")
    call.say("C", "はい", gap=4)
    call.say("C", ROUND, gap=4)
    assert call.session.state.repetition.rounds == 1


def test_a_new_agent_who_says_so_is_told_again_without_an_event():
    call = Call()
    call.say("C", ROUND)
    call.say("A", ANSWER)
    call.say("A", "お電話代わりました、責任者の西でございます")
    call.say("C", ROUND, gap=4)
    assert call.session.state.repetition.rounds == 1


def test_redaction_reaches_every_copy_and_retracts_nothing():
    call = Call()
    name = call.say("C", "バカ、返金しろと何度も言ってるだろ")
    call.say("A", ANSWER)
    call.give(SegmentRedacted(segment_id=name, text="＊＊、返金しろと何度も言ってるだろ"))
    call.say("C", "バカ、返金しろと何度も言ってるだろ、晒すぞ", gap=4)
    state = call.session.state
    assert state.book.current
    texts = [piece.text for alert in state.book.current.values() for piece in alert.evidence]
    assert not any(text.startswith("バカ、") and "晒す" not in text for text in texts)
    assert state.repetition.topics[0].kept[0].text.startswith("＊＊")


def test_a_life_is_not_shed_with_a_score():
    from detector.scoring import Unscored, UnscoredReason

    call = Call(hold_scores=True)
    call.say("C", "もう死にたいです")
    call.give(Unscored(request_id=call.requests[0].request_id, reason=UnscoredReason.SHED))
    assert call.level("distress") == "escalate"


def test_a_candidate_with_other_limits_decides_otherwise():
    eager = replace(default_rules(), repetition=replace(default_rules().repetition, warning=2))
    call = Call(rules=eager)
    for _ in range(2):
        call.say("C", ROUND, gap=4)
        call.say("A", ANSWER)
    assert call.level("repetition") == "warning"


def test_an_insult_alone_is_no_round():
    call = Call()
    for _ in range(4):
        call.say("C", "バカじゃないのか、返事をしろ返事を", gap=4)
        call.say("A", ANSWER)
    assert call.session.state.repetition.rounds == 0


def embedded(call: Call, words: str, vector: list[float]) -> None:
    """A complaint with an embedding of the test's choice."""
    import struct

    call.say("C", words, gap=4)
    norm = sum(value * value for value in vector) ** 0.5
    call.give(
        ScoreResult(
            request_id=call.requests[-1].request_id,
            scores={"complaint": 0.9},
            embedding=struct.pack(f"<{len(vector)}e", *(value / norm for value in vector)),
        )
    )


class TestTopicsThatTurnOutToBeOne:
    def call(self, *, answered: bool) -> Call:
        call = Call(hold_scores=True)
        embedded(call, "水道代が倍になっているのはおかしいです", [1, 0, 0])
        if answered:
            call.say("A", ANSWER)
        embedded(call, "二人暮らしでこんな金額は払えません", [0, 1, 0])
        call.say("A", ANSWER)
        return call

    def test_they_are_merged_and_what_was_no_raising_then_is_none_now(self):
        call = self.call(answered=True)
        assert [topic.raisings for topic in call.session.state.repetition.topics] == [1, 1]
        embedded(call, "請求の金額を訂正してもらえませんか", [1, 1, 0])
        topics = call.session.state.repetition.topics
        assert [topic.raisings for topic in topics] == [2]
        assert [kept.number for kept in topics[0].kept] == [1, 2]

    def test_two_in_one_breath_are_one(self):
        call = self.call(answered=False)
        assert [topic.raisings for topic in call.session.state.repetition.topics] == [1]
        embedded(call, "請求の金額を訂正してもらえませんか", [1, 1, 0])
        assert [topic.raisings for topic in call.session.state.repetition.topics] == [2]

    def test_another_matter_takes_more_likeness(self):
        call = Call(hold_scores=True)
        embedded(call, "水道代が倍になっているのはおかしいです", [1, 0, 0])
        call.say("A", ANSWER)
        embedded(call, "あともう一つ、検針の人の態度が悪かったんです", [0.65, 0.76, 0])
        assert [topic.raisings for topic in call.session.state.repetition.topics] == [1, 1]


def test_a_complaint_that_was_raised_again_is_not_forgotten_for_others():
    call = Call()
    for _ in range(3):
        call.say("C", ROUND, gap=4)
        call.say("A", ANSWER)
    level = call.level("repetition")
    for number in range(30):
        vector = [0.0] * 40
        vector[number + 1] = 1.0
        call.hold_scores = True
        embedded(call, f"{chr(0x4E00 + 97 * number)}{chr(0x5E00 + 89 * number)}の件が届いていないのはおかしい", vector)
        call.hold_scores = False
        call.say("A", "はい、その件は本日の午後に担当の者がお伺いする予定になっております")
    assert call.session.state.repetition.rounds >= 3
    assert call.level("repetition") == level == "warning"
    assert not call.session.state.book.closed


class TestSilenceAfterAbuse:
    def test_an_operator_whose_long_answer_comes_late_was_not_silent(self):
        call = Call()
        call.say("C", "バカ")
        start_ms = call.at_ms + 1_000
        call.give(TimerFired(offset_ms=call.at_ms + 12_000))
        assert call.level("distress") == "notice"
        call.say("A", "ご不便をおかけしております、ただいまの件ですが", start_ms=start_ms, end_ms=start_ms + 15_000)
        assert call.level("distress") == "none"

    def test_nobody_answers_while_the_caller_speaks(self):
        call = Call()
        call.say("C", "バカ")
        call.say("C", "だいたい昨日も同じことを言ったんですけどね", gap=2, seconds=20)
        assert call.level("distress") == "none"
        call.give(TimerFired(offset_ms=call.at_ms + 12_000))
        assert call.level("distress") == "notice"

    def test_an_operators_partial_is_no_silence(self):
        call = Call()
        call.say("C", "バカ")
        start_ms = call.at_ms + 1_000
        call.give(
            Segment(
                segment_id="p",
                speaker=Speaker.AGENT,
                text="お客様",
                start_ms=start_ms,
                end_ms=start_ms + 500,
                is_final=False,
            )
        )
        call.give(TimerFired(offset_ms=call.at_ms + 12_000))
        assert call.level("distress") == "none"


def test_a_limit_that_passes_while_somebody_speaks_is_raised_at_the_limit():
    call = Call()
    call.say("A", "はい、サポートでございます", start_ms=0, gap=0)
    for minute in range(1, 20):
        call.say("A", "はい、続けてお試しください", start_ms=minute * 60_000)
    call.say("C", "やってみますね", start_ms=20 * 60_000 - 5_000, end_ms=20 * 60_000 + 9_000)
    assert call.alert("overlong").raised_at_ms == 20 * 60_000

"""What a recogniser does to talk: echoes, two voices in one segment, cuts and merges."""

from __future__ import annotations

import pytest

from detector.alerts import AlertChange
from detector.events import Segment
from detector.labels import Speaker
from detector.speakers import SpeakerWatch
from detector.transcript import MAX_UNIT_CHARS, Transcript
from tests.detector.calls import Call


def final(name: str, speaker: Speaker, text: str, start_ms: int, end_ms: int) -> Segment:
    return Segment(segment_id=name, speaker=speaker, text=text, start_ms=start_ms, end_ms=end_ms)


def heard(*segments: Segment, language: str = "ja") -> list[tuple[str, str]]:
    """(speaker, text) of the utterances that count, after all segments."""
    transcript, units = Transcript(language=language), {}
    for segment in segments:
        for unit in transcript.add_final(segment):
            units[unit.unit_id] = unit
        for name in transcript.withdrawn:
            units.pop(name, None)
    return [(unit.speaker.value, unit.text) for unit in units.values()]


C, A, U = Speaker.CUSTOMER, Speaker.AGENT, Speaker.UNKNOWN


class TestEcho:
    def test_the_channel_that_heard_it_first_is_the_speakers_whichever_comes_first(self):
        own = final("own", C, "もう三回も電話してるんですよ", 1_000, 3_000)
        echo = final("echo", A, "もう三回も電話してるんですよ", 1_300, 3_300)
        assert heard(own, echo) == heard(echo, own) == [("customer", own.text)]

    def test_two_recognitions_of_one_sound_need_not_agree_to_the_letter(self):
        own = final("own", C, "もう三回も電話してるんですよ", 1_000, 3_000)
        echo = final("echo", A, "もう三階も電話してるですよ", 1_200, 3_200)
        assert heard(own, echo) == [("customer", own.text)]

    def test_an_operator_who_repeats_it_back_is_no_echo(self):
        said = final("said", C, "ご注文は青い方のシャツです", 1_000, 3_000)
        back = final("back", A, "ご注文は青い方のシャツですね", 3_400, 5_000)
        assert len(heard(said, back)) == 2

    def test_abuse_that_was_an_echo_of_the_operator_is_taken_back(self):
        call = Call()
        call.say("C", "バカとおっしゃいましたか", start_ms=1_400, end_ms=3_000)
        assert call.level("abuse") == "warning"
        call.say("A", "バカとおっしゃいましたか", start_ms=1_000, end_ms=2_600)
        assert call.events[-1].type is AlertChange.RETRACTED
        assert call.events[-1].alert.reason == "echo"

    def test_abuse_whose_echo_came_first_on_the_operators_channel_is_heard(self):
        call = Call()
        call.say("A", "お前はバカなのか返事しろ", start_ms=1_300, end_ms=3_000)
        call.say("C", "お前はバカなのか返事しろ", start_ms=1_000, end_ms=2_700)
        assert call.level("abuse") == "warning"


class TestTwoVoices:
    def test_an_operators_sentence_in_a_customers_segment_is_the_operators(self):
        text = "お電話ありがとうございます。荷物が届かないんですけど"
        assert heard(final("s", C, text, 0, 5_000)) == [
            ("agent", "お電話ありがとうございます。"),
            ("customer", "荷物が届かないんですけど"),
        ]

    def test_spans_still_point_into_the_segment(self):
        call = Call()
        text = "申し訳ございません。お前バカだろ"
        call.say("C", text)
        span = call.alert("abuse").evidence[0].spans[0]
        assert text[span.start : span.end] == "バカ"

    def test_a_customer_who_apologises_is_not_made_an_operator(self):
        assert heard(final("s", C, "申し訳ございません", 0, 1_000)) == [("customer", "申し訳ございません")]

    def test_where_nobody_says_who_speaks_the_operators_words_answer(self):
        assert heard(final("s", U, "少々お待ちください", 0, 1_000)) == [("agent", "少々お待ちください")]

    def test_english(self):
        text = "Thank you for calling. My parcel never came, where is it?"
        assert [speaker for speaker, _ in heard(final("s", C, text, 0, 4_000), language="en")] == ["agent", "customer"]


class TestCuts:
    def test_a_sentence_cut_in_two_is_one_utterance(self):
        units = heard(final("a", C, "先週頼んだ", 0, 900), final("b", C, "荷物が届かない", 1_200, 2_500))
        assert units == [("customer", "先週頼んだ荷物が届かない")]

    def test_an_operators_backchannel_does_not_part_it(self):
        units = heard(
            final("a", C, "先週頼んだ", 0, 900),
            final("b", A, "はい", 950, 1_100),
            final("c", C, "荷物が", 1_200, 2_500),
        )
        assert ("customer", "先週頼んだ荷物が") in units

    def test_a_merged_monologue_is_split_and_nothing_is_lost(self):
        text = "荷物が届かないんです。" * 30
        parts = [words for _, words in heard(final("a", C, text, 0, 60_000))]
        assert "".join(parts) == text
        assert max(map(len, parts)) <= MAX_UNIT_CHARS["ja"]


class TestSpeakerWatch:
    @pytest.mark.parametrize(
        ("talk", "turned"),
        [
            ([(C, "お電話ありがとうございます、佐藤でございます"), (A, "荷物が届かないんですけど")], True),
            ([(A, "お電話ありがとうございます、佐藤でございます"), (C, "荷物が届かないんですけど")], False),
            (
                [(C, "お電話ありがとうございます"), (A, "はい、お電話ありがとうございます"), (A, "届かないんです")],
                False,
            ),
            ([(C, "届かないんですけど"), (C, "お客様番号って何ですか"), (A, "なんでもございません")], False),
        ],
        ids=["swapped", "right", "both greet", "a caller on his side"],
    )
    def test_it_takes_both_sides(self, talk, turned):
        watch = SpeakerWatch()
        found = [watch.hear(text, "ja", speaker) for speaker, text in talk]
        assert any(found) is turned

    def test_manner_alone_convicts_when_the_other_side_has_none(self):
        watch = SpeakerWatch()
        talk = [
            (C, "確認いたします"),
            (A, "早くしてよ"),
            (C, "お調べしております"),
            (A, "うん"),
            (C, "明日の便でございます"),
        ]
        assert [watch.hear(text, "ja", speaker) for speaker, text in talk][-1]

    def test_english_swap_by_greeting_and_complaint(self):
        watch = SpeakerWatch()
        assert not watch.hear("Thank you for calling, this is Mia", "en", C)
        assert watch.hear("where's my parcel, it never arrived", "en", A)
        assert watch.turned == "detected"

    def test_the_status_says_so(self):
        call = Call()
        call.say("C", "お電話ありがとうございます、佐藤でございます")
        assert call.session.status().speakers == "as_labelled"
        call.say("A", "バカじゃないのか、荷物が届かないんだけど、どうなってるんだ")
        assert call.session.status().speakers == "detected"
        assert call.level("abuse") == "warning"

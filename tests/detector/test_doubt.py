import pytest

from detector.doubt import doubt_of
from detector.scoring import ScoreResult, Span
from tests.detector.calls import Call


def doubt(text: str, language: str, *, words: str = "", labels: tuple[str, ...] = ("verbal_abuse",)) -> str:
    at = text.find(words)
    spans = (Span(start=at, end=at + len(words), label=labels[0], score=0.9),) if words else ()
    return doubt_of(text, language, labels, spans)


@pytest.mark.parametrize(
    ("text", "language", "words", "expected"),
    [
        ("店長に「お前はクズだ」って怒鳴られて", "ja", "お前はクズだ", "reported"),
        ("「お前はクズだ」って動画にして晒すからな", "ja", "晒す", ""),
        ("「クズ」と言われたけど、お前こそクズだろ", "ja", "クズだろ", ""),
        ("私がバカでした、番号を読み違えました", "ja", "バカ", "of_oneself"),
        ("こんなことも分からないのかバカ", "ja", "バカ", ""),
        ('he said "I\'ll remember your face" and got off', "en", "remember your face", "reported"),
        ("he said it's fine, but you are an idiot", "en", "idiot", ""),
        ("I'm such an idiot, I ordered twelve", "en", "idiot", "of_oneself"),
        ("what kind of idiot works there", "en", "idiot", ""),
    ],
)
def test_words_aimed_at_nobody_on_the_line(text, language, words, expected):
    assert doubt(text, language, words=words) == expected


def test_what_one_says_of_oneself_excuses_insults_alone():
    assert doubt("私がバカでした", "ja", labels=("verbal_abuse", "threat")) == ""


class TestOnACall:
    def say(self, call: Call, text: str, score: float, label: str = "verbal_abuse") -> None:
        call.say("C", text, gap=4)
        labels = (label,) if score >= 0.6 else ()
        call.give(ScoreResult(request_id=call.requests[-1].request_id, scores={label: score}, labels=labels))

    def test_doubtful_words_are_a_notice_however_often_they_come(self):
        call = Call(hold_scores=True)
        for _ in range(4):
            self.say(call, "私がバカでした、読み違えました", 0.98)
        assert call.level("abuse") == "notice"
        assert "about the speaker" in call.alert("abuse").reason

    def test_an_operators_caution_settles_what_was_unclear(self):
        call = Call(hold_scores=True)
        self.say(call, "お姉さんの声そそるねえ", 0.5, "sexual")
        assert call.level("abuse") == "none"
        call.say("A", "そのようなご発言はお控えください")
        call.score(call.requests[-1])
        assert call.level("abuse") == "warning"
        assert "cautioned" in call.alert("abuse").reason

    def test_but_not_what_was_said_long_before(self):
        call = Call(hold_scores=True)
        self.say(call, "お姉さんの声そそるねえ", 0.5, "sexual")
        call.say("A", "そのようなご発言はお控えください", gap=200)
        call.score(call.requests[-1])
        assert call.level("abuse") == "none"

    def test_faint_utterances_add_up(self):
        call = Call(hold_scores=True)
        self.say(call, "あなたでは話にならない", 0.5)
        assert call.level("abuse") == "none"
        self.say(call, "その程度の仕事しかできないのか", 0.55)
        assert call.level("abuse") == "warning"

    def test_a_threat_is_clear_at_a_lower_score_than_an_insult(self):
        insulted, threatened = Call(hold_scores=True), Call(hold_scores=True)
        self.say(insulted, "使えない人だ", 0.78)
        self.say(threatened, "ただで済むと思うな", 0.78, "threat")
        assert insulted.level("abuse") == "notice"
        assert threatened.level("abuse") == "escalate"

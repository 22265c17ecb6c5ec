from __future__ import annotations

from collections.abc import Sequence

import pytest

from detector.labels import OUTPUTS, Speaker
from detector.rules import default_rules
from detector.scoring import ScoreRequest, ScoreResult, Span
from models.supported_scorer import DISMISSED, SupportedScorer


class Silent:
    """A classifier that finds nothing, for certain or nearly so."""

    model_version = "silent"

    def __init__(self, read: float = 0.01) -> None:
        self._read = read

    def prepare(self, request: ScoreRequest) -> tuple[ScoreRequest, int]:
        return request, 16

    def run(self, prepared: Sequence[ScoreRequest]) -> list[ScoreResult]:
        return [ScoreResult(request_id=item.request_id, scores=dict.fromkeys(OUTPUTS, self._read)) for item in prepared]


def score(text: str, read: float = 0.01, **fields: object) -> ScoreResult:
    request = ScoreRequest(request_id="r", text=text, **{"language": "ja", **fields})
    return SupportedScorer(Silent(read)).score([request])[0]


def test_words_that_leave_no_doubt_are_found() -> None:
    result = score("お前を殺すぞ", read=DISMISSED)
    assert "threat" in result.labels
    assert result.scores["threat"] >= 0.8
    assert [text for span in result.spans if (text := "お前を殺すぞ"[span.start : span.end])]
    assert result.model_version == "silent+lex2"


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("ぼてくりこかすぞ", "ja"),
        ("いてもうたろか", "ja"),
        ("生きて帰れると思うなよ", "ja"),
        ("I'll put you in hospital mate", "en"),
        ("we will knock your head off", "en"),
    ],
)
def test_beatings_are_announced_in_many_ways(text: str, language: str) -> None:
    assert score(text, read=DISMISSED, language=language).scores["threat"] >= 0.8


def test_what_the_classifier_dismissed_is_shown_and_no_alarm_by_itself() -> None:
    text = "弟が持ち逃げしたんですよ、殺してやりたいですよ、正直"
    result = score(text)
    assert "threat" in result.labels
    rules = default_rules().abuse
    assert rules.unclear_score <= result.scores["threat"] < rules.clear_score - rules.grave_margin
    assert score("もう死にたいです").scores["self_harm"] >= default_rules().distress.self_harm_score


def test_an_insult_that_the_classifier_dismissed_is_none() -> None:
    text = "役立たずのくせに無能が、死ね"
    assert score(text).labels == ()
    assert "verbal_abuse" in score(text, read=DISMISSED).labels


def test_a_quote_and_an_operator_are_not_lifted() -> None:
    assert score("電車で「殺すぞ」と言われたんです").labels == ()
    assert score("殺してやろうかと思った、旦那を").labels == ()
    assert score("お茶しばくで、駅前で").labels == ()
    assert score("殺すぞって怒鳴られたんです").labels == ()
    assert score('a man yelled "I will kill you" at me', language="en").labels == ()
    assert score("お前を殺すぞ", speaker=Speaker.AGENT).labels == ()


def test_what_the_classifier_found_stays() -> None:
    class Sure(Silent):
        def run(self, prepared: Sequence[ScoreRequest]) -> list[ScoreResult]:
            span = Span(start=0, end=1, label="threat", score=0.99)
            return [
                ScoreResult(request_id="r", scores={"threat": 0.99}, labels=("threat",), spans=(span,))
                for _ in prepared
            ]

    result = SupportedScorer(Sure()).score([ScoreRequest(request_id="r", text="お前を殺すぞ", language="ja")])[0]
    assert result.scores["threat"] == 0.99
    assert len(result.spans) == 1

from __future__ import annotations

from collections.abc import Sequence

from detector.labels import OUTPUTS, Speaker
from detector.scoring import ScoreRequest, ScoreResult, Span
from models.supported_scorer import SupportedScorer


class Silent:
    """A classifier that finds nothing."""

    model_version = "silent"

    def prepare(self, request: ScoreRequest) -> tuple[ScoreRequest, int]:
        return request, 16

    def run(self, prepared: Sequence[ScoreRequest]) -> list[ScoreResult]:
        return [ScoreResult(request_id=item.request_id, scores=dict.fromkeys(OUTPUTS, 0.01)) for item in prepared]


def score(text: str, **fields: object) -> ScoreResult:
    request = ScoreRequest(request_id="r", text=text, **{"language": "ja", **fields})
    return SupportedScorer(Silent()).score([request])[0]


def test_words_that_leave_no_doubt_are_found() -> None:
    result = score("お前を殺すぞ")
    assert "threat" in result.labels
    assert result.scores["threat"] >= 0.8
    assert [text for span in result.spans if (text := "お前を殺すぞ"[span.start : span.end])]
    assert result.model_version == "silent+lex1"


def test_a_quote_and_an_operator_are_not_lifted() -> None:
    assert score("電車で「殺すぞ」と言われたんです").labels == ()
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

"""Two readings: the second one only where what was said before could change what follows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from detector.labels import Speaker
from detector.scoring import ScoreRequest, ScoreResult, Turn
from models.cascade import COMPLAINT_FROM, GRAVE_FROM, STEP_FROM, CascadeScorer

CONTEXT = (Turn(speaker=Speaker.AGENT, text="はい"),)


class Reader:
    """Scores what the text says, more gravely in context; remembers how much was read."""

    def __init__(self, model_version: str = "m") -> None:
        self.model_version = model_version
        self.read: list[tuple[str, bool]] = []

    def prepare(self, request: ScoreRequest) -> tuple[Any, int]:
        return request, 8 + 8 * len(request.context)

    def run(self, prepared: Sequence[Any]) -> list[ScoreResult]:
        assert len({len(item.context) for item in prepared}) == 1, "inputs of one padded length"
        self.read += [(item.request_id, bool(item.context)) for item in prepared]
        return [self._result(item) for item in prepared]

    def _result(self, request: ScoreRequest) -> ScoreResult:
        label, score = request.text.split("=")
        scores = {label: 0.9 if request.context else float(score)}
        return ScoreResult(request_id=request.request_id, scores=scores, model_version=self.model_version)


def ask(
    text: str, name: str = "r", context: tuple[Turn, ...] = CONTEXT, speaker: Speaker = Speaker.CUSTOMER
) -> ScoreRequest:
    return ScoreRequest(request_id=name, text=text, language="ja", context=context, speaker=speaker)


@pytest.mark.parametrize(
    ("text", "again"),
    [
        (f"threat={GRAVE_FROM}", True),
        ("threat=0.07", False),
        ("self_harm=0.2", True),
        (f"complaint={COMPLAINT_FROM}", True),
        ("complaint=0.19", False),
    ],
)
def test_read_again_where_it_matters(text: str, again: bool) -> None:
    reader = Reader()
    result = CascadeScorer(reader).score([ask(text)])[0]
    assert reader.read == [("r", False), *([("r", True)] if again else [])]
    assert (0.9 in result.scores.values()) is again
    assert result.model_version == "m+two1"


def test_without_context_there_is_one_reading() -> None:
    reader = Reader()
    CascadeScorer(reader).score([ask("threat=0.9", context=())])
    assert reader.read == [("r", False)]


def test_answers_keep_their_order_in_a_batch() -> None:
    cascade = CascadeScorer(Reader())
    requests = [
        ask("threat=0.5", "a"),
        ask("threat=0.01", "b"),
        ask("complaint=0.3", "c", CONTEXT * 2),
        ask("threat=0.6", "d"),
    ]
    prepared = [cascade.prepare(request) for request in requests]
    assert {length for _, length in prepared} == {8}
    together = cascade.run([item for item, _ in prepared])
    assert together == [cascade.score([request])[0] for request in requests]
    assert [result.request_id for result in together] == ["a", "b", "c", "d"]


@pytest.mark.parametrize(
    ("text", "speaker", "context", "deep"),
    [
        ("threat=0.01", Speaker.CUSTOMER, CONTEXT, []),
        (f"threat={GRAVE_FROM}", Speaker.CUSTOMER, CONTEXT, [("r", True)]),
        (f"threat={GRAVE_FROM}", Speaker.CUSTOMER, (), [("r", False)]),
        (f"complaint={COMPLAINT_FROM}", Speaker.CUSTOMER, CONTEXT, [("r", True)]),
        ("caution=0.09", Speaker.AGENT, (), []),
        (f"caution={STEP_FROM}", Speaker.AGENT, (), [("r", False)]),
        ("apology=0.5", Speaker.AGENT, (), []),
    ],
)
def test_a_shallow_reader_asks_the_deep_one_where_it_is_unsure(
    text: str, speaker: Speaker, context: tuple[Turn, ...], deep: list[tuple[str, bool]]
) -> None:
    shallow, reader = Reader("mamori-shallow"), Reader("mamori-deep")
    result = CascadeScorer(reader, shallow).score([ask(text, context=context, speaker=speaker)])[0]
    assert shallow.read == [("r", False)]
    assert reader.read == deep
    assert result.model_version == "mamori-deep+shallow"


def test_an_operator_is_not_read_twice_by_one_model() -> None:
    reader = Reader()
    CascadeScorer(reader).score([ask(f"caution={STEP_FROM}", speaker=Speaker.AGENT)])
    assert reader.read == [("r", False)]

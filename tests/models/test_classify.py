from typing import Any

import pytest

from models.classify import MAX_CHARACTERS, classify
from models.lexicon_scorer import LexiconScorer


def answers(*items: Any) -> list[dict[str, Any]]:
    return [answer.record() for answer in classify(items, LexiconScorer())]


def test_answers_in_order_with_labels_and_spans() -> None:
    first, second = answers(
        {"id": "a", "text": "お前は無能だ", "language": "ja", "context": ["agent: はい"]},
        {"id": 7, "text": "you useless idiot", "language": "en"},
    )
    assert first["id"] == "a"
    assert first["labels"] == ["verbal_abuse"]
    assert list(first["scores"])[-1] == "complaint"
    assert len(first["scores"]) == 9
    assert second["id"] == 7
    assert second["spans"][0]["label"] == "verbal_abuse"


@pytest.mark.parametrize(
    ("item", "code", "field"),
    [
        ("text", "bad_item", ""),
        ({"id": 1}, "bad_item", "text"),
        ({"text": 5}, "bad_item", "text"),
        ({"text": ""}, "empty_text", "text"),
        ({"text": " \u3000\n"}, "empty_text", "text"),
        ({"text": "x" * (MAX_CHARACTERS + 1)}, "too_long", "text"),
        ({"text": "bonjour", "language": "fr"}, "unsupported_language", "language"),
        ({"text": "hi", "language": 3}, "bad_item", "language"),
        ({"text": "hi", "speaker": "robot"}, "bad_item", "speaker"),
        ({"text": "hi", "speaker": ["customer"]}, "bad_item", "speaker"),
        ({"text": "hi", "context": "agent: x"}, "bad_item", "context"),
        ({"text": "hi", "context": [3]}, "bad_item", "context"),
        ({"text": "\ud800"}, "bad_item", "text"),
    ],
)
def test_a_bad_item_has_an_error_of_its_own(item: Any, code: str, field: str) -> None:
    bad, good = answers(item, {"id": "ok", "text": "hello"})
    assert bad["error"]["code"] == code
    assert bad["error"]["field"] == field
    assert good["id"] == "ok"
    assert "scores" in good


@pytest.mark.parametrize(
    "text",
    ["😡😡😡", "ﾊﾞｶﾔﾛｳ", "\u200bhello\u200b", "a\x00b", "مرحبا", "混ぜたtextです", "あ" * 10_000, "㍻", "👨‍👩‍👧"],
)
def test_odd_texts_are_answered(text: str) -> None:
    assert "scores" in answers({"text": text})[0]


def test_the_language_is_guessed_and_tags_are_understood() -> None:
    assert answers({"text": "お前は無能だ"})[0]["labels"] == ["verbal_abuse"]
    assert answers({"text": "お前は無能だ", "language": "ja-JP"})[0]["labels"] == ["verbal_abuse"]


def test_an_agent_is_answered_with_cues() -> None:
    record = answers({"text": "大変申し訳ございません", "speaker": "agent"})[0]
    assert record["labels"] == ["apology"]


def test_many_items_stay_in_order() -> None:
    records = answers(*[{"id": number, "text": f"call {number}"} for number in range(200)])
    assert [record["id"] for record in records] == list(range(200))

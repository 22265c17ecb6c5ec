import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.labels import Speaker
from detector.scoring import Turn
from models.normalise import PLACEHOLDERS
from models.tokenisation import BUCKETS, MAX_TOKENS, WINDOW, InputTokeniser, bucket, reads_alone

AGENT = Turn(speaker=Speaker.AGENT, text="電話です")
CUSTOMER = Turn(speaker=Speaker.CUSTOMER, text="返金です")


def test_offsets_are_those_of_the_original(tokeniser: InputTokeniser) -> None:
    text = "😡ﾊﾞｶ、㍻\u200b無能!!!"
    found = tokeniser.encode(text)[0]
    pieces = [text[start:end] for start, end in found.offsets]
    assert "ﾊﾞｶ" in pieces or {"ﾊﾞ", "ｶ"} <= set(pieces)
    assert "無能" in pieces
    assert len(found.offsets) == found.utterance_end - 2


def test_the_utterance_comes_first_and_the_newest_turn_follows(tokeniser: InputTokeniser) -> None:
    found = tokeniser.encode("出せ", context=[AGENT, CUSTOMER])[0]
    alone = tokeniser.encode("出せ")[0]
    assert found.ids[: alone.utterance_end] == alone.ids
    newest_only = tokeniser.encode("出せ", context=[CUSTOMER])[0]
    assert found.ids[: len(newest_only.ids)] == newest_only.ids


def test_only_the_last_four_turns_are_read(tokeniser: InputTokeniser) -> None:
    four = [AGENT] * 4
    assert tokeniser.encode("出せ", context=[CUSTOMER, *four]) == tokeniser.encode("出せ", context=four)


def test_an_agent_and_a_backchannel_are_read_without_context(tokeniser: InputTokeniser) -> None:
    assert tokeniser.encode("電話", speaker=Speaker.AGENT, context=[CUSTOMER]) == tokeniser.encode(
        "電話", speaker=Speaker.AGENT
    )
    assert tokeniser.encode("はい。", context=[AGENT]) == tokeniser.encode("はい。")
    assert tokeniser.encode("電話", speaker=Speaker.AGENT)[0].ids[0] != tokeniser.encode("電話")[0].ids[0]


def test_placeholders_are_one_token(tokeniser: InputTokeniser) -> None:
    for placeholder in PLACEHOLDERS:
        plain = len(tokeniser.encode("電話")[0].ids)
        assert len(tokeniser.encode(f"電話{placeholder}")[0].ids) == plain + 1


def test_a_long_utterance_is_read_in_windows_that_overlap(tokeniser: InputTokeniser) -> None:
    text = "".join(chr(0x3042 + number % 60) for number in range(200))
    windows = tokeniser.encode(text, context=[AGENT])
    assert len(windows) > 1
    assert all(len(window.ids) == MAX_TOKENS for window in windows)
    covered = {place for window in windows for start, end in window.offsets for place in range(start, end)}
    assert covered == set(range(len(text)))
    assert windows[0].offsets[-1][1] > windows[1].offsets[0][0]


def test_ten_thousand_characters_are_bounded(tokeniser: InputTokeniser) -> None:
    windows = tokeniser.encode("無能だ。" * 2500)
    assert len(windows) <= 256


@pytest.mark.parametrize("text", ["", " ", "\u200b", "😡", "ﾞ", "\x00", "مرحبا", "🇯🇵" * 3])
def test_anything_can_be_encoded(tokeniser: InputTokeniser, text: str) -> None:
    found = tokeniser.encode(text)[0]
    assert found.padded_length in BUCKETS
    assert found.utterance_end >= 2


@given(text=st.text(max_size=80), context=st.lists(st.text(max_size=30), max_size=5))
def test_lengths_and_places_are_sound(tokeniser: InputTokeniser, text: str, context: list[str]) -> None:
    turns = [Turn(speaker=Speaker.AGENT, text=line) for line in context]
    for found in tokeniser.encode(text, context=turns):
        assert len(found.ids) <= found.padded_length <= MAX_TOKENS
        assert found.utterance_end - 2 <= WINDOW
        assert all(0 <= start <= end <= len(text) for start, end in found.offsets)


@pytest.mark.parametrize(
    ("text", "speaker", "alone"),
    [
        ("はい。", Speaker.CUSTOMER, True),
        ("Thank you!", Speaker.CUSTOMER, True),
        ("はい、荷物がまだ届かないので困っています", Speaker.CUSTOMER, False),
        ("荷物がまだ届かないので困っています", Speaker.AGENT, True),
    ],
)
def test_what_is_read_alone_gives_one_input_in_any_context(text: str, speaker: Speaker, alone: bool) -> None:
    assert reads_alone(text, speaker) is alone


def test_buckets() -> None:
    assert [bucket(length) for length in (1, 8, 9, 16, 17, 33, 48)] == [8, 8, 12, 16, 20, 40, 48]

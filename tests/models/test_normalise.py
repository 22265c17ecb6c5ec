import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.normalise import normalise


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("ﾊﾞｶﾔﾛｳ", "バカヤロウ"),
        ("㍻12年", "平成12年"),
        ("𠮟る", "叱る"),
        ("Ｆｕｃｋ　ｙｏｕ", "fuck you"),
        ("バ\u200bカ\u200d", "バカ"),
        ("a\x00b\r\n\tc", "a b c"),
        ("うるせええええ", "うるせええ"),
        ("すごーーーい!!!", "すごーい!"),
        ("f*****", "f***"),
        ("1000000円", "1000000円"),
        ("☎\ufe0fです", "☎です"),
        ("か\u3099", "が"),
        ("\u3164", ""),
        ("   ", ""),
        ("", ""),
    ],
)
def test_normal_form(text: str, normal: str) -> None:
    assert normalise(text).text == normal


@pytest.mark.parametrize(
    ("text", "words", "original"),
    [
        ("😡😡ﾊﾞｶだ", "バカ", "ﾊﾞｶ"),
        ("𠮟る㍻の人", "平成", "㍻"),
        ("バ\u200bカだ", "バカ", "バ\u200bカ"),
        ("お前はああああバカ", "バカ", "バカ"),
        ("  You IDIOT  ", "idiot", "IDIOT"),
        ("がｶﾞｯ", "ガッ", "ｶﾞｯ"),
    ],
)
def test_offsets_point_into_the_original(text: str, words: str, original: str) -> None:
    normal = normalise(text)
    start = normal.text.index(words)
    begin, end = normal.original(start, start + len(words))
    assert text[begin:end] == original


@given(st.text(max_size=60))
def test_every_character_has_a_place_and_places_rise(text: str) -> None:
    normal = normalise(text)
    places = [normal.original(place, place + 1) for place in range(len(normal.text))]
    assert all(0 <= start < end <= len(text) for start, end in places)
    assert all(before[0] <= after[0] for before, after in itertools.pairwise(places))
    assert "  " not in normal.text
    assert normal.text == normal.text.strip(" ")


@given(st.text(alphabet="abc ABCあいうアイウー!*1ｱﾞ", max_size=30))
def test_the_normal_form_is_its_own_normal_form(text: str) -> None:
    once = normalise(text).text
    assert normalise(once).text == once

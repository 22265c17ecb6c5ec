"""Finds digits in what was said, written or spoken, and says what number they are.

Knows tokens and check digits, nothing of calls. Written digits of any width, Japanese numerals and readings, English
number words ("double five", "forty one" as people read cards aloud) are all digits here.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from typing import Final

import phonenumbers

CARD: Final = "〈カード番号〉"
PHONE: Final = "〈電話番号〉"
MY_NUMBER: Final = "〈マイナンバー〉"
MASK: Final = "＊"
"""Stands for one masked character where a text must keep its length; counts as a digit when a run goes on."""

MIN_DIGITS: Final = 7
MAX_DIGITS: Final = 23
"""Runs shorter than this are no number that we know, longer ones are looked at in parts."""
_SEPARATORS: Final = r"[\s\-‐−–ー.,、の()（）・]{0,2}"

_JAPANESE: Final = {
    "ゼロ": "0", "ぜろ": "0", "レイ": "0", "れい": "0", "まる": "0", "マル": "0", "〇": "0", "零": "0",
    "一": "1", "いち": "1", "イチ": "1", "二": "2", "ニ": "2", "に": "2", "三": "3", "さん": "3", "サン": "3",
    "四": "4", "よん": "4", "ヨン": "4", "五": "5", "ご": "5", "ゴ": "5", "六": "6", "ろく": "6", "ロク": "6",
    "七": "7", "なな": "7", "ナナ": "7", "しち": "7", "シチ": "7", "八": "8", "はち": "8", "ハチ": "8",
    "九": "9", "きゅう": "9", "キュウ": "9", "キュー": "9", "きゅー": "9",
}  # fmt: skip
_UNITS: Final = {
    "zero": "0", "oh": "0", "nought": "0", "o": "0", "one": "1", "two": "2", "three": "3", "four": "4", "five": "5",
    "six": "6", "seven": "7", "eight": "8", "nine": "9",
}  # fmt: skip
_TEENS: Final = {
    "ten": "10", "eleven": "11", "twelve": "12", "thirteen": "13", "fourteen": "14", "fifteen": "15", "sixteen": "16",
    "seventeen": "17", "eighteen": "18", "nineteen": "19",
}  # fmt: skip
_TENS: Final = {
    "twenty": "2", "thirty": "3", "forty": "4", "fifty": "5", "sixty": "6", "seventy": "7", "eighty": "8", "ninety": "9"
}  # fmt: skip


def _any(words: dict[str, str]) -> str:
    return "|".join(sorted(map(re.escape, words), key=len, reverse=True))


_UNIT: Final = f"(?:{_any(_UNITS)})"
_TOKENS: Final = {
    "ja": re.compile(rf"[\d{MASK}]|{_any(_JAPANESE)}"),
    "en": re.compile(
        rf"[\d{MASK}]|\b(?:(?:double|triple)\s+(?:{_UNIT}\b|\d)|(?:{_any(_TENS)})(?:[\s-]{_UNIT})?\b|(?:{_any(_TEENS)})\b|{_UNIT}\b)",
        re.IGNORECASE,
    ),
}
_GAP: Final = re.compile(_SEPARATORS)
_SOME_DIGITS: Final = {
    "ja": re.compile(rf"[{MASK}〇零一二三四五六七八九]|(?:{_any(_JAPANESE)}){_SEPARATORS}(?:{_any(_JAPANESE)})"),
    "en": re.compile(rf"{MASK}|\b(?:{_any(_TEENS | _TENS | _UNITS)}|double|triple)\b", re.IGNORECASE),
}
"""Beside figures. Most talk has no digits: then nothing else needs to be looked for. One word alone (「に」) is no digit."""


@dataclass(frozen=True, slots=True)
class Token:
    """A stretch of a text that stands for digits, in code points."""

    start: int
    end: int
    digits: str


def fold_digits(text: str) -> str:
    """The text with digits of every width and script as ASCII digits; its length stays."""
    if text.isascii() or not any(map(str.isdigit, text)):
        return text
    return "".join(_ascii(char) for char in text)


def _ascii(char: str) -> str:
    if char.isascii() or char == "〇" or not char.isdigit():
        return char
    value = unicodedata.digit(char, None)
    return str(value) if value is not None else char


def has_digits(text: str, language: str) -> bool:
    """Whether a text may hold digits that were read out: a figure, a numeral, or words for digits in a row."""
    return any(map(str.isdigit, text)) or _SOME_DIGITS["ja" if language == "ja" else "en"].search(text) is not None


def runs_of(text: str, language: str) -> list[list[Token]]:
    """The digits of a text in runs: tokens with no more than two separators between them, in order."""
    folded = fold_digits(text)
    runs: list[list[Token]] = []
    for match in _TOKENS["ja" if language == "ja" else "en"].finditer(folded):
        token = Token(match.start(), match.end(), _value(match[0]))
        if runs and _GAP.fullmatch(folded, runs[-1][-1].end, token.start):
            runs[-1].append(token)
        else:
            runs.append([token])
    return runs


def _value(word: str) -> str:
    if word.isascii() and word.isdigit():
        return word
    if word == MASK:
        return MASK
    known = _JAPANESE.get(word)
    if known is not None:
        return known
    parts = re.split(r"[\s-]+", word.lower())
    if parts[0] in ("double", "triple"):
        return _UNITS.get(parts[1], parts[1]) * (2 if parts[0] == "double" else 3)
    if parts[0] in _TENS:
        return _TENS[parts[0]] + (_UNITS[parts[1]] if len(parts) > 1 else "0")
    return _TEENS.get(parts[0]) or _UNITS[parts[0]]


def is_card(digits: str) -> bool:
    """Whether 13 to 19 digits pass the check of ISO/IEC 7812-1 (Luhn)."""
    if not 13 <= len(digits) <= 19 or len(set(digits)) == 1:
        return False
    total = 0
    for index, char in enumerate(reversed(digits)):
        value = int(char) * (2 if index % 2 else 1)
        total += value - 9 if value > 9 else value
    return total % 10 == 0


def is_my_number(digits: str) -> bool:
    """Whether 12 digits pass the check digit of the Japanese individual number (ordinance of 2014, Art. 5)."""
    if len(digits) != 12 or len(set(digits)) == 1:
        return False
    body = [int(char) for char in reversed(digits[:11])]
    total = sum(value * (n + 1 if n <= 6 else n - 5) for n, value in enumerate(body, 1))
    rest = total % 11
    return int(digits[11]) == (0 if rest <= 1 else 11 - rest)


def is_phone(digits: str, region: str) -> bool:
    """Whether the digits are a valid number of the region, or an international one without its plus."""
    for text, home in ((digits, region), (f"+{digits}", None)):
        try:
            number = phonenumbers.parse(text, home)
        except phonenumbers.NumberParseException:
            continue
        if phonenumbers.is_valid_number(number):
            return True
    return False


def mask_numbers(text: str, language: str) -> str:
    """Puts a placeholder in the place of every card, individual and phone number."""
    if not has_digits(text, language):
        return text
    found: list[tuple[int, int, str]] = []
    for run in runs_of(text, language):
        found += _numbers_in(run, "JP" if language == "ja" else "US")
    parts, at = [], 0
    for start, end, kind in found:
        parts += [text[at:start], kind]
        at = end
    return "".join([*parts, text[at:]])


def _numbers_in(run: list[Token], region: str) -> list[tuple[int, int, str]]:
    """The numbers of one run: the whole of it, or else the longest groups in a row that are one."""
    if sum(len(token.digits) for token in run) < MIN_DIGITS or any(MASK in token.digits for token in run):
        return []
    kind = _kind("".join(token.digits for token in run), region)
    if kind is not None:
        return [(run[0].start, run[-1].end, kind)]
    groups: list[list[Token]] = []
    for token in run:
        if groups and groups[-1][-1].end == token.start:
            groups[-1].append(token)
        else:
            groups.append([token])
    found: list[tuple[int, int, str]] = []
    # A recogniser that is stuck says the same digits a thousand times: each group of them is judged once.
    known: dict[str, str | None] = {}
    first = 0
    while first < len(groups):
        for last in range(min(len(groups), first + MAX_DIGITS), first, -1):
            part = [token for group in groups[first:last] for token in group]
            digits = "".join(token.digits for token in part)
            if digits not in known:
                known[digits] = _part_kind(digits, region) if MIN_DIGITS <= len(digits) <= MAX_DIGITS else None
            kind = known[digits]
            if kind is not None:
                found.append((part[0].start, part[-1].end, kind))
                first = last
                break
        else:
            first += 1
    return found


def _part_kind(digits: str, region: str) -> str | None:
    """A part of a longer run is a phone number only in the form that people dial at home."""
    dialled = len(digits) >= 10 and (region == "US" or digits[0] == "0")
    if dialled:
        return _kind(digits, region)
    return CARD if is_card(digits) else MY_NUMBER if is_my_number(digits) else None


def _kind(digits: str, region: str) -> str | None:
    if is_card(digits):
        return CARD
    if is_my_number(digits):
        return MY_NUMBER
    return PHONE if len(digits) <= 15 and is_phone(digits, region) else None

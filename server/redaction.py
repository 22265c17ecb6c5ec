"""Masks personal data before anything is stored, scored or sent: in finals and partials alike.

Placeholders say what was there (〈電話番号〉) and are known to the classifier. Rules find numbers and addresses with a
checkable form; they do not find names.
"""

from __future__ import annotations

import hmac
import re
import unicodedata
from dataclasses import replace
from hashlib import sha256
from typing import Final

import phonenumbers

from detector.events import CallEvent, CallStarted, Segment

CARD: Final = "〈カード番号〉"
PHONE: Final = "〈電話番号〉"
EMAIL: Final = "〈メール〉"
MY_NUMBER: Final = "〈マイナンバー〉"

_EMAIL: Final = re.compile(r"[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63}){1,8}")
_DIGITS: Final = re.compile(r"\d(?:[\s\-‐−–ー.,、の()（）]{0,2}\d){6,22}")
_SPOKEN: Final = {
    "ゼロ": "0", "れい": "0", "まる": "0", "〇": "0", "零": "0", "一": "1", "二": "2", "三": "3", "四": "4", "五": "5",
    "六": "6", "七": "7", "八": "8", "九": "9",
}  # fmt: skip
_KANJI_RUN: Final = re.compile(r"(?:(?:ゼロ|れい|まる|[〇零一二三四五六七八九])[\sの、-]{0,2}){7,23}")
_SPOKEN_EN: Final = {
    "zero": "0", "oh": "0", "o": "0", "one": "1", "two": "2", "three": "3", "four": "4", "five": "5", "six": "6",
    "seven": "7", "eight": "8", "nine": "9",
}  # fmt: skip
_ENGLISH_RUN: Final = re.compile(
    r"\b(?:(?:zero|oh|one|two|three|four|five|six|seven|eight|nine)\b[\s,.-]{0,2}){7,23}", re.IGNORECASE
)


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


def _kind(digits: str, region: str) -> str | None:
    if is_card(digits):
        return CARD
    if is_my_number(digits):
        return MY_NUMBER
    return PHONE if is_phone(digits, region) else None


def redact(text: str, language: str) -> str:
    """Masks e-mail addresses, card, phone and individual numbers, in digits of any width and spelled out.

    Args:
        text: what was said.
        language: `ja` or `en`; decides the region of phone numbers without a country code.

    Returns:
        The masked text; what is stored, scored and sent is this text, so all offsets count in it.
    """
    region = "JP" if language == "ja" else "US"
    if "@" in text or "＠" in text:
        text = _EMAIL.sub(EMAIL, text.replace("＠", "@"))
    folded = "".join(_digit(char) for char in text)

    def mask(pattern: re.Pattern[str], table: dict[str, str], body: str, source: str) -> str:
        parts, at = [], 0
        for match in pattern.finditer(source):
            digits = _spoken_digits(match[0], table)
            kind = _kind(digits, region)
            if kind is not None:
                tail = len(match[0]) - len(match[0].rstrip())
                parts += [body[at : match.start()], kind]
                at = match.end() - tail
        return "".join([*parts, body[at:]])

    masked = mask(_DIGITS, {}, text, folded)
    if language == "ja":
        return mask(_KANJI_RUN, _SPOKEN, masked, masked)
    return mask(_ENGLISH_RUN, _SPOKEN_EN, masked, masked)


def _digit(char: str) -> str:
    value = unicodedata.digit(char, None)
    return str(value) if value is not None else char


def _spoken_digits(text: str, table: dict[str, str]) -> str:
    if not table:
        return "".join(char for char in text if char.isdigit())
    lowered = text.lower()
    found = re.findall("|".join(sorted(map(re.escape, table), key=len, reverse=True)), lowered)
    return "".join(table[word] for word in found)


def redact_event(event: CallEvent, language: str) -> CallEvent:
    """Masks a segment's text; other events pass unchanged."""
    if not isinstance(event.body, Segment):
        return event
    masked = redact(event.body.text, event.body.language or language)
    return event if masked == event.body.text else replace(event, body=replace(event.body, text=masked))


def hash_caller(event: CallEvent, key: bytes, tenant: str) -> CallEvent:
    """Puts a keyed hash in the place of the caller's number: the number exists nowhere behind this door.

    Args:
        event: any event; only `call.started` with a caller is changed.
        key: the house's secret.
        tenant: part of the hash, so that tenants cannot compare callers.
    """
    if event.caller is None or not isinstance(event.body, CallStarted):
        return event
    digest = caller_key(event.caller, key, tenant)
    return replace(event, caller=None, body=replace(event.body, caller_key=digest or ""))


def caller_key(caller: str, key: bytes, tenant: str) -> str | None:
    """The keyed hash of a number or id: HMAC-SHA256 over tenant and E.164 number; None for those that are never kept."""
    canonical = _canonical(caller)
    if canonical is None:
        return None
    return hmac.new(key, f"{tenant}\x1f{canonical}".encode("utf-8", "surrogatepass"), sha256).hexdigest()


def _canonical(caller: str) -> str | None:
    """E.164 for a phone number, the id as it is for anything else; None for withheld, invalid and internal numbers."""
    try:
        number = phonenumbers.parse(caller, "JP")
    except phonenumbers.NumberParseException:
        return caller if any(char.isalpha() for char in caller) and caller.lower() not in _WITHHELD else None
    if not phonenumbers.is_valid_number(number):
        return None
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


_WITHHELD: Final = frozenset({"anonymous", "private", "withheld", "unknown", "restricted", "unavailable", "非通知"})

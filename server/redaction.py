"""Masks personal data before anything is stored, scored or sent: in finals and partials alike.

Placeholders say what was there (〈電話番号〉) and are known to the classifier. Rules find numbers and addresses with a
checkable form, and what the house describes by patterns of its own; they do not find names.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Mapping
from dataclasses import replace
from hashlib import sha256
from typing import Final

import phonenumbers

from detector.events import AgentHelp, CallEnded, CallEvent, CallStarted, Segment
from server.addresses import mask_addresses
from server.digits import mask_numbers

EMAIL: Final = "〈メール〉"
MAX_HOUSE_PATTERNS: Final = 32

_WORD: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_ID_FORM: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/=-]*")
_ID_WORDS: Final = frozenset({"id", "ids", "sid", "uid", "uuid", "guid", "arn", "key", "ref", "reference", "ticket"})
_LINE_WORDS: Final = frozenset(
    [
        "caller",
        "customer",
        "ani",
        "dnis",
        "cli",
        "phone",
        "tel",
        "telephone",
        "mobile",
        "cell",
        "fax",
        "line",
        "number",
        "from",
        "to",
        "address",
        "endpoint",
        "card",
        "account",
    ]
)
"""Of a name that holds one of these the value may be a number that somebody can be reached or charged by."""
_EMAIL: Final = re.compile(r"[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63}){1,8}")

HousePatterns = tuple[tuple[str, re.Pattern[str]], ...]
"""Placeholder and expression of each pattern of the house."""


def compile_patterns(patterns: Mapping[str, str]) -> HousePatterns:
    """Reads the house's own patterns.

    Args:
        patterns: from the name in the placeholder (`会員番号` becomes 〈会員番号〉) to a regular expression.

    Raises:
        ValueError: too many, a name that cannot be in a placeholder, no expression, or one that matches nothing at all.
    """
    if len(patterns) > MAX_HOUSE_PATTERNS:
        raise ValueError(f"expected at most {MAX_HOUSE_PATTERNS} patterns")
    found = []
    for name, text in patterns.items():
        if not 1 <= len(name) <= 32 or any(char in "〈〉\n" for char in name):
            raise ValueError(f"{name[:32]!r}: expected a name of 1 to 32 characters without brackets")
        try:
            pattern = re.compile(text)
        except re.error as error:
            raise ValueError(f"{name}: expected a regular expression ({error})") from None
        if pattern.search(""):
            raise ValueError(f"{name}: expected an expression that does not match the empty text")
        found.append((f"〈{name}〉", pattern))
    return tuple(found)


def redact(text: str, language: str, patterns: HousePatterns = ()) -> str:
    """Masks what the house describes, e-mail and postal addresses, card, phone and individual numbers, in digits of any
    width and spelled out.

    Args:
        text: what was said.
        language: `ja` or `en`; decides the region of phone numbers without a country code.
        patterns: the house's own, which come first.

    Returns:
        The masked text; what is stored, scored and sent is this text, so all offsets count in it.
    """
    for placeholder, pattern in patterns:
        text = pattern.sub(placeholder.replace("\\", r"\\"), text)
    if "@" in text or "＠" in text:
        text = _EMAIL.sub(EMAIL, text.replace("＠", "@"))
    return mask_numbers(mask_addresses(text, language), language)


def redact_event(event: CallEvent, language: str, patterns: HousePatterns = ()) -> CallEvent:
    """Masks all free text of an event: what was said, an operator's note, the platform's own strings and reasons."""
    body = event.body
    match body:
        case Segment():
            text = redact(body.text, body.language or language, patterns)
            if text == body.text:
                return event
            masked: CallEvent = replace(event, body=replace(body, text=text))
        case AgentHelp():
            masked = replace(event, body=replace(body, note=redact(body.note, language, patterns)))
        case CallStarted():
            clean = {name: redact_field(name, text, body.language, patterns) for name, text in body.metadata.items()}
            masked = replace(event, body=replace(body, metadata=clean))
        case CallEnded():
            masked = replace(event, body=replace(body, reason=redact(body.reason, language, patterns)))
        case _:
            return event
    return masked


def redact_field(name: str, text: str, language: str, patterns: HousePatterns = ()) -> str:
    """Masks one of the platform's own strings: as `redact` does, but what is an id by its name and form stays whole.

    Ids are made of digits that may happen to look like a phone or card number. One is left alone where the name says that it
    is an id (`orderId`, `contact_id`, `CallSid`) and of nobody's line (`caller_id`, `phone_id`), where the text is one word,
    and where it is not written as a number is dialled from abroad (`+81…`). House patterns and e-mail count there as well.

    Args:
        name: of the string, as the platform calls it.
        text: its value.
    """
    if not (is_id_name(name) and _ID_FORM.fullmatch(text)):
        return redact(text, language, patterns)
    for placeholder, pattern in patterns:
        text = pattern.sub(placeholder.replace("\\", r"\\"), text)
    return text


def is_id_name(name: str) -> bool:
    """Whether a name says that its value is an id, and not one of somebody's line."""
    words = [word.lower() for word in _WORD.findall(name)]
    return bool(words) and words[-1] in _ID_WORDS and not _LINE_WORDS.intersection(words)


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

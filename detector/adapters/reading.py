"""Reading fields that vendors write in many ways: times in four units, numbers as texts, JSON within JSON, masks."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import parse_qsl

from detector.adapters.errors import AdapterError, FieldError

TICKS_PER_MS: Final = 10_000
"""100-ns ticks, the unit of .NET's TimeSpan and of Azure Speech."""
MAX_MS: Final = 7 * 24 * 3600 * 1000
"""A call of more than a week is a mistake in the platform's clock (the ingest protocol's own bound)."""
MAX_NUMBER: Final = 1e18
"""No platform tells a larger one: 100-ns ticks since 1970 have so many digits; beyond it reckoning in floats overflows."""
MAX_FORM_FIELDS: Final = 200
MASK: Final = "***"

_MASKED: Final = re.compile(r"[*＊]{2,}|[A-Za-z][*＊]+")
_FILLER: Final = re.compile(r"(?<!\d)%(?:[\u3040-\u30ff]+|[a-z]{1,12})%")
"""Kana or a short word between percent signs, the first of which stands behind no number: `50%と30%` holds none."""


def load_json(data: bytes | str) -> Any:
    """Reads JSON strictly.

    Raises:
        AdapterError: `bad_json`.
    """
    try:
        return json.loads(data, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise AdapterError("expected JSON", code="bad_json") from None


def _no_constant(_name: str) -> None:
    raise ValueError("NaN and Infinity are not JSON")


def load_object(data: bytes | str) -> Mapping[str, Any]:
    """Reads one JSON object.

    Raises:
        AdapterError: it is something else.
    """
    value = load_json(data)
    if not isinstance(value, dict):
        raise AdapterError("expected an object")
    return value


def load_form(data: bytes) -> Mapping[str, str]:
    """Reads `application/x-www-form-urlencoded`; of a repeated field the last counts.

    Raises:
        AdapterError: not UTF-8, or too many fields.
    """
    try:
        return dict(parse_qsl(data.decode(), keep_blank_values=True, max_num_fields=MAX_FORM_FIELDS, errors="strict"))
    except ValueError:
        raise AdapterError("expected a form in UTF-8", code="bad_json") from None


def obj(value: Mapping[str, Any], name: str, *, path: str = "") -> Mapping[str, Any]:
    """An object by name; an absent one or null reads as empty.

    Raises:
        FieldError: it is something else.
    """
    found = value.get(name)
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise FieldError(f"{path}{name}", "expected an object")
    return found


def items(value: Mapping[str, Any], name: str, *, path: str = "") -> list[Any]:
    """A list by name; an absent one or null reads as empty.

    Raises:
        FieldError: it is something else.
    """
    found = value.get(name)
    if found is None:
        return []
    if not isinstance(found, list):
        raise FieldError(f"{path}{name}", "expected a list")
    return found


def text(value: Mapping[str, Any], name: str, *, path: str = "") -> str:
    """A text by name, or empty.

    Raises:
        FieldError: it is something else.
    """
    found = value.get(name)
    if found is None:
        return ""
    if not isinstance(found, str):
        raise FieldError(f"{path}{name}", "expected a text")
    return found


def needed(value: Mapping[str, Any], name: str, *, path: str = "") -> str:
    """A text by name that must be there.

    Raises:
        FieldError: it is missing, empty or something else.
    """
    found = text(value, name, path=path)
    if not found:
        raise FieldError(f"{path}{name}", "expected a text")
    return found


def number(value: Mapping[str, Any], name: str, *, path: str = "") -> float | None:
    """A number by name, at most `MAX_NUMBER` in size, also when it is written as a text; None when absent. 0 is a number.

    Raises:
        FieldError: it is something else.
    """
    found = value.get(name)
    if found is None or found == "":
        return None
    try:
        if isinstance(found, bool) or not isinstance(found, int | float | str):
            raise ValueError
        result = float(found)
    except (ValueError, OverflowError):
        raise FieldError(f"{path}{name}", "expected a number") from None
    if not abs(result) <= MAX_NUMBER:  # NaN is not, either
        raise FieldError(f"{path}{name}", "expected a number")
    return result


def seconds(value: Mapping[str, Any], name: str, *, path: str = "") -> float | None:
    """Seconds by name as milliseconds; also protobuf's JSON durations, `"3.1s"`."""
    found = value.get(name)
    if isinstance(found, str) and found.endswith("s"):
        value = {**value, name: found[:-1]}
    result = number(value, name, path=path)
    return None if result is None else result * 1000


def ticks(value: Mapping[str, Any], name: str, *, path: str = "") -> float | None:
    """100-ns ticks by name as milliseconds."""
    result = number(value, name, path=path)
    return None if result is None else result / TICKS_PER_MS


def flag(value: Mapping[str, Any], name: str, *, default: bool, path: str = "") -> bool:
    """A truth value by name, also when it is written as a text (`"true"`).

    Raises:
        FieldError: it is something else.
    """
    found = value.get(name)
    if found is None:
        return default
    if isinstance(found, bool):
        return found
    if isinstance(found, str) and found.lower() in ("true", "false"):
        return found.lower() == "true"
    raise FieldError(f"{path}{name}", "expected true or false")


def share(value: Mapping[str, Any], name: str, *, path: str = "") -> float | None:
    """A confidence from 0 to 1, or None; one outside (some vendors send -1 or 0 for "none") reads as None."""
    result = number(value, name, path=path)
    return result if result is not None and 0 < result <= 1 else None


def utc(value: Mapping[str, Any], name: str, *, path: str = "") -> int | None:
    """RFC 3339 by name as UTC milliseconds since 1970, or None.

    Raises:
        FieldError: it is something else.
    """
    found = text(value, name, path=path)
    return None if not found else utc_ms(found, f"{path}{name}")


def utc_ms(found: str, field: str) -> int:
    """RFC 3339 as UTC milliseconds since 1970.

    Raises:
        FieldError: it is something else.
    """
    try:
        moment = datetime.fromisoformat(found)
    except ValueError:
        raise FieldError(field, "expected RFC 3339, for example 2026-11-24T09:00:00Z") from None
    if moment.tzinfo is None:
        raise FieldError(field, "expected a time zone, for example Z")
    return round(moment.timestamp() * 1000)


def utc_text(ms: int) -> str:
    """UTC milliseconds since 1970 as RFC 3339."""
    return datetime.fromtimestamp(ms / 1000, tz=UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def looks_masked(words: str) -> bool:
    """Whether a recogniser masked a word: `***`, `f***`."""
    return ("*" in words or "＊" in words) and _MASKED.search(words) is not None


def without_fillers(words: str) -> str:
    """Takes out fillers that are marked as `%えーと%`; a lone percent sign stays."""
    return _FILLER.sub("", words) if "%" in words else words


def dump(value: Any) -> bytes:
    """JSON in UTF-8, for the encoders."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()

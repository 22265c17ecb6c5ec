"""A house's own format, written in TOML: JSON pointers (RFC 6901) say where things are.

```toml
name = "acme"                      # ?format=acme
encoding = "json"                  # or "form"

[call]                             # for every message
id = "/call/id"
language = { value = "ja" }        # a constant

[[message]]                        # the first that fits
when = { "/event" = "utterance" }  # equal to a value, one of a list, or { exists = true }
is = "segment"
each = "/results"                  # for each item; "@/…" then points into the item
text = "@/alternatives/0/text"
speaker = { pointer = "@/channel", map = { 0 = "customer", 1 = "agent" } }
start = { pointer = "@/from", unit = "s" }     # ms (default), s, ticks (100 ns), rfc3339, epoch_ms, epoch_s
duration = { pointer = "@/for", unit = "s" }   # or end
final = "@/final"
utterance = "@/id"

[[message]]
when = { "/event" = "bye" }
is = "ended"
```

A pointer with `#` goes on inside a text that is JSON itself: `"/payload#/transcript"`. What a message may be, and which
fields each kind takes, is in `KINDS` of `mapped.py`. Authentication: a token of ours, or basic authentication over TLS.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from typing import Any, Final

from jsonpointer import JsonPointer, JsonPointerException

from detector.adapters.frame import Envelope, Format
from detector.adapters.heard import Heard
from detector.adapters.mapped import KINDS, MISSING, MOMENTS, UNITS, Pointer, Rule, Value, heard
from detector.adapters.reading import load_form, load_json

MAX_MESSAGES: Final = 64
_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,31}")


class MappingError(ValueError):
    """A mapping file is wrong; the message names the place and what was expected."""


def parse_mapping(source: str) -> Format:
    """Reads a mapping file.

    Raises:
        MappingError: names the place and what was expected.
    """
    try:
        data = tomllib.loads(source)
    except tomllib.TOMLDecodeError as error:
        raise MappingError(f"not TOML: {error}") from None
    _only(data, ("name", "title", "encoding", "one_call", "call", "message"), "")
    name = data.get("name")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise MappingError("name: expected lower-case letters, digits and underscores, 32 at most")
    encoding = data.get("encoding", "json")
    if encoding not in ("json", "form"):
        raise MappingError("encoding: expected json or form")
    one_call = data.get("one_call", False)
    if not isinstance(one_call, bool):
        raise MappingError("one_call: expected true or false")
    common = _fields(data.get("call", {}), ("id", "language", "speaker", "queue", "direction", "agent"), "call")
    messages = data.get("message")
    if not isinstance(messages, list) or not 0 < len(messages) <= MAX_MESSAGES:
        raise MappingError(f"message: expected 1 to {MAX_MESSAGES} tables [[message]]")
    rules = tuple(_rule(entry, f"message[{index}]", common) for index, entry in enumerate(messages))

    def read(body: bytes, _envelope: Envelope) -> Iterator[Heard]:
        yield from heard(rules, load_form(body) if encoding == "form" else load_json(body))

    media_type = "application/x-www-form-urlencoded" if encoding == "form" else "application/json"
    return Format(name=name, title=str(data.get("title", name)), read=read, one_call=one_call, media_type=media_type)


def _only(table: Any, names: tuple[str, ...], where: str) -> None:
    if not isinstance(table, dict):
        raise MappingError(f"{where}: expected a table")
    for unknown in table.keys() - set(names):
        name = unknown if unknown.isprintable() else ascii(unknown)
        place = f"{where}.{name}" if where else name
        raise MappingError(f"{place}: unknown; expected one of {', '.join(names)}")


def _rule(entry: Any, where: str, common: Mapping[str, Value]) -> Rule:
    if not isinstance(entry, dict) or entry.get("is") not in tuple(KINDS):
        raise MappingError(f"{where}.is: expected one of {', '.join(KINDS)}")
    kind = entry["is"]
    _only(entry, ("when", "is", "each", *KINDS[kind]), where)
    when = entry.get("when", {})
    if not isinstance(when, dict):
        raise MappingError(f"{where}.when: expected a table of pointers and values")
    tests = []
    for pointer, wanted in when.items():
        if not all(_is_test(one) for one in (wanted if isinstance(wanted, list) else [wanted])):
            raise MappingError(f"{where}.when: expected a value, a list of values, or {{ exists = true }}")
        tests.append((parse_pointer(pointer, f"{where}.when", item=False), wanted))
    each = entry.get("each")
    if each is not None and not isinstance(each, str):
        raise MappingError(f"{where}.each: expected a pointer")
    fields = _fields({key: entry[key] for key in KINDS[kind] if key in entry}, KINDS[kind], where)
    fields = {**{key: value for key, value in common.items() if key in KINDS[kind]}, **fields}
    if kind == "segment" and "text" not in fields:
        raise MappingError(f"{where}.text: expected a pointer")
    return Rule(
        when=tuple(tests),
        kind=kind,
        each=None if each is None else parse_pointer(each, f"{where}.each", item=False),
        fields=fields,
    )


def _is_test(wanted: Any) -> bool:
    if isinstance(wanted, dict):
        return wanted.keys() == {"exists"} and isinstance(wanted["exists"], bool)
    return not isinstance(wanted, list)


def _fields(table: Any, names: tuple[str, ...], where: str) -> dict[str, Value]:
    _only(table, names, where)
    return {name: _value(spec, f"{where}.{name}", name) for name, spec in table.items()}


def _value(spec: Any, where: str, name: str) -> Value:
    if isinstance(spec, str):
        spec = {"pointer": spec}
    _only(spec, ("pointer", "value", "unit", "map"), where)
    pointer, table = spec.get("pointer"), spec.get("map", {})
    if pointer is None and "value" not in spec:
        raise MappingError(f"{where}: expected a pointer or a value")
    default_unit = "rfc3339" if name in MOMENTS else "ms"
    unit = spec.get("unit", default_unit)
    if unit not in UNITS:
        raise MappingError(f"{where}.unit: expected one of {', '.join(UNITS)}")
    if not isinstance(table, dict):
        raise MappingError(f"{where}.map: expected a table")
    if pointer is not None and not isinstance(pointer, str):
        raise MappingError(f"{where}.pointer: expected a text")
    return Value(
        pointer=None if pointer is None else parse_pointer(pointer, where, item=True),
        constant=spec.get("value", MISSING),
        unit=unit,
        table=table,
    )


def parse_pointer(written: str, where: str, *, item: bool) -> Pointer:
    """Reads `/a/b`, `@/a` (from the item), `/a#/b` (inside a text that is JSON).

    Raises:
        MappingError: it is no pointer.
    """
    of_item = written.startswith("@")
    if of_item and not item:
        raise MappingError(f"{where}: expected a pointer from the message, not from an item")
    try:
        steps = tuple(JsonPointer(step) for step in written.removeprefix("@").split("#"))
    except JsonPointerException:
        raise MappingError(f"{where}: expected a JSON pointer, for example /call/id") from None
    return Pointer(of_item=of_item, steps=steps)

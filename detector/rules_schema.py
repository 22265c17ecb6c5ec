"""The JSON Schema (draft 2020-12) of a rules file, made of the rules' own types, so that the two cannot drift apart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any, Final, get_type_hints

from detector.labels import HARASSMENT_LABELS, Level
from detector.rules import COMBINABLE, Rules

SCHEMA_ID: Final = "urn:mamori:rules"
_LEVEL: Final = {"enum": [level.value for level in Level]}
_NOT_OF_A_QUEUE: Final = frozenset({"version", "queues"})


def rules_schema() -> dict[str, Any]:
    """The schema as a JSON object. What only values together can break (limits that rise) is left to `check_rules`."""
    table = _table(Rules())
    of_queue = {name: value for name, value in table["properties"].items() if name not in _NOT_OF_A_QUEUE}
    table["properties"]["queues"] = {
        "type": "object",
        "additionalProperties": {"type": "object", "properties": of_queue, "additionalProperties": False},
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": SCHEMA_ID,
        "title": "Mamori rules",
        **table,
    }


def _table(value: Any) -> dict[str, Any]:
    hints = get_type_hints(type(value))
    properties = {
        item.name: _value(hints[item.name], getattr(value, item.name), item.name)
        for item in fields(value)
        if item.name != "queues"
    }
    return {"type": "object", "properties": properties, "additionalProperties": False}


def _value(hint: Any, default: Any, name: str) -> dict[str, Any]:
    if is_dataclass(default):
        return _table(default)
    if name == "combine":
        return _combine()
    if isinstance(default, Level):
        return {**_LEVEL, "default": default.value}
    if isinstance(default, Mapping):
        levels = {label: {**_LEVEL, "default": level.value} for label, level in default.items()}
        return {"type": "object", "properties": levels, "additionalProperties": False}
    if isinstance(default, tuple):
        return {"type": "array", "items": {"enum": list(HARASSMENT_LABELS)}, "default": list(default)}
    if isinstance(default, str):
        return {"type": "string", "pattern": r"\S", "default": default}
    return {"type": "integer" if hint is int else "number", "minimum": 0, "default": default}


def _combine() -> dict[str, Any]:
    kinds = {"enum": list(COMBINABLE)}
    when = {"type": "object", "propertyNames": kinds, "additionalProperties": _LEVEL, "minProperties": 1}
    item = {
        "type": "object",
        "properties": {"when": when, "raises": kinds, "to": _LEVEL},
        "required": ["when", "raises", "to"],
        "additionalProperties": False,
    }
    return {"type": "array", "items": item}

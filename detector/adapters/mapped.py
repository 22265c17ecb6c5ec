"""Reads messages by the rules of a mapping: what `mapping.py` parsed from TOML, applied to what a platform sent."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from jsonpointer import JsonPointer, JsonPointerException

from detector.adapters.errors import AdapterError, FieldError
from detector.adapters.frame import role
from detector.adapters.heard import Began, Happened, Heard, Over, Said, Unknown, Wrong
from detector.adapters.reading import TICKS_PER_MS, flag, load_json, number, share, utc_ms
from detector.events import (
    AgentHelp,
    CallAlive,
    CallAnswered,
    CallChanged,
    CallHeld,
    CallResumed,
    ChangeReason,
    PlatformEvent,
)

MAX_ITEMS: Final = 1_000
"""Items of one message; the rest is refused."""
_COMMON: Final = ("id", "at", "offset")
KINDS: Final[Mapping[str, tuple[str, ...]]] = {
    "started": ("id", "at", "language", "queue", "direction", "agent", "agent_name", "caller"),
    "segment": (
        *("id", "at", "text", "speaker", "channel", "final", "start", "end", "duration", "session", "utterance"),
        *("piece", "order", "confidence", "language", "stream", "masked"),
    ),
    "ended": (*_COMMON, "reason", "stream"),
    "changed": (*_COMMON, "agent", "agent_name", "queue", "reason"),
    "answered": _COMMON,
    "hold": _COMMON,
    "resumed": _COMMON,
    "alive": _COMMON,
    "help": (*_COMMON, "note"),
    "ignore": (),
}
MOMENTS: Final = ("at", "session")
UNITS: Final = ("ms", "s", "ticks", "rfc3339", "epoch_ms", "epoch_s")
MISSING: Final = object()


@dataclass(frozen=True, slots=True, kw_only=True)
class Pointer:
    """A place in a message: pointers one within the other, the first from the message or from the item."""

    of_item: bool
    steps: tuple[JsonPointer, ...]

    def find(self, message: Any, item: Any) -> Any:
        """The value there, or `MISSING`."""
        value = item if self.of_item else message
        for number_, step in enumerate(self.steps):
            if number_:
                if not isinstance(value, str):
                    return MISSING
                try:
                    value = load_json(value)
                except AdapterError:
                    return MISSING
            try:
                value = step.resolve(value, MISSING)
            except (JsonPointerException, TypeError):
                return MISSING
        return value if value is None or isinstance(value, str | int | float | dict | list) else MISSING


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """Where a field comes from: a pointer, a constant, or neither; then what becomes of it."""

    pointer: Pointer | None = None
    constant: Any = MISSING
    unit: str = "ms"
    table: Mapping[str, Any] = field(default_factory=dict)

    def find(self, message: Any, item: Any) -> Any:
        """The value, or None when it is not there."""
        found = self.pointer.find(message, item) if self.pointer is not None else MISSING
        if found is MISSING or found is None:
            return None if self.constant is MISSING else self.constant
        if self.table:
            return self.table.get(_key(found), None if self.constant is MISSING else self.constant)
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One kind of message."""

    when: tuple[tuple[Pointer, Any], ...]
    kind: str
    each: Pointer | None
    fields: Mapping[str, Value]

    def fits(self, message: Any) -> bool:
        """Whether the message is of this kind."""
        return all(_fits(pointer.find(message, None), wanted) for pointer, wanted in self.when)


def _key(value: Any) -> str:
    """A value as a key of `map`: TOML's keys are texts."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _fits(found: Any, wanted: Any) -> bool:
    if isinstance(wanted, dict):
        return (found is not MISSING) is wanted["exists"]
    if isinstance(wanted, list):
        return any(_fits(found, one) for one in wanted)
    return found is not MISSING and type(found) is type(wanted) and bool(found == wanted)


def heard(rules: tuple[Rule, ...], message: Any) -> Iterator[Heard]:
    """What a message, or each of a list of messages, says."""
    if isinstance(message, list):
        for one in message[:MAX_ITEMS]:
            yield from _read_one(rules, one)
        if len(message) > MAX_ITEMS:
            yield Wrong(field="message", expected=f"expected at most {MAX_ITEMS} items")
        return
    yield from _read_one(rules, message)


def _read_one(rules: tuple[Rule, ...], message: Any) -> Iterator[Heard]:
    rule = next((rule for rule in rules if rule.fits(message)), None)
    if rule is None:
        yield Unknown(kind="no rule fits")
        return
    if rule.kind == "ignore":
        return
    entries: list[Any] = [None]
    if rule.each is not None:
        found = rule.each.find(message, None)
        entries = found if isinstance(found, list) else []
    for entry in entries[:MAX_ITEMS]:
        try:
            yield _heard(rule, _Found(rule.fields, message, entry))
        except FieldError as error:
            yield Wrong(field=error.field, expected=error.message)


class _Found:
    """The fields of one item."""

    def __init__(self, fields: Mapping[str, Value], message: Any, entry: Any) -> None:
        self._fields = fields
        self._message = message
        self._entry = entry

    def raw(self, name: str) -> Any:
        value = self._fields.get(name)
        return None if value is None else value.find(self._message, self._entry)

    def text(self, name: str) -> str:
        found = self.raw(name)
        if found is None:
            return ""
        if isinstance(found, bool) or not isinstance(found, str | int | float):
            raise FieldError(name, "expected a text")
        return str(found)

    def of(self, name: str, read: Callable[..., Any], **options: Any) -> Any:
        return read({name: self.raw(name)}, name, **options)

    def unit(self, name: str) -> str:
        return self._fields[name].unit if name in self._fields else "ms"

    def absolute(self, name: str) -> bool:
        return self.unit(name) in ("rfc3339", "epoch_ms", "epoch_s")

    def time(self, name: str) -> float | None:
        """Milliseconds: since 1970 for an absolute unit, else from the stream's start."""
        if self.raw(name) in (None, ""):
            return None
        unit = self.unit(name)
        if unit == "rfc3339":
            return float(utc_ms(self.text(name), name))
        found: float | None = self.of(name, number)
        if found is None:
            return None
        return found * 1000 if unit in ("s", "epoch_s") else found / TICKS_PER_MS if unit == "ticks" else found


def _heard(rule: Rule, found: _Found) -> Heard:
    call_id = found.text("id")
    at = found.time("at")
    at_ms = None if at is None else int(at)
    match rule.kind:
        case "segment":
            return _segment(found, call_id, at_ms)
        case "started":
            return Began(
                call_id=call_id,
                at_ms=at_ms,
                language=found.text("language"),
                queue=found.text("queue"),
                direction=found.text("direction"),
                agent_id=found.text("agent"),
                agent_name=found.text("agent_name"),
                caller=found.text("caller") or None,
            )
        case "ended":
            return Over(
                call_id=call_id,
                offset_ms=found.time("offset"),
                at_ms=at_ms,
                reason=found.text("reason"),
                stream=found.text("stream"),
            )
        case _:
            return Happened(call_id=call_id, body=_body(rule.kind, found), offset_ms=found.time("offset"), at_ms=at_ms)


def _segment(found: _Found, call_id: str, at_ms: int | None) -> Said:
    start, end, duration = found.time("start"), found.time("end"), found.time("duration")
    session = found.time("session")
    if start is not None and found.absolute("start"):
        end = end - start if end is not None and found.absolute("end") else None
        session, start = start, 0.0
    if end is None and start is not None and duration is not None:
        end = start + duration
    order = found.of("order", number)
    speaker = found.text("speaker")
    return Said(
        call_id=call_id,
        text=found.text("text"),
        is_final=found.of("final", flag, default=True),
        speaker=role(speaker) if speaker else None,
        channel=found.text("channel"),
        stream=found.text("stream"),
        utterance_id=found.text("utterance"),
        piece=found.text("piece"),
        order=None if order is None else int(order),
        start_ms=start,
        end_ms=end,
        session_ms=None if session is None else int(session),
        at_ms=at_ms,
        confidence=found.of("confidence", share),
        language=found.text("language"),
        masked=found.of("masked", flag, default=False),
    )


def _body(kind: str, found: _Found) -> Callable[[int], PlatformEvent]:
    if kind == "changed":
        reason = found.text("reason")
        change = ChangeReason(reason) if reason in tuple(ChangeReason) else ChangeReason.TRANSFER
        agent, name, queue = found.text("agent")[:256], found.text("agent_name")[:256], found.text("queue")[:256]
        return lambda ms: CallChanged(offset_ms=ms, reason=change, agent_id=agent, agent_name=name, queue=queue)
    if kind == "help":
        note = found.text("note")[:4096]
        return lambda ms: AgentHelp(offset_ms=ms, note=note)
    plain: dict[str, Callable[..., PlatformEvent]] = {
        "answered": CallAnswered,
        "hold": CallHeld,
        "resumed": CallResumed,
        "alive": CallAlive,
    }
    return lambda ms: plain[kind](offset_ms=ms)

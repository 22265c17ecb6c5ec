"""The ingest protocol's JSON: decoding with typed errors, encoding of the server's own messages.

Decoding is strict about types and forgiving about unknown fields, so that a platform may send more than we read. Every
event is first read for `call_id` and `seq`, so that even a bad one can be answered by name.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Final, Literal, get_args

import msgspec
from msgspec import Meta, Struct

from detector.events import (
    AgentHelp,
    CallAlive,
    CallAnswered,
    CallChanged,
    CallEnded,
    CallEvent,
    CallHeld,
    CallResumed,
    CallStarted,
    ChangeReason,
    PlatformEvent,
    Segment,
    SpeakersSwapped,
)
from detector.labels import Speaker
from server.errors import EventError

PROTOCOL: Final = 1
MAX_TEXT_CHARS: Final = 16_000
"""Characters of one segment (design § 3): a longer text is `too_large`."""
MAX_MEDIA_MS: Final = 7 * 24 * 3600 * 1000
"""A call of more than a week is a mistake in the platform's clock."""
MAX_SEQ: Final = 2**53
MAX_METADATA: Final = 64

_Id = Annotated[str, Meta(min_length=1, max_length=256)]
_Short = Annotated[str, Meta(max_length=256)]
_Text = Annotated[str, Meta(max_length=4096)]
_Media = Annotated[float, Meta(ge=0, le=MAX_MEDIA_MS)]


class _Agent(Struct, frozen=True):
    id: _Short = ""
    name: _Short = ""


class _Caller(Struct, frozen=True):
    number: _Short | None = None
    id: _Short | None = None


class _Event(Struct, frozen=True, tag_field="type"):
    call_id: _Id
    seq: Annotated[int, Meta(ge=0, le=MAX_SEQ)] | None = None
    at: str | None = None


class _Started(_Event, frozen=True, tag="call.started"):
    """A call began."""

    language: Annotated[str, Meta(min_length=2, max_length=35)] = "ja"
    queue: _Short = ""
    direction: Literal["inbound", "outbound"] = "inbound"
    agent: _Agent | None = None
    caller: _Caller | None = None
    metadata: Annotated[dict[str, Annotated[str, Meta(max_length=1024)]], Meta(max_length=MAX_METADATA)] | None = None


class _Segment(_Event, frozen=True, tag="transcript.segment"):
    """A piece of transcript."""

    segment_id: _Id = msgspec.field(default="")
    speaker: Literal["customer", "agent", "unknown"] = msgspec.field(default="unknown")
    text: str | None = None
    start_ms: _Media | None = None
    end_ms: _Media | None = None
    is_final: bool = True
    confidence: Annotated[float, Meta(ge=0, le=1)] | None = None
    language: _Short | None = None
    masked: bool = False


class _Answered(_Event, frozen=True, tag="call.answered"):
    """An operator answered."""

    offset_ms: _Media | None = None


class _Changed(_Event, frozen=True, tag="call.changed"):
    """Another agent or queue took the call."""

    offset_ms: _Media | None = None
    agent: _Agent | None = None
    queue: _Short = ""
    reason: Literal["transfer", "conference", "supervisor_joined", "supervisor_left"] = "transfer"


class _Hold(_Event, frozen=True, tag="call.hold"):
    """The caller is on hold."""

    offset_ms: _Media | None = None


class _Resumed(_Event, frozen=True, tag="call.resumed"):
    """The caller is off hold."""

    offset_ms: _Media | None = None


class _Alive(_Event, frozen=True, tag="call.alive"):
    """Nothing was said, the feed is alive."""

    offset_ms: _Media | None = None


class _Speakers(_Event, frozen=True, tag="call.speakers"):
    """Earlier labels of the speakers were the wrong way round."""

    swapped: bool | None = None


class _Help(_Event, frozen=True, tag="agent.help"):
    """The operator pressed the help button."""

    offset_ms: _Media | None = None
    note: _Text = ""


class _Ended(_Event, frozen=True, tag="call.ended"):
    """The call is over."""

    offset_ms: _Media | None = None
    reason: _Short = ""


_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_AnyEvent = _Started | _Segment | _Answered | _Changed | _Hold | _Resumed | _Alive | _Speakers | _Help | _Ended
EVENT_STRUCTS: Final[tuple[type, ...]] = get_args(_AnyEvent)
_EVENT_DECODER: Final = msgspec.json.Decoder(_AnyEvent)
"""A decoder is compiled once; `msgspec.convert` would look at the union's types at each call."""
EVENT_TYPES: Final = (
    "call.started",
    "transcript.segment",
    "call.answered",
    "call.changed",
    "call.hold",
    "call.resumed",
    "call.alive",
    "call.speakers",
    "agent.help",
    "call.ended",
)


_BY_TYPE: Final[dict[str, Any]] = dict(zip(EVENT_TYPES, EVENT_STRUCTS, strict=True))


class Resume(Struct, frozen=True, tag_field="type", tag="resume"):
    """A client asks how far the server has come with its calls."""

    call_ids: Annotated[list[_Id], Meta(max_length=20_000)]


def decode_frame(frame: str) -> CallEvent | None:
    """Reads a frame that is one good event, in one pass: what nearly every frame is.

    Returns:
        The event, or None: then `parse_frame` and `decode_event` say what else the frame is.
    """
    try:
        return _call_event(_EVENT_DECODER.decode(frame), _not_so)
    except (msgspec.MsgspecError, EventError, UnicodeError, RecursionError, ValueError):
        return None


def _not_so(message: str, field: str, code: str = "bad_event") -> EventError:
    return EventError(code, message, field=field)


def parse_frame(frame: str | bytes) -> list[Any]:
    """Reads a text frame: one JSON object, or an array of them.

    Raises:
        EventError: `bad_json`, with neither call nor seq.
    """
    try:
        data = msgspec.json.decode(frame)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError):
        data = _lenient(frame)
    return data if isinstance(data, list) else [data]


def _lenient(frame: str | bytes) -> Any:
    """Reads what the fast decoder refuses though it is JSON: escapes of lone surrogates."""
    try:
        return json.loads(frame, parse_constant=_no_constant)
    except (UnicodeDecodeError, RecursionError, ValueError):
        raise EventError("bad_json", "expected one JSON object or an array of them") from None


def _no_constant(_name: str) -> None:
    raise ValueError("NaN and Infinity are not JSON")


def decode_event(item: Any) -> CallEvent:
    """Reads one event of a frame.

    Args:
        item: what `parse_frame` gave.

    Raises:
        EventError: `bad_event` with the field and what was expected, or `too_large`; names call and seq where they
            could be read.
    """
    call_id, seq = _name(item)

    def bad(message: str, field: str, code: str = "bad_event") -> EventError:
        return EventError(code, message, field=field, call_id=call_id, seq=seq)

    if not isinstance(item, dict):
        raise bad("expected an object", "")
    if item.get("type") not in EVENT_TYPES:
        raise bad(f"expected one of {', '.join(EVENT_TYPES)}", "type")
    try:
        event: _AnyEvent = _convert(item)
    except msgspec.ValidationError as error:
        message, _, path = str(error).partition(" - at `$")
        raise bad(_plain(message), path.strip(".`")) from None
    return _call_event(event, bad)


def _convert(item: dict[str, Any]) -> _AnyEvent:
    kind = _BY_TYPE[item["type"]]
    converted: _AnyEvent = msgspec.convert(item, kind)
    return converted


def _call_event(event: _AnyEvent, bad: Any) -> CallEvent:
    if event.at is not None and not _is_time(event.at):
        raise bad("expected RFC 3339 UTC, for example 2026-11-24T09:00:00Z", "at")
    caller = None
    if isinstance(event, _Started) and event.caller is not None:
        caller = event.caller.number or event.caller.id
    return CallEvent(call_id=event.call_id, body=_body(event, bad), seq=event.seq, at=event.at, caller=caller)


def _name(item: Any) -> tuple[str | None, int | None]:
    if not isinstance(item, dict):
        return None, None
    call_id, seq = item.get("call_id"), item.get("seq")
    good_id = isinstance(call_id, str) and 0 < len(call_id) <= 256
    good_seq = isinstance(seq, int) and not isinstance(seq, bool) and 0 <= seq <= MAX_SEQ
    return call_id if good_id else None, seq if good_seq else None


def _plain(message: str) -> str:
    """msgspec quotes an invalid enum value in its message; what a peer sent must not come back."""
    return "not one of the allowed values" if message.startswith("Invalid enum value") else message


def _is_time(text: str) -> bool:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return False
    return moment.tzinfo is not None


def _body(event: _AnyEvent, bad: Any) -> PlatformEvent:
    if isinstance(event, _Started):
        agent = event.agent or _Agent()
        metadata: Mapping[str, str] = event.metadata or {}
        return CallStarted(
            language=event.language.split("-", maxsplit=1)[0].lower(),
            queue=event.queue,
            direction=event.direction,
            agent_id=agent.id,
            agent_name=agent.name,
            metadata=dict(metadata),
        )
    if isinstance(event, _Segment):
        return _segment(event, bad)
    if isinstance(event, _Speakers):
        if event.swapped is None:
            raise bad("expected true or false", "swapped")
        return SpeakersSwapped(swapped=event.swapped)
    if event.offset_ms is None:
        raise bad("expected milliseconds from the start of the call", "offset_ms")
    offset_ms = math.floor(event.offset_ms)
    match event:
        case _Answered():
            return CallAnswered(offset_ms=offset_ms)
        case _Changed():
            agent = event.agent or _Agent()
            return CallChanged(
                offset_ms=offset_ms,
                reason=ChangeReason(event.reason),
                agent_id=agent.id,
                agent_name=agent.name,
                queue=event.queue,
            )
        case _Hold():
            return CallHeld(offset_ms=offset_ms)
        case _Resumed():
            return CallResumed(offset_ms=offset_ms)
        case _Alive():
            return CallAlive(offset_ms=offset_ms)
        case _Help():
            return AgentHelp(offset_ms=offset_ms, note=event.note)
        case _Ended():
            return CallEnded(offset_ms=offset_ms, reason=event.reason)


def _segment(event: _Segment, bad: Any) -> Segment:
    if not event.segment_id:
        raise bad("expected a text of 1 to 256 characters", "segment_id")
    if event.text is None:
        raise bad("expected a text", "text")
    if len(event.text) > MAX_TEXT_CHARS:
        raise bad(f"expected at most {MAX_TEXT_CHARS} characters", "text", code="too_large")
    if event.start_ms is None:
        raise bad("expected milliseconds from the start of the call", "start_ms")
    end_ms = event.start_ms if event.end_ms is None else event.end_ms
    if end_ms < event.start_ms:
        raise bad("expected at least start_ms", "end_ms")
    return Segment(
        segment_id=event.segment_id,
        speaker=Speaker(event.speaker),
        text=without_surrogates(event.text),
        start_ms=math.floor(event.start_ms),
        end_ms=math.floor(end_ms),
        is_final=event.is_final,
        confidence=event.confidence,
        language=(event.language or "").split("-", maxsplit=1)[0].lower(),
        masked=event.masked,
    )


def without_surrogates(text: str) -> str:
    """Puts U+FFFD in place of lone surrogates, one for one, so that offsets stay and the text can be stored."""
    return text if text.isascii() else _SURROGATE.sub("\ufffd", text)


def nack(error: EventError, *, expected: int | None = None, retry_after_ms: int | None = None) -> bytes:
    """Encodes the answer to a bad event."""
    message: dict[str, Any] = {
        "type": "nack",
        "call_id": error.call_id,
        "seq": error.seq,
        "code": error.code,
        "field": error.field or None,
        "message": error.message,
        "retry": error.retry,
    }
    if expected is not None:
        message["expected"] = expected
    if retry_after_ms is not None:
        message["retry_after_ms"] = retry_after_ms
    return msgspec.json.encode(message)

"""Vendor-neutral statements: what one message of a platform says, before it is known what was said earlier.

Times come in whatever way the platform tells them: milliseconds from the start of a stream (`start_ms`, `end_ms`), the
stream's own start (`session_ms`), or the moment of a message (`at_ms`), both UTC milliseconds since 1970. `source.py`
turns them into media time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from detector.events import PlatformEvent
from detector.labels import Speaker


@dataclass(frozen=True, slots=True, kw_only=True)
class Began:
    """A call began, or a stream of it.

    Args:
        call_id: the platform's id; empty for the one that the envelope names.
        at_ms: UTC of media time 0, or None.
        language: BCP 47, or empty.
        roles: who speaks on which of the platform's channels, where the message says so.
        caller: number or id in the clear; it leaves with `call.started` alone.
        stream: id of the stream, where a call can have several; empty for the call's only one.
    """

    call_id: str
    at_ms: int | None = None
    language: str = ""
    queue: str = ""
    direction: str = ""
    agent_id: str = ""
    agent_name: str = ""
    caller: str | None = field(default=None, repr=False)
    roles: Mapping[str, Speaker] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)
    stream: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """A piece of transcript.

    Args:
        text: the words so far (a partial that replaces), or those of one piece (with `piece`).
        is_final: whether the recogniser will not change it any more.
        speaker: who spoke, or None: by the channel.
        channel: the platform's name of the audio channel, or empty.
        stream: the stream that the offsets count in and that ends by itself, or empty.
        utterance_id: the platform's id that partials and final share; empty where it has none.
        piece: id of an incremental partial's part: parts of one utterance are joined in the order of their times.
        repeat_id: the platform's id of a final whose partials have none: tells a repeated delivery.
        order: the platform's number of the message within the call; a lower one is older.
        session_ms: UTC of the moment from which `start_ms` counts, or None: from the start of the stream.
        at_ms: UTC of the message, where there are no offsets.
        masked: the platform says that it masked or removed a word in here.
    """

    call_id: str
    text: str = field(repr=False)
    is_final: bool
    speaker: Speaker | None = None
    channel: str = ""
    stream: str = ""
    utterance_id: str = ""
    piece: str = ""
    repeat_id: str = ""
    order: int | None = None
    start_ms: float | None = None
    end_ms: float | None = None
    session_ms: int | None = None
    at_ms: int | None = None
    confidence: float | None = None
    language: str = ""
    masked: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Happened:
    """Anything else that the core understands; `body` makes the event at the media time that it is given."""

    call_id: str
    body: Callable[[int], PlatformEvent]
    offset_ms: float | None = None
    at_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Over:
    """A call is over, or (with `stream`) one stream of it: the call is over when its last stream is."""

    call_id: str
    offset_ms: float | None = None
    session_ms: int | None = None
    at_ms: int | None = None
    reason: str = ""
    stream: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamBegan:
    """A recogniser's session began anew: its offsets count from 0 again."""

    call_id: str
    stream: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unknown:
    """A message, or a part of one, of a type that the adapter does not know."""

    kind: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Wrong:
    """An item that could not be read, beside others that could."""

    field: str
    expected: str


Heard = Began | Said | Happened | Over | StreamBegan | Unknown | Wrong

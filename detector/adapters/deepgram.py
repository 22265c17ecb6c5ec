"""Deepgram, live streaming.

Verified in Deepgram's documentation and its SDK's tests: `type` Results, Metadata, UtteranceEnd, SpeechStarted;
`channel_index` `[channel, channels]`, `start`, `duration` (seconds), `is_final` (this stretch will not change),
`speech_final` (an endpoint); `channel.alternatives[].transcript`, `confidence`. Interim results are cumulative for the
stretch that begins at `start`. A final without `speech_final` is a final all the same: without it words are lost.

Assumed: `Metadata` comes when the stream is closed, and ends it. `profanity_filter` is off unless asked for; it masks.

Who speaks: `channels=customer,agent` in the query with `multichannel=true`, or `speaker=…` for one stream a side. With a
single channel in `channel_index`, `channels` says nothing.

Authentication: your client holds the Deepgram stream; it sends on with a token of ours, `call_id` in the query.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from detector.adapters.errors import FieldError
from detector.adapters.frame import Envelope, Format, Telling, channels_query
from detector.adapters.heard import Heard, Over, Said, Unknown
from detector.adapters.reading import dump, flag, items, load_object, obj, seconds, share, text
from detector.events import CallEnded, CallEvent, Segment
from detector.labels import Speaker

_QUIET: Final = ("UtteranceEnd", "SpeechStarted")


def read(data: bytes, envelope: Envelope) -> Iterator[Heard]:
    """Reads one message."""
    message = load_object(data)
    kind = text(message, "type")
    stream = envelope.query.get("speaker", "") or "stream"
    if kind == "Results":
        yield _said(message, envelope, stream)
    elif kind == "Metadata":
        yield Over(call_id="", stream=stream, reason="stream_ended")
    elif kind not in _QUIET:
        yield Unknown(kind=kind or "no type")


def _said(message: Mapping[str, Any], envelope: Envelope, stream: str) -> Said:
    index = items(message, "channel_index")
    if not all(isinstance(one, int) for one in index):
        raise FieldError("channel_index", "expected numbers")
    several = len(index) > 1 and index[1] > 1
    alternatives = items(obj(message, "channel"), "alternatives", path="channel.")
    best: Mapping[str, Any] = alternatives[0] if alternatives and isinstance(alternatives[0], dict) else {}
    start_ms = seconds(message, "start")
    if start_ms is None:
        raise FieldError("start", "expected a number")
    return Said(
        call_id="",
        text=text(best, "transcript", path="channel.alternatives[0]."),
        is_final=flag(message, "is_final", default=False),
        channel=str(index[0]) if several else envelope.query.get("speaker", ""),
        stream=stream,
        start_ms=start_ms,
        end_ms=start_ms + (seconds(message, "duration") or 0),
        confidence=share(best, "confidence", path="channel.alternatives[0]."),
    )


def write(event: CallEvent, _telling: Telling) -> list[bytes]:
    """Tells an event as the stream would."""
    match event.body:
        case CallEnded():
            return [dump({"type": "Metadata", "request_id": "demo", "channels": 2})]
        case Segment() as said:
            message = {
                "type": "Results",
                "channel_index": [0 if said.speaker is Speaker.CUSTOMER else 1, 2],
                "start": said.start_ms / 1000,
                "duration": (said.end_ms - said.start_ms) / 1000,
                "is_final": said.is_final,
                "speech_final": said.is_final,
                "channel": {"alternatives": [{"transcript": said.text, "confidence": 0.9, "words": []}]},
            }
            return [dump(message)]
        case _:
            return []


FORMAT: Final = Format(
    name="deepgram", title="Deepgram (live)", read=read, write=write, query=channels_query, one_call=True
)

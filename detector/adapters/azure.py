"""Azure: Speech results, and transcription data of Azure Communication Services.

Verified against a real result (an issue of the JavaScript SDK): `Id`, `RecognitionStatus` (0 or `Success`), `Offset`,
`Duration` (100-ns ticks), `Channel`, `DisplayText`, `NBest[]` of `Confidence`, `Lexical`, `Display`. With that SDK
`Channel` is always 0, so channel numbers count only once a second one was heard; until then the speaker is unknown.
Verified in the Communication Services SDK's tests: `kind` TranscriptionMetadata, TranscriptionData with `text`, `offset`
(ticks), `duration`, `participantRawID`, `resultStatus` Final or Intermediate.

Assumed: hypotheses (`Text` instead of `DisplayText`) are cumulative, and of one utterance share its `Offset`; an
end of dictation (`RecognitionStatus` EndOfDictation) ends the stream. The default profanity option masks words: ask for
`Raw`.

Who speaks: `speaker=…` for one stream a side (best), or `channels=customer,agent`. For Communication Services name the
participant that is the customer with `customer=RAW_ID`; everybody else is the operator's side.

Authentication: your client holds the stream; it sends on with a token of ours, `call_id` in the query.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from detector.adapters.errors import FieldError
from detector.adapters.frame import Envelope, Format, Telling, call_query
from detector.adapters.heard import Began, Heard, Over, Said, Unknown
from detector.adapters.reading import TICKS_PER_MS, dump, items, load_object, number, obj, share, text, ticks
from detector.events import CallEnded, CallEvent, Segment
from detector.labels import Speaker

_QUIET: Final = ("NoMatch", "InitialSilenceTimeout", "BabbleTimeout", "1", "2", "3")


def read(data: bytes, envelope: Envelope) -> Iterator[Heard]:
    """Reads one result, one hypothesis, or one message of Communication Services."""
    message = load_object(data)
    stream = envelope.query.get("speaker", "") or "stream"
    kind = text(message, "kind")
    if kind == "TranscriptionMetadata":
        body = obj(message, "transcriptionMetadata")
        yield Began(call_id=_call(envelope, body), language=text(body, "locale"))
    elif kind == "TranscriptionData":
        yield _heard_by_acs(obj(message, "transcriptionData"), envelope)
    elif "DisplayText" in message or "NBest" in message:
        yield from _result(message, stream)
    elif "Text" in message and "Offset" in message:
        yield _said(message, text(message, "Text"), stream, final=False)
    elif str(message.get("RecognitionStatus")) == "EndOfDictation" or message.get("End") is True:
        yield Over(call_id="", stream=stream, reason="stream_ended")
    elif str(message.get("RecognitionStatus")) not in _QUIET:
        yield Unknown(kind=kind or next(iter(message), "empty"))


def _call(envelope: Envelope, body: Mapping[str, Any]) -> str:
    return envelope.query.get("call_id", "") or text(body, "callConnectionId")


def _result(message: Mapping[str, Any], stream: str) -> Iterator[Heard]:
    status = str(message.get("RecognitionStatus", "Success"))
    if status not in ("Success", "0"):
        yield Unknown(kind="unsuccessful result")
        return
    best = items(message, "NBest")
    first: Mapping[str, Any] = best[0] if best and isinstance(best[0], dict) else {}
    words = text(message, "DisplayText") or text(first, "Display", path="NBest[0].")
    yield _said(message, words, stream, final=True, confidence=share(first, "Confidence", path="NBest[0]."))


def _said(message: Mapping[str, Any], words: str, stream: str, *, final: bool, confidence: float | None = None) -> Said:
    start_ms = ticks(message, "Offset")
    if start_ms is None:
        raise FieldError("Offset", "expected a number")
    channel = number(message, "Channel")
    return Said(
        call_id="",
        text=words,
        is_final=final,
        channel="" if channel is None else str(int(channel)),
        stream=stream,
        start_ms=start_ms,
        end_ms=start_ms + (ticks(message, "Duration") or 0),
        confidence=confidence,
    )


def _heard_by_acs(body: Mapping[str, Any], envelope: Envelope) -> Said:
    start_ms = ticks(body, "offset", path="transcriptionData.")
    if start_ms is None:
        raise FieldError("transcriptionData.offset", "expected a number")
    who = text(body, "participantRawID", path="transcriptionData.")
    customer = envelope.query.get("customer", "")
    speaker = Speaker.UNKNOWN if not customer else Speaker.CUSTOMER if who == customer else Speaker.AGENT
    return Said(
        call_id=_call(envelope, body),
        text=text(body, "text", path="transcriptionData."),
        is_final=text(body, "resultStatus", path="transcriptionData.") == "Final",
        speaker=speaker,
        channel=who,
        start_ms=start_ms,
        end_ms=start_ms + (ticks(body, "duration", path="transcriptionData.") or 0),
        confidence=share(body, "confidence", path="transcriptionData."),
    )


def write(event: CallEvent, _telling: Telling) -> list[bytes]:
    """Tells an event as the Speech SDK would, for one stream a side."""
    match event.body:
        case CallEnded():
            return [dump({"RecognitionStatus": "EndOfDictation"})]
        case Segment() as said:
            times = {
                "Offset": said.start_ms * TICKS_PER_MS,
                "Duration": (said.end_ms - said.start_ms) * TICKS_PER_MS,
                "Channel": 0,
            }
            if not said.is_final:
                return [dump({"Id": said.segment_id, "Text": said.text, **times})]
            best = {"Confidence": 0.9, "Lexical": said.text, "ITN": said.text, "Display": said.text}
            head = {"Id": said.segment_id, "RecognitionStatus": 0}
            return [dump({**head, **times, "DisplayText": said.text, "NBest": [best]})]
        case _:
            return []


FORMAT: Final = Format(
    name="azure",
    title="Azure Speech",
    read=read,
    write=write,
    query=call_query,
    one_call=True,
    names_calls=True,
    split=True,
    shaky_channels=True,
)

"""Amazon Connect Contact Lens, real-time analysis segments.

Documented (Connect administrator guide, "Data model for conversational analytics segment streams", with its sample
stream): `EventType` STARTED, SEGMENTS, COMPLETED, FAILED; `ContactId`, `LanguageCode`, `Channel`; segments `Utterance`
(`Id`, `TranscriptId`, `ParticipantRole`, `PartialContent`, `BeginOffsetMillis`, `EndOffsetMillis`), `Transcript` (`Id`,
`Content` …), `Categories`, `PostContactSummary`. In the guide's sample several utterances of different ids share one
`TranscriptId` with offsets that follow each other: they are parts, not versions, and the transcript holds them all.
Documented (API reference): the answer of `ListRealtimeContactAnalysisSegments`, `{"Segments": […]}` without a contact;
it needs `call_id` in the query.

Assumed: a role other than CUSTOMER and AGENT (and SUPERVISOR, should it occur) is unknown; `InitialContactId` does not
occur in this stream, so a transferred contact is a call of its own.

Authentication: the stream is Amazon Kinesis; a bridge (see the integration page) reads it under IAM and sends on with a
token of ours. A post needs basic authentication over TLS.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from detector.adapters.errors import FieldError
from detector.adapters.frame import Envelope, Format, Telling, role
from detector.adapters.heard import Began, Heard, Over, Said, Unknown, Wrong
from detector.adapters.reading import dump, items, load_object, needed, number, obj, text
from detector.events import CallEnded, CallEvent, CallStarted, Segment
from detector.labels import Speaker

_ACCOUNT: Final = "123456789012"
_QUIET: Final = ("Categories", "PostContactSummary", "Issues")


def read(data: bytes, envelope: Envelope) -> Iterator[Heard]:
    """Reads one event of the stream, or one page of the API."""
    message = load_object(data)
    kind = text(message, "EventType")
    call_id = text(message, "ContactId") or envelope.query.get("call_id", "")
    if text(message, "Channel") not in ("", "VOICE"):
        yield Unknown(kind=f"channel {text(message, 'Channel')}")
    elif kind == "STARTED":
        yield Began(call_id=call_id, language=text(message, "LanguageCode"))
    elif kind in ("COMPLETED", "FAILED"):
        yield Over(call_id=call_id, reason=kind.lower())
    elif kind == "SEGMENTS" or (not kind and "Segments" in message):
        for segment in items(message, "Segments"):
            yield from _segment(segment, call_id, text(message, "LanguageCode"))
    else:
        yield Unknown(kind=kind or "no EventType")


def _segment(segment: Any, call_id: str, language: str) -> Iterator[Heard]:
    if not isinstance(segment, dict):
        yield Wrong(field="Segments", expected="expected objects")
        return
    try:
        if "Transcript" in segment:
            yield _said(obj(segment, "Transcript"), call_id, language, final=True)
        elif "Utterance" in segment:
            yield _said(obj(segment, "Utterance"), call_id, language, final=False)
        elif not any(name in segment for name in _QUIET):
            yield Unknown(kind=f"segment {next(iter(segment), 'empty')}")
    except FieldError as error:
        yield Wrong(field=error.field, expected=error.message)


def _said(body: Mapping[str, Any], call_id: str, language: str, *, final: bool) -> Said:
    own = needed(body, "Id")
    who = role(text(body, "ParticipantRole"))
    start_ms = number(body, "BeginOffsetMillis")
    if start_ms is None:
        raise FieldError("BeginOffsetMillis", "expected a number")
    return Said(
        call_id=call_id,
        text=text(body, "Content" if final else "PartialContent"),
        is_final=final,
        speaker=who,
        utterance_id=own if final else text(body, "TranscriptId") or own,
        piece="" if final else own,
        start_ms=start_ms,
        end_ms=number(body, "EndOffsetMillis"),
        language=language,
    )


def write(event: CallEvent, telling: Telling) -> list[bytes]:
    """Tells an event as the stream would."""
    head = {
        "Version": "1.0.0",
        "Channel": "VOICE",
        "AccountId": _ACCOUNT,
        "InstanceId": f"arn:aws:connect:ap-northeast-1:{_ACCOUNT}:instance/demo",
        "ContactId": event.call_id,
        "LanguageCode": telling.tag,
    }
    match event.body:
        case CallStarted():
            return [dump({**head, "EventType": "STARTED"})]
        case CallEnded():
            return [dump({**head, "EventType": "COMPLETED"})]
        case Segment() as said:
            who = "CUSTOMER" if said.speaker is Speaker.CUSTOMER else "AGENT"
            body: dict[str, Any] = {"ParticipantId": who, "ParticipantRole": who}
            times = {"BeginOffsetMillis": said.start_ms, "EndOffsetMillis": said.end_ms}
            if said.is_final:
                segment = {"Transcript": {"Id": said.segment_id, **body, "Content": said.text, **times}}
            else:
                # One part that grows: the stream's parts add up, and this part is all of them so far.
                part = {"Id": f"{said.segment_id}-p", "TranscriptId": said.segment_id, **body}
                segment = {"Utterance": {**part, "PartialContent": said.text, **times}}
            return [dump({**head, "EventType": "SEGMENTS", "Segments": [segment]})]
        case _:
            return []


FORMAT: Final = Format(name="contact_lens", title="Amazon Connect Contact Lens", read=read, write=write)

"""Salesforce Voice (Service Cloud Voice): transcript events of the toolkit, and the messages of its telephony API.

Verified in Salesforce's developer documentation: the toolkit's TRANSCRIPT event, `detail` with `clientSentTimestamp`,
`serverReceivedTimestamp` (milliseconds since 1970), `content.text`, `callId`, `sender.role` (Agent, EndUser).

Documented by name, values unverified: the body of `POST /telephony/v1/voiceCalls/{vendorCallKey}/messages`,
`participantId`, `messageId`, `startTime`, `endTime` (milliseconds since 1970), `content`, `senderType` (END_USER,
HUMAN_AGENT, VIRTUAL_AGENT, SUPERVISOR); a relay adds `callId`. Assumed: CALL_STARTED and CALL_ENDED are told by the
toolkit with the same `detail.callId`; every transcript is final; there are no offsets, so times are UTC.

Authentication: a relay (an Apex callout, a Lambda) posts with a token of ours or basic authentication over TLS.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from detector.adapters.errors import FieldError
from detector.adapters.frame import Envelope, Format, Telling, language_query, role
from detector.adapters.heard import Began, Heard, Over, Said, Unknown
from detector.adapters.reading import dump, load_object, number, obj, text
from detector.events import CallEnded, CallEvent, CallStarted, Segment
from detector.labels import Speaker

_STARTS: Final = ("CALL_STARTED", "CALL_CONNECTED", "VOICE_CALL_STARTED")
_ENDS: Final = ("CALL_ENDED", "VOICE_CALL_ENDED", "HANGUP")


def read(data: bytes, envelope: Envelope) -> Iterator[Heard]:
    """Reads one event or one message."""
    message = load_object(data)
    kind = text(message, "type")
    detail = obj(message, "detail")
    call_id = text(detail, "callId") or text(message, "callId") or envelope.query.get("call_id", "")
    if kind == "TRANSCRIPT":
        yield _event(detail, call_id)
    elif kind in _STARTS:
        yield Began(call_id=call_id, at_ms=_moment(detail))
    elif kind in _ENDS:
        yield Over(call_id=call_id, at_ms=_moment(detail), reason=kind.lower())
    elif not kind and "senderType" in message:
        yield _api(message, call_id)
    else:
        yield Unknown(kind=kind or "no type")


def _moment(detail: Mapping[str, Any]) -> int | None:
    found = number(detail, "serverReceivedTimestamp", path="detail.")
    if found is None:
        found = number(detail, "clientSentTimestamp", path="detail.")
    return None if found is None else int(found)


def _event(detail: Mapping[str, Any], call_id: str) -> Said:
    who = text(obj(detail, "sender", path="detail."), "role", path="detail.sender.")
    sent = number(detail, "clientSentTimestamp", path="detail.")
    at_ms = _moment(detail)
    return Said(
        call_id=call_id,
        text=text(obj(detail, "content", path="detail."), "text", path="detail.content."),
        is_final=True,
        speaker=role(who),
        # The toolkit gives transcripts no id: sender and moment of sending name one.
        utterance_id=f"{who}@{int(sent)}" if sent is not None else "",
        at_ms=at_ms,
    )


def _api(message: Mapping[str, Any], call_id: str) -> Said:
    start, end = number(message, "startTime"), number(message, "endTime")
    if start is None:
        raise FieldError("startTime", "expected a number")
    return Said(
        call_id=call_id,
        text=text(message, "content"),
        is_final=True,
        speaker=role(text(message, "senderType")),
        utterance_id=text(message, "messageId"),
        session_ms=int(start),
        start_ms=0.0,
        end_ms=max(0.0, (end if end is not None else start) - start),
    )


def write(event: CallEvent, telling: Telling) -> list[bytes]:
    """Tells an event as the toolkit would; partials are not told there."""
    more: dict[str, object]
    match event.body:
        case CallStarted():
            kind, at_ms, more = "CALL_STARTED", 0, {}
        case CallEnded(offset_ms=at_ms):
            kind, more = "CALL_ENDED", {}
        case Segment(is_final=True) as said:
            who = "EndUser" if said.speaker is Speaker.CUSTOMER else "Agent"
            kind, at_ms = "TRANSCRIPT", said.end_ms
            more = {"content": {"formatType": "Text", "text": said.text}, "sender": {"role": who}}
        case _:
            return []
    at = telling.started_ms + at_ms
    times = {"clientSentTimestamp": at, "serverReceivedTimestamp": at}
    return [dump({"type": kind, "detail": {**times, **more, "callId": event.call_id}})]


FORMAT: Final = Format(
    name="salesforce_voice", title="Salesforce Voice", read=read, write=write, query=language_query, webhook=True
)

"""Salesforce Voice (Service Cloud Voice): transcript events of the toolkit, and the messages of its telephony API.

Verified in Salesforce's developer documentation: the transcript event, `detail` with `clientSentTimestamp`,
`serverReceivedTimestamp` (milliseconds since 1970), `content.text`, `callId`, `sender.role`. Documented there as well:
`detail.id` of a transcript; the names of the other events, which the Aura toolkit writes CALL_STARTED and the toolkit of
Lightning web components callstarted; `callType` (inbound, outbound) and `participant` (a number) of callstarted and
callconnected; hold, resume; flagraise, by which an operator asks a supervisor for help, with `content.text`.

Documented by name, values unverified: the body of `POST /telephony/v1/voiceCalls/{vendorCallKey}/messages`,
`participantId`, `messageId`, `startTime`, `endTime` (milliseconds since 1970), `content`, `senderType` (END_USER,
HUMAN_AGENT, VIRTUAL_AGENT, SUPERVISOR); a relay adds `callId`. Assumed: `sender.role` of the customer is EndUser; events
of telephony tell no time, so they happen when they arrive; a held call is one on which the customer waits; `detail.id`
may repeat, so the moment of sending goes with it; every transcript is final; there are no offsets, so times are UTC.

Authentication: a relay (an Apex callout, a Lambda) posts with a token of ours or basic authentication over TLS.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from detector.adapters.errors import FieldError
from detector.adapters.frame import Envelope, Format, Telling, language_query, role
from detector.adapters.heard import Began, Happened, Heard, Over, Said, Unknown
from detector.adapters.reading import dump, load_object, number, obj, text
from detector.events import AgentHelp, CallEnded, CallEvent, CallHeld, CallResumed, CallStarted, Segment
from detector.labels import Speaker

_STARTS: Final = ("callstarted", "callconnected")
_QUIET: Final = (
    *("audiostats", "mute", "unmute", "participantadded", "participantremoved", "conference", "swap"),
    *("pauserecording", "resumerecording", "wrapupended", "flaglower", "note", "intelligencesignal"),
)
MAX_NOTE_CHARS: Final = 4096
"""Of a help request's note, as in our own protocol."""


def read(data: bytes, envelope: Envelope) -> Iterator[Heard]:
    """Reads one event or one message."""
    message = load_object(data)
    written = text(message, "type")
    kind = written.replace("_", "").lower()  # CALL_STARTED in Aura, callstarted in Lightning web components
    detail = obj(message, "detail")
    call_id = text(detail, "callId") or text(message, "callId") or envelope.query.get("call_id", "")
    if kind == "transcript":
        yield _event(detail, call_id)
    elif kind in _STARTS:
        yield Began(
            call_id=call_id,
            at_ms=_moment(detail),
            direction=text(detail, "callType", path="detail.").lower(),
            caller=text(detail, "participant", path="detail.") or None,
        )
    elif kind == "callended":
        yield Over(call_id=call_id, at_ms=_moment(detail), reason=kind)
    elif kind in ("hold", "resume"):
        make = CallHeld if kind == "hold" else CallResumed
        yield Happened(call_id=call_id, body=lambda ms: make(offset_ms=ms), at_ms=_moment(detail))
    elif kind == "flagraise":
        note = text(obj(detail, "content", path="detail."), "text", path="detail.content.")[:MAX_NOTE_CHARS]
        yield Happened(call_id=call_id, body=lambda ms: AgentHelp(offset_ms=ms, note=note), at_ms=_moment(detail))
    elif not kind and "senderType" in message:
        yield _api(message, call_id)
    elif kind not in _QUIET:
        yield Unknown(kind=written or "no type")


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
        # Where a transcript has no id, sender and moment of sending name one.
        utterance_id=f"{text(detail, 'id', path='detail.') or who}@{int(sent)}" if sent is not None else "",
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

"""Genesys Cloud, transcription notifications: the notification websocket and the EventBridge envelope around the same.

Verified against a captured EventBridge event and the platform SDKs' models (`TranscriptionTopicTranscriptionMessage`,
`…TranscriptResult`, `…TranscriptAlternative`, `…TranscriptionRequestStatus`): `eventBody` with `conversationId`,
`communicationId`, `sessionStartTimeMs`, `transcripts[]` of `utteranceId`, `isFinal`, `channel` (UNKNOWN, INTERNAL,
EXTERNAL, BOTH), `dialect`, `alternatives[]` of `confidence`, `offsetMs`, `durationMs`, `transcript`,
`decoratedTranscript`; `status.status` UNKNOWN, SESSION_ONGOING, SESSION_ENDED, with `status.offsetMs`. The SDKs'
listeners treat `channel.metadata` (heartbeat, pong) and `v2.system.socket_closing` as the socket's own affairs.

Assumed: `offsetMs` counts from `sessionStartTimeMs` (the captured event fits within 3 s: session start + offset +
duration against `eventTime`); one conversation has one session for each communication, so a transfer starts a second one
whose offsets begin at 0 again; the decorated text, with its numbers and casing, is preferred. The conversation ends when
the last of its sessions has ended; a session that begins after that opens the call again as a new instance.

Authentication: the websocket is pulled by us under OAuth (`mamori pull genesys`); EventBridge API destinations post with
basic authentication over TLS.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from detector.adapters.errors import FieldError
from detector.adapters.frame import Envelope, Format, Telling, role
from detector.adapters.heard import Heard, Over, Said, Unknown, Wrong
from detector.adapters.reading import dump, items, load_object, needed, number, obj, share, text, utc_text
from detector.events import CallEnded, CallEvent, Segment
from detector.labels import Speaker

_SOCKET: Final = ("channel.metadata", "v2.system.socket_closing")
_TOPIC: Final = ".transcription"


def read(data: bytes, _envelope: Envelope) -> Iterator[Heard]:
    """Reads one notification, with or without EventBridge's envelope."""
    message = load_object(data)
    detail = obj(message, "detail") or message
    topic = text(detail, "topicName") or text(message, "detail-type")
    if topic in _SOCKET or ("result" in detail and "status" in detail):
        return
    if not topic.endswith(_TOPIC):
        yield Unknown(kind=topic if topic.startswith("v2.system") else "topic")
        return
    body = obj(detail, "eventBody")
    call_id = needed(body, "conversationId", path="eventBody.")
    stream = text(body, "communicationId", path="eventBody.")
    session = number(body, "sessionStartTimeMs", path="eventBody.")
    if session is None:
        session = number(body, "transcriptionStartTimeMs", path="eventBody.")
    session_ms = None if session is None else int(session)
    for index, transcript in enumerate(items(body, "transcripts", path="eventBody.")):
        path = f"eventBody.transcripts[{index}]."
        try:
            said = _said(transcript, call_id, stream, session_ms, path)
        except FieldError as error:
            yield Wrong(field=error.field, expected=error.message)
        else:
            if said is not None:
                yield said
    status = obj(body, "status", path="eventBody.")
    state = text(status, "status", path="eventBody.status.")
    if state == "SESSION_ENDED":
        offset_ms = number(status, "offsetMs", path="eventBody.status.")
        yield Over(call_id=call_id, stream=stream, reason="session_ended", offset_ms=offset_ms, session_ms=session_ms)
    elif state not in ("", "SESSION_ONGOING", "UNKNOWN"):
        yield Unknown(kind=f"status {state}")


def _said(transcript: Any, call_id: str, stream: str, session_ms: int | None, path: str) -> Said | None:
    if not isinstance(transcript, dict):
        raise FieldError(path.rstrip("."), "expected an object")
    alternatives = items(transcript, "alternatives", path=path)
    if not alternatives:
        return None
    best: Mapping[str, Any] = alternatives[0] if isinstance(alternatives[0], dict) else {}
    path_best = f"{path}alternatives[0]."
    final = transcript.get("isFinal", False)
    if not isinstance(final, bool):
        raise FieldError(f"{path}isFinal", "expected true or false")
    start_ms = number(best, "offsetMs", path=path_best)
    if start_ms is None:
        raise FieldError(f"{path_best}offsetMs", "expected a number")
    return Said(
        call_id=call_id,
        text=text(best, "decoratedTranscript", path=path_best) or text(best, "transcript", path=path_best),
        is_final=final,
        speaker=role(text(transcript, "channel", path=path)),
        utterance_id=needed(transcript, "utteranceId", path=path),
        stream=stream,
        session_ms=session_ms,
        start_ms=start_ms,
        end_ms=start_ms + (number(best, "durationMs", path=path_best) or 0),
        confidence=share(best, "confidence", path=path_best),
        language=text(transcript, "dialect", path=path),
    )


def write(event: CallEvent, telling: Telling) -> list[bytes]:
    """Tells an event as the notification websocket would; a start is not told there."""
    body: dict[str, Any] = {
        "organizationId": "demo",
        "conversationId": event.call_id,
        "communicationId": f"{event.call_id}-1",
        "sessionStartTimeMs": telling.started_ms,
        "transcriptionStartTimeMs": telling.started_ms,
        "transcripts": [],
    }
    match event.body:
        case Segment() as said:
            words = {"transcript": said.text, "decoratedTranscript": said.text, "words": [], "decoratedWords": []}
            times = {"offsetMs": said.start_ms, "durationMs": said.end_ms - said.start_ms}
            alternative = {"confidence": 0.9 if said.confidence is None else said.confidence, **times, **words}
            transcript = {
                "utteranceId": said.segment_id,
                "isFinal": said.is_final,
                "channel": "EXTERNAL" if said.speaker is Speaker.CUSTOMER else "INTERNAL",
                "alternatives": [alternative],
                "engineProvider": "GENESYS",
                "dialect": telling.tag,
            }
            body |= {"transcripts": [transcript], "status": {"status": "SESSION_ONGOING", "offsetMs": said.end_ms}}
            at_ms = said.end_ms
        case CallEnded(offset_ms=at_ms):
            body["status"] = {"status": "SESSION_ENDED", "offsetMs": at_ms}
        case _:
            return []
    body["eventTime"] = utc_text(telling.started_ms + at_ms)
    topic = f"v2.conversations.{event.call_id}{_TOPIC}"
    return [dump({"topicName": topic, "version": "2", "eventBody": body, "metadata": {"CorrelationId": "demo"}})]


FORMAT: Final = Format(name="genesys", title="Genesys Cloud", read=read, write=write)

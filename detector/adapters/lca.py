"""AWS Live Call Analytics with Agent Assist (LCA): the events that its transcribers put on the call data stream.

Verified verbatim in the solution's sources (event types of the Talkdesk stack, the call event processor's map, the
transcript hook's document): `EventType` START, ADD_TRANSCRIPT_SEGMENT, UPDATE_AGENT, END and the older STARTED, SEGMENTS,
COMPLETED, FAILED; `CallId`, `Channel` CALLER, AGENT, `SegmentId`, `StartTime`, `EndTime` (seconds, as numbers and as
texts), `Transcript`, `IsPartial`, `CreatedAt`, `CustomerPhoneNumber`, `AgentId`; a transcript may instead lie in
`TranscriptEvent` (Amazon Transcribe) or `UtteranceEvent` (Call Analytics), whose offsets are milliseconds.

Assumed: START does not tell the language (a deployment has one): say `language=ja` in the query. Partials of a segment
are cumulative. `AGENT_VOICETONE` and `CALLER_VOICETONE` channels hold no words. A `TranscriptEvent` may carry `Items` with
`VocabularyFilterMatch`, as Amazon Transcribe's own results do.

Authentication: the stream is Amazon Kinesis; a bridge reads it under IAM and sends on with a token of ours.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from detector.adapters.frame import Envelope, Format, Telling, language_query, role
from detector.adapters.heard import Began, Happened, Heard, Over, Said, Unknown
from detector.adapters.reading import dump, flag, load_object, needed, obj, seconds, text, utc, utc_text
from detector.adapters.transcribe_analytics import hidden, utterance
from detector.events import CallChanged, CallEnded, CallEvent, CallStarted, ChangeReason, Segment
from detector.labels import Speaker

_QUIET: Final = (
    *("ADD_CALL_CATEGORY", "ADD_SUMMARY", "ADD_AGENT_ASSIST", "ADD_S3_RECORDING_URL", "ADD_PCA_URL"),
    *("CALL_ANALYTICS_METADATA", "CONTINUE"),
)


def read(data: bytes, _envelope: Envelope) -> Iterator[Heard]:
    """Reads one event."""
    message = load_object(data)
    kind = text(message, "EventType")
    if kind in _QUIET:
        return
    if kind in ("START", "STARTED"):
        yield Began(
            call_id=needed(message, "CallId"),
            at_ms=utc(message, "CreatedAt"),
            agent_id=text(message, "AgentId"),
            caller=text(message, "CustomerPhoneNumber") or None,
        )
    elif kind in ("END", "COMPLETED", "FAILED", "ERRORED"):
        yield Over(call_id=needed(message, "CallId"), at_ms=utc(message, "CreatedAt"), reason=kind.lower())
    elif kind == "UPDATE_AGENT":
        agent = text(message, "AgentId")[:256]
        yield Happened(
            call_id=needed(message, "CallId"),
            at_ms=utc(message, "CreatedAt"),
            body=lambda ms: CallChanged(offset_ms=ms, reason=ChangeReason.TRANSFER, agent_id=agent),
        )
    elif kind in ("ADD_TRANSCRIPT_SEGMENT", "SEGMENTS"):
        yield _said(message, needed(message, "CallId"))
    else:
        yield Unknown(kind=kind or "no EventType")


def _said(message: Mapping[str, Any], call_id: str) -> Heard:
    if spoken := obj(message, "UtteranceEvent"):
        return utterance(spoken, call_id)
    body = obj(message, "TranscriptEvent") or message
    channel = text(body, "Channel")
    if channel.endswith("_VOICETONE"):
        return Unknown(kind="voice tone")
    return Said(
        call_id=call_id,
        text=text(body, "Transcript"),
        is_final=not flag(body, "IsPartial", default=False),
        speaker=role(channel),
        channel=channel,
        utterance_id=text(body, "SegmentId") or text(body, "ResultId"),
        start_ms=seconds(body, "StartTime"),
        end_ms=seconds(body, "EndTime"),
        at_ms=utc(message, "CreatedAt"),
        language=text(body, "LanguageCode"),
        masked=hidden(body.get("Items")),
    )


def write(event: CallEvent, telling: Telling) -> list[bytes]:
    """Tells an event as the transcriber would."""
    head = {"CallId": event.call_id}
    match event.body:
        case CallStarted(agent_id=agent):
            at = {"CreatedAt": utc_text(telling.started_ms), "AgentId": agent}
            return [dump({"EventType": "START", **head, **at})]
        case CallEnded(offset_ms=ms):
            return [dump({"EventType": "END", **head, "CreatedAt": utc_text(telling.started_ms + ms)})]
        case CallChanged(offset_ms=ms, agent_id=agent):
            at = {"CreatedAt": utc_text(telling.started_ms + ms), "AgentId": agent}
            return [dump({"EventType": "UPDATE_AGENT", **head, **at})]
        case Segment() as said:
            body = {
                "Channel": "CALLER" if said.speaker is Speaker.CUSTOMER else "AGENT",
                "SegmentId": said.segment_id,
                "StartTime": str(said.start_ms / 1000),
                "EndTime": str(said.end_ms / 1000),
                "Transcript": said.text,
                "IsPartial": not said.is_final,
                "LanguageCode": telling.tag,
            }
            return [dump({"EventType": "ADD_TRANSCRIPT_SEGMENT", **head, **body})]
        case _:
            return []


FORMAT: Final = Format(name="lca", title="AWS Live Call Analytics", read=read, write=write, query=language_query)

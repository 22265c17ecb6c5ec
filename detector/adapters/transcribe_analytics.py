"""Amazon Transcribe Call Analytics, streaming: `UtteranceEvent` and `CategoryEvent`.

Documented (API reference, `CallAnalyticsTranscriptResultStream`): `UtteranceId`, `IsPartial`, `ParticipantRole` AGENT,
CUSTOMER, `BeginOffsetMillis`, `EndOffsetMillis`, `Transcript`, `Items[]` with `Content`, `VocabularyFilterMatch`,
`LanguageCode`. A vocabulary filter masks words as `***`, removes them, or tags them alone (`VocabularyFilterMatch`): a tag
is the weakest of signs, the word is there and speaks for itself.

Assumed: partials are cumulative, and of one utterance share its `UtteranceId`. The stream has no end of the call: close
the websocket to us, or send `{"End": true}`; else the idle time-out ends it.

Authentication: your client holds the AWS stream; it sends on with a token of ours, `call_id` in the query.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from detector.adapters.frame import Envelope, Format, Telling, call_query, role
from detector.adapters.heard import Heard, Over, Said, Unknown
from detector.adapters.reading import MASK, dump, flag, load_object, needed, number, obj, text
from detector.events import CallEnded, CallEvent, Segment
from detector.labels import Speaker


def read(data: bytes, _envelope: Envelope) -> Iterator[Heard]:
    """Reads one event of the stream."""
    message = load_object(data)
    if "UtteranceEvent" in message:
        yield utterance(obj(message, "UtteranceEvent"), "")
    elif message.get("End") is True:
        yield Over(call_id="")
    elif "CategoryEvent" not in message:
        yield Unknown(kind=next(iter(message), "empty"))


def utterance(body: Mapping[str, Any], call_id: str) -> Said:
    """An `UtteranceEvent`, here and within LCA's events."""
    return Said(
        call_id=call_id,
        text=text(body, "Transcript"),
        is_final=not flag(body, "IsPartial", default=False),
        speaker=role(text(body, "ParticipantRole")),
        utterance_id=needed(body, "UtteranceId"),
        start_ms=number(body, "BeginOffsetMillis"),
        end_ms=number(body, "EndOffsetMillis"),
        language=text(body, "LanguageCode"),
        masked=hidden(body.get("Items")),
    )


def hidden(found: Any) -> bool:
    """Whether the vocabulary filter took a word away: a flagged item without its word. A flagged word that is there is
    not hidden, and speaks for itself."""
    return isinstance(found, list) and any(
        isinstance(item, dict) and item.get("VocabularyFilterMatch") is True and item.get("Content") in (None, "", MASK)
        for item in found
    )


def write(event: CallEvent, telling: Telling) -> list[bytes]:
    """Tells an event as the stream would."""
    match event.body:
        case CallEnded():
            return [dump({"End": True})]
        case Segment() as said:
            body = {
                "UtteranceId": said.segment_id,
                "ParticipantRole": "CUSTOMER" if said.speaker is Speaker.CUSTOMER else "AGENT",
                "IsPartial": not said.is_final,
                "BeginOffsetMillis": said.start_ms,
                "EndOffsetMillis": said.end_ms,
                "Transcript": said.text,
                "LanguageCode": telling.tag,
            }
            return [dump({"UtteranceEvent": body})]
        case _:
            return []


FORMAT: Final = Format(
    name="transcribe_analytics",
    title="Amazon Transcribe Call Analytics (streaming)",
    read=read,
    write=write,
    query=call_query,
    one_call=True,
)

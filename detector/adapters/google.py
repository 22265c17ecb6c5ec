"""Google: Cloud Speech-to-Text streaming responses, and Agent Assist (Dialogflow) conversation events.

Documented (Speech v2 `StreamingRecognizeResponse`): `results[]` of `alternatives[].transcript`, `confidence`, `isFinal`,
`stability`. Names documented, values unverified: `channelTag` (from 1), `resultEndOffset` (a duration such as `"3.1s"`),
`languageCode`. Documented (Dialogflow `ConversationEvent`): `conversation`, `type` CONVERSATION_STARTED,
CONVERSATION_FINISHED, NEW_MESSAGE, NEW_RECOGNITION_RESULT, `newMessagePayload`, `newRecognitionResultPayload`.

Several results without `isFinal` in one response are stretches of one utterance (the stable part and the rest): they are
joined. Results have no start: an utterance begins where its first partial was heard, or as long before its end as it
takes to say. `profanityFilter` masks all but the first letter (`f***`); it is off unless asked for.

Documented (Dialogflow `Message`): `name`, `content`, `languageCode`, `participantRole` (END_USER, HUMAN_AGENT,
AUTOMATED_AGENT), `createTime`. Assumed: `newMessagePayload` is such a message, and its `name` tells a repeated one. Recognition results of a conversation tell no role: they are left to the new
message that follows. Pub/Sub's push envelope (`message.data` in base64) is unpacked.

Who speaks in streaming responses: `channels=customer,agent` (channelTag 1, 2) or `speaker=…` in the query.

Authentication: your client holds the stream, or Pub/Sub pushes; both come with a token of ours or basic over TLS.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping
from typing import Any, Final

from detector.adapters.errors import FieldError
from detector.adapters.frame import Envelope, Format, Telling, channels_query, role
from detector.adapters.heard import Began, Heard, Over, Said, Unknown, Wrong
from detector.adapters.reading import dump, flag, items, load_object, needed, number, obj, seconds, share, text, utc
from detector.events import CallEnded, CallEvent, Segment
from detector.labels import Speaker

_QUIET: Final = ("NEW_RECOGNITION_RESULT", "HUMAN_INTERVENTION_NEEDED", "UNRECOVERABLE_ERROR", "TYPE_UNSPECIFIED")


def read(data: bytes, _envelope: Envelope) -> Iterator[Heard]:
    """Reads one response, one conversation event, or one push of Pub/Sub."""
    message = load_object(data)
    pushed = obj(message, "message")
    if "data" in pushed:
        try:
            message = load_object(base64.b64decode(text(pushed, "data", path="message."), validate=True))
        except binascii.Error:
            raise FieldError("message.data", "expected base64") from None
    if "results" in message:
        yield from _results(items(message, "results"))
    elif "conversation" in message:
        yield from _conversation(message)
    elif message.get("End") is True:
        yield Over(call_id="")
    elif not any(name in message for name in ("speechEventType", "metadata", "totalBilledDuration")):
        yield Unknown(kind=next(iter(message), "empty"))


def _results(results: list[Any]) -> Iterator[Heard]:
    so_far: dict[str, list[str]] = {}
    reached: dict[str, float] = {}
    for index, result in enumerate(results):
        path = f"results[{index}]."
        try:
            if not isinstance(result, dict):
                raise FieldError(path.rstrip("."), "expected an object")
            tag = number(result, "channelTag", path=path)
            channel = "" if not tag else str(int(tag) - 1)
            alternatives = items(result, "alternatives", path=path)
            best: Mapping[str, Any] = alternatives[0] if alternatives and isinstance(alternatives[0], dict) else {}
            words = text(best, "transcript", path=path)
            end_ms = seconds(result, "resultEndOffset", path=path)
            if not flag(result, "isFinal", default=False, path=path):
                so_far.setdefault(channel, []).append(words)
                if end_ms is not None:
                    reached[channel] = max(end_ms, reached.get(channel, 0.0))
                continue
            yield Said(
                call_id="",
                text=words.strip(),
                is_final=True,
                channel=channel,
                end_ms=end_ms,
                confidence=share(best, "confidence", path=path),
                language=text(result, "languageCode", path=path),
            )
        except FieldError as error:
            yield Wrong(field=error.field, expected=error.message)
    for channel, parts in so_far.items():
        words = "".join(parts).strip()
        yield Said(call_id="", text=words, is_final=False, channel=channel, end_ms=reached.get(channel))


def _conversation(event: Mapping[str, Any]) -> Iterator[Heard]:
    call_id = needed(event, "conversation").rsplit("/", 1)[-1]
    kind = text(event, "type")
    if kind == "CONVERSATION_STARTED":
        yield Began(call_id=call_id)
    elif kind == "CONVERSATION_FINISHED":
        yield Over(call_id=call_id, reason="finished")
    elif kind == "NEW_MESSAGE":
        body = obj(event, "newMessagePayload")
        path = "newMessagePayload."
        yield Said(
            call_id=call_id,
            text=text(body, "content", path=path),
            is_final=True,
            speaker=role(text(body, "participantRole", path=path)),
            utterance_id=needed(body, "name", path=path).rsplit("/", 1)[-1],
            at_ms=utc(body, "createTime", path=path),
            language=text(body, "languageCode", path=path),
        )
    elif kind not in _QUIET:
        yield Unknown(kind=kind or "no type")


def write(event: CallEvent, telling: Telling) -> list[bytes]:
    """Tells an event as streaming recognition would."""
    match event.body:
        case CallEnded():
            return [dump({"End": True})]
        case Segment() as said:
            result: dict[str, Any] = {
                "alternatives": [{"transcript": said.text, "confidence": 0.9}],
                "channelTag": 1 if said.speaker is Speaker.CUSTOMER else 2,
                "languageCode": telling.tag,
            }
            if said.is_final:
                result |= {"isFinal": True, "resultEndOffset": f"{said.end_ms / 1000}s"}
            else:
                result |= {"stability": 0.5, "resultEndOffset": f"{said.end_ms / 1000}s"}
            return [dump({"results": [result]})]
        case _:
            return []


FORMAT: Final = Format(
    name="google",
    title="Google Speech-to-Text and Agent Assist",
    read=read,
    write=write,
    query=channels_query,
    one_call=True,
    names_calls=True,
)

"""Amazon Transcribe, streaming: `TranscriptEvent` with results.

Documented (API reference, `TranscriptEvent`, `Result`, `Item`): `Transcript.Results[]` of `ResultId`, `StartTime`,
`EndTime` (seconds), `IsPartial`, `ChannelId` (`ch_0`, `ch_1`, with channel identification), `LanguageCode`,
`Alternatives[].Transcript`, `Items[]` of `Content`, `VocabularyFilterMatch`. A vocabulary filter masks words as `***`,
removes them, or tags them alone.

Assumed: partials are cumulative and share the final's `ResultId`. The stream has no end of the call: send
`{"End": true}`; else the idle time-out ends it.

Who speaks: `channels=customer,agent` in the query for `ch_0` and `ch_1`, or `speaker=…` for one stream a side.

Authentication: your client holds the AWS stream; it sends on with a token of ours, `call_id` in the query.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from detector.adapters.errors import FieldError
from detector.adapters.frame import Envelope, Format, Telling, channels_query
from detector.adapters.heard import Heard, Over, Said, Unknown, Wrong
from detector.adapters.reading import dump, flag, items, load_object, needed, obj, seconds, text
from detector.adapters.transcribe_analytics import hidden
from detector.events import CallEnded, CallEvent, Segment
from detector.labels import Speaker


def read(data: bytes, _envelope: Envelope) -> Iterator[Heard]:
    """Reads one event; with or without the SDK's `TranscriptEvent` around it."""
    message = load_object(data)
    message = obj(message, "TranscriptEvent") or message
    if message.get("End") is True:
        yield Over(call_id="")
        return
    if "Transcript" not in message:
        yield Unknown(kind=next(iter(message), "empty"))
        return
    for index, result in enumerate(items(obj(message, "Transcript"), "Results", path="Transcript.")):
        try:
            said = _said(result, f"Transcript.Results[{index}].")
        except FieldError as error:
            yield Wrong(field=error.field, expected=error.message)
        else:
            if said is not None:
                yield said


def _said(result: Any, path: str) -> Said | None:
    if not isinstance(result, dict):
        raise FieldError(path.rstrip("."), "expected an object")
    alternatives = items(result, "Alternatives", path=path)
    if not alternatives or not isinstance(alternatives[0], dict):
        return None
    return Said(
        call_id="",
        text=text(alternatives[0], "Transcript", path=path),
        is_final=not flag(result, "IsPartial", default=False, path=path),
        channel=text(result, "ChannelId", path=path).removeprefix("ch_"),
        utterance_id=needed(result, "ResultId", path=path),
        start_ms=seconds(result, "StartTime", path=path),
        end_ms=seconds(result, "EndTime", path=path),
        language=text(result, "LanguageCode", path=path),
        masked=hidden(alternatives[0].get("Items")),
    )


def write(event: CallEvent, telling: Telling) -> list[bytes]:
    """Tells an event as the stream would."""
    match event.body:
        case CallEnded():
            return [dump({"End": True})]
        case Segment() as said:
            result = {
                "ResultId": said.segment_id,
                "ChannelId": "ch_0" if said.speaker is Speaker.CUSTOMER else "ch_1",
                "IsPartial": not said.is_final,
                "StartTime": said.start_ms / 1000,
                "EndTime": said.end_ms / 1000,
                "LanguageCode": telling.tag,
                "Alternatives": [{"Transcript": said.text, "Items": []}],
            }
            return [dump({"Transcript": {"Results": [result]}})]
        case _:
            return []


FORMAT: Final = Format(
    name="transcribe",
    title="Amazon Transcribe (streaming)",
    read=read,
    write=write,
    query=channels_query,
    one_call=True,
)

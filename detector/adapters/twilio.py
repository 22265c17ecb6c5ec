"""Twilio Real-Time Transcriptions: form-encoded webhooks.

Documented (TwiML `<Transcription>` and its status callbacks) and seen in public handlers: `TranscriptionEvent`
(`transcription-started`, `-content`, `-stopped`, `-error`), `CallSid`, `TranscriptionSid`, `Timestamp` (RFC 3339),
`SequenceId` (a number as text), `Track` (`inbound_track`, `outbound_track`), `Final` (`"true"`, `"false"`),
`TranscriptionData` (a JSON text of `transcript` and `confidence`), `LanguageCode`, `InboundTrackLabel`,
`OutboundTrackLabel`. Partials are cumulative (each replaces the last) and come only with `partialResults`.

Whose track is whose depends on the call: `inbound` is what Twilio hears from the leg that the transcription runs on. The
default is a caller who rang in (`direction=inbound`): inbound is the customer. With `direction=outbound` the leg is the
operator's own, who dialled out: inbound is the operator. Labels `customer` and `agent` given as `inboundTrackLabel` and
`outboundTrackLabel` decide where they are set, and `customer_track=outbound_track` in the query decides over all.

Assumed: no offsets exist, so media time is `Timestamp` minus that of `transcription-started`, an utterance ends when its
message is stamped, and begins with its first partial or as long before as it takes to say; the stop of the transcription
is the end of the call (`…-error`, too: nothing is transcribed any more); `Stability` is not used.

Authentication: `X-Twilio-Signature` over the public address and the fields, checked before this code sees a message.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final
from urllib.parse import urlencode

from detector.adapters.errors import AdapterError, FieldError
from detector.adapters.frame import Envelope, Format, Telling, role
from detector.adapters.heard import Began, Heard, Over, Said, Unknown
from detector.adapters.reading import dump, flag, load_form, load_object, needed, number, share, text, utc, utc_text
from detector.events import CallEnded, CallEvent, CallStarted, Segment
from detector.labels import Speaker

INBOUND: Final = "inbound_track"
OUTBOUND: Final = "outbound_track"


def read(data: bytes, envelope: Envelope) -> Iterator[Heard]:
    """Reads one webhook."""
    form = load_form(data)
    kind = text(form, "TranscriptionEvent")
    if not kind:
        yield Unknown(kind="no TranscriptionEvent")
        return
    call_id = needed(form, "CallSid")
    at_ms = utc(form, "Timestamp")
    if kind == "transcription-started":
        yield Began(call_id=call_id, at_ms=at_ms, language=text(form, "LanguageCode"), roles=_labelled(form))
    elif kind == "transcription-content":
        yield _said(form, envelope, call_id, at_ms)
    elif kind in ("transcription-stopped", "transcription-error"):
        yield Over(call_id=call_id, at_ms=at_ms, reason=kind.removeprefix("transcription-"))
    else:
        yield Unknown(kind=kind)


def _labelled(form: Mapping[str, str]) -> dict[str, Speaker]:
    found = {INBOUND: role(form.get("InboundTrackLabel", "")), OUTBOUND: role(form.get("OutboundTrackLabel", ""))}
    return {track: speaker for track, speaker in found.items() if speaker is not Speaker.UNKNOWN}


def _said(form: Mapping[str, str], envelope: Envelope, call_id: str, at_ms: int | None) -> Said:
    try:
        said = load_object(text(form, "TranscriptionData") or "{}")
    except AdapterError:
        raise FieldError("TranscriptionData", "expected a text that is a JSON object") from None
    order = number(form, "SequenceId")
    track = text(form, "Track")
    return Said(
        call_id=call_id,
        text=text(said, "transcript", path="TranscriptionData."),
        is_final=flag(form, "Final", default=True),
        speaker=_by_query(track, envelope),
        channel=track,
        order=None if order is None else int(order),
        at_ms=at_ms,
        confidence=share(said, "confidence", path="TranscriptionData."),
        language=text(form, "LanguageCode"),
    )


def _by_query(track: str, envelope: Envelope) -> Speaker | None:
    """Whose track it is where the address says so; None leaves it to the labels, and then to the call's direction."""
    if track not in (INBOUND, OUTBOUND):
        return Speaker.UNKNOWN
    customers = envelope.query.get("customer_track", "")
    if customers in (INBOUND, OUTBOUND):
        return Speaker.CUSTOMER if track == customers else Speaker.AGENT
    return None


def by_direction(track: str, direction: str) -> Speaker:
    """Whose track it is by the direction of the call."""
    customers = OUTBOUND if direction.lower() == "outbound" else INBOUND
    return Speaker.CUSTOMER if track == customers else Speaker.AGENT


def write(event: CallEvent, telling: Telling) -> list[bytes]:
    """Tells an event as the webhook would."""
    form: dict[str, Any] = {
        "AccountSid": "AC" + "0" * 32,
        "CallSid": event.call_id,
        "TranscriptionSid": "GT" + "0" * 32,
        "LanguageCode": telling.tag,
    }
    match event.body:
        case CallStarted():
            form |= {"TranscriptionEvent": "transcription-started", "Track": "both_tracks", "SequenceId": "1"}
            at_ms = 0
        case CallEnded(offset_ms=at_ms):
            form |= {"TranscriptionEvent": "transcription-stopped", "SequenceId": str(2 + at_ms)}
        case Segment() as said:
            at_ms = said.end_ms
            form |= {
                "TranscriptionEvent": "transcription-content",
                "Track": INBOUND if said.speaker is Speaker.CUSTOMER else OUTBOUND,
                "Final": "true" if said.is_final else "false",
                "SequenceId": str(2 + at_ms),
                "TranscriptionData": dump({"transcript": said.text, "confidence": 0.9}).decode(),
            }
        case _:
            return []
    return [urlencode({**form, "Timestamp": utc_text(telling.started_ms + at_ms)}).encode()]


FORMAT: Final = Format(
    name="twilio",
    title="Twilio Real-Time Transcriptions",
    read=read,
    write=write,
    webhook=True,
    channel_role=by_direction,
    media_type="application/x-www-form-urlencoded",
)

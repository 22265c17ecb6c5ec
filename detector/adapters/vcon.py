"""vCon (draft-ietf-vcon-vcon-core): a whole recorded call in one document.

Verified against a real example of the working group (`ab_call_ext_rec_redacted.vcon`): `uuid`, `parties[]`, `dialog[]` of
`type` recording with `start`, `duration`, `parties`; `analysis[]` of `type` transcript or transcript-redacted with
`dialog`, `encoding`, `body[]` of `parties` (an index), `start` (RFC 3339), `duration` (seconds), `text`. Also documented:
`dialog` of `type` text, with `start`, `parties`, `body`; `parties[].role`, `tel`, `name`. `body` may be a JSON text.

Assumed: a party of role agent, operator, supervisor is the operator; one of role customer, caller, contact the customer.
Without roles, name them: `parties=customer,agent` in the query, by index. Else speakers are unknown. An encrypted or
signed vCon (JWE, JWS) must be opened first.

Authentication: a token of ours, or basic authentication over TLS.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from detector.adapters.errors import AdapterError, FieldError
from detector.adapters.frame import Envelope, Format, Telling, language_query, role
from detector.adapters.heard import Began, Heard, Over, Said, Unknown, Wrong
from detector.adapters.reading import dump, items, load_json, load_object, needed, seconds, text, utc, utc_text
from detector.events import CallEnded, CallEvent, Segment
from detector.labels import Speaker

MAX_TURNS: Final = 20_000
_TRANSCRIPTS: Final = ("transcript", "transcript-redacted", "transcription")
_CUSTOMERS: Final = ("contact", "client", "user")


def read(data: bytes, envelope: Envelope) -> Iterator[Heard]:
    """Reads one document."""
    document = load_object(data)
    if "ciphertext" in document or "signatures" in document:
        raise AdapterError("expected an unsigned, unencrypted vCon: open it first")
    call_id = envelope.query.get("call_id", "") or needed(document, "uuid")
    speakers = _speakers(document, envelope)
    turns = sorted(_turns(document, speakers, call_id), key=lambda turn: turn[0])
    wrong = [heard for _, heard in turns if not isinstance(heard, Said)]
    said = [heard for _, heard in turns if isinstance(heard, Said)]
    starts = [start for start in (_start(dialog) for dialog in items(document, "dialog")) if start is not None]
    begins = [turn.session_ms for turn in said if turn.session_ms is not None]
    at_ms = min(starts + begins) if starts or begins else None
    yield Began(call_id=call_id, at_ms=at_ms)
    yield from wrong
    for index, turn in enumerate(said):
        if index >= MAX_TURNS:
            yield Wrong(field="analysis", expected=f"expected at most {MAX_TURNS} turns")
            break
        yield turn
    yield Over(call_id=call_id, offset_ms=_length(document), session_ms=at_ms, reason="recorded")


def _start(dialog: Any) -> int | None:
    try:
        return utc(dialog, "start") if isinstance(dialog, dict) else None
    except FieldError:
        return None


def _length(document: Mapping[str, Any]) -> float | None:
    lengths = [seconds(dialog, "duration") for dialog in items(document, "dialog") if isinstance(dialog, dict)]
    known = [length for length in lengths if length is not None and length >= 0]
    return max(known) if known else 0.0


def _speakers(document: Mapping[str, Any], envelope: Envelope) -> list[Speaker]:
    named = [role(name) for name in envelope.query.get("parties", "").split(",")] if "parties" in envelope.query else []
    found = []
    for index, party in enumerate(items(document, "parties")):
        word = text(party, "role", path=f"parties[{index}].") if isinstance(party, dict) else ""
        told = Speaker.CUSTOMER if word.lower() in _CUSTOMERS else role(word)
        found.append(named[index] if index < len(named) else told)
    return found


def _turns(document: Mapping[str, Any], speakers: list[Speaker], call_id: str) -> Iterator[tuple[int, Heard]]:
    transcripts = [
        (index, analysis)
        for index, analysis in enumerate(items(document, "analysis"))
        if isinstance(analysis, dict) and analysis.get("type") in _TRANSCRIPTS
    ]
    if transcripts:
        index, analysis = transcripts[-1]  # a redacted transcript stands after the one that it redacts
        yield from _bodies(_body(analysis, f"analysis[{index}]."), speakers, call_id, f"a{index}")
        return
    texts = [
        dialog for dialog in items(document, "dialog") if isinstance(dialog, dict) and dialog.get("type") == "text"
    ]
    if texts:
        yield from _bodies(texts, speakers, call_id, "d")
    else:
        yield 0, Unknown(kind="vcon without a transcript")


def _body(analysis: Mapping[str, Any], path: str) -> list[Any]:
    body = analysis.get("body")
    if isinstance(body, str):
        body = load_json(body)
    if not isinstance(body, list):
        raise FieldError(f"{path}body", "expected a list of turns")
    return body


def _bodies(turns: list[Any], speakers: list[Speaker], call_id: str, prefix: str) -> Iterator[tuple[int, Heard]]:
    for index, turn in enumerate(turns):
        path = f"body[{index}]."
        try:
            if not isinstance(turn, dict):
                raise FieldError(path.rstrip("."), "expected an object")
            start_ms = utc(turn, "start", path=path)
            if start_ms is None:
                raise FieldError(f"{path}start", "expected RFC 3339")
            yield (
                start_ms,
                Said(
                    call_id=call_id,
                    text=text(turn, "text", path=path) or text(turn, "body", path=path),
                    is_final=True,
                    speaker=_speaker(turn.get("parties", turn.get("originator")), speakers),
                    utterance_id=f"{prefix}-{index}",
                    session_ms=start_ms,
                    start_ms=0.0,
                    end_ms=seconds(turn, "duration", path=path) or 0.0,
                ),
            )
        except FieldError as error:
            yield 0, Wrong(field=error.field, expected=error.message)


def _speaker(who: Any, speakers: list[Speaker]) -> Speaker:
    index = who[0] if isinstance(who, list) and who else who
    known = isinstance(index, int) and not isinstance(index, bool) and 0 <= index < len(speakers)
    return speakers[index] if known else Speaker.UNKNOWN


def write_call(events: Sequence[CallEvent], telling: Telling) -> list[bytes]:
    """Tells a whole call as one document; what happened beside the talk is not told."""
    turns: list[dict[str, Any]] = []
    length_ms = 0
    for event in events:
        if isinstance(event.body, Segment) and event.body.is_final:
            said = event.body
            turn = {
                "parties": 0 if said.speaker is Speaker.CUSTOMER else 1,
                "start": utc_text(telling.started_ms + said.start_ms),
                "duration": (said.end_ms - said.start_ms) / 1000,
                "text": said.text,
            }
            turns.append(turn)
        elif isinstance(event.body, CallEnded):
            length_ms = event.body.offset_ms
    start = {"start": utc_text(telling.started_ms), "duration": length_ms / 1000, "parties": [0, 1]}
    document = {
        "vcon": "0.4.0",
        "uuid": telling.call_id,
        "parties": [{"role": "customer"}, {"role": "agent"}],
        "dialog": [{"type": "recording", **start}],
        "analysis": [{"type": "transcript", "dialog": 0, "vendor": "demo", "encoding": "json", "body": turns}],
        "attachments": [],
    }
    return [dump(document)]


FORMAT: Final = Format(
    name="vcon",
    title="vCon",
    read=read,
    write_call=write_call,
    query=language_query,
    webhook=True,
    media_type="application/vcon+json",
)

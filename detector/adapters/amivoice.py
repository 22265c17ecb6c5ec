"""AmiVoice API, events of its websocket: each text frame is a letter and a payload.

Verified against a real result: the `A` event's JSON (`results[].tokens[]` of `written`, `confidence`, `starttime`,
`endtime`; `results[].starttime`, `endtime`, `confidence`; `utteranceid`, `text`, `code`, `message`). Documented (manual,
"Commands and responses", "U event packet", "Response codes"): answers `s`, `p`, `e`, each with a message when it is an
error, events `S ms`, `E ms`, `C`, `U json`, `A json`, `G`; a `U` event's last token is a dummy, `…` in the manual's
Japanese edition and `...` in its English one: both are taken off. `code` is empty for success and `o` for a result whose
confidence was too low. Times are milliseconds from the start of the session. Fillers stand between percent signs, as
`%えーと%`, when `keepFillerToken=1`; they are taken out.

Assumed: `U` texts are cumulative (each replaces the last) and belong to the utterance whose `A` comes next; an `s` later
in the stream means that the client opened a new session, whose times begin at 0 again; any other `code` concerns that
utterance alone.

A session carries one voice: connect one stream for each side with `call_id` and `speaker=customer` or `speaker=agent`.
The recogniser sees no calls, so its `e` ends the stream, and the call is over when both sides' streams are.

Authentication: your client holds AmiVoice's key; it sends on to us with a token of ours.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from detector.adapters.errors import AdapterError, FieldError
from detector.adapters.frame import Envelope, Format, Telling, call_query
from detector.adapters.heard import Heard, Over, Said, StreamBegan, Unknown
from detector.adapters.reading import dump, items, load_object, number, share, text, without_fillers
from detector.events import CallEnded, CallEvent, CallStarted, Segment

_PENDING: Final = "…"
_QUIET: Final = ("S", "E", "C", "G")
SUCCESS: Final = ""
NO_SPEECH: Final = "o"
"""`code` of a result: empty for success, `o` when it was rejected because its confidence was too low."""


def read(data: bytes, envelope: Envelope) -> Iterator[Heard]:
    """Reads one frame."""
    try:
        frame = data.decode()
    except UnicodeDecodeError:
        raise AdapterError("expected UTF-8", code="bad_json") from None
    letter, _, payload = frame.partition(" ")
    stream = envelope.query.get("speaker", "") or "stream"
    if letter == "s":
        if not payload:
            yield StreamBegan(call_id="", stream=stream)
        else:
            yield Unknown(kind="s error")
    elif letter == "e":
        yield Over(call_id="", stream=stream, reason="stream_ended")
    elif letter == "U":
        yield _partial(load_object(payload), stream)
    elif letter == "A":
        yield from _finals(load_object(payload), stream)
    elif letter == "p" and payload:
        yield Unknown(kind="p error")
    elif letter not in ("p", *_QUIET):
        yield Unknown(kind=letter if len(letter) == 1 else "no event letter")


def _partial(result: Mapping[str, Any], stream: str) -> Said:
    words = without_fillers(text(result, "text").removesuffix(_PENDING).removesuffix("..."))
    return Said(call_id="", text=words, is_final=False, channel=stream, stream=stream)


def _finals(result: Mapping[str, Any], stream: str) -> Iterator[Heard]:
    code = text(result, "code")
    if code not in (SUCCESS, NO_SPEECH):
        yield Unknown(kind="A error")
        yield _nothing(stream)
        return
    name = text(result, "utteranceid")
    found = items(result, "results")
    for index, one in enumerate(found):
        if not isinstance(one, dict):
            raise FieldError(f"results[{index}]", "expected an object")
        yield Said(
            call_id="",
            text=_words(one, index),
            is_final=True,
            channel=stream,
            stream=stream,
            start_ms=number(one, "starttime", path=f"results[{index}]."),
            end_ms=number(one, "endtime", path=f"results[{index}]."),
            confidence=share(one, "confidence", path=f"results[{index}]."),
            repeat_id=f"{name}/{index}" if name else "",
        )
    if not found:
        yield _nothing(stream)


def _nothing(stream: str) -> Said:
    """What was being said came to nothing: closes what the partials opened."""
    return Said(call_id="", text="", is_final=True, channel=stream, stream=stream)


def _words(result: Mapping[str, Any], index: int) -> str:
    words = text(result, "text", path=f"results[{index}].")
    for token in items(result, "tokens", path=f"results[{index}]."):
        written = token.get("written") if isinstance(token, dict) else None
        if isinstance(written, str) and len(written) > 2 and written[0] == written[-1] == "%":
            words = words.replace(written, "", 1)
    return without_fillers(words)


def write(event: CallEvent, _telling: Telling) -> list[bytes]:
    """Tells an event as the recogniser's websocket would; speaker and call are in the address."""
    match event.body:
        case CallStarted():
            return [b"s"]
        case CallEnded():
            return [b"e"]
        case Segment(is_final=False) as said:
            words = said.text + _PENDING
            tokens = [{"written": said.text}, {"written": _PENDING}]
            return [b"U " + dump({"results": [{"tokens": tokens, "text": words}], "text": words})]
        case Segment() as said:
            times = {"starttime": said.start_ms, "endtime": said.end_ms}
            token = {"written": said.text, "confidence": 0.9, **times, "spoken": said.text}
            result = {"tokens": [token], "confidence": 0.9, **times, "tags": [], "rulename": "", "text": said.text}
            name = f"{event.call_id}/{said.segment_id}"
            body = {"results": [result], "utteranceid": name, "text": said.text, "code": "", "message": ""}
            return [b"A " + dump(body)]
        case _:
            return []


FORMAT: Final = Format(
    name="amivoice", title="AmiVoice API", read=read, write=write, query=call_query, one_call=True, split=True
)

"""What every frame of the ingest websocket must do to the decoder, and the seeds from which the fuzzers start."""

from __future__ import annotations

import json
from typing import Any, Final

from detector.events import CallEvent, Segment
from server.digits import CARD, MY_NUMBER
from server.errors import EventError
from server.redaction import redact_event
from server.storage import codec
from server.wire import EVENT_TYPES, MAX_MEDIA_MS, MAX_SEQ, MAX_TEXT_CHARS, decode_event, parse_frame

TROUBLESOME: Final = (
    "[]",
    "[[[[]]]]",
    "nul",
    '{"type":"call.started"}',
    '{"type":"transcript.segment","call_id":"c","seq":9007199254740992}',
    '{"type":"transcript.segment","call_id":"c","segment_id":"s","text":"\\ud83d","start_ms":0}',
    '{"type":"transcript.segment","call_id":"c","segment_id":"s","text":"４１１１-1111 1111 1111","start_ms":1e3}',
    '{"type":"call.alive","call_id":"c","offset_ms":1e400}',
    '{"type":"resume","call_ids":["c",""]}',
)


def seeds() -> list[bytes]:
    """One event of every type, an array of them, and what once was troublesome."""
    fields: dict[str, Any] = {
        "call_id": "c-1",
        "seq": 3,
        "at": "2026-11-24T09:00:00Z",
        "language": "ja-JP",
        "queue": "billing",
        "direction": "inbound",
        "agent": {"id": "a", "name": "佐藤"},
        "caller": {"number": "+81312345678"},
        "metadata": {"k": "v"},
        "segment_id": "s1",
        "speaker": "customer",
        "text": "電話は090-1234-5678、〒100-0001東京都千代田区千代田1-1です",
        "start_ms": 0,
        "end_ms": 1500.5,
        "is_final": False,
        "confidence": 0.5,
        "masked": True,
        "offset_ms": 60_000,
        "reason": "transfer",
        "swapped": True,
        "note": "help",
    }
    events = [{"type": kind, **fields} for kind in EVENT_TYPES]
    frames = [*(json.dumps(event, ensure_ascii=False) for event in events), json.dumps(events[:3]), *TROUBLESOME]
    return [frame.encode() for frame in frames]


def try_frame(data: bytes) -> int:
    """Reads one frame as the server does.

    Returns:
        How many events were accepted.

    Raises:
        AssertionError: an accepted event breaks a promise; any error but `EventError` is a finding as well.
    """
    try:
        frame = data.decode()
        items = parse_frame(frame)
    except (UnicodeDecodeError, EventError):
        return 0
    accepted = 0
    for item in items:
        try:
            event = decode_event(item)
        except EventError as error:
            assert error.code in ("bad_event", "too_large"), error.code
            assert not error.retry
            continue
        accepted += 1
        _check(event)
    return accepted


def _check(event: CallEvent) -> None:
    assert 0 < len(event.call_id) <= 256
    assert event.seq is None or 0 <= event.seq <= MAX_SEQ
    clean = redact_event(event, "ja", ())
    body = clean.body
    if isinstance(body, Segment) and isinstance(event.body, Segment):
        assert len(event.body.text) <= MAX_TEXT_CHARS
        assert 0 <= body.start_ms <= body.end_ms <= MAX_MEDIA_MS
        again = redact_event(clean, "ja", ()).body
        # With a number masked beside them, odd digits may look like a foreign phone number; cards may not be left over.
        assert isinstance(again, Segment)
        for kind in (CARD, MY_NUMBER):
            assert again.text.count(kind) == body.text.count(kind), "a masked text has more to mask"
    assert codec.decode(codec.kind_of(body), codec.encode(body)) == body, "the log gives back another event"

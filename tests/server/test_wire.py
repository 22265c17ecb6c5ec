"""Reading a frame in one pass gives what the long way gives, or leaves it to the long way."""

from __future__ import annotations

import json
from typing import Any

import pytest

from server.errors import EventError
from server.wire import decode_event, decode_frame, parse_frame
from tests.server.running import ended, said, started

GOOD: list[dict[str, Any]] = [
    started(caller={"number": "+81312345678"}, agent={"id": "a", "name": "n"}, metadata={"k": "v"}),
    said(1, "はい\U0001f621", at="2026-11-24T09:00:00Z", confidence=0.5, unknown_field={"x": [1]}),
    said(2, "途中", is_final=False, language="en-US", start_ms=1.9, end_ms=2.9),
    {"type": "call.changed", "call_id": "c", "offset_ms": 5, "reason": "conference"},
    {"type": "call.speakers", "call_id": "c", "swapped": True},
    {"type": "agent.help", "call_id": "c", "offset_ms": 5, "note": "n"},
    ended(3),
]
BAD: list[Any] = [
    "{",
    [said(1, "はい")],
    {"type": "resume", "call_ids": []},
    {**said(1, "はい"), "end_ms": 0, "start_ms": 5},
    {**said(1, "はい"), "at": "yesterday"},
    {**said(1, "はい"), "speaker": "nobody"},
    {**said(1, "はい"), "text": "あ" * 16_001},
    {"type": "call.hold", "call_id": "c"},
    {"type": "call.speakers", "call_id": "c"},
    {"type": "call.hold", "call_id": "", "offset_ms": 1},
]


@pytest.mark.parametrize("event", GOOD)
def test_one_pass_reads_what_the_long_way_reads(event: dict[str, Any]) -> None:
    frame = json.dumps(event, ensure_ascii=False)
    assert decode_frame(frame) == decode_event(parse_frame(frame)[0])


@pytest.mark.parametrize("item", BAD)
def test_what_is_no_good_event_is_left_to_the_long_way(item: Any) -> None:
    assert decode_frame(item if isinstance(item, str) else json.dumps(item)) is None


def test_lone_surrogates_are_replaced_one_for_one() -> None:
    frame = r'{"type":"transcript.segment","call_id":"c","segment_id":"s","text":"あ\ud800い","start_ms":0}'
    event = decode_frame(frame) or decode_event(parse_frame(frame)[0])
    assert event.body.text == "あ\ufffdい"


def test_errors_name_the_field() -> None:
    with pytest.raises(EventError) as caught:
        decode_event({"type": "call.hold", "call_id": "c", "seq": 4, "offset_ms": "x"})
    assert (caught.value.field, caught.value.seq) == ("offset_ms", 4)

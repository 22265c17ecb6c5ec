"""The decoder's promises (`benchmarks.decoding`) on the fuzzer's seeds and on what looks like an event."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from benchmarks.decoding import seeds, try_frame
from server.wire import EVENT_TYPES
from tests.exploring import tries

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=40),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
FIELDS = st.sampled_from(
    [
        "segment_id",
        "speaker",
        "text",
        "start_ms",
        "end_ms",
        "offset_ms",
        "at",
        "language",
        "agent",
        "caller",
        "metadata",
    ]
)
FRAMES = st.builds(
    lambda kind, call_id, seq, fields: {"type": kind, "call_id": call_id, "seq": seq, **fields},
    st.sampled_from(EVENT_TYPES),
    st.text(max_size=10) | VALUES,
    st.integers(0, 9) | VALUES,
    st.dictionaries(FIELDS, VALUES, max_size=6),
)


def test_an_event_of_every_type_is_accepted():
    assert sum(map(try_frame, seeds())) >= len(EVENT_TYPES)


@tries(200)
@given(frame=FRAMES | VALUES | st.lists(FRAMES, max_size=3))
def test_only_typed_errors_come_of_what_looks_like_an_event(frame):
    try_frame(json.dumps(frame).encode())


@tries(100)
@given(data=st.binary(max_size=60))
def test_only_typed_errors_come_of_bytes(data):
    try_frame(data)

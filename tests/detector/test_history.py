"""The last finals of a call, and the ids of those that were folded."""

from __future__ import annotations

from dataclasses import replace

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from detector.events import Segment
from detector.history import (
    DIGEST_BYTES,
    MAX_HISTORY,
    MAX_RECENT,
    MAX_SEEN,
    History,
    digest,
    has_digest,
    remember,
)
from detector.labels import Speaker
from tests.exploring import tries

TEXT = st.text(st.characters(exclude_categories=()), max_size=40)  # lone surrogates, too

segments = st.builds(
    Segment,
    segment_id=TEXT,
    speaker=st.sampled_from(list(Speaker)),
    text=TEXT,
    start_ms=st.integers(0, 2**62),
    end_ms=st.integers(0, 2**62),
    is_final=st.booleans(),
    confidence=st.none() | st.floats(0, 1),
    language=st.sampled_from(["", "en", "zh-Hant"]),
    masked=st.booleans(),
)


@given(st.lists(segments, max_size=2 * MAX_HISTORY, unique_by=lambda segment: segment.segment_id))
@tries(30)
def test_the_last_finals_come_back_as_they_went_in(said: list[Segment]):
    history = History()
    for segment in said:
        history.append(segment)
    assert list(history) == said[-MAX_HISTORY:]
    assert history.recent == said[-MAX_RECENT:]
    assert history.last == (said[-1] if said else None)
    for name in {segment.segment_id for segment in said}:
        assert history.find({name}) == [kept for kept in said[-MAX_HISTORY:] if kept.segment_id == name]


def full() -> tuple[History, list[Segment]]:
    usual = Segment(segment_id="", speaker=Speaker.CUSTOMER, text="番号は1234です", start_ms=0, end_ms=1)
    said = [replace(usual, segment_id=f"s{number}") for number in range(MAX_HISTORY)]
    history = History()
    for segment in said:
        history.append(segment)
    return history, said


def test_a_snapshot_holds_it():
    history, _ = full()
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(history), type=History) == history


def test_several_are_found_oldest_first_wherever_they_lie():
    history, said = full()
    assert history.find({"s31", "s3", "s20", "none"}) == [said[3], said[20], said[31]]


def test_a_text_is_masked_wherever_it_lies_and_no_other_is():
    for at in (0, 20, MAX_HISTORY - 1):
        history, said = full()
        assert history.mask(f"s{at}", "番号は****です") == "番号は1234です"
        said[at] = replace(said[at], text="番号は****です")
        assert list(history) == said
        assert history.mask("none", "x") is None


def test_the_ids_of_the_last_finals_are_known_and_older_ones_are_forgotten():
    seen = b""
    for number in range(3 * MAX_SEEN):
        assert not has_digest(seen, digest(f"s{number}"))
        seen = remember(seen, digest(f"s{number}"))
    assert len(seen) == MAX_SEEN * DIGEST_BYTES
    assert all(has_digest(seen, digest(f"s{number}")) for number in range(2 * MAX_SEEN, 3 * MAX_SEEN))
    assert not has_digest(seen, digest(f"s{2 * MAX_SEEN - 1}"))


def test_a_digest_that_lies_across_two_others_is_not_taken_for_known():
    first, second = bytes(range(DIGEST_BYTES)), bytes(range(DIGEST_BYTES, 2 * DIGEST_BYTES))
    assert not has_digest(first + second, first[3:] + second[:3])
    assert has_digest(first + first[3:] + second[:3] + second, second)
    across = first[3:] + second[:3]
    assert has_digest(first + second + across, across)

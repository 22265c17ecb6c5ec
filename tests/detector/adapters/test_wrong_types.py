"""Every spot of every vendor's message, gone or of another type: an error that names it, a report, or valid events."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from detector.adapters.errors import AdapterError
from detector.adapters.folding import feed
from detector.adapters.source import Source
from detector.events import Segment
from tests.detector.adapters.telling import ALL, call, told
from tests.detector.adapters.test_samples import SAMPLES

ODD = (None, True, -1, "odd", [], {}, ["odd"], {"odd": 1})


def spoilt(value: Any) -> Iterator[Any]:
    """The value with one spot at a time replaced; a text that is JSON is opened."""
    yield from ODD
    if isinstance(value, str) and value.startswith("{"):
        for inner in spoilt(json.loads(value)):
            yield json.dumps(inner)
    elif isinstance(value, dict):
        for key in value:
            yield {name: kept for name, kept in value.items() if name != key}
            for inner in spoilt(value[key]):
                yield {**value, key: inner}
    elif isinstance(value, list):
        for index, item in enumerate(value):
            for inner in spoilt(item):
                yield [*value[:index], inner, *value[index + 1 :]]


def whole(name: str) -> list[tuple[Any, Any]]:
    """Messages of a format that are JSON, with their envelopes: as we tell a call, and as its vendor documents them."""
    found = []
    for data, envelope in told(ALL[name], call()):
        try:
            found.append((json.loads(data), envelope))
        except ValueError:
            return []
    for file in sorted(SAMPLES.glob(f"{name}*.json")):
        document = json.loads(file.read_text(encoding="utf-8"))
        for messages in document.values():
            if isinstance(messages, list):
                found += [(message, found[0][1]) for message in messages if isinstance(message, dict)]
    return found


JSON_FORMATS = [name for name in sorted(ALL) if whole(name)]


@pytest.mark.parametrize("name", JSON_FORMATS)
def test_a_wrong_spot_is_named_or_harmless(name):
    form, told_of = ALL[name], 0
    seen: set[bytes] = set()
    for message, envelope in whole(name):
        for wrong in spoilt(message):
            data = json.dumps(wrong).encode()
            if data in seen:
                continue
            seen.add(data)
            try:
                source, events = feed(form, Source(), data, envelope)
            except AdapterError as error:
                told_of += 1
                assert error.code in ("bad_json", "bad_event")
                assert "\n" not in error.message
                continue
            told_of += bool(source.reports)
            for event in events:
                assert 0 < len(event.call_id) <= 256
                if isinstance(event.body, Segment):
                    assert event.body.segment_id
                    assert 0 <= event.body.start_ms <= event.body.end_ms
    assert told_of > 5, "what is wrong goes unsaid"
    assert len(seen) > 50


def test_nearly_every_format_is_json():
    assert len(JSON_FORMATS) >= len(ALL) - 3

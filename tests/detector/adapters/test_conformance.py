"""What every adapter must hold: the same call in every vendor's words gives the same alerts."""

from __future__ import annotations

import json
import tomllib
from urllib.parse import parse_qsl, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.adapters.errors import AdapterError
from detector.adapters.folding import feed
from detector.adapters.frame import Envelope, Known
from detector.adapters.mapping import MappingError, parse_mapping
from detector.adapters.registry import BUNDLED
from detector.adapters.source import MAX_CALLS, MAX_KINDS, MAX_REPORTS, ReportKind, Source
from detector.events import CallEnded, CallStarted, Segment
from tests.detector.adapters.telling import ALL, HOUSE, adapt, alerts, call, gist, told
from tests.exploring import tries

FORMATS = pytest.mark.parametrize("form", list(ALL.values()), ids=list(ALL))
WITH_PARTIALS = [name for name in ALL if name not in ("salesforce_voice", "vcon")]
PLAIN_JSON = [name for name in ALL if name not in ("twilio", "amivoice")]


@pytest.mark.parametrize(
    ("name", "partials"), [*((name, False) for name in ALL), *((name, True) for name in WITH_PARTIALS)]
)
def test_one_call_gives_the_same_alerts_in_every_format(name, partials):
    form = ALL[name]
    events = call(partials=partials)
    expected = gist(alerts(events))
    assert {level for _, _, level, _, _ in expected} >= {"warning", "critical"}
    assert gist(alerts(adapt(form, told(form, events)))) == expected


@FORMATS
def test_words_speakers_times_and_end_survive_the_round_trip(form):
    events = call(partials=False)
    back = adapt(form, told(form, events))
    assert isinstance(back[0].body, CallStarted)
    assert back[0].body.language == "ja"
    assert isinstance(back[-1].body, CallEnded)
    assert {event.call_id for event in back} == {"c-1"}

    def talk(source):
        return [(b.speaker, b.text, b.end_ms, b.is_final) for b in (e.body for e in source) if isinstance(b, Segment)]

    assert talk(back) == talk(events)
    if form.name not in ("twilio", "google", "salesforce_voice"):  # these tell no start
        starts = [e.body.start_ms for e in back if isinstance(e.body, Segment)]
        assert starts == [e.body.start_ms for e in events if isinstance(e.body, Segment)]
        assert starts[0] == 0


@pytest.mark.parametrize("name", WITH_PARTIALS)
def test_a_partial_and_its_final_share_an_id(name):
    form = ALL[name]
    bodies = [event.body for event in adapt(form, told(form, call())) if isinstance(event.body, Segment)]
    ids = [body.segment_id for body in bodies]
    assert ids[::2] == ids[1::2]
    assert len(set(ids)) == len(ids) / 2


@FORMATS
def test_everything_delivered_twice_is_told_once(form):
    messages = told(form, call(partials=False))
    once = adapt(form, messages)
    twice = adapt(form, [message for message in messages for _ in range(2)])
    assert twice == once
    assert adapt(form, messages + messages) == once


@FORMATS
def test_an_english_call_keeps_its_language(form):
    events = call([*[(e.body.speaker, "you idiot") for e in call(partials=False)[1:3]]], language="en", partials=False)
    started = adapt(form, told(form, events, language="en"))[0].body
    assert started.language == "en"


@FORMATS
def test_a_restart_does_not_announce_a_known_call_again(form):
    messages = told(form, call(partials=False))
    half = len(messages) // 2
    started = [m for m in messages if form.write_call is None][half:]
    known = [
        (data, Envelope(query=env.query, known=lambda _id: Known(started_ms=1_790_000_000_000)))
        for data, env in started
    ]
    back = adapt(form, known)
    assert not any(isinstance(event.body, CallStarted) for event in back)
    assert [e.body.text for e in back if isinstance(e.body, Segment)] == [
        e.body.text for e in adapt(form, messages)[-len(back) :] if isinstance(e.body, Segment)
    ][: len(back)] or form.write_call is not None


@FORMATS
def test_what_ended_stays_ended(form):
    messages = told(form, call(partials=False))
    ended = [
        (
            data,
            Envelope(
                query=env.query, known=lambda _id: Known(started_ms=1_790_000_000_000, ended_ms=1_790_000_030_000)
            ),
        )
        for data, env in messages
    ]
    source = Source()
    assert adapt(form, ended, source) == []
    assert source.counts["late"] > 0


@FORMATS
def test_masked_words_are_reported_once(form):
    lines = [(event.body.speaker, "f*** off, ＊＊＊") for event in call(partials=False)[1:5]]
    source = Source()
    adapt(form, told(form, call(lines, partials=False)), source)
    assert [report.kind for report in source.take_reports()] == [ReportKind.MASKED]
    assert source.take_reports() == []


@pytest.mark.parametrize("name", PLAIN_JSON)
def test_unknown_fields_are_ignored(name):
    form = ALL[name]
    messages = told(form, call(partials=False))
    wider = [(json.dumps({**json.loads(data), "brandNew": {"a": [1]}}).encode(), env) for data, env in messages]
    assert adapt(form, wider) == adapt(form, messages)


@FORMATS
@pytest.mark.parametrize("data", [b"", b"\xff\xfe", b"[" * 100_000, b"{", b"null", b"3", b"NaN", b'"x"', b"[]", b"{}"])
def test_nonsense_is_an_error_or_unknown_and_changes_nothing(form, data):
    source = Source()
    try:
        source, events = feed(form, source, data, Envelope(query={"call_id": "c-1"}))
    except AdapterError as error:
        assert error.message
        assert source == Source()
    else:
        assert not [event for event in events if isinstance(event.body, Segment)]


FORM = "application/x-www-form-urlencoded"
_ODD = st.sampled_from([1e308, -1e308, 10**400, 2**63, "1e308", "-0", "\ud800", "0001-01-01T00:00:00+23:59", "***"])
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8) | _ODD,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


def _mutated(draw, value):
    """A real message with one spot of it replaced by anything; a text that is JSON is opened."""
    if isinstance(value, str) and value.startswith("{"):
        return json.dumps(_mutated(draw, json.loads(value)))
    if isinstance(value, dict) and value:
        key = draw(st.sampled_from(sorted(value)))
        kind = draw(st.integers(0, 3))
        if kind == 0:
            return {k: v for k, v in value.items() if k != key}
        return {**value, key: draw(_JSON) if kind == 1 else _mutated(draw, value[key])}
    if isinstance(value, list) and value:
        index = draw(st.integers(0, len(value) - 1))
        return [*value[:index], _mutated(draw, value[index]), *value[index + 1 :]]
    return draw(_JSON)


@st.composite
def _stream(draw, form):
    messages = told(form, call())
    chosen = []
    for message, envelope in draw(st.lists(st.sampled_from(messages), max_size=8)):
        data = message
        how = draw(st.integers(0, 3))
        if how == 0:
            data = draw(st.binary(max_size=40))
        elif how == 1:
            cut = draw(st.integers(0, len(data)))
            data = data[:cut]
        elif how == 2 and form.media_type == FORM:
            data = urlencode(_mutated(draw, dict(parse_qsl(data.decode()))), errors="surrogatepass").encode()
        elif how == 2:
            head, brace, body = data.partition(b"{")
            if brace:
                data = head + json.dumps(_mutated(draw, json.loads(brace + body))).encode()
        chosen.append((data, envelope))
    return chosen


@FORMATS
def test_fuzz_only_typed_errors_and_only_valid_events(form):
    @tries(150)
    @given(_stream(form))
    def run(messages):
        source = Source()
        for data, envelope in messages:
            try:
                source, events = feed(form, source, data, envelope)
            except AdapterError as error:
                assert "\n" not in str(error)
                continue
            for event in events:
                assert 0 < len(event.call_id) <= 256
                body = event.body
                if isinstance(body, Segment):
                    assert 0 < len(body.segment_id) <= 256
                    assert 0 <= body.start_ms <= body.end_ms <= 7 * 24 * 3600 * 1000
                    assert len(body.text) <= 16_000
                    assert body.confidence is None or 0 <= body.confidence <= 1
                    body.text.encode()
        assert len(source.reports) <= MAX_REPORTS
        assert len(source.unknown) <= MAX_KINDS

    run()


_TOML = tomllib.loads(HOUSE)


def _toml(value) -> str:
    """An inline TOML value."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {_toml(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return json.dumps(value) if value is not None else '""'


@tries(300)
@given(st.data())
def test_fuzz_a_wrong_mapping_is_an_error_with_its_place_and_any_other_reads_messages(data):
    table = _mutated(data.draw, _TOML)
    source = "\n".join(f"{json.dumps(key)} = {_toml(value)}" for key, value in table.items()) if table else ""
    try:
        form = parse_mapping(source)
    except MappingError as error:
        assert "\n" not in str(error)
        return
    state = Source()
    for message, envelope in told(ALL["house"], call()):
        try:
            state, events = feed(form, state, message, envelope)
        except AdapterError as error:
            assert "\n" not in str(error)
        else:
            assert all(0 < len(event.call_id) <= 256 for event in events)


def test_a_source_is_bounded():
    source = Source()
    form = parse_mapping('name = "x"\n[[message]]\nis = "segment"\nid = "/c"\ntext = "/t"\n')
    for number in range(MAX_CALLS + 10):
        source, _ = feed(form, source, json.dumps({"c": f"c{number}", "t": "x"}).encode(), Envelope())
    assert len(source.calls) == MAX_CALLS
    assert "c0" not in source.calls
    contact_lens = BUNDLED["contact_lens"]
    for number in range(MAX_KINDS + 10):
        source, _ = feed(contact_lens, source, json.dumps({"EventType": f"NEW{number}"}).encode(), Envelope())
    assert len(source.unknown) <= MAX_KINDS
    assert sum(source.unknown.values()) == MAX_KINDS + 10
    assert source.unknown["other"] > 0

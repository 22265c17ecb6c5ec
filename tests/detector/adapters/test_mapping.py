from __future__ import annotations

import json
from urllib.parse import urlencode

import pytest

from detector.adapters.folding import feed
from detector.adapters.frame import Envelope
from detector.adapters.mapping import MappingError, parse_mapping
from detector.adapters.registry import with_mappings
from detector.adapters.source import Source
from detector.events import AgentHelp, CallChanged, CallEnded, CallHeld, CallStarted, Segment
from detector.labels import Speaker
from tests.detector.adapters.telling import LINES, alerts, call, gist

ACME = """
name = "acme"
title = "ACME phone"

[call]
id = "/call/id"
language = { pointer = "/call/lang", value = "ja" }

[[message]]
when = { "/event" = "hello" }
is = "started"
at = "/at"
queue = "/call/line"
agent = "/who"
caller = "/from"

[[message]]
when = { "/event" = ["speech", "speech-partial"] }
is = "segment"
each = "/results"
text = "@/best/0"
speaker = { pointer = "@/channel", map = { 0 = "customer", 1 = "agent" } }
start = { pointer = "@/from", unit = "s" }
duration = { pointer = "@/for", unit = "ticks" }
final = "@/done"
utterance = "@/id"
confidence = "@/sure"

[[message]]
when = { "/event" = "hold" }
is = "hold"
offset = "/ms"

[[message]]
when = { "/event" = "moved" }
is = "changed"
agent = "/who"

[[message]]
when = { "/event" = "sos" }
is = "help"
note = "/note"

[[message]]
when = { "/event" = "bye" }
is = "ended"
reason = "/why"

[[message]]
when = { "/heartbeat" = { exists = true } }
is = "ignore"
"""


def run(form, *messages, query=None):
    source = Source()
    events = []
    for message in messages:
        data = message if isinstance(message, bytes) else json.dumps(message).encode()
        source, more = feed(form, source, data, Envelope(query=query or {}))
        events += more
    return source, events


def acme(event, **fields):
    return {"event": event, "call": {"id": "c-1", "line": "billing"}, **fields}


def speech(*items):
    return acme("speech", results=list(items))


def item(text, *, start="0", channel=0, name="u1", done=True):
    return {"best": [text], "channel": channel, "from": start, "for": 30_000_000, "done": done, "id": name, "sure": 0.5}


def test_a_whole_call():
    source, events = run(
        parse_mapping(ACME),
        acme("hello", at="2026-01-01T09:00:00+09:00", who="a-1", **{"from": "+819012345678"}),
        speech(item("はい", channel=1, name="u0"), item("責任者を", done="false")),
        {"heartbeat": 1},
        acme("hold", ms=9000),
        acme("moved", who="a-2"),
        acme("sos", note="help"),
        acme("bye", why="hangup"),
        acme("unheard-of"),
    )
    started, agent, customer, held, moved, helped, ended = (event.body for event in events)
    assert started == CallStarted(language="ja", queue="billing", agent_id="a-1", metadata={"platform": "acme"})
    assert (events[0].at, events[0].caller) == ("2026-01-01T00:00:00.000Z", "+819012345678")
    assert agent == Segment(
        segment_id="u0", speaker=Speaker.AGENT, text="はい", start_ms=0, end_ms=3000, confidence=0.5
    )
    assert (customer.speaker, customer.is_final) == (Speaker.CUSTOMER, False)
    assert held == CallHeld(offset_ms=9000)
    assert isinstance(moved, CallChanged)
    assert moved.agent_id == "a-2"
    assert isinstance(helped, AgentHelp)
    assert isinstance(ended, CallEnded)
    assert source.unknown == {"no rule fits": 1}


def test_the_same_call_gives_the_same_alerts():
    told = [
        speech(item(text, start=str(n * 5), channel=0 if who is Speaker.CUSTOMER else 1, name=f"s{n}"))
        for n, (who, text) in enumerate(LINES)
    ]
    _, events = run(parse_mapping(ACME), acme("hello"), *told, acme("bye"))
    assert gist(alerts(events)) == gist(alerts(call(partials=False)))


@pytest.mark.parametrize(
    ("unit", "start", "end"),
    [
        ("ms", 1000, 2000),
        ("ms", "1000", "2000"),
        ("s", 1, "2.0"),
        ("ticks", 10_000_000, 20_000_000),
        ("epoch_ms", 1_000_000_001_000, 1_000_000_002_000),
        ("epoch_s", 1_000_000_001, 1_000_000_002),
        ("rfc3339", "2001-09-09T01:46:41Z", "2001-09-09T01:46:42Z"),
    ],
)
def test_every_unit(unit, start, end):
    form = parse_mapping(f"""
        name = "x"
        [[message]]
        when = {{ "/begin" = true }}
        is = "started"
        id = "/id"
        at = "/at"
        [[message]]
        is = "segment"
        id = "/id"
        text = "/t"
        start = {{ pointer = "/s", unit = "{unit}" }}
        end = {{ pointer = "/e", unit = "{unit}" }}
    """)
    _, events = run(
        form, {"begin": True, "id": "c", "at": "2001-09-09T01:46:40Z"}, {"id": "c", "t": "x", "s": start, "e": end}
    )
    assert (events[-1].body.start_ms, events[-1].body.end_ms) == (1000, 2000)


def test_json_within_a_text_and_a_form():
    form = parse_mapping("""
        name = "x"
        encoding = "form"
        [[message]]
        is = "segment"
        id = "/CallSid"
        text = "/Payload#/deep#/words"
        speaker = { value = "customer" }
        start = { value = 0 }
    """)
    payload = json.dumps({"deep": json.dumps({"words": "やあ"})})
    _, events = run(form, urlencode({"CallSid": "c", "Payload": payload}).encode())
    assert events[-1].body.text == "やあ"
    assert events[-1].body.speaker is Speaker.CUSTOMER


def test_a_list_of_messages_in_one_frame():
    _, events = run(parse_mapping(ACME), json.dumps([acme("hello"), acme("bye")]).encode())
    assert len(events) == 2


def test_true_is_not_1():
    form = parse_mapping('name = "x"\n[[message]]\nwhen = {"/a" = true}\nis = "started"\nid = "/c"\n')
    source, events = run(form, {"a": 1, "c": "c"}, {"a": True, "c": "c"})
    assert len(events) == 1
    assert source.unknown == {"no rule fits": 1}


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("name =", "not TOML"),
        ('name = "Not Good"', "name: expected"),
        ('name = "x"', "message: expected"),
        ('name = "x"\nencoding = "xml"', "encoding: expected json or form"),
        ('name = "x"\nmessages = 1', "messages: unknown; expected one of name"),
        ('name = "x"\n[[message]]\nis = "speech"', "message[0].is: expected one of started, segment"),
        ('name = "x"\n[[message]]\nis = "segment"', "message[0].text: expected a pointer"),
        ('name = "x"\n[[message]]\nis = "segment"\ntext = "no-slash"', "message[0].text: expected a JSON pointer"),
        (
            'name = "x"\n[[message]]\nis = "segment"\ntext = {unit = "s"}',
            "message[0].text: expected a pointer or a value",
        ),
        (
            'name = "x"\n[[message]]\nis = "segment"\ntext = {pointer = "/a", unit = "h"}',
            "message[0].text.unit: expected",
        ),
        ('name = "x"\n[[message]]\nis = "ended"\ntext = "/a"', "message[0].text: unknown; expected one of when"),
        ('name = "x"\n[[message]]\nis = "ended"\nwhen = {"/a" = {has = 1}}', "message[0].when: expected a value"),
        ('name = "x"\n[[message]]\nis = "ended"\nwhen = {"/a" = [{}]}', "message[0].when: expected a value"),
        ('name = "x"\n[[message]]\nis = ["ended"]', "message[0].is: expected one of started"),
        ('name = "x"\n[[message]]\nis = "ended"\neach = "@/a"', "message[0].each: expected a pointer from the message"),
    ],
)
def test_a_mistake_is_named(written, expected):
    with pytest.raises(MappingError, match="^" + expected.replace("[", r"\[").replace(".", r"\.")):
        parse_mapping(written)


def test_a_bundled_name_cannot_be_taken():
    with pytest.raises(MappingError, match="taken"):
        with_mappings(['name = "genesys"\n[[message]]\nis = "ignore"\n'])
    assert "acme" in with_mappings([ACME])

"""Tells calls in vendors' formats and adapts them back."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from detector.adapters.folding import feed
from detector.adapters.frame import Envelope, Format, Telling
from detector.adapters.mapping import parse_mapping
from detector.adapters.reading import dump
from detector.adapters.registry import BUNDLED
from detector.adapters.source import Source
from detector.alerts import AlertEvent
from detector.events import CallEnded, CallEvent, CallStarted, Segment
from detector.labels import Speaker
from detector.replaying import Replay
from tests.detector.calls import PLAYBOOK, RULES
from tests.detector.scripted import score

STARTED_MS = 1_790_000_000_000
LINES = (
    (Speaker.AGENT, "お電話ありがとうございます"),
    (Speaker.CUSTOMER, "商品がまだ届かないんですけど"),
    (Speaker.AGENT, "申し訳ございません、確認いたします"),
    (Speaker.CUSTOMER, "このバカ、早くしろよ"),
    (Speaker.AGENT, "そのような発言はお控えください"),
    (Speaker.CUSTOMER, "死ねよお前、家に火をつけるぞ"),
)

HOUSE = """
name = "house"

[call]
id = "/call"
language = "/tongue"

[[message]]
when = { "/event" = "begin" }
is = "started"
at = { pointer = "/at", unit = "epoch_s" }

[[message]]
when = { "/event" = "speech" }
is = "segment"
each = "/body#/results"
text = "@/words"
speaker = { pointer = "@/channel", map = { 0 = "customer", 1 = "agent" } }
start = { pointer = "@/from", unit = "s" }
duration = { pointer = "@/for", unit = "ticks" }
final = "@/done"
utterance = "@/id"
confidence = "@/sure"
masked = "@/hidden"

[[message]]
when = { "/event" = "finish" }
is = "ended"
offset = "/ms"
"""


def write_house(event: CallEvent, telling: Telling) -> list[bytes]:
    """Tells an event in a house's own words: results in a text that is JSON, times as texts, seconds and ticks."""
    head = {"call": event.call_id, "tongue": telling.tag}
    match event.body:
        case CallStarted():
            return [dump({"event": "begin", **head, "at": telling.started_ms / 1000})]
        case CallEnded(offset_ms=ms):
            return [dump({"event": "finish", **head, "ms": ms})]
        case Segment() as said:
            result = {
                "words": said.text,
                "channel": 0 if said.speaker is Speaker.CUSTOMER else 1,
                "from": str(said.start_ms / 1000),
                "for": (said.end_ms - said.start_ms) * 10_000,
                "done": "true" if said.is_final else "false",
                "id": said.segment_id,
                "sure": 0.9,
                "hidden": said.masked,
            }
            return [dump({"event": "speech", **head, "body": dump({"results": [result]}).decode()})]
        case _:
            return []


ALL = {**BUNDLED, "house": replace(parse_mapping(HOUSE), write=write_house)}
"""Every format that must hold what all must hold: the bundled ones, and one that a house wrote in TOML."""


def call(
    lines: Iterable[tuple[Speaker, str]] = LINES, *, partials: bool = True, call_id: str = "c-1", language: str = "ja"
) -> list[CallEvent]:
    """A call as the native protocol would carry it: finals of 3 s, 2 s apart, the first at 0."""
    bodies: list[Any] = [CallStarted(language=language)]
    at_ms = 0
    for number, (speaker, text) in enumerate(lines):
        fields: dict[str, Any] = {"segment_id": f"s{number}", "speaker": speaker, "start_ms": at_ms}
        if partials:
            half = len(text) // 2
            bodies.append(Segment(**fields, text=text[:half], end_ms=at_ms + 1500, is_final=False))
        bodies.append(Segment(**fields, text=text, end_ms=at_ms + 3000))
        at_ms += 5000
    bodies.append(CallEnded(offset_ms=at_ms))
    return [CallEvent(call_id=call_id, body=body) for body in bodies]


def told(form: Format, events: list[CallEvent], *, language: str = "ja") -> list[tuple[bytes, Envelope]]:
    """The call in a vendor's words, each message with its envelope."""
    telling = Telling(call_id=events[0].call_id, language=language, started_ms=STARTED_MS)
    query = form.query(telling)
    if form.write_call is not None:
        return [(data, Envelope(query=query)) for data in form.write_call(events, telling)]
    assert form.write is not None
    messages = []
    for event in events:
        for side in form.sides(event):
            envelope = Envelope(query={**query, "speaker": side} if side else query)
            messages += [(data, envelope) for data in form.write(event, telling)]
    return messages


def adapt(form: Format, messages: Iterable[tuple[bytes, Envelope]], source: Source | None = None) -> list[CallEvent]:
    """Messages in order through one source."""
    source = source if source is not None else Source()
    events = []
    for data, envelope in messages:
        source, more = feed(form, source, data, envelope)
        events += more
    return events


def alerts(events: Iterable[CallEvent]) -> list[AlertEvent]:
    """The alert events of a replay with the scripted scorer."""
    return list(Replay(rules=RULES, playbook=PLAYBOOK, score=score).run(events))


def gist(events: Iterable[AlertEvent]) -> list[tuple[Any, ...]]:
    """What a supervisor would see, free of ids and times."""
    return [
        (
            event.type.value,
            event.alert.kind.value,
            event.alert.level.value,
            event.alert.labels,
            tuple((piece.speaker, piece.text) for piece in event.alert.evidence),
        )
        for event in events
    ]

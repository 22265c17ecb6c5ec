"""Masked and removed words: seen, reported once, and never more than weak evidence."""

from __future__ import annotations

import json

import pytest

from detector.adapters.folding import feed
from detector.adapters.frame import Envelope
from detector.adapters.source import Source
from tests.detector.adapters.telling import ALL, alerts
from tests.detector.adapters.test_samples import adapt, bodies
from tests.detector.adapters.test_traps import content


@pytest.mark.parametrize("words", ["*** off", "f*** off", "お前＊＊＊だろ", "f**k"])
def test_masked_words_are_seen(words):
    source = Source()
    adapt("twilio", content(words, 2), source=source)
    assert source.masked


@pytest.mark.parametrize("words", ["5 * 3", "電話の米印＊を押して", "all fine"])
def test_a_lone_star_is_no_mask(words):
    source = Source()
    adapt("twilio", content(words, 2), source=source)
    assert not source.masked


def test_a_vendors_flag_beside_a_word_that_is_there_raises_nothing_by_itself():
    item = {"Content": "bananas", "VocabularyFilterMatch": True, "Type": "pronunciation"}
    body = {"UtteranceId": "u", "ParticipantRole": "CUSTOMER", "IsPartial": False, "Items": [item]}
    body |= {"BeginOffsetMillis": 0, "EndOffsetMillis": 1, "Transcript": "bananas"}
    source = Source()
    told = adapt("transcribe_analytics", {"UtteranceEvent": body}, source=source, call_id="c")
    assert bodies(told)[-1].text == "bananas"
    assert not source.masked


@pytest.mark.parametrize("content", ["***", "", None])
def test_a_vendors_flag_without_its_word_says_that_the_stream_is_masked(content):
    items = [{"Content": content, "VocabularyFilterMatch": True}]
    one = {"ResultId": "r", "StartTime": 0, "EndTime": 1, "Alternatives": [{"Transcript": "you", "Items": items}]}
    source = Source()
    adapt("transcribe", {"Transcript": {"Results": [one]}}, source=source, call_id="c")
    assert source.masked


def flagged(words: str, *, hidden: bool = True, number: int = 0, role: str = "CUSTOMER") -> dict:
    body = {"UtteranceId": f"u{number}", "ParticipantRole": role, "IsPartial": False, "Transcript": words}
    items = [{"Content": "", "VocabularyFilterMatch": hidden}]
    times = {"BeginOffsetMillis": number * 5000, "EndOffsetMillis": number * 5000 + 1000}
    return {"UtteranceEvent": {**body, **times, "Items": items}}


def raised(*messages: dict) -> set[tuple[str, str, tuple[str, ...]]]:
    events = adapt("transcribe_analytics", *messages, call_id="c", language="ja")
    return {(event.alert.kind.value, event.alert.level.value, event.alert.labels) for event in alerts(events)}


WEAK = {("abuse", "notice", ("verbal_abuse",))}


def test_a_vendors_flag_where_a_word_was_taken_away_is_weak_evidence_however_often():
    assert raised(*[flagged(f"お前は本当に{n}だな", number=n) for n in range(8)]) == WEAK
    beside_a_word = raised(flagged("お前は本当に"), flagged("このバカ", number=1))
    assert {level for _, level, _ in beside_a_word} == {"notice", "warning"}


def test_a_flag_is_weak_evidence_even_where_nothing_else_was_said():
    assert raised(flagged("")) == WEAK
    assert bodies(adapt("transcribe_analytics", flagged(""), call_id="c"))[-1].text == "***"


def test_no_flag_and_an_operators_flag_are_no_evidence():
    assert raised(flagged("お前は本当に", hidden=False)) == set()
    assert raised(flagged("お前は本当に", role="AGENT")) == set()


@pytest.mark.parametrize("words", ["*** off", "お前＊＊＊だろ"])
def test_a_mask_that_one_sees_is_weak_evidence(words):
    form = {
        "event": "speech",
        "call": "c",
        "body": json.dumps({"results": [{"words": words, "channel": 0, "from": 0}]}),
    }
    events = feed(ALL["house"], Source(), json.dumps(form).encode(), Envelope())[1]
    assert {event.alert.level.value for event in alerts(events)} == {"notice"}


def test_a_house_can_name_its_flag():
    said = {"words": "you", "channel": 0, "from": 0, "hidden": True}
    form = {"event": "speech", "call": "c", "body": json.dumps({"results": [said]})}
    events = feed(ALL["house"], Source(), json.dumps(form).encode(), Envelope())[1]
    assert bodies(events)[-1].masked


def test_a_flag_in_live_call_analytics():
    result = {
        "Channel": "CALLER",
        "ResultId": "r",
        "StartTime": 0,
        "EndTime": 1,
        "Transcript": "you",
        "IsPartial": False,
    }
    items = [{"VocabularyFilterMatch": True}]
    event = {"EventType": "ADD_TRANSCRIPT_SEGMENT", "CallId": "c", "TranscriptEvent": {**result, "Items": items}}
    assert bodies(adapt("lca", event))[-1].masked

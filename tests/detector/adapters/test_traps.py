"""The traps of the field, each where a platform sets it."""

from __future__ import annotations

import json
from urllib.parse import urlencode

import pytest

from detector.adapters.reading import number, seconds, ticks, utc, without_fillers
from detector.adapters.source import MAX_PIECES, ReportKind, Source
from detector.events import CallEnded, CallStarted, Segment
from detector.labels import Speaker
from tests.detector.adapters.test_samples import adapt, bodies


@pytest.mark.parametrize(
    ("read", "value", "expected"),
    [
        (seconds, "27.42", 27_420),
        (seconds, 27.42, 27_420),
        (seconds, "3.1s", 3100),
        (number, 1000, 1000),
        (ticks, 18_900_000, 1890),
        (utc, "2026-01-01T00:00:00Z", 1_767_225_600_000),
        (seconds, 0, 0),
        (seconds, "0", 0),
        (number, 0, 0),
        (ticks, 0, 0),
    ],
)
def test_times_in_every_unit_and_0_is_a_time(read, value, expected):
    assert read({"t": value}, "t") == expected
    assert read({}, "t") is None


@pytest.mark.parametrize("read", [seconds, number, ticks])
@pytest.mark.parametrize("value", [1e308, "-1e308", 10**400, "nan", "inf", True, "soon"])
def test_a_number_that_none_can_be_is_refused_by_name(read, value):
    with pytest.raises(ValueError, match=r"^of\.t: expected a number$"):
        read({"t": value}, "t", path="of.")


def utterance(own: str, words: str, begin: int, transcript: str = "t-1") -> dict:
    body = {"Id": own, "TranscriptId": transcript, "ParticipantRole": "CUSTOMER", "PartialContent": words}
    return {"Utterance": {**body, "BeginOffsetMillis": begin, "EndOffsetMillis": begin + 500}}


def segments(*parts: dict, language: str = "ja-JP") -> dict:
    head = {"EventType": "SEGMENTS", "ContactId": "c-1", "LanguageCode": language}
    return {**head, "Segments": list(parts)}


def test_parts_of_a_partial_add_up_in_the_order_of_their_times_and_a_new_version_of_a_part_replaces_it():
    told = adapt(
        "contact_lens",
        segments(utterance("u2", "責任者を", 1600)),
        segments(utterance("u1", "ふざけ", 1000)),
        segments(utterance("u1", "ふざけるな、", 1000)),
    )
    assert [body.text for body in bodies(told)[1:]] == ["責任者を", "ふざけ責任者を", "ふざけるな、責任者を"]


def test_parts_in_english_are_joined_by_spaces_and_bounded():
    source = Source()
    parts = [segments(utterance(f"u{n:03}", "word", n * 10), language="en-US") for n in range(MAX_PIECES + 20)]
    told = adapt("contact_lens", *parts, source=source)
    assert bodies(told)[2].text == "word word"
    assert len(source.calls["c-1"].pieces["t-1"]) == MAX_PIECES


def amivoice(text: str) -> bytes:
    return b"U " + json.dumps({"text": text + "…", "results": []}).encode()


@pytest.mark.parametrize("end", ["…", "..."])
def test_the_dummy_at_the_end_of_a_partial_is_no_word(end):
    body = json.dumps({"text": "ふざけるな" + end, "results": []}).encode()
    assert bodies(adapt("amivoice", b"U " + body, call_id="c"))[-1].text == "ふざけるな"


def test_an_utterance_that_failed_does_not_lend_its_id_to_the_next():
    failed = b"A " + json.dumps({"results": [], "code": "+", "text": ""}).encode()
    source = Source()
    told = adapt("amivoice", amivoice("ふざ"), failed, amivoice("もしもし"), b"p error", source=source, call_id="c")
    assert [(body.text, body.is_final) for body in bodies(told)[1:]] == [
        ("ふざ", False),
        ("", True),
        ("もしもし", False),
    ]
    assert len({body.segment_id for body in bodies(told)[1:]}) == 2
    assert source.unknown == {"A error": 1, "p error": 1}


def test_partials_that_replace_do_not_add_up():
    told = adapt("amivoice", amivoice("ふざ"), amivoice("ふざけるな"), call_id="c", speaker="customer")
    assert [body.text for body in bodies(told)[1:]] == ["ふざ", "ふざけるな"]


def result(text: str, start: int, name: str, **more: object) -> bytes:
    one = {"text": text, "starttime": start, "endtime": start + 900, "tokens": [], **more}
    return b"A " + json.dumps({"results": [one], "utteranceid": name, "code": "", "text": text}).encode()


def test_a_repeated_delivery_is_known_by_the_vendors_utterance_id():
    source = Source()
    told = adapt(
        "amivoice",
        result("はい", 0, "x"),
        result("はい", 0, "x"),
        result("はい", 2000, "y"),
        source=source,
        call_id="c",
    )
    assert [body.start_ms for body in bodies(told)[1:]] == [0, 2000]
    assert source.counts["repeated"] == 1


def test_a_partial_that_comes_after_its_final_is_dropped():
    final = {"Transcript": {"Id": "t-1", "ParticipantRole": "CUSTOMER", "Content": "おわり", "BeginOffsetMillis": 0}}
    told = adapt("contact_lens", segments(final), segments(utterance("u1", "おわ", 0)))
    assert [body.is_final for body in bodies(told)[1:]] == [True]


def twilio(event: str, seq: int, *, track: str = "inbound_track", second: int = 0, **more: str) -> bytes:
    form = {"TranscriptionEvent": event, "CallSid": "CA1", "SequenceId": str(seq), "Track": track, **more}
    return urlencode({**form, "Timestamp": f"2026-01-01T00:00:{second:02}Z"}).encode()


def content(words: str, seq: int, final: str = "true", **more: object) -> bytes:
    data = json.dumps({"transcript": words, "confidence": 0.5})
    return twilio("transcription-content", seq, TranscriptionData=data, Final=final, **more)  # type: ignore[arg-type]


def test_webhooks_out_of_order_leave_no_stale_partial_and_lose_no_final():
    told = adapt(
        "twilio", content("a b c", 4, second=5), content("a b", 3, "false", second=4), content("d", 6, second=9)
    )
    assert [(body.text, body.is_final) for body in bodies(told)[1:]] == [("a b c", True), ("d", True)]


@pytest.mark.parametrize(
    ("query", "labels", "inbound"),
    [
        ({}, {}, Speaker.CUSTOMER),
        ({"direction": "inbound"}, {}, Speaker.CUSTOMER),
        ({"direction": "outbound"}, {}, Speaker.AGENT),
        ({"direction": "outbound", "customer_track": "inbound_track"}, {}, Speaker.CUSTOMER),
        ({}, {"InboundTrackLabel": "agent", "OutboundTrackLabel": "customer"}, Speaker.AGENT),
        ({"direction": "outbound"}, {"InboundTrackLabel": "customer"}, Speaker.CUSTOMER),
    ],
)
def test_whose_track_it_is_depends_on_the_direction_unless_it_is_said(query, labels, inbound):
    told = adapt("twilio", twilio("transcription-started", 1, **labels), content("x", 2, second=3), **query)
    assert told[-1].body.speaker is inbound
    assert told[0].body.direction == query.get("direction", "inbound")


@pytest.mark.parametrize(
    ("word", "speaker"),
    [
        ("CUSTOMER", Speaker.CUSTOMER),
        ("AGENT", Speaker.AGENT),
        ("SYSTEM", Speaker.UNKNOWN),
        ("", Speaker.UNKNOWN),
    ],
)
def test_roles_of_contact_lens(word, speaker):
    body = {"Id": "t", "ParticipantRole": word, "Content": "x", "BeginOffsetMillis": 0}
    assert bodies(adapt("contact_lens", segments({"Transcript": body})))[-1].speaker is speaker


@pytest.mark.parametrize(
    ("word", "speaker"),
    [
        ("EXTERNAL", Speaker.CUSTOMER),
        ("INTERNAL", Speaker.AGENT),
        ("BOTH", Speaker.UNKNOWN),
        ("UNKNOWN", Speaker.UNKNOWN),
    ],
)
def test_roles_of_genesys(word, speaker):
    assert bodies(adapt("genesys", genesys(("u", word))))[-1].speaker is speaker


@pytest.mark.parametrize(("word", "speaker"), [("CALLER", Speaker.CUSTOMER), ("AGENT", Speaker.AGENT)])
def test_roles_of_lca(word, speaker):
    event = {"EventType": "ADD_TRANSCRIPT_SEGMENT", "CallId": "c", "Channel": word, "SegmentId": "s"}
    told = adapt("lca", {**event, "StartTime": 0, "EndTime": 1, "Transcript": "x"})
    assert bodies(told)[-1].speaker is speaker


def azure(channel: int, offset: int) -> dict:
    return {"RecognitionStatus": "Success", "Offset": offset, "Duration": 1, "DisplayText": "x", "Channel": channel}


def test_a_channel_that_is_always_0_does_not_make_the_operator_a_customer():
    told = adapt("azure", azure(0, 0), azure(0, 10_000), call_id="c", channels="customer,agent")
    assert {body.speaker for body in bodies(told)[1:]} == {Speaker.UNKNOWN}


def test_channels_count_once_a_second_one_was_heard():
    told = adapt("azure", azure(0, 0), azure(1, 10_000), azure(0, 20_000), call_id="c", channels="customer,agent")
    assert [body.speaker for body in bodies(told)[1:]] == [Speaker.UNKNOWN, Speaker.AGENT, Speaker.CUSTOMER]


def test_one_channel_of_one_says_nothing_about_who_speaks():
    message = {"type": "Results", "channel_index": [0, 1], "start": 0, "duration": 1, "is_final": True}
    message["channel"] = {"alternatives": [{"transcript": "x", "confidence": 1}]}
    told = adapt("deepgram", message, call_id="c", channels="customer,agent")
    assert bodies(told)[-1].speaker is Speaker.UNKNOWN
    assert bodies(adapt("deepgram", message, call_id="c", speaker="agent"))[-1].speaker is Speaker.AGENT


def test_a_final_without_an_endpoint_is_kept():
    def heard(start: float, *, speech_final: bool) -> dict:
        head = {"type": "Results", "channel_index": [0, 1], "start": start, "duration": 1, "is_final": True}
        return {**head, "speech_final": speech_final, "channel": {"alternatives": [{"transcript": f"at {start}"}]}}

    told = adapt("deepgram", heard(0.0, speech_final=False), heard(1.0, speech_final=True), call_id="c")
    assert [body.text for body in bodies(told)[1:]] == ["at 0.0", "at 1.0"]
    assert len({body.segment_id for body in bodies(told)[1:]}) == 2


def genesys(*said: tuple[str, str], comm: str = "m1", session: int = 1_000_000, offset: int = 0, status=None) -> dict:
    transcripts = [
        {
            "utteranceId": name,
            "isFinal": True,
            "channel": channel,
            "alternatives": [{"offsetMs": offset, "durationMs": 1000, "transcript": "x"}],
        }
        for name, channel in said
    ]
    body = {"conversationId": "c", "communicationId": comm, "sessionStartTimeMs": session, "transcripts": transcripts}
    return {"topicName": "v2.conversations.c.transcription", "eventBody": {**body, "status": status}}


def test_several_finals_in_one_message():
    told = adapt("genesys", genesys(("u1", "EXTERNAL"), ("u2", "INTERNAL")))
    assert [body.segment_id for body in bodies(told)[1:]] == ["u1", "u2"]


def test_one_bad_item_does_not_take_the_others_with_it():
    message = genesys(("u1", "EXTERNAL"), ("u2", "INTERNAL"), ("u3", "EXTERNAL"))
    message["eventBody"]["transcripts"][1]["alternatives"][0]["offsetMs"] = "soon"
    source = Source()
    told = adapt("genesys", message, source=source)
    assert [body.segment_id for body in bodies(told)[1:]] == ["u1", "u3"]
    [report] = source.take_reports()
    assert report.kind is ReportKind.WRONG_ITEM
    assert report.detail == "eventBody.transcripts[1].alternatives[0].offsetMs: expected a number"


def test_a_transfer_starts_a_second_session_whose_offsets_begin_at_0():
    ended = {"status": "SESSION_ENDED", "offsetMs": 60_000}
    told = adapt(
        "genesys",
        genesys(("u1", "EXTERNAL"), offset=50_000),
        genesys(("u2", "INTERNAL"), comm="m2", session=1_055_000, offset=0),
        genesys(comm="m1", status=ended),
        genesys(("u3", "EXTERNAL"), comm="m2", session=1_055_000, offset=10_000),
        genesys(comm="m2", session=1_055_000, status={"status": "SESSION_ENDED", "offsetMs": 20_000}),
    )
    found = [(type(b).__name__, getattr(b, "start_ms", getattr(b, "offset_ms", None))) for b in bodies(told)]
    assert found == [
        ("CallStarted", None),
        ("Segment", 50_000),
        ("Segment", 55_000),
        ("Segment", 65_000),
        ("CallEnded", 75_000),
    ]


def test_a_conversation_that_goes_on_after_its_last_session_is_a_new_instance():
    told = adapt(
        "genesys",
        genesys(("u1", "EXTERNAL")),
        genesys(status={"status": "SESSION_ENDED", "offsetMs": 5_000}),
        genesys(("u1", "EXTERNAL")),
        genesys(("u2", "EXTERNAL"), comm="m2", session=1_030_000),
    )
    kinds = [type(body).__name__ for body in bodies(told)]
    assert kinds == ["CallStarted", "Segment", "CallEnded", "CallStarted", "Segment"]
    assert told[3].at == "1970-01-01T00:17:10.000Z"


def test_json_within_a_text_that_is_no_json_is_refused_by_name():
    source = Source()
    with pytest.raises(ValueError, match="TranscriptionData"):
        adapt("twilio", twilio("transcription-content", 2, TranscriptionData="{", Final="true"), source=source)
    assert source == Source()


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("%えーと%こんにちは", "こんにちは"),
        ("%アノー%%えー%そうです", "そうです"),
        ("%um% hello", " hello"),
        ("30%と50%です", "30%と50%です"),
        ("50%オフ%", "50%オフ%"),
        ("100%", "100%"),
    ],
)
def test_fillers_between_percent_signs(given, expected):
    assert without_fillers(given) == expected


def test_a_filler_of_kanji_is_known_by_its_token():
    tokens = [{"written": "%其の%"}, {"written": "30%引き"}]
    told = adapt("amivoice", result("%其の%30%引き", 0, "x", tokens=tokens), call_id="c")
    assert bodies(told)[-1].text == "30%引き"


def test_unknown_types_are_counted_and_reported_once_each():
    source = Source()
    told = adapt("lca", *[{"EventType": "NEW_THING", "CallId": "c"}] * 3, {"EventType": "x" * 100}, source=source)
    assert told == []
    assert source.unknown == {"NEW_THING": 3, "other": 1}
    assert [report.detail for report in source.take_reports()] == ["NEW_THING", "other"]


def test_two_streams_of_one_call_end_it_when_both_are_over():
    source = Source()
    customer, agent = {"call_id": "c", "speaker": "customer"}, {"call_id": "c", "speaker": "agent"}
    told = adapt("amivoice", b"s", result("もしもし", 0, "a"), source=source, **customer)
    told += adapt("amivoice", b"s", result("はい", 0, "b"), source=source, **agent)
    assert [type(body) for body in bodies(told)].count(CallStarted) == 1
    assert len({body.segment_id for body in bodies(told) if isinstance(body, Segment)}) == 2
    assert adapt("amivoice", b"e", source=source, **customer) == []
    assert isinstance(bodies(adapt("amivoice", b"e", source=source, **agent))[0], CallEnded)


def test_one_stream_alone_does_not_end_a_call_that_should_have_two():
    source = Source()
    adapt("amivoice", b"s", result("もしもし", 0, "a"), source=source, call_id="c", speaker="customer")
    assert adapt("amivoice", b"e", source=source, call_id="c", speaker="customer") == []


def test_a_session_opened_again_goes_on_where_the_last_one_stopped():
    told = adapt(
        "amivoice", b"s", result("もし", 500, "a"), b"s", result("はい", 500, "b"), call_id="c", speaker="agent"
    )
    assert [body.start_ms for body in bodies(told)[1:]] == [500, 1900]


def test_a_stream_that_began_late_says_so():
    told = adapt("amivoice", result("もし", 500, "a"), call_id="c", speaker="agent", offset_ms="60000")
    assert bodies(told)[-1].start_ms == 60_500


def test_a_call_without_an_id_is_refused_by_name():
    source = Source()
    assert adapt("deepgram", {"type": "Results", "start": 0, "channel": {}}, source=source) == []
    assert source.take_reports()[0].detail.startswith("call_id:")


def test_a_pub_sub_push_is_unpacked():
    import base64

    event = {"conversation": "projects/P/conversations/C", "type": "CONVERSATION_STARTED"}
    push = {"message": {"data": base64.b64encode(json.dumps(event).encode()).decode(), "messageId": "1"}}
    assert adapt("google", push)[0].call_id == "C"

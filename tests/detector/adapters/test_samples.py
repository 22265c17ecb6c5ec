"""Real and documented messages of every vendor (`samples/`; each says in `_SOURCE` what is verified)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from detector.adapters.folding import feed
from detector.adapters.frame import Envelope
from detector.adapters.registry import BUNDLED
from detector.adapters.source import Source
from detector.events import CallChanged, CallEnded, CallEvent, CallStarted, Segment
from detector.labels import Speaker

SAMPLES = Path(__file__).parent / "samples"


def sample(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((SAMPLES / f"{name}.json").read_text(encoding="utf-8"))
    return loaded


def adapt(
    name: str, *messages: Any, source: Source | None = None, received_ms: int | None = None, **query: str
) -> list[CallEvent]:
    source = source if source is not None else Source()
    events: list[CallEvent] = []
    for message in messages:
        data = message if isinstance(message, bytes) else json.dumps(message).encode()
        source, more = feed(BUNDLED[name], source, data, Envelope(query=query, received_ms=received_ms))
        events += more
    return events


def bodies(events: list[CallEvent]) -> list[Any]:
    return [event.body for event in events]


def test_contact_lens():
    events = adapt("contact_lens", *sample("contact_lens_realtime_segments")["kinesis_events"])
    assert bodies(events) == [
        CallStarted(language="ja", metadata={"platform": "contact_lens"}),
        Segment(
            segment_id="t-1",
            speaker=Speaker.CUSTOMER,
            text="ふざける",
            start_ms=1000,
            end_ms=1600,
            is_final=False,
        ),
        Segment(
            segment_id="t-1", speaker=Speaker.CUSTOMER, text="ふざけるな、責任者を出せ", start_ms=1000, end_ms=3200
        ),
        CallEnded(offset_ms=3200, reason="completed"),
    ]


def test_contact_lens_list_api_needs_the_contact_in_the_query():
    page = sample("contact_lens_realtime_segments")["list_realtime_contact_analysis_segments_response"]
    said = adapt("contact_lens", page, call_id="c-9")[-1]
    assert (said.call_id, said.body.segment_id, said.body.speaker) == ("c-9", "string", Speaker.UNKNOWN)


def test_genesys_from_eventbridge_and_from_the_websocket():
    event = sample("genesys_transcription_eventbridge")["event"]
    from_bridge, from_socket = adapt("genesys", event), adapt("genesys", event["detail"])
    assert from_bridge == from_socket
    started, said = from_bridge
    assert started.at == "2026-03-19T21:59:54.383Z"
    assert started.body.language == "en"
    assert said.body == Segment(
        segment_id="5b778cb0-0000-0000-0000-000000000000",
        speaker=Speaker.CUSTOMER,
        text="normalized text",
        start_ms=278_620,
        end_ms=291_100,
        confidence=0.658,
    )


def test_twilio():
    posts = [urlencode(form).encode() for form in sample("twilio_realtime_transcription_webhook")["form_posts"]]
    started, said, ended = adapt("twilio", *posts)
    assert (started.at, started.body.language) == ("2026-01-01T00:00:00.000Z", "ja")
    assert (said.body.speaker, said.body.text, said.body.end_ms, said.body.confidence) == (
        Speaker.CUSTOMER,
        "責任者を出してください",
        4000,
        0.98,
    )
    assert said.body.start_ms == 4000 - round(11 / 7 * 1000)
    assert ended.body == CallEnded(offset_ms=600_000, reason="stopped")


def test_amivoice():
    given = sample("amivoice_websocket")
    result = b"A " + json.dumps(given["A_event_payload"]).encode()
    source = Source()
    frames = [frame.encode() for frame in given["frames"]]
    events = adapt("amivoice", *frames, result, source=source, call_id="c-1", speaker="customer")
    started, partial, final = bodies(events)
    assert isinstance(started, CallStarted)
    assert (partial.text, partial.is_final) == ("こんにちは", False)
    assert final.segment_id == partial.segment_id
    assert (final.text, final.start_ms, final.end_ms, final.confidence) == ("こんにちは", 500, 2692, 0.993)
    assert source.unknown == {}


def test_lca():
    events = adapt("lca", *sample("lca_call_events")["events"], language="ja")
    started, first, partial, utterance, changed, ended = bodies(events)
    assert events[0].caller == "+819012345678"
    assert started.agent_id == "agent-7"
    assert (first.segment_id, first.speaker, first.start_ms, first.end_ms) == ("seg-1", Speaker.CUSTOMER, 1200, 3400)
    assert (partial.segment_id, partial.start_ms, partial.is_final) == ("r1", 0, False)
    assert (utterance.segment_id, utterance.start_ms, utterance.end_ms) == ("u1", 1500, 4250)
    assert isinstance(changed, CallChanged)
    assert isinstance(ended, CallEnded)


def test_lca_times_as_texts():
    said = bodies(adapt("lca", sample("lca_add_transcript_segment")["event"]))[-1]
    assert (said.start_ms, said.end_ms) == (27_420, 30_955)


def test_transcribe():
    said = bodies(adapt("transcribe", sample("transcribe_streaming_result")["event"], call_id="c", channels="agent"))[
        -1
    ]
    assert (said.start_ms, said.end_ms, said.speaker, said.language) == (0, 4200, Speaker.AGENT, "")


def test_transcribe_call_analytics():
    source = Source()
    said = bodies(
        adapt("transcribe_analytics", *sample("transcribe_call_analytics_stream")["events"], source=source, call_id="c")
    )[-1]
    assert (said.segment_id, said.speaker, said.start_ms, said.end_ms) == ("u1", Speaker.CUSTOMER, 11_320, 15_825)
    assert source.unknown == {}


def test_deepgram():
    source = Source()
    events = adapt(
        "deepgram", *sample("deepgram_live")["messages"], source=source, call_id="c", speaker="customer", sides="1"
    )
    _, said, ended = bodies(events)
    assert (said.start_ms, said.end_ms, said.speaker) == (5990, 7970, Speaker.CUSTOMER)
    assert isinstance(ended, CallEnded)
    assert source.unknown == {}


def test_google():
    events = adapt("google", *sample("google_stt_streaming")["responses"], call_id="c", channels="customer,agent")
    _, partial, final = bodies(events)
    assert (partial.text, partial.is_final) == ("to be or", False)
    assert (final.text, final.end_ms, final.speaker) == ("to be or not to be", 3100, Speaker.CUSTOMER)


def test_agent_assist_recognition_results_wait_for_their_message():
    recognised = sample("google_stt_streaming")["dialogflow_agent_assist_pubsub"]
    message = {
        "conversation": "projects/P/conversations/C",
        "type": "NEW_MESSAGE",
        "newMessagePayload": {
            "name": "projects/P/conversations/C/messages/M1",
            "content": "hello",
            "participantRole": "END_USER",
            "createTime": "2026-01-01T00:00:05Z",
        },
    }
    events = adapt("google", recognised, message)
    assert events[-1].call_id == "C"
    assert (events[-1].body.segment_id, events[-1].body.speaker) == ("M1", Speaker.CUSTOMER)
    assert len(events) == 2


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("google", {"conversation": "p/c", "type": "NEW_MESSAGE", "newMessagePayload": {"name": "m", "content": "x"}}),
        ("salesforce_voice", {"callId": "c", "content": "x", "messageId": "m", "startTime": 0}),
    ],
)
def test_what_a_machine_says_is_not_the_customers(name, message):
    if name == "google":
        message["newMessagePayload"]["participantRole"] = "AUTOMATED_AGENT"
    else:
        message["senderType"] = "VIRTUAL_AGENT"
    assert bodies(adapt(name, message))[-1].speaker is Speaker.AGENT


def test_azure():
    said = bodies(adapt("azure", sample("azure_speech_result")["result"], call_id="c", speaker="customer"))[-1]
    assert (said.start_ms, said.end_ms, said.speaker, said.confidence) == (1890, 7810, Speaker.CUSTOMER, 0.8567135)


def test_azure_communication_services():
    about = {"kind": "TranscriptionMetadata", "transcriptionMetadata": {"callConnectionId": "x", "locale": "ja-JP"}}
    data = {
        "text": "こんにちは",
        "offset": 0,
        "duration": 9_600_000,
        "participantRawID": "4:+81",
        "resultStatus": "Final",
    }
    said = adapt(
        "azure", about, {"kind": "TranscriptionData", "transcriptionData": data}, call_id="c", customer="4:+81"
    )
    assert (said[1].body.start_ms, said[1].body.end_ms, said[1].body.speaker) == (0, 960, Speaker.CUSTOMER)


def test_salesforce_voice():
    events = adapt("salesforce_voice", sample("salesforce_voice_transcript")["event"])
    assert events[-1].call_id == "c5d93c19-e03b-44f8-85e6-a11f02e70c45"
    assert (events[-1].body.text, events[-1].body.speaker) == ("Hello", Speaker.AGENT)


def salesforce(kind: str, **detail: Any) -> dict[str, Any]:
    return {"type": kind, "detail": {"callId": "c", **detail}}


def test_salesforce_events_of_lightning_web_components():
    """Names and fields as in the developer guide's page on the LWC toolkit's events."""
    times = {"clientSentTimestamp": 1_000_000, "serverReceivedTimestamp": 1_000_000}
    speech = {**times, "id": "m1", "content": {"formatType": "Text", "text": "Hello"}, "sender": {"role": "EndUser"}}
    later = {**speech, "clientSentTimestamp": 1_005_000, "serverReceivedTimestamp": 1_005_000}
    source = Source()
    events = adapt(
        "salesforce_voice",
        salesforce("callstarted", callType="Outbound", participant="+81312345678", **times),
        salesforce("transcript", **speech),
        salesforce("transcript", **speech),
        salesforce("transcript", **later),
        salesforce("hold", participant="+81312345678"),
        salesforce("resume", participant="+81312345678"),
        salesforce("flagraise", **times, content={"formatType": "Text", "text": "help me"}, sender={"role": "Agent"}),
        salesforce("flaglower", **times, content={"formatType": None, "text": None}),
        salesforce("callended"),
        source=source,
    )
    names = [type(body).__name__ for body in bodies(events)]
    assert names == ["CallStarted", "Segment", "Segment", "CallHeld", "CallResumed", "AgentHelp", "CallEnded"]
    assert (events[0].caller, events[0].body.direction) == ("+81312345678", "outbound")
    assert events[5].body.note == "help me"
    assert source.unknown == {}


def test_salesforce_telephony_api_message():
    body = {"senderType": "END_USER", "content": "hi", "messageId": "m1", "startTime": 1_000_000, "endTime": 1_002_000}
    events = adapt("salesforce_voice", body, call_id="vk-1")
    assert (events[-1].body.start_ms, events[-1].body.end_ms) == (0, 2000)
    assert events[0].at == "1970-01-01T00:16:40.000Z"


def test_vcon():
    events = adapt("vcon", sample("vcon_redacted_transcript")["vcon"], parties="customer,agent", language="en")
    started, *said, ended = bodies(events)
    assert (events[0].at, started.language) == ("2022-06-21T17:53:26.000Z", "en")
    assert [(one.text, one.start_ms) for one in said][:2] == [("Hello.", 1200), ("This is {{URL}}.", 1760)]
    assert {one.speaker for one in said} == {Speaker.CUSTOMER}
    assert ended == CallEnded(offset_ms=33_120, reason="recorded")

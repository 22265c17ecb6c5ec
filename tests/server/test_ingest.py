from __future__ import annotations

import asyncio
import json
import random

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from server.live import intake
from server.storage.port import CallRecord
from tests.server.running import ended, over, platform, said, serving, start, started, supervisor


@pytest.fixture
async def server(tmp_path):
    async with serving(tmp_path / "data") as running:
        yield running


async def test_every_event_type_is_taken(server):
    async with platform(server) as peer:
        kinds = [
            started(),
            {"type": "call.answered", "offset_ms": 100},
            said(2, "もしもし"),
            {"type": "call.hold", "offset_ms": 12_000},
            {"type": "call.resumed", "offset_ms": 20_000},
            {"type": "call.changed", "offset_ms": 21_000, "agent": {"id": "b"}, "reason": "transfer"},
            {"type": "call.alive", "offset_ms": 22_000},
            {"type": "call.speakers", "swapped": False},
            {"type": "agent.help", "offset_ms": 23_000, "note": "x"},
            {"type": "call.ended", "offset_ms": 24_000, "reason": "hangup"},
        ]
        for seq, event in enumerate(kinds):
            await peer.send({**event, "call_id": "c-1", "seq": seq})
        await peer.acked(9)
        assert peer.nacks == []


async def test_an_alert_reaches_a_supervisor_who_acknowledges(server):
    async with supervisor(server) as watcher, platform(server) as peer:
        assert (await watcher.read())["type"] == "snapshot"
        await peer.send(started(), said(1, "このバカ"))
        raised = await watcher.until("alert.raised")
        alert = raised["alert"]
        assert (alert["level"], alert["labels"], alert["call"]["queue"]) == ("warning", ["verbal_abuse"], "billing")
        assert alert["evidence"][0]["spans"] == [{"start": 2, "end": 4, "label": "verbal_abuse", "score": 0.95}]
        assert alert["latency_ms"] is not None
        answer = await watcher.command(type="acknowledge", alert_id=alert["alert_id"], version=1)
        assert answer["type"] == "ok"


@pytest.mark.parametrize(
    ("event", "code", "field"),
    [
        ({"type": "nope", "call_id": "c-1", "seq": 1}, "bad_event", "type"),
        ({"call_id": "c-1", "seq": 1}, "bad_event", "type"),
        (said(1, "x", start_ms=-1), "bad_event", "start_ms"),
        (said(1, "x", start_ms=1e15), "bad_event", "start_ms"),
        (said(1, "x", end_ms=0, start_ms=5), "bad_event", "end_ms"),
        (said(1, "x", speaker="robot"), "bad_event", "speaker"),
        (said(1, "x", confidence=2), "bad_event", "confidence"),
        (said(1, "x", is_final="yes"), "bad_event", "is_final"),
        ({"type": "transcript.segment", "call_id": "c-1", "seq": 1}, "bad_event", "segment_id"),
        (said(1, "あ" * 16_001), "too_large", "text"),
        ({"type": "call.hold", "call_id": "c-1", "seq": 1}, "bad_event", "offset_ms"),
        ({"type": "call.alive", "call_id": "c-1", "seq": 1, "offset_ms": "5"}, "bad_event", "offset_ms"),
        (started(1, at="yesterday"), "bad_event", "at"),
        ([1, 2], "bad_event", None),
    ],
)
async def test_a_bad_event_is_named_and_the_call_goes_on(server, event, code, field):
    async with platform(server) as peer:
        await peer.send(started(), [event] if isinstance(event, list) else event)
        nack = await peer.nacked()
        assert (nack["code"], nack["field"]) == (code, field)
        assert "あああ" not in json.dumps(nack, ensure_ascii=False)
        if nack["seq"] == 1:
            assert nack["retry"] is False
            await peer.send(said(2, "つづき"))
            await peer.acked(2)


@pytest.mark.parametrize("frame", ["{", "", "nul", '{"a":', "[[[", b"\x01\x02"])
async def test_what_is_not_json_is_refused_without_a_call(server, frame):
    async with platform(server) as peer:
        await peer.send(frame)
        nack = await peer.nacked()
        assert (nack["code"], nack["call_id"], nack["seq"]) == ("bad_json", None, None)
        await peer.send(started())
        await peer.acked(0)


async def test_each_item_of_an_array_is_judged_alone(server):
    async with platform(server) as peer:
        await peer.send([started(), {"type": "nope", "call_id": "c-1", "seq": 1}, said(2, "はい")])
        await peer.acked(2)
        assert [nack["seq"] for nack in peer.nacks] == [1]


async def test_a_recognisers_flag_for_a_masked_word_is_a_notice(server):
    async with supervisor(server) as watcher, platform(server) as peer:
        await watcher.read()
        await peer.send(started(), said(1, "お前は本当に", masked=True), ended(2))
        alert = (await watcher.until("alert.raised"))["alert"]
        assert (alert["level"], alert["labels"], alert["evidence"][0]["text"]) == (
            "notice",
            ["verbal_abuse"],
            "お前は本当に",
        )


async def test_odd_texts_are_taken(server):
    async with platform(server) as peer:
        await peer.send(started(), said(1, ""), said(2, "　 \u200b"), said(3, "😡𠮟ｶﾞ㍻\u0000", start_ms=0, end_ms=0))
        await peer.send('{"type":"transcript.segment","call_id":"c-1","seq":4,"segment_id":"x","speaker":"customer",'
                        '"text":"\\ud83d lone","start_ms":1,"end_ms":2}')  # fmt: skip
        await peer.acked(4)
        assert peer.nacks == []


async def test_duplicates_are_acked_again_and_ignored(server):
    async with platform(server) as peer, supervisor(server) as watcher:
        await watcher.until("snapshot")
        await peer.send(started(), said(1, "バカ"))
        await watcher.until("alert.raised")
        await peer.acked(1)
        peer.acks.clear()
        await peer.send(started(), said(1, "バカ"))
        await peer.acked(1)
        found = await asyncio.to_thread(server.app.runtime.log.alerts, "default")
        assert len(found) == 1
        assert found[0].version == 1


async def test_early_events_wait_for_those_before_them(server):
    async with platform(server) as peer:
        await peer.send(started(), said(3, "三"), said(2, "二"), said(1, "一"))
        await peer.acked(3)
        assert peer.nacks == []


async def test_a_gap_beyond_the_window_is_named(server):
    async with platform(server) as peer:
        await peer.send(started(), said(99, "遠い"))
        nack = await peer.nacked()
        assert (nack["code"], nack["expected"], nack["retry"]) == ("gap", 1, True)


async def test_a_gap_is_given_up_in_the_end_and_the_call_is_marked(server, monkeypatch):
    monkeypatch.setattr(intake, "REORDER_S", 0.1)
    monkeypatch.setattr(intake, "GAP_S", 0.3)
    async with platform(server) as peer:
        await peer.send(started(), said(2, "二"))
        assert (await peer.nacked())["expected"] == 1
        await peer.acked(2)
    call = server.app.runtime.calls["default", "c-1"]
    assert call.session.status().monitoring["state"] == "incomplete"


async def test_resume_says_how_far_the_server_is(server):
    async with platform(server) as peer:
        await peer.send(started(), said(1, "一"))
        await peer.acked(1)
    async with platform(server) as peer:
        await peer.send({"type": "resume", "call_ids": ["c-1", "other"]})
        message = await peer.read()
        assert message == {"type": "resumed", "calls": {"c-1": 1, "other": None}}


async def test_without_seq_the_server_counts_and_segment_ids_tell_duplicates(server):
    async with platform(server) as peer, supervisor(server) as watcher:
        await watcher.until("snapshot")
        event = said(None, "バカ")
        await peer.send({"type": "call.started", "call_id": "c-1"})
        await peer.send(event, event)
        await watcher.until("alert.raised")
        await peer.acked(2)
    assert len(await asyncio.to_thread(server.app.runtime.log.alerts, "default")) == 1


async def test_a_segment_of_an_unknown_call_starts_it(server):
    async with platform(server) as peer:
        await peer.send(said(0, "いきなり"))
        await peer.acked(0)
    assert ("default", "c-1") in server.app.runtime.calls


async def test_after_the_end_events_are_refused_and_a_new_start_is_a_new_call(server):
    async with platform(server) as peer:
        await peer.send(started(), ended(1))
        await peer.acked(1)
        await peer.send(said(2, "まだいる"))
        assert (await peer.nacked())["code"] == "call_ended"
        await peer.send(ended(2))
        assert (await peer.nacked(2))["code"] == "call_ended"
        peer.acks.clear()
        await peer.send(started(), said(1, "バカ"))
        await peer.acked(1)
    assert len(await asyncio.to_thread(server.app.runtime.log.calls, "default")) == 2


async def test_partials_are_acked_and_a_final_replaces_them(server):
    async with platform(server) as peer, supervisor(server) as watcher:
        await watcher.until("snapshot")
        await peer.send(started(), said(1, "バ", is_final=False, segment_id="p"))
        await peer.send(said(2, "バカ", segment_id="p"))
        await peer.acked(2)
        assert (await watcher.until("alert.raised"))["alert"]["evidence"][0]["text"] == "バカ"


async def test_a_full_house_refuses_new_calls_and_keeps_those_it_has(tmp_path):
    async with serving(tmp_path / "data", max_calls=2) as running, platform(running) as peer:
        await peer.send(*(started(call_id=f"c-{number}") for number in range(3)))
        nack = await peer.nacked()
        assert (nack["code"], nack["call_id"], nack["retry"]) == ("overloaded", "c-2", True)
        assert nack["retry_after_ms"] > 0
        await peer.send(said(1, "一", call_id="c-0"))
        await peer.acked(1, "c-0")


async def test_a_refused_call_is_looked_up_once_and_taken_when_there_is_room(tmp_path, monkeypatch):
    monkeypatch.setattr("server.live.reception.MAX_REFUSED", 2)
    async with serving(tmp_path / "data", max_calls=1) as running, platform(running) as peer:
        runtime = running.app.runtime
        asked: list[str] = []
        find = runtime.log.find_call

        def finding(tenant: str, call_id: str) -> CallRecord | None:
            asked.append(call_id)
            return find(tenant, call_id)

        monkeypatch.setattr(runtime.log, "find_call", finding)
        await peer.send(started(call_id="c-0"))
        await peer.acked(0, "c-0")
        for count, call_id in enumerate(("c-1", "c-1", "c-1", "c-2", "c-1", "c-3", "c-1"), 1):
            await peer.send(said(1, "一", call_id=call_id))
            assert (await peer.nacked(count))["code"] == "overloaded"
        # Two are remembered: the third pushes the oldest out, which is then asked for again.
        assert asked == ["c-0", "c-1", "c-2", "c-3", "c-1"]
        await peer.send(ended(1, call_id="c-0"))
        await peer.acked(1, "c-0")
        await over(running)
        await peer.send(started(call_id="c-1"), ended(1, call_id="c-1"))
        await peer.acked(1, "c-1")
        await over(running)
        await peer.send(said(2, "二", call_id="c-1"))
        assert (await peer.nacked(8))["code"] == "call_ended"


async def test_a_frame_over_the_limit_closes_and_a_resume_loses_nothing(server):
    async with platform(server) as peer:
        await peer.send(started())
        await peer.acked(0)
        await peer.send(said(1, "x" * 100_000))
        with pytest.raises(ConnectionClosed) as closed:
            while True:
                await peer.read()
        assert closed.value.rcvd.code == 1009
    async with platform(server) as peer:
        await peer.send({"type": "resume", "call_ids": ["c-1"]})
        assert (await peer.read())["calls"] == {"c-1": 0}


async def test_invalid_utf8_closes_with_1007(server):
    async with platform(server) as peer:
        await peer.socket.send(b"\xff\xfe", text=True)
        with pytest.raises(ConnectionClosed) as closed:
            await peer.socket.recv()
        assert closed.value.rcvd.code == 1007


@pytest.mark.parametrize("headers", [{"Origin": "https://evil.example"}, {"Host": "evil.example"}])
async def test_a_foreign_page_or_host_gets_no_socket(server, headers):
    with pytest.raises(InvalidStatus):
        async with connect(server.url("/v1/ingest"), additional_headers=headers):
            pass


async def test_only_our_subprotocol_is_selected(server):
    async with connect(server.url("/v1/ingest"), subprotocols=["mamori.v1", "bearer.abc"]) as socket:
        assert socket.subprotocol == "mamori.v1"


async def test_many_calls_opened_and_abandoned(server):
    names = [f"c-{number}" for number in range(400)]
    random.Random(3).shuffle(names)
    async with platform(server) as peer:
        for name in names:
            await peer.send(started(call_id=name))
        while len(peer.acks) < len(names):
            await peer.read()
    async with platform(server) as peer:
        await peer.send(started(call_id="one-more"))
        await peer.acked(0, "one-more")


async def test_a_client_that_never_reads_does_not_disturb_the_others(server):
    async with connect(server.url("/v1/ingest"), max_queue=1) as deaf, platform(server) as peer:
        for number in range(3000):
            await deaf.send(json.dumps({"type": "nope", "call_id": "d", "seq": number}))
        await peer.send(started(), said(1, "バカ"))
        await peer.acked(1)


async def test_a_restart_goes_on_where_it_was(tmp_path):
    first = await start(tmp_path / "data")
    async with supervisor(first) as watcher, platform(first) as peer:
        await watcher.until("snapshot")
        await peer.send(started(), said(1, "バカ"))
        await peer.acked(1)
        before = [(await watcher.until("alert.raised"))["alert"]]
    await first.stop()
    async with serving(tmp_path / "data") as second, platform(second) as peer:
        await peer.send({"type": "resume", "call_ids": ["c-1"]})
        assert (await peer.read())["calls"] == {"c-1": 1}
        await peer.send(said(2, "晒すぞ"))
        await peer.acked(2)
        async with supervisor(second) as watcher:
            message = await watcher.read()
            alerts = message["alerts"] if message["type"] == "snapshot" else []
            while not alerts or alerts[0]["level"] != "escalate":
                alerts = [(await watcher.until("alert.updated"))["alert"]]
        assert [alert["alert_id"] for alert in alerts] == [alert["alert_id"] for alert in before]


async def test_a_lost_feed_is_shown_and_comes_back(tmp_path):
    async with serving(tmp_path / "data", lost_after_s=0.2) as running:
        async with platform(running) as peer:
            await peer.send(started(), said(1, "もしもし"))
            await peer.acked(1)
        call = running.app.runtime.calls["default", "c-1"]
        async with asyncio.timeout(10):
            while call.session.status().monitoring != {"state": "lost", "reason": "disconnected"}:
                await asyncio.sleep(0.05)
        async with platform(running) as peer:
            await peer.send({"type": "resume", "call_ids": ["c-1"]}, said(2, "つづき"))
            await peer.acked(2)
            async with asyncio.timeout(10):
                while call.session.status().monitoring["state"] != "ok":
                    await asyncio.sleep(0.05)


async def test_a_call_that_went_quiet_ends_and_a_later_event_reopens_it(tmp_path):
    async with serving(tmp_path / "data", idle_end_s=0.2) as running, platform(running) as peer:
        await peer.send(started(), said(1, "もしもし"))
        await peer.acked(1)
        log = running.app.runtime.log
        async with asyncio.timeout(10):
            while (await asyncio.to_thread(log.find_call, "default", "c-1")).end_reason != "idle":
                await asyncio.sleep(0.05)
        before = await asyncio.to_thread(log.find_call, "default", "c-1")
        await peer.send(said(2, "まだいます"))
        await peer.acked(2)
        assert (await asyncio.to_thread(log.find_call, "default", "c-1")).instance == before.instance

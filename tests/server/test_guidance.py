from __future__ import annotations

import asyncio
import json

import httpx
import jsonschema_rs
import pytest
from websockets.asyncio.client import connect

from detector.alerts import Link
from server.links import LinkTemplates
from server.messages import GUIDANCE_OUT, schemas
from tests.server.running import WAIT_S, platform, serving, supervisor

STARTED = {"type": "call.started", "call_id": "c-1", "language": "en", "queue": "billing", "agent": {"id": "a-1"}}


def said(number: int, text: str) -> dict:
    return {
        "type": "transcript.segment", "call_id": "c-1", "segment_id": f"s{number}", "speaker": "customer", "text": text,
        "start_ms": number * 4000, "end_ms": number * 4000 + 2000,
    }  # fmt: skip


async def guided(socket, wanted) -> dict:
    while True:
        message = json.loads(await asyncio.wait_for(socket.recv(), WAIT_S))
        if wanted(message):
            return message


async def test_the_operator_is_told_what_to_say_and_who_helps_without_the_words_of_the_call(tmp_path):
    (kind,), components = schemas(GUIDANCE_OUT, template="#/components/schemas/{name}")
    check = jsonschema_rs.validator_for({**kind, "components": {"schemas": components}})
    async with serving(tmp_path) as running, connect(running.url("/v1/guidance?call=c-1")) as socket:
        first = await guided(socket, lambda _: True)
        assert (first["live"], first["ended"], first["phrase"]) == (False, False, None)
        async with platform(running) as feed:
            await feed.send(STARTED, said(1, "I will kill you"))
            alarmed = await guided(socket, lambda message: message["phrase"] is not None)
            check.validate(alarmed)
            assert alarmed["level"] == "critical"
            assert "kill" not in json.dumps(alarmed)
            async with httpx.AsyncClient(base_url=running.http) as client:
                assert (await client.post("/v1/calls/c-1/help", json={})).status_code == 200
                helped = await guided(socket, lambda message: message["help"])
                assert helped["helper"] == ""
                for alert in (await client.get("/v1/alerts")).json()["alerts"]:
                    await client.post(f"/v1/alerts/{alert['alert_id']}/acknowledge", json={})
            await guided(socket, lambda message: message["helper"] == "local")
            await feed.send({"type": "call.ended", "call_id": "c-1", "offset_ms": 9000})
            over = await guided(socket, lambda message: message["ended"])
            assert (over["live"], over["phrase"], over["level"]) == (False, None, "none")


async def test_guidance_that_begins_within_a_call_knows_what_was_before(tmp_path):
    async with serving(tmp_path) as running, platform(running) as feed, supervisor(running) as watcher:
        await feed.send(STARTED, said(1, "I will kill you"))
        while (await watcher.read())["type"] != "alert.raised":
            pass
        async with connect(running.url("/v1/guidance?call=c-1")) as socket:
            assert (await guided(socket, lambda _: True))["level"] == "critical"


async def test_a_call_is_named(tmp_path):
    async with serving(tmp_path) as running, connect(running.url("/v1/guidance")) as socket:
        await socket.wait_closed()
        assert (socket.close_code, socket.close_reason) == (1008, "call: expected a call id")


async def test_a_ping_is_answered(tmp_path):
    async with serving(tmp_path) as running, connect(running.url("/v1/alerts")) as socket:
        await socket.send(json.dumps({"type": "ping", "ref": "7"}))
        while (message := json.loads(await asyncio.wait_for(socket.recv(), WAIT_S)))["type"] != "ok":
            pass
        assert message["ref"] == "7"


@pytest.mark.parametrize("call_id", ["c-1", "../x?y=1#z", "件"])
def test_what_is_filled_into_a_link_cannot_lead_elsewhere(call_id):
    templates = LinkTemplates(listen="https://pbx.example/listen/{call_id}", console="https://mamori.example/")
    listen, call = templates.fill(call_id, "a-1")
    assert listen.href.startswith("https://pbx.example/listen/")
    assert listen.href.removeprefix("https://pbx.example/listen/").isascii()
    assert not set(listen.href.removeprefix("https://pbx.example/listen/")) & set("/?#")
    assert call.rel == "call"
    assert call.href.startswith("https://mamori.example/#/call/")


def test_there_are_no_links_without_templates():
    assert LinkTemplates(console="http://127.0.0.1:8787").fill("c-1", "a-1") == ()
    assert LinkTemplates(takeover="https://x.example/{agent_id}").fill("c", "a b") == (
        Link(rel="takeover", href="https://x.example/a%20b"),
    )


async def test_alerts_and_statuses_carry_the_links(tmp_path):
    async with (
        serving(tmp_path, link_listen="https://pbx.example/{call_id}") as running,
        supervisor(running, "?calls=1") as watcher,
        platform(running) as feed,
    ):
        await feed.send(STARTED, said(1, "I will kill you"))
        found = {}
        while {"alert.raised", "call.status"} - set(found):
            message = await watcher.read()
            found[message["type"]] = message
        links = [{"rel": "listen", "href": "https://pbx.example/c-1"}]
        assert found["alert.raised"]["alert"]["links"] == links
        assert found["call.status"]["links"] == links

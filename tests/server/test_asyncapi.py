"""`/asyncapi.json` is valid AsyncAPI 3, and every message of a real server is of the type that it promises."""

from __future__ import annotations

import json
import warnings
from typing import Any

import httpx
import jsonpointer
import jsonschema_rs
import pytest
from websockets.asyncio.client import connect

from detector.adapters.registry import BUNDLED
from server.asyncapi import asyncapi_document
from server.messages import ALERTS_OUT, FORMAT_OUT, INGEST_OUT
from server.wire import EVENT_TYPES
from tests.server.running import ended, platform, said, serving, started, supervisor

with warnings.catch_warnings():
    warnings.simplefilter("ignore", UserWarning)  # its own models shadow attributes of pydantic's
    from asyncapi3.models import AsyncAPI3

DOCUMENT = asyncapi_document(version="1", formats=BUNDLED)


def references(value: Any) -> list[str]:
    if isinstance(value, dict):
        own = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
        return own + [found for item in value.values() for found in references(item)]
    return [found for item in value for found in references(item)] if isinstance(value, list) else []


def validator(kinds) -> jsonschema_rs.Validator:
    some = [{"$ref": f"#/components/schemas/{kind.__name__}"} for kind in kinds]
    return jsonschema_rs.validator_for({"oneOf": some, "components": DOCUMENT["components"]})


def test_the_document_is_valid():
    AsyncAPI3.model_validate(DOCUMENT)


def test_a_broken_document_is_not():
    with pytest.raises(ValueError, match="action"):
        broken = json.loads(json.dumps(DOCUMENT))
        broken["operations"]["takeEvents"]["action"] = "dance"
        AsyncAPI3.model_validate(broken)


def test_every_reference_leads_somewhere():
    found = references(DOCUMENT)
    assert len(found) > 50
    for reference in found:
        jsonpointer.resolve_pointer(DOCUMENT, reference.removeprefix("#"))


def test_every_event_type_is_described():
    schemas = [schema for name, schema in DOCUMENT["components"]["schemas"].items() if name.startswith("Event")]
    described = {schema["properties"]["type"]["enum"][0] for schema in schemas if "type" in schema["properties"]}
    assert described == set(EVENT_TYPES)


async def test_the_server_serves_it(tmp_path):
    async with serving(tmp_path) as running, httpx.AsyncClient(base_url=running.http) as http:
        served = (await http.get("/asyncapi.json")).json()
    assert served["channels"] == DOCUMENT["channels"]


async def test_real_messages_are_of_the_promised_types(tmp_path):
    ingest, form, alerts = validator(INGEST_OUT), validator(FORMAT_OUT), validator(ALERTS_OUT)
    kinds = set()

    def check(message: dict[str, Any], against: jsonschema_rs.Validator) -> None:
        against.validate(message)
        kinds.add(message["type"])

    async with serving(tmp_path) as running, supervisor(running, "?calls=1") as watcher, platform(running) as peer:
        check(peer.others[0], ingest)
        check(await watcher.read(), alerts)
        await peer.send(started(), {"type": "nonsense", "call_id": "c-1"}, "{", {"type": "resume", "call_ids": ["c-1"]})
        await peer.nacked(2)
        while len(peer.others) < 2:
            await peer.read()
        await peer.acked(0)
        for message in [*peer.nacks, *peer.others]:
            check(message, ingest)
        check({"type": "ack", "call_id": "c-1", "seq": peer.acks["c-1"]}, ingest)
        await watcher.socket.send(json.dumps({"type": "watch", "ref": 1, "call_id": "c-1"}))
        await peer.send(said(1, "死ねよ"), said(2, "もしもし", is_final=False), ended(3))
        wanted = {"call.transcript", "ok", "segment", "call.status", "alert.raised"}
        while not wanted <= kinds:
            message = await watcher.read()
            check(message, alerts)
            if message["type"] == "alert.raised":
                alert = message["alert"]
        for fields in ({"type": "acknowledge", "ref": "a", "alert_id": alert["alert_id"]}, {"type": "dance", "ref": 2}):
            await watcher.socket.send(json.dumps(fields))
        while not {"alert.acknowledged", "error"} <= kinds:
            check(await watcher.read(), alerts)
        async with connect(running.url("/v1/ingest?format=lca")) as socket:
            await socket.send('{"EventType": "NEW"}')
            await socket.send("{")
            for _ in range(5):
                message = json.loads(await socket.recv())
                check(message, form)
                if message.get("messages") == 2:
                    break
    assert {"welcome", "ack", "nack", "resumed", "notice", "snapshot"} <= kinds

"""Platforms' own messages through the real server: every format, both ways in, and who is refused."""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
from datetime import UTC, datetime, timedelta
from urllib.parse import urlencode

import httpx
import pytest
import uvicorn
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from detector.adapters.registry import BUNDLED
from detector.events import Segment
from server.app import create_app
from server.auth import Role, Tokens
from server.client import IngestClient
from server.format_client import FormatClient
from server.format_demo import FormatStage
from server.link import RefusedError
from server.settings import Settings
from server.storage.embedded import EmbeddedLog
from server.vendorposts import addresses, twilio_signature
from tests.detector.adapters.telling import LINES, call
from tests.server.running import ScriptedScorer, serving, supervisor

SECRET = "0123456789abcdef0123456789abcdef"
PUBLIC = "https://mamori.example"
MAPPING = """
name = "acme"
[[message]]
when = { "/event" = "bye" }
is = "ended"
id = "/call"
[[message]]
is = "segment"
id = "/call"
text = "/said"
speaker = "/who"
start = "/ms"
utterance = "/n"
"""


def native(call_id: str) -> list[dict]:
    """The conformance call as the demo would play it."""
    events = []
    for event in call(partials=False, call_id=call_id):
        body = event.body
        if isinstance(body, Segment):
            more = {
                "type": "transcript.segment",
                "segment_id": body.segment_id,
                "speaker": body.speaker.value,
                "text": body.text,
                "start_ms": body.start_ms,
                "end_ms": body.end_ms,
            }
        elif hasattr(body, "offset_ms"):
            more = {"type": "call.ended", "offset_ms": body.offset_ms}
        else:
            more = {"type": "call.started", "language": body.language}
        events.append({"call_id": call_id, **more})
    return events


async def alerts_of(running, call_id: str) -> set[tuple]:
    async with httpx.AsyncClient(base_url=running.http) as client:
        for _ in range(200):
            answer = await client.get(f"/v1/calls/{call_id}")
            found = answer.json()
            if answer.status_code == 200 and found["ended_ms"] is not None and len(found["alerts"]) >= 1:
                return {(alert["kind"], alert["level"], tuple(sorted(alert["labels"]))) for alert in found["alerts"]}
            await asyncio.sleep(0.02)
    raise AssertionError(found)


EXPECTED = {("abuse", "critical", ("threat", "verbal_abuse"))}


async def test_the_call_in_our_own_protocol(tmp_path):
    async with serving(tmp_path) as running:
        async with IngestClient(running.url("")) as client:
            for event in native("c-1"):
                await client.send(event)
        assert await alerts_of(running, "c-1") == EXPECTED


@pytest.mark.parametrize("name", BUNDLED)
async def test_a_call_told_over_the_platforms_own_way_in_gives_the_same_alerts(tmp_path, name):
    token = tmp_path / "twilio"
    token.write_text(SECRET)
    token.chmod(0o600)
    async with serving(tmp_path / "data", public_url=PUBLIC, twilio_auth_token_file=token) as running:
        secret = SECRET if name == "twilio" else ""
        stage = FormatStage(BUNDLED[name], running.http, public_url=PUBLIC, secret=secret)
        async with stage.open():
            await stage.play(iter(native("c-1")), call_id="c-1", language="ja", speed=1000)
        assert await alerts_of(running, "c-1") == EXPECTED
        async with httpx.AsyncClient(base_url=running.http) as client:
            text = (await client.get("/metrics")).text
        assert f'mamori_format_total{{format="{name}",what="messages"}}' in text


def segment(words: str, *, call_id: str = "c-1", number: int = 0, role: str = "CUSTOMER") -> dict:
    times = {"BeginOffsetMillis": number * 3000, "EndOffsetMillis": number * 3000 + 1000}
    body = {"Id": f"t-{call_id}-{number}", "ParticipantRole": role, "Content": words, **times}
    head = {"EventType": "SEGMENTS", "ContactId": call_id, "LanguageCode": "ja-JP"}
    return {**head, "Segments": [{"Transcript": body}]}


async def read(socket) -> dict:
    return json.loads(await asyncio.wait_for(socket.recv(), 10))


async def test_the_socket_greets_acknowledges_refuses_and_tells(tmp_path):
    async with serving(tmp_path) as running, connect(running.url("/v1/ingest?format=contact_lens")) as socket:
        welcome = await read(socket)
        assert (welcome["type"], welcome["format"], welcome["protocol"]) == ("welcome", "contact_lens", 1)
        await socket.send(json.dumps(segment("このバカ")))
        await socket.send("{nonsense")
        await socket.send(json.dumps({"EventType": "BRAND_NEW", "ContactId": "c-1"}).encode())
        await socket.send(json.dumps(segment("f*** off", number=1)))
        answers = []
        while not answers or answers[-1] != {"type": "ack", "messages": 4}:
            answers.append(await read(socket))
        nack = next(answer for answer in answers if answer["type"] == "nack")
        assert (nack["message"], nack["code"], nack["retry"]) == (1, "bad_json", False)
        notices = {answer["code"]: answer["detail"] for answer in answers if answer["type"] == "notice"}
        assert notices["unknown_type"] == "BRAND_NEW"
        assert "profanity filter" in notices["masked_stream"]
        assert running.app.runtime.reception.consumed("default", "c-1") == 2


@pytest.mark.parametrize(
    ("query", "reason"), [("format=none", "no such format"), ("format=amivoice", "call_id missing in the address")]
)
async def test_a_wrong_address_is_refused_with_a_reason(tmp_path, query, reason):
    async with serving(tmp_path) as running:
        async with connect(running.url(f"/v1/ingest?{query}")) as socket:
            with pytest.raises(ConnectionClosed) as closed:
                await socket.recv()
        assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (1008, reason)
        with pytest.raises(RefusedError, match=reason):
            async with FormatClient(running.url(""), query.split("=")[1]) as client:
                await client.send(b"{}")


async def test_a_client_goes_on_over_a_restart_and_nothing_is_lost_or_twice(tmp_path):
    async with serving(tmp_path) as running:
        port = running.port
        client = FormatClient(running.url(""), "contact_lens")
        await client.__aenter__()
        await client.send(json.dumps({"EventType": "STARTED", "ContactId": "c-1", "LanguageCode": "ja-JP"}))
        first = await client.send(json.dumps(segment("このバカ")))
        await asyncio.wait_for(client.durable(first), 10)
    await client.send(json.dumps(segment("このバカ")))  # delivered again, as a bridge does
    last = await client.send(json.dumps(segment("死ねよ", number=1)))
    app = create_app(Settings(data_dir=tmp_path), scorer=ScriptedScorer())
    config = uvicorn.Config(app, host="127.0.0.1", port=port, ws="websockets-sansio", log_level="error")
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve())
    await asyncio.wait_for(client.durable(last), 20)
    assert client.connects == 2
    await client.__aexit__(None, None, None)
    live = app.runtime.calls["default", "c-1"]
    finals = [found.text for found in live.session.state.transcript.finals]
    assert finals == ["このバカ", "死ねよ"]
    assert live.session.state.language == "ja"
    server.should_exit = True
    await task


async def test_an_overloaded_server_asks_for_the_message_again(tmp_path):
    async with serving(tmp_path, max_calls=1) as running:
        answers = []
        client = FormatClient(running.url(""), "contact_lens", on_answer=answers.append)
        async with client:
            await client.durable(await client.send(json.dumps(segment("もしもし", call_id="c-1"))))
            await client.send(json.dumps(segment("もしもし", call_id="c-2")))
            while not answers:
                await asyncio.sleep(0.01)
            assert (answers[0]["code"], answers[0]["retry"], client.unacked) == ("overloaded", True, 1)
            del running.app.runtime.calls["default", "c-1"]
            await client.flush(timeout_s=10)
        assert ("default", "c-2") in running.app.runtime.calls
        async with httpx.AsyncClient(base_url=running.http) as http:
            refused = await http.post("/v1/ingest/contact_lens", json=segment("もしもし", call_id="c-3"))
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "2")


async def test_a_house_format_from_a_toml_file(tmp_path):
    path = tmp_path / "acme.toml"
    path.write_text(MAPPING, encoding="utf-8")
    async with (
        serving(tmp_path / "data", mappings=(path,)) as running,
        httpx.AsyncClient(base_url=running.http) as http,
    ):
        for number, (speaker, text) in enumerate(LINES):
            message = {"call": "c-1", "said": text, "who": speaker.value, "ms": number * 5000, "n": f"s{number}"}
            answer = await http.post("/v1/ingest/acme", json=message)
            assert answer.json()["ok"], answer.text
        await http.post("/v1/ingest/acme", json={"event": "bye", "call": "c-1"})
        assert await alerts_of(running, "c-1") == EXPECTED


async def test_bad_webhooks_are_answered_by_name(tmp_path):
    async with serving(tmp_path, max_webhook_bytes=2000) as running, httpx.AsyncClient(base_url=running.http) as http:
        assert (await http.post("/v1/ingest/none", content=b"{}")).status_code == 404
        bad = await http.post("/v1/ingest/contact_lens", content=b"{")
        assert (bad.status_code, bad.json()["error"]["code"]) == (400, "bad_json")
        assert (await http.post("/v1/ingest/contact_lens", content=b" " * 3000)).status_code == 413
        wrong = await http.post(
            "/v1/ingest/genesys",
            json={"topicName": "v2.conversations.c.transcription", "eventBody": {"conversationId": 5}},
        )
        assert wrong.json()["error"]["field"] == "eventBody.conversationId"
        late = await http.post(
            "/v1/ingest/contact_lens", json={"EventType": "COMPLETED", "ContactId": "never-heard-of"}
        )
        assert late.json() == {"ok": True, "events": 0, "notices": []}


async def test_what_is_wrong_again_and_again_is_answered_each_time_and_logged_once(tmp_path, caplog):
    bad = segment("x")
    bad["Segments"][0]["Transcript"]["Id"] = 5
    async with serving(tmp_path) as running, httpx.AsyncClient(base_url=running.http) as http:
        answers = [(await http.post("/v1/ingest/contact_lens", json=bad)).json()["notices"] for _ in range(3)]
        text = (await http.get("/metrics")).text
    assert answers == [[{"code": "wrong_item", "detail": "Id: expected a text"}]] * 3
    assert sum("wrong_item" in record.getMessage() for record in caplog.records) == 1
    assert 'mamori_format_total{format="contact_lens",what="wrong_item"} 3.0' in text


async def test_a_call_without_an_end_ends_by_itself_and_goes_on_if_it_was_not_over(tmp_path):
    async with serving(tmp_path, idle_end_s=0.3) as running, httpx.AsyncClient(base_url=running.http) as http:
        await http.post("/v1/ingest/contact_lens", json=segment("もしもし"))
        find = running.app.runtime.log.find_call
        while (record := find("default", "c-1")).ended_ms is None:
            await asyncio.sleep(0.02)
        assert record.end_reason == "idle"
        again = await http.post("/v1/ingest/contact_lens", json=segment("このバカ", number=1))
        assert again.json()["events"] == 1
        assert find("default", "c-1").instance == record.instance
        assert ("default", "c-1") in running.app.runtime.calls


# Who is refused.


def token_for(folder, role: Role = Role.PLATFORM) -> str:
    log = EmbeddedLog(folder)
    _, secret = Tokens(log.state.engine).create(name="pbx", tenant="default", role=role)
    log.close()
    return secret


async def test_unsigned_webhooks_are_refused_in_every_format(tmp_path):
    platform, watcher = token_for(tmp_path), token_for(tmp_path, Role.SUPERVISOR)
    basic = base64.b64encode(f"pbx:{platform}".encode()).decode()
    async with serving(tmp_path, auth=True) as running, httpx.AsyncClient(base_url=running.http) as http:
        for name in BUNDLED:
            path = f"/v1/ingest/{name}"
            assert (await http.post(path, content=b"{}")).status_code == 401
            wrong = await http.post(path, content=b"{}", headers={"Authorization": "Bearer mmr_wrong"})
            assert wrong.status_code == 401
            plain = await http.post(path, content=b"{}", headers={"Authorization": f"Basic {basic}"})
            assert (plain.status_code, plain.json()["error"]["message"]) == (403, "basic authentication over TLS alone")
            other = await http.post(path, content=b"{}", headers={"Authorization": f"Bearer {watcher}"})
            assert other.status_code == 403
        good = await http.post(
            "/v1/ingest/contact_lens", json=segment("もしもし"), headers={"Authorization": f"Bearer {platform}"}
        )
        assert good.json()["events"] == 2


def certificate(folder) -> tuple[str, str]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    chain, private = folder / "chain.pem", folder / "key.pem"
    chain.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return str(chain), str(private)


async def test_basic_authentication_over_tls(tmp_path):
    secret = token_for(tmp_path / "data")
    chain, key = certificate(tmp_path)
    app = create_app(Settings(data_dir=tmp_path / "data", auth=True), scorer=ScriptedScorer())
    config = uvicorn.Config(
        app, host="127.0.0.1", port=0, ws="websockets-sansio", log_level="error", ssl_certfile=chain, ssl_keyfile=key
    )
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    context = ssl.create_default_context(cafile=chain)
    async with httpx.AsyncClient(base_url=f"https://localhost:{port}", verify=context) as http:
        good = await http.post("/v1/ingest/genesys", content=b"{}", auth=("anything", secret))
        bad = await http.post("/v1/ingest/genesys", content=b"{}", auth=("anything", "mmr_wrong"))
    assert (good.status_code, bad.status_code) == (200, 401)
    server.should_exit = True
    await task


def twilio_form(**more: str) -> dict[str, str]:
    form = {"TranscriptionEvent": "transcription-content", "CallSid": "CA1", "SequenceId": "2", "Final": "true"}
    data = json.dumps({"transcript": "このバカ", "confidence": 0.9}, ensure_ascii=False)
    return {**form, "Track": "inbound_track", "TranscriptionData": data, "Timestamp": "2026-01-01T00:00:04Z", **more}


@pytest.mark.parametrize(
    ("url", "status"),
    [
        (f"{PUBLIC}/v1/ingest/twilio?direction=inbound", 200),
        (f"{PUBLIC}:443/v1/ingest/twilio?direction=inbound", 200),
        (f"{PUBLIC}/v1/ingest/twilio", 403),
        ("https://other.example/v1/ingest/twilio?direction=inbound", 403),
        ("http://mamori.example/v1/ingest/twilio?direction=inbound", 403),
    ],
)
async def test_twilio_signs_over_the_public_address(tmp_path, url, status):
    path = tmp_path / "token"
    path.write_text(SECRET + "\n")
    path.chmod(0o600)
    form = twilio_form()
    signature = twilio_signature(url, list(form.items()), SECRET)
    async with (
        serving(tmp_path / "data", auth=True, public_url=PUBLIC, twilio_auth_token_file=path) as running,
        httpx.AsyncClient(base_url=running.http) as http,
    ):
        answer = await http.post(
            "/v1/ingest/twilio?direction=inbound", data=form, headers={"X-Twilio-Signature": signature}
        )
        assert answer.status_code == status
        tampered = await http.post(
            "/v1/ingest/twilio?direction=inbound",
            data={**form, "CallSid": "CA2"},
            headers={"X-Twilio-Signature": signature},
        )
        assert tampered.status_code == 403
        assert (await http.post("/v1/ingest/twilio", data=form)).status_code == 403


async def test_signed_webhooks_are_of_the_tenant_that_the_settings_name(tmp_path):
    path = tmp_path / "token"
    path.write_text(SECRET)
    path.chmod(0o600)
    form = twilio_form()
    signature = twilio_signature(f"{PUBLIC}/v1/ingest/twilio", list(form.items()), SECRET)
    own = {"public_url": PUBLIC, "twilio_auth_token_file": path, "twilio_tenant": "osaka"}
    async with (
        serving(tmp_path / "data", auth=True, **own) as running,
        httpx.AsyncClient(base_url=running.http) as http,
    ):
        answer = await http.post("/v1/ingest/twilio", data=form, headers={"X-Twilio-Signature": signature})
        assert answer.json()["events"] == 2
        assert list(running.app.runtime.calls) == [("osaka", "CA1")]


async def test_a_signature_that_cannot_be_checked_is_refused(tmp_path):
    async with serving(tmp_path) as running, httpx.AsyncClient(base_url=running.http) as http:
        signature = twilio_signature(f"{running.http}/v1/ingest/twilio", list(twilio_form().items()), "")
        answer = await http.post("/v1/ingest/twilio", data=twilio_form(), headers={"X-Twilio-Signature": signature})
        assert answer.status_code == 403


def test_the_signature_is_that_of_twilios_own_example():
    """The worked example of Twilio's page "VendorPosts security"."""
    fields = {
        "CallSid": "CA1234567890ABCDE",
        "Caller": "+14158675310",
        "Digits": "1234",
        "From": "+14158675310",
        "To": "+18005551212",
    }
    url = "https://example.com/myapp.php?foo=1&bar=2"
    assert twilio_signature(url, list(fields.items()), "12345") == "L/OH5YylLD5NRKLltdqwSvS0BnU="


def test_addresses_with_and_without_the_schemes_port():
    assert addresses("https://a.example", "/p", "q=1") == ["https://a.example/p?q=1", "https://a.example:443/p?q=1"]
    assert addresses("https://a.example:443", "/p", "") == ["https://a.example:443/p", "https://a.example/p"]
    assert addresses("https://a.example:8443", "/p", "") == ["https://a.example:8443/p"]


async def test_a_redelivered_webhook_is_stored_once(tmp_path):
    async with serving(tmp_path) as running, httpx.AsyncClient(base_url=running.http) as http:
        body = urlencode(twilio_form()).encode()
        answers = [(await http.post("/v1/ingest/twilio", content=body)).json()["events"] for _ in range(3)]
        assert answers == [2, 0, 0]
        async with supervisor(running) as watcher:
            message = await watcher.read()
            found = message["alerts"] or [(await watcher.read())["alert"]]
        assert [len(alert["evidence"]) for alert in found] == [1]

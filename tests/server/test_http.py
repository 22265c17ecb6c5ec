from __future__ import annotations

import asyncio

import httpx
import pytest

from server import hub
from tests.server.running import platform, said, serving, started
from tests.server.test_alerts import one_alert


@pytest.fixture
async def server(tmp_path):
    async with serving(tmp_path / "data") as running:
        yield running


@pytest.fixture
async def client(server):
    async with httpx.AsyncClient(base_url=server.http) as found:
        yield found


async def test_classify_scores_and_redacts(client):
    items = [{"id": "a", "text": "このバカ"}, {"id": 2, "text": "ok", "language": "en", "context": ["agent: hello"]}]
    answer = (await client.post("/v1/classify", json={"items": items})).json()
    assert [item["id"] for item in answer["items"]] == ["a", 2]
    assert answer["items"][0]["labels"] == ["verbal_abuse"]
    assert set(answer["items"][0]["scores"]) >= {"threat", "complaint"}
    assert len(answer["items"][0]["scores"]) == 9


@pytest.mark.parametrize(
    "body", [{}, {"items": [{"text": 5}]}, {"items": [{"text": "x", "language": "fr"}]}, {"items": [{}] * 300}]
)
async def test_classify_refuses_what_is_wrong(client, body):
    assert (await client.post("/v1/classify", json=body)).status_code == 422


async def test_calls_and_their_transcript(server, client):
    async with platform(server) as peer:
        await peer.send(started(), said(1, "電話は090-1234-5678です"))
        await peer.acked(1)
    call = (await client.get("/v1/calls")).json()["calls"][0]
    assert (call["call_id"], call["status"]["monitoring"]["state"]) == ("c-1", "ok")
    events = (await client.get("/v1/calls/c-1/events")).json()
    assert [item["text"] for item in events["segments"]] == ["電話は〈電話番号〉です"]
    assert (await client.get("/v1/calls/none")).status_code == 404


async def test_an_alert_is_acted_on_over_http(server, client):
    alert = await one_alert(server)
    path = f"/v1/alerts/{alert['alert_id']}"
    assert (await client.post(f"{path}/acknowledge", json={"version": 1})).json()["type"] == "ok"
    again = await client.post(f"{path}/acknowledge", json={"version": 1})
    assert (again.status_code, again.json()["code"]) == (409, "conflict")
    assert (await client.post(f"{path}/resolve", json={})).status_code == 400
    assert (await client.post(f"{path}/resolve", json={"outcome": "harassment"})).status_code == 200
    assert (await client.get("/v1/alerts")).json()["alerts"] == []
    assert len((await client.get("/v1/alerts?state=all")).json()["alerts"]) == 1


async def test_help_raises_at_once(server, client):
    async with platform(server) as peer:
        await peer.send(started())
        await peer.acked(0)
        assert (await client.post("/v1/calls/c-1/help", json={"note": "please"})).status_code == 200
    while not (alerts := (await client.get("/v1/alerts")).json()["alerts"]):
        pass
    assert (alerts[0]["kind"], alerts[0]["level"]) == ("distress", "escalate")
    assert (await client.post("/v1/calls/none/help")).status_code == 404


async def test_a_miss_is_flagged(server, client):
    async with platform(server) as peer:
        await peer.send(started(), said(1, "月夜ばかりと思うなよ"))
        await peer.acked(1)
    body = {"segment_id": "s1", "labels": ["threat"], "note": "implied"}
    unknown = await client.post("/v1/calls/c-1/flag", json={**body, "segment_id": "s9"})
    assert (unknown.status_code, unknown.json()["error"]["field"]) == (404, "segment_id")
    assert (await client.post("/v1/calls/c-1/flag", json=body)).status_code == 200
    assert (await client.post("/v1/calls/c-1/flag", json={**body, "labels": ["fun"]})).status_code == 422


async def test_prevalence_counts(server, client):
    await one_alert(server)
    report = (await client.get("/v1/reports/prevalence")).json()
    assert (report["calls"], report["calls_with_warning"], report["by_label"]) == (1, 1, {"verbal_abuse": 1})
    assert sum(report["by_day"].values()) == sum(report["by_hour"].values()) == 1


async def test_health_and_metrics(server, client):
    assert (await client.get("/healthz")).json() == {"status": "ok"}
    ready = await client.get("/readyz")
    assert (ready.status_code, ready.json()["ready"]) == (200, True)
    await one_alert(server)
    text = (await client.get("/metrics")).text
    assert "mamori_events_total" in text
    assert "mamori_alert_latency_seconds_count 1.0" in text
    assert (await client.get("/openapi.json")).json()["info"]["title"] == "Mamori"


async def test_foreign_hosts_are_refused_and_pages_are_locked_down(client):
    assert (await client.get("/healthz", headers={"Host": "evil.example"})).status_code == 421
    page = await client.get("/")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "unsafe" not in page.headers["content-security-policy"]


async def test_a_full_disk_is_visible_and_passes(server, client, monkeypatch):
    days = server.app.runtime.log._days
    whole = days.write

    def full(*_args, **_kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(days, "write", full)
    async with platform(server) as peer:
        await peer.send(started())
        nack = await peer.nacked()
        assert (nack["code"], nack["retry"]) == ("overloaded", True)
        assert (await client.get("/readyz")).status_code == 503
        monkeypatch.setattr(days, "write", whole)
        await peer.send(started())
        await peer.acked(0)
    assert (await client.get("/readyz")).status_code == 200


async def test_a_listener_who_does_not_read_is_visible(server, client, monkeypatch):
    monkeypatch.setattr(hub, "BEHIND_S", 0.05)
    deaf = hub.Subscription(tenant="default", queues=None, statuses=True)
    server.app.runtime.hub.subscribe(deaf)
    assert (await client.get("/readyz")).json()["checks"]["listeners"] == "ok"
    async with platform(server) as peer:
        await peer.send(started(), said(1, "死ね"))
        await peer.acked(1)
        async with asyncio.timeout(10):
            while (await client.get("/readyz")).json()["checks"]["listeners"] != "1 behind":
                await asyncio.sleep(0.02)
    answer = await client.get("/readyz")
    assert answer.status_code == 200
    assert "mamori_subscribers_behind 1.0" in (await client.get("/metrics")).text
    server.app.runtime.hub.unsubscribe(deaf)
    assert (await client.get("/readyz")).json()["checks"]["listeners"] == "ok"

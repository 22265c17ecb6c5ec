from __future__ import annotations

import asyncio
import sqlite3
import time
from contextlib import closing

import httpx
import pytest
import sqlalchemy as sa
from standardwebhooks import Webhook, WebhookVerificationError

from server.delivery import dispatch, outbox
from server.delivery.outbox import MessageState
from server.storage.tables import AUDIT, OUTBOX
from tests.server.delivery.receiver import KEY, OLD_KEY, receiving, secret, webhook
from tests.server.running import ended, platform, said, serving, start, started, supervisor
from tests.server.test_alerts import one_alert
from tests.server.test_encryption import keys_at

LOCAL = ["127.0.0.0/8"]


@pytest.fixture
async def receiver():
    async with receiving() as found:
        yield found


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr("server.delivery.retry.WEBHOOK_WAITS_S", (0.05,) * 9)
    monkeypatch.setattr("server.delivery.retry.PUSH_WAITS_S", (0.05,) * 5)
    monkeypatch.setattr(dispatch, "POLL_S", 0.05)


def rows(running, *columns):
    with running.app.runtime.log.state.engine.connect() as connection:
        return [tuple(row) for row in connection.execute(sa.select(*(OUTBOX.c[name] for name in columns)))]


async def settled(running, state: str, count: int = 1, sender: str = "hook") -> None:
    async with asyncio.timeout(10):
        while rows(running, "sender", "state").count((sender, state)) < count:
            await asyncio.sleep(0.02)


async def test_a_webhook_is_signed_and_carries_no_word_of_the_call(tmp_path, receiver):
    config = webhook(tmp_path, receiver, secret_file=secret(tmp_path, "two", KEY, OLD_KEY))
    async with serving(tmp_path / "data", senders={"hook": config}, public_url="https://localhost:1") as running:
        alert = await one_alert(running)
        (got,) = await receiver.until(1)
        await settled(running, "sent")
        assert rows(running, "state", "body") == [("sent", b"")]
    for key in (KEY, OLD_KEY):
        message = Webhook(key).verify(got.body, got.headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(KEY).verify(got.body + b" ", got.headers)
    assert (message["type"], message["data"]["alert"]["alert_id"]) == ("alert.raised", alert["alert_id"])
    assert message["data"]["call_url"] == "https://localhost:1/#/call/c-1"
    assert got.headers["webhook-id"].startswith("msg_")
    assert "バカ" not in got.body.decode()
    assert message["data"]["alert"]["evidence"][0]["segment_id"] == "s1"


async def test_what_was_said_goes_out_only_if_the_settings_allow_it(tmp_path, receiver):
    config = webhook(tmp_path, receiver, transcript=True)
    async with serving(tmp_path / "data", senders={"hook": config}) as running:
        await one_alert(running)
        (got,) = await receiver.until(1)
    assert got.json["data"]["alert"]["evidence"][0]["text"] == "バカ"


async def test_the_cloudevents_envelope(tmp_path, receiver):
    config = webhook(tmp_path, receiver, envelope="cloudevents")
    async with serving(tmp_path / "data", senders={"hook": config}) as running:
        alert = await one_alert(running)
        (got,) = await receiver.until(1)
    event = Webhook(KEY).verify(got.body, got.headers)
    assert got.headers["content-type"].startswith("application/cloudevents+json")
    assert (event["specversion"], event["type"]) == ("1.0", "dev.mamori.alert.raised")
    assert (event["source"], event["subject"]) == ("/mamori/default", alert["alert_id"])
    assert (event["id"], event["datacontenttype"]) == (got.headers["webhook-id"], "application/json")
    assert event["data"]["alert"]["alert_id"] == alert["alert_id"]


async def test_the_life_of_an_alert_is_told_in_order_under_stable_ids(tmp_path, receiver):
    fails = iter([500, 500])
    receiver.answer = lambda got: (next(fails, 200), {})
    async with (
        serving(tmp_path / "data", senders={"hook": webhook(tmp_path, receiver)}) as running,
        supervisor(running) as watcher,
    ):
        alert = await one_alert(running)
        await watcher.command(type="acknowledge", alert_id=alert["alert_id"])
        await watcher.command(type="resolve", alert_id=alert["alert_id"], outcome="complaint", note="secret note")
        got = await receiver.until(5)
        await settled(running, "sent", 3)
    assert [item.json["type"] for item in got] == ["alert.raised"] * 3 + ["alert.acknowledged", "alert.resolved"]
    assert len({item.headers["webhook-id"] for item in got[:3]}) == 1
    assert len({item.body for item in got[:3]}) == 1
    assert len({item.headers["webhook-id"] for item in got}) == 3
    assert b"secret note" not in got[4].body


async def test_a_hanging_receiver_delays_neither_another_nor_the_detector(tmp_path, receiver):
    receiver.answer = lambda got: None if got.path == "/hangs" else (200, {})
    senders = {
        "hangs": webhook(tmp_path, receiver, url=receiver.url("/hangs"), timeout_s=60),
        "hook": webhook(tmp_path, receiver),
    }
    async with serving(tmp_path / "data", senders=senders) as running, supervisor(running) as watcher:
        await watcher.until("snapshot")
        took = []
        for number in range(12):
            begun = time.monotonic()
            await one_alert(running, f"c-{number}")
            took.append(time.monotonic() - begun)
        await settled(running, "sent", 12)
        await settled(running, "pending", 12, sender="hangs")
        assert rows(running, "sender", "state").count(("hangs", "pending")) == 12
        assert len([got for got in receiver.got if got.path == "/hangs"]) == dispatch.AT_ONCE
        assert max(took[6:]) < 4 * max(took[:3])


async def test_a_receiver_that_drips_is_cut_off(tmp_path, receiver):
    receiver.answer = lambda got: None
    async with serving(tmp_path / "data", senders={"hook": webhook(tmp_path, receiver, timeout_s=0.5)}) as running:
        await one_alert(running)
        await settled(running, "dead")
        assert rows(running, "reason", "attempts") == [("timeout", 10)]
    assert len(receiver.got) == 10


async def test_gone_disables_the_sender_until_it_is_enabled_and_replayed(tmp_path, receiver):
    receiver.answer = lambda got: (410, {})
    async with (
        serving(tmp_path / "data", senders={"hook": webhook(tmp_path, receiver)}) as running,
        httpx.AsyncClient(base_url=running.http) as client,
    ):
        await one_alert(running, "c-1")
        await settled(running, "dead")
        await one_alert(running, "c-2")
        await settled(running, "dead", 2)
        assert len(receiver.got) == 1
        (shown,) = (await client.get("/v1/delivery/senders")).json()["senders"]
        assert (shown["disabled_reason"], shown["dead"], shown["kind"]) == ("http_410", 2, "webhook")
        receiver.answer = lambda got: (200, {})
        assert (await client.post("/v1/delivery/senders/none/enable")).status_code == 404
        assert (await client.post("/v1/delivery/senders/hook/enable")).status_code == 200
        assert (await client.post("/v1/delivery/replay", json={"sender": "hook"})).json() == {"replayed": 2}
        await settled(running, "sent", 2)
    assert [got.json["data"]["alert"]["call_id"] for got in receiver.got] == ["c-1", "c-1", "c-2"]
    assert receiver.got[0].headers["webhook-id"] == receiver.got[1].headers["webhook-id"]


async def test_dead_letters_are_listed_and_replayed_one_by_one(tmp_path, receiver):
    receiver.answer = lambda got: (500, {})
    async with (
        serving(tmp_path / "data", senders={"hook": webhook(tmp_path, receiver)}) as running,
        httpx.AsyncClient(base_url=running.http) as client,
    ):
        await one_alert(running, "c-1")
        await one_alert(running, "c-2")
        await settled(running, "dead", 2)
        listed = (await client.get("/v1/delivery/outbox?state=dead")).json()["messages"]
        assert [(item["reason"], item["attempts"], item["next_at"]) for item in listed] == [("http_500", 10, None)] * 2
        assert "body" not in listed[0]
        receiver.answer = lambda got: (200, {})
        answer = await client.post(f"/v1/delivery/outbox/{listed[0]['id']}/replay")
        assert answer.json() == {"replayed": 1}
        await settled(running, "sent")
        assert (await client.post(f"/v1/delivery/outbox/{listed[0]['id']}/replay")).status_code == 404
        with running.app.runtime.log.state.engine.connect() as connection:
            actions = list(connection.execute(sa.select(AUDIT.c.action, AUDIT.c.target)))
    assert ("delivery.replay", str(listed[0]["id"])) in [tuple(row) for row in actions]


async def test_a_redirect_is_not_followed(tmp_path, receiver):
    receiver.answer = lambda got: (307, {"Location": receiver.url("/elsewhere")})
    async with serving(tmp_path / "data", senders={"hook": webhook(tmp_path, receiver)}) as running:
        await one_alert(running)
        await settled(running, "dead")
        assert rows(running, "reason") == [("redirect",)]
    assert {got.path for got in receiver.got} == {"/hook"}


async def test_a_private_address_is_refused_unless_allowed(tmp_path, receiver):
    config = webhook(tmp_path, receiver, allow_networks=["10.0.0.0/8"])
    async with serving(tmp_path / "data", senders={"hook": config}) as running:
        await one_alert(running)
        await settled(running, "dead")
        assert rows(running, "reason") == [("address_refused",)]
    assert receiver.got == []


async def test_what_was_planned_survives_a_restart_and_nothing_is_planned_twice(tmp_path, receiver):
    receiver.answer = lambda got: None
    senders = {"hook": webhook(tmp_path, receiver, timeout_s=60)}
    running = await start(tmp_path / "data", senders=senders)
    await one_alert(running)
    await receiver.until(1)
    await running.stop()
    receiver.answer = lambda got: (200, {})
    async with serving(tmp_path / "data", senders=senders) as again:
        await settled(again, "sent")
        await one_alert(again, "c-2")
        await settled(again, "sent", 2)
    ids = [got.headers["webhook-id"] for got in receiver.got]
    assert (len(ids), ids[0] == ids[1], ids[1] == ids[2]) == (3, True, False)


async def test_a_new_sender_begins_now_and_not_with_the_past(tmp_path, receiver):
    running = await start(tmp_path / "data")
    await one_alert(running, "c-1")
    await running.stop()
    async with serving(tmp_path / "data", senders={"hook": webhook(tmp_path, receiver)}) as again:
        await one_alert(again, "c-2")
        await receiver.until(1)
    assert [got.json["data"]["alert"]["call_id"] for got in receiver.got] == ["c-2"]


async def test_a_provisional_alert_never_leaves_but_its_confirmation_does(tmp_path, receiver):
    async with (
        serving(tmp_path / "data", senders={"hook": webhook(tmp_path, receiver)}) as running,
        supervisor(running) as watcher,
        platform(running) as peer,
    ):
        await peer.send(started(), said(1, "殺すぞ、死ね", segment_id="p", is_final=False))
        assert (await watcher.until("alert.raised"))["alert"]["provisional"]
        await peer.send(said(2, "殺すぞ、死ね", segment_id="p", start_ms=5000, end_ms=7500))
        await watcher.until("alert.updated")
        (got,) = await receiver.until(1)
    assert (got.json["type"], got.json["data"]["alert"]["provisional"]) == ("alert.raised", False)


async def test_what_is_only_observed_never_leaves_but_a_call_for_help_does(tmp_path, receiver):
    async with (
        serving(tmp_path / "data", observe=True, senders={"hook": webhook(tmp_path, receiver)}) as running,
        platform(running) as peer,
    ):
        await peer.send(started(), said(1, "死ね、殺すぞ"))
        await peer.acked(1)
        await peer.send({"type": "agent.help", "call_id": "c-1", "seq": 2, "offset_ms": 9000})
        (got,) = await receiver.until(1)
    assert got.json["data"]["alert"]["kind"] == "distress"
    assert len(receiver.got) == 1


async def test_messengers_and_the_pager_are_called_tier_by_tier(tmp_path, receiver):
    routing = {
        "routes": [
            {
                "queue": "billing",
                "tiers": [{"senders": ["slack"], "after_s": 0.1}, {"senders": ["teams", "pager"], "after_s": 60}],
            }
        ]
    }
    senders = {
        "slack": {"kind": "slack", "url_file": secret(tmp_path, "slack", receiver.url("/slack/" + "s" * 30))},
        "teams": {"kind": "teams", "url_file": secret(tmp_path, "teams", receiver.url("/teams/" + "t" * 30))},
        "pager": {
            "kind": "pagerduty",
            "url": receiver.url("/pager"),
            "routing_key_file": secret(tmp_path, "pager", "R" * 32),
            "language": "en",
        },
    }
    senders = {name: {**config, "allow_networks": LOCAL} for name, config in senders.items()}
    async with (
        serving(tmp_path / "data", senders=senders, routing=routing, public_url="https://localhost:1") as running,
        supervisor(running) as watcher,
    ):
        alert = await one_alert(running)
        await watcher.until("alert.unattended")
        await settled(running, "sent", sender="pager")
        await watcher.command(type="acknowledge", alert_id=alert["alert_id"])
        await watcher.command(type="resolve", alert_id=alert["alert_id"], outcome="harassment")
        for name, count in (("slack", 4), ("teams", 3), ("pager", 3)):
            await settled(running, "sent", count, sender=name)
        assert b"R" * 32 not in b"".join(row[0] for row in rows(running, "body"))
    by = {
        name: [got for got in receiver.got if got.path.startswith(f"/{name}")] for name in ("slack", "teams", "pager")
    }
    assert "警告" in by["slack"][0].json["text"]
    assert by["slack"][0].json["blocks"][2]["elements"][0]["url"] == "https://localhost:1/#/call/c-1"
    assert "未対応のため引き継ぎ" in by["slack"][1].json["text"]
    card = by["teams"][0].json["attachments"][0]
    assert card["contentType"] == "application/vnd.microsoft.card.adaptive"
    assert card["content"]["type"] == "AdaptiveCard"
    events = [got.json for got in by["pager"]]
    assert [event["event_action"] for event in events] == ["trigger", "acknowledge", "resolve"]
    assert {event["dedup_key"] for event in events} == {f"mamori:{alert['alert_id']}"}
    assert {event["routing_key"] for event in events} == {"R" * 32}
    assert (events[0]["payload"]["severity"], events[0]["payload"]["class"]) == ("warning", "verbal_abuse")


async def test_a_sender_of_another_tenant_hears_nothing(tmp_path, receiver):
    senders = {"hook": webhook(tmp_path, receiver), "theirs": webhook(tmp_path, receiver, tenant="b")}
    async with serving(tmp_path / "data", senders=senders) as running:
        await one_alert(running)
        await settled(running, "sent")
        async with httpx.AsyncClient(base_url=running.http) as client:
            shown = (await client.get("/v1/delivery/senders")).json()["senders"]
            assert (await client.post("/v1/delivery/senders/theirs/test")).status_code == 404
        assert {row[0] for row in rows(running, "sender")} == {"hook"}
    assert [item["name"] for item in shown] == ["hook"]


async def test_a_messenger_has_a_budget_and_says_what_it_kept_back(tmp_path, receiver):
    url = secret(tmp_path, "slack", receiver.url("/slack/" + "s" * 30))
    senders = {"slack": {"kind": "slack", "url_file": url, "allow_networks": LOCAL, "language": "en"}}
    async with serving(tmp_path / "data", senders=senders, loud_alerts=2) as running:
        for number in range(4):
            await one_alert(running, f"c-{number}")
        await settled(running, "muted", 2, sender="slack")
        await one_alert(running, "c-9", text="殺すぞ、死ね")
        await settled(running, "sent", 3, sender="slack")
    assert len(receiver.got) == 3
    assert "Kept back by the budget: 2" in receiver.got[2].json["blocks"][1]["text"]["text"]


async def test_overflow_goes_to_the_dead_letters(tmp_path, receiver, monkeypatch):
    monkeypatch.setattr(outbox, "MAX_PENDING", 2)
    receiver.answer = lambda got: None
    async with serving(tmp_path / "data", senders={"hook": webhook(tmp_path, receiver, timeout_s=60)}) as running:
        for number in range(3):
            await one_alert(running, f"c-{number}")
        await settled(running, "dead")
        assert sorted(rows(running, "state", "reason")) == [("dead", "overflow"), ("pending", ""), ("pending", "")]


async def test_a_test_message_goes_through_the_same_door(tmp_path, receiver):
    async with (
        serving(tmp_path / "data", senders={"hook": webhook(tmp_path, receiver)}) as running,
        httpx.AsyncClient(base_url=running.http) as client,
    ):
        identity = (await client.post("/v1/delivery/senders/hook/test")).json()["message_id"]
        (got,) = await receiver.until(1)
        await settled(running, "sent")
    assert (Webhook(KEY).verify(got.body, got.headers)["type"], got.headers["webhook-id"]) == ("test", identity)


async def test_old_rows_are_purged(tmp_path, receiver):
    async with serving(tmp_path / "data", senders={"hook": webhook(tmp_path, receiver)}) as running:
        await one_alert(running)
        await settled(running, "sent")
        found = running.app.delivery.outbox
        assert found.purge(sent_before_ms=0, dead_before_ms=0) == 0
        assert found.purge(sent_before_ms=2**50, dead_before_ms=0) == 1
        assert found.messages("default", state=MessageState.SENT) == []


async def test_a_notice_that_expires_is_told_to_nobody(tmp_path, receiver):
    async with serving(tmp_path / "data", senders={"hook": webhook(tmp_path, receiver)}) as running:
        async with platform(running) as peer:
            await peer.send(started(), ended(1))
            await peer.acked(1)
        await one_alert(running, "c-2")
        await receiver.until(1)
    assert [got.json["data"]["alert"]["call_id"] for got in receiver.got] == ["c-2"]


async def test_an_observed_call_is_told_to_nobody(tmp_path, receiver):
    senders = {"hook": webhook(tmp_path, receiver)}
    running = await start(tmp_path / "data", senders=senders, observe=True)
    async with platform(running) as peer:
        await peer.send(started(), said(1, "バカ"), ended(2))
        await peer.acked(2)
    while running.app.runtime.calls or running.app.runtime.log.cursor() < 1:
        await asyncio.sleep(0.01)
    await running.stop()
    async with serving(tmp_path / "data", senders=senders) as again:
        await one_alert(again, "c-2")
        await settled(again, "sent")
    assert [got.json["data"]["alert"]["call_id"] for got in receiver.got] == ["c-2"]


async def test_a_message_that_cannot_be_opened_is_a_dead_letter_and_nothing_empty_is_sent(tmp_path, receiver):
    receiver.answer = lambda _got: (500, {})
    keys = keys_at(tmp_path)
    hook = webhook(tmp_path, receiver)
    async with serving(tmp_path / "data", senders={"hook": hook}, encryption=keys) as running:
        await one_alert(running)
        await receiver.until(1)
    with closing(sqlite3.connect(tmp_path / "data" / "state.sqlite")) as connection:
        (body,) = connection.execute("SELECT body FROM outbox").fetchone()
        connection.execute("UPDATE outbox SET next_ms = 0, body = ?", (body[:-1] + bytes((body[-1] ^ 1,)),))
        connection.commit()
    receiver.got.clear()
    receiver.answer = lambda _got: (200, {})
    async with serving(tmp_path / "data", senders={"hook": hook}, encryption=keys) as running:
        await settled(running, "dead")
        assert rows(running, "state", "reason") == [("dead", "unreadable")]
        await one_alert(running, call_id="c-2")
        (got,) = await receiver.until(1)
        assert got.json["data"]["alert"]["call_id"] == "c-2"

"""A button pressed in Slack, over real HTTP and with real signatures: who may take an alert, once, and who may not."""

from __future__ import annotations

import json
import math
import time
from urllib.parse import urlencode

import httpx
import pytest
import sqlalchemy as sa

from server.access.accounts import Accounts
from server.auth import Role
from server.delivery.slack import signature
from server.storage.tables import AUDIT
from tests.server.delivery.receiver import receiving, secret
from tests.server.running import serving, supervisor
from tests.server.test_alerts import one_alert

SIGNING = "8f742231b10e8888abcd99yyyzzz85a5"
HANAKO, JIRO, STRANGER = "U012HANAKO", "U012JIRO", "U012NOBODY"


@pytest.fixture
async def receiver():
    async with receiving() as found:
        yield found


@pytest.fixture
async def house(tmp_path, receiver):
    """A server whose Slack channel has an open alert with a button."""
    sender = {
        "kind": "slack", "url_file": secret(tmp_path, "slack.url", receiver.url("/services/T/B/x")),
        "signing_secret_file": secret(tmp_path, "slack.key", SIGNING), "people": {HANAKO: "hanako", JIRO: "jiro"},
        "allow_networks": ["127.0.0.0/8"], "language": "en",
    }  # fmt: skip
    async with serving(tmp_path / "data", senders={"floor": sender}, public_url="https://localhost:1") as running:
        alert = await one_alert(running)
        await receiver.until(1)
        yield running, alert


def form(receiver, alert_id: str, user: str = HANAKO, **fields) -> bytes:
    """A payload as Slack sends it: form-encoded, with the message and more that does not concern us."""
    payload = {
        "type": "block_actions", "user": {"id": user, "username": "x", "team_id": "T1"}, "token": "old",
        "container": {"type": "message", "channel_id": "C1"}, "message": {"blocks": [{"type": "header"}]},
        "response_url": receiver.url("/actions/T1/42"),
        "actions": [{"action_id": "acknowledge", "block_id": "b", "value": alert_id, "type": "button", "action_ts": "1.2"}],
        **fields,
    }  # fmt: skip
    return urlencode({"payload": json.dumps(payload)}).encode()


async def post(running, body: bytes, *, key: str = SIGNING, at_s: int | None = None, **headers: str) -> httpx.Response:
    stamp = str(math.ceil(time.time()) if at_s is None else at_s)
    signed = {"X-Slack-Request-Timestamp": stamp, "X-Slack-Signature": signature(key, stamp, body), **headers}
    async with httpx.AsyncClient(base_url=running.http) as client:
        kind = {"Content-Type": "application/x-www-form-urlencoded"}
        return await client.post("/v1/slack/floor", content=body, headers=kind | signed)


async def state(running) -> tuple[str, str]:
    async with httpx.AsyncClient(base_url=running.http) as client:
        alerts = (await client.get("/v1/alerts?state=all")).json()["alerts"]
    (alert,) = [item for item in alerts if item["kind"] == "abuse"]
    return alert["state"], alert["acknowledged_by"]


async def told(receiver, count: int) -> list[dict]:
    """The answers to the people who pressed, once there are so many."""
    while len(found := [item.json for item in receiver.got if item.path == "/actions/T1/42"]) < count:
        await receiver.until(len(receiver.got) + 1)
    return found


def words(answer: dict) -> str:
    return answer["blocks"][0]["text"]["text"]


def trail(running) -> list[tuple[str, str, str]]:
    with running.app.runtime.log.state.engine.connect() as connection:
        found = connection.execute(sa.select(AUDIT.c.actor, AUDIT.c.action, AUDIT.c.detail).order_by(AUDIT.c.id))
        return [tuple(row) for row in found if row.action.startswith(("alert.", "slack."))]


def test_the_signature_is_that_of_slacks_own_example():
    body = (
        b"token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&"
        b"channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&response_url="
        b"https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&"
        b"trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c"
    )
    expected = "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503"
    assert signature("8f742231b10e8888abcd99yyyzzz85a5", "1531420618", body) == expected


async def test_the_mapped_person_takes_the_alert_and_everybody_hears_of_it(house, receiver):
    running, alert = house
    buttons = {item["action_id"]: item for item in receiver.got[0].json["blocks"][2]["elements"]}
    assert buttons["acknowledge"]["value"] == alert["alert_id"]
    async with supervisor(running) as watcher:
        await watcher.until("snapshot")
        assert (await post(running, form(receiver, buttons["acknowledge"]["value"]))).status_code == 200
        taken = (await watcher.until("alert.acknowledged"))["alert"]
    assert taken["acknowledged_by"] == "hanako"
    assert trail(running) == [
        ("hanako", "alert.acknowledge", trail(running)[0][2]),
        ("hanako", "slack.acknowledge", f"user={HANAKO}"),
    ]
    (answer,) = await told(receiver, 1)
    assert (answer["response_type"], words(answer)) == ("ephemeral", "You have it")
    # The channel hears who took it, without a button.
    channel: list[dict] = []
    while not (channel := [item.json for item in receiver.got if b"By: hanako" in item.body]):
        await receiver.until(len(receiver.got) + 1)
    assert [item["action_id"] for item in channel[0]["blocks"][2]["elements"]] == ["open"]
    # The second to press reads who was first.
    await post(running, form(receiver, alert["alert_id"], JIRO))
    assert words((await told(receiver, 2))[1]) == "hanako was first"
    assert await state(running) == ("acknowledged", "hanako")


async def test_what_slack_did_not_sign_now_does_nothing(house, receiver):
    running, alert = house
    body = form(receiver, alert["alert_id"])
    now_s = math.ceil(time.time())
    wrong = [
        await post(running, body, key="x" * 32),
        await post(running, body, at_s=now_s - 301),
        await post(running, body, at_s=now_s + 310),
        # From before this process began: another may have taken it.
        await post(running, body, at_s=now_s - 60),
        await post(running, body, **{"X-Slack-Signature": ""}),
        await post(running, body, **{"X-Slack-Signature": "v0="}),
        await post(running, body, **{"X-Slack-Request-Timestamp": "soon"}),
        await post(running, body, **{"X-Slack-Signature": signature(SIGNING, str(now_s), body + b"&x=1")}),
    ]
    assert {answer.status_code for answer in wrong} == {401}
    assert await state(running) == ("open", "")
    assert trail(running) == []
    # Taken once: a request that somebody recorded is worth nothing.
    assert (await post(running, body, at_s=now_s)).status_code == 200
    again = await post(running, body, at_s=now_s)
    assert (again.status_code, "taken before" in again.text) == (401, True)
    assert [row[1] for row in trail(running)] == ["alert.acknowledge", "slack.acknowledge"]


async def test_who_is_not_entered_or_may_not_see_the_queue_takes_nothing(house, receiver):
    running, alert = house
    accounts = Accounts(running.app.runtime.log.state.engine)
    accounts.add(
        name="hanako",
        password="horse battery staple",
        tenant="default",
        role=Role.SUPERVISOR,
        queues=frozenset({"tech"}),
    )
    accounts.add(name="jiro", password="horse battery staple", tenant="default", role=Role.OPERATOR, queues=None)
    for number, user in enumerate((STRANGER, HANAKO, JIRO), start=1):
        assert (await post(running, form(receiver, alert["alert_id"], user))).status_code == 200
        assert user in words((await told(receiver, number))[-1])
    assert await state(running) == ("open", "")
    assert [row[1] for row in trail(running)] == ["slack.refused"] * 3
    assert (await post(running, form(receiver, "no-such-alert"))).status_code == 200
    assert trail(running)[-1][1] == "slack.refused"


async def test_other_presses_are_heard_and_do_nothing_and_answers_go_to_slack_alone(house, receiver):
    running, alert = house
    link = {"action_id": "open", "value": alert["alert_id"]}
    assert (await post(running, form(receiver, alert["alert_id"], actions=[link]))).status_code == 200
    assert (await post(running, form(receiver, alert["alert_id"], type="view_submission"))).status_code == 200
    for body in (b"", b"payload=no", b"payload=[]", b"%ff=1", b"payload={}"):
        assert (await post(running, body)).status_code == 400
    assert (await post(running, b"x" * 300_000)).status_code == 413
    assert await state(running) == ("open", "")
    async with receiving() as elsewhere:
        await post(running, form(receiver, alert["alert_id"], response_url=elsewhere.url()))
        # The one after it arrives; they go out in the order in which they came.
        await post(running, form(receiver, alert["alert_id"], JIRO))
        assert words((await told(receiver, 1))[0]) == "hanako was first"
        assert elsewhere.got == []
    assert await state(running) == ("acknowledged", "hanako")
    async with httpx.AsyncClient(base_url=running.http) as client:
        assert (await client.post("/v1/slack/other", content=b"")).status_code == 404

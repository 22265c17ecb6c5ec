from __future__ import annotations

import asyncio
import json

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from server import hub
from server.auth import Role, Tokens
from tests.server.running import ended, over, platform, said, serving, started, supervisor


@pytest.fixture
async def server(tmp_path):
    async with serving(tmp_path / "data") as running:
        yield running


async def one_alert(server, call_id: str = "c-1", text: str = "バカ", queue: str = "billing") -> dict:
    """Streams a call with one abusive utterance and returns its alert."""
    async with supervisor(server) as watcher, platform(server) as peer:
        await watcher.until("snapshot")
        await peer.send(started(call_id=call_id, queue=queue), said(1, text, call_id=call_id))
        return (await watcher.until("alert.raised"))["alert"]


async def test_a_cursor_resumes_without_a_hole_or_a_double(server):
    async with supervisor(server) as watcher:
        cursor = (await watcher.until("snapshot"))["cursor"]
    await one_alert(server, "c-1")
    await one_alert(server, "c-2")
    async with supervisor(server, f"?after={cursor}") as watcher:
        seen = [await watcher.read(), await watcher.read()]
        assert [message["alert"]["call_id"] for message in seen] == ["c-1", "c-2"]
        assert seen[0]["cursor"] < seen[1]["cursor"]
        async with platform(server) as peer:
            await peer.send(started(call_id="c-3"), said(1, "バカ", call_id="c-3"))
            assert (await watcher.read())["alert"]["call_id"] == "c-3"


async def test_a_bus_that_lags_does_not_tell_again_what_was_heard_elsewhere(server):
    """In a cluster another process may be ahead of the bus of this one, which brings the older events after all."""
    await one_alert(server, "c-1")
    log, runtime = server.app.runtime.log, server.app.runtime
    (old,) = log.stream("default", after=0)
    async with supervisor(server, f"?after={old.cursor}") as watcher:
        while not runtime.hub.tenants():
            await asyncio.sleep(0.01)
        runtime.hub.publish(
            hub.Published(tenant="default", queue="billing", topic="alert", cursor=old.cursor, event=old.event)
        )
        await one_alert(server, "c-2")
        first = await watcher.until("alert.raised")
    assert (first["cursor"], first["alert"]["call_id"]) == (old.cursor + 1, "c-2")


async def test_a_cursor_from_elsewhere_is_answered_by_a_reset(server):
    async with supervisor(server, "?after=999999") as watcher:
        assert [(await watcher.read())["type"] for _ in range(2)] == ["reset", "snapshot"]


async def test_queues_narrow_what_comes(server):
    await one_alert(server, "c-1", queue="billing")
    async with supervisor(server, "?queues=tech") as watcher:
        assert (await watcher.until("snapshot"))["alerts"] == []
        await one_alert(server, "c-2", queue="billing")
        await one_alert(server, "c-3", queue="tech")
        assert (await watcher.read())["alert"]["call_id"] == "c-3"


async def test_two_supervisors_and_who_was_first(server):
    alert = await one_alert(server)
    async with supervisor(server) as first, supervisor(server) as second:
        assert (await first.command(type="acknowledge", alert_id=alert["alert_id"], version=1))["type"] == "ok"
        refused = await second.command(type="acknowledge", alert_id=alert["alert_id"], version=1)
        assert (refused["type"], refused["code"], refused["first"]["by"]) == ("error", "conflict", "local")


@pytest.mark.parametrize(
    ("command", "code"),
    [
        ({"type": "acknowledge", "alert_id": "none"}, "not_found"),
        ({"type": "dance"}, "bad_request"),
        ({"type": "resolve", "alert_id": "ID", "outcome": "fun"}, "bad_request"),
        ({"type": "snooze", "alert_id": "ID", "for_s": 601}, "invalid"),
        ({"type": "assign", "alert_id": "ID"}, "invalid"),
        ({"type": "watch", "call_id": "none"}, "not_found"),
        ({"type": "watch"}, "bad_request"),
    ],
)
async def test_a_wrong_command_is_answered_and_the_stream_goes_on(server, command, code):
    alert = await one_alert(server)
    command = {key: alert["alert_id"] if value == "ID" else value for key, value in command.items()}
    async with supervisor(server) as watcher:
        assert (await watcher.command(**command))["code"] == code
        assert (await watcher.command(type="acknowledge", alert_id=alert["alert_id"]))["type"] == "ok"


async def test_an_alert_of_an_ended_call_can_still_be_resolved(server):
    alert = await one_alert(server)
    async with platform(server) as peer:
        await peer.send(ended(2))
        await peer.acked(2)
    await over(server)
    async with supervisor(server) as watcher:
        fields = {"alert_id": alert["alert_id"], "outcome": "false_alarm", "note": "banter"}
        assert (await watcher.command(type="resolve", **fields))["type"] == "ok"
        assert (await watcher.command(type="resolve", **fields))["code"] == "closed"


async def test_a_watched_call_comes_live(server):
    async with platform(server) as peer, supervisor(server) as watcher:
        await peer.send(started(), said(1, "もしもし"))
        await peer.acked(1)
        await watcher.until("snapshot")
        await watcher.socket.send(json.dumps({"type": "watch", "ref": "w", "call_id": "c-1"}))
        transcript = await watcher.until("call.transcript")
        assert [segment["text"] for segment in transcript["segments"]] == ["もしもし"]
        await peer.send(said(2, "つづき"))
        assert (await watcher.until("segment"))["segment"]["text"] == "つづき"
    assert server.app.runtime.log.state.verify_audit() is None


async def test_call_status_comes_whole_after_connecting(server):
    async with platform(server) as peer:
        await peer.send(started(), said(1, "もしもし"))
        await peer.acked(1)
        async with supervisor(server, "?calls=1") as watcher:
            status = await watcher.until("call.status")
    assert {"call_id", "queue", "level", "talk_ms", "limit_ms", "rounds", "risk", "step", "monitoring"} <= set(status)


async def test_server_sent_events_resume_by_last_event_id(server):
    await one_alert(server, "c-1")
    await one_alert(server, "c-2")
    async with (
        httpx.AsyncClient(base_url=server.http) as client,
        client.stream("GET", "/v1/alerts/stream", headers={"Last-Event-ID": "1"}) as response,
    ):
        lines = response.aiter_lines()
        assert [await anext(lines) for _ in range(2)] == ["retry: 1000", ""]
        found = [await anext(lines) for _ in range(3)]
    assert found[0] == "id: 2"
    assert found[1] == "event: alert.raised"
    assert json.loads(found[2].removeprefix("data: "))["alert"]["call_id"] == "c-2"


async def test_who_does_not_read_is_cut_off_and_misses_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(hub, "MAX_BACKLOG", 3)
    async with serving(tmp_path / "data") as running:
        subscription = hub.Subscription(tenant="default", queues=None, statuses=False)
        running.app.runtime.hub.subscribe(subscription)
        for number in range(5):
            await one_alert(running, f"c-{number}")
        assert subscription.overflowed
        assert await subscription.next() == []
        async with supervisor(running, "?after=0") as watcher:
            calls = [(await watcher.read())["alert"]["call_id"] for _ in range(5)]
        assert calls == [f"c-{number}" for number in range(5)]


class TestAccess:
    @pytest.fixture
    async def guarded(self, tmp_path):
        async with serving(tmp_path / "data", auth=True) as running:
            tokens = Tokens(running.app.runtime.log.state.engine)
            secrets = {
                (tenant, role): tokens.create(name=f"{tenant}-{role}", tenant=tenant, role=role)[1]
                for tenant in ("a", "b")
                for role in Role
            }
            yield running, secrets, tokens

    @pytest.mark.parametrize("token", [None, "wrong", ""])
    async def test_without_a_token_the_socket_is_closed_with_1008(self, guarded, token):
        running, _, _ = guarded
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        for path in ("/v1/ingest", "/v1/alerts"):
            async with connect(running.url(path), additional_headers=headers) as socket:
                with pytest.raises(ConnectionClosed) as closed:
                    await socket.recv()
                assert closed.value.rcvd.code == 1008

    async def test_a_role_opens_its_own_door_only(self, guarded):
        running, secrets, _ = guarded
        headers = {"Authorization": f"Bearer {secrets['a', Role.PLATFORM]}"}
        async with connect(running.url("/v1/alerts"), additional_headers=headers) as socket:
            with pytest.raises(ConnectionClosed):
                await socket.recv()
        async with httpx.AsyncClient(base_url=running.http, headers=headers) as client:
            assert (await client.get("/v1/calls")).status_code == 403

    async def test_a_token_in_the_subprotocol_works_and_is_not_echoed(self, guarded):
        running, secrets, _ = guarded
        protocols = ["mamori.v1", f"bearer.{secrets['a', Role.SUPERVISOR]}"]
        async with connect(running.url("/v1/alerts"), subprotocols=protocols) as socket:
            assert json.loads(await socket.recv())["type"] == "snapshot"
            assert socket.subprotocol == "mamori.v1"

    async def test_two_tenants_never_see_each_other(self, guarded):
        running, secrets, _ = guarded

        def bearer(tenant: str, role: Role) -> dict[str, str]:
            return {"Authorization": f"Bearer {secrets[tenant, role]}"}

        async with (
            supervisor(running, "?calls=1", **bearer("a", Role.SUPERVISOR)) as ours,
            supervisor(running, "?calls=1", **bearer("b", Role.SUPERVISOR)) as theirs,
            platform(running, **bearer("a", Role.PLATFORM)) as peer,
            platform(running, **bearer("b", Role.PLATFORM)) as stranger,
        ):
            await theirs.until("snapshot")
            await peer.send(started(), said(1, "バカ"))
            alert = (await ours.until("alert.raised"))["alert"]
            await stranger.send({"type": "resume", "call_ids": ["c-1"]})
            assert (await stranger.read())["calls"] == {"c-1": None}
            refused = await theirs.command(type="acknowledge", alert_id=alert["alert_id"])
            assert refused["code"] == "not_found"
            assert (await theirs.command(type="watch", call_id="c-1"))["code"] == "not_found"
            async with httpx.AsyncClient(base_url=running.http, headers=bearer("b", Role.ADMIN)) as client:
                assert (await client.get("/v1/calls")).json()["calls"] == []
                assert (await client.get("/v1/alerts?state=all")).json()["alerts"] == []
                for path in ("/v1/calls/c-1", "/v1/calls/c-1/events"):
                    assert (await client.get(path)).status_code == 404
                action = f"/v1/alerts/{alert['alert_id']}/acknowledge"
                assert (await client.post(action)).status_code == 404
                assert (await client.post("/v1/calls/c-1/help")).status_code == 404

    async def test_a_revoked_token_is_worth_nothing(self, guarded):
        running, secrets, tokens = guarded
        record = next(item for item in tokens.list() if item.name == "a-lead")
        assert tokens.revoke(record.token_id)
        headers = {"Authorization": f"Bearer {secrets['a', Role.LEAD]}"}
        async with httpx.AsyncClient(base_url=running.http, headers=headers) as client:
            assert (await client.get("/v1/alerts")).status_code == 401

    def test_secrets_are_not_kept(self, tmp_path):
        from server.storage.statedb import open_engine

        engine = open_engine(tmp_path / "state.sqlite")
        _, secret = Tokens(engine).create(name="x", tenant="a", role=Role.ADMIN)
        engine.dispose()
        assert secret.encode() not in (tmp_path / "state.sqlite").read_bytes()


async def test_a_grave_partial_raises_a_provisional_alert_that_the_final_takes_back(server):
    async with supervisor(server) as watcher, platform(server) as peer:
        await watcher.until("snapshot")
        await peer.send(started(), said(1, "殺すぞ、死ね", segment_id="p", is_final=False))
        raised = (await watcher.until("alert.raised"))["alert"]
        assert raised["provisional"]
        assert raised["labels"] == ["threat"]
        await peer.send(said(2, "殺すぞって言われたんです", segment_id="p", start_ms=5000, end_ms=7500))
        assert (await watcher.until("alert.retracted"))["alert"]["alert_id"] == raised["alert_id"]


async def test_who_asks_for_several_at_once_hears_the_same_in_fewer_frames(tmp_path):
    async def heard(socket) -> tuple[int, dict[str, list]]:
        """Frames read until thirty alerts were raised and thirty calls told of, and the messages by type."""
        frames, found = 0, {"alert.raised": [], "call.status": []}
        while len(found["alert.raised"]) < 30 or len({item["call_id"] for item in found["call.status"]}) < 30:
            frame = json.loads(await asyncio.wait_for(socket.recv(), 10))
            frames += 1
            for message in frame if isinstance(frame, list) else [frame]:
                found.setdefault(message["type"], []).append(message)
        return frames, found

    async with (
        serving(tmp_path / "data") as running,
        platform(running) as peer,
        connect(running.url("/v1/alerts?calls=1")) as plain,
        connect(running.url("/v1/alerts?calls=1&batch=1")) as batched,
    ):
        for number in range(30):
            await peer.send(started(call_id=f"c-{number}"), said(1, "バカ", call_id=f"c-{number}"))
        (singly, one_by_one), (frames, together) = await asyncio.gather(heard(plain), heard(batched))
    # The last frame may bring more than was waited for.
    both = min(len(together["alert.raised"]), len(one_by_one["alert.raised"]))
    assert together["alert.raised"][:both] == one_by_one["alert.raised"][:both]
    assert singly == sum(map(len, one_by_one.values()))
    assert frames < sum(map(len, together.values())) / 3

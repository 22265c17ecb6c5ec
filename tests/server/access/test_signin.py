from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from argon2 import PasswordHasher
from joserfc import jwk
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from server.access.accounts import Accounts
from server.access.oidc import granted
from server.access.sessions import MAX_SESSIONS_EACH, Method, Sessions
from server.auth import Principal, Role, Tokens
from server.cli_access import open_state
from server.errors import RequestError, SetupError
from server.settings import GroupGrant
from server.storage.statedb import open_engine
from server.storage.tables import AUDIT, SESSIONS, USERS
from tests.server.access.provider import CLIENT_ID, CLIENT_SECRET, providing
from tests.server.running import Running, platform, said, serving, started

PASSWORD = "horse battery staple"
FAST = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)


@pytest.fixture
def engine(tmp_path):
    made = open_engine(tmp_path / "state.sqlite")
    yield made
    made.dispose()


class TestAccounts:
    def test_only_the_right_password_of_an_open_account_signs_in(self, engine):
        accounts = Accounts(engine, hasher=FAST)
        accounts.add(name="hanako", password=PASSWORD, tenant="t", role=Role.LEAD, queues=frozenset({"q"}))
        assert accounts.check("hanako", PASSWORD) == Principal(
            name="hanako", tenant="t", role=Role.LEAD, queues=frozenset({"q"})
        )
        assert accounts.check("hanako", PASSWORD + "x") is None
        assert accounts.check("nobody", PASSWORD) is None
        accounts.disable("hanako")
        assert accounts.check("hanako", PASSWORD) is None
        accounts.disable("hanako", disabled=False)
        assert accounts.check("hanako", PASSWORD) is not None
        accounts.set_password("hanako", "another long password")
        assert accounts.check("hanako", PASSWORD) is None

    def test_the_password_is_kept_as_argon2id_alone(self, engine):
        Accounts(engine).add(name="hanako", password=PASSWORD, tenant="t", role=Role.LEAD)
        with engine.connect() as connection:
            stored = connection.execute(USERS.select()).one().hash
        assert stored.startswith("$argon2id$")
        assert PASSWORD not in stored

    def test_an_old_hash_is_renewed_at_the_next_sign_in(self, engine):
        Accounts(engine, hasher=FAST).add(name="hanako", password=PASSWORD, tenant="t", role=Role.LEAD)
        assert Accounts(engine).check("hanako", PASSWORD) is not None
        with engine.connect() as connection:
            assert "m=65536" in connection.execute(USERS.select()).one().hash

    @pytest.mark.parametrize("password", ["short", "a" * 40, "hanako-hanako-1", "x" * 300])
    def test_weak_passwords_are_refused_and_not_quoted(self, engine, password):
        with pytest.raises(SetupError) as refused:
            Accounts(engine, hasher=FAST).add(name="hanako", password=password, tenant="t", role=Role.LEAD)
        assert password not in str(refused.value)

    def test_a_name_is_taken_once(self, engine):
        accounts = Accounts(engine, hasher=FAST)
        accounts.add(name="hanako", password=PASSWORD, tenant="t", role=Role.LEAD)
        with pytest.raises(SetupError, match="already"):
            accounts.add(name="hanako", password=PASSWORD, tenant="u", role=Role.ADMIN)


class TestSessions:
    who = Principal(name="hanako", tenant="t", role=Role.LEAD, queues=frozenset({"a", "b"}))

    def test_a_session_expires_and_ends(self, engine):
        now = [1_000]
        sessions = Sessions(engine, hours=1, now_ms=lambda: now[0])
        session, secret = sessions.create(self.who, Method.OIDC)
        assert sessions.find(secret) == session
        assert session.principal.queues == frozenset({"a", "b"})
        now[0] += 3_600_000
        assert sessions.find(secret) is None
        session, secret = sessions.create(self.who, Method.OIDC)
        sessions.end(session.session_id)
        assert sessions.find(secret) is None

    def test_the_cookie_is_kept_as_a_hash_alone(self, engine):
        _, secret = Sessions(engine).create(self.who, Method.OIDC)
        with engine.connect() as connection:
            assert secret not in str(connection.execute(SESSIONS.select()).all())

    def test_a_person_has_so_many_sessions_and_no_more(self, engine):
        now = [0]
        sessions = Sessions(engine, now_ms=lambda: now[0])
        secrets = []
        for _ in range(MAX_SESSIONS_EACH + 1):
            now[0] += 1
            secrets.append(sessions.create(self.who, Method.OIDC)[1])
        assert [sessions.find(secret) is not None for secret in secrets] == [False] + [True] * MAX_SESSIONS_EACH
        assert sessions.end_all("hanako") == MAX_SESSIONS_EACH

    def test_a_shut_account_has_no_session(self, engine):
        accounts, sessions = Accounts(engine, hasher=FAST), Sessions(engine)
        accounts.add(name="hanako", password=PASSWORD, tenant="t", role=Role.LEAD)
        _, secret = sessions.create(self.who, Method.PASSWORD)
        assert sessions.find(secret) is not None
        accounts.disable("hanako")
        assert sessions.find(secret) is None


@asynccontextmanager
async def house(folder: Path, **fields):
    engine = open_state(folder / "data")
    accounts = Accounts(engine, hasher=FAST)
    accounts.add(name="hanako", password=PASSWORD, tenant="a", role=Role.SUPERVISOR)
    _, feed = Tokens(engine).create(name="feed", tenant="a", role=Role.PLATFORM)
    async with serving(folder / "data", auth=True, **fields) as running:
        yield running, accounts, {"Authorization": f"Bearer {feed}"}
    engine.dispose()


def browser(running: Running) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=running.http, headers={"Origin": running.http})


async def sign_in(client: httpx.AsyncClient, password: str = PASSWORD) -> httpx.Response:
    return await client.post("/v1/session", json={"name": "hanako", "password": password})


async def test_a_person_signs_in_acts_and_signs_out(tmp_path):
    async with house(tmp_path) as (running, _, feed), browser(running) as client:
        anonymous = await client.get("/v1/session")
        assert (anonymous.status_code, anonymous.json()["methods"]) == (401, ["password"])
        answer = await sign_in(client)
        assert answer.status_code == 200
        cookie = answer.headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=strict" in cookie
        me = (await client.get("/v1/session")).json()
        assert (me["name"], me["tenant"], me["role"], me["signed_in"]) == ("hanako", "a", "supervisor", True)
        async with platform(running, **feed) as peer:
            await peer.send(started(), said(1, "バカ"))
            await peer.acked(1)
        while not (alerts := (await client.get("/v1/alerts")).json()["alerts"]):
            await asyncio.sleep(0.02)
        path = f"/v1/alerts/{alerts[0]['alert_id']}/acknowledge"
        assert (await client.post(path)).json()["error"]["code"] == "csrf"
        assert (await client.post(path, headers={"X-CSRF-Token": "0" * 64})).status_code == 403
        assert (await client.post(path, headers={"X-CSRF-Token": me["csrf"]})).status_code == 200
        seen = (await client.get("/v1/alerts?state=all")).json()["alerts"][0]
        assert seen["acknowledged_by"] == "hanako"
        assert (await client.delete("/v1/session")).status_code == 403
        kept = client.cookies.get("mamori")
        assert (await client.delete("/v1/session", headers={"X-CSRF-Token": me["csrf"]})).status_code == 204
        assert (await client.get("/v1/alerts", headers={"Cookie": f"mamori={kept}"})).status_code == 401
        with running.app.runtime.log.state.engine.connect() as connection:
            trail = [(row.actor, row.action) for row in connection.execute(AUDIT.select())]
        assert trail == [("hanako", "sign_in"), ("hanako", "alert.acknowledge"), ("hanako", "sign_out")]


async def test_another_site_cannot_sign_anybody_in_or_act(tmp_path):
    async with house(tmp_path) as (running, _, _), httpx.AsyncClient(base_url=running.http) as client:
        evil = {"Origin": "https://evil.example"}
        body = {"name": "hanako", "password": PASSWORD}
        assert (await client.post("/v1/session", json=body, headers=evil)).status_code == 421
        form = await client.post("/v1/session", content=json.dumps(body), headers={"Content-Type": "text/plain"})
        assert form.status_code == 422


async def test_guessing_is_slowed_down_and_a_wrong_name_is_no_different(tmp_path):
    async with house(tmp_path) as (running, _, _), browser(running) as client:
        wrong = await sign_in(client, "wrong password here")
        nobody = await client.post("/v1/session", json={"name": "who?", "password": "wrong password here"})
        assert (wrong.status_code, wrong.json()) == (nobody.status_code, nobody.json()) == (401, wrong.json())
        answers = [await sign_in(client, "wrong password here") for _ in range(6)]
        assert answers[-1].status_code == 429
        assert int(answers[-1].headers["Retry-After"]) >= 1
        assert (await sign_in(client)).status_code == 429
        with running.app.runtime.log.state.engine.connect() as connection:
            trail = [(row.actor, row.action) for row in connection.execute(AUDIT.select())]
        assert trail[:2] == [("hanako", "sign_in.refused"), ("", "sign_in.refused")]


async def test_the_alert_stream_takes_the_session_with_our_origin_alone_and_ends_with_it(tmp_path):
    async with house(tmp_path) as (running, accounts, _), browser(running) as client:
        running.app.gate.recheck_s = 0.05
        await sign_in(client)
        cookie = {"Cookie": f"mamori={client.cookies.get('mamori')}"}
        async with connect(running.url("/v1/alerts"), additional_headers=cookie) as socket:
            with pytest.raises(ConnectionClosed) as closed:
                await socket.recv()
            assert closed.value.rcvd.code == 1008
        async with connect(running.url("/v1/alerts"), additional_headers=cookie, origin=running.http) as socket:
            assert json.loads(await socket.recv())["type"] == "snapshot"
            accounts.disable("hanako")
            with pytest.raises(ConnectionClosed) as closed:
                await asyncio.wait_for(socket.recv(), 10)
            assert closed.value.rcvd.code == 1008


async def test_a_revoked_token_ends_its_feed(tmp_path):
    async with house(tmp_path) as (running, _, feed):
        running.app.gate.recheck_s = 0.05
        async with platform(running, **feed) as peer:
            tokens = Tokens(running.app.runtime.log.state.engine)
            tokens.revoke(tokens.list()[0].token_id)
            with pytest.raises(ConnectionClosed) as closed:
                await asyncio.wait_for(peer.socket.recv(), 10)
            assert closed.value.rcvd.code == 1008


async def test_each_credential_has_its_rate(tmp_path):
    async with house(tmp_path, limit_requests_s=0.5, limit_events_s=0.3) as (running, _, feed):
        async with httpx.AsyncClient(base_url=running.http, headers=feed) as client:
            answers = [await client.get("/metrics") for _ in range(6)]
            assert [item.status_code for item in answers] == [200] * 5 + [429]
            assert int(answers[-1].headers["Retry-After"]) >= 1
        async with platform(running, **feed) as peer:
            await peer.send(started(), said(1, "はい"), said(2, "はい"), said(3, "はい"))
            nack = await peer.nacked()
            assert (nack["code"], nack["seq"], nack["retry"]) == ("rate_limited", 3, True)
            assert 0 < nack["retry_after_ms"] <= 4_000
            await peer.acked(2)


@asynccontextmanager
async def with_provider(tmp_path):
    (tmp_path / "secret").write_text(CLIENT_SECRET)
    async with providing() as provider:
        fields = {
            "public_url": "http://localhost",
            "oidc_issuer": provider.issuer,
            "oidc_client_id": CLIENT_ID,
            "oidc_client_secret_file": tmp_path / "secret",
            "oidc_groups": {
                "cc-supervisors": GroupGrant(role="supervisor", tenant="a", queues=("billing",)),
                "cc-leads": GroupGrant(role="lead", tenant="a"),
                "others": GroupGrant(role="admin", tenant="b"),
            },
        }
        provider.redirect_uri = "http://localhost/v1/session/oidc/callback"
        async with house(tmp_path, **fields) as (running, _, _), browser(running) as client:
            yield provider, running, client


async def through(client: httpx.AsyncClient) -> httpx.Response:
    """What a browser does: to the provider, and back with its answer."""
    there = await client.get("/v1/session/oidc")
    assert there.status_code == 302
    async with httpx.AsyncClient() as elsewhere:
        back = await elsewhere.get(there.headers["location"])
    address = urlsplit(back.headers["location"])
    return await client.get(f"{address.path}?{address.query}")


async def test_a_person_signs_in_at_the_provider(tmp_path):
    async with with_provider(tmp_path) as (_, _, client):
        assert (await client.get("/v1/session")).json()["methods"] == ["password", "oidc"]
        answer = await through(client)
        assert (answer.status_code, answer.headers["location"]) == (302, "/")
        cookies = answer.headers.get_list("set-cookie")
        assert any("mamori=" in item and "HttpOnly" in item and "SameSite=strict" in item for item in cookies)
        me = (await client.get("/v1/session")).json()
        assert (me["name"], me["role"], me["tenant"], me["queues"]) == ("hanako", "supervisor", "a", ["billing"])


@pytest.mark.parametrize(
    "changed",
    [
        {"aud": "somebody else"},
        {"iss": "https://evil.example"},
        {"nonce": "another"},
        {"nonce": None},
        {"exp": 1},
        {"sub": None},
        {"aud": [CLIENT_ID, "other"]},
    ],
)
async def test_a_token_that_is_not_for_this_sign_in_is_refused(tmp_path, changed):
    async with with_provider(tmp_path) as (provider, _, client):
        provider.changed = changed
        answer = await through(client)
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "sign_in")
        assert (await client.get("/v1/session")).status_code == 401


async def test_a_token_signed_by_another_key_or_by_our_secret_is_refused(tmp_path):
    async with with_provider(tmp_path) as (provider, _, client):
        provider.signer = jwk.RSAKey.generate_key(2048, {"kid": "first"})
        assert (await through(client)).status_code == 400
        provider.header, provider.signer = {"alg": "HS256"}, jwk.OctKey.import_key(CLIENT_SECRET)
        assert (await through(client)).status_code == 400


async def test_new_keys_of_the_provider_are_found(tmp_path):
    async with with_provider(tmp_path) as (provider, _, client):
        assert (await through(client)).status_code == 302
        provider.key = provider.signer = jwk.RSAKey.generate_key(2048, {"kid": "second"})
        provider.header = {"alg": "RS256", "kid": "second"}
        assert (await through(client)).status_code == 302
        assert provider.requests.count("metadata") == 2


async def test_an_answer_counts_once_and_in_its_own_browser_alone(tmp_path):
    async with with_provider(tmp_path) as (_, running, client):
        there = await client.get("/v1/session/oidc")
        async with httpx.AsyncClient() as elsewhere:
            back = urlsplit((await elsewhere.get(there.headers["location"])).headers["location"])
        async with browser(running) as victim:
            assert (await victim.get(f"{back.path}?{back.query}")).status_code == 400
        assert (await client.get(f"{back.path}?{back.query}")).status_code == 400
        assert "state" in parse_qs(back.query)


@pytest.mark.parametrize("groups", [[], ["unknown"], ["cc-leads", "others"], None, 5])
async def test_who_has_no_group_of_ours_stays_out(tmp_path, groups):
    async with with_provider(tmp_path) as (provider, _, client):
        provider.claims["groups"] = groups
        assert (await through(client)).status_code == 403
        assert (await client.get("/v1/session")).status_code == 401


async def test_a_provider_that_is_away_is_said_so(tmp_path):
    async with with_provider(tmp_path) as (provider, _, client):
        provider.issuer = "http://127.0.0.1:1"
        answer = await client.get("/v1/session/oidc")
        assert (answer.status_code, answer.json()["error"]["code"]) == (502, "provider_unavailable")


def test_the_strongest_role_counts_with_the_queues_of_all_groups_that_give_it():
    both = [
        GroupGrant(role="supervisor", queues=("a",)),
        GroupGrant(role="supervisor", queues=("b",)),
        GroupGrant(role="operator"),
    ]
    assert granted(both).queues == frozenset({"a", "b"})
    assert granted([*both, GroupGrant(role="supervisor")]).queues is None
    assert granted([*both, GroupGrant(role="lead", queues=("c",))]).role is Role.LEAD
    with pytest.raises(RequestError):
        granted([])

"""A cluster of real processes: one gateway, two workers, NATS, PostgreSQL; workers die, and nothing is lost or told twice."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from websockets.asyncio.client import connect

from benchmarks import cluster_crash, cluster_members
from benchmarks.servers import Nats, Postgres, running
from server.client import IngestClient
from server.cluster.gateway import STILL_S
from server.cluster.log import ClusterLog
from server.cluster.subjects import PARTITIONS, partition_of
from server.cluster.words import Up, Ups, feed_subject
from server.storage import codec
from server.wire import decode_event
from tests.server.cluster.connecting import opened
from tests.server.delivery.receiver import Got, Receiver, receiving, webhook
from tests.servers import database, fresh_nats, nats, postgres  # noqa: F401 - fixtures

pytestmark = pytest.mark.needs("nats", "postgres")
CALLS = [f"call-{number}" for number in range(12)]
TAKEOVER_S = 5.0
ABUSE = "バカ"
THREAT = "ぶっ殺すぞ、家に火をつけてやるからな"


class Member(cluster_members.Member):
    """One process of the cluster."""

    async def ready(self) -> None:
        await asyncio.to_thread(self.wait)

    async def not_ready(self, check: str = "", why: str = "") -> None:
        """Waits until it is not ready, or until a check says why."""
        async with httpx.AsyncClient() as http:
            async with asyncio.timeout(20):
                while True:
                    answer = await http.get(f"http://127.0.0.1:{self.port}/readyz")
                    if why in answer.json()["checks"][check] if check else answer.status_code != 200:
                        return
                    await asyncio.sleep(0.1)

    def end(self) -> None:
        self.process.terminate()
        assert self.process.wait(12) in (0, -signal.SIGTERM), self.said()


class Supervisor(cluster_crash.Supervisor):
    """Hears of calls too, and acts on alerts."""

    def __init__(self, port: int) -> None:
        super().__init__([port], calls=True)

    def raised(self) -> list[tuple[str, str]]:
        """Calls and ids of the abuse alerts that were raised, as often as they were."""
        return [
            (event["alert"]["call_id"], event["alert"]["alert_id"])
            for event in self.events
            if event["type"] == "alert.raised" and event["alert"]["kind"] == "abuse"
        ]

    async def ask(self, **command: Any) -> dict[str, Any]:
        ref = secrets.token_hex(4)
        await self.socket.send(json.dumps({**command, "ref": ref}))
        return await eventually(lambda: next((item for item in self.events if item.get("ref") == ref), None))


def alerts_again(posts: list[Got]) -> set[str]:
    """Alerts whose first message came more than once."""
    raised = Counter(got.json["data"]["alert"]["alert_id"] for got in posts if got.json["type"] == "alert.raised")
    return {alert_id for alert_id, times in raised.items() if times > 1}


async def eventually(what, limit_s: float = 30.0):
    deadline_s = time.monotonic() + limit_s
    while not (found := what()):
        assert time.monotonic() < deadline_s, "waited too long"
        await asyncio.sleep(0.05)
    return found


@pytest.fixture
def cluster_of(tmp_path):
    """Starts a process of a cluster, given its role and the servers."""
    key = tmp_path / "key"
    key.write_bytes(secrets.token_bytes(32))
    key.chmod(0o600)
    members: list[Member] = []

    def start(role: str, nats: str, database: str, **settings: str) -> Member:  # noqa: F811
        options = ("--nats", nats, "--database", database)
        settings = {"MAMORI_CALLER_KEY_FILE": str(key), **settings}
        members.append(Member(tmp_path / f"m{len(members)}", role, *options, settings=settings))
        return members[-1]

    yield start
    for member in members:
        member.kill()


@pytest.fixture
def cluster(cluster_of, fresh_nats, database):  # noqa: F811
    return lambda role, **settings: cluster_of(role, fresh_nats, database, **settings)


def begun(call_id: str) -> dict[str, Any]:
    return {"type": "call.started", "call_id": call_id, "language": "ja", "queue": "q"}


async def talk_of(member: Member, call_id: str) -> tuple[str, str]:
    """What the status of a live call says, at any process."""
    async with httpx.AsyncClient() as http:
        status = (await http.get(f"http://127.0.0.1:{member.port}/v1/calls/{call_id}")).json()["status"]
    return status["call_id"], status["queue"]


def said(call_id: str, number: int, text: str, speaker: str = "customer") -> dict[str, Any]:
    return {
        "type": "transcript.segment",
        "call_id": call_id,
        "segment_id": f"s{number}",
        "speaker": speaker,
        "text": text,
        "start_ms": number * 3_000,
        "end_ms": number * 3_000 + 2_000,
    }


def whole_call(call_id: str) -> list[dict[str, Any]]:
    return [
        begun(call_id),
        said(call_id, 1, THREAT),
        {"type": "call.ended", "call_id": call_id, "offset_ms": 20_000},
    ]


def numbers_in_log(nats: str, database: str, folder: Path) -> dict[str, list[int]]:  # noqa: F811
    """The platform's numbers in the log of each call, in its order."""
    log = ClusterLog(nats, database, data_dir=folder)
    try:
        records = {call_id: log.find_call("default", call_id) for call_id in CALLS}
        rows = {call_id: log.read_call("default", record.instance) for call_id, record in records.items()}
        return {call_id: [item.row.seq for item in rows[call_id] if item.row.seq is not None] for call_id in CALLS}
    finally:
        log.close()


async def test_workers_die_and_every_alert_comes_once(cluster, fresh_nats, database, tmp_path):  # noqa: F811
    async with receiving() as receiver:
        await workers_die(partial(cluster, **sending(tmp_path, receiver)), receiver, fresh_nats, database, tmp_path)


def sending(folder: Path, receiver: Receiver) -> dict[str, str]:
    """The setting of a webhook to a receiver that takes no message at first, but asks for it a good while later."""

    def answer(got: Got) -> tuple[int, dict[str, str]]:
        known = sum(item.headers["webhook-id"] == got.headers["webhook-id"] for item in receiver.got)
        return (503, {"Retry-After": "12"}) if known == 1 else (200, {})

    receiver.answer = answer
    return {"MAMORI_SENDERS": json.dumps({"hook": webhook(folder, receiver, queues=["q"])})}


async def workers_die(cluster, receiver, nats, database, tmp_path):  # noqa: F811
    gateway, first, second = cluster("gateway"), cluster("worker"), cluster("worker")
    await asyncio.gather(gateway.ready(), first.ready(), second.ready())
    supervisor = Supervisor(gateway.port)
    nacks: list[dict[str, Any]] = []
    try:
        async with IngestClient(f"ws://127.0.0.1:{gateway.port}", on_nack=nacks.append) as client:
            for call_id in CALLS:
                await client.send(begun(call_id))
                await client.send(said(call_id, 1, "請求書の件でお電話しました"))
            await eventually(lambda: not client.unacked)
            first.kill()
            killed_s = time.monotonic()
            for call_id in CALLS:
                await client.send(said(call_id, 2, THREAT))
            await eventually(lambda: not client.unacked)
            taken_over_s = time.monotonic() - killed_s
            await eventually(lambda: len({call_id for call_id, _ in supervisor.raised()}) == len(CALLS))
            await eventually(lambda: len({got.headers["webhook-id"] for got in receiver.got}) == len(CALLS))
            await gateway.not_ready("delivery", "hook:")

            _, alert_id = supervisor.raised()[0]
            assert (await supervisor.ask(type="acknowledge", alert_id=alert_id))["type"] == "ok"
            again = await supervisor.ask(type="acknowledge", alert_id=alert_id)
            assert (again["type"], again["code"]) == ("error", "conflict")

            third = cluster("worker")
            await third.ready()
            second.send(signal.SIGSTOP)
            for call_id in CALLS:
                await client.send(said(call_id, 3, "はい", "agent"))
            await eventually(lambda: not client.unacked)
            second.send(signal.SIGCONT)
            for call_id in CALLS:
                await client.send(said(call_id, 4, "わかりました"))
                await client.send({"type": "call.ended", "call_id": call_id, "offset_ms": 20_000})
            await eventually(lambda: not client.unacked)

        assert taken_over_s < TAKEOVER_S + 1
        assert not [nack for nack in nacks if not nack["retry"]]
        logged = await asyncio.to_thread(numbers_in_log, nats, database, tmp_path)
        assert logged == {call_id: list(range(6)) for call_id in CALLS}
        raised = supervisor.raised()
        assert sorted(call_id for call_id, _ in raised) == sorted(CALLS)
        cursors = [event["cursor"] for event in supervisor.events if "cursor" in event and event["type"] != "snapshot"]
        assert cursors == sorted(set(cursors))
        # What the receiver put off while one worker sent comes from another one, under the same ids.
        await eventually(lambda: alerts_again(receiver.got) == {alert_id for _, alert_id in raised})
        told = {(got.headers["webhook-id"], got.json["data"]["alert"]["alert_id"]) for got in receiver.got}
        assert len(told) == len({identity for identity, _ in told})
    finally:
        await supervisor.stop()
    for member in (gateway, third):
        member.end()


async def test_servers_that_go_and_come_back_cost_nothing_and_nobody_is_restarted(cluster_of, tmp_path):
    nats, postgres = Nats(tmp_path / "nats"), Postgres(tmp_path / "postgres")  # noqa: F811
    with running(nats, postgres):
        member = cluster_of("all", nats.url, postgres.url)
        await member.ready()
        supervisor = Supervisor(member.port)
        try:
            async with IngestClient(f"ws://127.0.0.1:{member.port}") as client:
                for call_id in CALLS:
                    await client.send(begun(call_id))
                await eventually(lambda: not client.unacked)
                for number, server in enumerate((nats, postgres), 1):
                    server.kill()
                    for call_id in CALLS:
                        await client.send(said(call_id, number, "請求書の件でお電話しました"))
                    if server is nats:  # PostgreSQL is asked only for what follows from the words
                        await member.not_ready()
                        assert client.unacked == len(CALLS)
                    server.start()
                    await eventually(lambda: not client.unacked, 60)
                    await member.ready()
                postgres.kill()
                for call_id in CALLS:
                    await client.send(said(call_id, 3, THREAT))
                await asyncio.sleep(1)
                assert not supervisor.raised()
                postgres.start()
                await eventually(lambda: len({call_id for call_id, _ in supervisor.raised()}) == len(CALLS), 60)
                await eventually(lambda: not client.unacked, 60)
            logged = await asyncio.to_thread(numbers_in_log, nats.url, postgres.url, tmp_path)
            assert logged == {call_id: list(range(4)) for call_id in CALLS}
            assert sorted(call_id for call_id, _ in supervisor.raised()) == sorted(CALLS)
        finally:
            await supervisor.stop()
            member.kill()


async def test_any_process_answers_for_the_calls_of_all(cluster, tmp_path):
    """Candidate rules are followed where the calls are; a caller is forgotten wherever it is asked for."""
    rules = tmp_path / "mine.toml"
    rules.write_text('version = "mine"\n[abuse.levels]\nverbal_abuse = "escalate"\n', encoding="utf-8")
    first, second = (cluster("all", MAMORI_SHADOW_RULES=str(rules)) for _ in range(2))
    await asyncio.gather(first.ready(), second.ready())
    await asyncio.gather(*(asyncio.to_thread(member.follows, PARTITIONS // 2) for member in (first, second)))
    async with IngestClient(f"ws://127.0.0.1:{first.port}") as client:
        for call_id in CALLS:
            await client.send({**begun(call_id), "caller": {"id": call_id}})
            await client.send(said(call_id, 1, ABUSE))
        await eventually(lambda: not client.unacked)
        for member in (first, second):
            assert [await talk_of(member, call_id) for call_id in CALLS] == [(call_id, "q") for call_id in CALLS]
        for call_id in CALLS:
            await client.send({"type": "call.ended", "call_id": call_id, "offset_ms": 20_000})
        await eventually(lambda: not client.unacked)
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{second.port}") as http:
        async with asyncio.timeout(30):
            while (report := (await http.get("/v1/rules/shadow")).json())["calls"] < len(CALLS):
                await asyncio.sleep(0.1)
        assert (report["candidate"], report["differing"]) == ("mine", len(CALLS))
        assert {item["call_id"] for item in report["recent"]} == set(CALLS)
        async with asyncio.timeout(30):
            while (await http.get(f"/v1/calls/{CALLS[0]}")).json()["ended_ms"] is None:
                await asyncio.sleep(0.1)
        assert (await http.post("/v1/callers/delete", json={"caller": CALLS[0]})).json()["calls"] == 1
        told = [(await http.get(f"/v1/calls/{call_id}/events")).text for call_id in CALLS[:2]]
        assert [ABUSE in text for text in told] == [False, True]


async def test_what_a_gateway_that_stood_still_sends_again_is_no_new_call(cluster, fresh_nats, database, tmp_path):  # noqa: F811
    """It wakes up before it hears what became of its events, and sends all of a call that has ended meanwhile once more."""
    member = cluster("all")
    await member.ready()
    await asyncio.to_thread(member.follows, PARTITIONS)
    supervisor = Supervisor(member.port)
    subject, now_ms = feed_subject(partition_of("default", "c")), time.time_ns() // 1_000_000

    def heard(at_ms: int) -> bytes:
        bodies = [decode_event({**event, "seq": 0}).body for event in whole_call("c")]
        ups = [
            Up(number=seq + 1, feed=1, tenant="default", call_id="c", kind=codec.kind_of(body),
               body=codec.encode(body), seq=seq, heard_ms=at_ms)
            for seq, body in enumerate(bodies)
        ]  # fmt: skip
        return msgspec.msgpack.encode(Ups(gateway="sleeper", items=ups))

    def times(call_id: str) -> int:
        return sum(call == call_id for call, _ in supervisor.raised())

    log = ClusterLog(fresh_nats, database, data_dir=tmp_path / "reader")
    try:
        async with opened(fresh_nats) as connection, IngestClient(f"ws://127.0.0.1:{member.port}") as client:
            await eventually(lambda: supervisor.cursor is not None)
            await connection.tell(subject, heard(now_ms))
            await eventually(lambda: times("c"))
            await eventually(lambda: (record := log.find_call("default", "c")) and record.ended_ms)
            assert times("c") == 1
            for behind, at_ms in (("d", now_ms), ("e", now_ms - 60_000)):
                await connection.tell(subject, heard(at_ms))
                for event in whole_call(behind):
                    await client.send(event)
                await eventually(lambda behind=behind: times(behind))
            assert times("c") == 1
            await connection.tell(subject, heard(now_ms + 30_000))  # The platform uses the name anew.
            await eventually(lambda: times("c") == 2)
    finally:
        log.close()
        await supervisor.stop()


async def test_what_a_gateway_finds_in_its_sockets_after_it_stood_still_is_no_new_call(cluster):
    """Its client has gone on at another gateway meanwhile, with the same events, and the call has ended."""
    still, other = cluster("gateway"), cluster("all")
    await asyncio.gather(still.ready(), other.ready())
    await asyncio.to_thread(other.follows, PARTITIONS)
    supervisor = Supervisor(other.port)
    await eventually(lambda: supervisor.cursor is not None)
    async with connect(f"ws://127.0.0.1:{still.port}/v1/ingest") as socket:
        await socket.recv()
        still.send(signal.SIGSTOP)
        for call_id in ("c", "d"):
            for seq, event in enumerate(whole_call(call_id)):
                await socket.send(json.dumps({**event, "seq": seq}))
        async with IngestClient(f"ws://127.0.0.1:{other.port}") as client, httpx.AsyncClient() as http:
            for event in whole_call("c"):
                await client.send(event)
            async with asyncio.timeout(30):
                while (await http.get(f"http://127.0.0.1:{other.port}/v1/calls/c")).json().get("ended_ms") is None:
                    await asyncio.sleep(0.1)
        await asyncio.sleep(STILL_S)
        still.send(signal.SIGCONT)
        await eventually(lambda: "d" in [call for call, _ in supervisor.raised()])
    assert sorted(call for call, _ in supervisor.raised()) == ["c", "d"]
    await supervisor.stop()


def test_half_a_cluster_is_refused_in_a_line(tmp_path):
    command = [sys.executable, "-m", "server.cli", "serve", "--data-dir", str(tmp_path / "data")]
    for options, wanted in (
        (["--nats", "nats://127.0.0.1:1"], "a cluster needs both"),
        (["--role", "worker"], "role: only in a cluster"),
        (["--nats", "nats://127.0.0.1:1", "--database", "postgresql://x@127.0.0.1:1/x"], "caller_key_file"),
    ):
        done = subprocess.run([*command, *options], capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 1
        assert wanted in done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize("what", ["caller_key_file", "partitions"])
def test_a_cluster_that_was_set_up_otherwise_is_not_joined(fresh_nats, database, tmp_path, what):  # noqa: F811
    log = ClusterLog(fresh_nats, database, data_dir=tmp_path / "first")
    assert log.agree(what, "as it was")
    log.close()
    key = tmp_path / "key"
    key.write_bytes(secrets.token_bytes(32))
    key.chmod(0o600)
    done = subprocess.run(
        [sys.executable, "-m", "server.cli", "serve", "--data-dir", str(tmp_path / "second"), "--role", "worker",
         "--nats", fresh_nats, "--database", database],
        capture_output=True, text=True, timeout=60, check=False, env={**os.environ, "MAMORI_CALLER_KEY_FILE": str(key)},
    )  # fmt: skip
    assert (done.returncode, "Traceback" in done.stderr) == (1, False)
    assert what.partition("_")[0] in done.stderr
    assert "of this cluster" in done.stderr


def test_the_demo_plays_its_calls_on_three_nats_servers_and_leaves_nothing_behind(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.cluster_demo", "--once", "--speed", "60"],
        capture_output=True, text=True, timeout=120, check=False, env={**os.environ, "TMPDIR": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("console: http://127.0.0.1:") == 2
    assert "22 calls played" in done.stdout
    assert not list(tmp_path.glob("mamori-cluster-*"))

"""The connection to JetStream, against a real server: what is refused, what is read in what order, what becomes of an outage."""

from __future__ import annotations

import asyncio
import signal
import socket
from contextlib import AsyncExitStack, suppress

import pytest

from benchmarks.cluster_members import nats_cluster
from benchmarks.servers import Nats, running
from server.cluster import jetstream, subjects
from server.cluster.jetstream import ConflictError, JetStream, UnreachableNatsError
from server.errors import SetupError, StorageError
from tests.server.cluster.connecting import opened

pytestmark = pytest.mark.needs("nats")
STREAM = subjects.log_stream(3)
CALL = "mamori.log.3.a"


async def test_who_writes_behind_another_message_than_the_last_is_refused(fresh_nats):
    async with opened(fresh_nats) as first, opened(fresh_nats) as second:
        assert await first.write(STREAM, [(CALL, b"1"), ("mamori.log.3.b", b"2"), (CALL, b"3")], after=0) == 3
        with pytest.raises(ConflictError):
            await second.write(STREAM, [(CALL, b"4")], after=2)
        assert await second.write(STREAM, [(CALL, b"5")], after=3) == 4
        assert [item.data for item in await first.read(CALL, stream=STREAM)] == [b"1", b"3", b"5"]


async def test_a_message_whose_confirmation_was_lost_is_known_again(fresh_nats):
    async with opened(fresh_nats) as connection:
        messages = [(CALL, b"one"), (CALL, b"two"), (CALL, b"three")]
        await connection.write(STREAM, messages[:2], after=0)
        # The same run again, as after an answer that never came: two are there, the third is not.
        assert await connection.write(STREAM, messages, after=0) == 3
        assert [item.data for item in await connection.read(CALL, stream=STREAM)] == [b"one", b"two", b"three"]


async def test_more_messages_than_are_on_their_way_at_once_keep_their_order(fresh_nats):
    async with opened(fresh_nats) as connection:
        sent = [(f"mamori.log.3.{index % 7}", b"%d" % index) for index in range(jetstream.AT_ONCE * 2 + 10)]
        assert await connection.write(STREAM, sent, after=0) == len(sent)
        read = await connection.read(subjects.partition_subjects(3), stream=STREAM)
        assert [(item.subject, item.data, item.seq) for item in read] == [
            (*item, index) for index, item in enumerate(sent, 1)
        ]


async def test_reading_begins_behind_a_sequence_and_ends_at_the_limit(fresh_nats):
    async with opened(fresh_nats) as connection:
        assert await connection.read(CALL, stream=STREAM) == []
        await connection.write(STREAM, [(CALL, b"%d" % index) for index in range(6)], after=0)
        assert [item.seq for item in await connection.read(CALL, stream=STREAM, after=2, limit=3)] == [3, 4, 5]
        assert await connection.read(CALL, stream=STREAM, after=6) == []
        await connection.delete(4, stream=STREAM)
        await connection.delete(4, stream=STREAM)
        assert [item.seq for item in await connection.read(CALL, stream=STREAM, after=2)] == [3, 5, 6]
        assert await connection.bounds(STREAM) == (1, 6)
        last = await connection.last(CALL, stream=STREAM)
        assert last is not None and last.data == b"5"


async def test_the_last_of_a_subject_counts_where_a_subject_is_written(fresh_nats):
    async with opened(fresh_nats) as connection:
        subject = subjects.alert_subject("t", "a1")
        seq = await connection.publish(subject, b"v1", after=0)
        await connection.publish(subjects.alert_subject("t", "a2"), b"other", after=0)
        with pytest.raises(ConflictError):
            await connection.publish(subject, b"v1", after=0)
        assert await connection.publish(subject, b"v2", after=seq) == 3


async def test_following_goes_on_in_order_when_the_server_was_killed_meanwhile(tmp_path):
    server = Nats(tmp_path)
    server.start()
    try:
        async with opened(server.url) as connection:
            taken: list[bytes] = []
            three, six = asyncio.Event(), asyncio.Event()

            def take(message):
                taken.append(message.data)
                if len(taken) == 3:
                    three.set()
                if len(taken) == 6:
                    six.set()

            connection.follow(CALL, stream=STREAM, after=0, take=take)
            await connection.write(STREAM, [(CALL, b"%d" % index) for index in range(3)], after=0)
            await asyncio.wait_for(three.wait(), 10)
            server.kill(signal.SIGKILL)
            with pytest.raises(UnreachableNatsError, match="did not confirm"):
                await connection.publish(CALL, b"lost")
            assert connection.failure
            server.start()
            async with asyncio.timeout(20):
                while connection.failure:
                    await asyncio.sleep(0.05)
            after = (await connection.bounds(STREAM))[1]
            await connection.write(STREAM, [(CALL, b"%d" % index) for index in range(3, 6)], after=after)
            await asyncio.wait_for(six.wait(), 20)
            assert taken == [b"%d" % index for index in range(6)]
    finally:
        server.kill()


async def test_a_lease_goes_to_who_changes_it_first(fresh_nats):
    async with opened(fresh_nats) as first, opened(fresh_nats) as second:
        assert await first.lease("p.3") is None
        revision = await first.take_lease("p.3", "worker-1", revision=0)
        with pytest.raises(ConflictError):
            await second.take_lease("p.3", "worker-2", revision=0)
        seen = await second.lease("p.3")
        assert seen is not None and (seen.value, seen.revision) == ("worker-1", revision)
        later = await second.take_lease("p.3", "worker-2", revision=seen.revision)
        assert later > revision
        with pytest.raises(ConflictError):
            await first.take_lease("p.3", "worker-1", revision=revision)
        assert {key: item.value for key, item in (await first.leases()).items()} == {"p.3": "worker-2"}


async def test_a_question_is_answered_or_nobody_was_there(fresh_nats):
    async with opened(fresh_nats) as first, opened(fresh_nats) as second:

        async def reply(data: bytes) -> bytes:
            return data[::-1]

        with pytest.raises(UnreachableNatsError):
            await first.ask("mamori.ask.3", b"abc", within_s=0.2)
        subscription = await second.answer("mamori.ask.3", reply)
        assert await first.ask("mamori.ask.3", b"abc", within_s=5) == b"cba"
        await subscription.unsubscribe()


async def test_a_server_that_is_not_there_is_named_without_its_password():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        connection = JetStream(f"nats://mamori:secret@127.0.0.1:{port}")
        with pytest.raises(UnreachableNatsError, match=f"127.0.0.1:{port} cannot be reached") as told:
            await connection.open()
        await connection.close()
    assert "secret" not in str(told.value)


async def test_an_address_that_is_none_is_refused():
    with pytest.raises(SetupError, match="expected nats://HOST:PORT"):
        await JetStream("nats://host:no-port").open()


async def test_a_server_that_is_cut_off_is_left_and_what_it_has_not_heard_is_read_all_the_same(tmp_path):
    """A server without the other two keeps its connections, and has neither the last messages nor the last leases."""
    servers, relays = nats_cluster(tmp_path, 3)
    urls = [server.url for server in servers]
    with relays, running(*servers):
        async with asyncio.timeout(60), AsyncExitStack() as opening:
            there, other = [await opening.enter_async_context(opened(url, replicas=3)) for url in urls[:2]]
            here = await opening.enter_async_context(opened(",".join(urls), replicas=3))
            cut = urls.index(here._client.connected_url.geturl())
            if cut == 0:
                there = other
            await here.write(STREAM, [(CALL, b"before")], after=0)
            epoch = await here.take_lease("p.3", "somebody", revision=0)
            relays.cut(cut)
            while True:  # Until the two have a leader.
                with suppress(StorageError):
                    await there.write(STREAM, [(CALL, b"meanwhile")], after=1)
                    break
            while (await there.lease("p.3")).value != "another":
                with suppress(StorageError):
                    await there.take_lease("p.3", "another", revision=epoch)
            read = await here.read(CALL, stream=STREAM)
            assert [item.data for item in read] == [b"before", b"meanwhile"]
            assert (await here.lease("p.3")).value == "another"
            assert {key: lease.value for key, lease in (await here.leases()).items()}["p.3"] == "another"
            assert here._client.connected_url.geturl() in urls[:cut] + urls[cut + 1 :]
            relays.mend(cut)


@pytest.mark.parametrize(("sync", "told", "found"), [(True, True, True), (False, True, False), (True, False, None)])
async def test_whether_each_write_is_synced_is_known_where_the_system_account_lets_it_be_asked(
    tmp_path, sync, told, found
):
    asked = '"$SYS.REQ.SERVER.PING.JSZ"'
    exports = f"exports: [{{ service: {asked} }}]" if told else ""
    imports = f"imports: [{{ service: {{ account: SYS, subject: {asked} }} }}]" if told else ""
    more = [
        f"accounts {{ SYS {{ users: [{{ user: s, password: s }}], {exports} }}, "
        f"MAMORI {{ jetstream: enabled, users: [{{ user: m, password: m }}], {imports} }} }}",
        "system_account: SYS",
    ]
    server = Nats(tmp_path / "nats", sync_always=sync, more=more)
    with running(server):
        async with opened(server.url.replace("://", "://m:m@")) as connection:
            assert await connection.syncs_always() is found


async def test_patience_ends(monkeypatch):
    monkeypatch.setattr(jetstream, "PATIENCE_S", 0.3)
    patience, began_s, tries = jetstream._Patience(), asyncio.get_running_loop().time(), 0
    while await patience.left():
        tries += 1
    assert 1 <= tries <= 3
    assert asyncio.get_running_loop().time() - began_s >= 0.3

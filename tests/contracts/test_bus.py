"""What every bus must do: each listener hears what concerns it, on whichever process it happened."""

from __future__ import annotations

import asyncio

import pytest

from server.hub import Hub, Published, Subscription
from server.storage.port import Batch
from tests.contracts.test_log import alert_events, record
from tests.servers import database, fresh_nats, nats, postgres  # noqa: F401 - fixtures

CLUSTER = pytest.param("cluster", marks=pytest.mark.needs("nats", "postgres"))


@pytest.fixture(params=["embedded", CLUSTER])
def servers(request):
    """The addresses of NATS and PostgreSQL where a bus needs them."""
    if request.param == "embedded":
        return None
    return request.getfixturevalue("fresh_nats"), request.getfixturevalue("database")


@pytest.fixture
async def buses(servers, tmp_path):
    """Two ends of one bus: what is published at the first is heard at the second; and what tells an alert event."""
    if servers is None:
        hub = Hub()

        async def tell(event):
            hub.publish(Published(tenant="t", queue=event.alert.call.queue, topic="alert", cursor=1, event=event))

        yield hub, hub, tell
        return
    from server.cluster.bus import ClusterHub
    from server.cluster.jetstream import JetStream
    from server.cluster.log import ClusterLog
    from server.cluster.subjects import partition_of

    address, state = servers
    log = await asyncio.to_thread(ClusterLog, address, state, data_dir=tmp_path)
    connections, hubs = [JetStream(address), JetStream(address)], []
    for number, connection in enumerate(connections):
        await connection.open()
        hubs.append(ClusterHub(connection, log, f"p{number}"))
        await hubs[-1].start()
    await asyncio.to_thread(log.take, partition_of("t", "c"), 1)

    async def tell(event):
        await asyncio.wrap_future(log.append(Batch(calls=[record()], alerts=[("t", "c@1", event)])))

    yield *hubs, tell
    for hub in hubs:
        await hub.stop()
    for connection in connections:
        await connection.close()
    await asyncio.to_thread(log.close)


def listener(hub: Hub, **fields) -> Subscription:
    subscription = Subscription(**{"tenant": "t", "queues": None, "statuses": True, **fields})
    hub.subscribe(subscription)
    return subscription


async def heard(subscription: Subscription) -> list[Published]:
    return await asyncio.wait_for(subscription.next(), 10)


def status(call_id: str, **fields) -> Published:
    message = {"type": "call.status", "call_id": call_id, "queue": "q"}
    return Published(
        **{"tenant": "t", "queue": "q", "topic": "status", "call_id": call_id, "message": message, **fields}
    )


async def test_a_status_reaches_whoever_asked_for_it(buses):
    here, there, _ = buses
    wants, other, elsewhere = listener(there), listener(there, statuses=False), listener(there, tenant="u")
    here.publish(status("c1"))
    assert [(item.topic, item.call_id, item.message["type"]) for item in await heard(wants)] == [
        ("status", "c1", "call.status")
    ]
    here.publish(Published(tenant="t", queue="", topic="monitoring", message={"type": "monitoring.degraded"}))
    assert [item.topic for item in await heard(other)] == ["monitoring"]
    assert not elsewhere.behind(float("inf"))


async def test_a_segment_reaches_whoever_watches_the_call(buses):
    here, there, _ = buses
    watches = listener(there, statuses=False)
    watches.watched.add("c1")
    await there.watching()
    async with asyncio.timeout(10):
        while not here.watchers("t", "c1"):
            await asyncio.sleep(0.02)
    assert not here.watchers("t", "c2")
    for call_id in ("c2", "c1"):
        here.publish(Published(tenant="t", queue="q", topic="call", call_id=call_id, message={"type": "segment"}))
    assert [item.call_id for item in await heard(watches)] == ["c1"]


async def test_an_alert_event_reaches_every_listener_with_its_cursor(buses):
    here, there, tell = buses
    listeners = [listener(here, statuses=False), listener(there, statuses=False)]
    event = alert_events()[0]
    await tell(event)
    for subscription in listeners:
        assert [(item.topic, item.cursor, item.event) for item in await heard(subscription)] == [("alert", 1, event)]


async def test_who_has_statuses_knows_that_somebody_wants_them(buses):
    here, there, _ = buses
    assert not here.wants_status
    listener(there)
    await there.watching()
    async with asyncio.timeout(10):
        while not here.wants_status:
            await asyncio.sleep(0.02)
    assert here.tenants() == {"t"}

"""The bus: of a call's statuses the newest alone waits, and a listener is cut off for what it must not miss."""

from __future__ import annotations

import asyncio

from server.hub import MAX_BACKLOG, MAX_STATUSES, STATUS_WAIT_S, Published, Subscription


def status(call_id: str, elapsed_ms: int) -> Published:
    return Published(tenant="t", queue="q", topic="status", call_id=call_id, message={"elapsed_ms": elapsed_ms})


def test_a_floor_of_more_calls_than_the_backlog_is_not_cut_off() -> None:
    subscription = Subscription(tenant="t", queues=None, statuses=True)
    for elapsed_ms in (1, 2):
        for number in range(MAX_BACKLOG + 1):
            subscription.offer(status(f"c{number}", elapsed_ms))
    assert not subscription.overflowed
    taken = asyncio.run(subscription.next())
    assert len(taken) == MAX_BACKLOG + 1
    assert {item.message["elapsed_ms"] for item in taken if item.message} == {2}


def test_alerts_that_nobody_reads_cut_a_listener_off() -> None:
    subscription = Subscription(tenant="t", queues=None, statuses=True)
    subscription.offer(status("c", 1))
    for cursor in range(MAX_BACKLOG + 1):
        subscription.offer(Published(tenant="t", queue="q", topic="alert", cursor=cursor))
    assert subscription.overflowed
    assert asyncio.run(subscription.next()) == []


def test_statuses_wait_for_each_other_and_never_hold_up_an_alert() -> None:
    async def run() -> tuple[float, list[list[Published]]]:
        subscription = Subscription(tenant="t", queues=None, statuses=True)
        loop = asyncio.get_running_loop()
        subscription.offer(status("c1", 1))
        loop.call_later(STATUS_WAIT_S / 5, subscription.offer, status("c2", 1))
        first = await subscription.next()
        subscription.offer(status("c1", 2))
        subscription.offer(Published(tenant="t", queue="q", topic="alert", cursor=1))
        begun_s = loop.time()
        second = await subscription.next()
        return loop.time() - begun_s, [first, second]

    waited_s, (first, second) = asyncio.run(run())
    assert [item.call_id for item in first] == ["c1", "c2"]
    assert [item.topic for item in second] == ["alert", "status"]
    assert waited_s < STATUS_WAIT_S


def test_a_message_is_encoded_once_for_all() -> None:
    item = status("c", 1)
    assert item.encoded is item.encoded
    assert bytes(item.encoded) == b'{"elapsed_ms":1}'


def test_the_calls_of_a_day_do_not_pile_up_before_a_listener_that_does_not_read() -> None:
    subscription = Subscription(tenant="t", queues=None, statuses=True)
    for number in range(MAX_STATUSES):
        subscription.offer(status(f"c{number}", 1))
    assert not subscription.overflowed
    subscription.offer(status("one more", 1))
    assert subscription.overflowed
    assert asyncio.run(subscription.next()) == []

"""The bus: of a call's statuses the newest alone waits, and a listener is cut off for what it must not miss."""

from __future__ import annotations

import asyncio

from server.hub import MAX_BACKLOG, Published, Subscription


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

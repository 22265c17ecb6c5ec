"""What the state machine of the protocol once found or could find, told as single stories."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from detector.events import Gap
from server.live import intake
from tests.server.feeding import House, Wire
from tests.server.running import ended, said, started


@pytest.fixture
async def house(tmp_path) -> AsyncIterator[House]:
    found = House(tmp_path, window=4)
    await found.start()
    yield found
    await found.stop()


async def connected(house: House) -> Wire:
    wire = Wire(house.app)
    await wire.ask("welcome")
    return wire


def acks(wire: Wire) -> list[int]:
    return [message["seq"] for message in wire.heard if message["type"] == "ack"]


def nacks(wire: Wire) -> list[tuple[str, int]]:
    return [(message["code"], message["seq"]) for message in wire.heard if message["type"] == "nack"]


def rows(house: House) -> list[Any]:
    record = house.disk.find_call("default", "c-1")
    return [stored.row for stored in house.disk.read_call("default", record.instance)]


async def test_events_that_waited_do_not_widen_the_window(house):
    wire = await connected(house)
    wire.say(started())
    for seq in range(1, 41, 2):
        wire.say(said(seq + 1, "二"), said(seq, "一"))
    await house.settle(wire)
    assert acks(wire)[-1] == 40
    house.disk.hold()
    wire.say(*(said(seq, "三") for seq in range(41, 60)))
    await house.settle()
    assert wire.unread, "more than the window was read while nothing was durable"
    house.disk.release()
    await house.settle(wire)
    assert acks(wire)[-1] == 59
    await wire.leave()


async def test_who_came_back_hears_of_what_its_lost_connection_sent(house):
    lost = await connected(house)
    house.disk.hold()
    lost.say(started(), said(1, "もしもし"), ended(2))
    await house.settle(lost)
    await lost.leave()
    back = await connected(house)
    assert (await back.ask("resumed", {"type": "resume", "call_ids": ["c-1"]}))["calls"] == {"c-1": None}
    back.say(started(), said(1, "もしもし"), ended(2))
    await house.settle(back)
    house.disk.release()
    await house.settle(back)
    assert acks(back) == [2]
    assert [row.seq for row in rows(house) if row.seq is not None] == [0, 1, 2]
    await back.leave()


async def test_who_came_back_hears_that_what_its_lost_connection_sent_was_not_stored(house):
    lost = await connected(house)
    house.disk.hold()
    house.disk.fail_next()
    lost.say(started())
    await house.settle(lost)
    await lost.leave()
    back = await connected(house)
    back.say({"type": "resume", "call_ids": ["c-1"]}, started())
    await house.settle(back)
    house.disk.release()
    await house.settle(back)
    assert nacks(back) == [("overloaded", 0)]
    back.say(started())
    await house.settle(back)
    assert acks(back) == [0]
    await back.leave()


async def test_an_event_sent_again_does_not_wait_for_one_that_is_durable(house):
    wire = await connected(house)
    wire.say(started())
    await house.settle(wire)
    house.disk.hold()
    house.disk.fail_next()
    for seq in (1, 2):
        wire.say(said(seq, "はい"))
        await house.settle(wire)
    house.disk.release_first()
    await house.settle()
    assert nacks(wire) == [("overloaded", 1)]
    wire.say(said(1, "はい"))
    await house.settle(wire)
    house.disk.release_first()
    while len(nacks(wire)) < 2:
        await house.settle()
    wire.say(said(2, "はい"))
    await house.settle(wire)
    house.disk.release()
    await house.settle(wire)
    assert acks(wire)[-1] == 2
    assert nacks(wire) == [("overloaded", 1), ("overloaded", 2)]
    await wire.leave()


async def test_who_comes_back_has_the_whole_time_to_fill_a_gap(house):
    wire = await connected(house)
    wire.say(started(), said(2, "二"))
    await house.settle(wire)
    await wire.leave()
    await house.later(intake.GAP_S + 1)
    back = await connected(house)
    back.say(said(2, "二"))
    await house.settle(back)
    await house.later(0)
    back.say(said(1, "一"))
    await house.settle(back)
    assert acks(back)[-1] == 2
    assert not [row for row in rows(house) if isinstance(row.value, Gap)]
    await back.leave()


async def test_a_doubled_event_of_a_call_that_is_over_is_acknowledged_again_and_no_more(house):
    wire = await connected(house)
    wire.say(started(), said(1, "はい"), ended(2))
    await house.settle(wire)
    await house.over()
    wire.heard.clear()
    wire.say(said(1, "はい"), said(3, "まだ"))
    await house.settle(wire)
    assert acks(wire) == [2]
    assert nacks(wire) == [("call_ended", 3)]
    await wire.leave()

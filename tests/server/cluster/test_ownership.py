"""Who owns which partition: the shares, and real leases taken, lost and given back."""

from __future__ import annotations

import asyncio

import pytest

from server.cluster.jetstream import JetStream
from server.cluster.ownership import DEAD_S, Ownership, shares
from server.cluster.subjects import PARTITIONS
from tests.server.cluster.connecting import opened


@pytest.mark.parametrize("count", range(1, 8))
def test_shares_are_even_and_complete(count):
    names = [f"w{number}" for number in range(count)]
    given = shares({}, names)
    sizes = [list(given.values()).count(name) for name in names]
    assert sorted(given) == list(range(PARTITIONS))
    assert max(sizes) - min(sizes) <= 1


def test_a_newcomer_takes_no_more_than_its_share_and_the_rest_stays():
    before = shares({}, ["a", "b"])
    after = shares(before, ["a", "b", "c"])
    moved = [partition for partition in before if before[partition] != after[partition]]
    assert all(after[partition] == "c" for partition in moved)
    assert len(moved) == list(after.values()).count("c")


def test_what_the_dead_had_goes_to_the_living_alone():
    before = shares({}, ["a", "b", "c"])
    after = shares(before, ["a", "c"])
    assert {before[partition] for partition in before if before[partition] != after[partition]} == {"b"}
    assert shares(before, []) == {}


class Member:
    """A worker that only owns."""

    def __init__(self, nats: JetStream, name: str, clock: list[float]) -> None:
        self.held: dict[int, int] = {}
        self.ownership = Ownership(nats, name, gained=self.gained, lost=self.held.pop, monotonic=lambda: clock[0])

    async def gained(self, partition: int, epoch: int) -> None:
        self.held[partition] = epoch

    async def beat(self) -> None:
        await self.ownership.beat()
        await asyncio.sleep(0.05)


@pytest.mark.needs("nats")
async def test_partitions_pass_from_a_dead_worker_with_a_higher_epoch(fresh_nats):
    clock = [0.0]
    async with opened(fresh_nats) as nats:
        first, second = Member(nats, "a", clock), Member(nats, "b", clock)
        await first.beat()
        assert len(first.held) == PARTITIONS
        await second.beat()
        assert second.held == {}
        await first.beat()  # gives half of it back
        await second.beat()
        assert (len(first.held), len(second.held)) == (PARTITIONS // 2, PARTITIONS // 2)
        assert not first.held.keys() & second.held.keys()
        epochs = dict(first.held)
        clock[0] = DEAD_S - 0.1
        await second.beat()
        assert len(second.held) == PARTITIONS // 2
        clock[0] = DEAD_S + 0.1
        await second.beat()
        assert len(second.held) == PARTITIONS
        assert all(second.held[partition] > epoch for partition, epoch in epochs.items())


@pytest.mark.needs("nats")
async def test_who_leaves_in_good_order_is_followed_at_once(fresh_nats):
    clock = [0.0]
    async with opened(fresh_nats) as nats:
        first, second = Member(nats, "a", clock), Member(nats, "b", clock)
        await first.beat()
        await first.ownership.leave()
        assert first.held == {}
        await second.beat()
        assert len(second.held) == PARTITIONS


@pytest.mark.needs("nats")
async def test_a_partition_whose_log_failed_is_taken_anew_under_another_epoch(fresh_nats):
    async with opened(fresh_nats) as nats:
        member = Member(nats, "a", [0.0])
        await member.beat()
        epoch = member.held[3]
        member.ownership.drop(3)
        assert 3 not in member.held
        async with asyncio.timeout(10):
            while 3 not in member.held:
                await member.beat()
        assert member.held[3] > epoch

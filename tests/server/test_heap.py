"""The garbage collector in the server: young collections stay, what survives is set aside, all is given back."""

from __future__ import annotations

import gc
import weakref

from server.heap import FEW_CALLS, FREEZE_EVERY_S, FULL_EVERY_S, FULL_LATEST_S, Heap


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


class Knot:
    """Refers to itself: only a collection frees it."""

    def __init__(self) -> None:
        self.knot = self


def test_survivors_are_set_aside_and_the_collector_is_given_back() -> None:
    before, frozen, clock = gc.get_threshold(), gc.get_freeze_count(), Clock()
    heap = Heap(lambda: 0, clock)
    heap.start()
    try:
        aside = gc.get_freeze_count()
        assert aside > frozen
        kept = [[number] for number in range(10_000)]
        heap.turn()
        assert gc.get_freeze_count() < aside + len(kept)
        clock.now_s += FREEZE_EVERY_S
        heap.turn()
        assert gc.get_freeze_count() >= aside + len(kept)
    finally:
        heap.stop()
    assert gc.get_threshold() == before
    assert gc.get_freeze_count() == 0


def test_old_cycles_are_found_when_few_calls_are_live() -> None:
    clock, live = Clock(), [FEW_CALLS + 1]
    heap = Heap(lambda: live[0], clock)
    heap.start()
    try:
        knot = Knot()
        gone = weakref.ref(knot)
        clock.now_s += FREEZE_EVERY_S
        heap.turn()
        del knot
        clock.now_s += FULL_EVERY_S
        heap.turn()
        assert gone() is not None
        live[0] = FEW_CALLS
        heap.turn()
        assert gone() is None
    finally:
        heap.stop()


def test_where_it_is_never_quiet_old_cycles_are_found_once_a_day() -> None:
    clock = Clock()
    heap = Heap(lambda: FEW_CALLS + 1, clock)
    heap.start()
    try:
        knot = Knot()
        gone = weakref.ref(knot)
        clock.now_s += FREEZE_EVERY_S
        heap.turn()
        del knot
        clock.now_s = FULL_LATEST_S - 1
        heap.turn()
        assert gone() is not None
        clock.now_s = FULL_LATEST_S
        heap.turn()
        assert gone() is None
    finally:
        heap.stop()

from concurrent.futures import Future

import pytest

from detector.scoring import ScoreRequest
from models.batching import Pending, PendingQueue, plan_batch


def pending(
    order: int, urgency: int = 0, length: int = 16, submitted_at: float = 0.0, wait_s: float | None = None
) -> Pending:
    request = ScoreRequest(request_id=str(order), text="x", language="en", urgency=urgency)
    return Pending(
        request=request,
        future=Future(),
        deadline=None if wait_s is None else submitted_at + wait_s,
        submitted_at=submitted_at,
        order=order,
        padded_length=length,
    )


def orders(items: list[Pending]) -> list[int]:
    return [item.order for item in items]


def test_the_urgent_come_first_and_equals_in_order() -> None:
    queue = PendingQueue(10)
    for order, urgency in enumerate([0, 5, 0, 9, 5]):
        assert queue.push(pending(order, urgency)) is None
    assert orders(queue.take()) == [3, 1, 4, 0, 2]
    assert len(queue) == 0


def test_a_full_queue_sheds_the_least_urgent() -> None:
    queue = PendingQueue(2)
    queue.push(pending(0, 3))
    queue.push(pending(1, 5))
    shed = queue.push(pending(2, 4))
    assert shed is not None
    assert shed.order == 0
    newcomer = pending(3, 1)
    assert queue.push(newcomer) is newcomer
    assert orders(queue.take()) == [1, 2]


def test_what_no_batch_had_room_for_keeps_its_place() -> None:
    queue = PendingQueue(10)
    for order in range(4):
        queue.push(pending(order))
    taken = queue.take(3)
    queue.put_back(taken[1:])
    assert orders(queue.take()) == [1, 2, 3]


def test_a_batch_has_one_length_and_the_most_urgent_leads() -> None:
    window = [pending(0, length=32), pending(1, length=16), pending(2, length=32)]
    batch, rest = plan_batch(window)
    assert orders(batch) == [0, 2]
    assert orders(rest) == [1]


def test_a_batch_is_bounded_in_items_and_tokens_but_never_empty() -> None:
    window = [pending(order, length=48) for order in range(20)]
    assert len(plan_batch(window)[0]) == 8
    assert len(plan_batch(window, max_tokens=100)[0]) == 2
    assert len(plan_batch(window, max_tokens=10)[0]) == 1
    assert plan_batch([]) == ([], [])


def test_a_queue_holds_at_least_one() -> None:
    with pytest.raises(ValueError, match="limit"):
        PendingQueue(0)


def test_the_less_urgent_are_shed_sooner_and_who_has_no_deadline_never() -> None:
    queue = PendingQueue(10)
    for order, (urgency, wait_s) in enumerate([(0, 2.0), (3, 2.0), (9, 2.0), (0, None)]):
        queue.push(pending(order, urgency, wait_s=wait_s))
    shed_at = {now: orders(queue.shed(now)) for now in (0.59, 0.61, 0.95, 0.97, 1.67, 1.69, 100.0)}
    assert shed_at == {0.59: [], 0.61: [0], 0.95: [], 0.97: [1], 1.67: [], 1.69: [2], 100.0: []}
    assert len(queue) == 1


def test_a_class_that_fell_behind_is_read_newest_first() -> None:
    queue = PendingQueue(10)
    for order in range(4):
        queue.push(pending(order, submitted_at=order * 0.1, wait_s=2.0))
    assert orders(queue.take(2, now=0.2)) == [0, 1]
    assert orders(queue.take(2, now=0.6)) == [3, 2]


def test_what_was_read_newest_first_goes_back_behind_the_old_and_before_the_newer() -> None:
    queue = PendingQueue(10)
    for order in range(4):
        queue.push(pending(order, wait_s=2.0))
    taken = queue.take(2, now=0.5)
    queue.push(pending(4, submitted_at=0.5, wait_s=2.0))
    queue.put_back(taken)
    assert orders(queue.take(now=0.0)) == [0, 1, 2, 3, 4]
    assert queue.oldest() is None

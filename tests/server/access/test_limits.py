from __future__ import annotations

from server.access import limits
from server.access.limits import RateLimit, SignInLimits, retry_after


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_burst_then_the_rate():
    clock = Clock()
    limit = RateLimit(2, 3, monotonic=clock)
    assert [limit.take("a") for _ in range(4)] == [0, 0, 0, 0.5]
    assert limit.take("b") == 0
    clock.now += 0.5
    assert limit.take("a") == 0
    assert limit.take("a") > 0


def test_a_bucket_never_holds_more_than_the_burst():
    clock = Clock()
    limit = RateLimit(2, 3, monotonic=clock)
    limit.take("a")
    clock.now += 1e6
    assert [limit.take("a") == 0 for _ in range(4)] == [True, True, True, False]


def test_names_are_bounded_and_the_quietest_is_forgotten(monkeypatch):
    monkeypatch.setattr(limits, "MAX_NAMES", 2)
    limit = RateLimit(0.001, 1, monotonic=Clock())
    limit.take("a")
    limit.take("b")
    limit.take("a")
    limit.take("c")
    assert len(limit) == 2
    assert limit.take("a") > 0


def test_guessing_is_bounded_by_address_and_by_name():
    clock = Clock()
    tries = SignInLimits(monotonic=clock)
    assert sum(tries.take("hanako", "1.1.1.1") == 0 for _ in range(50)) == 5
    assert tries.take("hanako", "2.2.2.2") == 0
    tries.succeeded("hanako", "1.1.1.1")
    tries = SignInLimits(monotonic=clock)
    assert sum(tries.take(f"name{n}", "1.1.1.1") == 0 for n in range(50)) == 20
    tries = SignInLimits(monotonic=clock)
    assert sum(tries.take("hanako", f"1.1.1.{n}") == 0 for n in range(250)) == 100


def test_the_header_is_whole_seconds_and_at_least_one():
    assert retry_after(0.01) == {"Retry-After": "1"}
    assert retry_after(2.1) == {"Retry-After": "3"}

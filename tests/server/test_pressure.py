import pytest

from server.pressure import Lateness, Pressure


def feed(pressure: Pressure, since_s: float, seconds: float, late: Lateness) -> str:
    for tenth in range(round(seconds * 10) + 1):
        pressure.note(since_s + tenth / 10, late)
    return pressure.cause


@pytest.mark.parametrize("part", ["loop", "log", "scoring"])
def test_work_that_stays_late_refuses_calls_and_says_what_is_late(part: str) -> None:
    late = Lateness(**{part: 0.6})
    pressure = Pressure()
    assert feed(pressure, 0, 0.9, late) == ""
    assert feed(pressure, 1, 1, late) == part


def test_a_burst_that_passes_refuses_nobody() -> None:
    pressure = Pressure()
    for at_s in range(10):
        assert feed(pressure, at_s, 0.5, Lateness(scoring=1.0)) == ""
        assert feed(pressure, at_s + 0.6, 0.3, Lateness()) == ""


def test_calls_are_taken_again_once_it_has_been_calm_for_a_while() -> None:
    pressure = Pressure()
    feed(pressure, 0, 2, Lateness(scoring=1.0))
    assert feed(pressure, 2, 10, Lateness(scoring=0.4)) == "scoring"  # Below the limit, not yet below half of it.
    assert feed(pressure, 12, 2.9, Lateness(scoring=0.1)) == "scoring"
    assert feed(pressure, 14.9, 0.2, Lateness(scoring=0.1)) == ""


def test_single_pauses_of_the_loop_keep_nobody_out() -> None:
    pressure = Pressure()
    feed(pressure, 0, 3, Lateness(loop=1.0))
    assert pressure.cause == "loop"
    for at_s in range(3, 10):
        pressure.note(at_s, Lateness(loop=0.2))
        feed(pressure, at_s + 0.1, 0.8, Lateness())
    assert pressure.cause == ""


def test_one_long_pause_keeps_nobody_out() -> None:
    pressure = Pressure()
    feed(pressure, 0, 2, Lateness())
    pressure.note(13, Lateness(loop=11))
    assert feed(pressure, 13.1, 3, Lateness()) == ""

"""Answers of the model cross from its threads to the event loop: none is left lying there, whenever the loop looks."""

from __future__ import annotations

import sys
from collections.abc import Callable
from concurrent.futures import Future
from types import CodeType, FrameType, SimpleNamespace
from typing import Any

import pytest

from detector.scoring import ScoreResult, Unscored, UnscoredReason
from server.live.scoring import Scoring


class Loop:
    """Keeps what is to be called, as an event loop does that is busy."""

    def __init__(self) -> None:
        self.due: list[Callable[[], None]] = []

    def call_soon_threadsafe(self, callback: Callable[[], None]) -> None:
        self.due.append(callback)

    def turn(self) -> None:
        due, self.due = self.due, []
        for callback in due:
            callback()


class Taking(Scoring):
    """Hands over as the server does, and notes what arrived."""

    def __init__(self) -> None:
        self.loop = Loop()
        super().__init__(SimpleNamespace(loop=self.loop), None, None)  # type: ignore[arg-type]
        self.arrived: list[str] = []

    def _arrived(self, _call: Any, answer: ScoreResult | Unscored) -> None:
        self.arrived.append(answer.request_id)

    def answer(self, name: str) -> None:
        future: Future[ScoreResult | Unscored] = Future()
        future.set_result(Unscored(request_id=name, reason=UnscoredReason.FAILED))
        self._answered(None, future)  # type: ignore[arg-type]


def between_lines(code: CodeType, line: int, act: Callable[[], None], run: Callable[[], None]) -> bool:
    """Runs `run`, and `act` once before its `line`-th line in `code`; returns whether it came to so many."""
    seen = 0

    def trace(frame: FrameType, event: str, _argument: Any) -> Any:
        nonlocal seen
        if frame.f_code is not code:
            return None
        if event == "line":
            seen += 1
            if seen == line:
                sys.settrace(None)
                act()
                sys.settrace(trace)
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        run()
    finally:
        sys.settrace(before)
    return seen >= line


def taken_before(line: int, waiting: int) -> tuple[bool, bool]:
    """One answer is handed over behind some that wait, and the loop takes what is there before so many lines of that.

    Returns:
        Whether there are so many lines, and whether all answers arrived in order.
    """
    scoring = Taking()
    names = [f"r{number}" for number in range(waiting + 1)]
    for name in names[:-1]:
        scoring.answer(name)
    code = Scoring._answered.__code__
    reached = between_lines(code, line, scoring.loop.turn, lambda: scoring.answer(names[-1]))
    scoring.loop.turn()
    return reached, scoring.arrived == names


@pytest.mark.parametrize("waiting", [0, 1, 2])
def test_no_answer_is_left_lying_whenever_the_loop_takes_them(waiting: int) -> None:
    tried = [taken_before(line, waiting) for line in range(1, 12)]
    lines = sum(reached for reached, _ in tried)
    assert 2 <= lines < len(tried)
    assert all(arrived for _, arrived in tried)


def test_many_answers_wake_the_loop_once() -> None:
    scoring = Taking()
    for number in range(5):
        scoring.answer(str(number))
    assert len(scoring.loop.due) == 1
    scoring.loop.turn()
    scoring.answer("later")
    assert len(scoring.loop.due) == 1

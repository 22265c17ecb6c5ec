import os
import sys
import threading
from collections.abc import Sequence

import pytest

from detector.labels import Speaker
from detector.scoring import ScoreRequest, ScoreResult, Turn, Unscored, UnscoredReason
from models.engine import HUNG_S, Engine
from models.errors import EngineClosedError


class FakeScorer:
    """Answers with the length of the text; waits at a gate, fails on demand."""

    model_version = "fake-1"

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.entered = threading.Event()
        self.gate.set()
        self.batches: list[list[str]] = []

    def score(self, requests: Sequence[ScoreRequest]) -> list[ScoreResult]:
        self.entered.set()
        assert self.gate.wait(10)
        self.batches.append([request.request_id for request in requests])
        if any(request.text == "boom" for request in requests):
            raise RuntimeError("boom")
        return [
            ScoreResult(request_id=request.request_id, scores={"threat": len(request.text) / 100})
            for request in requests
        ]


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def request(number: int, text: str | None = None, urgency: int = 0) -> ScoreRequest:
    return ScoreRequest(request_id=str(number), text=text or f"text {number}", language="en", urgency=urgency)


@pytest.fixture
def scorer() -> FakeScorer:
    return FakeScorer()


def test_answers_come_back_to_their_callers(scorer: FakeScorer) -> None:
    engine = Engine(scorer, workers=2)
    futures = [engine.submit(request(number)) for number in range(50)]
    results = [future.result(10) for future in futures]
    assert [result.request_id for result in results] == [str(number) for number in range(50)]
    assert engine.health.alive
    assert engine.health.scored == 50
    engine.close()
    assert not engine.health.alive


def test_what_waited_becomes_one_batch_the_urgent_first(scorer: FakeScorer) -> None:
    scorer.gate.clear()
    engine = Engine(scorer)
    first = engine.submit(request(0))
    assert scorer.entered.wait(10)
    others = [engine.submit(request(number, urgency=number)) for number in (1, 9, 5)]
    scorer.gate.set()
    for future in [first, *others]:
        future.result(10)
    engine.close()
    assert scorer.batches == [["0"], ["9", "5", "1"]]


def test_an_expired_request_is_not_scored(scorer: FakeScorer) -> None:
    clock = Clock()
    scorer.gate.clear()
    engine = Engine(scorer, clock=clock)
    engine.submit(request(0))
    assert scorer.entered.wait(10)
    late = engine.submit(request(1), deadline=1.0)
    clock.now = 2.0
    scorer.gate.set()
    assert late.result(10) == Unscored(request_id="1", reason=UnscoredReason.EXPIRED)
    assert engine.health.expired == 1
    engine.close()


def test_a_full_queue_sheds_the_least_urgent(scorer: FakeScorer) -> None:
    scorer.gate.clear()
    engine = Engine(scorer, max_queue=1)
    engine.submit(request(0))
    assert scorer.entered.wait(10)
    low = engine.submit(request(1, urgency=0))
    high = engine.submit(request(2, urgency=9))
    assert low.result(10) == Unscored(request_id="1", reason=UnscoredReason.SHED)
    assert engine.health.queue_depth == 1
    scorer.gate.set()
    assert isinstance(high.result(10), ScoreResult)
    engine.close()


def test_a_failing_batch_fails_its_callers_alone(scorer: FakeScorer) -> None:
    engine = Engine(scorer)
    bad = engine.submit(request(0, "boom")).result(10)
    good = engine.submit(request(1)).result(10)
    assert bad == Unscored(request_id="0", reason=UnscoredReason.FAILED)
    assert isinstance(good, ScoreResult)
    assert engine.health.alive
    engine.close()


def test_a_repeat_is_answered_from_the_cache_under_its_own_id(scorer: FakeScorer) -> None:
    engine = Engine(scorer)
    engine.submit(request(1, "hello")).result(10)
    again = engine.submit(request(2, "hello")).result(10)
    assert isinstance(again, ScoreResult)
    assert again.request_id == "2"
    assert engine.health.cached == 1
    assert scorer.batches == [["1"]]
    scorer.model_version = "fake-2"
    engine.submit(request(3, "hello")).result(10)
    assert scorer.batches == [["1"], ["3"]]
    engine.close()


def test_a_cancelled_request_disturbs_nobody(scorer: FakeScorer) -> None:
    scorer.gate.clear()
    engine = Engine(scorer)
    engine.submit(request(0))
    assert scorer.entered.wait(10)
    dropped = engine.submit(request(1))
    assert dropped.cancel()
    kept = engine.submit(request(2))
    scorer.gate.set()
    assert isinstance(kept.result(10), ScoreResult)
    engine.close()


def test_closing_answers_what_waits(scorer: FakeScorer) -> None:
    scorer.gate.clear()
    engine = Engine(scorer)
    running = engine.submit(request(0))
    assert scorer.entered.wait(10)
    waiting = engine.submit(request(1))
    closing = threading.Thread(target=engine.close)
    closing.start()
    assert waiting.result(10) == Unscored(request_id="1", reason=UnscoredReason.SHED)
    scorer.gate.set()
    closing.join(10)
    assert isinstance(running.result(10), ScoreResult)
    engine.close()
    with pytest.raises(EngineClosedError):
        engine.submit(request(2))


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux keeps a niceness for each thread")
def test_workers_give_way() -> None:
    seen: list[int] = []

    class Asking(FakeScorer):
        def score(self, requests: Sequence[ScoreRequest]) -> list[ScoreResult]:
            seen.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))
            return super().score(requests)

    engine = Engine(Asking(), nice=3)
    engine.submit(request(1)).result(10)
    engine.close()
    assert seen == [min(19, os.getpriority(os.PRIO_PROCESS, 0) + 3)]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux keeps a niceness for each thread")
def test_a_sandbox_that_forbids_niceness_stops_no_scoring(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def forbidden(*_arguments: int) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "setpriority", forbidden)
    engine = Engine(FakeScorer(), nice=3)
    assert isinstance(engine.submit(request(1)).result(10), ScoreResult)
    assert engine.health.alive
    engine.close()
    assert "niceness" in caplog.text


def test_a_repeat_in_another_context_is_known_where_the_context_is_not_read() -> None:
    class Alone(FakeScorer):
        def reads_alone(self, request: ScoreRequest) -> bool:
            return request.text == "yes"

    scorer = Alone()
    engine = Engine(scorer)
    for number, (text, said) in enumerate((("yes", "a"), ("yes", "b"), ("no", "a"), ("no", "b"))):
        context = (Turn(speaker=Speaker.AGENT, text=said),)
        asked = ScoreRequest(request_id=str(number), text=text, language="en", context=context)
        answer = engine.submit(asked).result(10)
        assert answer.request_id == str(number)
    engine.close()
    assert scorer.batches == [["0"], ["2"], ["3"]]


def test_behind_the_least_urgent_is_shed_and_the_urgent_scored(scorer: FakeScorer) -> None:
    clock = Clock()
    scorer.gate.clear()
    engine = Engine(scorer, clock=clock)
    engine.submit(request(0))
    assert scorer.entered.wait(10)
    low = engine.submit(request(1, urgency=0), deadline=2.0)
    high = engine.submit(request(2, urgency=9), deadline=2.0)
    clock.now = 1.0
    assert engine.health.waited_s == 1.0
    scorer.gate.set()
    assert low.result(10) == Unscored(request_id="1", reason=UnscoredReason.SHED)
    assert isinstance(high.result(10), ScoreResult)
    engine.close()


def test_a_model_that_fails_is_seen_until_it_answers_again(scorer: FakeScorer) -> None:
    engine = Engine(scorer)
    engine.submit(request(0, "boom")).result(10)
    assert engine.health.failing
    engine.submit(request(1)).result(10)
    engine.close()
    assert not engine.health.failing


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_worker_that_died_is_replaced(scorer: FakeScorer, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Engine(scorer)

    def die(*_args: object, **_kwargs: object) -> None:
        raise SystemExit

    with monkeypatch.context() as patched:
        patched.setattr(engine._queue, "take", die)
        waiting = engine.submit(request(0))
        while engine.health.alive:
            engine._threads[0].join(0.1)
    assert engine.revive() == 1
    assert isinstance(waiting.result(10), ScoreResult)
    assert (engine.health.alive, engine.health.restarts, engine.revive()) == (True, 1, 0)
    engine.close()
    assert engine.revive() == 0


class Hanging(FakeScorer):
    """Hangs in its first batch until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.begun, self.let_go = threading.Event(), threading.Event()

    def score(self, requests: Sequence[ScoreRequest]) -> list[ScoreResult]:
        if not self.begun.is_set():
            self.begun.set()
            assert self.let_go.wait(10)
        return super().score(requests)


def test_a_worker_that_hangs_is_replaced_and_what_it_says_later_is_not_heard() -> None:
    scorer, clock = Hanging(), Clock()
    engine = Engine(scorer, clock=clock)
    first = engine._threads[0]
    stuck = engine.submit(request(1))
    assert scorer.begun.wait(10)
    clock.now += HUNG_S - 1
    assert engine.revive() == 0
    clock.now += 2
    assert engine.revive() == 1
    answer = stuck.result(10)
    assert isinstance(answer, Unscored)
    assert answer.reason is UnscoredReason.FAILED
    assert isinstance(engine.submit(request(2)).result(10), ScoreResult)
    assert (engine.health.alive, engine.health.restarts, engine.health.failing) == (True, 1, False)
    scorer.let_go.set()
    first.join(10)
    assert not first.is_alive()
    assert engine.health.scored == 1
    engine.close()

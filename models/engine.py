"""The inference engine: requests in from any thread, answers out by futures, one model call at a time per worker.

    submit ─► cache? ─► queue by urgency ─► [worker] shed, expired? ─► prepare ─► plan batch ─► score ─► future

Every request is answered: with a `ScoreResult`, or with an `Unscored` that says why not. A batch that fails fails its
own callers and the loop lives on; a worker that died all the same, or hangs, is replaced by `revive`. The engine knows nothing about
calls, labels or tokens.
"""

from __future__ import annotations

import logging
import os
import statistics
import sys
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol, runtime_checkable

from detector.scoring import Scorer, ScoreRequest, ScoreResult, Turn, Unscored, UnscoredReason
from models.batching import Pending, PendingQueue, plan_batch, split
from models.errors import EngineClosedError

_LOG: Final = logging.getLogger(__name__)

CONTEXT_TURNS: Final = 4
"""Turns of context that count, the last ones (`detector.scoring.ScoreRequest.context`)."""

_LATENCIES_KEPT: Final = 512
HUNG_S: Final = 30.0
"""A batch under way for so long hangs: it takes milliseconds, and a GPU's first one a few seconds."""
MAX_LEFT_BEHIND: Final = 8
"""Workers that hang and were replaced, in all: a model that hangs every one of them is not mended by more."""

_Key = tuple[str, str, str, tuple[Turn, ...], str]


@runtime_checkable
class PreparingScorer(Protocol):
    """A scorer whose work splits into a preparation per request and a run over prepared inputs of one padded length."""

    @property
    def model_version(self) -> str:
        """Names the weights and thresholds."""

    def prepare(self, request: ScoreRequest) -> tuple[Any, int]:
        """What the model reads of one request, and its padded length in tokens."""

    def run(self, prepared: Sequence[Any]) -> list[ScoreResult]:
        """Scores inputs of one padded length, in order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineHealth:
    """How the engine does.

    Args:
        alive: every worker runs and the engine is open.
        failing: the last batch could not be scored.
        queue_depth: requests waiting.
        waited_s: for how long the oldest of them has; with none waiting, for how long the longest batch under way has.
        p50_latency_ms: median time from submission to answer over the last 512 scored requests; 0 before the first.
        scored, cached, expired, shed, failed: counts since the start; `scored` leaves `cached` out.
        restarts: workers that were replaced because they had died or hung.
    """

    alive: bool
    failing: bool
    queue_depth: int
    waited_s: float
    p50_latency_ms: float
    scored: int
    cached: int
    expired: int
    shed: int
    failed: int
    restarts: int


class Engine:
    """Runs a scorer on worker threads.

    Args:
        scorer: scores batches; used by all workers, so it must be safe to call from several threads.
        workers: threads, each one model call at a time.
        max_queue: most requests waiting; beyond it the least urgent is shed.
        cache_size: most answers remembered; 0 turns the cache off. The key is the whole input, as far as the scorer reads it
            (its `reads_alone`, where it has one, says which requests it reads without their context), and the version.
        clock: monotonic seconds; deadlines are readings of it.
        nice: added to the workers' niceness, 0 to 19, so that they leave the processor to who hands them work (Linux).
    """

    def __init__(
        self,
        scorer: Scorer,
        *,
        workers: int = 1,
        max_queue: int = 4096,
        cache_size: int = 8192,
        clock: Callable[[], float] = time.monotonic,
        nice: int = 0,
    ) -> None:
        self._nice = nice
        self._scorer = scorer
        self._alone: Callable[[ScoreRequest], bool] = getattr(scorer, "reads_alone", _never)
        self._preparing: PreparingScorer | None = scorer if isinstance(scorer, PreparingScorer) else None
        self._clock = clock
        self._queue = PendingQueue(max_queue)
        self._cache: OrderedDict[_Key, ScoreResult] = OrderedDict()
        self._cache_size = cache_size
        self._wake = threading.Condition()
        self._closed = False
        self._order = 0
        self._latencies: deque[float] = deque(maxlen=_LATENCIES_KEPT)
        self._counts = {"scored": 0, "cached": 0, **{reason.value: 0 for reason in UnscoredReason}}
        self._failing = False
        self._restarts = 0
        self._running: dict[int, float] = {}
        self._batches: dict[int, list[Pending]] = {}
        self._generations: dict[int, int] = {}
        self._left_behind = 0
        self._threads = [self._worker(number) for number in range(workers)]

    @property
    def model_version(self) -> str:
        """Names the weights and thresholds that answer."""
        return self._scorer.model_version

    @property
    def health(self) -> EngineHealth:
        """How the engine does now."""
        with self._wake:
            latencies = list(self._latencies)
            counts = dict(self._counts)
            depth, closed = len(self._queue), self._closed
            waited_s, failing = self._waited_s(), self._failing
        return EngineHealth(
            alive=not closed and all(thread.is_alive() for thread in self._threads),
            failing=failing,
            queue_depth=depth,
            waited_s=waited_s,
            p50_latency_ms=statistics.median(latencies) * 1000.0 if latencies else 0.0,
            scored=counts["scored"],
            cached=counts["cached"],
            expired=counts[UnscoredReason.EXPIRED],
            shed=counts[UnscoredReason.SHED],
            failed=counts[UnscoredReason.FAILED],
            restarts=self._restarts,
        )

    @property
    def waited_s(self) -> float:
        """For how long the oldest request has waited, or else the oldest batch has run."""
        with self._wake:
            return self._waited_s()

    def _waited_s(self) -> float:
        since = self._queue.oldest()
        if since is None:
            since = min(self._running.values(), default=None)
        return 0.0 if since is None else max(0.0, self._clock() - since)

    def revive(self) -> int:
        """Replaces workers that have died, or whose batch has hung for `HUNG_S`; returns how many. To be called now and then by
        whoever watches. What hangs is left behind: should it ever come back, it finds its place taken and ends."""
        lost: list[Pending] = []
        with self._wake:
            if self._closed:
                return 0
            dead = {number for number, thread in enumerate(self._threads) if not thread.is_alive()}
            late_s = self._clock() - HUNG_S
            hung = [n for n, since in self._running.items() if n not in dead and since < late_s]
            hung = hung[: MAX_LEFT_BEHIND - self._left_behind]
            self._left_behind += len(hung)
            for number in (*dead, *hung):
                self._running.pop(number, None)
                lost += self._batches.pop(number, [])
                self._threads[number] = self._worker(number)
            self._restarts += len(dead) + len(hung)
        self._refuse([item for item in lost if not item.future.done()], UnscoredReason.FAILED)
        return len(dead) + len(hung)

    def _worker(self, number: int) -> threading.Thread:
        generation = self._generations[number] = self._generations.get(number, 0) + 1
        name = f"mamori-inference-{number}"
        thread = threading.Thread(target=self._work, args=(number, generation), name=name, daemon=True)
        thread.start()
        return thread

    def submit(self, request: ScoreRequest, *, deadline: float | None = None) -> Future[ScoreResult | Unscored]:
        """Takes a request from any thread; never blocks on the model.

        Args:
            request: what to score.
            deadline: reading of the clock after which the answer would be useless; then it is `Unscored` `expired`.

        Raises:
            EngineClosedError: `close` was called.
        """
        future: Future[ScoreResult | Unscored] = Future()
        now = self._clock()
        with self._wake:
            if self._closed:
                raise EngineClosedError("the engine is closed")
            known = self._recall(request)
            shed: Pending | None = None
            if known is None:
                self._order += 1
                item = Pending(request=request, future=future, deadline=deadline, submitted_at=now, order=self._order)
                shed = self._queue.push(item)
                self._wake.notify()
        # Futures are resolved outside the lock: their callbacks are the caller's code.
        if known is not None:
            future.set_result(replace(known, request_id=request.request_id))
        if shed is not None:
            self._refuse([shed], UnscoredReason.SHED)
        return future

    def close(self) -> None:
        """Stops after the batches under way; what waits is answered `shed`. Safe to call again."""
        with self._wake:
            self._closed = True
            waiting = self._queue.take(len(self._queue))
            self._wake.notify_all()
        self._refuse(waiting, UnscoredReason.SHED)
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join()

    def _work(self, number: int, generation: int) -> None:
        if self._nice and sys.platform == "linux":
            self._give_way()
        while True:
            with self._wake:
                while not self._queue and not self._closed and self._generations[number] == generation:
                    self._wake.wait()
                if self._closed or self._generations[number] != generation:
                    return
                now = self._clock()
                late = self._queue.shed(now)
                window = self._queue.take(now=now)
                self._running[number] = now
            batch: list[Pending] = []
            try:
                self._set_aside(late, now)
                self._batches[number] = window
                batch = self._next_batch(window)
                self._batches[number] = batch
                if batch:
                    results = self._run(batch)
                    if self._generations[number] != generation:
                        return
                    self._answer(batch, results)
                    self._failing = False
            except Exception:
                if self._generations[number] != generation:
                    return
                # Whatever a model or a foreign scorer raises is its callers' loss alone. Told once, not for each batch.
                if not self._failing:
                    _LOG.exception("a batch of %d inputs could not be scored", len(batch))
                self._failing = True
                self._refuse([item for item in batch if not item.future.done()], UnscoredReason.FAILED)
            finally:
                with self._wake:
                    if self._generations[number] == generation:
                        self._running.pop(number, None)
                        self._batches.pop(number, None)

    def _set_aside(self, late: list[Pending], now: float) -> None:
        expired, shed = split(late, lambda item: item.deadline is not None and item.deadline <= now)
        self._refuse(expired, UnscoredReason.EXPIRED)
        self._refuse(shed, UnscoredReason.SHED)

    def _give_way(self) -> None:
        """Linux keeps a niceness for each thread, whatever POSIX says."""
        try:
            nice = min(19, os.getpriority(os.PRIO_PROCESS, 0) + self._nice)
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), nice)
        except OSError as error:
            # A sandbox may forbid the call: scoring goes on without it.
            _LOG.warning("the niceness of a worker could not be set: %s", error)

    def _next_batch(self, window: list[Pending]) -> list[Pending]:
        now = self._clock()
        live, expired = split(window, lambda item: item.deadline is None or item.deadline > now)
        self._refuse(expired, UnscoredReason.EXPIRED)
        ready, broken = split(live, self._prepared)
        self._refuse(broken, UnscoredReason.FAILED)
        if broken and not ready:
            self._failing = True
        batch, rest = plan_batch(ready)
        with self._wake:
            if rest and not self._closed:
                self._queue.put_back(rest)
                self._wake.notify()
                rest = []
        self._refuse(rest, UnscoredReason.SHED)
        return batch

    def _prepared(self, item: Pending) -> bool:
        if self._preparing is None or item.prepared is not None:
            return True
        try:
            item.prepared, item.padded_length = self._preparing.prepare(item.request)
        except Exception:
            _LOG.exception("an input could not be prepared")
            return False
        return True

    def _run(self, batch: list[Pending]) -> list[ScoreResult]:
        if self._preparing is not None:
            results = self._preparing.run([item.prepared for item in batch])
        else:
            results = self._scorer.score([item.request for item in batch])
        if len(results) != len(batch):
            raise ValueError(f"the scorer gave {len(results)} answers to {len(batch)} requests")
        return results

    def _answer(self, batch: list[Pending], results: list[ScoreResult]) -> None:
        now = self._clock()
        with self._wake:
            self._counts["scored"] += len(batch)
            for item, result in zip(batch, results, strict=True):
                self._latencies.append(now - item.submitted_at)
                self._remember(item.request, result)
        for item, result in zip(batch, results, strict=True):
            _resolve(item.future, result)

    def _refuse(self, items: Sequence[Pending], reason: UnscoredReason) -> None:
        if not items:
            return
        with self._wake:
            self._counts[reason.value] += len(items)
        for item in items:
            _resolve(item.future, Unscored(request_id=item.request.request_id, reason=reason))

    def _key(self, request: ScoreRequest) -> _Key:
        return (
            request.text,
            request.language,
            request.speaker.value,
            () if self._alone(request) else request.context[-CONTEXT_TURNS:],
            self._scorer.model_version,
        )

    def _recall(self, request: ScoreRequest) -> ScoreResult | None:
        if not self._cache_size:
            return None
        key = self._key(request)
        known = self._cache.get(key)
        if known is not None:
            self._cache.move_to_end(key)
            self._counts["cached"] += 1
        return known

    def _remember(self, request: ScoreRequest, result: ScoreResult) -> None:
        if self._cache_size:
            self._cache[self._key(request)] = result
            if len(self._cache) > self._cache_size:
                self._cache.popitem(last=False)


def _never(_request: ScoreRequest) -> bool:
    return False


def _resolve(future: Future[ScoreResult | Unscored], answer: ScoreResult | Unscored) -> None:
    """Sets the answer unless the caller cancelled, or was told that there is none."""
    if not future.done() and future.set_running_or_notify_cancel():
        future.set_result(answer)

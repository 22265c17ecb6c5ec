"""Score requests go to the engine, and its answers to the log before they are folded, or a restart would not know them."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future
from dataclasses import replace
from functools import partial
from typing import Final, Protocol

from detector.scoring import ScoreRequest, ScoreResult, Unscored, UnscoredReason
from server.errors import MamoriError
from server.groupwriter import Entry
from server.live.call import LiveCall
from server.live.floor import Floor
from server.live.resources import INSIST_S, Resources
from server.storage.port import Committed, Row

SCORE_WAIT_S: Final = 2.0
"""A score that is later than this is not waited for (design, "Order")."""


class Fold(Protocol):
    """Whoever folds a score that is durable."""

    def __call__(self, call: LiveCall, row: Row, position: int, *, received_s: float, late: bool) -> None:
        """See `server.live.fold.Fold.fold`."""


class Scoring:
    """Scores for one process.

    Args:
        shared: the engine, the log.
        floor: hears that something could not be stored.
        fold: takes scores that are durable.
    """

    def __init__(self, shared: Resources, floor: Floor, fold: Fold) -> None:
        self._shared = shared
        self._floor = floor
        self._fold = fold
        self._expiries: deque[tuple[float, LiveCall, str]] = deque()
        self._results: deque[tuple[LiveCall, ScoreResult | Unscored]] = deque()
        self._woken = False

    def expire(self, now_s: float) -> None:
        """What was not answered in time counts as unscored."""
        while self._expiries and self._expiries[0][0] <= now_s:
            _, call, name = self._expiries.popleft()
            if name in call.requests:
                self._arrived(call, Unscored(request_id=name, reason=UnscoredReason.EXPIRED))

    def ask(self, call: LiveCall, request: ScoreRequest, received_s: float) -> None:
        """Asks for a score; the answer, or that there is none, is folded once it is durable.

        Args:
            call: the call that waits for it.
            request: of its fold.
            received_s: monotonic time at which what is to be scored came in.
        """
        deadline = self._shared.clock.monotonic() + SCORE_WAIT_S
        call.requests[request.request_id] = request
        call.receipts[request.request_id] = received_s
        self._expiries.append((deadline, call, request.request_id))
        try:
            future = self._shared.engine.submit(request, deadline=deadline)
        except Exception:
            self._arrived(call, Unscored(request_id=request.request_id, reason=UnscoredReason.FAILED))
            return
        future.add_done_callback(lambda done: self._answered(call, done))

    def _answered(self, call: LiveCall, future: Future[ScoreResult | Unscored]) -> None:
        """On the engine's thread: hands the answer to the event loop, waking it once for many."""
        self._results.append((call, future.result()))
        # Asked after the answer was put there: whoever finds the flag set may rely on a drain that is yet to begin.
        if not self._woken:
            self._woken = True
            self._shared.loop.call_soon_threadsafe(self._take_results)

    def _take_results(self) -> None:
        self._woken = False
        while self._results:
            self._arrived(*self._results.popleft())

    def _arrived(self, call: LiveCall, answer: ScoreResult | Unscored) -> None:
        request = call.requests.pop(answer.request_id, None)
        if request is None:
            return
        received_s = call.receipts.pop(answer.request_id, self._shared.clock.monotonic())
        late = answer.request_id in call.late
        call.late.discard(answer.request_id)
        if isinstance(answer, Unscored):
            self._shared.observe(f"unscored_{answer.reason.value}", 1)
            answer = self._stood_in(request, answer)
        self._store(call, self._shared.row(call, answer), received_s, late=late)

    def _stood_in(self, request: ScoreRequest, answer: Unscored) -> Unscored:
        """What the model did not score the word lists look at, so that plain words are heard all the same."""
        if answer.reason is UnscoredReason.UNSUPPORTED_LANGUAGE:
            return answer
        (found,) = self._shared.stand_in.score([request])
        return replace(answer, stand_in=found) if found.labels else answer

    def _store(self, call: LiveCall, row: Row, received_s: float, *, late: bool) -> None:
        """The fold waits until the log has the score, or a restart would not know what it knew."""

        def done(result: Committed | MamoriError) -> None:
            if isinstance(result, MamoriError):
                self._floor.degrade(call.record.tenant, "storage")
                self._shared.loop.call_later(INSIST_S, partial(self._store, call, row, received_s, late=late))
                return
            self._fold(call, row, result.positions[0], received_s=received_s, late=late)

        self._shared.write(Entry(rows=[row], done=done))

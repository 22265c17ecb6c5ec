"""What is well and what is not, in one place: for `/readyz`, the metrics, and the floor, which must hear that it is not
watched. Dead threads are replaced here, and a model that failed is asked again while nobody speaks.

Decides nothing about calls: the runtime asks what is wrong and marks them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Final

from detector.scoring import ScoreRequest
from models.engine import Engine
from models.errors import EngineClosedError
from server.keeper import Keeper
from server.pressure import Lateness, Pressure
from server.storage.port import Batch, Log

STALLED_S: Final = 2.0
"""A write or a batch that waits for longer is stalled: as long as a score is waited for."""
SHED_SEEN_S: Final = 5.0
"""For so long it is said that utterances are shed, after the last of them."""
GRAVE: Final = frozenset({"engine", "log", "scoring", "clockwork"})
"""Checks that, while they fail, leave calls unwatched."""
ASIDE: Final = frozenset({"calls", "delivery", "background", "listeners"})
"""Checks of what does not concern the calls that come: the server is ready all the same."""
SHEDDING: Final = "scoring_shedding"
WELL: Final = frozenset({"ok", "lexicon"})
PROBE: Final = "お電話ありがとうございます"

_log = logging.getLogger("mamori.watch")


class Watch:
    """The state of one process.

    Args:
        engine, log, keeper: what is watched.
        monotonic: seconds.
    """

    def __init__(self, engine: Engine, log: Log, keeper: Keeper, monotonic: Callable[[], float]) -> None:
        self._engine = engine
        self._log = log
        self._keeper = keeper
        self._monotonic = monotonic
        self.pressure = Pressure()
        self.disk_low = False
        self._shed = 0
        self._shed_s = -SHED_SEEN_S
        self._probes = 0

    def measure(self, now_s: float, lag_s: float) -> None:
        """Takes a measurement of how late the work is: `lag_s` is that of the event loop, `now_s` its time."""
        late = Lateness(loop=lag_s, log=self._log.waited_s, scoring=self._engine.waited_s)
        self.pressure.note(now_s, late)

    def mend(self) -> None:
        """Replaces threads that have died, and asks a model that failed whether it is well again; once a second."""
        if self._log.failure and not self._log.depth:
            # Nobody may be writing now, and whether the disk is well again shows in a write alone.
            self._log.append(Batch(probe=True))
        if self._log.revive():
            self._keeper.failed("log_writer", RuntimeError())
        if self._engine.revive():
            self._keeper.failed("inference", RuntimeError())
        health = self._engine.health
        if health.shed != self._shed:
            self._shed, self._shed_s = health.shed, self._monotonic()
        if health.failing and not health.queue_depth:
            self._probe()

    def _probe(self) -> None:
        self._probes += 1
        # A number makes it new to the cache.
        request = ScoreRequest(request_id="probe", text=f"{PROBE}{self._probes}", language="ja", urgency=9)
        try:
            self._engine.submit(request, deadline=self._monotonic() + STALLED_S)
        except EngineClosedError:
            _log.debug("no probe of a closed engine")

    def checks(self) -> Mapping[str, str]:
        """Each part with `ok` or what is wrong with it."""
        health, failing = self._engine.health, self._keeper.failing
        stalled = health.waited_s > STALLED_S
        shedding = self._monotonic() - self._shed_s < SHED_SEEN_S
        loops = [name for name in failing if name in ("tick", "sweep")]
        return {
            "engine": "ok" if health.alive and "inference" not in failing else "stopped",
            "log": self._log.failure
            or ("writer_stopped" if "log_writer" in failing else "stalled" if self._log.waited_s > STALLED_S else "ok"),
            "disk": "low" if self.disk_low else "ok",
            "model": "lexicon" if "lexicon" in self._engine.model_version else "ok",
            "scoring": "failing" if health.failing else "stalled" if stalled else "shedding" if shedding else "ok",
            "clockwork": " ".join(sorted(loops)) or "ok",
            "load": self.pressure.cause or "ok",
            "calls": "faulty" if "fold" in failing else "ok",
        }

    def unwatched(self) -> str:
        """Why calls are not fully watched now, as `check_state`, or empty; `SHEDDING` concerns some alone."""
        wrong = [f"{name}_{state}" for name, state in self.checks().items() if name in GRAVE and state not in WELL]
        return min(wrong, key=lambda reason: reason == SHEDDING, default="")

    def full(self) -> str:
        """Why no further call is taken, or empty."""
        return "disk" if self.disk_low else self.pressure.cause

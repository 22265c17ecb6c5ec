"""`mamori serve` in which something breaks on demand: `python -m tests.faults.faulty SWITCHES serve …`.

A fault is on while a file of its name is in the folder SWITCHES. What is not a fault is the real server, with the real model,
database and sockets; nothing in the product knows of this module.

| file | what happens while it is there |
|---|---|
| `model_fails` | the classifier raises |
| `model_slow` | the classifier takes as many seconds more for a batch as the file says |
| `inference_dies`, `log_dies` | the thread ends in the middle of its work, once: the file goes with it |
| `tick_fails`, `sweep_fails` | the clockwork raises |
| `fold_fails` | the fold of the calls whose ids are in the file raises |
| `clock` | UTC is off by as many seconds as the file says; monotonic time is not |
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

from detector.session import CallSession
from models.batching import PendingQueue
from models.supported_scorer import SupportedScorer
from server.cli import main
from server.live.clockwork import Clockwork
from server.storage.embedded import EmbeddedLog


class BrokenError(Exception):
    """The fault."""


def arm(switches: Path) -> None:
    """Puts the faults where they strike."""

    def said(name: str) -> str | None:
        try:
            return (switches / name).read_text(encoding="utf-8")
        except FileNotFoundError:
            return None

    def once(name: str) -> bool:
        try:
            (switches / name).unlink()
        except FileNotFoundError:
            return False
        return True

    def before(owner: type, method: str, fault: Any) -> None:
        real = getattr(owner, method)

        def struck(self: Any, *args: Any, **kwargs: Any) -> Any:
            fault(self, *args)
            return real(self, *args, **kwargs)

        setattr(owner, method, struck)

    def model(_scorer: Any, _batch: Any) -> None:
        if said("model_fails") is not None:
            raise BrokenError
        time.sleep(float(said("model_slow") or 0))

    def dies(name: str) -> Any:
        def fault(*_: Any) -> None:
            if once(name):
                raise SystemExit

        return fault

    def raises(name: str) -> Any:
        def fault(*_: Any) -> None:
            if said(name) is not None:
                raise BrokenError

        return fault

    def fold(session: CallSession, *_: Any) -> None:
        if session.call_id in (said("fold_fails") or "").split():
            raise BrokenError

    before(SupportedScorer, "run", model)
    before(PendingQueue, "take", dies("inference_dies"))
    before(EmbeddedLog, "_commit", dies("log_dies"))
    before(Clockwork, "tick", raises("tick_fails"))
    before(Clockwork, "check_disk", raises("sweep_fails"))
    before(CallSession, "receive", fold)
    real_ns = time.time_ns
    time.time_ns = lambda: real_ns() + int(float(said("clock") or 0) * 1e9)


if __name__ == "__main__":
    arm(Path(sys.argv.pop(1)))
    main()

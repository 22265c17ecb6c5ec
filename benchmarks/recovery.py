"""Seconds from start to ready with many open calls in the log.

python -m benchmarks.recovery --calls 10000 --events 20
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from detector.events import CallStarted, Segment
from detector.labels import Speaker
from detector.playbook import default_playbook
from detector.scoring import ScoreRequest, ScoreResult
from models.engine import Engine
from server.clock import SystemClock
from server.hub import Hub
from server.live.resources import Limits
from server.rulebook import open_rulebook
from server.runtime import Runtime
from server.storage.embedded import EmbeddedLog
from server.storage.port import Batch, CallRecord, Row


class Silent:
    """A scorer that finds nothing."""

    model_version = "silent"

    def score(self, requests: Sequence[ScoreRequest]) -> list[ScoreResult]:
        """All zero."""
        return [ScoreResult(request_id=request.request_id, scores={}) for request in requests]


def fill(folder: Path, calls: int, events: int) -> None:
    """Writes open calls with scored utterances, as a server that was killed leaves them."""
    log = EmbeddedLog(folder)
    now_ms = time.time_ns() // 1_000_000
    futures = []
    for number in range(calls):
        instance = f"c{number}@{now_ms}"
        record = CallRecord(
            tenant="default", instance=instance, call_id=f"c{number}", queue="q", agent_id="a", language="ja",
            started_ms=now_ms,
        )  # fmt: skip
        rows = [_row(instance, now_ms, 0, CallStarted(queue="q"), "call.started")]
        for seq in range(1, events):
            agent = seq % 2
            segment = Segment(
                segment_id=f"s{seq}", speaker=Speaker.AGENT if agent else Speaker.CUSTOMER,
                text="確認いたしますので番号をお願いします" if agent else f"番号は{seq}の{number}ですが届いていません",
                start_ms=seq * 4000, end_ms=seq * 4000 + 2000,
            )  # fmt: skip
            rows.append(_row(instance, now_ms, seq, segment, "transcript.segment"))
            if not agent:
                score = ScoreResult(request_id=f"s{seq}#0", scores={"complaint": 0.9}, embedding=bytes(768))
                rows.append(_row(instance, now_ms, None, score, "score"))
        futures.append(log.append(Batch(rows=rows, calls=[record])))
    for future in futures:
        future.result()
    log.close()


def _row(instance: str, now_ms: int, seq: int | None, value: object, kind: str) -> Row:
    return Row(tenant="default", instance=instance, kind=kind, utc_ms=now_ms, seq=seq, value=value)


async def restore(folder: Path) -> tuple[float, float, int]:
    """Starts twice: from the log alone, and from the snapshots that the first stop left; returns seconds and calls."""
    seconds = []
    calls = 0
    for _ in range(2):
        log = EmbeddedLog(folder)
        engine = Engine(Silent())
        runtime = Runtime(
            log=log, engine=engine, hub=Hub(), rulebook=open_rulebook(folder, None), playbook=default_playbook(),
            clock=SystemClock(), limits=Limits(max_calls=1_000_000),
        )  # fmt: skip
        began_s = time.monotonic()
        await runtime.start()
        seconds.append(time.monotonic() - began_s)
        calls = len(runtime.calls)
        await runtime.stop()
        engine.close()
        log.close()
    return seconds[0], seconds[1], calls


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=10_000)
    parser.add_argument("--events", type=int, default=20)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        fill(Path(folder), chosen.calls, chosen.events)
        whole, snapshots, calls = asyncio.run(restore(Path(folder)))
    print(f"calls restored          {calls}")
    print(f"from the log alone      {whole:.1f} s")
    print(f"from snapshots          {snapshots:.1f} s")


if __name__ == "__main__":
    main()

"""Microseconds of CPU per event of the core without a model, and whether they or the state grow with the length of the call.

    python -m benchmarks.session [--json FILE]

1,200 finals are a call of two hours. A caller goes in circles and an operator answers; every customer's utterance carries an embedding of its own.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path

import msgspec
import numpy as np

from detector.events import Segment
from detector.labels import Speaker
from detector.playbook import default_playbook
from detector.rules import default_rules
from detector.scoring import ScoreRequest, ScoreResult
from detector.session import CallSession


def measure(length: int) -> dict[str, float]:
    """Microseconds per final over the last tenth of a call of `length` finals, and bytes of its state at the end."""
    chance = np.random.default_rng(1)
    session = CallSession(tenant="t", call_id="c", instance="c@0", rules=default_rules(), playbook=default_playbook())
    spent_ns: list[int] = []
    last = max(1, length // 10)
    for number in range(length):
        agent = number % 2
        segment = Segment(
            segment_id=f"s{number}",
            speaker=Speaker.AGENT if agent else Speaker.CUSTOMER,
            text="規約により返金はいたしかねます、日割りの計算もございません"
            if agent
            else f"返金の話をもう{number}回しています、お願いします",
            start_ms=number * 5000,
            end_ms=number * 5000 + 3000,
        )
        vector = chance.normal(size=384)
        embedding = (vector / np.linalg.norm(vector)).astype("<f2").tobytes()
        began_ns = time.thread_time_ns()
        outputs = session.receive(segment, utc_ms=number)
        for output in outputs:
            if isinstance(output, ScoreRequest):
                scores = {"complaint": 0.9}
                session.receive(
                    ScoreResult(request_id=output.request_id, scores=scores, embedding=embedding), utc_ms=number
                )
        if number >= length - last:
            spent_ns.append(time.thread_time_ns() - began_ns)
    ranked = sorted(spent_ns)
    return {
        "finals": length,
        "median_us": round(statistics.median(ranked) / 1000, 1),
        "p99_us": round(ranked[min(len(ranked) - 1, len(ranked) * 99 // 100)] / 1000, 1),
        "state_bytes": len(msgspec.msgpack.encode(session.state)),
    }


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="where the figures go")
    chosen = parser.parse_args()
    rows = [measure(length) for length in (100, 1_200, 10_000)]
    print(f"{'finals':>7} {'median µs':>10} {'p99 µs':>8} {'state bytes':>12}")
    for row in rows:
        print(f"{row['finals']:7.0f} {row['median_us']:10.1f} {row['p99_us']:8.1f} {row['state_bytes']:12.0f}")
    if chosen.json is not None:
        chosen.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

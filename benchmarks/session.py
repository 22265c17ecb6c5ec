"""Microseconds per event of the core without a model, and whether they grow with the length of the call.

python -m benchmarks.session
"""

from __future__ import annotations

import argparse
import time

import numpy as np

from detector.events import Segment
from detector.labels import Speaker
from detector.playbook import default_playbook
from detector.rules import default_rules
from detector.scoring import ScoreRequest, ScoreResult
from detector.session import CallSession


def measure(length: int) -> float:
    """Mean microseconds per final over the last tenth of a call of `length` finals."""
    chance = np.random.default_rng(1)
    session = CallSession(tenant="t", call_id="c", instance="c@0", rules=default_rules(), playbook=default_playbook())
    spent_ns = 0
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
        began_ns = time.perf_counter_ns()
        outputs = session.receive(segment, utc_ms=number)
        for output in outputs:
            if isinstance(output, ScoreRequest):
                scores = {"complaint": 0.9}
                session.receive(
                    ScoreResult(request_id=output.request_id, scores=scores, embedding=embedding), utc_ms=number
                )
        if number >= length - last:
            spent_ns += time.perf_counter_ns() - began_ns
    return spent_ns / last / 1000


def main() -> None:
    """The command."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    for length in (100, 1_000, 10_000):
        print(f"{length:6} finals: {measure(length):7.1f} µs per event at the end of the call")


if __name__ == "__main__":
    main()

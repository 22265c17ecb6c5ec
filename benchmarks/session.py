"""Microseconds of CPU per event of the core without a model, and whether they or the state grow with the length of the call.

    python -m benchmarks.session [--json FILE] [--live CALLS]

1,200 finals are a call of two hours. A caller goes in circles and an operator answers; every customer's utterance carries an embedding of its own.
`--live` tells in addition what a quiet call takes of the process's memory while so many are live: resident memory, which counts what the
allocator keeps, and the objects alone (tracemalloc, over a tenth of the calls).
"""

from __future__ import annotations

import argparse
import gc
import json
import resource
import statistics
import time
import tracemalloc
from pathlib import Path

import msgspec
import numpy as np

from detector.events import Segment
from detector.labels import Speaker
from detector.playbook import default_playbook
from detector.rules import default_rules
from detector.scoring import ScoreRequest, ScoreResult
from detector.session import CallSession

RULES = default_rules()
PLAYBOOK = default_playbook()
BY_AGENT = (
    "はい、お調べいたしますので少々お待ちください、番号は{}でございますね",
    "かしこまりました、{}の件は明日の午前中にお届けの予定でございます",
    "ご住所は変わりございませんか、部屋番号は{}でよろしいでしょうか",
)
BY_CUSTOMER = (
    "はい、お願いします、{}番の注文の件なんですけど",
    "ああ、そうですか、じゃあ{}時ごろにお願いします",
    "いえ、部屋は{}で合ってます、助かります",
)


def measure(length: int) -> dict[str, float]:
    """Microseconds per final over the last tenth of a call of `length` finals, and bytes of its state at the end."""
    chance = np.random.default_rng(1)
    session = CallSession(tenant="t", call_id="c", instance="c@0", rules=RULES, playbook=PLAYBOOK)
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


def quiet(number: int, length: int) -> CallSession:
    """A call of `length` finals in which one complaint is made and answered, and the rest is business."""
    chance = np.random.default_rng(number)
    name = f"call-{number}"
    session = CallSession(tenant="t", call_id=name, instance=f"{name}@0", rules=RULES, playbook=PLAYBOOK)
    for index in range(length):
        agent = index % 2
        segment = Segment(
            segment_id=f"seg-{number}-{index}",
            speaker=Speaker.AGENT if agent else Speaker.CUSTOMER,
            text=(BY_AGENT if agent else BY_CUSTOMER)[index // 2 % 3].format(number * 1000 + index),
            start_ms=index * 5000,
            end_ms=index * 5000 + 3000,
        )
        for output in session.receive(segment, utc_ms=index):
            if isinstance(output, ScoreRequest):
                vector = chance.normal(size=384)
                answer = ScoreResult(
                    request_id=output.request_id,
                    scores={"complaint": 0.1 if index else 0.9},
                    embedding=(vector / np.linalg.norm(vector)).astype("<f2").tobytes(),
                )
                session.receive(answer, utc_ms=index)
    return session


def live_bytes(calls: int, length: int) -> dict[str, float]:
    """What a quiet call of `length` finals takes: bytes of resident memory, of objects, and of its snapshot."""
    quiet(0, length)
    gc.collect()
    before = _resident_bytes()
    live = [quiet(number, length) for number in range(calls)]
    gc.collect()
    resident = (_resident_bytes() - before) / calls
    snapshot = len(msgspec.msgpack.encode(live[0].state))
    few = max(1, calls // 10)
    tracemalloc.start()
    held = [quiet(number, length) for number in range(few)]
    gc.collect()
    objects = tracemalloc.get_traced_memory()[0] / len(held)
    tracemalloc.stop()
    return {"finals": length, "resident": round(resident), "objects": round(objects), "snapshot": snapshot}


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * resource.getpagesize()


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="where the figures go")
    parser.add_argument(
        "--live", type=int, default=0, metavar="CALLS", help="measure the memory of so many quiet calls"
    )
    chosen = parser.parse_args()
    rows = [measure(length) for length in (100, 1_200, 10_000)]
    print(f"{'finals':>7} {'median µs':>10} {'p99 µs':>8} {'state bytes':>12}")
    for row in rows:
        print(f"{row['finals']:7.0f} {row['median_us']:10.1f} {row['p99_us']:8.1f} {row['state_bytes']:12.0f}")
    live = [live_bytes(chosen.live, length) for length in (100, 720)] if chosen.live else []
    for row in live:
        print(
            "a quiet call of {finals} finals: {resident} bytes resident, {objects} of objects, snapshot {snapshot}".format(
                **row
            )
        )
    if chosen.json is not None:
        chosen.json.write_text(json.dumps([*rows, *live], indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

"""Seconds that the prevalence report takes over many stored alerts and as many calls.

    python -m benchmarks.reports --alerts 100000

Rows as the server stores them, bodies of 3 kB included, over forty days; the report covers the last thirty. The first run reads
from a cold page cache of the database connection, the others from a warm one; all are printed.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import sqlalchemy as sa

from server.clock import DAY_MS
from server.reports import Window, prevalence
from server.storage.statedb import open_engine
from server.storage.tables import ALERTS, CALLS

LEVELS = ("notice", "warning", "escalate", "critical")
LABELS = ("verbal_abuse", "threat", "threat,verbal_abuse", "")
BATCH = 5_000
RUNS = 5


def rows(count: int, now_ms: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Alerts and calls, one of each per number."""
    chance = random.Random(7)
    alerts: list[dict[str, Any]] = []
    calls: list[dict[str, Any]] = []
    for number in range(count):
        raised_ms, queue = now_ms - chance.randrange(40 * DAY_MS), f"q{chance.randrange(8)}"
        names = {"tenant": "default", "instance": f"i{number}", "call_id": f"c{number}", "queue": queue}
        names |= {"agent_id": f"a{number % 200}", "language": "ja"}
        acknowledged_ms = raised_ms + chance.randrange(600_000)
        alert = {
            "alert_id": f"a{number}", "kind": chance.choice(("abuse", "repetition")), "level": chance.choice(LEVELS),
            "labels": chance.choice(LABELS), "state": "resolved", "outcome": chance.choice(("harassment", "false_alarm")),
            "version": 1, "raised_ms": raised_ms, "acknowledged_ms": acknowledged_ms, "body": b"\0" * 3000,
        }  # fmt: skip
        call = {
            "started_ms": raised_ms, "ended_ms": now_ms, "end_reason": "", "next_seq": 0, "hold_ms": 0, "monitoring": "ok",
            "level": chance.choice(("none", "none", *LEVELS)), "talk_ms": chance.randrange(3_600_000),
        }  # fmt: skip
        alerts.append(names | alert)
        calls.append(names | call)
    return alerts, calls


def fill(path: Path, count: int, now_ms: int) -> sa.Engine:
    """A state database with that many alerts and calls."""
    engine = open_engine(path)
    alerts, calls = rows(count, now_ms)
    for table, found in ((ALERTS, alerts), (CALLS, calls)):
        for start in range(0, count, BATCH):
            with engine.begin() as connection:
                connection.execute(table.insert(), found[start : start + BATCH])
    return engine


def measure(count: int) -> dict[str, Any]:
    """Runs the report several times over a fresh database."""
    now_ms = time.time_ns() // 1_000_000
    with tempfile.TemporaryDirectory() as folder:
        engine = fill(Path(folder) / "state.sqlite", count, now_ms)
        window = Window(since_ms=now_ms - 30 * DAY_MS, until_ms=now_ms, zone=ZoneInfo("Asia/Tokyo"))
        took: list[float] = []
        for _ in range(RUNS):
            begun_s = time.perf_counter()
            report = prevalence(engine, "default", window)
            took.append(round(time.perf_counter() - begun_s, 3))
        engine.dispose()
    found = {"alerts_stored": count, "alerts_counted": report["alerts"]}
    return {**found, "took_s": took, "median_s": statistics.median(took)}


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--alerts", type=int, default=100_000)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    found = measure(options.alerts)
    for name, value in found.items():
        print(f"{name:16} {value}")
    if options.out is not None:
        options.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

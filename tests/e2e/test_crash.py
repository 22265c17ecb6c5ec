"""A seeded sample of `python -m benchmarks.crash`; MAMORI_LONG=1 runs fifty cycles."""

from __future__ import annotations

import os

from benchmarks.crash import run


async def test_kill_9_loses_and_doubles_nothing(tmp_path):
    cycles = 50 if os.environ.get("MAMORI_LONG") else 4
    outcome = await run(cycles, 11, tmp_path / "data")
    assert outcome.whole, outcome
    assert outcome.expected_alerts > 0

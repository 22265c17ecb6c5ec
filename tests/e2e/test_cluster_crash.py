"""A seeded sample of `python -m benchmarks.cluster_crash`, one disturbance of each kind; MAMORI_LONG=1 runs five of each."""

from __future__ import annotations

import os

import pytest

from benchmarks.cluster_crash import run

KINDS = 9


@pytest.mark.needs("nats", "postgres")
async def test_whatever_is_struck_nothing_is_lost_doubled_or_missed(tmp_path):
    rounds = 5 if os.environ.get("MAMORI_LONG") else 1
    outcome = await run(KINDS * rounds, 5, tmp_path, calls_per_cycle=4, stopped_s=4.0)
    assert outcome.whole, outcome
    assert outcome.expected_alerts > 0
    assert len(outcome.recovery_s) == KINDS

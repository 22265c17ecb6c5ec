"""A small run of `python -m benchmarks.load`: real processes, all connections drop once, nothing is lost or late."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from benchmarks.load import run, saturated, table
from benchmarks.load_client import Supervisor
from benchmarks.load_stages import shares
from benchmarks.load_talk import ABUSE, AGENT, CUSTOMER


@pytest.mark.skipif(sys.platform != "linux", reason="memory and handles are read from /proc")
async def test_a_small_storm_loses_nothing(tmp_path: Path) -> None:
    figures = await run("storm", 20, 14, tmp_path, profile=False, abuse_share=1.0, ramp_s=2, warm_s=0, storm_s=2)
    assert figures["unacknowledged"] == 0
    assert figures["counts"] == {"connections_lost": 10}
    assert figures["alerts_received"] == figures["alerts_expected"] == 20
    assert figures["unscored"] == {}
    assert figures["ack"]["count"] > 0
    assert figures["cpu"]["all"] >= figures["cpu"]["loop"] > 0
    assert figures["scored_per_s"] > 0
    assert not saturated({**figures, "ack": {"p99_ms": 0}})
    assert "memory_per_call_kb" in table(figures)


def test_no_two_texts_are_alike_and_finals_are_as_long_as_asked() -> None:
    for phrases in (CUSTOMER, AGENT, ABUSE):
        count = min(phrases.count, 20_000)
        assert len({phrases.text(number) for number in range(count)}) == count
    assert all(20 <= len(CUSTOMER.text(number)) <= 60 for number in range(2_000))


def test_a_stack_belongs_to_its_innermost_stage() -> None:
    stacks = (
        "t;run (server/cli.py:1);fold (server/live/fold.py:2);receive (detector/session.py:3);sub (re.py:4) 3\n"
        "t;_work (models/engine.py:1);encode (models/tokenisation.py:9) 1\n"
    )
    assert shares(stacks) == {"core": 0.75, "tokeniser": 0.25}


def test_an_alert_from_before_the_abuse_is_not_taken_for_a_fast_one() -> None:
    due: set[str] = set()
    supervisor = Supervisor(0, statuses=False, due=due)
    raised = b'{"type":"alert.raised","cursor":1,"alert":{"call_id":"c","kind":"abuse"}}'
    supervisor._take(raised)
    assert supervisor.received == {}
    due.add("c")
    supervisor._take(raised.replace(b"raised", b"updated"))
    assert list(supervisor.received) == ["c"]
    assert supervisor.counts["not_timed"] == 1

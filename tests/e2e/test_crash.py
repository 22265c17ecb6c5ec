"""A seeded sample of `python -m benchmarks.crash`; MAMORI_LONG=1 runs fifty cycles."""

from __future__ import annotations

import os

import pytest

from benchmarks.crash import LINES, Outcome, check_folder, run, run_full
from detector.playbook import default_playbook
from detector.rules import default_rules
from detector.scoring import Unscored, UnscoredReason
from detector.session import never
from models.lexicon_scorer import LexiconScorer
from server.replay import replay
from server.storage import codec
from server.storage.embedded import EmbeddedLog
from server.storage.port import Batch, CallRecord, Row
from server.wire import decode_event


async def test_kill_9_loses_and_doubles_nothing(tmp_path):
    cycles = 50 if os.environ.get("MAMORI_LONG") else 4
    outcome = await run(cycles, 11, tmp_path / "data")
    assert outcome.whole, outcome
    assert outcome.expected_alerts > 0


@pytest.mark.needs("mount")
async def test_a_full_disk_loses_and_doubles_nothing(tmp_path):
    cycles = 20 if os.environ.get("MAMORI_LONG") else 2
    outcome = await run_full(cycles, 7, tmp_path / "disk")
    assert outcome.whole, outcome
    assert outcome.expected_alerts > 0
    assert outcome.refused_calls == cycles


def test_what_the_server_declared_unscored_is_no_lost_alert_and_silence_about_it_is(tmp_path):
    text = LINES[0][1]
    start = {"type": "call.started", "call_id": "c", "language": "ja"}
    said = {"type": "transcript.segment", "call_id": "c", "segment_id": "s", "speaker": "customer", "text": text}
    wanted = [start, {**said, "start_ms": 0, "end_ms": 1500}]
    asked: list[str] = []

    class Asking(LexiconScorer):
        def score(self, requests):
            asked.extend(request.request_id for request in requests)
            return super().score(requests)

    events = [decode_event(event) for event in wanted]
    list(replay(events, scorer=Asking(), rules=default_rules(), playbook=default_playbook(), gate=never))
    found = {}
    for name, answers in {
        "expired": [Unscored(request_id=asked[0], reason=UnscoredReason.EXPIRED)],
        "silent": [],
    }.items():
        folder = tmp_path / name
        log = EmbeddedLog(folder)
        record = CallRecord(
            tenant="default", instance="c@1", call_id="c", queue="", agent_id="", language="ja", started_ms=1
        )
        values = [(seq, event.body) for seq, event in enumerate(events)] + [(None, answer) for answer in answers]
        rows = [
            Row(tenant="default", instance="c@1", kind=codec.kind_of(value), utc_ms=1, seq=seq, value=value)
            for seq, value in values
        ]
        log.append(Batch(calls=[record], rows=rows)).result(10)
        log.close()
        found[name] = Outcome()
        check_folder(folder, {"c": wanted}, found[name])
    assert found["expired"].whole
    assert (found["expired"].unscored, found["expired"].expected_alerts) == (1, 0)
    assert not found["silent"].whole
    assert (found["silent"].unanswered, found["silent"].lost_alerts) == (1, 1)

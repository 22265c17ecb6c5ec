"""Whole calls whose alerts are written down: any change of what a supervisor would have seen shows in a diff.

`NAME.events.jsonl` holds the calls, `NAME.scores.jsonl` a classifier's answers as they once were, `NAME.alerts.jsonl` what
followed. So the core is tested, whatever model is bundled. A change that is meant is written with
`pytest tests/golden --update-golden`; `--update-golden=scores` also asks the bundled classifier anew.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from detector.alerts import AlertEvent
from detector.events import CallStarted
from detector.playbook import default_playbook
from detector.rules import default_rules
from detector.scoring import ScoreRequest, ScoreResult, Span
from models.corpus.callscript import events_of, parse_scripts
from models.corpus.schema import FOLDER as CORPUS
from server.app import partial_gate
from server.replay import read_events, replay

FOLDER = Path(__file__).parent
SETS = {
    "calls": (FOLDER / "calls.txt",),
    "corpus": (CORPUS / "calls.ja.txt", CORPUS / "calls.en.txt"),
}
MIN_SCORE = 0.05
"""Lower scores decide nothing and are left out."""


def key(request: ScoreRequest) -> str:
    return json.dumps(
        [request.text, request.speaker.value, [turn.text for turn in request.context]], ensure_ascii=False
    )


class Recorded:
    """Answers from the file, and only from there."""

    model_version = "recorded"

    def __init__(self, path: Path) -> None:
        self.answers = {entry["key"]: entry for entry in map(json.loads, path.read_text(encoding="utf-8").splitlines())}

    def score(self, requests: Sequence[ScoreRequest]) -> list[ScoreResult]:
        return [self.answer(request) for request in requests]

    def answer(self, request: ScoreRequest) -> ScoreResult:
        entry = self.answers.get(key(request))
        assert entry is not None, f"no recorded score of {request.request_id}; see --update-golden=scores"
        return ScoreResult(
            request_id=request.request_id,
            scores=entry["scores"],
            labels=tuple(entry["labels"]),
            spans=tuple(Span(**span) for span in entry["spans"]),
            embedding=base64.b64decode(entry["embedding"]),
            model_version=self.model_version,
        )


class Recording:
    """Asks the bundled classifier and writes its answers down."""

    model_version = "recorded"

    def __init__(self) -> None:
        from models.scorer import load_scorer

        self._scorer = load_scorer(None)
        self.lines: dict[str, dict[str, Any]] = {}

    def score(self, requests: Sequence[ScoreRequest]) -> list[ScoreResult]:
        results = self._scorer.score(requests)
        for request, result in zip(requests, results, strict=True):
            self.lines[key(request)] = {
                "key": key(request),
                "scores": {name: round(value, 4) for name, value in result.scores.items() if value >= MIN_SCORE},
                "labels": list(result.labels),
                "spans": [
                    {"start": item.start, "end": item.end, "label": item.label, "score": round(item.score, 4)}
                    for item in result.spans
                ],
                "embedding": base64.b64encode(result.embedding).decode(),
            }
        return results


def shown(change: AlertEvent) -> dict[str, Any]:
    """What of an alert event is written down: everything but the playbook's words."""
    alert = change.alert
    return {
        "type": change.type.value,
        "call_id": alert.call_id,
        "kind": alert.kind.value,
        "level": alert.level.value,
        "version": alert.version,
        "at_ms": alert.call.elapsed_ms,
        "labels": list(alert.labels),
        "reason": alert.reason,
        "step": alert.step,
        "next": alert.suggestion.step,
        "rounds": alert.call.rounds,
        "evidence": [
            [item.segment_id, item.round, [[span.start, span.end, span.label] for span in item.spans]]
            for item in alert.evidence
        ],
    }


def replayed(name: str, scorer: Any) -> list[dict[str, Any]]:
    events = read_events([FOLDER / f"{name}.events.jsonl"])
    changes = replay(events, scorer=scorer, rules=default_rules(), playbook=default_playbook(), gate=partial_gate())
    return [shown(change) for change in changes]


def lines(items: Sequence[Any]) -> str:
    return "".join(json.dumps(item, ensure_ascii=False) + "\n" for item in items)


def update(name: str, *, scores: bool) -> None:
    if scores:
        scripts = [script for path in SETS[name] for script in parse_scripts(path.read_text(encoding="utf-8"))]
        events = [event for script in scripts for event in events_of(script)]
        (FOLDER / f"{name}.events.jsonl").write_text(lines(events), encoding="utf-8")
        recording = Recording()
        replayed(name, recording)
        (FOLDER / f"{name}.scores.jsonl").write_text(lines(list(recording.lines.values())), encoding="utf-8")
    found = replayed(name, Recorded(FOLDER / f"{name}.scores.jsonl"))
    (FOLDER / f"{name}.alerts.jsonl").write_text(lines(found), encoding="utf-8")


@pytest.mark.parametrize("name", SETS)
def test_the_calls_raise_what_is_written_down(name, request):
    wanted = request.config.getoption("--update-golden")
    if wanted:
        update(name, scores=wanted == "scores")
    written = (FOLDER / f"{name}.alerts.jsonl").read_text(encoding="utf-8").splitlines()
    assert replayed(name, Recorded(FOLDER / f"{name}.scores.jsonl")) == [json.loads(line) for line in written]


def test_there_are_enough_calls_of_both_languages():
    events = [event for name in SETS for event in read_events([FOLDER / f"{name}.events.jsonl"])]
    languages = {event.call_id: event.body.language for event in events if isinstance(event.body, CallStarted)}
    assert len(languages) >= 40
    assert {"ja", "en"} <= set(languages.values())

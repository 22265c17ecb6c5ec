"""The bundled model in the whole product: the demo's calls through the detector as it ships."""

from __future__ import annotations

import json

import pytest

from detector.labels import Level
from detector.playbook import default_playbook
from detector.rules import default_rules
from models.corpus.callscript import events_of
from models.scorer import BUNDLED, load_scorer
from server.app import partial_gate
from server.demo import demo_calls
from server.replay import replay
from server.wire import decode_event


@pytest.fixture(scope="module")
def loud() -> dict[str, set[str]]:
    """Kinds of alert at warning or above, by call."""
    events = [decode_event(event) for script in demo_calls() for event in events_of(script)]
    scorer = load_scorer(None)
    found: dict[str, set[str]] = {}
    for change in replay(
        events, scorer=scorer, rules=default_rules(), playbook=default_playbook(), gate=partial_gate()
    ):
        if change.alert.level >= Level.WARNING:
            found.setdefault(change.alert.call_id, set()).add(change.alert.kind.value)
    return found


def test_the_model_is_bundled_whole():
    manifest = json.loads((BUNDLED / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["weights"] == "model.int8.onnx"
    assert load_scorer(None).model_version.startswith(manifest["model_version"])


def test_no_fair_call_of_the_demo_is_warned_about(loud):
    fair = [script.name for script in demo_calls() if not script.meta["harassing"]]
    assert len(fair) >= 8
    assert {name: loud[name] - {"distress"} for name in fair if loud.get(name, set()) - {"distress"}} == {}


def test_most_harassing_calls_of_the_demo_are(loud):
    harassing = [script.name for script in demo_calls() if script.meta["harassing"]]
    caught = [name for name in harassing if loud.get(name)]
    assert len(caught) >= 0.75 * len(harassing), sorted(set(harassing) - set(caught))


def test_a_caller_at_risk_is_raised_without_an_accusation(loud):
    assert loud.get("demo-ja-09") == {"distress"}

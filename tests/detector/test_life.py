"""An alert's life as a decision table."""

from __future__ import annotations

from dataclasses import replace

import pytest

from detector import life
from detector.alerts import Alert, AlertChange, AlertState, Refusal
from detector.events import Action, AlertUnattended, Outcome, SnoozeOver, SupervisorAction
from tests.detector.calls import Call

NOW = {"now_utc": "2026-11-24T09:00:00Z", "now_ms": 1_764_000_000_000}


@pytest.fixture
def alert() -> Alert:
    call = Call()
    call.say("C", "バカ")
    found = call.alert("abuse")
    assert found is not None
    return replace(found, version=3)


def action(kind: Action, **fields) -> SupervisorAction:
    return SupervisorAction(**{"action": kind, "alert_id": "a", "by": "sato", **fields})


@pytest.mark.parametrize(
    ("state", "wanted", "refusal", "message"),
    [
        ("resolved", action(Action.ACKNOWLEDGE), Refusal.CLOSED, "the alert is resolved"),
        ("retracted", action(Action.RESOLVE), Refusal.CLOSED, "the alert is retracted"),
        ("acknowledged", action(Action.ACKNOWLEDGE), Refusal.CONFLICT, "already acknowledged"),
        ("acknowledged", action(Action.ACKNOWLEDGE, version=2), Refusal.CONFLICT, "changed since version 2"),
        ("open", action(Action.ACKNOWLEDGE, note="x" * 4001), Refusal.INVALID, "note: at most 4000 characters"),
        ("open", action(Action.ASSIGN), Refusal.INVALID, "to: expected a person"),
        ("open", action(Action.ASSIGN, to="ito", version=2), None, ""),
        ("open", action(Action.SNOOZE), Refusal.INVALID, "for_s: expected 1 to 600"),
        ("open", action(Action.SNOOZE, for_s=601), Refusal.INVALID, "for_s: expected 1 to 600"),
        ("open", action(Action.SNOOZE, for_s=600, version=2), None, ""),
        (
            "open",
            action(Action.RESOLVE),
            Refusal.INVALID,
            "outcome: expected harassment, complaint or false_alarm",
        ),
        ("snoozed", action(Action.RESOLVE, outcome=Outcome.COMPLAINT), None, ""),
    ],
)
def test_who_may_do_what(alert, state, wanted, refusal, message):
    event, answer = life.act(replace(alert, state=AlertState(state)), wanted, **NOW)
    assert (answer.refusal, answer.message) == (refusal, message)
    assert (event is None) == (refusal is not None)
    if event is not None:
        assert event.alert.version == 4


def test_who_was_first_is_named(alert):
    taken = replace(alert, assigned_to="ito", updated_at="2026-11-24T08:59:00Z")
    event, answer = life.act(taken, action(Action.ASSIGN, to="kato", version=2), **NOW)
    assert event is None
    assert (answer.refusal, answer.first_by, answer.first_at) == (Refusal.CONFLICT, "ito", "2026-11-24T08:59:00Z")


def test_a_snooze_ends_once_and_only_if_it_lasts_still(alert):
    snoozed, _ = life.act(alert, action(Action.SNOOZE, for_s=60), **NOW)
    over = SnoozeOver(alert_id=alert.alert_id)
    woken = life.remind(snoozed.alert, over, now_utc=NOW["now_utc"])
    assert (woken.type, woken.alert.state, woken.alert.snoozed_until_ms) == (AlertChange.UPDATED, AlertState.OPEN, 0)
    assert life.remind(woken.alert, over, now_utc=NOW["now_utc"]) is None


def test_only_an_open_alert_is_passed_on_and_each_tier_once(alert):
    item = AlertUnattended(alert_id=alert.alert_id, tier=1, told=("lead",))
    passed = life.remind(alert, item, now_utc=NOW["now_utc"])
    assert (passed.type, passed.alert.tier, passed.alert.told) == (AlertChange.UNATTENDED, 1, ("lead",))
    assert life.remind(passed.alert, item, now_utc=NOW["now_utc"]) is None
    taken = replace(alert, state=AlertState.ACKNOWLEDGED)
    assert life.remind(taken, item, now_utc=NOW["now_utc"]) is None

"""An alert's life: who may do what to it in which state, as a table.

```
open ──acknowledge──► acknowledged ──resolve──► resolved
 │  ╲──snooze──► snoozed ──(time passes, or the level rises)──► open
 └──retract──► retracted      (any that is not closed)      expire──► expired (notices, at the end of the call)
```
A rise in level opens an acknowledged or snoozed alert again. An open alert that nobody takes is passed on from tier to
tier; whoever opens it again begins at the first. Everything here is pure; who was first is decided by the
order in which actions are folded.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from detector.alerts import CLOSED, ActionAnswer, Alert, AlertChange, AlertEvent, AlertState, Refusal
from detector.events import Action, AlertUnattended, SnoozeOver, SupervisorAction

MAX_SNOOZE_S: Final = 600
MAX_NOTE_CHARS: Final = 4000

_ALLOWED: Final = {
    Action.ACKNOWLEDGE: {AlertState.OPEN, AlertState.SNOOZED},
    Action.ASSIGN: {AlertState.OPEN, AlertState.ACKNOWLEDGED, AlertState.SNOOZED},
    Action.SNOOZE: {AlertState.OPEN, AlertState.ACKNOWLEDGED, AlertState.SNOOZED},
    Action.RESOLVE: {AlertState.OPEN, AlertState.ACKNOWLEDGED, AlertState.SNOOZED},
}


def act(alert: Alert, action: SupervisorAction, *, now_utc: str, now_ms: int) -> tuple[AlertEvent | None, ActionAnswer]:
    """Applies a supervisor's action.

    Args:
        alert: as it stands.
        action: what somebody wants to do.
        now_utc: RFC 3339.
        now_ms: the same moment, milliseconds since 1970.

    Returns:
        The change, or None if it was refused; and the answer to the person. `conflict` names who was first and when.
    """

    def refuse(refusal: Refusal, message: str, by: str = "", at: str = "") -> tuple[None, ActionAnswer]:
        return None, ActionAnswer(alert_id=alert.alert_id, refusal=refusal, message=message, first_by=by, first_at=at)

    if alert.state in CLOSED:
        return refuse(Refusal.CLOSED, f"the alert is {alert.state.value}", alert.resolved_by, alert.updated_at)
    if action.version is not None and action.version < alert.version and _others_work(alert, action):
        first = alert.assigned_to if action.action is Action.ASSIGN else alert.acknowledged_by
        return refuse(
            Refusal.CONFLICT,
            f"changed since version {action.version}",
            first,
            alert.acknowledged_at or alert.updated_at,
        )
    if alert.state not in _ALLOWED[action.action]:
        return refuse(Refusal.CONFLICT, f"already {alert.state.value}", alert.acknowledged_by, alert.acknowledged_at)
    if len(action.note) > MAX_NOTE_CHARS:
        return refuse(Refusal.INVALID, f"note: at most {MAX_NOTE_CHARS} characters")
    changed = replace(alert, version=alert.version + 1, updated_at=now_utc)
    fields: tuple[str, ...]
    if action.action is Action.ACKNOWLEDGE:
        changed = replace(
            changed,
            state=AlertState.ACKNOWLEDGED,
            acknowledged_by=action.by,
            acknowledged_at=now_utc,
            snoozed_until_ms=0,
        )
        kind, fields = AlertChange.ACKNOWLEDGED, ("state", "acknowledged_by")
    elif action.action is Action.ASSIGN:
        if not action.to:
            return refuse(Refusal.INVALID, "to: expected a person")
        changed = replace(changed, assigned_to=action.to)
        kind, fields = AlertChange.ASSIGNED, ("assigned_to",)
    elif action.action is Action.SNOOZE:
        if not 1 <= action.for_s <= MAX_SNOOZE_S:
            return refuse(Refusal.INVALID, f"for_s: expected 1 to {MAX_SNOOZE_S}")
        changed = replace(changed, state=AlertState.SNOOZED, snoozed_until_ms=now_ms + action.for_s * 1000)
        kind, fields = AlertChange.SNOOZED, ("state", "snoozed_until_ms")
    else:
        if action.outcome is None:
            return refuse(Refusal.INVALID, "outcome: expected harassment, complaint or false_alarm")
        changed = replace(
            changed,
            state=AlertState.RESOLVED,
            resolved_by=action.by,
            outcome=action.outcome.value,
            note=action.note,
            snoozed_until_ms=0,
        )
        kind, fields = AlertChange.RESOLVED, ("state", "outcome", "resolved_by")
    return (
        AlertEvent(type=kind, alert=changed, changed=fields),
        ActionAnswer(alert_id=alert.alert_id),
    )


def _others_work(alert: Alert, action: SupervisorAction) -> bool:
    """Whether somebody else acted since: a change by the detector alone is no conflict."""
    if action.action is Action.ACKNOWLEDGE:
        return alert.state is AlertState.ACKNOWLEDGED
    if action.action is Action.ASSIGN:
        return alert.assigned_to not in ("", action.to, action.by)
    return False


def remind(alert: Alert, item: SnoozeOver | AlertUnattended, *, now_utc: str) -> AlertEvent | None:
    """Time has passed: what follows for the alert, or None when it does not wait any more."""
    return wake(alert, now_utc=now_utc) if isinstance(item, SnoozeOver) else pass_on(alert, item, now_utc=now_utc)


def wake(alert: Alert, *, now_utc: str) -> AlertEvent | None:
    """A snooze is over: the alert asks for attention again; None if it is not snoozed any more."""
    if alert.state is not AlertState.SNOOZED:
        return None
    changed = replace(
        alert,
        state=AlertState.OPEN,
        snoozed_until_ms=0,
        version=alert.version + 1,
        updated_at=now_utc,
        waiting_since=now_utc,
        tier=0,
        told=(),
    )
    return AlertEvent(type=AlertChange.UPDATED, alert=changed, changed=("state",))


def pass_on(alert: Alert, item: AlertUnattended, *, now_utc: str) -> AlertEvent | None:
    """Nobody took the alert in time; None if somebody did meanwhile, or if it has come as far already."""
    if alert.state is not AlertState.OPEN or item.tier <= alert.tier:
        return None
    changed = replace(
        alert, tier=item.tier, told=item.told, waiting_since=now_utc, version=alert.version + 1, updated_at=now_utc
    )
    return AlertEvent(type=AlertChange.UNATTENDED, alert=changed, changed=("tier", "told"))


def expire(alert: Alert, *, now_utc: str) -> AlertEvent:
    """The call is over and this alert asks nothing of anybody any more."""
    changed = replace(alert, state=AlertState.EXPIRED, version=alert.version + 1, updated_at=now_utc)
    return AlertEvent(type=AlertChange.EXPIRED, alert=changed, changed=("state",))


def retract(alert: Alert, *, reason: str, now_utc: str) -> AlertEvent:
    """The evidence was taken away: by a final transcript, or because the speakers were swapped."""
    changed = replace(alert, state=AlertState.RETRACTED, version=alert.version + 1, updated_at=now_utc, reason=reason)
    return AlertEvent(type=AlertChange.RETRACTED, alert=changed, changed=("state", "reason"))

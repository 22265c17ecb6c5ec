"""What each kind of sender is sent: bodies under 20 kB, without what was said unless the sender's settings allow it. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from detector.alerts import Alert, AlertChange
from server.delivery import people
from server.delivery.config import SenderConfig, SenderKind

MAX_BODY_BYTES: Final = 20_000
"""Standard Webhooks 1.0 asks for payloads below 20 kB; Teams refuses cards from about 21 kB on."""
MAX_TEXT_CHARS: Final = 500
"""Characters of one utterance in a message."""
CLOUDEVENTS_TYPE: Final = "dev.mamori."
_SAID: Final = ("text", "answer")
_NOTED: Final = ("note",)
_ACTIONS: Final = {
    AlertChange.ACKNOWLEDGED: "acknowledge",
    AlertChange.RESOLVED: "resolve",
    AlertChange.RETRACTED: "resolve",
    AlertChange.EXPIRED: "resolve",
}
_SEVERITY: Final = {"notice": "info", "warning": "warning", "escalate": "error", "critical": "critical"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Telling:
    """One thing to tell one sender.

    Args:
        change: what happened, as the sender is to hear it.
        alert: as it is now.
        message_id: stable for ever.
        tenant: whose alert.
        call_url: page of the call in the console, or empty.
        muted: messages that the sender's budget kept back before this one.
    """

    change: AlertChange
    alert: Alert
    message_id: str
    tenant: str
    call_url: str = ""
    muted: int = 0


def render(config: SenderConfig, telling: Telling) -> bytes:
    """The body for a sender, without secrets: those are put in when it is sent."""
    makers: dict[SenderKind, Callable[[SenderConfig, Telling], dict[str, Any]]] = {
        SenderKind.WEBHOOK: _webhook,
        SenderKind.SLACK: people.slack,
        SenderKind.TEAMS: people.teams,
        SenderKind.PAGERDUTY: _pagerduty,
    }
    return msgspec.json.encode(makers[config.kind](config, telling))


def public_alert(alert: Alert, *, transcript: bool, evidence: bool = True) -> dict[str, Any]:
    """An alert as it leaves the house.

    Args:
        transcript: with what was said (already redacted) and the supervisors' notes.
        evidence: with segment ids, times and labels of the evidence.
    """
    found: dict[str, Any] = msgspec.to_builtins(alert)
    if not evidence:
        found["evidence"] = []
        found["evidence_omitted"] = True
    elif transcript:
        for piece in found["evidence"]:
            piece.update({name: piece[name][:MAX_TEXT_CHARS] for name in _SAID})
    else:
        found["evidence"] = [_without(piece, _SAID) for piece in found["evidence"]]
    return found if transcript else _without(found, _NOTED)


def _without(fields: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if name not in names}


def _webhook(config: SenderConfig, telling: Telling) -> dict[str, Any]:
    message = _envelope(config, telling, public_alert(telling.alert, transcript=config.transcript))
    if len(msgspec.json.encode(message)) >= MAX_BODY_BYTES:
        message = _envelope(config, telling, public_alert(telling.alert, transcript=False, evidence=False))
    return message


def _envelope(config: SenderConfig, telling: Telling, alert: dict[str, Any]) -> dict[str, Any]:
    kind, at = telling.change.value, telling.alert.updated_at
    if config.envelope == "plain":
        return {"type": kind, "timestamp": at, "data": {"alert": alert, "call_url": telling.call_url}}
    return {
        "specversion": "1.0",
        "id": telling.message_id,
        "source": f"/mamori/{telling.tenant}",
        "type": CLOUDEVENTS_TYPE + kind,
        "subject": telling.alert.alert_id,
        "time": at,
        "datacontenttype": "application/json",
        "data": {"alert": alert, "call_url": telling.call_url},
    }


def _pagerduty(config: SenderConfig, telling: Telling) -> dict[str, Any]:
    alert = telling.alert
    action = _ACTIONS.get(telling.change, "trigger")
    event: dict[str, Any] = {"event_action": action, "dedup_key": f"mamori:{alert.alert_id}"}
    if action != "trigger":
        return event
    event["payload"] = {
        "summary": people.headline(telling, config.language)[:1024],
        "source": alert.call_id,
        "severity": _SEVERITY.get(alert.level.value, "warning"),
        "timestamp": alert.updated_at,
        "component": alert.call.queue or "-",
        "group": telling.tenant,
        "class": ",".join(alert.labels) or alert.kind.value,
        "custom_details": dict(people.facts(config, telling)),
    }
    event["client"] = "Mamori"
    if telling.call_url:
        event["client_url"] = telling.call_url
    return event

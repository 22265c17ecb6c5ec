"""What goes on the audit trail of what a person does to an alert."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from detector.alerts import Refusal
from detector.events import SupervisorAction
from server.storage.port import AuditEntry


def action_entry(tenant: str, action: SupervisorAction, utc_ms: int, *, refusal: Refusal | None = None) -> AuditEntry:
    """The entry of an action, which names the version of the alert that it was meant for, and its own id.

    Args:
        utc_ms: when, milliseconds since 1970.
        refusal: why it was refused; None for one that was tried.
    """
    said: Mapping[str, Any] = {
        "version": action.version,
        "to": action.to,
        "for_s": action.for_s or None,
        "outcome": action.outcome.value if action.outcome is not None else None,
        "refused": refusal.value if refusal is not None else None,
        "id": action.action_id,
    }
    return AuditEntry(
        tenant=tenant,
        utc_ms=utc_ms,
        actor=action.by,
        action=f"alert.{action.action.value}" + (".refused" if refusal is not None else ""),
        target=action.alert_id,
        detail=" ".join(f"{name}={value}" for name, value in said.items() if value not in (None, "")),
        once=True,
    )

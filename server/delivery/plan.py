"""Which sender is told of which alert event. Pure: what a sender was told before is an argument.

A sender that a route names is called by the routing of its tenant alone, when the alert comes to its tier. One that no route
names gets every alert of its tenant. Whoever was told of an alert hears of its later life. Provisional alerts, and those of calls that are only observed, never leave.
"""

from __future__ import annotations

import hashlib
from typing import Final

from detector.alerts import CLOSED, Alert, AlertChange, AlertEvent, AlertState
from detector.labels import Level
from server.delivery.config import SenderConfig, SenderKind
from server.routing import RoutingTable, tier_of

_SILENT_FOR_PEOPLE: Final = frozenset({AlertChange.EXPIRED, AlertChange.ASSIGNED, AlertChange.SNOOZED})
"""A messenger does not repeat these to a whole channel."""


def message_id(tenant: str, alert: Alert) -> str:
    """The id of an alert's version for every receiver, the same at each attempt and after each restart."""
    key = "\x1f".join((tenant, alert.alert_id, str(alert.version)))
    return "msg_" + hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def called_by_route(name: str, tenant: str, routing: RoutingTable) -> bool:
    """Whether any route of the tenant names the sender."""
    return any(name in tier.senders for route in routing.routes if route.tenant == tenant for tier in route.tiers)


def plan(
    name: str, config: SenderConfig, routing: RoutingTable, event: AlertEvent, *, told: bool
) -> AlertChange | None:
    """What to tell a sender of an event.

    Args:
        name, config: the sender.
        routing: of the house.
        event: of the sender's tenant.
        told: whether the sender was told of this alert before.

    Returns:
        The change to tell, or None. The first that a sender hears of an alert is `alert.raised` or `alert.unattended`.
    """
    alert = event.alert
    if alert.observed or alert.provisional or (config.queues is not None and alert.call.queue not in config.queues):
        return None
    if told:
        return event.type if _worth(config.kind, event) else None
    if alert.level < Level(config.least_level) or alert.state in CLOSED or alert.state is not AlertState.OPEN:
        return None
    if called_by_route(name, config.tenant, routing):
        tier = routing.tier(config.tenant, alert.call.queue, tier_of(routing, config.tenant, alert))
        if tier is None or name not in tier.senders:
            return None
    return AlertChange.UNATTENDED if event.type is AlertChange.UNATTENDED else AlertChange.RAISED


def _worth(kind: SenderKind, event: AlertEvent) -> bool:
    if kind is SenderKind.WEBHOOK:
        return True
    if kind is SenderKind.PAGERDUTY:
        return event.type not in (AlertChange.ASSIGNED, AlertChange.SNOOZED) and _news(event)
    return event.type not in _SILENT_FOR_PEOPLE and _news(event)


def _news(event: AlertEvent) -> bool:
    """An update is news for a person when the level rose or the alert asks for somebody again."""
    return event.type is not AlertChange.UPDATED or not {"level", "state"}.isdisjoint(event.changed)

"""Rewrites what the state database holds of a segment that was masked after the fact: alerts, their history, the outbox."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import sqlalchemy as sa

from detector.alerts import Alert, Evidence
from server.running_digits import masked_copy
from server.storage.bodies import Bodies
from server.storage.port import Redaction
from server.storage.tables import ALERT_EVENTS, ALERTS, OUTBOX


def masked_alert(alert: Alert, segment_id: str, text: str) -> tuple[Alert, dict[str, str]]:
    """An alert with a segment's text masked in its evidence.

    Returns:
        The alert, and what was replaced by what.
    """
    changed: dict[str, str] = {}

    def masked(piece: Evidence) -> Evidence:
        mine, answers = piece.segment_id == segment_id, piece.answer_segment_id == segment_id
        found = replace(
            piece,
            text=masked_copy(piece.text, text) if mine else piece.text,
            answer=masked_copy(piece.answer, text) if answers else piece.answer,
        )
        pairs = ((piece.text, found.text), (piece.answer, found.answer))
        changed.update({old: new for old, new in pairs if old != new})
        return found

    evidence = tuple(masked(piece) for piece in alert.evidence)
    return (replace(alert, evidence=evidence), changed) if changed else (alert, changed)


def redact(connection: sa.Connection, item: Redaction, bodies: Bodies) -> None:
    """Masks a segment in every alert of its call, in every version of them, and in messages that wait to be sent."""
    mine = (ALERTS.c.tenant == item.tenant) & (ALERTS.c.instance == item.instance)
    replaced: dict[str, dict[str, str]] = {}
    for row, found in bodies.alerts(connection.execute(sa.select(ALERTS).where(mine)).all()):
        alert, changed = masked_alert(found, item.segment_id, item.text)
        if changed:
            replaced.setdefault(row.alert_id, {}).update(changed)
            one = mine & (ALERTS.c.alert_id == row.alert_id)
            connection.execute(ALERTS.update().where(one).values(body=bodies.alert_body(item.tenant, alert)))
    told = (ALERT_EVENTS.c.tenant == item.tenant) & (ALERT_EVENTS.c.instance == item.instance)
    known = sa.select(ALERTS.c.alert_id).where(mine)
    # By alert, which is indexed; its history is short.
    history = sa.select(ALERT_EVENTS).where(told, ALERT_EVENTS.c.alert_id.in_(known))
    for told_row, event in bodies.events(connection.execute(history).all()):
        alert, changed = masked_alert(event.alert, item.segment_id, item.text)
        if changed:
            replaced.setdefault(told_row.alert_id, {}).update(changed)
            body = bodies.event_body(item.tenant, replace(event, alert=alert))
            connection.execute(ALERT_EVENTS.update().where(ALERT_EVENTS.c.cursor == told_row.cursor).values(body=body))
    for alert_id, texts in replaced.items():
        _redact_outbox(connection, item.tenant, alert_id, texts, bodies)


def _redact_outbox(
    connection: sa.Connection, tenant: str, alert_id: str, texts: dict[str, str], bodies: Bodies
) -> None:
    mine = (OUTBOX.c.tenant == tenant) & (OUTBOX.c.alert_id == alert_id)
    for row in connection.execute(sa.select(OUTBOX).where(mine)).all():
        before = body = bodies.message(row) or b""
        for old, new in texts.items():
            body = body.replace(msgspec.json.encode(old)[1:-1], msgspec.json.encode(new)[1:-1])
        if body != before:
            sealed = bodies.message_body(tenant, row.sender, row.message_id, body)
            connection.execute(OUTBOX.update().where(OUTBOX.c.id == row.id).values(body=sealed))

"""The outbox: messages on their way, each in one row from the moment it is planned until it is sent or given up.

Planning reads the alert stream behind a cursor of its own for each sender and moves the cursor in the same transaction as it
puts the messages down, so nothing is lost or planned twice across a crash. A message is marked as sent after it was sent: it
may go out again after a crash, under the same id.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

import sqlalchemy as sa

from server.storage.bodies import Bodies
from server.storage.dialect import insert
from server.storage.tables import OUTBOX, SENDERS

MAX_PENDING: Final = 50_000
"""Messages that wait for one sender; a further one goes to the dead letters at once, reason `overflow`."""
KEEP_SENT_MS: Final = 7 * 86_400_000
"""Rows of sent and muted messages are kept for a week, without their bodies, so that a sender's history shows."""


class MessageState(StrEnum):
    """Where a message is."""

    PENDING = "pending"
    SENT = "sent"
    MUTED = "muted"
    DEAD = "dead"


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One message to one sender.

    Args:
        row_id: its place; 0 before it is stored.
        message_id: stable for its receiver.
        alert_id: empty for a test.
        change: what it tells.
        level: of the alert then.
        body: without secrets; empty once it was sent.
        attempts: made so far.
        next_ms: UTC, not before which the next is made.
        reason: of the last attempt.
    """

    tenant: str
    sender: str
    message_id: str
    alert_id: str
    change: str
    level: str
    created_ms: int
    state: MessageState = MessageState.PENDING
    body: bytes = field(default=b"", repr=False)
    attempts: int = 0
    next_ms: int = 0
    reason: str = ""
    row_id: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SenderState:
    """What is remembered of a sender: how far it has read, and whether its receiver wants no more."""

    cursor: int
    disabled_ms: int | None = None
    disabled_reason: str = ""


class Outbox:
    """The tables of the outbox; every method is one transaction and belongs on a worker thread.

    Args:
        engine: of the state database.
        bodies: seals the messages.
    """

    def __init__(self, engine: sa.Engine, bodies: Bodies) -> None:
        self._engine = engine
        self._bodies = bodies

    def register(self, name: str, tenant: str, *, cursor: int) -> SenderState:
        """Takes up a sender; one that is new begins at the given cursor, not with the past."""
        row = {"name": name, "tenant": tenant, "cursor": cursor, "disabled_reason": ""}
        with self._engine.begin() as connection:
            connection.execute(insert(connection, SENDERS).values(**row).on_conflict_do_nothing())
            found = connection.execute(sa.select(SENDERS).where(SENDERS.c.name == name)).one()
            if found.tenant != tenant:
                connection.execute(SENDERS.update().where(SENDERS.c.name == name).values(row))
                return SenderState(cursor=cursor)
        return SenderState(cursor=found.cursor, disabled_ms=found.disabled_ms, disabled_reason=found.disabled_reason)

    def told(self, name: str, alert_ids: Sequence[str]) -> set[str]:
        """Which of the alerts a sender was told of."""
        query = sa.select(OUTBOX.c.alert_id).where(
            OUTBOX.c.sender == name, OUTBOX.c.alert_id.in_(alert_ids), OUTBOX.c.state != MessageState.MUTED.value
        )
        with self._engine.connect() as connection:
            return set(connection.execute(query).scalars())

    def pushed_since(self, name: str, since_ms: int) -> tuple[int, int]:
        """Alerts below `escalate` that a sender raised since a time, and those that its budget muted since."""
        count = (
            sa.select(OUTBOX.c.state, sa.func.count(OUTBOX.c.alert_id.distinct()))
            .where(
                OUTBOX.c.sender == name,
                OUTBOX.c.created_ms >= since_ms,
                OUTBOX.c.level.in_(("notice", "warning")),
                OUTBOX.c.change.in_(("alert.raised", "alert.unattended")),
            )
            .group_by(OUTBOX.c.state)
        )
        with self._engine.connect() as connection:
            found: dict[str, int] = {row[0]: row[1] for row in connection.execute(count)}
        muted = found.pop(MessageState.MUTED.value, 0)
        return sum(found.values()), muted

    def put(self, name: str, messages: Sequence[Message], *, cursor: int | None) -> None:
        """Puts planned messages down and moves the sender's cursor on if one is given; those there already stay as they are."""
        with self._engine.begin() as connection:
            waiting = connection.execute(
                sa.select(sa.func.count()).where(OUTBOX.c.sender == name, OUTBOX.c.state == MessageState.PENDING.value)
            ).scalar_one()
            for message in messages:
                values = _values(message, self._bodies)
                if message.state is MessageState.PENDING:
                    if waiting >= MAX_PENDING:
                        values |= {"state": MessageState.DEAD.value, "reason": "overflow"}
                    waiting += 1
                adding = insert(connection, OUTBOX).values(values)
                connection.execute(adding.on_conflict_do_nothing(index_elements=["sender", "message_id"]))
            if cursor is not None:
                behind = (SENDERS.c.name == name) & (SENDERS.c.cursor < cursor)
                connection.execute(SENDERS.update().where(behind).values(cursor=cursor))

    def due(self, name: str, now_ms: int, *, limit: int) -> list[Message]:
        """Messages whose time has come, oldest first; of one alert only the first, so that its life is told in order.

        One that cannot be opened becomes a dead letter (`unreadable`): nothing empty is sent in its place.
        """
        earlier = OUTBOX.alias()
        ahead = sa.exists().where(
            earlier.c.sender == OUTBOX.c.sender,
            earlier.c.alert_id == OUTBOX.c.alert_id,
            earlier.c.state == MessageState.PENDING.value,
            earlier.c.id < OUTBOX.c.id,
        )
        query = (
            sa.select(OUTBOX)
            .where(
                OUTBOX.c.sender == name,
                OUTBOX.c.state == MessageState.PENDING.value,
                OUTBOX.c.next_ms <= now_ms,
                ~ahead,
            )
            .order_by(OUTBOX.c.id)
            .limit(limit)
        )
        with self._engine.connect() as connection:
            found = [(row, self._bodies.message(row)) for row in connection.execute(query)]
        unreadable = [row.id for row, body in found if body is None]
        if unreadable:
            dead = {"state": MessageState.DEAD.value, "reason": "unreadable"}
            with self._engine.begin() as connection:
                connection.execute(OUTBOX.update().where(OUTBOX.c.id.in_(unreadable)).values(dead))
        return [_message(row, body) for row, body in found if body is not None]

    def settle(self, message: Message, *, state: MessageState, reason: str, next_ms: int) -> None:
        """Notes what became of an attempt, unless another process has noted a later one; the body of a sent message goes."""
        values: dict[str, Any] = {
            "state": state.value,
            "reason": reason,
            "attempts": message.attempts + 1,
            "next_ms": next_ms,
        }
        if state is MessageState.SENT:
            values["body"] = b""
        unchanged = (OUTBOX.c.id == message.row_id) & (OUTBOX.c.attempts == message.attempts)
        with self._engine.begin() as connection:
            connection.execute(OUTBOX.update().where(unchanged).values(values))

    def unreached(self) -> dict[str, str]:
        """Why the last attempt failed, by sender, where messages wait for another one."""
        query = sa.select(OUTBOX.c.sender, OUTBOX.c.reason).where(
            OUTBOX.c.state == MessageState.PENDING.value, OUTBOX.c.attempts > 0
        )
        with self._engine.connect() as connection:
            return {row.sender: row.reason for row in connection.execute(query.order_by(OUTBOX.c.id))}

    def disable(self, name: str, reason: str, now_ms: int) -> None:
        """The receiver wants no more: what waits for it becomes dead letters."""
        with self._engine.begin() as connection:
            connection.execute(
                SENDERS.update().where(SENDERS.c.name == name).values(disabled_ms=now_ms, disabled_reason=reason)
            )
        self.bury(name)

    def bury(self, name: str) -> None:
        """What waits for a disabled sender becomes dead letters."""
        with self._engine.begin() as connection:
            connection.execute(
                OUTBOX.update()
                .where(OUTBOX.c.sender == name, OUTBOX.c.state == MessageState.PENDING.value)
                .values(state=MessageState.DEAD.value, reason="disabled")
            )

    def enable(self, tenant: str, name: str) -> bool:
        """Takes a disabled sender up again; False when there is no such sender."""
        with self._engine.begin() as connection:
            changed = connection.execute(
                SENDERS.update()
                .where(SENDERS.c.name == name, SENDERS.c.tenant == tenant)
                .values(disabled_ms=None, disabled_reason="")
            )
        return changed.rowcount > 0

    def replay(self, tenant: str, now_ms: int, *, row_id: int | None = None, sender: str | None = None) -> int:
        """Sends dead letters again, from the first attempt on, under their old ids; those whose words are gone stay dead.

        Args:
            row_id, sender: only this one, only this sender's; None for all of the tenant.

        Returns:
            How many.
        """
        which = [OUTBOX.c.tenant == tenant, OUTBOX.c.state == MessageState.DEAD.value, OUTBOX.c.body != b""]
        if row_id is not None:
            which.append(OUTBOX.c.id == row_id)
        if sender is not None:
            which.append(OUTBOX.c.sender == sender)
        values = {"state": MessageState.PENDING.value, "attempts": 0, "next_ms": now_ms, "reason": "replayed"}
        with self._engine.begin() as connection:
            return connection.execute(OUTBOX.update().where(*which).values(values)).rowcount

    def messages(
        self, tenant: str, *, state: MessageState | None = None, sender: str | None = None, limit: int = 200
    ) -> list[Message]:
        """Messages, newest first, without their bodies."""
        query = sa.select(OUTBOX).where(OUTBOX.c.tenant == tenant).order_by(OUTBOX.c.id.desc()).limit(limit)
        if state is not None:
            query = query.where(OUTBOX.c.state == state.value)
        if sender is not None:
            query = query.where(OUTBOX.c.sender == sender)
        with self._engine.connect() as connection:
            return [_message(row, b"") for row in connection.execute(query)]

    def senders(self, tenant: str) -> dict[str, SenderState]:
        """What is remembered of a tenant's senders, by name."""
        with self._engine.connect() as connection:
            return {
                row.name: SenderState(
                    cursor=row.cursor, disabled_ms=row.disabled_ms, disabled_reason=row.disabled_reason
                )
                for row in connection.execute(
                    sa.select(SENDERS).where(SENDERS.c.tenant == tenant).order_by(SENDERS.c.name)
                )
            }

    def counts(self, tenant: str | None = None) -> dict[tuple[str, str], int]:
        """How many messages there are, by (sender, state)."""
        query = sa.select(OUTBOX.c.sender, OUTBOX.c.state, sa.func.count()).group_by(OUTBOX.c.sender, OUTBOX.c.state)
        if tenant is not None:
            query = query.where(OUTBOX.c.tenant == tenant)
        with self._engine.connect() as connection:
            return {(sender, state): number for sender, state, number in connection.execute(query)}

    def purge(self, *, sent_before_ms: int, dead_before_ms: int) -> int:
        """Deletes old rows; returns how many."""
        finished = (MessageState.SENT.value, MessageState.MUTED.value)
        with self._engine.begin() as connection:
            return connection.execute(
                OUTBOX.delete().where(
                    sa.or_(
                        OUTBOX.c.state.in_(finished) & (OUTBOX.c.created_ms < sent_before_ms),
                        (OUTBOX.c.state == MessageState.DEAD.value) & (OUTBOX.c.created_ms < dead_before_ms),
                    )
                )
            ).rowcount


def _values(message: Message, bodies: Bodies) -> dict[str, Any]:
    names = (name for name in message.__dataclass_fields__ if name != "row_id")
    body = bodies.message_body(message.tenant, message.sender, message.message_id, message.body)
    return {name: getattr(message, name) for name in names} | {"state": message.state.value, "body": body}


def _message(row: Any, body: bytes) -> Message:
    return Message(
        tenant=row.tenant,
        sender=row.sender,
        message_id=row.message_id,
        alert_id=row.alert_id,
        change=row.change,
        level=row.level,
        created_ms=row.created_ms,
        state=MessageState(row.state),
        body=body,
        attempts=row.attempts,
        next_ms=row.next_ms,
        reason=row.reason,
        row_id=row.id,
    )

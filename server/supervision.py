"""What people do with alerts, and what happens when they do nothing: actions, snoozes that end, alerts passed on.

An action on a live call is an input of that call: logged, then folded, so that the order of the log says who was first.
For a call that has ended the stored alert is changed under a lock. Every action is put on the audit trail in the same batch
as the action itself; a refused one gets a second entry that says so.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import secrets
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol

from sqlalchemy.exc import SQLAlchemyError

from detector import life
from detector.alerts import ActionAnswer, Alert, AlertEvent, AlertState, Refusal
from detector.desk import utc_text
from detector.events import AlertUnattended, SnoozeOver, SupervisorAction
from detector.replaying import parse_utc_ms
from server.errors import MamoriError, StorageError
from server.groupwriter import Entry
from server.live.call import LiveCall
from server.routing import RoutingTable, passes_on, tier_of, waiting_since
from server.storage import codec
from server.storage.port import AuditEntry, Committed, Log, Row
from server.trail import action_entry

MAX_ACTIONS_WAITING: Final = 1_000
"""Actions on one call that wait for the disk; at more they are refused."""
ANSWER_S: Final = 10.0
"""So long a person waits for the answer to an action while the disk takes nothing; what is queued is stored all the same."""
REMEMBERED_MS: Final = 86_400_000
"""Alerts raised longer ago than a day are not passed on after a restart: a whole shift has seen them."""
RETRY_S: Final = 5.0
"""A reminder that could not be stored is tried again after so long."""

_Follow = Callable[[Committed | MamoriError], None]


class Host(Protocol):
    """What the runtime does for us."""

    log: Log
    calls: dict[tuple[str, str], LiveCall]

    def utc_ms(self) -> int:
        """UTC, milliseconds since 1970."""

    def add_input(
        self, call: LiveCall, value: Any, *, follow: _Follow | None = None, audit: Sequence[AuditEntry] = ()
    ) -> None:
        """Logs an input of a live call, and folds it once it is durable."""

    def write(self, entry: Entry) -> None:
        """Makes an entry durable."""

    def publish(self, tenant: str, instance: str, events: list[AlertEvent], cursors: tuple[int | None, ...]) -> None:
        """Tells everybody of alert events that are durable."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reminder:
    """Something falls due for an alert unless it changes before: its snooze ends, or its tier's time is up."""

    tenant: str
    instance: str
    alert_id: str
    version: int


class Supervision:
    """Actions and reminders of one process.

    Args:
        host: the runtime.
        routing: who is called, and who next.
    """

    def __init__(self, host: Host, routing: RoutingTable) -> None:
        self._host = host
        self.routing = routing
        self._waiting: dict[str, deque[asyncio.Future[ActionAnswer]]] = {}
        self._ended = asyncio.Lock()
        self._due: list[tuple[int, int, _Reminder]] = []
        self._versions: dict[tuple[str, str], int] = {}
        self._order = itertools.count()

    # Actions.

    async def act(self, tenant: str, action: SupervisorAction) -> ActionAnswer:
        """A supervisor acts on an alert; answered once the action and what follows are durable.

        Raises:
            StorageError: the action did not become durable.
        """
        found = await asyncio.to_thread(self._host.log.alert, tenant, action.alert_id)
        if found is None:
            return ActionAnswer(alert_id=action.alert_id, refusal=Refusal.NOT_FOUND, message="no such alert")
        action = replace(action, action_id=secrets.token_hex(8))
        instance, alert = found
        call = self._live(tenant, alert.call_id, instance)
        if call is None:
            answer = await self._act_on_ended(tenant, instance, action)
        else:
            answer = await self._act_on_live(call, action)
        if answer.refusal is not None:
            await self._write(Entry(audit=[self._entry(tenant, action, refusal=answer.refusal)]))
        return answer

    async def _act_on_live(self, call: LiveCall, action: SupervisorAction) -> ActionAnswer:
        answer: asyncio.Future[ActionAnswer] = asyncio.get_running_loop().create_future()
        waiting = self._waiting.setdefault(call.record.instance, deque())
        if len(waiting) >= MAX_ACTIONS_WAITING:
            return ActionAnswer(alert_id=action.alert_id, refusal=Refusal.CONFLICT, message="too many actions at once")

        def follow(result: Committed | MamoriError) -> None:
            if not isinstance(result, MamoriError):
                waiting.append(answer)
            elif not answer.done():  # Whoever asked may be gone.
                answer.set_exception(result)

        self._host.add_input(call, action, follow=follow, audit=[self._entry(call.record.tenant, action)])
        try:
            async with asyncio.timeout(ANSWER_S):
                return await answer
        except TimeoutError:
            raise StorageError("not stored yet: the action takes effect once it is") from None

    def answered(self, instance: str, answer: ActionAnswer) -> Callable[[], None]:
        """The fold of a live call answered the oldest action that waits; returns what tells the person so."""
        waiting = self._waiting.get(instance)
        future = waiting.popleft() if waiting else None

        def tell() -> None:
            if future is not None and not future.done():
                future.set_result(answer)

        return tell

    def forget(self, instance: str) -> None:
        """A call has left memory."""
        self._waiting.pop(instance, None)

    async def _act_on_ended(self, tenant: str, instance: str, action: SupervisorAction) -> ActionAnswer:
        async with self._ended:
            found = await asyncio.to_thread(self._host.log.alert, tenant, action.alert_id)
            if found is None:
                return ActionAnswer(alert_id=action.alert_id, refusal=Refusal.NOT_FOUND, message="no such alert")
            now_ms = self._host.utc_ms()
            event, answer = life.act(found[1], action, now_utc=utc_text(now_ms), now_ms=now_ms)
            if event is not None:
                await self._store(tenant, instance, event, action, audit=[self._entry(tenant, action)])
            return answer

    def _entry(self, tenant: str, action: SupervisorAction, *, refusal: Refusal | None = None) -> AuditEntry:
        return action_entry(tenant, action, self._host.utc_ms(), refusal=refusal)

    # Reminders.

    def restore(self, ours: Callable[[str, str], bool] = lambda _tenant, _instance: True) -> None:
        """Takes up the alerts that waited when the process stopped; of calls, by tenant and instance, that are ours."""
        for tenant, instance, alert in self._host.log.waiting_alerts(since_ms=self._host.utc_ms() - REMEMBERED_MS):
            if not alert.observed and ours(tenant, instance):
                self.changed(tenant, instance, alert)

    def drop(self, lost: Callable[[str, str], bool]) -> None:
        """Forgets the reminders of calls that another process follows from now on."""
        for _, _, reminder in self._due:
            if lost(reminder.tenant, reminder.instance):
                self._versions.pop((reminder.tenant, reminder.alert_id), None)

    def changed(self, tenant: str, instance: str, alert: Alert) -> None:
        """An alert is as given from now on: what it waits for falls due at a time of its own, or not at all."""
        key = (tenant, alert.alert_id)
        self._versions.pop(key, None)
        due_ms = self._due_ms(tenant, alert)
        if due_ms is not None:
            self._versions[key] = alert.version
            self._remind(
                due_ms, _Reminder(tenant=tenant, instance=instance, alert_id=alert.alert_id, version=alert.version)
            )

    def _due_ms(self, tenant: str, alert: Alert) -> int | None:
        if alert.state is AlertState.SNOOZED:
            return alert.snoozed_until_ms
        tier = tier_of(self.routing, tenant, alert)
        if not passes_on(self.routing, alert) or self.routing.last(tenant, alert.call.queue, tier):
            return None
        since_ms = parse_utc_ms(waiting_since(alert))
        return self.routing.due_ms(tenant, alert.call.queue, tier, since_ms=since_ms)

    def _remind(self, due_ms: int, reminder: _Reminder) -> None:
        heapq.heappush(self._due, (due_ms, next(self._order), reminder))

    async def sweep(self) -> None:
        """Does what has fallen due; to be called about once a second."""
        now_ms = self._host.utc_ms()
        while self._due and self._due[0][0] <= now_ms:
            due_ms, _, reminder = heapq.heappop(self._due)
            if self._versions.get((reminder.tenant, reminder.alert_id)) != reminder.version:
                continue
            try:
                await self._fall_due(reminder, now_ms)
            except (MamoriError, SQLAlchemyError):
                self._remind(due_ms + round(RETRY_S * 1000), reminder)
                return

    async def _fall_due(self, reminder: _Reminder, now_ms: int) -> None:
        tenant, instance = reminder.tenant, reminder.instance
        found = await asyncio.to_thread(self._host.log.alert, tenant, reminder.alert_id)
        if found is None or found[1].version != reminder.version:
            return
        alert = found[1]
        item: SnoozeOver | AlertUnattended = SnoozeOver(alert_id=alert.alert_id)
        if alert.state is not AlertState.SNOOZED:
            tier = tier_of(self.routing, tenant, alert)
            following, told = self.routing.next(tenant, alert.call.queue, tier, utc_ms=now_ms)
            item = AlertUnattended(alert_id=alert.alert_id, tier=following, told=told)
        call = self._live(tenant, alert.call_id, instance)
        if call is not None:

            def follow(result: Committed | MamoriError) -> None:
                if isinstance(result, MamoriError):
                    self._remind(now_ms + round(RETRY_S * 1000), reminder)

            self._host.add_input(call, item, follow=follow)
            return
        async with self._ended:
            found = await asyncio.to_thread(self._host.log.alert, tenant, reminder.alert_id)
            event = life.remind(found[1], item, now_utc=utc_text(now_ms)) if found is not None else None
            if event is not None:
                await self._store(tenant, instance, event, item)

    # Storing.

    def _live(self, tenant: str, call_id: str, instance: str) -> LiveCall | None:
        call = self._host.calls.get((tenant, call_id))
        return call if call is not None and call.record.instance == instance and not call.session.state.ended else None

    async def _store(
        self, tenant: str, instance: str, event: AlertEvent, value: Any, *, audit: Sequence[AuditEntry] = ()
    ) -> None:
        row = Row(tenant=tenant, instance=instance, kind=codec.kind_of(value), utc_ms=self._host.utc_ms(), value=value)
        committed = await self._write(Entry(rows=[row], alerts=[(tenant, instance, event)], audit=audit))
        self._host.publish(tenant, instance, [event], committed.cursors)

    async def _write(self, entry: Entry) -> Committed:
        stored: asyncio.Future[Committed] = asyncio.get_running_loop().create_future()

        def done(result: Committed | MamoriError) -> None:
            if stored.done():
                return
            if isinstance(result, MamoriError):
                stored.set_exception(result)
            else:
                stored.set_result(result)

        self._host.write(Entry(rows=entry.rows, alerts=entry.alerts, audit=entry.audit, done=done))
        return await stored

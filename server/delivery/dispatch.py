"""The driver of delivery: plans what the alert stream brings, and lets each sender work on its own.

One task plans; each sender has a task, connections and look-ups of its own, so one that hangs holds up nobody else. The
detector never waits for any of it: planning reads the durable stream after the fact, on threads of delivery's own.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Final, TypeVar

import msgspec

from detector.alerts import AlertChange, AlertEvent
from detector.desk import utc_text
from detector.labels import Level
from server.clock import DAY_MS
from server.delivery import people
from server.delivery.config import SenderConfig
from server.delivery.outbox import KEEP_SENT_MS, Message, MessageState, Outbox
from server.delivery.payloads import Telling, render
from server.delivery.plan import message_id, plan
from server.delivery.post import Poster
from server.delivery.retry import Attempt, Verdict, decide
from server.delivery.secrets import Secrets
from server.hub import Hub
from server.keeper import Keeper
from server.routing import RoutingTable
from server.storage.port import Log, StreamEntry

POLL_S: Final = 1.0
"""How often a sender looks for what has fallen due, or was replayed from the command line, when nothing wakes it."""
AT_ONCE: Final = 4
"""Messages of one sender that are on their way at once, each of another alert."""
PAGE: Final = 500
PURGE_EVERY_S: Final = 3_600.0

T = TypeVar("T")

_log = logging.getLogger("mamori.delivery")


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """How many alerts below `escalate` one sender that reaches people may raise within a window."""

    loud: int
    window_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Sender:
    """One sender with what it needs to post."""

    config: SenderConfig
    poster: Poster


class Delivery:
    """All senders of one process.

    Args:
        log, hub: the alert stream, and the news that something is in it.
        outbox: where messages wait.
        senders, secrets: by name.
        routing: who is called for which queue.
        budget: of senders that reach people.
        utc_ms: UTC, milliseconds since 1970.
        keep_days: for which dead letters are kept.
        observe: hears of counts.
        keeper: keeps the tasks going.
        on_duty: whether this process is the one that sends; of a cluster's only one is. The others take messages in and know
            the senders.
    """

    def __init__(
        self,
        *,
        log: Log,
        hub: Hub,
        outbox: Outbox,
        senders: Mapping[str, SenderConfig],
        secrets: Mapping[str, Secrets],
        routing: RoutingTable,
        budget: Budget,
        utc_ms: Callable[[], int],
        keep_days: int,
        keeper: Keeper,
        observe: Callable[[str, float], None] = lambda _name, _value: None,
        on_duty: Callable[[], bool] = lambda: True,
    ) -> None:
        self._log = log
        self._hub = hub
        self.outbox = outbox
        self.senders = {
            name: Sender(config=config, poster=Poster(config, secrets[name])) for name, config in senders.items()
        }
        self._routing = routing
        self._budget = budget
        self._utc_ms = utc_ms
        self._keep_days = keep_days
        self._observe = observe
        self._keeper = keeper
        self._on_duty = on_duty
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="mamori-delivery")
        self._woken: dict[str, asyncio.Event] = {}
        self._cursors: dict[str, int] = {}
        self.unreached: dict[str, str] = {}
        """Senders whose last attempt did not reach the receiver, with the reason."""
        self.failures: dict[str, str] = {}
        """What of ours fails now, by sender, as the error's class name."""

    async def start(self) -> None:
        """Takes the senders up and begins to work; does nothing without senders."""
        if not self.senders:
            return
        last = await self._do(self._log.cursor)
        for name, sender in self.senders.items():
            await self._register(name, sender.config, last)
            self._woken[name] = asyncio.Event()
        self._keeper.keep("delivery", self._plan_all)
        for name, sender in self.senders.items():
            self._keeper.keep(f"delivery_{name}", partial(self._work, name, sender))

    async def _register(self, name: str, config: SenderConfig, last: int) -> None:
        state = await self._do(partial(self.outbox.register, name, config.tenant, cursor=last))
        self._cursors[name] = state.cursor

    async def stop(self) -> None:
        """Stops; what is on its way is sent again after the next start, under the same ids."""
        await self._keeper.stop()
        for sender in self.senders.values():
            await sender.poster.close()
        self._threads.shutdown(wait=False, cancel_futures=True)

    def wake(self, name: str) -> None:
        """Something may have fallen due for a sender."""
        if name in self._woken:
            self._woken[name].set()

    async def test(self, name: str) -> str:
        """Puts a message for people to see into a sender's outbox; returns its id."""
        sender, now_ms = self.senders[name], self._utc_ms()
        identity = f"msg_test_{now_ms}_{random.randrange(16**8):08x}"
        message = Message(
            tenant=sender.config.tenant,
            sender=name,
            message_id=identity,
            alert_id="",
            change="test",
            level="none",
            created_ms=now_ms,
            next_ms=now_ms,
            body=msgspec.json.encode(people.test_message(sender.config, identity, utc_text(now_ms))),
        )
        await self._do(partial(self.outbox.put, name, [message], cursor=None))
        self.wake(name)
        return identity

    async def _do(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    @contextlib.contextmanager
    def _noting(self, name: str) -> Iterator[None]:
        """Notes that something of a sender failed, and lets the task live: it is tried again after `POLL_S`."""
        try:
            yield
            self.failures.pop(name, None)
        except Exception as error:
            first = error.exceptions[0] if isinstance(error, ExceptionGroup) else error
            self.failures[name] = type(first).__name__
            _log.error("delivery: %s: %s, tried again", name, self.failures[name])

    # Planning.

    async def _plan_all(self) -> None:
        purged_s = -PURGE_EVERY_S
        loop = asyncio.get_running_loop()
        bell = asyncio.Event()
        self._hub.ring(bell)
        while True:
            bell.clear()
            if not self._on_duty():
                await self._stand_by()
                await asyncio.sleep(POLL_S)
                continue
            for name, sender in self.senders.items():
                with self._noting(name):
                    await self._plan(name, sender.config)
            if loop.time() - purged_s >= PURGE_EVERY_S:
                purged_s = loop.time()
                with self._noting("purge"):
                    await self._do(self._purge)
            await _rung(bell)

    async def _stand_by(self) -> None:
        """Another process sends and moves the cursors on; what it does not reach is shown here too."""
        self._cursors.clear()
        self.failures.clear()
        with self._noting("outbox"):
            self.unreached = await self._do(self.outbox.unreached)

    async def _plan(self, name: str, config: SenderConfig) -> None:
        while True:
            last = await self._do(self._log.cursor)
            if name not in self._cursors:
                await self._register(name, config, last)
            after = self._cursors[name]
            if last <= after:
                return
            entries = await self._do(partial(self._log.stream, config.tenant, after=after, limit=PAGE))
            upto = entries[-1].cursor if len(entries) == PAGE else max(last, entries[-1].cursor if entries else 0)
            put = await self._do(partial(self._put, name, config, entries, upto))
            self._cursors[name] = upto
            if put:
                self.wake(name)

    def _put(self, name: str, config: SenderConfig, entries: list[StreamEntry], upto: int) -> int:
        told = self.outbox.told(name, [entry.event.alert.alert_id for entry in entries])
        now_ms = self._utc_ms()
        loud, muted = self.outbox.pushed_since(name, now_ms - self._budget.window_ms) if entries else (0, 0)
        messages: list[Message] = []
        for entry in entries:
            alert_id = entry.event.alert.alert_id
            change = plan(name, config, self._routing, entry.event, told=alert_id in told)
            if change is None:
                continue
            counted = alert_id not in told and config.kind.pushes and entry.event.alert.level < Level.ESCALATE
            mute = counted and loud >= self._budget.loud
            if not mute:
                told.add(alert_id)
            loud, muted = loud + (counted and not mute), muted + mute
            messages.append(self._message(name, config, entry.event, change, now_ms, muted=muted, mute=mute))
        self.outbox.put(name, messages, cursor=upto)
        return len(messages)

    def _message(
        self,
        name: str,
        config: SenderConfig,
        event: AlertEvent,
        change: AlertChange,
        now_ms: int,
        *,
        muted: int,
        mute: bool,
    ) -> Message:
        alert = event.alert
        identity = message_id(config.tenant, alert)
        url = next((link.href for link in alert.links if link.rel == "call"), "")
        told_muted = muted if config.kind.pushes else 0
        telling = Telling(
            change=change, alert=alert, message_id=identity, tenant=config.tenant, call_url=url, muted=told_muted
        )
        return Message(
            tenant=config.tenant,
            sender=name,
            message_id=identity,
            alert_id=alert.alert_id,
            change=change.value,
            level=alert.level.value,
            created_ms=now_ms,
            next_ms=now_ms,
            state=MessageState.MUTED if mute else MessageState.PENDING,
            reason="budget" if mute else "",
            body=b"" if mute else render(config, telling),
        )

    def _purge(self) -> None:
        now_ms = self._utc_ms()
        self.outbox.purge(sent_before_ms=now_ms - KEEP_SENT_MS, dead_before_ms=now_ms - self._keep_days * DAY_MS)

    # Sending.

    async def _work(self, name: str, sender: Sender) -> None:
        woken = self._woken[name]
        flying: dict[int, asyncio.Task[None]] = {}
        try:
            while True:
                woken.clear()
                with self._noting(name):
                    due = await self._do(partial(self._due, name, sender, frozenset(flying))) if self._on_duty() else []
                    for message in due:
                        flying[message.row_id] = asyncio.create_task(self._fly(name, sender, message, flying))
                await _rung(woken)
        finally:
            landing = list(flying.values())
            for task in landing:
                task.cancel()
            await asyncio.gather(*landing, return_exceptions=True)

    def _due(self, name: str, sender: Sender, flying: frozenset[int]) -> list[Message]:
        state = self.outbox.senders(sender.config.tenant)[name]
        if state.disabled_ms is not None:
            self.outbox.bury(name)
            return []
        due = self.outbox.due(name, self._utc_ms(), limit=AT_ONCE + len(flying))
        return [message for message in due if message.row_id not in flying][: AT_ONCE - len(flying)]

    async def _fly(self, name: str, sender: Sender, message: Message, flying: dict[int, asyncio.Task[None]]) -> None:
        with self._noting(name):
            await self._send(name, sender, message)
            self._woken[name].set()  # Not after a failure: then the next look comes by itself, after a pause.
        flying.pop(message.row_id, None)

    async def _send(self, name: str, sender: Sender, message: Message) -> None:
        try:
            attempt = await sender.poster.post(message, at=datetime.fromtimestamp(self._utc_ms() / 1000, tz=UTC))
        except Exception as error:  # A sender's bug must not end its task: the message is tried again, then given up.
            _log.error("delivery: %s: attempt failed: %s", name, type(error).__name__)
            attempt = Attempt(error="failed")
        decision = decide(sender.config.kind, attempt, made=message.attempts + 1, chance=random.random())
        state = {
            Verdict.SENT: MessageState.SENT,
            Verdict.RETRY: MessageState.PENDING,
            Verdict.DEAD: MessageState.DEAD,
            Verdict.GONE: MessageState.DEAD,
        }[decision.verdict]
        next_ms = self._utc_ms() + round(decision.wait_s * 1000)
        if decision.verdict is Verdict.GONE:  # First of all: nothing more may go out once this message is settled.
            await self._do(partial(self.outbox.disable, name, decision.reason, self._utc_ms()))
            _log.warning("delivery: %s: disabled, its receiver wants no more (410)", name)
        await self._do(partial(self.outbox.settle, message, state=state, reason=decision.reason, next_ms=next_ms))
        if decision.verdict in (Verdict.DEAD, Verdict.GONE):
            _log.warning("delivery: %s: message %s given up: %s", name, message.message_id, decision.reason)
        self._observe(f"delivery_{sender.config.kind.value}_{decision.verdict.value}", 1)
        if decision.verdict is Verdict.SENT:
            self.unreached.pop(name, None)
        else:
            self.unreached[name] = decision.reason


async def _rung(bell: asyncio.Event) -> None:
    """Waits until the bell rings, at most for `POLL_S`."""
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(bell.wait(), POLL_S)

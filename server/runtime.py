"""The driver: connects calls, log, engine and bus. It performs what the pure core asks for, and nothing else.

Everything that goes into a call is durable before it is folded, in the order of the log, so that a restart that folds the
log again comes to the same alerts. One event loop owns all calls; inference and disk run on threads of their own.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import logging
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final, Protocol

import msgspec

from detector.alerts import ActionAnswer, AlertChange, AlertEvent, Noted
from detector.desk import Output
from detector.events import (
    AgentHelp,
    CallEnded,
    CallEvent,
    CallReopened,
    CallStarted,
    ContextSet,
    EarlierComplaint,
    FeedLost,
    FeedRestored,
    Gap,
    MonitoringState,
    Segment,
    SegmentRedacted,
    SupervisorAction,
    TimerFired,
)
from detector.ledger import MAX_EARLIER, left_by
from detector.playbook import Playbook
from detector.replaying import media_time_ms, parse_utc_ms
from detector.scoring import ScoreRequest, ScoreResult, Unscored, UnscoredReason
from detector.session import CallSession, never
from detector.timeline import IDLE
from models.engine import Engine
from server import intake
from server.clock import Clock
from server.errors import EventError, MamoriError
from server.groupwriter import Entry, GroupWriter
from server.hub import Hub, Published
from server.keeper import Keeper
from server.links import LinkTemplates
from server.livecall import SNAPSHOT_EVERY, LiveCall
from server.recovery import read_back
from server.redaction import HousePatterns
from server.routing import RoutingTable
from server.rulebook import Rulebook
from server.shadow import Shadow
from server.storage import codec
from server.storage.port import AuditEntry, CallRecord, Committed, LedgerEntry, Log, Redaction, Row, Snapshot
from server.storage.redactions import masked_alert
from server.supervision import Supervision
from server.watch import SHEDDING, Watch

SCORE_WAIT_S: Final = 2.0
"""A score that is later than this is not waited for (design, "Order")."""
LOST_AFTER_S: Final = 10.0
"""A call whose connection is gone for so long is not being watched."""
IDLE_END_S: Final = 900.0
STATUS_EVERY_S: Final = 1.0
STATUSES_PER_S: Final = 1_000
"""Statuses a second that say no more than that time went on; with more calls each of them says so less often."""
SWEEP_CALLS: Final = 50
"""Calls that are looked after in one turn of the loop."""
DRIFT_MS: Final = 50
"""Media time that runs ahead of the clock by more than this brings the call's timers forward."""
TICK_S: Final = 0.1
SWEEP_S: Final = 1.0
RETRY_AFTER_MS: Final = 2_000
DAY_MS: Final = 86_400_000
MAX_REFUSED: Final = 20_000
"""Refused calls that are remembered, twice the calls that one process is to carry; an older one costs another look-up."""
DRAIN_S: Final = 1.5
"""So long a server that is told to end waits for its log."""
FAREWELL_S: Final = 0.1
"""Time for the last acknowledgements to go out before the sockets close."""
INSIST_S: Final = 1.0
"""After so long what the log did not take, and must, is given to it again."""

_log = logging.getLogger("mamori.runtime")


class Feed(Protocol):
    """Whoever sends events: told what became of them."""

    tenant: str

    def acked(self, call_id: str, seq: int) -> None:
        """Everything of the call up to `seq` is durable."""

    def refused(self, error: EventError, *, expected: int | None = None, retry_after_ms: int | None = None) -> None:
        """An event was refused."""

    def settled(self) -> None:
        """One event that counted against the window does not any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds of the runtime, all from the settings."""

    max_calls: int = 12_000
    min_free_bytes: int = 0
    idle_end_s: float = IDLE_END_S
    lost_after_s: float = LOST_AFTER_S


@dataclass(frozen=True, slots=True)
class _Early:
    event: CallEvent | None
    tombstone: codec.Tombstone | None
    feed: Feed
    received_s: float
    counted: bool = True
    """Whether it counts against the window of its connection; what waits for an earlier event does not."""


class Runtime:
    """All live calls of one process.

    Args:
        log: where everything is made durable.
        engine: scores utterances.
        hub: hears of alerts, statuses and segments.
        rulebook: the rules in force, and those that older calls began with.
        playbook: of the house.
        clock: monotonic and UTC.
        limits: bounds.
        gate: whether a partial is worth scoring.
        observe: hears of counts and durations.
        routing: who is called for an alert, and who next.
        links: of the house, put on every alert.
        shadow: follows the calls under candidate rules, or None.
        observing: calls that begin now are recorded and alert nobody.
        patterns: of the house, for personal data that only it can describe.
    """

    def __init__(
        self,
        *,
        log: Log,
        engine: Engine,
        hub: Hub,
        rulebook: Rulebook,
        playbook: Playbook,
        clock: Clock,
        limits: Limits,
        gate: Callable[[str, str], bool] = never,
        observe: Callable[[str, float], None] = lambda _name, _value: None,
        routing: RoutingTable | None = None,
        shadow: Shadow | None = None,
        observing: bool = False,
        patterns: HousePatterns = (),
        links: LinkTemplates | None = None,
    ) -> None:
        self.log = log
        self.engine = engine
        self.hub = hub
        self.rules = rulebook.current
        self.rulebook = rulebook
        self.playbook = playbook
        self.clock = clock
        self.limits = limits
        self.gate = gate
        self.observe = observe
        self.shadow = shadow
        self.observing = observing
        self.patterns = patterns
        self.links = links or LinkTemplates()
        self.supervision = Supervision(self, routing or RoutingTable())
        self.calls: dict[tuple[str, str], LiveCall] = {}
        # Known to nobody and refused: each of its further events would ask the database again, on the loop, and an
        # overloaded server would spend itself on saying no.
        self._refused: dict[tuple[str, str], None] = {}
        self.ready = False
        self.draining = False
        self.keeper = Keeper(clock.monotonic, self._count)
        self.watch = Watch(engine, log, self.keeper, clock.monotonic)
        self.trouble = ""
        """Why not every call is fully watched now, or empty."""
        self._timers: list[tuple[float, int, LiveCall]] = []
        self._timer_at: dict[int, float] = {}
        self._order = itertools.count()
        self._expiries: deque[tuple[float, LiveCall, str]] = deque()
        self._gapped: set[tuple[str, str]] = set()
        self._results: deque[tuple[LiveCall, ScoreResult | Unscored]] = deque()
        self._woken = False
        self._degraded: dict[str, str] = {}
        self._tick_due_s = 0.0
        self._lookups: set[asyncio.Task[list[EarlierComplaint]]] = set()
        self._unsaved = 0
        self._durable = 0

    async def start(self) -> None:
        """Restores the open calls and starts the clockwork."""
        self._loop = asyncio.get_running_loop()
        self._writer = GroupWriter(self.log, self._loop, lambda error: self.keeper.failed("fold", error))
        self._check_disk()
        self._recover()
        self.supervision.restore()
        self.keeper.every("tick", TICK_S, self._tick_once)
        self.keeper.every("sweep", SWEEP_S, self._sweep_once)
        self.ready = True

    async def drain(self) -> None:
        """Takes no more events, and waits for a while until what was taken is durable and those who sent it know."""
        self.ready, self.draining = False, True
        await self._quiet(DRAIN_S)
        await asyncio.sleep(FAREWELL_S)
        self.hub.close()

    async def stop(self) -> None:
        """Stops taking events, makes everything durable, writes snapshots."""
        self.ready, self.draining = False, True
        await self.keeper.stop()
        if not await self._quiet(DRAIN_S):
            return
        for call in self.calls.values():
            # An alert that is not durable yet must come out of the log again.
            if call.session.idle and call.folded and not call.saving:
                self._writer.add(Entry(snapshots=[call.snapshot()]))
        await self._quiet(DRAIN_S)

    async def _quiet(self, limit_s: float) -> bool:
        """Waits until nothing is on its way to the log; False when it took too long."""
        try:
            async with asyncio.timeout(limit_s):
                await self._writer.quiet()
        except TimeoutError:
            _log.error("the log does not take what is left, it is not acknowledged")
            return False
        return True

    @property
    def disk_low(self) -> bool:
        """Whether there is too little room for another call."""
        return self.watch.disk_low

    # Events of platforms.

    def accept(self, feed: Feed, event: CallEvent) -> bool:
        """Takes an event.

        Returns:
            Whether it counts against the connection's window until `feed.settled()`.

        Raises:
            EventError: `overloaded`, `call_ended`, or `gap` with the expected number in its message.
        """
        call = self._call_for(feed, event)
        if call is None:
            return False
        call.owner = feed
        return self._place(call, event.seq, _Early(event, None, feed, self.clock.monotonic()))

    def bury(self, feed: Feed, error: EventError) -> bool:
        """Logs a tombstone for an event that was refused for good; returns as `accept` does."""
        if error.call_id is None or error.seq is None:
            return False
        call = self.calls.get((feed.tenant, error.call_id))
        if call is None:
            try:
                call = self._call_for(feed, CallEvent(call_id=error.call_id, body=CallStarted(), seq=error.seq))
            except EventError:
                return False
        if call is None:
            return False
        early = _Early(None, codec.Tombstone(code=error.code), feed, self.clock.monotonic())
        try:
            return self._place(call, error.seq, early)
        except EventError:
            return False

    def consumed(self, tenant: str, call_id: str) -> int | None:
        """The number up to which a call's events are durable, for `resume`; None when nothing is known of it."""
        call = self.calls.get((tenant, call_id))
        if call is not None:
            return call.durable_seq if call.durable_seq >= 0 else None
        record = self.log.find_call(tenant, call_id)
        return record.next_seq - 1 if record is not None and record.next_seq > 0 else None

    def language_of(self, tenant: str, call_id: str) -> str:
        """The language of a live call, or the default of an unknown one."""
        call = self.calls.get((tenant, call_id))
        return call.session.state.language if call is not None else "ja"

    def adopt(self, feed: Feed, call_id: str) -> None:
        """A connection says that it feeds this call from now on."""
        call = self.calls.get((feed.tenant, call_id))
        if call is not None:
            call.owner = feed
            call.lost_at_s = None

    def disconnected(self, feed: Feed) -> None:
        """A connection is gone; its calls count as lost unless somebody resumes them in time."""
        now = self.clock.monotonic()
        for call in self.calls.values():
            if call.owner is feed:
                call.owner, call.lost_at_s = None, now + self.limits.lost_after_s
            for seq in [seq for seq, item in call.waiting.items() if item.feed is feed]:
                del call.waiting[seq]
            if not call.waiting:
                # Who comes back has the whole time again to fill the gap.
                call.gap_since = None

    def _call_for(self, feed: Feed, event: CallEvent) -> LiveCall | None:
        """The call of an event; None when it has ended and the event was acknowledged again."""
        key = (feed.tenant, event.call_id)
        call = self.calls.get(key)
        fresh = isinstance(event.body, CallStarted) and event.seq in (0, None)
        if call is not None:
            if not (call.ending or call.session.state.ended):
                return call
            if call.idling and not call.session.state.ended:
                raise EventError(
                    "overloaded",
                    "the call is ending for want of events, send it again",
                    call_id=event.call_id,
                    seq=event.seq,
                    retry=True,
                )
            if event.seq is not None and event.seq < call.next_seq and not (fresh and call.session.state.ended):
                return call
            if call.session.state.end_reason == IDLE:
                self._reopen(call)
                return call
            if not fresh or not call.session.state.ended:
                raise self._ended(event)
            self._forget(call)
            return self._open(key, event)
        record = None if key in self._refused else self.log.find_call(*key)
        if record is None:
            self._refused[key] = None  # until it is opened
            if len(self._refused) > MAX_REFUSED:
                del self._refused[next(iter(self._refused))]
            return self._open(key, event)
        if record.ended_ms is not None and record.end_reason != IDLE:
            if event.seq is not None and event.seq < record.next_seq and not fresh:
                feed.acked(event.call_id, record.next_seq - 1)
                return None
            if not fresh:
                raise self._ended(event)
            return self._open(key, event)
        call = self._restore([(record, None)])[0]
        if record.ended_ms is not None:
            self._reopen(call)
        return call

    def _reopen(self, call: LiveCall) -> None:
        """A call that ended for want of events goes on: open, or a restart would not restore it."""
        call.ending = call.idling = False
        call.record = replace(call.record, ended_ms=None, end_reason="")
        self.add_input(call, CallReopened(), calls=[call.record])

    def _ended(self, event: CallEvent) -> EventError:
        return EventError("call_ended", "the call has ended", call_id=event.call_id, seq=event.seq)

    def _open(self, key: tuple[str, str], event: CallEvent) -> LiveCall:
        if len(self.calls) >= self.limits.max_calls or self.draining or self.watch.full():
            self.observe("refused", 1)
            raise EventError(
                "overloaded", "no room for another call now", call_id=event.call_id, seq=event.seq, retry=True
            )
        now_ms, now_s = self.clock.utc_ms(), self.clock.monotonic()
        started_ms = parse_utc_ms(event.at) if event.at else now_ms
        record = CallRecord(
            tenant=key[0],
            instance=f"{key[1]}@{now_ms}",
            call_id=key[1],
            queue="",
            agent_id="",
            language="ja",
            started_ms=started_ms,
        )
        context = ContextSet(
            rules_version=self.rules.version,
            rules_digest=self.rulebook.digest,
            model_version=self.engine.model_version,
            observed=self.observing,
        )
        if self.shadow is not None:
            self.shadow.open(record)
        call = LiveCall(
            record=record, session=self._session(record), anchor_s=now_s, last_event_s=now_s, opening=context
        )
        self.calls[key] = call
        self._refused.pop(key, None)
        return call

    def _session(self, record: CallRecord) -> CallSession:
        return CallSession(
            tenant=record.tenant,
            call_id=record.call_id,
            instance=record.instance,
            rules=self.rules,
            playbook=self.playbook,
            gate=self.gate,
            rulebook=self.rulebook.find,
        )

    def _place(self, call: LiveCall, seq: int | None, early: _Early) -> bool:
        placing, number = intake.place(call, seq)
        if placing is intake.Placing.SEEN:
            if number <= call.durable_seq:
                early.feed.acked(call.record.call_id, call.durable_seq)
            return False
        if placing is intake.Placing.BEYOND:
            if call.gap_since is None:
                call.gap_since = early.received_s
            if early.received_s - call.gap_since < intake.GAP_S:
                raise EventError(
                    "gap",
                    f"expected seq {call.next_seq}",
                    field="seq",
                    call_id=call.record.call_id,
                    seq=number,
                    retry=True,
                    expected=call.next_seq,
                )
            self._go_on(call, number)
        elif placing is intake.Placing.EARLY:
            intake.wait(call, number, replace(early, counted=False), early.received_s)
            self._gapped.add(call.key)
            return False
        self._take(call, number, early)
        self._take_due(call)
        return True

    def _take_due(self, call: LiveCall) -> None:
        for number, early in intake.due(call):
            self._take(call, number, early)
        if not call.waiting:
            self._gapped.discard(call.key)

    def _take(self, call: LiveCall, seq: int, early: _Early) -> None:
        value: Any = early.tombstone if early.event is None else early.event.body
        call.next_seq = seq + 1
        masked: list[SegmentRedacted] = []
        if isinstance(value, Segment):
            value, masked = call.running.take(value, call.session.state.language)
        if isinstance(value, CallEnded):
            call.ending = True
        if call.session.state.monitoring.lost == "disconnected" and early.event is not None:
            self.add_input(call, FeedRestored())
        row = Row(
            tenant=call.record.tenant,
            instance=call.record.instance,
            kind=codec.kind_of(value),
            utc_ms=self.clock.utc_ms(),
            seq=seq,
            value=value,
        )
        call.last_event_s = early.received_s
        # The call's record and context go with its first event, and again until they are durable: no event may be
        # acknowledged whose call a restart would not find.
        opening, call.opening = call.opening, None
        first = [self._own_row(call, opening)] if opening is not None else []

        def done(result: Committed | MamoriError) -> None:
            if early.counted:
                early.feed.settled()
            if isinstance(result, MamoriError) or seq != call.durable_seq + 1:
                call.opening = opening or call.opening
                self._void(call, seq, early.feed)
                return
            call.durable_seq = seq
            for feed in self._listening(call, early.feed):
                feed.acked(call.record.call_id, seq)
            self._durable += 1
            for item, position in zip((*first, row), result.positions, strict=True):
                self._fold(call, item, position, received_s=early.received_s)
            if call.next_seq <= seq:
                # An event behind it was void after it had come again.
                call.next_seq = seq + 1
                self._take_due(call)

        self._writer.add(Entry(rows=[*first, row], calls=[call.record] if first else (), done=done))
        for item in masked:
            self._mask(call, item)

    def _mask(self, call: LiveCall, item: SegmentRedacted) -> None:
        """A stored segment must be masked: its copies are rewritten, and only then does the fold hear of it."""
        call.masking[item.segment_id] = item.text
        tenant, instance = call.record.tenant, call.record.instance

        def follow(result: Committed | MamoriError) -> None:
            if isinstance(result, MamoriError):
                self._degrade(tenant, "storage")
                self._loop.call_later(1.0, self._mask, call, item)

        redaction = Redaction(tenant=tenant, instance=instance, segment_id=item.segment_id, text=item.text)
        self.add_input(call, item, follow=follow, redactions=[redaction])

    def _void(self, call: LiveCall, seq: int, feed: Feed) -> None:
        """An event did not become durable, or one before it did not: all after it must come again."""
        call.next_seq = min(call.next_seq, call.durable_seq + 1)
        call.ending = call.session.state.ended
        # What waits behind it waits for us, not for the platform.
        call.gap_since = self.clock.monotonic() if call.waiting else None
        error = EventError("overloaded", "not stored, send it again", call_id=call.record.call_id, seq=seq, retry=True)
        for listening in self._listening(call, feed):
            listening.refused(error, retry_after_ms=RETRY_AFTER_MS)

    def _listening(self, call: LiveCall, sender: Feed) -> tuple[Feed, ...]:
        """Who is told of an event: its sender, and who feeds the call by now and may have sent it again."""
        return (sender,) if call.owner is None or call.owner is sender else (sender, call.owner)

    def _go_on(self, call: LiveCall, number: int) -> None:
        """What is missing before an event is given up; what waits of it is taken."""
        while call.waiting and min(call.waiting) < number:
            self._give_up(call, min(call.waiting) - 1)
            self._take_due(call)
        if call.next_seq < number:
            self._give_up(call, number - 1)

    def _give_up(self, call: LiveCall, last: int) -> None:
        """The call goes on without the events up to `last`."""
        gap = Gap(first_seq=call.next_seq, last_seq=last)
        call.next_seq, call.gap_since = last + 1, None

        def follow(result: Committed | MamoriError) -> None:
            if isinstance(result, Committed):
                call.durable_seq = max(call.durable_seq, last)

        self.add_input(call, gap, follow=follow)

    # Inputs of the server's own.

    def add_input(
        self,
        call: LiveCall,
        value: Any,
        *,
        follow: Callable[[Committed | MamoriError], None] | None = None,
        audit: Sequence[AuditEntry] = (),
        redactions: Sequence[Redaction] = (),
        calls: Sequence[CallRecord] = (),
    ) -> None:
        """Logs an input that the server adds to a call and folds it once it is durable."""
        now_s, row = self.clock.monotonic(), self._own_row(call, value)

        def done(result: Committed | MamoriError) -> None:
            if follow is not None:
                follow(result)
            if isinstance(result, Committed):
                self._fold(call, row, result.positions[0], received_s=now_s)

        self._writer.add(Entry(rows=[row], audit=audit, redactions=redactions, calls=calls, done=done))

    def _count(self, name: str, value: float) -> None:
        self.observe(name, value)

    def _own_row(self, call: LiveCall, value: Any) -> Row:
        return Row(
            tenant=call.record.tenant,
            instance=call.record.instance,
            kind=codec.kind_of(value),
            utc_ms=self.clock.utc_ms(),
            value=value,
        )

    def _insist(self, call: LiveCall, value: Any) -> None:
        """Adds an input that must not be missing, and tries again while the log does not take it."""

        def follow(result: Committed | MamoriError) -> None:
            if isinstance(result, MamoriError):
                self._degrade(call.record.tenant, "storage")
                self._loop.call_later(INSIST_S, self._insist, call, value)

        if self.calls.get(call.key) is call:
            self.add_input(call, value, follow=follow)

    def help(self, tenant: str, call_id: str, *, note: str, by: str) -> bool:
        """The help button of a call was pressed outside the feed; False when there is no such live call."""
        call = self.calls.get((tenant, call_id))
        if call is None or call.session.state.ended:
            return False
        now_ms = call.media_now_ms(self.clock.monotonic())
        # In the platform's time, like every event that may have come from there.
        offset_ms = max(0, now_ms - call.session.state.timeline.shift_ms)
        self.add_input(call, AgentHelp(offset_ms=offset_ms, note=note, by=by))
        return True

    async def act(self, tenant: str, action: SupervisorAction) -> ActionAnswer:
        """A supervisor acts on an alert; see `Supervision.act`."""
        return await self.supervision.act(tenant, action)

    # The fold, and what follows from it.

    def _fold(self, call: LiveCall, row: Row, position: int, *, received_s: float, late: bool = False) -> None:
        call.position = max(call.position, position)
        call.folded += 1
        if row.kind == "tombstone":
            return
        try:
            outputs = call.session.receive(row.value, utc_ms=row.utc_ms, late=late)
        except Exception as error:
            self._stumbled(call, error)
            return
        if self.shadow is not None:
            self.shadow.fold(call.record, row.value, outputs, utc_ms=row.utc_ms)
        ahead_ms = 0
        if row.seq is not None and media_time_ms(row.value) is not None:
            ahead_ms = call.session.latest_ms - call.media_now_ms(received_s)
            call.anchor(call.session.latest_ms, received_s)
        if isinstance(row.value, SegmentRedacted):
            call.masking.pop(row.value.segment_id, None)
            # The last snapshot still holds what was masked: another takes its place as soon as may be.
            call.folded = SNAPSHOT_EVERY
        if isinstance(row.value, Segment | SegmentRedacted | CallStarted):
            self._show(call, row)
        if isinstance(row.value, TimerFired):
            call.timer_pending = False
        if isinstance(row.value, CallStarted) and row.value.caller_key:
            self._writer.add(Entry(calls=[self._record(call)]))
            self._look_up(call)
        call.status_due = True
        call.status_news |= bool(outputs) or not isinstance(row.value, Segment)
        # A partial in its time brings no timer forward, and one that was put off looks again when it fires.
        quiet = isinstance(row.value, Segment) and not row.value.is_final and ahead_ms <= DRIFT_MS
        if outputs or not quiet:
            self._perform(call, outputs, received_s=received_s)

    def _stumbled(self, call: LiveCall, error: Exception) -> None:
        """The fold of a call failed, which is a fault of ours: the call is marked for good, the others go on."""
        self.keeper.failed("fold", error)
        call.fault = "internal_error"
        call.timer_pending = False
        call.status_news = True
        if call.ending and not call.session.state.ended:
            call.session.state.ended, call.session.state.end_reason = True, "internal_error"
            self._retire(call)

    def _look_up(self, call: LiveCall) -> None:
        """Reads the caller's earlier complaints, off the loop, and logs them as context of the call."""
        state = call.session.state
        since_ms = self.clock.utc_ms() - call.session.rules.repetition.ledger_days * DAY_MS

        def read() -> list[EarlierComplaint]:
            return self.log.earlier_complaints(
                call.record.tenant, state.caller_key, since_ms=since_ms, limit=MAX_EARLIER
            )

        task = self._loop.create_task(asyncio.to_thread(read))
        self._lookups.add(task)

        def found(done: asyncio.Task[list[EarlierComplaint]]) -> None:
            self._lookups.discard(done)
            if done.cancelled():
                return
            if done.exception() is not None:
                _log.warning("ledger not read", extra={"error": type(done.exception()).__name__})
            elif done.result() and self.calls.get(call.key) is call and not state.ended:
                self.add_input(call, ContextSet(earlier=tuple(done.result())))

        task.add_done_callback(found)

    def _perform(self, call: LiveCall, outputs: list[Output], *, received_s: float) -> None:
        events: list[AlertEvent] = []
        answers: list[Callable[[], None]] = []
        for output in outputs:
            match output:
                case ScoreRequest():
                    self._score(call, output, received_s)
                case AlertEvent():
                    latency_ms = round((self.clock.monotonic() - received_s) * 1000, 1)
                    events.append(self._linked(call, output, latency_ms=latency_ms))
                case ActionAnswer():
                    answers.append(self.supervision.answered(call.record.instance, output))
                case Noted():
                    _log.info("noted", extra={"call_id": call.record.call_id, "what": output.what})
        if events:
            self._save(call, events, answers)
        else:
            for tell in answers:
                tell()
        if call.session.state.ended and call.session.idle and not call.requests:
            if call.record.ended_ms is None:
                self._retire(call)
            return
        self._schedule(call)
        if call.folded >= SNAPSHOT_EVERY and call.session.idle and not self._unsaved:
            call.folded = 0
            self._writer.add(Entry(snapshots=[call.snapshot()]))

    def _linked(self, call: LiveCall, event: AlertEvent, **fields: Any) -> AlertEvent:
        """An alert event with what the fold does not know: the house's links, and how or when it came about."""
        links = self.links.fill(call.record.call_id, event.alert.call.agent_id)
        return replace(event, alert=replace(event.alert, links=links, **fields))

    def _save(self, call: LiveCall, events: list[AlertEvent], answers: Sequence[Callable[[], None]] = ()) -> None:
        """Makes alert events durable, then tells everybody of them, and then those whose actions they answer.

        One write of a call at a time: were one to fail and the next to succeed, a version would be told before the one it
        follows.
        """
        call.unsaved += events
        call.untold += answers
        if not call.saving:
            call.saving = True
            self._unsaved += 1
            self._save_next(call, 0)

    def _save_next(self, call: LiveCall, attempt: int) -> None:
        tenant, instance = call.record.tenant, call.record.instance
        for name, text in call.masking.items():
            call.unsaved = [replace(event, alert=masked_alert(event.alert, name, text)[0]) for event in call.unsaved]
        events, call.unsaved = call.unsaved, []
        answers, call.untold = call.untold, []
        records = []
        level = call.session.state.book.peak.value
        if level != call.record.level:
            call.record = replace(call.record, level=level)
            records = [self._record(call)]

        def done(result: Committed | MamoriError) -> None:
            if isinstance(result, MamoriError):
                # An alert that cannot be stored now is stored later; until then the floor says that something is wrong.
                self._degrade(tenant, "storage")
                call.unsaved, call.untold = events + call.unsaved, answers + call.untold
                self._loop.call_later(min(5.0, 0.2 * 2**attempt), self._save_next, call, attempt + 1)
                return
            self._saved(call)
            self.publish(tenant, instance, events, result.cursors)
            for tell in answers:
                tell()

        entries = [(tenant, instance, event) for event in events]
        self._writer.add(Entry(alerts=entries, calls=records, done=done))

    def _saved(self, call: LiveCall) -> None:
        if call.unsaved:
            self._save_next(call, 0)
            return
        call.saving = False
        self._unsaved -= 1
        if call.closing:
            self._close(call)

    def utc_ms(self) -> int:
        """UTC, milliseconds since 1970."""
        return self.clock.utc_ms()

    def write(self, entry: Entry) -> None:
        """Makes an entry durable."""
        self._writer.add(entry)

    def publish(self, tenant: str, instance: str, events: list[AlertEvent], cursors: tuple[int | None, ...]) -> None:
        """Tells everybody of alert events that are durable; those without a cursor were told before."""
        for event, cursor in zip(events, cursors, strict=True):
            if cursor is None:
                continue
            alert = event.alert
            if alert.observed:
                self.observe("alerts_observed", 1)
                continue
            self.supervision.changed(tenant, instance, alert)
            if event.type is AlertChange.RAISED and alert.latency_ms is not None:
                self.observe("alert_latency_s", alert.latency_ms / 1000)
            self.observe("alerts", 1)
            self.hub.publish(
                Published(tenant=tenant, queue=alert.call.queue, topic="alert", cursor=cursor, event=event)
            )

    def _record(self, call: LiveCall) -> CallRecord:
        state = call.session.state
        return replace(
            call.record,
            queue=state.queue,
            agent_id=state.agent_id,
            language=state.language,
            next_seq=call.next_seq,
            talk_ms=state.clock.talk_ms,
            hold_ms=state.clock.hold_total_ms,
            monitoring=state.monitoring.state.value,
            caller_key=state.caller_key,
        )

    def _retire(self, call: LiveCall) -> None:
        """The call is over and nothing of it is awaited: its record is closed and its memory freed."""
        reason = call.session.state.end_reason or "ended"
        call.record = replace(self._record(call), ended_ms=self.clock.utc_ms(), end_reason=reason)
        self.hub.publish(self._status(call))
        if self.shadow is not None:
            self.shadow.close(call.record)
        self._close(call)
        state = call.session.state
        _log.info(
            "call",
            extra={
                "call_id": call.record.call_id,
                "tenant": call.record.tenant,
                "queue": state.queue,
                "language": state.language,
                "elapsed_ms": state.clock.elapsed_ms,
                "rules": state.rules_version,
                "model": state.model_version,
                "level_reached": state.book.peak.value,
                "rounds": state.repetition.rounds,
                "talk_ms": state.clock.talk_ms,
                "hold_ms": state.clock.hold_total_ms,
                "unscored": state.unscored,
                "monitoring": state.monitoring.state.value,
                "end": reason,
            },
        )

    def _close(self, call: LiveCall) -> None:
        """Until its end is durable the call stays here, lest a late event find it open in the database; and until its alerts
        are, its end is not, for a restart makes what is missing of open calls alone."""
        call.closing = call.saving
        if call.saving or call.record.ended_ms is None:
            return

        def done(result: Committed | MamoriError) -> None:
            if isinstance(result, MamoriError):
                self._loop.call_later(INSIST_S, self._close, call)
            elif call.record.ended_ms is not None:  # Else it was reopened meanwhile.
                self._forget(call)

        left = self._left(call)
        self._writer.add(Entry(calls=[call.record], snapshots=[call.snapshot()], ledger=left, done=done))

    def _left(self, call: LiveCall) -> list[LedgerEntry]:
        """What the call leaves in the ledger: nothing, where the caller is not known."""
        state = call.session.state
        if not state.caller_key or state.direction != "inbound":
            return []
        return [
            LedgerEntry(
                tenant=call.record.tenant,
                instance=call.record.instance,
                ordinal=ordinal,
                caller_key=state.caller_key,
                utc_ms=self.clock.utc_ms(),
                model_version=state.model_version,
                centre=left.centre,
                raisings=left.raisings,
            )
            for ordinal, left in enumerate(left_by(state.repetition))
        ]

    def _forget(self, call: LiveCall) -> None:
        if self.calls.get(call.key) is call:
            del self.calls[call.key]
        self._timer_at.pop(id(call), None)
        self.supervision.forget(call.record.instance)

    # Scores.

    def _score(self, call: LiveCall, request: ScoreRequest, received_s: float) -> None:
        deadline = self.clock.monotonic() + SCORE_WAIT_S
        call.requests[request.request_id] = deadline
        call.receipts[request.request_id] = received_s
        self._expiries.append((deadline, call, request.request_id))
        try:
            future = self.engine.submit(request, deadline=deadline)
        except Exception:
            self._arrived(call, Unscored(request_id=request.request_id, reason=UnscoredReason.FAILED))
            return
        future.add_done_callback(lambda done: self._answered(call, done))

    def _answered(self, call: LiveCall, future: Future[ScoreResult | Unscored]) -> None:
        """On the engine's thread: hands the answer to the event loop, waking it once for many."""
        self._results.append((call, future.result()))
        # Asked after the answer was put there: whoever finds the flag set may rely on a drain that is yet to begin.
        if not self._woken:
            self._woken = True
            self._loop.call_soon_threadsafe(self._take_results)

    def _take_results(self) -> None:
        self._woken = False
        while self._results:
            self._arrived(*self._results.popleft())

    def _arrived(self, call: LiveCall, answer: ScoreResult | Unscored) -> None:
        if call.requests.pop(answer.request_id, None) is None:
            return
        received_s = call.receipts.pop(answer.request_id, self.clock.monotonic())
        late = answer.request_id in call.late
        call.late.discard(answer.request_id)
        row = Row(
            tenant=call.record.tenant,
            instance=call.record.instance,
            kind=codec.kind_of(answer),
            utc_ms=self.clock.utc_ms(),
            value=answer,
        )
        if isinstance(answer, Unscored):
            self.observe(f"unscored_{answer.reason.value}", 1)

        self._store_score(call, row, received_s, late=late)

    def _store_score(self, call: LiveCall, row: Row, received_s: float, *, late: bool) -> None:
        """The fold waits until the log has the score, or a restart would not know what it knew."""

        def done(result: Committed | MamoriError) -> None:
            if isinstance(result, MamoriError):
                self._degrade(call.record.tenant, "storage")
                self._loop.call_later(INSIST_S, partial(self._store_score, call, row, received_s, late=late))
                return
            self._fold(call, row, result.positions[0], received_s=received_s, late=late)

        self._writer.add(Entry(rows=[row], done=done))

    # What is shown.

    def _show(self, call: LiveCall, row: Row) -> None:
        tenant, call_id = call.key
        if isinstance(row.value, Segment | SegmentRedacted) and self.hub.watchers(tenant, call_id):
            fields = msgspec.to_builtins(row.value)
            said = fields
            if isinstance(row.value, Segment):
                said = {
                    "segment": {**fields, "said_by": call.session.state.transcript.relabel(row.value.speaker).value}
                }
            kind = "segment" if isinstance(row.value, Segment) else "segment.redacted"
            self.hub.publish(
                Published(
                    tenant=tenant,
                    queue=call.session.state.queue,
                    topic="call",
                    call_id=call_id,
                    message={"type": kind, "call_id": call_id, **said},
                )
            )

    def _status(self, call: LiveCall) -> Published:
        status = call.session.status()
        message = {"type": "call.status", **msgspec.to_builtins(status)}
        # What the call itself has to say of a lost feed is no less grave, and its own.
        own = status.monitoring["state"] in (MonitoringState.OK, MonitoringState.INCOMPLETE)
        if fault := call.fault or (self._blind if own else ""):
            message["monitoring"] = {"state": MonitoringState.DEGRADED.value, "reason": fault}
        if links := self.links.fill(status.call_id, status.agent_id):
            message["links"] = msgspec.to_builtins(links)
        if call.session.state.ended:
            message["ended"] = True
        return Published(
            tenant=call.record.tenant, queue=status.queue, topic="status", call_id=status.call_id, message=message
        )

    def statuses(self, tenant: str) -> list[dict[str, Any]]:
        """`call.status` of every live call of a tenant."""
        return [
            message
            for (owner, _), call in self.calls.items()
            if owner == tenant and (message := self._status(call).message) is not None
        ]

    def not_monitored(self) -> int:
        """Live calls of which something was or is not heard or not scored."""
        if self._blind:
            return len(self.calls)
        return sum(
            bool(call.fault) or call.session.state.monitoring.state.value != "ok" for call in self.calls.values()
        )

    def degraded(self, tenant: str) -> str:
        """Why a tenant's calls are not fully monitored, or empty."""
        return self.trouble or self._degraded.get(tenant, "")

    def _degrade(self, tenant: str, reason: str) -> None:
        if self._degraded.get(tenant) != reason:
            self._degraded[tenant] = reason
            message = {"type": "monitoring.degraded", "reason": reason}
            self.hub.publish(Published(tenant=tenant, queue="", topic="monitoring", message=message))

    def _restore_monitoring(self) -> None:
        for tenant in list(self._degraded):
            reason = self._degraded.pop(tenant)
            message = {"type": "monitoring.restored", "reason": reason}
            self.hub.publish(Published(tenant=tenant, queue="", topic="monitoring", message=message))

    @property
    def _blind(self) -> str:
        """Why no call at all is watched now, or empty; what is shed is marked on its own call."""
        return "" if self.trouble == SHEDDING else self.trouble

    def _tell_trouble(self) -> None:
        """The floor hears at once when calls are not watched, for whatever reason, and when they are again."""
        before, self.trouble = self.trouble, self.watch.unwatched()
        if before == self.trouble:
            return
        kind = "monitoring.degraded" if self.trouble else "monitoring.restored"
        message = {"type": kind, "reason": self.trouble or before}
        for tenant in self.hub.tenants():
            self.hub.publish(Published(tenant=tenant, queue="", topic="monitoring", message=message))
        for call in self.calls.values():
            call.status_news = True

    # The clockwork.

    def _schedule(self, call: LiveCall) -> None:
        due = call.due_s()
        known = self._timer_at.get(id(call))
        if due is None or (known is not None and known <= due):
            return
        self._timer_at[id(call)] = due
        heapq.heappush(self._timers, (due, next(self._order), call))

    async def _tick_once(self) -> None:
        now = self.clock.monotonic()
        loop_s = self._loop.time()
        lag_s = max(0.0, loop_s - self._tick_due_s) if self._tick_due_s else 0.0
        self._tick_due_s = 0.0
        self.observe("loop_lag_s", lag_s)
        self.watch.measure(loop_s, lag_s)
        while self._timers and self._timers[0][0] <= now:
            due, _, call = heapq.heappop(self._timers)
            if self._timer_at.get(id(call)) == due:
                del self._timer_at[id(call)]
                self._fire(call, now)
        while self._expiries and self._expiries[0][0] <= now:
            _, call, name = self._expiries.popleft()
            if name in call.requests:
                self._arrived(call, Unscored(request_id=name, reason=UnscoredReason.EXPIRED))
        if self._durable:
            self.observe("events", self._durable)
            self._durable = 0
        for key in list(self._gapped):
            self._check_gap(self.calls.get(key), key, now)
        self._tick_due_s = self._loop.time() + TICK_S

    def _fire(self, call: LiveCall, now: float) -> None:
        if self.calls.get(call.key) is not call or call.session.state.ended:
            return
        due_ms = call.session.next_timer_ms
        if due_ms is None or call.timer_pending:
            return
        if call.media_now_ms(now) < due_ms:
            self._schedule(call)
            return
        call.timer_pending = True

        def follow(result: Committed | MamoriError) -> None:
            if isinstance(result, MamoriError):
                self._loop.call_later(INSIST_S, self._fire_again, call)

        self.add_input(call, TimerFired(offset_ms=due_ms), follow=follow)

    def _fire_again(self, call: LiveCall) -> None:
        call.timer_pending = False
        self._fire(call, self.clock.monotonic())

    def _check_gap(self, call: LiveCall | None, key: tuple[str, str], now: float) -> None:
        if call is None:
            self._gapped.discard(key)
            return
        found = intake.missing(call, now)
        if found is None:
            return
        if found.given_up:
            self._give_up(call, found.last)
            self._take_due(call)
            if call.waiting:
                call.gap_since, call.gap_told = now, False
        elif call.owner is not None:
            error = EventError(
                "gap",
                f"expected seq {found.first}",
                field="seq",
                call_id=call.record.call_id,
                seq=min(call.waiting),
                retry=True,
            )
            call.owner.refused(error, expected=found.first)

    async def _sweep_once(self) -> None:
        self.watch.mend()
        self._tell_trouble()
        await self._sweep_calls(list(self.calls.values()))
        await self.supervision.sweep()
        if self._degraded and not self._unsaved and not self.log.failure:
            self._restore_monitoring()
        self._check_disk()

    async def _sweep_calls(self, calls: list[LiveCall]) -> None:
        """Looks after all calls, a few in each turn of the loop, so that events do not wait for it."""
        every_s = max(STATUS_EVERY_S, len(calls) / STATUSES_PER_S)
        for first in range(0, len(calls), SWEEP_CALLS):
            now, wanted = self.clock.monotonic(), self.hub.wants_status
            for call in calls[first : first + SWEEP_CALLS]:
                if self.calls.get(call.key) is not call:
                    continue
                self._check_feed(call, now)
                if wanted and (call.status_news or (call.status_due and now - call.status_sent_s >= every_s)):
                    call.status_due = call.status_news = False
                    call.status_sent_s = now
                    self.hub.publish(self._status(call))
            await asyncio.sleep(0)

    def _check_disk(self) -> None:
        """Below the limit new calls are refused: what room there is belongs to those that were accepted."""
        low = self.log.free_bytes() < self.limits.min_free_bytes
        if low != self.watch.disk_low:
            self.watch.disk_low = low
            _log.warning("disk space is low, new calls are refused" if low else "disk space is enough again")

    def _check_feed(self, call: LiveCall, now: float) -> None:
        state = call.session.state
        if state.ended or call.ending:
            return
        if call.lost_at_s is not None and now >= call.lost_at_s and call.owner is None:
            call.lost_at_s = None
            self._insist(call, FeedLost(reason="disconnected"))
        if now - call.last_event_s >= self.limits.idle_end_s and not state.clock.on_hold:
            call.ending = call.idling = True
            offset_ms = max(0, state.clock.elapsed_ms - state.timeline.shift_ms)
            self._insist(call, CallEnded(offset_ms=offset_ms, reason=IDLE))

    # Recovery.

    def _recover(self) -> None:
        self._restore(self.log.open_calls())

    def _restore(self, found: list[tuple[CallRecord, Snapshot | None]]) -> list[LiveCall]:
        """Restores calls from snapshot and log tail; what the fold yields and the log lacks is made now, and is late."""
        now_s, now_ms = self.clock.monotonic(), self.clock.utc_ms()
        restored = read_back(self.log, found, self._session, now_s=now_s)
        self.calls |= {item.call.key: item.call for item in restored}
        for item in restored:
            call, silent_s = item.call, max(0.0, (now_ms - item.last_ms) / 1000)
            call.anchor_media_ms = call.session.state.clock.elapsed_ms
            call.anchor_s = call.last_event_s = now_s - silent_s
            call.lost_at_s = now_s + self.limits.lost_after_s
            if item.events:
                self._save(call, [self._linked(call, event, late=True) for event in item.events])
            if item.redacted:
                # A crash may have come between the log and what follows from it.
                names = {"tenant": call.record.tenant, "instance": call.record.instance}
                again = [Redaction(**names, segment_id=part.segment_id, text=part.text) for part in item.redacted]
                self._writer.add(Entry(redactions=again))
            call.late |= item.requests.keys()
            for request in item.requests.values():
                self._score(call, request, now_s)
            self._finish_restore(call)
        return [item.call for item in restored]

    def _finish_restore(self, call: LiveCall) -> None:
        call.ending = call.session.state.ended
        for segment in call.session.state.transcript.finals:
            for item in call.running.take(segment, call.session.state.language)[1]:
                self._mask(call, item)
        if call.session.state.ended and call.session.idle and not call.requests:
            if call.record.ended_ms is None:
                self._retire(call)
            return
        if call.session.state.caller_key and call.session.state.earlier is None:
            self._look_up(call)
        self._schedule(call)

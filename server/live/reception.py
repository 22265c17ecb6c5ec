"""Events of platforms come in: put in order, made durable, acknowledged, and handed to the fold."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol

from detector.events import (
    CallEnded,
    CallEvent,
    CallReopened,
    CallStarted,
    ContextSet,
    FeedRestored,
    Gap,
    Segment,
    SegmentRedacted,
)
from detector.replaying import parse_utc_ms
from detector.timeline import IDLE
from server.errors import EventError, MamoriError
from server.groupwriter import Entry
from server.live import intake
from server.live.call import LiveCall
from server.live.fold import Fold
from server.live.recovery import Recovery
from server.live.resources import Resources
from server.live.saving import Saving
from server.storage import codec
from server.storage.port import CallRecord, Committed

RETRY_AFTER_MS: Final = 2_000
MAX_REFUSED: Final = 20_000
"""Refused calls that are remembered, twice the calls that one process is to carry; an older one costs another look-up."""


class Feed(Protocol):
    """Whoever sends events: told what became of them."""

    tenant: str

    def acked(self, call_id: str, seq: int) -> None:
        """Everything of the call up to `seq` is durable."""

    def refused(self, error: EventError, *, expected: int | None = None, retry_after_ms: int | None = None) -> None:
        """An event was refused."""

    def settled(self) -> None:
        """One event that counted against the window does not any more."""


@dataclass(frozen=True, slots=True)
class _Early:
    event: CallEvent | None
    tombstone: codec.Tombstone | None
    feed: Feed
    received_s: float
    counted: bool = True
    """Whether it counts against the window of its connection; what waits for an earlier event does not."""


class Reception:
    """Takes events for one process.

    Args:
        shared: the calls, the log, the limits.
        saving: forgets calls that come anew.
        fold: takes what is durable.
        recovery: brings back a call that is open and not in memory.
    """

    def __init__(self, shared: Resources, saving: Saving, fold: Fold, recovery: Recovery) -> None:
        self._shared = shared
        self._saving = saving
        self._fold = fold
        self._recovery = recovery
        # Known to nobody and refused: each of its further events would ask the database again, on the loop, and an
        # overloaded server would spend itself on saying no.
        self._refused: dict[tuple[str, str], None] = {}
        self._gapped: set[tuple[str, str]] = set()
        self._durable = 0

    async def resumed(self, feed: Feed, call_ids: Sequence[str]) -> dict[str, int | None]:
        """A connection goes on with calls: up to which number the events of each are durable, None where nothing is known."""
        tenant = feed.tenant
        unknown = [call_id for call_id in call_ids if (tenant, call_id) not in self._shared.calls]
        records = await asyncio.to_thread(self._shared.log.find_calls, tenant, unknown) if unknown else {}
        found = {call_id: self._consumed(tenant, call_id, records.get(call_id)) for call_id in call_ids}
        for call_id in call_ids:
            self.adopt(feed, call_id)
        return found

    def forget_refused(self) -> None:
        """Calls that were not known may have been opened elsewhere meanwhile."""
        self._refused.clear()

    def take_count(self) -> int:
        """Events that became durable since this was last asked."""
        count, self._durable = self._durable, 0
        return count

    def check_gaps(self, now_s: float) -> None:
        """Tells of gaps that last, and goes on without what is missing for too long."""
        for key in list(self._gapped):
            self._check_gap(self._shared.calls.get(key), key, now_s)

    def accept(self, feed: Feed, event: CallEvent, *, heard_ms: int | None = None) -> bool:
        """Takes an event.

        Args:
            heard_ms: UTC, milliseconds since 1970, at which another process heard it first and may have sent it more than
                once since; None where it comes from the platform itself.

        Returns:
            Whether it counts against the connection's window until `feed.settled()`.

        Raises:
            EventError: `overloaded`, `call_ended`, or `gap` with the expected number in its message.
        """
        call = self._call_for(feed, event, heard_ms)
        if call is None:
            return False
        call.owner = feed
        if isinstance(event.body, CallStarted):
            call.said_language = event.body.language
        return self._place(call, event.seq, _Early(event, None, feed, self._shared.clock.monotonic()))

    def bury(self, feed: Feed, error: EventError, *, heard_ms: int | None = None) -> bool:
        """Logs a tombstone for an event that was refused for good; returns as `accept` does."""
        if error.call_id is None or error.seq is None:
            return False
        call = self._shared.calls.get((feed.tenant, error.call_id))
        if call is None:
            try:
                event = CallEvent(call_id=error.call_id, body=CallStarted(), seq=error.seq)
                call = self._call_for(feed, event, heard_ms)
            except EventError:
                return False
        if call is None:
            return False
        early = _Early(None, codec.Tombstone(code=error.code), feed, self._shared.clock.monotonic())
        try:
            return self._place(call, error.seq, early)
        except EventError:
            return False

    def consumed(self, tenant: str, call_id: str) -> int | None:
        """The number up to which a call's events are durable; None when nothing is known of it."""
        live = (tenant, call_id) in self._shared.calls
        return self._consumed(tenant, call_id, None if live else self._shared.log.find_call(tenant, call_id))

    def _consumed(self, tenant: str, call_id: str, record: CallRecord | None) -> int | None:
        call = self._shared.calls.get((tenant, call_id))
        if call is not None:
            return call.durable_seq if call.durable_seq >= 0 else None
        return record.next_seq - 1 if record is not None and record.next_seq > 0 else None

    def language_of(self, tenant: str, call_id: str) -> str:
        """The language of a live call, or the default of an unknown one."""
        call = self._shared.calls.get((tenant, call_id))
        return call.language if call is not None else "ja"

    def adopt(self, feed: Feed, call_id: str) -> None:
        """A connection says that it feeds this call from now on."""
        call = self._shared.calls.get((feed.tenant, call_id))
        if call is not None:
            call.owner = feed
            call.lost_at_s = None

    def disconnected(self, feed: Feed) -> None:
        """A connection is gone; its calls count as lost unless somebody resumes them in time."""
        now = self._shared.clock.monotonic()
        for call in self._shared.calls.values():
            if call.owner is feed:
                call.owner, call.lost_at_s = None, now + self._shared.limits.lost_after_s
            for seq in [seq for seq, item in call.waiting.items() if item.feed is feed]:
                del call.waiting[seq]
            if not call.waiting:
                # Who comes back has the whole time again to fill the gap.
                call.gap_since = None

    def _call_for(self, feed: Feed, event: CallEvent, heard_ms: int | None) -> LiveCall | None:
        """The call of an event; None when it has ended and the event was acknowledged again."""
        key = (feed.tenant, event.call_id)
        call = self._shared.calls.get(key)
        start = isinstance(event.body, CallStarted) and event.seq in (0, None)

        def begins_after(record: CallRecord) -> bool:
            # What was heard before that call was opened, or opened it, is no new call under its id: its sender stood still.
            return start and (heard_ms is None or heard_ms > record.opened_ms)

        if call is not None:
            fresh = begins_after(call.record)
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
            self._saving.forget(call)
            return self._open(key, event, heard_ms)
        record = None if key in self._refused else self._shared.log.find_call(*key)
        if record is None:
            self._refused[key] = None  # until it is opened
            if len(self._refused) > MAX_REFUSED:
                del self._refused[next(iter(self._refused))]
            return self._open(key, event, heard_ms)
        if record.ended_ms is not None and record.end_reason != IDLE:
            fresh = begins_after(record)
            if event.seq is not None and event.seq < record.next_seq and not fresh:
                feed.acked(event.call_id, record.next_seq - 1)
                return None
            if not fresh:
                raise self._ended(event)
            return self._open(key, event, heard_ms)
        call = self._recovery.restore([(record, None)])[0]
        if record.ended_ms is not None:
            self._reopen(call)
        return call

    def _reopen(self, call: LiveCall) -> None:
        """A call that ended for want of events goes on: open, or a restart would not restore it."""
        call.ending = call.idling = False
        call.record = replace(call.record, ended_ms=None, end_reason="")
        self._fold.add_input(call, CallReopened(), calls=[call.record])

    def _ended(self, event: CallEvent) -> EventError:
        return EventError("call_ended", "the call has ended", call_id=event.call_id, seq=event.seq)

    def _open(self, key: tuple[str, str], event: CallEvent, heard_ms: int | None) -> LiveCall:
        if (
            len(self._shared.calls) >= self._shared.limits.max_calls
            or self._shared.draining
            or self._shared.watch.full()
        ):
            self._shared.observe("refused", 1)
            raise EventError(
                "overloaded", "no room for another call now", call_id=event.call_id, seq=event.seq, retry=True
            )
        now_ms, now_s = self._shared.clock.utc_ms(), self._shared.clock.monotonic()
        started_ms = parse_utc_ms(event.at) if event.at else now_ms
        record = CallRecord(
            tenant=key[0],
            instance=f"{key[1]}@{now_ms if heard_ms is None else heard_ms}",
            call_id=key[1],
            queue="",
            agent_id="",
            language="ja",
            started_ms=started_ms,
        )
        context = ContextSet(
            rules_version=self._shared.rules.version,
            rules_digest=self._shared.rulebook.digest,
            model_version=self._shared.engine.model_version,
            observed=self._shared.observing,
        )
        if self._shared.shadow is not None:
            self._shared.shadow.open(record)
        call = LiveCall(
            record=record, session=self._shared.session(record), anchor_s=now_s, last_event_s=now_s, opening=context
        )
        self._shared.calls[key] = call
        self._refused.pop(key, None)
        return call

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
            value, masked = call.running.take(value, call.language)
        if isinstance(value, CallEnded):
            call.ending = True
        if call.session.state.monitoring.lost == "disconnected" and early.event is not None:
            self._fold.add_input(call, FeedRestored())
        row = self._shared.row(call, value, seq=seq)
        call.last_event_s = early.received_s
        # The call's record and context go with its first event, and again until they are durable: no event may be
        # acknowledged whose call a restart would not find.
        opening, call.opening = call.opening, None
        first = [self._shared.row(call, opening)] if opening is not None else []

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
                self._fold.fold(call, item, position, received_s=early.received_s)
            if call.next_seq <= seq:
                # An event behind it was void after it had come again.
                call.next_seq = seq + 1
                self._take_due(call)

        self._shared.write(Entry(rows=[*first, row], calls=[call.record] if first else (), done=done))
        for item in masked:
            self._fold.mask(call, item)

    def _void(self, call: LiveCall, seq: int, feed: Feed) -> None:
        """An event did not become durable, or one before it did not: all after it must come again."""
        call.next_seq = min(call.next_seq, call.durable_seq + 1)
        call.ending = call.session.state.ended
        # What waits behind it waits for us, not for the platform.
        call.gap_since = self._shared.clock.monotonic() if call.waiting else None
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

        self._fold.add_input(call, gap, follow=follow)

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

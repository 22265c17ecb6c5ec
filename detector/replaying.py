"""Recomputes calls from their events, in the events' own time: what `mamori replay` and the evaluation do.

Timers fire in media time between the events, scores are there at once, and the record's UTC is the call's start plus
media time; so the same events, rules and scorer always give the same alerts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from detector.alerts import AlertEvent
from detector.desk import Output
from detector.events import CallEnded, CallEvent, CallStarted, Input, Segment, TimerFired
from detector.playbook import Playbook
from detector.rules import Rules
from detector.scoring import ScoreRequest, ScoreResult, Unscored
from detector.session import CallSession, never, no_other_rules

Score = Callable[[Sequence[ScoreRequest]], Sequence[ScoreResult | Unscored]]

IDLE_END_MS = 15 * 60 * 1000
"""A call without events for so long outside hold has ended (design, "No `seq`"); a timer beyond it does not fire."""


def media_time_ms(event: Input) -> int | None:
    """The media time that an event brings the call to, or None if it has none."""
    if isinstance(event, Segment):
        return event.end_ms
    offset: int | None = getattr(event, "offset_ms", None)
    return offset


def parse_utc_ms(text: str) -> int:
    """Reads RFC 3339 into UTC milliseconds since 1970.

    Raises:
        ValueError: not a date and time with an offset.
    """
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("expected a time zone, for example Z")
    return round(moment.timestamp() * 1000)


@dataclass(slots=True, kw_only=True)
class ReplayedCall:
    """One call of a replay.

    Args:
        session: the fold.
        started_ms: UTC milliseconds since 1970 of media time 0.
        changes: every alert event so far.
        placed: ids of requests whose answer has a place of its own in the call's log, where it is folded.
        held: answers that wait for their place.
    """

    session: CallSession
    started_ms: int = 0
    changes: list[AlertEvent] = field(default_factory=list)
    placed: frozenset[str] = frozenset()
    held: dict[str, ScoreResult | Unscored] = field(default_factory=dict)


class Replay:
    """Folds interleaved calls.

    Args:
        rules, playbook: of the house.
        score: answers a batch of requests in order.
        gate: says whether a partial is worth scoring.
        tenant: part of the alert ids.
        rulebook: finds the rules that stored calls began with.

    Example:
        >>> from detector.playbook import default_playbook
        >>> from detector.rules import default_rules
        >>> replay = Replay(rules=default_rules(), playbook=default_playbook(), score=lambda requests: [])
        >>> list(replay.feed(CallEvent(call_id="c", body=CallStarted())))
        []
    """

    def __init__(
        self,
        *,
        rules: Rules,
        playbook: Playbook,
        score: Score,
        gate: Callable[[str, str], bool] = never,
        tenant: str = "default",
        rulebook: Callable[[str], Rules | None] = no_other_rules,
    ) -> None:
        self._rules = rules
        self._playbook = playbook
        self._score = score
        self._gate = gate
        self._tenant = tenant
        self._rulebook = rulebook
        self._instances: dict[str, int] = {}
        self.calls: dict[str, ReplayedCall] = {}

    def feed(self, event: CallEvent) -> Iterator[AlertEvent]:
        """Folds one event; yields the alert events that follow, those of timers before it included."""
        call = self.calls.get(event.call_id)
        if call is None or (call.session.state.ended and isinstance(event.body, CallStarted)):
            call = self._open(event)
        if isinstance(event.body, CallStarted) and event.at is not None:
            call.started_ms = parse_utc_ms(event.at)
        # While somebody speaks nobody is silent: what falls due is what fell due before the first word.
        at_ms = event.body.start_ms if isinstance(event.body, Segment) else media_time_ms(event.body)
        if at_ms is not None:
            yield from self._timers(call, call.session.corrected_ms(at_ms))
        yield from self._fold(call, event.body)

    def restore(
        self, call_id: str, *, instance: str, started_ms: int, placed: frozenset[str] = frozenset()
    ) -> ReplayedCall:
        """Begins a stored call under its own instance, so that its alerts get the ids that they once had.

        Args:
            instance: as stored.
            started_ms: UTC milliseconds since 1970 of media time 0.
            placed: ids of requests whose answers the call's log holds: what came before an answer then (the help button) comes
                before it now.
        """
        call = ReplayedCall(session=self._session(call_id, instance), started_ms=started_ms, placed=placed)
        self.calls[call_id] = call
        return call

    def feed_stored(self, call: ReplayedCall, item: Input) -> Iterator[AlertEvent]:
        """Folds an input out of a call's log; timers and scores are passed over, for a replay makes its own: a score of its own in the
        place of the one that it passes over."""
        if isinstance(item, ScoreResult | Unscored):
            answer = call.held.pop(item.request_id, None)
            if answer is not None:
                yield from self._fold(call, answer)
            return
        if isinstance(item, TimerFired):
            return
        at_ms = item.start_ms if isinstance(item, Segment) else media_time_ms(item)
        if at_ms is not None:
            yield from self._timers(call, call.session.corrected_ms(at_ms))
        yield from self._fold(call, item)

    def release(self, call: ReplayedCall) -> Iterator[AlertEvent]:
        """Folds the answers whose place never came: the log ends before it."""
        while call.held:
            yield from self._fold(call, call.held.pop(next(iter(call.held))))

    def finish(self) -> Iterator[AlertEvent]:
        """Ends the calls whose end never came, at their last media time."""
        for call in self.calls.values():
            yield from self.release(call)
            if not call.session.state.ended:
                end = CallEnded(offset_ms=call.session.state.clock.elapsed_ms, reason="idle")
                yield from self._fold(call, end)

    def run(self, events: Iterable[CallEvent]) -> Iterator[AlertEvent]:
        """Feeds all events and finishes."""
        for event in events:
            yield from self.feed(event)
        yield from self.finish()

    def _open(self, event: CallEvent) -> ReplayedCall:
        ordinal = self._instances.get(event.call_id, 0)
        self._instances[event.call_id] = ordinal + 1
        session = self._session(event.call_id, f"{event.call_id}@{ordinal}")
        call = ReplayedCall(session=session, started_ms=parse_utc_ms(event.at) if event.at else 0)
        self.calls[event.call_id] = call
        return call

    def _session(self, call_id: str, instance: str) -> CallSession:
        return CallSession(
            tenant=self._tenant,
            call_id=call_id,
            instance=instance,
            rules=self._rules,
            playbook=self._playbook,
            gate=self._gate,
            rulebook=self._rulebook,
        )

    def _timers(self, call: ReplayedCall, at_ms: int) -> Iterator[AlertEvent]:
        if call.session.state.timeline.began_ms is None:
            # Joined mid-way or not begun: nothing was missed before the first event.
            return
        if call.held:
            # What is judged late falls due late: the fold itself sees to it.
            return
        last_ms = call.session.state.clock.elapsed_ms
        while (due_ms := call.session.next_timer_ms) is not None and due_ms < at_ms:
            if due_ms - last_ms > IDLE_END_MS:
                return
            yield from self._fold(call, TimerFired(offset_ms=due_ms))

    def _fold(self, call: ReplayedCall, item: Input) -> Iterator[AlertEvent]:
        session = call.session
        at_ms = media_time_ms(item)
        now_ms = call.started_ms + max(session.latest_ms, session.corrected_ms(at_ms) if at_ms is not None else 0)
        outputs: list[Output] = session.receive(item, utc_ms=now_ms)
        while outputs:
            requests = [output for output in outputs if isinstance(output, ScoreRequest)]
            for output in outputs:
                if isinstance(output, AlertEvent):
                    call.changes.append(output)
                    yield output
            outputs = []
            for answer in self._score(requests) if requests else ():
                if answer.request_id in call.placed:
                    call.held[answer.request_id] = answer
                else:
                    outputs.extend(session.receive(answer, utc_ms=now_ms))

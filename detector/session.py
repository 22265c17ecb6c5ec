"""One call as a fold over its events: `receive(item)` takes an input and returns what follows from it.

Sans-I/O: no clock, no network, no model. A final segment yields score requests; their results come back as inputs. What
was said is judged strictly in the order in which it was received, however late a score arrives: every input that can
matter to a later decision waits in a queue until the scores before it are there (the driver sends an `Unscored` for one
that will not come). So the state at the end does not depend on when scores arrive. The help button and supervisors'
actions do not wait.

Media time decides. `next_timer_ms` says when, in media time, something falls due though nobody speaks; the driver then
folds a `TimerFired`. Here is only the order of things: what words do is in `utterances`, what time does in `due`, what
becomes an alert in `desk`, what waits for a score in `flight`.

Longer than most files here: it is the one table of what each input does, and reads best in one piece.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from detector import utterances
from detector.alerts import Kind, Noted
from detector.desk import Desk, Output
from detector.due import drop_stale_partial, fall_due, next_timer_ms
from detector.events import (
    AgentHelp,
    AlertUnattended,
    CallAlive,
    CallAnswered,
    CallChanged,
    CallEnded,
    CallHeld,
    CallReopened,
    CallResumed,
    CallStarted,
    ChangeReason,
    ContextSet,
    FeedLost,
    FeedRestored,
    Gap,
    Input,
    Segment,
    SegmentRedacted,
    SnoozeOver,
    SpeakersSwapped,
    SupervisorAction,
    TimerFired,
)
from detector.findings import risk_of
from detector.flight import (
    AGENT_URGENCY,
    CUSTOMER_URGENCY,
    GRAVE_URGENCY,
    PARTIAL_URGENCY,
    SCORED_LANGUAGES,
    InFlight,
    Said,
)
from detector.labels import Level, Speaker
from detector.ledger import MAX_EARLIER
from detector.overlong import limits_ms
from detector.playbook import Playbook
from detector.rules import Rules
from detector.scoring import ScoreRequest, ScoreResult, Unscored, UnscoredReason
from detector.state import CallState, CallStatus
from detector.units import Unit


def never(_text: str, _language: str) -> bool:
    """A gate for partials that lets none through."""
    return False


def no_other_rules(_digest: str) -> Rules | None:
    """A rulebook that knows no rules but the house's own."""
    return None


class CallSession:
    """One call.

    Args:
        tenant: the tenant's id, part of every alert id.
        call_id: the platform's id of the call.
        instance: names this instance of the call id.
        rules: of the house; those of the call's queue apply.
        playbook: of the house.
        gate: says whether a partial is worth scoring: `(text, language) -> bool`; by default none is.
        rulebook: finds the rules that a call began with by their digest, or None; `rules` stand in for what is gone.
        state: to go on from a snapshot.

    Example:
        >>> from detector.playbook import default_playbook
        >>> from detector.rules import default_rules
        >>> session = CallSession(tenant="t", call_id="c-1", instance="c-1@0", rules=default_rules(),
        ...                       playbook=default_playbook())
        >>> session.receive(AgentHelp(offset_ms=1200), utc_ms=0)[0].alert.level.value
        'escalate'
    """

    def __init__(
        self,
        *,
        tenant: str,
        call_id: str,
        instance: str,
        rules: Rules,
        playbook: Playbook,
        gate: Callable[[str, str], bool] = never,
        rulebook: Callable[[str], Rules | None] = no_other_rules,
        state: CallState | None = None,
    ) -> None:
        self.tenant = tenant
        self.call_id = call_id
        self.instance = instance
        self.state = state if state is not None else CallState()
        self._house = rules
        self._desk = Desk(tenant=tenant, call_id=call_id, instance=instance, playbook=playbook)
        self._gate = gate
        self._rulebook = rulebook
        self._flight = InFlight()

    @property
    def rules(self) -> Rules:
        """The rules in force: those of the call's queue."""
        house = self._rulebook(self.state.rules_digest) if self.state.rules_digest else None
        return (house or self._house).for_queue(self.state.queue)

    @property
    def idle(self) -> bool:
        """Whether no score is awaited: only then may the state be put into a snapshot."""
        return not self._flight.queue and not self._flight.partials

    @property
    def next_timer_ms(self) -> int | None:
        """Media time at which something falls due though nothing comes in, or None."""
        return next_timer_ms(self.state, self.rules)

    @property
    def latest_ms(self) -> int:
        """The latest media time that was received, in the call's own time, whether or not it is judged yet."""
        return max(self.state.timeline.latest_ms, self.state.clock.elapsed_ms)

    def corrected_ms(self, at_ms: int) -> int:
        """What a platform's media time is in the call's own time; see `timeline`."""
        return self.state.timeline.corrected_ms(at_ms, on_hold=self.state.clock.on_hold)

    def receive(self, item: Input, *, utc_ms: int, late: bool = False) -> list[Output]:
        """Folds one input.

        Args:
            item: what came in.
            utc_ms: when, UTC milliseconds since 1970; for the record alone.
            late: the input is handled only after a restart or an overload; marks alerts that are raised now.

        Returns:
            What follows: requests to score, alert events, answers to supervisors, notes for the record.
        """
        state, desk = self.state, self._desk
        desk.utc_ms, desk.late = utc_ms, late
        out: list[Output] = []
        item = self._place(item, out)
        match item:
            case ScoreResult() | Unscored():
                self._scored(item, out)
            case SupervisorAction():
                desk.act(state, self.rules, item, out)
            case SnoozeOver() | AlertUnattended():
                desk.remind(state, item, out)
            case AgentHelp():
                # Raised before all that waits for a score; time itself passes in its turn.
                state.distress.add("help", item.offset_ms)
                desk.cry_for_help(state, self.rules, out, at_ms=item.offset_ms)
                self._flight.queue.append(item)
            case Segment() if not item.is_final:
                self._partial(item, out)
            case Segment():
                self._final(item, out)
            case SegmentRedacted():
                utterances.redact(state, item.segment_id, item.text)
                self._flight.mask(item.segment_id, item.text)
            case SpeakersSwapped():
                self._platform_swap(item, out)
            case CallStarted():
                self._start(item)
            case _:
                self._flight.queue.append(item)
        self._drain(out)
        return out

    def status(self) -> CallStatus:
        """What the floor shows of this call now."""
        state = self.state
        deadlock = state.repetition.rounds >= self.rules.overlong.deadlock_raisings
        limits = limits_ms(self.rules.overlong, deadlock=deadlock)
        ahead = [limit for limit in limits.values() if limit > state.clock.talk_ms]
        told = [alert for alert in state.book.current.values() if not alert.observed]
        labels = dict.fromkeys(label for alert in told for label in alert.labels)
        return CallStatus(
            call_id=self.call_id,
            queue=state.queue,
            agent_id=state.agent_id,
            language=state.language,
            level=max((alert.level for alert in told), default=Level.NONE).value,
            labels=tuple(labels),
            elapsed_ms=state.clock.elapsed_ms,
            talk_ms=state.clock.talk_ms,
            hold_ms=state.clock.hold_total_ms,
            limit_ms=min(ahead) if ahead else max(limits.values()),
            rounds=state.repetition.rounds,
            risk=0.0 if state.observed else risk_of(state, self.rules),
            step=state.step,
            speakers=state.speakers.turned or "as_labelled",
            monitoring={"state": state.monitoring.state.value, "reason": state.monitoring.reason},
        )

    # What is known at once: the talk, and what must be scored of it.

    def _place(self, item: Input, out: list[Output]) -> Input:
        """The input in the call's own time; the first one with a time may say that the call was joined mid-way."""
        state = self.state
        timeline, jumps = state.timeline, state.timeline.jumps
        fresh = timeline.began_ms is None
        item = timeline.place(item, on_hold=state.clock.on_hold)
        if timeline.jumps > jumps:
            out.append(Noted(what="clock_jumped"))
        if fresh and timeline.began_ms:
            state.monitoring.began_ms = timeline.began_ms
            state.monitoring.last_speech_ms = timeline.began_ms
        return item

    def _start(self, item: CallStarted) -> None:
        state = self.state
        state.queue, state.language, state.direction = item.queue, item.language, item.direction
        state.agent_id, state.agent_name, state.caller_key = item.agent_id, item.agent_name, item.caller_key
        state.transcript.language = item.language
        state.monitoring.unsupported = item.language not in SCORED_LANGUAGES

    def _final(self, segment: Segment, out: list[Output]) -> None:
        transcript = self.state.transcript
        if transcript.is_duplicate(segment):
            return
        self._flight.drop_partials(segment.segment_id)
        # The speaker as known now: a swap that is found later must not reach back into what waits for its score.
        heard = transcript.relabelled(segment)
        units = transcript.add_final(segment)
        self._flight.queue.append(Said(units=units, segment=heard, withdrawn=tuple(transcript.withdrawn)))
        self._request(units, out)
        if units and self.state.speakers.hear(segment.text, segment.language or self.state.language, segment.speaker):
            out.append(Noted(what="speakers_swapped_detected"))
            self._judge_again(transcript.swap(from_now_on=True), out)

    def _request(self, units: list[Unit], out: list[Output]) -> None:
        for unit in units:
            request = self._flight.want(unit, urgency=self._urgency(unit))
            if request is not None:
                out.append(request)

    def _urgency(self, unit: Unit) -> int:
        """Words that may be grave go first; the rest by how high the call stands already."""
        if unit.speaker is Speaker.AGENT:
            return AGENT_URGENCY + self.state.book.level.rank
        if self._gate(unit.text, unit.language):
            return GRAVE_URGENCY
        return CUSTOMER_URGENCY + self.state.book.level.rank

    def _partial(self, segment: Segment, out: list[Output]) -> None:
        state = self.state
        partial = state.transcript.add_partial(segment)
        language = segment.language or state.language
        if partial is not None and partial.speaker is Speaker.AGENT:
            # Who speaks is not silent, though the final of it comes later.
            state.distress.operator_heard_ms = max(state.distress.operator_heard_ms, partial.end_ms)
        if partial is not None:
            self._await_final(partial)
        if (
            partial is None
            or partial.speaker is Speaker.AGENT
            or language not in SCORED_LANGUAGES
            or Kind.ABUSE in state.book.current
            or not self._gate(partial.text, language)
        ):
            return
        name = f"{segment.segment_id}~{len(segment.text)}.{segment.end_ms}"
        if name in self._flight.partials:
            return
        self._flight.partials[name] = partial
        out.append(
            ScoreRequest(
                request_id=name,
                text=partial.text,
                language=language,
                context=tuple(state.transcript.turns[-4:]),
                urgency=PARTIAL_URGENCY,
            )
        )

    def _platform_swap(self, item: SpeakersSwapped, out: list[Output]) -> None:
        state = self.state
        already = state.transcript.swapped
        state.speakers.settled = True
        if not item.swapped:
            return
        state.speakers.turned = "platform"
        if already:
            # The earlier labels were put right when the swap was detected; from here on the platform's are right.
            state.transcript.swapped = False
            return
        self._judge_again(state.transcript.swap(from_now_on=False), out)

    def _judge_again(self, units: list[Unit], out: list[Output]) -> None:
        self._flight.queue.append(Said(units=units, segment=None, again=True))
        self._request(units, out)

    def _scored(self, item: ScoreResult | Unscored, out: list[Output]) -> None:
        flight, state = self._flight, self.state
        if flight.arrive(item):
            return
        partial = flight.partials.pop(item.request_id, None)
        if partial is None or not isinstance(item, ScoreResult):
            return
        if state.provisional is not None or Kind.ABUSE in state.book.current or state.ended:
            return
        incident = utterances.provisional_of(state, partial, item, self.rules)
        if incident is None:
            return
        state.provisional = incident
        state.model_version = item.model_version or state.model_version
        self._desk.settle_abuse(state, self.rules, out, at_ms=partial.end_ms)

    # What is decided, in the order of the talk.

    def _drain(self, out: list[Output]) -> None:
        while (head := self._flight.next()) is not None:
            if isinstance(head, Said):
                self._apply_said(head, out)
            else:
                self._apply(head, out)

    def _apply(self, item: Input, out: list[Output]) -> None:
        state = self.state
        offset_ms = getattr(item, "offset_ms", None)
        if offset_ms is not None:
            self._pass_time(offset_ms, out)
        match item:
            case CallAnswered():
                state.clock.answer(item.offset_ms)
                state.monitoring.last_speech_ms = max(state.monitoring.last_speech_ms, item.offset_ms)
            case CallChanged():
                self._change(item)
            case CallHeld():
                state.clock.hold(item.offset_ms)
                state.distress.silent_since_ms = None
            case CallResumed():
                state.clock.resume(item.offset_ms)
                state.monitoring.last_speech_ms = max(state.monitoring.last_speech_ms, item.offset_ms)
            case CallReopened():
                state.ended, state.end_reason = False, ""
            case FeedLost():
                state.monitoring.lost = item.reason
            case FeedRestored():
                state.monitoring.lost = ""
            case Gap():
                state.monitoring.incomplete = "gap"
            case ContextSet():
                state.rules_version = item.rules_version or state.rules_version
                state.rules_digest = item.rules_digest or state.rules_digest
                state.observed = state.observed or item.observed
                state.model_version = item.model_version or state.model_version
                state.earlier_calls = max(state.earlier_calls, item.earlier_calls)
                if item.earlier:
                    state.earlier = list(item.earlier[:MAX_EARLIER])
                    utterances.look_back(state, self.rules)
            case CallEnded():
                self._end(item, out)
                return
            case CallAlive() | TimerFired() | AgentHelp():
                pass
        self._settle(out, gone="no_final")

    def _settle(self, out: list[Output], *, gone: str) -> None:
        self._desk.settle_all(self.state, self.rules, out, gone=gone)

    def _pass_time(self, at_ms: int, out: list[Output]) -> None:
        """What fell due before this, whether or not a timer said so: a replay and a live call must agree."""
        state = self.state
        if state.ended or at_ms <= state.clock.elapsed_ms:
            return
        while (due_ms := next_timer_ms(state, self.rules)) is not None and due_ms <= at_ms:
            state.clock.advance(due_ms)
            fall_due(state, self.rules)
            self._settle(out, gone="no_final")
        state.clock.advance(at_ms)

    def _change(self, item: CallChanged) -> None:
        state = self.state
        if item.reason is ChangeReason.TRANSFER and (not item.agent_id or item.agent_id != state.agent_id):
            state.repetition.agent_changed()
        state.agent_id = item.agent_id or state.agent_id
        state.agent_name = item.agent_name or state.agent_name
        state.queue = item.queue or state.queue

    def _end(self, item: CallEnded, out: list[Output]) -> None:
        state = self.state
        if state.ended:
            return
        state.clock.resume(item.offset_ms)
        state.provisional = None
        self._settle(out, gone="no_final")
        state.ended, state.end_reason = True, item.reason
        self._desk.end(state, self.rules, out)

    def _apply_said(self, said: Said, out: list[Output]) -> None:
        state, rules = self.state, self.rules
        if said.again:
            utterances.forget_all(state)
        for unit_id in said.withdrawn:
            state.abuse.drop(unit_id)
        if said.segment is not None:
            self._pass_time(said.segment.start_ms, out)
            utterances.heard(state, said.segment)
            self._await_final(said.segment)
            self._pass_time(said.segment.end_ms, out)
            utterances.asked_to_wait(state, said.segment)
        for unit in said.units:
            answer = self._flight.wanted.pop(unit.request_id, None)
            if isinstance(answer, Unscored):
                self._unscored(answer)
                answer = answer.stand_in
            elif answer is not None:
                state.monitoring.scored_again()
            if unit.speaker is Speaker.AGENT:
                utterances.agent_said(state, unit, answer, rules, again=said.again)
            else:
                utterances.customer_said(state, unit, answer, rules)
        confirmed = {said.segment.segment_id} if said.segment is not None else set()
        confirmed.update(piece.segment_id for unit in said.units for piece in unit.pieces)
        if state.provisional is not None and state.provisional.segment_id in confirmed:
            state.provisional = None
        if said.segment is not None:
            drop_stale_partial(state, rules)
        gone = "speakers_swapped" if said.again else "echo" if said.withdrawn else "final_differs"
        self._settle(out, gone=gone)

    def _await_final(self, segment: Segment) -> None:
        """What is still being said cannot be missing yet."""
        provisional = self.state.provisional
        if provisional is not None and provisional.segment_id == segment.segment_id:
            self.state.provisional = replace(provisional, at_ms=max(provisional.at_ms, segment.end_ms))

    def _unscored(self, answer: Unscored) -> None:
        self.state.unscored += 1
        if answer.reason is not UnscoredReason.UNSUPPORTED_LANGUAGE:
            self.state.monitoring.degraded = f"unscored_{answer.reason.value}"

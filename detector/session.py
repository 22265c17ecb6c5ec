"""One call as a fold over its events: `receive(item)` takes an input and returns what follows from it.

Sans-I/O: no clock, no network, no model. A final segment yields score requests; their results come back as inputs. What
was said is judged strictly in the order in which it was received, however late a score arrives: every input that can
matter to a later decision waits in a queue until the scores before it are there (the driver sends an `Unscored` for one
that will not come). So the state at the end does not depend on when scores arrive. The help button and supervisors'
actions do not wait.

Media time decides. `next_timer_ms` says when, in media time, something falls due though nobody speaks; the driver then
folds a `TimerFired`.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Final

from detector import life
from detector.abuse import Incident, gravity_of
from detector.alerts import ActionAnswer, AlertEvent, CallSummary, Kind, Noted, Refusal
from detector.book import Finding, Moment
from detector.events import (
    Action,
    AgentHelp,
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
    Outcome,
    Segment,
    SegmentRedacted,
    SnoozeOver,
    SpeakersSwapped,
    SupervisorAction,
    TimerFired,
)
from detector.findings import abuse_finding, distress_finding, overlong_finding, repetition_finding, risk_of
from detector.labels import HARASSMENT_LABELS, STEPS, Level, Speaker
from detector.ledger import MAX_EARLIER, earlier_calls
from detector.overlong import decide_overlong, limits_ms, next_limit_ms
from detector.playbook import Playbook
from detector.procedure import act_of, advance
from detector.rules import Rules
from detector.scoring import ScoreRequest, ScoreResult, Unscored, UnscoredReason
from detector.state import CallState, CallStatus
from detector.text import announces_hold, apologises, speaks_like_an_agent
from detector.transcript import Unit, to_segments

SCORED_LANGUAGES: Final = frozenset({"ja", "en"})
SWAP_WINDOW: Final = 14
"""Finals from the start of a call within which its speakers are checked: greetings come early."""
SWAP_MIN: Final = 2
PARTIAL_URGENCY: Final = 8
MASKED_SCORE: Final = 0.3
_MASKED: Final = re.compile(r"\*{2,}|\b[a-z]\*+[a-z]?\b|[○●〇×]{2,}", re.IGNORECASE)
_WARNINGLIKE: Final = re.compile(
    r"控え|やめ|止め|終了|切ら|切り|警告|最後|最終|落ち着|冷静|暴言|これ以上|対応.{0,8}(かね|でき)|続く|"
    r"language|tone|shout|yell|swear|curs|insult|warn|end th|ending th|hang|disconnect|terminat|continue|calm|respect|"
    r"threat|inappropriate|acceptable",
    re.IGNORECASE,
)

Output = ScoreRequest | AlertEvent | ActionAnswer | Noted
"""What a fold may yield; the driver performs it."""


def never(_text: str, _language: str) -> bool:
    """A gate for partials that lets none through."""
    return False


@dataclass(slots=True, kw_only=True)
class _Said:
    """Finals whose scores may be missing yet; `again` marks those judged anew after a swap."""

    units: list[Unit]
    segment: Segment | None
    again: bool = False


@dataclass(slots=True, kw_only=True)
class _InFlight:
    """What waits for scores; empty between inputs whenever every score is there."""

    queue: deque[_Said | Input] = field(default_factory=deque)
    wanted: dict[str, ScoreResult | Unscored | None] = field(default_factory=dict)
    partials: dict[str, Segment] = field(default_factory=dict)


class CallSession:
    """One call.

    Args:
        tenant: the tenant's id, part of every alert id.
        call_id: the platform's id of the call.
        instance: names this instance of the call id.
        rules: of the house; those of the call's queue apply.
        playbook: of the house.
        gate: says whether a partial is worth scoring: `(text, language) -> bool`; by default none is.
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
        state: CallState | None = None,
    ) -> None:
        self.tenant = tenant
        self.call_id = call_id
        self.instance = instance
        self.state = state if state is not None else CallState()
        self._house = rules
        self._playbook = playbook
        self._gate = gate
        self._flight = _InFlight()
        self._utc_ms = 0
        self._late = False

    @property
    def rules(self) -> Rules:
        """The rules in force: those of the call's queue."""
        return self._house.for_queue(self.state.queue)

    @property
    def idle(self) -> bool:
        """Whether no score is awaited: only then may the state be put into a snapshot."""
        return not self._flight.queue and not self._flight.partials

    @property
    def awaited(self) -> tuple[str, ...]:
        """Ids of the score requests that block the call, oldest first."""
        return tuple(name for name, answer in self._flight.wanted.items() if answer is None)

    @property
    def next_timer_ms(self) -> int | None:
        """Media time at which something falls due though nothing comes in, or None."""
        state, rules = self.state, self.rules
        if state.ended:
            return None
        due = [next_limit_ms(state.clock, rounds=state.repetition.rounds, rules=rules.overlong)]
        if state.provisional is not None:
            due.append(state.provisional.at_ms + round(rules.partials.confirm_within_s * 1000))
        if state.distress.silent_since_ms is not None and not state.clock.on_hold:
            due.append(state.distress.silent_since_ms + round(rules.distress.silence_s * 1000))
        if not state.monitoring.lost and not state.clock.on_hold:
            due.append(state.monitoring.last_speech_ms + round(rules.monitoring.silence_s * 1000))
            if len(state.monitoring.heard) == 1:
                due.append(round(rules.monitoring.one_speaker_s * 1000))
        ahead = [at_ms for at_ms in due if at_ms is not None and at_ms > state.clock.elapsed_ms]
        return min(ahead) if ahead else None

    def receive(self, item: Input, *, utc_ms: int, late: bool = False) -> list[Output]:
        """Folds one input.

        Args:
            item: what came in.
            utc_ms: when, UTC milliseconds since 1970; for the record alone.
            late: the input is handled only after a restart or an overload; marks alerts that are raised now.

        Returns:
            What follows: requests to score, alert events, answers to supervisors, notes for the record.
        """
        self._utc_ms, self._late = utc_ms, late
        out: list[Output] = []
        match item:
            case ScoreResult() | Unscored():
                self._scored(item, out)
            case SupervisorAction():
                self._act(item, out)
            case SnoozeOver():
                self._wake(item, out)
            case AgentHelp():
                self.state.clock.advance(item.offset_ms)
                self.state.distress.add("help", item.offset_ms)
                self._settle(distress_finding(self.state, self.rules, self._playbook), out)
            case Segment() if not item.is_final:
                self._partial(item, out)
            case Segment():
                self._final(item, out)
            case SegmentRedacted():
                self.state.transcript.redact(item.segment_id, item.text)
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
        labels = dict.fromkeys(label for alert in state.book.current.values() for label in alert.labels)
        return CallStatus(
            call_id=self.call_id,
            queue=state.queue,
            agent_id=state.agent_id,
            language=state.language,
            level=state.book.level.value,
            labels=tuple(labels),
            elapsed_ms=state.clock.elapsed_ms,
            talk_ms=state.clock.talk_ms,
            hold_ms=state.clock.hold_total_ms,
            limit_ms=min(ahead) if ahead else max(limits.values()),
            rounds=state.repetition.rounds,
            risk=risk_of(state, self.rules),
            step=state.step,
            monitoring={"state": state.monitoring.state.value, "reason": state.monitoring.reason},
        )

    # What is known at once: the talk, and what must be scored of it.

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
        partials = [name for name, partial in self._flight.partials.items() if partial.segment_id == segment.segment_id]
        for name in partials:
            del self._flight.partials[name]
        # The speaker as known now: a swap that is found later must not reach back into what waits for its score.
        heard = replace(segment, speaker=transcript.relabel(segment.speaker))
        units = transcript.add_final(segment)
        self._flight.queue.append(_Said(units=units, segment=heard))
        self._request(units, out)
        if units and not self.state.swap_settled:
            self._check_swap(segment, out)

    def _request(self, units: list[Unit], out: list[Output]) -> None:
        for unit in units:
            if unit.language not in SCORED_LANGUAGES:
                continue
            if unit.speaker is Speaker.AGENT and not _WARNINGLIKE.search(unit.text):
                continue
            self._flight.wanted[unit.request_id] = None
            out.append(
                ScoreRequest(
                    request_id=unit.request_id,
                    text=unit.text,
                    language=unit.language,
                    speaker=Speaker.AGENT if unit.speaker is Speaker.AGENT else Speaker.CUSTOMER,
                    context=unit.context,
                    urgency=min(7, 3 + self.state.book.level.rank),
                )
            )

    def _partial(self, segment: Segment, out: list[Output]) -> None:
        state = self.state
        partial = state.transcript.add_partial(segment)
        language = segment.language or state.language
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

    def _check_swap(self, segment: Segment, out: list[Output]) -> None:
        """Turns the call round when the side labelled customer talks like an operator and the other never does."""
        state = self.state
        state.segments += 1
        if speaks_like_an_agent(segment.text, segment.language or state.language):
            if segment.speaker is Speaker.CUSTOMER:
                state.agent_like_customer += 1
            elif segment.speaker is Speaker.AGENT:
                state.agent_like += 1
        if state.agent_like_customer >= SWAP_MIN and state.agent_like == 0:
            state.swap_settled = True
            out.append(Noted(what="speakers_swapped_detected"))
            self._judge_again(state.transcript.swap(from_now_on=True), out)
        elif state.segments >= SWAP_WINDOW or state.agent_like >= SWAP_MIN:
            state.swap_settled = True

    def _platform_swap(self, item: SpeakersSwapped, out: list[Output]) -> None:
        state = self.state
        already = state.transcript.swapped
        state.swap_settled = True
        if not item.swapped:
            return
        if already:
            # The earlier labels were put right when the swap was detected; from here on the platform's are right.
            state.transcript.swapped = False
            return
        self._judge_again(state.transcript.swap(from_now_on=False), out)

    def _judge_again(self, units: list[Unit], out: list[Output]) -> None:
        self._flight.queue.append(_Said(units=units, segment=None, again=True))
        self._request(units, out)

    def _scored(self, item: ScoreResult | Unscored, out: list[Output]) -> None:
        flight = self._flight
        if item.request_id in flight.wanted:
            if flight.wanted[item.request_id] is None:
                flight.wanted[item.request_id] = item
        elif (partial := flight.partials.pop(item.request_id, None)) is not None and isinstance(item, ScoreResult):
            self._provisional(partial, item, out)

    # What is decided, in the order of the talk.

    def _drain(self, out: list[Output]) -> None:
        flight = self._flight
        while flight.queue:
            head = flight.queue[0]
            if isinstance(head, _Said) and any(flight.wanted.get(unit.request_id, head) is None for unit in head.units):
                return
            flight.queue.popleft()
            if isinstance(head, _Said):
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
                state.model_version = item.model_version or state.model_version
                state.earlier_calls = max(state.earlier_calls, item.earlier_calls)
                if item.earlier:
                    state.earlier = list(item.earlier[:MAX_EARLIER])
                    self._look_back()
            case CallEnded():
                self._end(item, out)
                return
            case CallAlive() | TimerFired():
                pass
        self._settle_all(out, gone="no_final")

    def _due(self) -> None:
        """What falls due by the passing of time alone."""
        state, rules, now = self.state, self.rules, self.state.clock.elapsed_ms
        if state.clock.on_hold:
            return
        silent = state.distress.silent_since_ms
        if silent is not None and now - silent >= rules.distress.silence_s * 1000:
            state.distress.silent_since_ms = None
            state.distress.add("silence_after_abuse", now)
        watch = state.monitoring
        if now - watch.last_speech_ms >= rules.monitoring.silence_s * 1000:
            watch.lost = watch.lost or "silence"
        if len(watch.heard) == 1 and now >= rules.monitoring.one_speaker_s * 1000:
            watch.lost = watch.lost or "one_speaker"
        self._drop_stale_partial()

    def _pass_time(self, at_ms: int, out: list[Output]) -> None:
        """What fell due before this, whether or not a timer said so: a replay and a live call must agree."""
        state = self.state
        if state.ended or at_ms <= state.clock.elapsed_ms:
            return
        provisional = state.provisional
        state.clock.advance(at_ms)
        self._due()
        if provisional is not None and state.provisional is None:
            self._settle_all(out, gone="no_final")

    def _drop_stale_partial(self) -> None:
        state = self.state
        if state.provisional is None:
            return
        if state.clock.elapsed_ms - state.provisional.at_ms >= self.rules.partials.confirm_within_s * 1000:
            state.provisional = None

    def _change(self, item: CallChanged) -> None:
        state = self.state
        if (item.agent_id and item.agent_id != state.agent_id and item.reason is ChangeReason.TRANSFER) or (
            item.reason is ChangeReason.TRANSFER and not item.agent_id
        ):
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
        self._settle_all(out, gone="no_final")
        state.ended, state.end_reason = True, item.reason
        out.extend(state.book.end(self._moment()))

    def _apply_said(self, said: _Said, out: list[Output]) -> None:
        state = self.state
        if said.again:
            state.abuse.incidents = []
            state.repetition = type(state.repetition)()
            state.step, state.step_at_ms, state.provisional = "", 0, None
        if said.segment is not None:
            self._pass_time(said.segment.start_ms, out)
            self._heard(said.segment)
        for unit in said.units:
            answer = self._flight.wanted.pop(unit.request_id, None)
            if isinstance(answer, Unscored):
                self._unscored(answer)
                answer = None
            if unit.speaker is Speaker.AGENT:
                self._agent_said(unit, answer, again=said.again)
            else:
                self._customer_said(unit, answer)
            if state.provisional is not None and any(
                piece.segment_id == state.provisional.segment_id for piece in unit.pieces
            ):
                state.provisional = None
        if said.segment is not None:
            self._drop_stale_partial()
        self._settle_all(out, gone="speakers_swapped" if said.again else "final_differs")

    def _heard(self, segment: Segment) -> None:
        state = self.state
        speaker = segment.speaker
        watch = state.monitoring
        if speaker not in watch.heard:
            watch.heard.append(speaker)
        watch.last_speech_ms = max(watch.last_speech_ms, segment.end_ms)
        if watch.lost in ("silence", "disconnected") or (watch.lost == "one_speaker" and len(watch.heard) > 1):
            watch.lost = ""
        state.clock.spoke(segment.start_ms, segment.end_ms)
        if speaker is Speaker.AGENT:
            state.clock.answer(segment.start_ms)
            if announces_hold(segment.text, segment.language or state.language):
                state.clock.announce_hold(segment.end_ms)
                state.distress.silent_since_ms = None

    def _unscored(self, answer: Unscored) -> None:
        self.state.unscored += 1
        if answer.reason is not UnscoredReason.UNSUPPORTED_LANGUAGE:
            self.state.monitoring.degraded = f"unscored_{answer.reason.value}"

    def _agent_said(self, unit: Unit, answer: ScoreResult | None, *, again: bool) -> None:
        state, rules = self.state, self.rules
        state.repetition.agent_spoke(unit.text, unit.language)
        cues = {step: answer.scores.get(step, 0.0) for step in STEPS} if answer is not None else {}
        reached = advance(state.step, act_of(unit.text, unit.language, cues))
        if reached != state.step:
            state.step, state.step_at_ms = reached, unit.end_ms
        state.distress.silent_since_ms = None
        if again or not apologises(unit.text, unit.language):
            return
        times = state.distress.apologies_ms
        times.append(unit.end_ms)
        window_ms = rules.distress.apology_window_s * 1000
        state.distress.apologies_ms = [at_ms for at_ms in times if unit.end_ms - at_ms <= window_ms]
        heated = bool(state.abuse.incidents) or state.repetition.rounds >= 2
        if heated and len(state.distress.apologies_ms) >= rules.distress.apologies:
            segment_id = unit.pieces[-1].segment_id
            state.distress.add("apology_loop", unit.end_ms, segment_id)

    def _customer_said(self, unit: Unit, answer: ScoreResult | None) -> None:
        state, rules = self.state, self.rules
        state.abuse.drop(unit.unit_id)
        if answer is not None:
            state.model_version = answer.model_version or state.model_version
            if "self_harm" in answer.labels or answer.scores.get("self_harm", 0.0) >= rules.distress.self_harm_score:
                state.distress.add("caller_at_risk", unit.end_ms, unit.pieces[-1].segment_id)
            incident = self._incident(unit, answer)
            if incident is not None:
                state.abuse.put(incident)
                if incident.clear and not state.ended:
                    state.distress.silent_since_ms = unit.end_ms
        if state.repetition.holds(unit.unit_id):
            return
        scores = answer.scores if answer is not None else {}
        complains = max((scores.get(label, 0.0) for label in (*HARASSMENT_LABELS, "complaint")), default=0.0)
        state.repetition.customer_spoke(
            unit_id=unit.unit_id,
            segment_id=unit.pieces[-1].segment_id,
            text=unit.text,
            language=unit.language,
            at_ms=unit.end_ms,
            embedding=answer.embedding if answer is not None else b"",
            complains=complains,
            rules=rules.repetition,
        )
        self._look_back()

    def _look_back(self) -> None:
        """Compares this call's complaints with those of the caller's earlier calls; the count never falls."""
        state = self.state
        if not state.earlier:
            return
        found = earlier_calls(
            state.repetition,
            state.earlier,
            model_version=state.model_version,
            similarity=self.rules.repetition.ledger_similarity,
        )
        state.earlier_calls = max(state.earlier_calls, found)

    def _incident(self, unit: Unit, answer: ScoreResult) -> Incident | None:
        labels = tuple(
            sorted(
                (label for label in answer.labels if label in HARASSMENT_LABELS),
                key=lambda label: -answer.scores.get(label, 0.0),
            )
        )
        masked = not labels and _MASKED.search(unit.text) is not None
        if not labels and not masked:
            return None
        clear_score = self.rules.abuse.clear_score
        clear = tuple(label for label in labels if answer.scores.get(label, 0.0) >= clear_score)
        spans = to_segments(unit, tuple(span for span in answer.spans if span.label in HARASSMENT_LABELS))
        carrying = [name for name in spans if spans[name]]
        warned = bool(self.state.step) and self.state.step != "caution" and self.state.step_at_ms <= unit.start_ms
        return Incident(
            unit_id=unit.unit_id,
            segment_id=carrying[-1] if carrying else unit.pieces[-1].segment_id,
            texts=self._texts(unit),
            spans=spans,
            labels=labels or ("verbal_abuse",),
            clear=clear,
            grave=gravity_of(unit.text, unit.language, clear),
            at_ms=unit.end_ms,
            after_warning=warned,
            known=unit.speaker is Speaker.CUSTOMER,
            score=MASKED_SCORE if masked else max(answer.scores.get(label, 0.0) for label in labels),
            masked=masked,
        )

    def _texts(self, unit: Unit) -> dict[str, str]:
        wanted = {piece.segment_id for piece in unit.pieces}
        return {
            segment.segment_id: segment.text for segment in self.state.transcript.finals if segment.segment_id in wanted
        }

    def _provisional(self, partial: Segment, answer: ScoreResult, out: list[Output]) -> None:
        state, rules = self.state, self.rules
        labels = tuple(
            label for label in rules.partials.labels if answer.scores.get(label, 0.0) >= rules.partials.score
        )
        if not labels or state.provisional is not None or Kind.ABUSE in state.book.current or state.ended:
            return
        language = partial.language or state.language
        spans = tuple(span for span in answer.spans if span.label in labels)
        state.provisional = Incident(
            unit_id=f"{partial.segment_id}~",
            segment_id=partial.segment_id,
            texts={partial.segment_id: partial.text},
            spans={partial.segment_id: spans},
            labels=labels,
            clear=labels,
            grave=gravity_of(partial.text, language, labels),
            at_ms=partial.end_ms,
            after_warning=False,
            known=partial.speaker is Speaker.CUSTOMER,
            score=max(answer.scores[label] for label in labels),
        )
        state.model_version = answer.model_version or state.model_version
        state.clock.advance(partial.end_ms)
        self._settle(abuse_finding(state, rules, self._playbook, gone="no_final"), out)

    # What supervisors do.

    def _act(self, action: SupervisorAction, out: list[Output]) -> None:
        alert = self.state.book.find(action.alert_id)
        if alert is None:
            refused = ActionAnswer(alert_id=action.alert_id, refusal=Refusal.NOT_FOUND, message="no such alert")
            out.append(refused)
            return
        event, answer = life.act(alert, action, now_utc=utc_text(self._utc_ms), now_ms=self._utc_ms)
        if event is not None:
            self.state.book.record(event)
            out.append(event)
            if action.action is Action.RESOLVE:
                self._judged(event.alert.kind, action.outcome)
        out.append(answer)

    def _judged(self, kind: Kind, outcome: Outcome | None) -> None:
        """What a supervisor resolved is not raised again on the same evidence, whatever the outcome."""
        state = self.state
        if kind is Kind.ABUSE:
            state.abuse.dismiss_all()
        elif kind is Kind.REPETITION:
            state.judged_rounds = max(state.judged_rounds, state.repetition.rounds, 2)
        elif kind is Kind.OVERLONG:
            decision = decide_overlong(
                state.clock.talk_ms, rounds=state.repetition.rounds, abused=True, rules=self.rules.overlong
            )
            state.judged_overlong = decision.level.rank
        else:
            state.judged_causes = list(state.distress.causes)
            if outcome is not None and "help" in state.distress.causes:
                # A second press of the button is a new call for help.
                state.distress.causes = [cause for cause in state.distress.causes if cause != "help"]
                state.judged_causes = [cause for cause in state.judged_causes if cause != "help"]

    def _wake(self, item: SnoozeOver, out: list[Output]) -> None:
        alert = self.state.book.find(item.alert_id)
        event = life.wake(alert, now_utc=utc_text(self._utc_ms)) if alert is not None else None
        if event is not None:
            self.state.book.record(event)
            out.append(event)

    # From findings to alerts.

    def _settle_all(self, out: list[Output], *, gone: str) -> None:
        state, rules, playbook = self.state, self.rules, self._playbook
        self._settle(abuse_finding(state, rules, playbook, gone=gone), out)
        self._settle(repetition_finding(state, rules, playbook), out)
        self._settle(overlong_finding(state, rules, playbook), out)
        self._settle(distress_finding(state, rules, playbook), out)

    def _settle(self, finding: Finding, out: list[Output]) -> None:
        if finding.level is Level.NONE and finding.kind not in self.state.book.current:
            return
        event = self.state.book.settle(finding, self._moment())
        if event is not None:
            out.append(event)

    def _moment(self) -> Moment:
        state = self.state
        return Moment(
            utc=utc_text(self._utc_ms),
            media_ms=state.clock.elapsed_ms,
            call=CallSummary(
                queue=state.queue,
                agent_id=state.agent_id,
                language=state.language,
                elapsed_ms=state.clock.elapsed_ms,
                talk_ms=state.clock.talk_ms,
                rounds=state.repetition.rounds,
                earlier_calls=state.earlier_calls,
            ),
            call_id=self.call_id,
            tenant=self.tenant,
            instance=self.instance,
            rules_version=state.rules_version or self._house.version,
            model_version=state.model_version,
            late=self._late,
        )


def utc_text(utc_ms: int) -> str:
    """RFC 3339 with milliseconds and `Z`, for example `2026-11-24T09:30:00.250Z`."""
    moment = datetime.fromtimestamp(utc_ms / 1000, tz=UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{utc_ms % 1000:03d}Z"

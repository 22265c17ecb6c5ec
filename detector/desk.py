"""Where a call's findings become alerts, and where supervisors act on them.

Knows the call's identity and the house's playbook, and keeps nothing of its own: everything lies in the `CallState` that
each method is given.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from detector import life
from detector.alerts import ActionAnswer, AlertEvent, CallSummary, Kind, Noted, Refusal
from detector.book import Finding, Moment
from detector.combine import combined
from detector.events import Action, AlertUnattended, Outcome, SnoozeOver, SupervisorAction
from detector.findings import abuse_finding, distress_finding, overlong_finding, repetition_finding
from detector.labels import Level
from detector.overlong import decide_overlong
from detector.playbook import Playbook
from detector.rules import Rules
from detector.scoring import ScoreRequest
from detector.state import CallState

Output = ScoreRequest | AlertEvent | ActionAnswer | Noted
"""What a fold may yield; the driver performs it."""


@dataclass(slots=True, kw_only=True)
class Desk:
    """The alert desk of one call.

    Args:
        tenant, call_id, instance: whose alerts these are.
        playbook: of the house.
        utc_ms: of the input that is being folded; for the record alone.
        late: whether that input is handled only after a restart or an overload.
    """

    tenant: str
    call_id: str
    instance: str
    playbook: Playbook
    utc_ms: int = 0
    late: bool = False

    def settle_all(self, state: CallState, rules: Rules, out: list[Output], *, gone: str) -> None:
        """Brings the alerts in line with the state; `gone` says why abuse went, should it have gone."""
        findings = {
            Kind.ABUSE: abuse_finding(state, rules, self.playbook, gone=gone),
            Kind.REPETITION: repetition_finding(state, rules, self.playbook),
            Kind.OVERLONG: overlong_finding(state, rules, self.playbook),
            Kind.DISTRESS: distress_finding(state, rules, self.playbook),
        }
        for finding in combined(findings, rules.combine, state.book):
            self._settle(state, rules, finding, out)

    def cry_for_help(self, state: CallState, rules: Rules, out: list[Output], *, at_ms: int) -> None:
        """Settles distress alone and at once, whatever else waits for its score.

        Args:
            at_ms: media time of the cry, which the judged talk may not have reached yet.
        """
        self._settle(state, rules, distress_finding(state, rules, self.playbook), out, at_ms=at_ms)

    def settle_abuse(self, state: CallState, rules: Rules, out: list[Output], *, at_ms: int) -> None:
        """Settles abuse alone: what a partial says at `at_ms` does not wait for the rest of the call."""
        self._settle(state, rules, abuse_finding(state, rules, self.playbook, gone="no_final"), out, at_ms=at_ms)

    def end(self, state: CallState, rules: Rules, out: list[Output]) -> None:
        """The call is over."""
        out.extend(state.book.end(self._moment(state, rules)))

    def act(self, state: CallState, rules: Rules, action: SupervisorAction, out: list[Output]) -> None:
        """Applies a supervisor's action and answers it."""
        alert = state.book.find(action.alert_id)
        if alert is None:
            refused = ActionAnswer(alert_id=action.alert_id, refusal=Refusal.NOT_FOUND, message="no such alert")
            out.append(refused)
            return
        event, answer = life.act(alert, action, now_utc=utc_text(self.utc_ms), now_ms=self.utc_ms)
        if event is not None:
            state.book.record(event)
            out.append(event)
            if action.action is Action.RESOLVE:
                kind = event.alert.kind
                if kind is not Kind.DISTRESS:
                    until_ms = state.clock.elapsed_ms + round(rules.policy.cool_down_s * 1000)
                    state.book.cool(kind, until_ms=until_ms, level=event.alert.level)
                _judged(state, rules, kind, action.outcome)
        out.append(answer)

    def remind(self, state: CallState, item: SnoozeOver | AlertUnattended, out: list[Output]) -> None:
        """A snooze ran out, or nobody took an alert in time."""
        alert = state.book.find(item.alert_id)
        event = life.remind(alert, item, now_utc=utc_text(self.utc_ms)) if alert is not None else None
        if event is not None:
            state.book.record(event)
            out.append(event)

    def _settle(self, state: CallState, rules: Rules, finding: Finding, out: list[Output], *, at_ms: int = 0) -> None:
        if finding.level is Level.NONE and finding.kind not in state.book.current:
            return
        if state.book.holds_back(finding, state.clock.elapsed_ms):
            if state.book.note_held(finding.kind):
                out.append(Noted(what="cooling_down", detail={"kind": finding.kind.value}))
            return
        event = state.book.settle(finding, self._moment(state, rules, at_ms))
        if event is not None:
            out.append(event)

    def _moment(self, state: CallState, rules: Rules, at_ms: int = 0) -> Moment:
        now_ms = max(state.clock.elapsed_ms, at_ms)
        return Moment(
            utc=utc_text(self.utc_ms),
            media_ms=now_ms,
            call=CallSummary(
                queue=state.queue,
                agent_id=state.agent_id,
                language=state.language,
                elapsed_ms=now_ms,
                talk_ms=state.clock.talk_ms,
                rounds=state.repetition.rounds,
                earlier_calls=state.earlier_calls,
            ),
            call_id=self.call_id,
            tenant=self.tenant,
            instance=self.instance,
            rules_version=state.rules_version or rules.version,
            model_version=state.model_version,
            late=self.late,
            observed=state.observed,
        )


def _judged(state: CallState, rules: Rules, kind: Kind, outcome: Outcome | None) -> None:
    """What a supervisor resolved is not raised again on the same evidence, whatever the outcome."""
    if kind is Kind.ABUSE:
        state.abuse.dismiss_all()
    elif kind is Kind.REPETITION:
        state.judged_rounds = max(state.judged_rounds, state.repetition.rounds, 2)
    elif kind is Kind.OVERLONG:
        decision = decide_overlong(
            state.clock.talk_ms, rounds=state.repetition.rounds, abused=True, rules=rules.overlong
        )
        state.judged_overlong = decision.level.rank
    else:
        state.judged_causes = list(state.distress.causes)
        if outcome is not None and "help" in state.distress.causes:
            # A second press of the button is a new call for help.
            state.distress.remove("help")
            state.judged_causes = [cause for cause in state.judged_causes if cause != "help"]


def utc_text(utc_ms: int) -> str:
    """RFC 3339 with milliseconds and `Z`, for example `2026-11-24T09:30:00.250Z`."""
    moment = datetime.fromtimestamp(utc_ms / 1000, tz=UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{utc_ms % 1000:03d}Z"

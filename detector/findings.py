"""Turns the state of a call into findings, one for each kind of alert: level, reason, evidence, suggestion.

Pure functions of the state and the rules. Nothing here changes anything.
"""

from __future__ import annotations

from typing import Final

from detector import reasons
from detector.abuse import Incident, decide_abuse, telling
from detector.alerts import MAX_EVIDENCE, Evidence, Kind
from detector.book import Finding
from detector.events import Segment
from detector.labels import HARASSMENT_LABELS, Level, Speaker
from detector.overlong import decide_overlong
from detector.playbook import Playbook
from detector.rules import Rules
from detector.state import CallState

_HALF_LIFE_MS: Final = 120_000
"""An incident's share in the risk halves in this time: about the length of the exchange that it heats up."""


def abuse_finding(state: CallState, rules: Rules, playbook: Playbook, *, gone: str) -> Finding:
    """The call's abuse; `gone` says why, should nothing be left of it."""
    incidents = list(state.abuse.incidents)
    provisional = state.provisional is not None and all(item.faint for item in incidents)
    if state.provisional is not None:
        incidents.append(state.provisional)
    decision = decide_abuse(incidents, rules.abuse, now_ms=state.clock.elapsed_ms)
    if decision.level is Level.NONE:
        return Finding(kind=Kind.ABUSE, level=Level.NONE, gone=gone)
    ranked = sorted(telling(incidents), key=_weight, reverse=True)
    evidence = [piece for incident in ranked for piece in _pieces(incident)][:MAX_EVIDENCE]
    latest = max(incidents, key=lambda item: item.at_ms)
    level = max(decision.level, _level_of(state, Kind.ABUSE))
    return Finding(
        kind=Kind.ABUSE,
        level=decision.level,
        reason=decision.reason,
        labels=decision.labels,
        score=decision.score,
        evidence=tuple(evidence),
        provisional=provisional,
        guideline=playbook.guidelines_for(decision.labels),
        suggestion=playbook.suggest(kind=Kind.ABUSE, level=level, labels=decision.labels, step=state.step, cause=""),
        step=state.step,
        trigger_segment_id=latest.segment_id,
    )


def repetition_finding(state: CallState, rules: Rules, playbook: Playbook) -> Finding:
    """The call's rounds, and the caller's earlier calls about the same."""
    limits, worst = rules.repetition, state.repetition.worst
    rounds = state.repetition.rounds
    level, reason = Level.NONE, reasons.NONE
    if rounds > state.judged_rounds:
        for at, reached in (
            (limits.notice, Level.NOTICE),
            (limits.warning, Level.WARNING),
            (limits.escalate, Level.ESCALATE),
        ):
            if rounds >= at:
                level = reached
        if level > Level.NONE:
            reason = reasons.rounds(rounds, abused=False)
            if limits.with_abuse > level and any(item.clear or item.cautioned for item in state.abuse.incidents):
                level = limits.with_abuse
                reason = reasons.rounds(rounds, abused=True)
    if level is Level.NONE and state.earlier_calls >= limits.earlier_calls and state.judged_rounds <= 1:
        level = Level.NOTICE
        reason = reasons.earlier_calls(state.earlier_calls, limits.ledger_days)
    if level is Level.NONE:
        return Finding(kind=Kind.REPETITION, level=level)
    evidence: tuple[Evidence, ...] = ()
    if worst is not None:
        evidence = tuple(
            Evidence(
                segment_id=kept.segment_id,
                speaker=Speaker.CUSTOMER.value,
                text=kept.text,
                at_ms=kept.at_ms,
                round=kept.number,
                answer=kept.answer,
                answer_segment_id=kept.answer_segment_id,
            )
            for kept in worst.kept
        )[-MAX_EVIDENCE:][::-1]
    return Finding(
        kind=Kind.REPETITION,
        level=level,
        reason=reason,
        score=min(1.0, rounds / limits.escalate),
        evidence=evidence,
        guideline=playbook.guidelines_for(["repetition"]),
        suggestion=playbook.suggest(
            kind=Kind.REPETITION,
            level=max(level, _level_of(state, Kind.REPETITION)),
            labels=(),
            step=state.step,
            cause="",
        ),
        step=state.step,
        trigger_segment_id=evidence[0].segment_id if evidence else "",
        gone="speakers_swapped",
    )


def overlong_finding(state: CallState, rules: Rules, playbook: Playbook) -> Finding:
    """Talk time against the queue's limits."""
    decision = decide_overlong(
        state.clock.talk_ms,
        rounds=state.repetition.rounds,
        abused=any(item.clear or item.cautioned for item in state.abuse.incidents),
        rules=rules.overlong,
    )
    open_alert = Kind.OVERLONG in state.book.current
    if decision.level.rank <= state.judged_overlong or (decision.level is Level.NONE and not open_alert):
        return Finding(kind=Kind.OVERLONG, level=Level.NONE, gone="clock_corrected")
    last = state.transcript.finals.last
    return Finding(
        kind=Kind.OVERLONG,
        level=decision.level,
        reason=decision.reason,
        score=min(1.0, state.clock.talk_ms / max(1, decision.limit_ms)),
        guideline=playbook.guidelines_for(["overlong"]),
        suggestion=playbook.suggest(kind=Kind.OVERLONG, level=decision.level, labels=(), step=state.step, cause=""),
        step=state.step,
        trigger_segment_id=last.segment_id if last is not None else "",
    )


def distress_finding(state: CallState, rules: Rules, playbook: Playbook) -> Finding:
    """A call for help, a caller at risk, an apology loop, silence after abuse."""
    causes = [cause for cause in state.distress.causes if cause not in state.judged_causes]
    if not causes:
        return Finding(kind=Kind.DISTRESS, level=Level.NONE)
    levels = {"help": rules.distress.help, "caller_at_risk": rules.distress.caller_at_risk}
    ranked = sorted(causes, key=lambda cause: levels.get(cause, Level.NOTICE).rank, reverse=True)
    first = ranked[0]
    level = levels.get(first, Level.NOTICE)
    pieces = []
    trigger = ""
    for cause in ranked:
        segment_id = state.distress.segment_ids[state.distress.causes.index(cause)]
        for segment in state.transcript.finals.find({segment_id})[-1:] if segment_id else ():
            # By what the cause is about: the transcript's labels may have been turned round since.
            speaker = Speaker.CUSTOMER if cause == "caller_at_risk" else Speaker.AGENT
            pieces.append(_evidence(segment, speaker))
            trigger = trigger or segment_id
    situation = first if first in levels else "distress"
    return Finding(
        kind=Kind.DISTRESS,
        level=level,
        reason=reasons.distress(ranked),
        labels=tuple(ranked),
        score=1.0 if first in levels else 0.5,
        evidence=tuple(pieces[:MAX_EVIDENCE]),
        guideline=playbook.guidelines_for([situation]),
        suggestion=playbook.suggest(kind=Kind.DISTRESS, level=level, labels=(), step=state.step, cause=situation),
        step=state.step,
        trigger_segment_id=trigger,
    )


def risk_of(state: CallState, rules: Rules) -> float:
    """How near a call is to needing somebody, 0 to 1: for sorting the floor, never for a decision.

    The noisy-or of abuse (halved every two minutes), rounds and talk time, each as a share of its own `escalate`.
    """
    now = state.clock.elapsed_ms
    safe = 1.0
    for item in state.abuse.incidents:
        safe *= 1 - 0.9 * item.score * 0.5 ** ((now - item.at_ms) / _HALF_LIFE_MS)
    safe *= 1 - 0.6 * min(1.0, max(0, state.repetition.rounds - 1) / rules.repetition.escalate)
    safe *= 1 - 0.3 * min(1.0, state.clock.talk_ms / (rules.overlong.escalate_min * 60_000))
    floor = {Level.NONE: 0.0, Level.NOTICE: 0.2, Level.WARNING: 0.4, Level.ESCALATE: 0.6, Level.CRITICAL: 0.8}
    return round(max(1 - safe, floor[state.book.level]), 3)


def _weight(incident: Incident) -> tuple[bool, bool, float, int]:
    return (bool(incident.grave), bool(incident.clear), incident.score, incident.at_ms)


def _level_of(state: CallState, kind: Kind) -> Level:
    alert = state.book.current.get(kind)
    return alert.level if alert is not None else Level.NONE


def _pieces(incident: Incident) -> list[Evidence]:
    speaker = Speaker.CUSTOMER if incident.known else Speaker.UNKNOWN
    carrying = [name for name in incident.texts if incident.spans.get(name)] or [incident.segment_id]
    return [
        Evidence(
            segment_id=name,
            speaker=speaker.value,
            text=incident.texts.get(name, ""),
            at_ms=incident.at_ms,
            spans=tuple(span for span in incident.spans.get(name, ()) if span.label in HARASSMENT_LABELS),
        )
        for name in carrying
    ]


def _evidence(segment: Segment, speaker: Speaker) -> Evidence:
    return Evidence(segment_id=segment.segment_id, speaker=speaker.value, text=segment.text, at_ms=segment.start_ms)

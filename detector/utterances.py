"""What one utterance, with its score, does to the state of a call. Raises no alert: `findings` reads the state."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Final

from detector.abuse import Incident, gravity_of
from detector.doubt import doubt_of
from detector.events import Segment
from detector.gravity import speaks_of_self_harm
from detector.labels import HARASSMENT_LABELS, STEPS, Speaker
from detector.ledger import earlier_calls
from detector.procedure import act_of, advance
from detector.repetition import Repetition
from detector.rules import Rules
from detector.scoring import ScoreResult
from detector.state import CallState, StepGiven
from detector.text import announces_hold, apologises
from detector.units import Unit, to_segments

MASKED_SCORE: Final = 0.3
"""Stands for the score of a masked word, which no classifier can read."""
_MASKED: Final = re.compile(r"[*＊]{2,}|\b[a-z]\*+[a-z]?\b|[○●〇×]{2,}", re.IGNORECASE)


def heard(state: CallState, segment: Segment) -> None:
    """Somebody began to speak: the feed is alive, talk time runs."""
    speaker, watch = segment.speaker, state.monitoring
    if speaker not in watch.heard:
        watch.heard.append(speaker)
    watch.last_speech_ms = max(watch.last_speech_ms, segment.end_ms)
    _silence_was_none(state, segment)
    if watch.lost in ("silence", "disconnected") or (watch.lost == "one_speaker" and len(watch.heard) > 1):
        watch.lost = ""
    state.clock.spoke(segment.start_ms, segment.start_ms)
    if speaker is not Speaker.CUSTOMER:
        # Where nobody says who speaks, talk begins with the first words.
        state.clock.answer(segment.start_ms)


def _silence_was_none(state: CallState, segment: Segment) -> None:
    """Who was taken for silent until their final came was not; nobody answers while the caller speaks."""
    distress = state.distress
    if segment.speaker is Speaker.AGENT and distress.silent_since_ms is not None:
        distress.silent_since_ms = None
    elif distress.silent_since_ms is not None:
        distress.silent_since_ms = max(distress.silent_since_ms, segment.end_ms)
    if "silence_after_abuse" in distress.causes:
        found_ms = distress.cause_at_ms[distress.causes.index("silence_after_abuse")]
        if segment.start_ms < found_ms:
            distress.remove("silence_after_abuse")


def asked_to_wait(state: CallState, segment: Segment) -> None:
    """The operator may have asked the caller to hold, by the end of what was said."""
    if segment.speaker is Speaker.AGENT and announces_hold(segment.text, segment.language or state.language):
        state.clock.announce_hold(segment.end_ms)


def agent_said(state: CallState, unit: Unit, answer: ScoreResult | None, rules: Rules, *, again: bool) -> None:
    """Folds an operator's utterance.

    Args:
        answer: the classifier's, or None where it was not asked or did not answer.
        again: judged anew after the speakers were turned round, when apologies are not counted twice.
    """
    segment_id = unit.pieces[-1].segment_id
    state.repetition.agent_spoke(unit.text, unit.language, segment_id=segment_id)
    cues = {step: answer.scores.get(step, 0.0) for step in STEPS} if answer is not None else {}
    act = act_of(unit.text, unit.language, cues)
    if act and act != "may_end":
        state.abuse.caution(since_ms=unit.start_ms - round(rules.abuse.cautioned_within_s * 1000))
    reached = advance(state.step, act)
    if reached != state.step:
        state.step, state.step_at_ms = reached, unit.end_ms
        state.steps.append(StepGiven(step=reached, at_ms=unit.end_ms, segment_id=segment_id))
    state.distress.silent_since_ms = None
    if again or not apologises(unit.text, unit.language):
        return
    window_ms = rules.distress.apology_window_s * 1000
    times = [*state.distress.apologies_ms, unit.end_ms]
    state.distress.apologies_ms = [at_ms for at_ms in times if unit.end_ms - at_ms <= window_ms]
    heated = any(not item.faint for item in state.abuse.incidents) or state.repetition.rounds >= 2
    if heated and len(state.distress.apologies_ms) >= rules.distress.apologies:
        state.distress.add("apology_loop", unit.end_ms, segment_id)


def customer_said(state: CallState, unit: Unit, answer: ScoreResult | None, rules: Rules) -> None:
    """Folds a customer's utterance, or a longer version of one that was folded before."""
    before = state.abuse.of(unit.unit_id)
    state.abuse.drop(unit.unit_id)
    if answer is not None:
        state.model_version = answer.model_version or state.model_version
        incident = incident_of(state, unit, answer, rules, before)
        if incident is not None:
            state.abuse.put(incident)
            if incident.clear and not state.ended:
                state.distress.silent_since_ms = unit.end_ms
    if _at_risk(unit, answer, rules):
        state.distress.add("caller_at_risk", unit.end_ms, unit.pieces[-1].segment_id)
    if state.repetition.holds(unit.unit_id):
        return
    scores = answer.scores if answer is not None else {}
    complains = max(scores.get("complaint", 0.0), scores.get("excessive_demand", 0.0))
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
    look_back(state, rules)


def _at_risk(unit: Unit, answer: ScoreResult | None, rules: Rules) -> bool:
    """Whether the caller speaks of self-harm; by plain words where no classifier answered, for a life is never shed."""
    if (answer is None or not answer.embedding) and speaks_of_self_harm(unit.text, unit.language):
        return True
    return answer is not None and (
        "self_harm" in answer.labels or answer.scores.get("self_harm", 0.0) >= rules.distress.self_harm_score
    )


def look_back(state: CallState, rules: Rules) -> None:
    """Compares this call's complaints with those of the caller's earlier calls; the count never falls."""
    if not state.earlier:
        return
    found = earlier_calls(
        state.repetition,
        state.earlier,
        model_version=state.model_version,
        similarity=rules.repetition.ledger_similarity,
    )
    state.earlier_calls = max(state.earlier_calls, found)


def incident_of(
    state: CallState, unit: Unit, answer: ScoreResult, rules: Rules, before: Incident | None
) -> Incident | None:
    """The incident that an utterance is, or None.

    Args:
        before: the incident that a shorter version of the utterance was; what was clear in it stays clear until its
            score falls below the rules' score for a clear case by more than `hysteresis`.
    """
    labels = tuple(
        sorted(
            (label for label in answer.labels if label in HARASSMENT_LABELS),
            key=lambda label: -answer.scores.get(label, 0.0),
        )
    )
    masked = not labels and _is_masked(state, unit)
    best = max(HARASSMENT_LABELS, key=lambda label: answer.scores.get(label, 0.0))
    faint = not labels and not masked
    if faint and answer.scores.get(best, 0.0) < rules.abuse.unclear_score:
        return None
    kept = before.clear if before is not None else ()
    doubt = doubt_of(unit.text, unit.language, labels, answer.spans) if labels else ""
    clear = tuple(
        label
        for label in labels
        if not doubt
        and answer.scores.get(label, 0.0)
        >= rules.abuse.clear_from(label) - (rules.abuse.hysteresis if label in kept else 0.0)
    )
    spans = to_segments(unit, tuple(span for span in answer.spans if span.label in HARASSMENT_LABELS))
    carrying = [name for name in spans if spans[name]]
    warned = bool(state.step) and state.step != "caution" and state.step_at_ms <= unit.start_ms
    return Incident(
        unit_id=unit.unit_id,
        segment_id=carrying[-1] if carrying else unit.pieces[-1].segment_id,
        texts=_texts(state, unit),
        spans=spans,
        labels=labels or (("verbal_abuse",) if masked else (best,)),
        clear=clear,
        grave=gravity_of(unit.text, unit.language, clear),
        at_ms=unit.end_ms,
        after_warning=warned,
        known=unit.speaker is Speaker.CUSTOMER,
        score=MASKED_SCORE if masked else max(answer.scores.get(label, 0.0) for label in labels or (best,)),
        masked=masked,
        faint=faint,
        doubt=doubt,
        cautioned=before.cautioned if before is not None else False,
    )


def provisional_of(state: CallState, partial: Segment, answer: ScoreResult, rules: Rules) -> Incident | None:
    """The incident that a partial of the gravest kind is, or None."""
    labels = tuple(label for label in rules.partials.labels if answer.scores.get(label, 0.0) >= rules.partials.score)
    if not labels:
        return None
    return Incident(
        unit_id=f"{partial.segment_id}~",
        segment_id=partial.segment_id,
        texts={partial.segment_id: partial.text},
        spans={partial.segment_id: tuple(span for span in answer.spans if span.label in labels)},
        labels=labels,
        clear=labels,
        grave=gravity_of(partial.text, partial.language or state.language, labels),
        at_ms=partial.end_ms,
        after_warning=False,
        known=partial.speaker is Speaker.CUSTOMER,
        score=max(answer.scores[label] for label in labels),
    )


def forget_all(state: CallState) -> None:
    """The speakers were turned round: what was concluded from their words is concluded anew."""
    state.abuse.incidents = []
    state.repetition = Repetition()
    state.step, state.step_at_ms, state.steps, state.provisional = "", 0, [], None
    state.distress.apologies_ms, state.distress.silent_since_ms = [], None
    state.distress.remove("apology_loop")
    state.distress.remove("silence_after_abuse")


def redact(state: CallState, segment_id: str, text: str) -> None:
    """Puts a masked text in place of a stored one wherever the call keeps it; nothing is judged anew."""
    state.transcript.redact(segment_id, text)
    state.abuse.redact(segment_id, text)
    state.repetition.redact(segment_id, text)
    state.book.redact(segment_id, text)
    if state.provisional is not None and state.provisional.segment_id == segment_id:
        state.provisional = replace(state.provisional, texts={segment_id: text})


def _is_masked(state: CallState, unit: Unit) -> bool:
    """Whether a word was masked in an utterance: one sees it, or the recogniser says so."""
    return _MASKED.search(unit.text) is not None or any(segment.masked for segment in _segments(state, unit))


def _texts(state: CallState, unit: Unit) -> dict[str, str]:
    return {segment.segment_id: segment.text for segment in _segments(state, unit)}


def _segments(state: CallState, unit: Unit) -> list[Segment]:
    return state.transcript.finals.find({piece.segment_id for piece in unit.pieces})

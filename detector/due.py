"""What falls due on a call by the passing of media time alone: limits, silences, partials that were never confirmed."""

from __future__ import annotations

from detector.overlong import next_limit_ms
from detector.rules import Rules
from detector.state import CallState


def next_timer_ms(state: CallState, rules: Rules) -> int | None:
    """Media time at which something falls due though nothing comes in, or None."""
    if state.ended:
        return None
    due = [next_limit_ms(state.clock, rounds=state.repetition.rounds, rules=rules.overlong)]
    if state.provisional is not None:
        due.append(state.provisional.at_ms + round(rules.partials.confirm_within_s * 1000))
    if state.distress.silent_since_ms is not None and not state.clock.on_hold:
        due.append(state.distress.silent_since_ms + round(rules.distress.silence_s * 1000))
    watch = state.monitoring
    if not watch.lost and not state.clock.on_hold:
        due.append(watch.last_speech_ms + round(rules.monitoring.silence_s * 1000))
        if len(watch.heard) == 1:
            due.append(watch.began_ms + round(rules.monitoring.one_speaker_s * 1000))
    due.extend(state.book.cooling_until_ms)
    ahead = [at_ms for at_ms in due if at_ms is not None and at_ms > state.clock.elapsed_ms]
    return min(ahead) if ahead else None


def fall_due(state: CallState, rules: Rules) -> None:
    """Folds what has fallen due by `state.clock.elapsed_ms`."""
    now = state.clock.elapsed_ms
    if state.clock.on_hold:
        return
    silent = state.distress.silent_since_ms
    if silent is not None and now - silent >= rules.distress.silence_s * 1000:
        state.distress.silent_since_ms = None
        if state.distress.operator_heard_ms <= silent:
            state.distress.add("silence_after_abuse", now)
    watch = state.monitoring
    if now - watch.last_speech_ms >= rules.monitoring.silence_s * 1000:
        watch.lost = watch.lost or "silence"
    if len(watch.heard) == 1 and now - watch.began_ms >= rules.monitoring.one_speaker_s * 1000:
        watch.lost = watch.lost or "one_speaker"
    drop_stale_partial(state, rules)


def drop_stale_partial(state: CallState, rules: Rules) -> None:
    """Takes back a provisional incident whose final did not come in time."""
    if state.provisional is None:
        return
    if state.clock.elapsed_ms - state.provisional.at_ms >= rules.partials.confirm_within_s * 1000:
        state.provisional = None

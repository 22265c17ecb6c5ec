"""Talk time against a queue's limits: by the events' own time, and by a timer when nobody speaks.

Talk time is elapsed time less hold, from the moment an operator answered. Without hold events, a silence that the
operator announced counts as hold, any other as talk.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from detector import reasons
from detector.alerts import Phrase
from detector.labels import Level
from detector.rules import OverlongRules

ANNOUNCED_HOLD_MIN_MS: Final = 3000
"""A silence shorter than this is a pause in talk, announced or not."""
_MINUTE_MS: Final = 60_000


@dataclass(slots=True, kw_only=True)
class TalkClock:
    """Elapsed, talk and hold time of a call, in media ms; plain data.

    Args:
        elapsed_ms: the latest media time seen; it never goes back, whatever a platform's clock does.
        answered_ms: when talk began, or None before.
        held_since_ms: when the running hold began, or None.
        hold_ms: hold that is over.
        announced_ms: end of the operator's last words, if they asked the caller to wait; else None.
        has_hold_events: whether the platform sends hold events, which then alone count.
    """

    elapsed_ms: int = 0
    answered_ms: int | None = None
    held_since_ms: int | None = None
    hold_ms: int = 0
    announced_ms: int | None = None
    has_hold_events: bool = False

    def advance(self, at_ms: int) -> None:
        """Time has come to `at_ms`."""
        self.elapsed_ms = max(self.elapsed_ms, at_ms)

    def answer(self, at_ms: int) -> None:
        """An operator answered; the first time counts."""
        self.advance(at_ms)
        if self.answered_ms is None:
            self.answered_ms = at_ms

    def hold(self, at_ms: int) -> None:
        """Hold began; a second `hold` in a row changes nothing."""
        self.advance(at_ms)
        self.has_hold_events = True
        self.announced_ms = None
        if self.held_since_ms is None:
            self.held_since_ms = at_ms

    def resume(self, at_ms: int) -> None:
        """Hold ended; without a hold it changes nothing."""
        self.advance(at_ms)
        if self.held_since_ms is not None:
            self.hold_ms += max(0, at_ms - self.held_since_ms)
            self.held_since_ms = None

    def spoke(self, start_ms: int, end_ms: int) -> None:
        """Somebody spoke; a silence that was announced before it becomes hold."""
        if self.announced_ms is not None and not self.has_hold_events:
            silence = start_ms - self.announced_ms
            if silence >= ANNOUNCED_HOLD_MIN_MS:
                self.hold_ms += silence
        self.announced_ms = None
        self.advance(end_ms)

    def announce_hold(self, end_ms: int) -> None:
        """The operator asked the caller to wait."""
        self.announced_ms = end_ms

    @property
    def on_hold(self) -> bool:
        """Whether the caller is on hold now."""
        return self.held_since_ms is not None or (self.announced_ms is not None and not self.has_hold_events)

    @property
    def hold_total_ms(self) -> int:
        """Hold so far, the running one included."""
        running = 0
        if self.held_since_ms is not None:
            running = max(0, self.elapsed_ms - self.held_since_ms)
        elif self.announced_ms is not None and not self.has_hold_events:
            silence = self.elapsed_ms - self.announced_ms
            running = silence if silence >= ANNOUNCED_HOLD_MIN_MS else 0
        return self.hold_ms + running

    @property
    def talk_ms(self) -> int:
        """Talk so far: since the answer, without hold."""
        if self.answered_ms is None:
            return 0
        return max(0, self.elapsed_ms - self.answered_ms - self.hold_total_ms)


@dataclass(frozen=True, slots=True, kw_only=True)
class OverlongDecision:
    """How long is too long on this call, and why.

    Args:
        level: reached level, `none` to `escalate`.
        limit_ms: the limit that was passed, or the next one.
        reason: for the supervisor.
    """

    level: Level
    limit_ms: int
    reason: Phrase


def limits_ms(rules: OverlongRules, *, deadlock: bool) -> dict[Level, int]:
    """The limits in media ms of talk; a deadlock brings warning and escalate forward by its share."""
    share = 1 - rules.deadlock_share if deadlock else 1
    return {
        Level.NOTICE: round(rules.notice_min * _MINUTE_MS),
        Level.WARNING: round(rules.warning_min * _MINUTE_MS * share),
        Level.ESCALATE: round(rules.escalate_min * _MINUTE_MS * share),
    }


def decide_overlong(talk_ms: int, *, rounds: int, abused: bool, rules: OverlongRules) -> OverlongDecision:
    """Compares talk time with the limits.

    Args:
        talk_ms: talk so far.
        rounds: raisings of the most raised complaint.
        abused: whether the call has clear abuse.
        rules: the queue's limits.

    Returns:
        The level with its reason; a calm call without repetition stays at `notice` however long it lasts.
    """
    deadlock = rounds >= rules.deadlock_raisings
    limits = limits_ms(rules, deadlock=deadlock)
    reached = Level.NONE
    for level, limit in limits.items():
        if talk_ms >= limit:
            reached = max(reached, level)
    heated = abused or rounds >= 2
    if reached > Level.NOTICE and not heated:
        reached = Level.NOTICE
    if reached is Level.NONE:
        return OverlongDecision(level=reached, limit_ms=min(limits.values()), reason=reasons.NONE)
    why = reasons.overlong(
        talk_ms // _MINUTE_MS,
        limits[reached] // _MINUTE_MS,
        deadlock_rounds=rounds if deadlock and reached > Level.NOTICE else 0,
        calm=not heated,
    )
    return OverlongDecision(level=reached, limit_ms=limits[reached], reason=why)


def next_limit_ms(clock: TalkClock, *, rounds: int, rules: OverlongRules) -> int | None:
    """Media time at which talk will pass its next limit if everyone stays silent, or None.

    None while on hold, before the answer, and after the last limit.
    """
    if clock.answered_ms is None or clock.on_hold:
        return None
    talk = clock.talk_ms
    limits = limits_ms(rules, deadlock=rounds >= rules.deadlock_raisings)
    ahead = [limit for limit in limits.values() if limit > talk]
    return clock.elapsed_ms + min(ahead) - talk if ahead else None

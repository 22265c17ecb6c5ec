"""What follows an attempt to deliver: done, later, never, or the receiver wants no more. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from server.delivery.config import SenderKind

WEBHOOK_WAITS_S: Final = (5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400)
"""Standard Webhooks 1.0, "Retry schedule": at once, then after 5 s, 5 min, 30 min, 2 h, 5 h, 10 h, 14 h, 20 h, 24 h."""
PUSH_WAITS_S: Final = (5, 30, 120, 600, 1_800)
"""A message to a person is worth little after an hour, so messengers and pagers are tried for less long."""
MAX_RETRY_AFTER_S: Final = 86_400
JITTER: Final = 0.1
"""Share of a wait by which it is lengthened at most, so that many messages do not come back at one moment."""


class Verdict(StrEnum):
    """What becomes of a message."""

    SENT = "sent"
    RETRY = "retry"
    DEAD = "dead"
    GONE = "gone"


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """How an attempt ended.

    Args:
        status: of the answer, or None when there was none.
        error: why there was none: `timeout`, `connection`, `tls`, `address_refused`.
        retry_after_s: what the receiver asked for, or None.
    """

    status: int | None = None
    error: str = ""
    retry_after_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What becomes of a message, when, and why.

    Args:
        wait_s: for `retry`, seconds until the next attempt.
        reason: machine-readable, for the list and the metrics.
    """

    verdict: Verdict
    reason: str
    wait_s: float = 0.0


def decide(kind: SenderKind, attempt: Attempt, *, made: int, chance: float) -> Decision:
    """Decides after an attempt.

    Args:
        kind: of the sender.
        attempt: the one just made.
        made: attempts made so far, this one included.
        chance: from 0 to 1, for the jitter.
    """
    status = attempt.status
    if status is not None and 200 <= status < 300:
        return Decision(verdict=Verdict.SENT, reason="sent")
    reason = attempt.error or _reason(status)
    if status == 410:
        # Standard Webhooks 1.0: "410 Gone: the consumer should be disabled". Slack says so of an archived channel, too.
        return Decision(verdict=Verdict.GONE, reason=reason)
    if attempt.error == "address_refused" or (kind.pushes and status in (400, 401, 403, 404)):
        # It would be refused again: PagerDuty, "400: the event is invalid, do not retry"; Slack and Teams likewise.
        return Decision(verdict=Verdict.DEAD, reason=reason)
    waits = PUSH_WAITS_S if kind.pushes else WEBHOOK_WAITS_S
    if made > len(waits):
        return Decision(verdict=Verdict.DEAD, reason=reason)
    wait_s = max(waits[made - 1] * (1 + JITTER * chance), min(attempt.retry_after_s or 0, MAX_RETRY_AFTER_S))
    return Decision(verdict=Verdict.RETRY, reason=reason, wait_s=wait_s)


def _reason(status: int | None) -> str:
    if status is None:
        return "no_answer"
    return "redirect" if 300 <= status < 400 else f"http_{status}"

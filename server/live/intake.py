"""The order of a call's events: which are new, which came before, which wait, which are missing.

Pure bookkeeping on a `LiveCall`; the caller writes, acknowledges and answers.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from server.live.call import LiveCall

REORDER_WINDOW: Final = 64
"""Events of one call that may wait for an earlier one (design § 3)."""
REORDER_S: Final = 2.0
"""Seconds after which the peer is told of a gap."""
GAP_S: Final = 10.0
"""Seconds after which the call goes on without what is missing."""


class Placing(StrEnum):
    """Where an event stands in its call."""

    NEXT = "next"
    SEEN = "seen"
    EARLY = "early"
    BEYOND = "beyond"


def place(call: LiveCall, seq: int | None) -> tuple[Placing, int]:
    """Says where an event belongs.

    Args:
        call: the call.
        seq: the platform's number, or None, whereupon the server counts.

    Returns:
        The placing and the event's number.
    """
    if seq is None:
        return Placing.NEXT, call.next_seq
    call.counted = True
    if seq < call.next_seq or seq in call.waiting:
        return Placing.SEEN, seq
    if seq == call.next_seq:
        return Placing.NEXT, seq
    if seq - call.next_seq <= REORDER_WINDOW:
        return Placing.EARLY, seq
    return Placing.BEYOND, seq


def wait(call: LiveCall, seq: int, item: Any, now_s: float) -> None:
    """Keeps an early event until those before it are there."""
    call.waiting[seq] = item
    if call.gap_since is None:
        call.gap_since, call.gap_told = now_s, False


def due(call: LiveCall) -> list[tuple[int, Any]]:
    """Takes the waiting events whose turn has come, in order; `next_seq` is not moved."""
    for passed in [seq for seq in call.waiting if seq < call.next_seq]:
        del call.waiting[passed]  # It came again, or was given up.
    ready = []
    seq = call.next_seq
    while seq in call.waiting:
        ready.append((seq, call.waiting.pop(seq)))
        seq += 1
    if not call.waiting:
        call.gap_since = None
    return ready


@dataclass(frozen=True, slots=True, kw_only=True)
class Missing:
    """Events `first` to `last` are missing; `given_up` says that the call goes on without them."""

    first: int
    last: int
    given_up: bool


def missing(call: LiveCall, now_s: float) -> Missing | None:
    """What a call has been waiting for too long, or None; reports each gap once before it is given up."""
    if call.gap_since is None or not call.waiting:
        return None
    waited = now_s - call.gap_since
    last = min(call.waiting) - 1
    if waited >= GAP_S:
        return Missing(first=call.next_seq, last=last, given_up=True)
    if waited >= REORDER_S and not call.gap_told:
        call.gap_told = True
        return Missing(first=call.next_seq, last=last, given_up=False)
    return None

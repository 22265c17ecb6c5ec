"""How what goes into a call is written into its log: a kind, and MessagePack of the frozen value.

Alert events, which come out, have a log of their own: the table `alert_events`, whose row number is the cursor.

A kind never changes its name; a field may be added with a default, never renamed, so that old logs stay readable.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

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
    ContextSet,
    FeedLost,
    FeedRestored,
    Gap,
    Segment,
    SegmentRedacted,
    SnoozeOver,
    SpeakersSwapped,
    SupervisorAction,
    TimerFired,
)
from detector.scoring import ScoreResult, Unscored
from server.storage.port import Row, Stored


class Tombstone(msgspec.Struct, frozen=True):
    """Stands for an event that was refused for good; its `seq` is consumed. `code` says why."""

    code: str


KINDS: Final[dict[str, type[Any]]] = {
    "call.started": CallStarted,
    "transcript.segment": Segment,
    "call.answered": CallAnswered,
    "call.changed": CallChanged,
    "call.hold": CallHeld,
    "call.resumed": CallResumed,
    "call.alive": CallAlive,
    "call.speakers": SpeakersSwapped,
    "agent.help": AgentHelp,
    "call.ended": CallEnded,
    "timer": TimerFired,
    "feed.lost": FeedLost,
    "feed.restored": FeedRestored,
    "gap": Gap,
    "call.reopened": CallReopened,
    "context.set": ContextSet,
    "segment.redacted": SegmentRedacted,
    "action": SupervisorAction,
    "snooze.over": SnoozeOver,
    "alert.unattended": AlertUnattended,
    "score": ScoreResult,
    "unscored": Unscored,
    "tombstone": Tombstone,
}
_NAMES: Final = {kind: name for name, kind in KINDS.items()}
_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODERS: Final = {name: msgspec.msgpack.Decoder(kind) for name, kind in KINDS.items()}


def kind_of(value: object) -> str:
    """The log kind of a value.

    Raises:
        KeyError: nothing of this type is logged.
    """
    return _NAMES[type(value)]


def encode(value: object) -> bytes:
    """MessagePack of a value whose type is in `KINDS`."""
    return _ENCODER.encode(value)


def decode(kind: str, payload: bytes) -> Any:
    """Reads back what `encode` wrote.

    Raises:
        KeyError: unknown kind.
        msgspec.ValidationError: the payload is not of that kind.
    """
    return _DECODERS[kind].decode(payload)


def row_name(instance: str, kind: str, row_id: int, utc_ms: int, seq: int | None) -> str:
    """What a row's payload is bound to when it is sealed: everything else that the row says."""
    return f"{instance}\x1f{kind}\x1f{row_id}\x1f{utc_ms}\x1f{seq}"


def stored(
    tenant: str, instance: str, position: int, *, kind: str, utc_ms: int, seq: int | None, payload: bytes
) -> Stored:
    """A row as a table holds it, opened and read back.

    Raises:
        KeyError: unknown kind.
        msgspec.ValidationError: the payload is not of that kind.
    """
    value = decode(kind, payload)
    return Stored(
        position=position, row=Row(tenant=tenant, instance=instance, kind=kind, utc_ms=utc_ms, seq=seq, value=value)
    )


def unreadable(tenant: str, instance: str, position: int, *, utc_ms: int, seq: int | None) -> Stored:
    """Stands for a row that cannot be opened: its words are lost, that it was acknowledged is not.

    A platform's event becomes a gap, so that the call is marked as incomplete; what the server had added is left out.
    """
    value: Gap | Tombstone = Tombstone(code="unreadable") if seq is None else Gap(first_seq=seq, last_seq=seq)
    return Stored(
        position=position,
        row=Row(tenant=tenant, instance=instance, kind=kind_of(value), utc_ms=utc_ms, seq=seq, value=value),
    )

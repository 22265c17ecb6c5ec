"""The server's own messages on its websockets, as types: what `/asyncapi.json` is generated from.

The senders build plain dictionaries; the tests hold every message of a real server against these types.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal

import msgspec
from msgspec import UNSET, Struct, UnsetType

from detector.alerts import Alert, Link, Phrase
from detector.events import Segment
from detector.labels import Speaker

NackCode = Literal[
    "bad_json", "bad_event", "gap", "call_ended", "too_large", "rate_limited", "overloaded", "not_authorised"
]


class Welcome(Struct, frozen=True, tag_field="type", tag="welcome"):
    """The server speaks first."""

    protocol: Literal[1]
    window: int
    max_frame_bytes: int
    format: str | UnsetType = UNSET


class Ack(Struct, frozen=True, tag_field="type", tag="ack"):
    """Everything of the call up to `seq` is durable."""

    call_id: str
    seq: int


class Nack(Struct, frozen=True, tag_field="type", tag="nack"):
    """An event was refused; with `retry` false its `seq` is consumed."""

    call_id: str | None
    seq: int | None
    code: NackCode
    field: str | None
    message: str
    retry: bool
    expected: int | UnsetType = UNSET
    retry_after_ms: int | UnsetType = UNSET


class Resumed(Struct, frozen=True, tag_field="type", tag="resumed"):
    """How far the server has come with each call; null for one it does not know."""

    calls: dict[str, int | None]


class FormatAck(Struct, frozen=True, tag_field="type", tag="ack"):
    """The first `messages` of this connection are durable, or refused for good."""

    messages: int


class FormatNack(Struct, frozen=True, tag_field="type", tag="nack"):
    """A message was refused: which (from 0), of which call, why."""

    message: int
    call_id: str | None
    code: NackCode
    field: str | None
    reason: str
    retry: bool
    retry_after_ms: int | UnsetType = UNSET


class Notice(Struct, frozen=True, tag_field="type", tag="notice"):
    """What a house should hear about a source, once."""

    code: Literal["masked_stream", "unknown_type", "wrong_item"]
    detail: str


class Snapshot(Struct, frozen=True, tag_field="type", tag="snapshot"):
    """The open alerts, for a listener without a cursor."""

    cursor: int
    alerts: list[Alert]


class Reset(Struct, frozen=True, tag_field="type", tag="reset"):
    """The listener's cursor is too old; a snapshot follows."""


class Attention(Struct, frozen=True):
    """How an alert event may show itself to this listener."""

    loud: bool
    reason: str
    muted: int


AlertEventType = Literal[
    "alert.raised",
    "alert.updated",
    "alert.retracted",
    "alert.acknowledged",
    "alert.assigned",
    "alert.snoozed",
    "alert.resolved",
    "alert.expired",
    "alert.unattended",
]


class AlertMessage(Struct, frozen=True):
    """Something became of an alert; `alert` is the whole of it, `changed` says what is new."""

    type: AlertEventType
    cursor: int
    alert: Alert
    attention: Attention
    changed: list[str] | UnsetType = UNSET


class CallStatusMessage(Struct, frozen=True, tag_field="type", tag="call.status"):
    """The state of a live call, at most one a second; `ended` with the last."""

    call_id: str
    queue: str
    agent_id: str
    language: str
    level: str
    labels: list[str]
    elapsed_ms: int
    talk_ms: int
    hold_ms: int
    limit_ms: int
    rounds: int
    risk: float
    step: str
    monitoring: dict[str, str]
    speakers: str
    links: list[Link] | UnsetType = UNSET
    ended: bool | UnsetType = UNSET


class MonitoringDegraded(Struct, frozen=True, tag_field="type", tag="monitoring.degraded"):
    """Calls are not fully monitored, and why."""

    reason: str


class MonitoringRestored(Struct, frozen=True, tag_field="type", tag="monitoring.restored"):
    """Calls are fully monitored again."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HeardSegment(Segment):
    """A segment with who really said it, where the platform had the speakers the wrong way round."""

    said_by: Speaker


class CallTranscript(Struct, frozen=True, tag_field="type", tag="call.transcript"):
    """The last 200 segments of a watched call."""

    call_id: str
    segments: list[HeardSegment]


class CallSegment(Struct, frozen=True, tag_field="type", tag="segment"):
    """A segment of a watched call."""

    call_id: str
    segment: HeardSegment


class SegmentRedacted(Struct, frozen=True, tag_field="type", tag="segment.redacted"):
    """A segment of a watched call was masked after the fact."""

    call_id: str
    segment_id: str
    text: str


class Ok(Struct, frozen=True, tag_field="type", tag="ok"):
    """A command was carried out."""

    ref: str | int | None


class CommandError(Struct, frozen=True, tag_field="type", tag="error"):
    """A command was refused; for `conflict` with who was first, and when."""

    ref: str | int | None
    code: str
    message: str
    first: dict[str, Any] | UnsetType = UNSET


class Command(Struct, frozen=True):
    """What a supervisor does with an alert."""

    type: Literal["acknowledge", "assign", "snooze", "resolve"]
    alert_id: str
    ref: str | int | None = None
    version: int | None = None
    to: str = ""
    for_s: int = 0
    outcome: Literal["harassment", "complaint", "false_alarm"] | None = None
    note: str = ""


class Watch(Struct, frozen=True):
    """Follows a call's live transcript, or stops to."""

    type: Literal["watch", "unwatch"]
    call_id: str
    ref: str | int | None = None


class Ping(Struct, frozen=True, tag_field="type", tag="ping"):
    """Asks whether the connection is alive; answered by `ok`."""

    ref: str | int | None = None


class GuidanceMessage(Struct, frozen=True, tag_field="type", tag="guidance"):
    """Where a call stands, for its operator; no transcript text.

    Args:
        step, next: of the ending procedure: how far it has come, and what follows.
        phrase: what the operator can say, or null.
        helper: who is handling an alert of the call, or empty.
        help: an alert about a call for help is open.
    """

    call_id: str
    live: bool
    ended: bool
    language: str
    level: str
    step: str
    next: str
    kind: str
    phrase: Phrase | None
    helper: str
    help: bool
    rounds: int
    talk_ms: int
    elapsed_ms: int
    limit_ms: int
    monitoring: dict[str, str]


INGEST_OUT: Final = (Welcome, Ack, Nack, Resumed)
FORMAT_OUT: Final = (Welcome, FormatAck, FormatNack, Notice)
ALERTS_OUT: Final = (
    Snapshot,
    Reset,
    AlertMessage,
    CallStatusMessage,
    MonitoringDegraded,
    MonitoringRestored,
    CallTranscript,
    CallSegment,
    SegmentRedacted,
    Ok,
    CommandError,
)
ALERTS_IN: Final = (Command, Watch, Ping)
GUIDANCE_OUT: Final = (GuidanceMessage,)


def schemas(types: tuple[type, ...], *, template: str) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """JSON schemas of message types.

    Args:
        template: of a reference, with `{name}`.

    Returns:
        A schema or reference for each type, and the components that they refer to.
    """
    found, components = msgspec.json.schema_components(types, ref_template=template)
    return list(found), components

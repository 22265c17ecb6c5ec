"""One live call in the server: its fold, its place in the log, and how media time runs while nobody speaks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from detector.alerts import AlertEvent
from detector.events import ContextSet
from detector.scoring import ScoreRequest
from detector.session import CallSession
from detector.state import FOLD_VERSION, CallState
from server.running_digits import RunningDigits
from server.storage.port import CallRecord, Snapshot

SNAPSHOT_EVERY: Final = 64
"""Folded rows after which a call's state is put into a snapshot: bounds what a restart has to fold again."""

_STATE_ENCODER: Final = msgspec.msgpack.Encoder()


class SnapshotData(msgspec.Struct):
    """What a snapshot holds: the fold's state, and the server's own counters beside it.

    Args:
        next_seq: lowest `seq` that is not consumed yet.
        counted: whether the platform counts (`seq` was sent at least once).
    """

    state: CallState
    next_seq: int
    counted: bool


_STATE_DECODER: Final = msgspec.msgpack.Decoder(SnapshotData)


@dataclass(slots=True, kw_only=True)
class LiveCall:
    """A call that the server follows.

    Args:
        record: what is stored of it.
        session: the fold.
        said_language: what the platform said the call's language is, before the fold knows; else empty.
        next_seq: lowest `seq` that was not taken in yet; everything below is in the log or on its way there.
        durable_seq: highest `seq` up to which all is durable, -1 before the first.
        counted: whether the platform counts its events.
        waiting: events that came too early, by `seq`: (event, monotonic seconds of receipt, connection).
        gap_since: monotonic time at which the running gap was noticed, or None.
        owner: the connection that feeds the call, or None while there is none.
        position: of the last row that was folded.
        folded: rows folded since the last snapshot.
        anchor_media_ms, anchor_s: media time and monotonic time of the last event.
        idling: its end for want of events is on its way to the log.
        timer_pending: a timer's row is on its way to the log.
        running: digits that are being read out over several segments.
        masking: segments whose masked text is on its way to the log.
        status_due, status_news: something happened, or more than that time went on, since the last `call.status`.
        status_sent_s: monotonic time of that.
        opening: context of a new call, until it is on its way to the log with the first event.
        saving, unsaved, untold: alert events are on their way to the log; those behind them, and whom to tell then.
        closing: the end of the call waits for that.
        fault: the fold of the call failed, or empty: nothing that is shown of it can be relied on.
        requests: score requests that were handed out, by id.
        late: of these, the ones that a restart found open: what they raise is late.
    """

    record: CallRecord
    session: CallSession
    said_language: str = ""
    next_seq: int = 0
    durable_seq: int = -1
    counted: bool = False
    waiting: dict[int, Any] = field(default_factory=dict)
    gap_since: float | None = None
    gap_told: bool = False
    owner: Any = None
    lost_at_s: float | None = None
    position: int = -1
    folded: int = 0
    anchor_media_ms: int = 0
    anchor_s: float = 0.0
    last_event_s: float = 0.0
    timer_pending: bool = False
    ending: bool = False
    idling: bool = False
    status_due: bool = False
    status_news: bool = False
    status_sent_s: float = 0.0
    requests: dict[str, ScoreRequest] = field(default_factory=dict)
    receipts: dict[str, float] = field(default_factory=dict)
    running: RunningDigits = field(default_factory=RunningDigits)
    masking: dict[str, str] = field(default_factory=dict)
    opening: ContextSet | None = None
    saving: bool = False
    unsaved: list[AlertEvent] = field(default_factory=list)
    untold: list[Callable[[], None]] = field(default_factory=list)
    closing: bool = False
    fault: str = ""
    late: set[str] = field(default_factory=set)

    @property
    def key(self) -> tuple[str, str]:
        """Tenant and call id."""
        return self.record.tenant, self.record.call_id

    @property
    def language(self) -> str:
        """By which its words are masked: that of its `call.started`, which may not be folded yet."""
        return self.said_language or self.session.state.language

    def media_now_ms(self, now_s: float) -> int:
        """Media time at a monotonic moment, taking it that time has run on since the last event."""
        return self.anchor_media_ms + max(0, round((now_s - self.anchor_s) * 1000))

    def anchor(self, media_ms: int, now_s: float) -> None:
        """An event was folded: ties the call's media time to monotonic time; media time never goes back."""
        if media_ms >= self.anchor_media_ms:
            self.anchor_media_ms, self.anchor_s = media_ms, now_s

    def due_s(self) -> float | None:
        """Monotonic time at which the next timer of the fold falls due, or None."""
        due_ms = self.session.next_timer_ms
        if due_ms is None or self.timer_pending:
            return None
        return self.anchor_s + (due_ms - self.anchor_media_ms) / 1000

    def snapshot(self) -> Snapshot:
        """The call's state as of `position`; only when the session is idle."""
        data = SnapshotData(state=self.session.state, next_seq=self.durable_seq + 1, counted=self.counted)
        return Snapshot(
            tenant=self.record.tenant,
            instance=self.record.instance,
            position=self.position,
            fold_version=FOLD_VERSION,
            data=_STATE_ENCODER.encode(data),
        )


def read_snapshot(snapshot: Snapshot | None) -> SnapshotData | None:
    """Reads a snapshot; None when there is none, or when it is of another fold and the log must be folded anew."""
    if snapshot is None or snapshot.fold_version != FOLD_VERSION:
        return None
    try:
        return _STATE_DECODER.decode(snapshot.data)
    except msgspec.MsgspecError:
        return None

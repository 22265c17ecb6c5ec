"""What all parts of one process share: the engines, the clock, the rules, and the calls that are followed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from detector.playbook import Playbook
from detector.scoring import Scorer
from detector.session import CallSession, never
from models.engine import Engine
from models.lexicon_scorer import LexiconScorer
from server.clock import Clock
from server.groupwriter import Entry, GroupWriter, Writer
from server.hub import Hub
from server.keeper import Keeper
from server.links import LinkTemplates
from server.live.call import LiveCall
from server.live.timers import Timers
from server.redaction import HousePatterns
from server.rulebook import Rulebook
from server.shadow import Shadow
from server.storage import codec
from server.storage.port import CallRecord, Log, Row
from server.watch import Watch

LOST_AFTER_S: Final = 10.0
"""A call whose connection is gone for so long is not being watched."""
IDLE_END_S: Final = 900.0
INSIST_S: Final = 1.0
"""After so long what the log did not take, and must, is given to it again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds of the runtime, all from the settings."""

    max_calls: int = 12_000
    min_free_bytes: int = 0
    idle_end_s: float = IDLE_END_S
    lost_after_s: float = LOST_AFTER_S


def _unheard(_name: str, _value: float) -> None:
    """Nobody counts."""


@dataclass(kw_only=True, eq=False)
class Resources:
    """What is shared; decides nothing.

    Args:
        log: where everything is made durable.
        engine: scores utterances.
        hub: hears of alerts, statuses and segments.
        rulebook: the rules in force, and those that older calls began with.
        playbook: of the house.
        clock: monotonic and UTC.
        limits: bounds.
        gate: whether a partial is worth scoring.
        observe: hears of counts and durations.
        links: of the house, put on every alert.
        shadow: follows the calls under candidate rules, or None.
        observing: calls that begin now are recorded and alert nobody.
        patterns: of the house, for personal data that only it can describe.
        stand_in: looks at what the engine does not score; takes microseconds.
    """

    log: Log
    engine: Engine
    hub: Hub
    rulebook: Rulebook
    playbook: Playbook
    clock: Clock
    limits: Limits
    gate: Callable[[str, str], bool] = never
    observe: Callable[[str, float], None] = _unheard
    shadow: Shadow | None = None
    observing: bool = False
    patterns: HousePatterns = ()
    links: LinkTemplates = field(default_factory=LinkTemplates)
    stand_in: Scorer = field(default_factory=LexiconScorer)

    def __post_init__(self) -> None:
        self.rules = self.rulebook.current
        self.calls: dict[tuple[str, str], LiveCall] = {}
        self.timers = Timers()
        self.keeper = Keeper(self.clock.monotonic, self._count)
        self.watch = Watch(self.engine, self.log, self.keeper, self.clock.monotonic)
        self.ready = False
        self.draining = False

    def _count(self, name: str, value: float) -> None:
        # `observe` may be set after the keeper was made.
        self.observe(name, value)

    def begin(self) -> None:
        """Ties the process to the running event loop."""
        self.loop = asyncio.get_running_loop()
        self.writer = self.make_writer()

    def make_writer(self) -> Writer:
        """Makes entries durable on this event loop."""
        return GroupWriter(self.log, self.loop, self.fold_failed)

    def fold_failed(self, error: BaseException) -> None:
        """What follows from something stored failed, which is a fault of ours."""
        self.keeper.failed("fold", error)

    def utc_ms(self) -> int:
        """UTC, milliseconds since 1970."""
        return self.clock.utc_ms()

    def write(self, entry: Entry) -> None:
        """Makes an entry durable."""
        self.writer.add(entry)

    def row(self, call: LiveCall, value: Any, *, seq: int | None = None) -> Row:
        """A row of a call's log, received now; `seq` is None for what the server adds."""
        return Row(
            tenant=call.record.tenant,
            instance=call.record.instance,
            kind=codec.kind_of(value),
            utc_ms=self.clock.utc_ms(),
            seq=seq,
            value=value,
        )

    def session(self, record: CallRecord) -> CallSession:
        """A fresh fold for a call."""
        return CallSession(
            tenant=record.tenant,
            call_id=record.call_id,
            instance=record.instance,
            rules=self.rules,
            playbook=self.playbook,
            gate=self.gate,
            rulebook=self.rulebook.find,
        )

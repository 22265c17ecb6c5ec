"""What gateways and workers say to each other over NATS: short messages that nobody keeps, and that may be lost.

mamori.feed.PARTITION    events, to the owner of a partition
mamori.gate.GATEWAY      what became of them, to a gateway
mamori.ask.PARTITION     questions that the owner answers
mamori.workers           each worker tells every second, and at once when it changes, what it owns
"""

from __future__ import annotations

from typing import Final

import msgspec

from detector.events import CallEvent
from server.errors import EventError
from server.storage import codec

WORKERS: Final = "mamori.workers"
GATEWAYS: Final = "mamori.gateways"


def feed_subject(partition: int) -> str:
    """Where a partition's owner takes events."""
    return f"mamori.feed.{partition}"


def ask_subject(partition: int) -> str:
    """Where a partition's owner answers."""
    return f"mamori.ask.{partition}"


def gate_subject(gateway: str) -> str:
    """Where a gateway hears what became of events."""
    return f"mamori.gate.{gateway}"


class Up(msgspec.Struct, frozen=True, omit_defaults=True):
    """One event on its way to the owner; `kind` is that of its body, `bury` for a refused one, `adopt` for none at all.

    Args:
        number: of the event within its gateway, rising; a repetition has the same.
        feed: of the connection within its gateway, 0 for none.
        heard_ms: UTC at which the gateway took it, milliseconds since 1970; a repetition has the same.
    """

    number: int
    feed: int
    tenant: str
    call_id: str
    kind: str
    body: bytes = b""
    seq: int | None = None
    at: str | None = None
    code: str = ""
    heard_ms: int | None = None

    def event(self) -> CallEvent:
        """The event that this carries."""
        return CallEvent(call_id=self.call_id, body=codec.decode(self.kind, self.body), seq=self.seq, at=self.at)


class Ups(msgspec.Struct, frozen=True):
    """Several events of one gateway, in order."""

    gateway: str
    items: list[Up]


class Down(msgspec.Struct, frozen=True, omit_defaults=True):
    """What became of events; `kind` is `acked` (all up to `seq`), `taken` (the event `number` got `seq`), `waits` or `refused`."""

    kind: str
    tenant: str
    call_id: str
    seq: int | None = None
    number: int = 0
    code: str = ""
    message: str = ""
    field: str = ""
    retry: bool = False
    expected: int | None = None
    retry_after_ms: int | None = None

    def error(self) -> EventError:
        """The refusal that this carries."""
        return EventError(
            self.code,
            self.message,
            field=self.field,
            call_id=self.call_id,
            seq=self.seq,
            retry=self.retry,
            expected=self.expected,
        )


class Downs(msgspec.Struct, frozen=True):
    """What one owner says to one gateway; an older epoch than one that was heard of is not believed."""

    partition: int
    epoch: int
    items: list[Down]


class Ask(msgspec.Struct, frozen=True, omit_defaults=True):
    """A question: `consumed` (and this feed goes on with the call), `act`, `help`, `status`, or `shadow`,
    which is about all calls that are followed there."""

    kind: str
    tenant: str
    call_id: str
    gateway: str = ""
    feed: int = 0
    body: bytes = b""
    note: str = ""
    by: str = ""


class Answer(msgspec.Struct, frozen=True, omit_defaults=True):
    """The answer; `failed` says that it could not be done now, `worker` who answers."""

    worker: str = ""
    seq: int | None = None
    language: str = "ja"
    body: bytes = b""
    found: bool = False
    failed: bool = False


class Owns(msgspec.Struct, frozen=True):
    """What a worker owns, with the epochs."""

    worker: str
    owned: dict[int, int]


class Present(msgspec.Struct, frozen=True):
    """A gateway is there; `gone` are feeds that are not any more."""

    gateway: str
    gone: list[int]

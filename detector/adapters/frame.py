"""The frame that every adapter shares: `(state, bytes, envelope) -> (state, list[CallEvent])`.

An adapter is a value. Its `read` turns one message into statements and remembers nothing; `source.py` remembers. Nothing
here knows sockets, clocks or signatures: who sent a message was settled before it came here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from detector.adapters.heard import Heard
from detector.events import CallEvent, Segment
from detector.labels import Speaker

_ROLES: Final = {
    "customer": Speaker.CUSTOMER,
    "caller": Speaker.CUSTOMER,
    "external": Speaker.CUSTOMER,
    "enduser": Speaker.CUSTOMER,
    "end_user": Speaker.CUSTOMER,
    "agent": Speaker.AGENT,
    "operator": Speaker.AGENT,
    "internal": Speaker.AGENT,
    "human_agent": Speaker.AGENT,
    "supervisor": Speaker.AGENT,
    "automated_agent": Speaker.AGENT,
    "virtual_agent": Speaker.AGENT,
}


def role(name: str) -> Speaker:
    """The speaker behind a platform's word for a role, in any case; unknown words are the unknown speaker."""
    return _ROLES.get(name.strip().lower(), Speaker.UNKNOWN)


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What the log knows of a call that an adapter sees for the first time since it started.

    Args:
        started_ms: UTC of media time 0, milliseconds since 1970.
        ended_ms: UTC of its end, or None while it is open.
    """

    started_ms: int
    ended_ms: int | None = None


def nothing_known(_call_id: str) -> Known | None:
    """No log to ask: a replay, a test."""
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """What came around a message.

    Args:
        headers: by lower-case name.
        path: of the request.
        query: parameters of the address: `call_id`, `speaker` (whose voice this stream carries), `channels` (roles by
            channel number, `customer,agent`), `language`, `queue`, `agent_id`, `direction`, `offset_ms` (media time at
            which the stream began), and what an adapter documents beside them.
        received_ms: UTC of receipt, milliseconds since 1970; None in a replay.
        known: asks the log for a call.
    """

    headers: Mapping[str, str] = field(default_factory=dict)
    path: str = ""
    query: Mapping[str, str] = field(default_factory=dict)
    received_ms: int | None = None
    known: Callable[[str], Known | None] = nothing_known

    def channel_role(self, channel: str) -> Speaker | None:
        """Who speaks on a channel by the query, or None when it does not say."""
        names = self.query.get("channels", "").split(",") if "channels" in self.query else []
        if channel.isascii() and channel.isdigit() and len(channel) <= 3 and int(channel) < len(names):
            return role(names[int(channel)])
        return role(self.query["speaker"]) if "speaker" in self.query else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Telling:
    """What an encoder has to know of the call beside the event.

    Args:
        language: `ja` or `en`.
        started_ms: UTC of media time 0, milliseconds since 1970.
    """

    call_id: str
    language: str = "ja"
    started_ms: int = 0

    @property
    def tag(self) -> str:
        """The language with the region that vendors ask for."""
        return {"ja": "ja-JP", "en": "en-US"}.get(self.language, self.language)


def no_role(_channel: str, _direction: str) -> Speaker | None:
    """A channel's name does not say who speaks."""
    return None


Read = Callable[[bytes, Envelope], Iterable[Heard]]
Write = Callable[[CallEvent, Telling], list[bytes]]
WriteCall = Callable[[Sequence[CallEvent], Telling], list[bytes]]


def language_query(telling: Telling) -> dict[str, str]:
    """The messages name their call but not its language."""
    return {"language": telling.language}


def call_query(telling: Telling) -> dict[str, str]:
    """The messages name neither their call nor its language."""
    return {"call_id": telling.call_id, **language_query(telling)}


def channels_query(telling: Telling) -> dict[str, str]:
    """They number their channels as well, and do not say whose each one is."""
    return {**call_query(telling), "channels": "customer,agent"}


def no_query(_telling: Telling) -> dict[str, str]:
    """The messages name their call; the address needs nothing."""
    return {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """One vendor's format.

    Args:
        name: as in `?format=NAME`: lower case, digits, underscores.
        title: for people.
        read: one message into statements; raises `AdapterError`.
        write: an event as the vendor would tell it, for the demo and the tests; [] for what the vendor cannot tell.
        write_call: the same for a format that tells whole calls.
        query: parameters that a connection of one call needs; with any, each call has a connection of its own.
        one_call: whether a connection carries one call, which the query names.
        names_calls: whether its messages can name their calls all the same.
        split: whether each side of a call has a connection of its own, named by `speaker`.
        webhook: whether the vendor posts rather than streams.
        channel_role: who speaks on a channel, where neither message nor query says it.
        shaky_channels: channel numbers cannot be believed until a second one was seen.
        media_type: of a posted message.
    """

    name: str
    title: str
    read: Read
    write: Write | None = None
    write_call: WriteCall | None = None
    query: Callable[[Telling], dict[str, str]] = no_query
    one_call: bool = False
    names_calls: bool = False
    split: bool = False
    webhook: bool = False
    channel_role: Callable[[str, str], Speaker | None] = no_role
    shaky_channels: bool = False
    media_type: str = "application/json"

    def sides(self, event: CallEvent) -> tuple[str, ...]:
        """On which of the call's connections an event is told: `""` for the only one, else the speaker's name."""
        if not self.split:
            return ("",)
        if isinstance(event.body, Segment):
            return (Speaker.CUSTOMER.value if event.body.speaker is Speaker.CUSTOMER else Speaker.AGENT.value,)
        return (Speaker.CUSTOMER.value, Speaker.AGENT.value)

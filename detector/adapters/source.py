"""The state of one source, bounded: what an adapter remembers between two messages.

Remembered per call: when media time 0 was, who speaks on which channel, the open utterance of each channel, the parts of
incremental partials, what ended. Remembered per source: unknown types by name, and whether it masks words. The least
recently heard call is forgotten first; what it says next is taken up as that of a known call, if the log knows it.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import sha256
from typing import Final

from detector.labels import Speaker

MAX_CALLS: Final = 20_000
"""Calls remembered per source; the server's own default limit of live calls is 12,000."""
MAX_KINDS: Final = 64
"""Unknown types counted by name; further ones count as `other`."""
MAX_REPORTS: Final = 64
MAX_PIECES: Final = 64
"""Parts of one incremental partial; beyond it the oldest are dropped, the final has all of them."""
MAX_OPEN: Final = 16
"""Utterances of one call with open parts."""
MAX_RECENT: Final = 128
"""Finals of one call remembered to tell a repeated message from a new one."""
MAX_CHANNELS: Final = 16
MAX_TEXT_CHARS: Final = 16_000
MAX_ID_CHARS: Final = 256
MAX_METADATA: Final = 64
CHARS_S: Final = {"ja": 7.0, "en": 14.0}
"""Characters a second of telephone speech, for platforms that tell no start: about 400 kana and kanji, or 160 English
words a minute."""


class ReportKind(StrEnum):
    """What a house should hear about a source."""

    UNKNOWN_TYPE = "unknown_type"
    MASKED = "masked_stream"
    WRONG_ITEM = "wrong_item"


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """One thing to tell, free of what was said."""

    kind: ReportKind
    detail: str


@dataclass(slots=True, kw_only=True)
class Channel:
    """One audio channel of a call.

    Args:
        open_id: of the utterance that is being spoken, or empty.
        open_ms: media time at which it began.
        last_ms: media time of the channel's last final.
    """

    open_id: str = ""
    open_ms: int = 0
    last_ms: int = 0
    has_partial: bool = False


@dataclass(slots=True, kw_only=True)
class CallView:
    """What is remembered of a call.

    Args:
        started_ms: UTC of media time 0, or None while the platform has not said.
        last_ms: media time reached.
        over: whether its end was told on.
        streams: open streams, and by their media time of origin where one began anew.
        pieces: parts of open incremental partials: (start, end, words) by part, by utterance.
        recent: finals already told on.
    """

    started_ms: int | None = None
    language: str = "ja"
    direction: str = "inbound"
    last_ms: int = 0
    over: bool = False
    roles: dict[str, Speaker] = field(default_factory=dict)
    channels: dict[str, Channel] = field(default_factory=dict)
    streams: dict[str, int] = field(default_factory=dict)
    pieces: dict[str, dict[str, tuple[float, float, str]]] = field(default_factory=dict)
    recent: OrderedDict[str, None] = field(default_factory=OrderedDict)
    newest_order: dict[str, int] = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class Source:
    """The state of one source of one format.

    A state belongs to the call that it is passed to: afterwards the returned one stands in its place.

    Args:
        calls: by id, least recently heard first.
        unknown: how often each unknown type came.
        counts: `messages`, `events`, `repeated` (delivered before), `late` (after the end), `wrong` (items refused).
        masked: whether a masked word was seen.
        reports: what is new to tell; whoever feeds the source takes them.
    """

    calls: OrderedDict[str, CallView] = field(default_factory=OrderedDict)
    unknown: dict[str, int] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    masked: bool = False
    reports: list[Report] = field(default_factory=list)

    def take_reports(self) -> list[Report]:
        """What is new to tell, once."""
        taken, self.reports = self.reports, []
        return taken

    def forget(self, call_id: str) -> None:
        """Forgets a call, because what it said last was not stored and will come again."""
        self.calls.pop(call_id, None)


def clip(words: str) -> str:
    """At most as long as the protocol's short texts."""
    return words[:MAX_ID_CHARS]


def clip_id(name: str) -> str:
    """An id within the protocol's bound; of a longer one the digest keeps it unique."""
    if len(name) <= MAX_ID_CHARS:
        return name
    return f"{name[:190]}~{sha256(name.encode('utf-8', 'surrogatepass')).hexdigest()}"


def speech_ms(words: str, language: str) -> int:
    """About how long it takes to say so."""
    return round(len(words) / CHARS_S.get(language[:2].lower(), 14.0) * 1000)

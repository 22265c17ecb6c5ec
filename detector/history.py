"""The last finals of a call, most of them packed, and the ids of all that were folded lately.

A floor holds thousands of calls, and old words are rarely asked for: the newest finals lie as they came, the older ones are rows of
one bytes object, and of an id only a digest is kept.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field, replace
from math import isnan, nan
from typing import Final

from detector.events import Segment
from detector.labels import Speaker

MAX_HISTORY: Final = 32
"""Finals kept to judge a call again when its speakers turn out to be swapped; beyond it the oldest is forgotten."""
MAX_RECENT: Final = 4
"""Of these, how many lie unpacked: those that may be heard again as an echo on the other channel."""
MAX_SEEN: Final = 256
"""Segment ids remembered for de-duplication, twenty minutes of talk at least; beyond it the oldest is forgotten. Events
that carry a `seq` are known by that, however old."""
DIGEST_BYTES: Final = 6
"""Of a segment id: among `MAX_SEEN` ids one new one looks like a known one once in 10^12."""
_HEAD: Final = struct.Struct("<IIIqqdBB")
"""Lengths of id, text and language in bytes, start, end, confidence (NaN: none), speaker, flags."""
_SPEAKERS: Final = tuple(Speaker)
_FINAL: Final = 1
_MASKED: Final = 2
_WIDE: Final = 4
"""Flag of a row whose text is UTF-16: two bytes for a kana or kanji, against three of UTF-8."""


@dataclass(slots=True, kw_only=True)
class History:
    """The last finals; plain data, so that a snapshot can hold it.

    Args:
        recent: the newest, oldest first.
        packed: the rows of those before them, oldest first.
        packed_count: how many rows that is.
    """

    recent: list[Segment] = field(default_factory=list)
    packed: bytes = b""
    packed_count: int = 0

    def __iter__(self) -> Iterator[Segment]:
        """All that are kept, oldest first."""
        at = 0
        while at < len(self.packed):
            segment, at = _unpack(self.packed, at)
            yield segment
        yield from self.recent

    @property
    def last(self) -> Segment | None:
        """The newest."""
        return self.recent[-1] if self.recent else None

    def append(self, segment: Segment) -> None:
        """Adds one; the oldest is forgotten when there are too many."""
        self.recent.append(segment)
        if len(self.recent) <= MAX_RECENT:
            return
        start = 0
        if self.packed_count >= MAX_HISTORY - MAX_RECENT:
            start = _end_of(self.packed, 0)
        else:
            self.packed_count += 1
        self.packed = self.packed[start:] + _pack(self.recent.pop(0))

    def find(self, segment_ids: Collection[str]) -> list[Segment]:
        """Those of these ids, oldest first."""
        found = [segment for segment in self.recent if segment.segment_id in segment_ids]
        if len(found) == len(segment_ids):
            return found
        wanted = {segment_id.encode("utf-8", "surrogatepass") for segment_id in segment_ids}
        older: list[Segment] = []
        at = 0
        while at < len(self.packed):
            id_bytes, *_ = _HEAD.unpack_from(self.packed, at)
            if self.packed[at + _HEAD.size : at + _HEAD.size + id_bytes] in wanted:
                older.append(_unpack(self.packed, at)[0])
            at = _end_of(self.packed, at)
        return older + found

    def remove_recent(self, segment_id: str) -> None:
        """Forgets one of the newest."""
        self.recent = [segment for segment in self.recent if segment.segment_id != segment_id]

    def mask(self, segment_id: str, text: str) -> str | None:
        """Puts a text in place of one's own.

        Returns:
            The text that stood there; None where none is kept of that id.
        """
        found = self.find({segment_id})
        if not found:
            return None
        kept = [replace(each, text=text) if each.segment_id == segment_id else each for each in self]
        older = len(kept) - len(self.recent)
        self.packed, self.recent = b"".join(map(_pack, kept[:older])), kept[older:]
        return found[0].text


def digest(segment_id: str) -> bytes:
    """What is remembered of a segment id, `DIGEST_BYTES` long."""
    return hashlib.blake2b(segment_id.encode("utf-8", "surrogatepass"), digest_size=DIGEST_BYTES).digest()


def has_digest(seen: bytes, wanted: bytes) -> bool:
    """Whether a digest is among those that stand one behind the other in `seen`."""
    at = seen.find(wanted)
    while at > 0 and at % DIGEST_BYTES:
        at = seen.find(wanted, at + 1)
    return at >= 0


def remember(seen: bytes, new: bytes) -> bytes:
    """Adds a digest; the oldest goes when there are more than `MAX_SEEN`."""
    return (seen + new)[-MAX_SEEN * DIGEST_BYTES :]


def _pack(segment: Segment) -> bytes:
    wide = not segment.text.isascii()
    words = (
        segment.segment_id.encode("utf-8", "surrogatepass"),
        segment.text.encode("utf-16-le" if wide else "ascii", "surrogatepass"),
        segment.language.encode("utf-8", "surrogatepass"),
    )
    head = _HEAD.pack(
        *map(len, words),
        segment.start_ms,
        segment.end_ms,
        nan if segment.confidence is None else segment.confidence,
        _SPEAKERS.index(segment.speaker),
        segment.is_final * _FINAL | segment.masked * _MASKED | wide * _WIDE,
    )
    return b"".join((head, *words))


def _end_of(packed: bytes, at: int) -> int:
    id_bytes, text_bytes, language_bytes, *_ = _HEAD.unpack_from(packed, at)
    return int(at + _HEAD.size + id_bytes + text_bytes + language_bytes)


def _unpack(packed: bytes, at: int) -> tuple[Segment, int]:
    *sizes, start_ms, end_ms, confidence, speaker, flags = _HEAD.unpack_from(packed, at)
    at += _HEAD.size
    words = []
    for size, coding in zip(sizes, ("utf-8", "utf-16-le" if flags & _WIDE else "ascii", "utf-8"), strict=True):
        words.append(packed[at : at + size].decode(coding, "surrogatepass"))
        at += size
    segment = Segment(
        segment_id=words[0],
        speaker=_SPEAKERS[speaker],
        text=words[1],
        start_ms=start_ms,
        end_ms=end_ms,
        is_final=bool(flags & _FINAL),
        confidence=None if isnan(confidence) else confidence,
        language=words[2],
        masked=bool(flags & _MASKED),
    )
    return segment, at

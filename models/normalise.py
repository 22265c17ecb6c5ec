"""Text as the model reads it, with a map back to the characters that the caller sent.

Phone transcripts arrive in every spelling that vendors have: full-width Latin, half-width kana, drawn-out vowels,
invisible joiners. The model and the lexicon read one normal form; alerts point into the original. Both are kept exact by
normalising small groups of characters one by one, so every normal character knows the range it came from.

The module knows nothing about tokens or labels.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from typing import Final

PLACEHOLDERS: Final[tuple[str, ...]] = (
    "〈電話番号〉",
    "〈住所〉",
    "〈カード番号〉",
    "〈メール〉",
    "〈氏名〉",
    "〈マイナンバー〉",
)
"""Typed placeholders that redaction writes; each is one token of the model."""

_VARIANTS: Final = {"𠮟": "叱", "瘦": "痩", "剝": "剥", "塡": "填", "頰": "頬"}
"""JIS X 0213 forms beside the form that the encoder's vocabulary knows."""

_PLAIN_REPEAT: Final = 2
"""Letters and kana said longer than this are cut to it: 「うるせえええ」 and 「うるせええ」 read alike."""

_MASK_REPEAT: Final = 3
"""A masked word (`***`) keeps three marks, so `f***` and `f******` read alike and a lone `*` stays another thing."""

_STRETCHED: Final = frozenset("ー〜~!?。、,.…・-—―wｗ笑")
"""Marks that carry no more when repeated; cut to one."""

_UNTOUCHED: Final = re.compile(
    r"[^\u0000-\u001f\u007f-\u00a0\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180e\u2000-\u200f\u2028-\u202f"
    r"\u205f-\u206f\u3000\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\uffff\U0001bca0-\U000e01ef"
    r"𠮟瘦剝塡頰]*"
)
_INVISIBLE: Final = re.compile("[\u034f\u115f\u1160\u3164\uffa0\ufe00-\ufe0f\U000e0100-\U000e01ef]")
"""Variation selectors, the grapheme joiner and the blank Hangul fillers: letters or marks to Unicode, nothing to an eye."""
_REPEATS: Final = re.compile(r"(\D)\1\1|([ー〜~!?。、,.…・\-—―wｗ笑 ])\2")


@dataclass(frozen=True, slots=True, kw_only=True)
class Normalised:
    """A text in normal form.

    Args:
        text: the normal form; may be empty.
        starts: for each character of `text`, the first original code point it came from; `None` says one to one.
        ends: one past the last original code point; `None` says one to one.
    """

    text: str
    starts: tuple[int, ...] | None
    ends: tuple[int, ...] | None

    def original(self, start: int, end: int) -> tuple[int, int]:
        """The original range behind the normal characters `start` to `end` (exclusive, at least one character)."""
        if self.starts is None or self.ends is None:
            return start, end
        return self.starts[start], self.ends[end - 1]


def normalise(text: str) -> Normalised:
    """The normal form of `text`: NFKC, lower case, no invisible characters, single spaces, no stretched sounds.

    Text that only lacks lower case, which most transcripts are, takes one step instead of one per character.
    """
    lowered = text.lower()
    if (
        len(lowered) == len(text)
        and unicodedata.is_normalized("NFKC", text)
        and _UNTOUCHED.fullmatch(lowered)
        and not _REPEATS.search(lowered)
        and not lowered[:1].isspace()
        and not lowered[-1:].isspace()
    ):
        return Normalised(text=lowered, starts=None, ends=None)
    characters: list[str] = []
    starts: list[int] = []
    ends: list[int] = []
    for start, end in _groups(text):
        for character in _normal_group(text[start:end]):
            if _is_surplus(character, characters):
                if character == " " and (not characters or characters[-1] == " "):
                    continue
                ends[-1] = end
                continue
            characters.append(character)
            starts.append(start)
            ends.append(end)
    while characters and characters[-1] == " ":
        characters.pop()
        starts.pop()
        ends.pop()
    return Normalised(text="".join(characters), starts=tuple(starts), ends=tuple(ends))


def _groups(text: str) -> list[tuple[int, int]]:
    """Ranges of a base character and the marks that follow it, which NFKC may compose into one."""
    groups: list[tuple[int, int]] = []
    for index, character in enumerate(text):
        joins = character in "\uff9e\uff9f" or unicodedata.combining(character) != 0
        if joins and groups:
            groups[-1] = (groups[-1][0], index + 1)
        else:
            groups.append((index, index + 1))
    return groups


def _normal_group(group: str) -> str:
    """One group in normal form; empty for invisible characters, a space for control characters."""
    kept: list[str] = []
    for character in unicodedata.normalize("NFKC", group):
        category = unicodedata.category(character)
        if character.isspace() or category == "Cc":
            kept.append(" ")
        elif category not in {"Cf", "Cs", "Co", "Cn"} and not _INVISIBLE.match(character):
            kept.append(_VARIANTS.get(character, character).lower())
    return "".join(kept)


def _is_surplus(character: str, before: list[str]) -> bool:
    """Says whether `character` only stretches what stands before it. Digits never do: 1000 is not 100."""
    if character == " ":
        return not before or before[-1] == " "
    if not before or before[-1] != character or character.isdigit():
        return False
    limit = _PLAIN_REPEAT
    if character in _STRETCHED:
        limit = 1
    elif character == "*":
        limit = _MASK_REPEAT
    return len(before) >= limit and all(earlier == character for earlier in before[-limit:])

"""What speech recognisers, redaction and segmentation do to an utterance, done to training text.

Every operation keeps track of which characters are evidence, so spans stay exact. Labels never change: an operation that
could take the meaning away (masking, cutting off) leaves evidence alone or only touches a part of it.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from detector.labels import Speaker
from detector.scoring import Turn
from models.normalise import PLACEHOLDERS
from models.train.public import Example

_Marked = list[tuple[str, bool]]
"""Characters, each with whether it is evidence."""

_PUNCTUATION: Final = frozenset('、。，．,.!?！？「」『』"“”…・')
_FILLERS: Final = {
    "ja": ("えーと", "あのー", "まあ", "その、", "えっと", "なんか", "あの", "うーんと", "いや", "ていうか"),
    "en": ("uh ", "um ", "I mean ", "like ", "you know ", "well ", "er ", "so "),
}
_SOUND_ALIKE: Final = {
    "ja": (
        ("言う", "いう"), ("言って", "いって"), ("電話", "伝話"), ("対応", "対抗"), ("聞いて", "効いて"), ("意思", "石"),
        ("会社", "貝社"), ("お前", "おまえ"), ("俺", "おれ"), ("私", "わたし"), ("分かる", "わかる"), ("何", "なに"),
        ("誠意", "生意"), ("謝れ", "誤れ"), ("以上", "異常"), ("責任", "積任"), ("殺す", "ころす"), ("死ね", "しね"),
        ("辞めろ", "止めろ"), ("家", "うち"), ("来い", "こい"), ("バカ", "ばか"), ("馬鹿", "バカ"), ("奴", "やつ"),
    ),
    "en": (
        ("you're", "your"), ("your", "you're"), ("their", "there"), ("going to", "gonna"), ("want to", "wanna"),
        ("i'm", "im"), ("i'll", "ill"), ("don't", "dont"), ("can't", "cant"), ("right", "write"), ("know", "no"),
        ("hear", "here"), ("wait", "weight"), ("because", "cuz"), ("what", "wot"), ("whole", "hole"), ("to", "too"),
    ),
}  # fmt: skip


def augment(example: Example, rng: random.Random) -> Example:
    """A noisy copy; one in four comes back with at most its context changed."""
    marked = _marked(example)
    if rng.random() > 0.25:
        for operation, chance in _OPERATIONS:
            if rng.random() < chance:
                marked = operation(marked, example.language, rng)
    text = "".join(character for character, _ in marked)
    if not text.strip():
        return example
    spans = None if example.spans is None else _spans(marked)
    if example.spans and not spans:
        return example
    return replace(example, text=text, spans=spans, context=_context(example, rng))


def _marked(example: Example) -> _Marked:
    inside = {place for start, end in example.spans or () for place in range(start, end)}
    return [(character, place in inside) for place, character in enumerate(example.text)]


def _spans(marked: _Marked) -> tuple[tuple[int, int], ...]:
    spans: list[tuple[int, int]] = []
    for place, (_, evidence) in enumerate(marked):
        if evidence and spans and spans[-1][1] == place:
            spans[-1] = (spans[-1][0], place + 1)
        elif evidence:
            spans.append((place, place + 1))
    return tuple(spans)


def _context(example: Example, rng: random.Random) -> tuple[Turn, ...]:
    """Context as it may arrive: cut short, or with a speaker nobody knows. Without it only where no label hangs on it."""
    turns = example.context
    if turns and rng.random() < 0.1:
        turns = turns[-rng.randint(1, len(turns)) :]
    if turns and rng.random() < 0.05:
        turns = tuple(replace(turn, speaker=Speaker.UNKNOWN) for turn in turns)
    return turns


def _drop_punctuation(marked: _Marked, language: str, rng: random.Random) -> _Marked:
    instead = rng.choice(("", "", " ")) if language == "ja" else ""
    dropped: _Marked = []
    for character, evidence in marked:
        if character not in _PUNCTUATION:
            dropped.append((character, evidence))
        elif instead:
            dropped.append((instead, evidence))
    return dropped


def _add_filler(marked: _Marked, language: str, rng: random.Random) -> _Marked:
    filler = rng.choice(_FILLERS[language])
    places = [0] if rng.random() < 0.6 else [n for n in range(len(marked)) if _is_break(marked, n, language)] or [0]
    place = rng.choice(places)
    return [*marked[:place], *((character, False) for character in filler), *marked[place:]]


def _is_break(marked: _Marked, place: int, language: str) -> bool:
    before = marked[place - 1][0] if place else " "
    return before in "、。" if language == "ja" else before == " "


def _sound_alike(marked: _Marked, language: str, rng: random.Random) -> _Marked:
    text = "".join(character for character, _ in marked)
    found = [(old, new) for old, new in _SOUND_ALIKE[language] if old in text]
    if not found:
        return marked
    old, new = rng.choice(found)
    start = text.index(old)
    evidence = any(flag for _, flag in marked[start : start + len(old)])
    return [*marked[:start], *((character, evidence) for character in new), *marked[start + len(old) :]]


def _other_kana(marked: _Marked, language: str, rng: random.Random) -> _Marked:
    """Swaps hiragana and katakana in a short stretch."""
    if language != "ja" or len(marked) < 2:
        return marked
    start = rng.randrange(len(marked))
    changed = list(marked)
    for place in range(start, min(start + rng.randint(2, 5), len(marked))):
        character, evidence = marked[place]
        if "ぁ" <= character <= "ん":
            changed[place] = (chr(ord(character) + 0x60), evidence)
        elif "ァ" <= character <= "ン":
            changed[place] = (chr(ord(character) - 0x60), evidence)
    return changed


def _split_words(marked: _Marked, language: str, rng: random.Random) -> _Marked:
    """Spaces between Japanese words as some recognisers print them."""
    if language != "ja":
        return marked
    share = rng.choice((0.05, 0.3))
    spaced: _Marked = []
    for place, (character, evidence) in enumerate(marked):
        if place and rng.random() < share and character not in "ぁぃぅぇぉっゃゅょーんァィゥェォッャュョン":
            spaced.append((" ", evidence and marked[place - 1][1]))
        spaced.append((character, evidence))
    return spaced


def _drop_character(marked: _Marked, language: str, rng: random.Random) -> _Marked:
    if len(marked) < 10:
        return marked
    place = rng.randrange(len(marked))
    return [*marked[:place], *marked[place + 1 :]]


_LEET: Final = {"a": "4", "e": "3", "i": "1", "o": "0", "s": "5", "t": "7"}


def _spelling(marked: _Marked, language: str, rng: random.Random) -> _Marked:
    """English as written to dodge a filter: digits for letters, letters parted or swapped, words run together."""
    if language != "en" or len(marked) < 6:
        return marked
    manner = rng.randrange(4)
    places = [n for n, (_, evidence) in enumerate(marked) if evidence] or list(range(len(marked)))
    if manner == 0:
        chosen = set(rng.sample(places, max(1, len(places) // 4)))
        return [(_LEET.get(c.lower(), c) if n in chosen else c, flag) for n, (c, flag) in enumerate(marked)]
    if manner == 1:
        start = rng.choice(places)
        parted: _Marked = []
        for place, (character, evidence) in enumerate(marked):
            parted.append((character, evidence))
            if start <= place < start + 6 and character.isalpha():
                parted.append((" ", evidence))
        return parted
    if manner == 2:
        place = min(rng.choice(places), len(marked) - 2)
        return [*marked[:place], marked[place + 1], marked[place], *marked[place + 2 :]]
    spaces = [n for n, (character, _) in enumerate(marked) if character == " "]
    gone = set(rng.sample(spaces, min(len(spaces), rng.randint(1, 2))))
    return [pair for place, pair in enumerate(marked) if place not in gone]


def _cut_off(marked: _Marked, language: str, rng: random.Random) -> _Marked:
    """The end is lost, as in a cut segment; never the last evidence."""
    last = max((place for place, (_, evidence) in enumerate(marked) if evidence), default=len(marked) * 2 // 3)
    keep = rng.randint(min(last + 1, len(marked)), len(marked))
    return marked[:keep] if keep >= 4 else marked


def _mask_word(marked: _Marked, language: str, rng: random.Random) -> _Marked:
    """A vendor's profanity filter over a part of the evidence: two characters of a longer span."""
    places = [n for n, (_, evidence) in enumerate(marked) if evidence]
    if len(places) < 8:
        return marked
    start = rng.choice(places[:-2])
    if not marked[start + 1][1]:
        return marked
    return [*marked[:start], *(("*", True) for _ in range(3)), *marked[start + 2 :]]


_DIGITS: Final = re.compile(r"[0-90-9]{2,}(?:[-‐ー][0-90-9]+)*")


def _placeholder(marked: _Marked, language: str, rng: random.Random) -> _Marked:
    """Redaction over digits."""
    text = "".join(character for character, _ in marked)
    match = _DIGITS.search(text)
    if match is None:
        return marked
    evidence = any(flag for _, flag in marked[match.start() : match.end()])
    label = rng.choice(PLACEHOLDERS)
    return [*marked[: match.start()], *((character, evidence) for character in label), *marked[match.end() :]]


_OPERATIONS: Final[tuple[tuple[Callable[[_Marked, str, random.Random], _Marked], float], ...]] = (
    (_placeholder, 0.15),
    (_drop_punctuation, 0.45),
    (_add_filler, 0.2),
    (_sound_alike, 0.15),
    (_other_kana, 0.1),
    (_split_words, 0.1),
    (_drop_character, 0.1),
    (_spelling, 0.12),
    (_cut_off, 0.1),
    (_mask_word, 0.04),
)

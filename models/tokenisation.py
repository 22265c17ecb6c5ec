"""From a request to the token ids that the model reads, and from tokens back to the characters of the request.

    [SPEAKER] utterance [SEP] [AGENT] newest turn [CUSTOMER] turn before … padding
    └─ reads all ──────────┘ └─ reads all ─────────────────┘
       the utterance and its [SEP] read the utterance alone

The first token says whose utterance is scored; it is the one that the label heads read. The utterance comes first and is
never cut for the sake of context. Lengths are fixed buckets that depend on the input alone, so that the shape of the
computation, and with it every bit of the score, never depends on a batch neighbour.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from tokenizers import Tokenizer

from detector.labels import Speaker
from detector.scoring import Turn
from models.errors import ModelFilesError
from models.normalise import PLACEHOLDERS, Normalised, normalise

BUCKETS: Final = (8, 12, 16, 20, 24, 28, 32, 40, 48)
"""Padded lengths, in tokens. 48 is the most that the budget of 1,667 finals a second on two cores allows."""

MAX_TOKENS: Final = BUCKETS[-1]
_FRAME: Final = 2  # the speaker's token and [SEP]
WINDOW: Final = MAX_TOKENS - _FRAME
"""Tokens of an utterance that one pass reads; a longer one is read in windows, and its highest scores count."""

OVERLAP: Final = 8
"""Tokens that neighbouring windows share, so that a phrase on a cut is read whole once."""

MAX_WINDOWS: Final = 256
"""Bounds the work for one text: about 10,000 tokens, more than 16,000 characters of speech hold."""

CONTEXT_TURNS: Final = 4
"""Earlier turns that are read, the last ones."""

CONTEXT_TURN_TOKENS: Final = 24
"""Most tokens of one context turn; its end is kept, for that is what the utterance answers."""

CUSTOMER_CLS, AGENT_CLS, CUSTOMER_TURN, AGENT_TURN = "<customer>", "<agent>", "<customer-turn>", "<agent-turn>"
SPECIALS: Final = (CUSTOMER_CLS, AGENT_CLS, CUSTOMER_TURN, AGENT_TURN, *PLACEHOLDERS)
"""Tokens that the vocabulary has beside the base encoder's, in the order of their ids."""

_BACKCHANNELS: Final = frozenset(
    [
        "はい",
        "ええ",
        "うん",
        "うんうん",
        "はいはい",
        "はい はい",
        "はい、はい",
        "ええ、ええ",
        "ああ",
        "あー",
        "なるほど",
        "そうですか",
        "そうですね",
        "そうです",
        "わかりました",
        "分かりました",
        "承知しました",
        "ありがとうございます",
        "お願いします",
        "もしもし",
        "えっと",
        "あの",
        "はあ",
        "へえ",
        "ふーん",
        "yes",
        "yeah",
        "yep",
        "yup",
        "no",
        "nope",
        "ok",
        "okay",
        "right",
        "all right",
        "alright",
        "sure",
        "mhm",
        "uh-huh",
        "uh huh",
        "hmm",
        "thanks",
        "thank you",
        "hello",
        "hi",
        "i see",
        "got it",
    ]
)
"""Utterances read without context: they mean the same after any turn, and without it a cache can serve them."""

_LONGEST_ALONE: Final = 2 * max(map(len, _BACKCHANNELS))
"""Characters, with what the normal form takes away, beyond which a text is not looked up among them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedInput:
    """One window of one utterance, ready for the model.

    Args:
        ids: token ids without padding.
        utterance_end: one past the last token that belongs to the utterance and its [SEP]; the utterance's own tokens are
            `1` to `utterance_end - 1` (exclusive).
        offsets: for each of the utterance's own tokens, `(start, end)` in code points of the original text.
        padded_length: the bucket that `ids` are padded to.
    """

    ids: tuple[int, ...]
    utterance_end: int
    offsets: tuple[tuple[int, int], ...]
    padded_length: int


class InputTokeniser:
    """Builds inputs with one vocabulary; safe to call from several threads.

    Args:
        tokenizer: a `tokenizers.Tokenizer` whose vocabulary holds `SPECIALS`.

    Raises:
        ModelFilesError: a special token is missing.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        ids = {token: tokenizer.token_to_id(token) for token in (*SPECIALS, "</s>", "<pad>", "<unk>")}
        missing = [token for token, number in ids.items() if number is None]
        if missing:
            raise ModelFilesError(f"the tokenizer lacks {missing}")
        self.pad_id: int = ids["<pad>"]
        self.unknown_id: int = ids["<unk>"]
        self._separator: int = ids["</s>"]
        self._cls = {speaker: ids[AGENT_CLS if speaker is Speaker.AGENT else CUSTOMER_CLS] for speaker in Speaker}
        self._marks = {speaker: ids[AGENT_TURN if speaker is Speaker.AGENT else CUSTOMER_TURN] for speaker in Speaker}
        # Turns come back as context up to four times, and were utterances before.
        self._turn_ids = lru_cache(maxsize=16384)(self._tokenise_turn)

    @classmethod
    def from_file(cls, path: Path) -> InputTokeniser:
        """Loads a `tokenizer.json`.

        Raises:
            ModelFilesError: it is missing or damaged.
        """
        try:
            return cls(Tokenizer.from_file(str(path)))
        except Exception as error:  # the tokenizers library raises bare Exception
            raise ModelFilesError(f"{path.name}: {error}") from error

    @property
    def vocabulary_size(self) -> int:
        """Pieces and special tokens."""
        return int(self._tokenizer.get_vocab_size())

    def encode(
        self, text: str, *, speaker: Speaker = Speaker.CUSTOMER, context: Sequence[Turn] = ()
    ) -> list[EncodedInput]:
        """One input, or one per window where the utterance is longer than `WINDOW` tokens.

        Args:
            text: the utterance; may be empty or hold nothing that the model reads.
            speaker: whose it is; an agent's is read without context.
            context: earlier turns, oldest first; the last `CONTEXT_TURNS` are read as far as there is room.
        """
        normal = normalise(text)
        encoding = self._tokenizer.encode(normal.text, add_special_tokens=False)
        ids: list[int] = encoding.ids
        offsets = _original_offsets(encoding.offsets, normal)
        if len(ids) > WINDOW:
            return [
                self._input(ids[start : start + WINDOW], offsets[start : start + WINDOW], speaker, [])
                for start in _window_starts(len(ids))
            ]
        alone = speaker is Speaker.AGENT or _is_backchannel(normal.text)
        return [self._input(ids, offsets, speaker, [] if alone else self._context_ids(context, WINDOW - len(ids)))]

    def _input(
        self, ids: Sequence[int], offsets: Sequence[tuple[int, int]], speaker: Speaker, context: Sequence[int]
    ) -> EncodedInput:
        whole = (self._cls[speaker], *ids, self._separator, *context)
        return EncodedInput(
            ids=whole,
            utterance_end=len(ids) + _FRAME,
            offsets=tuple(offsets),
            padded_length=bucket(len(whole)),
        )

    def _context_ids(self, context: Sequence[Turn], room: int) -> list[int]:
        found: list[int] = []
        for turn in reversed(context[-CONTEXT_TURNS:]):
            left = room - len(found) - 1
            if left < 2:
                break
            found.append(self._marks[turn.speaker])
            found.extend(self._turn_ids(turn.text)[-left:])
        return found

    def _tokenise_turn(self, text: str) -> tuple[int, ...]:
        ids: list[int] = self._tokenizer.encode(normalise(text).text, add_special_tokens=False).ids
        return tuple(ids[-CONTEXT_TURN_TOKENS:])


def reads_alone(text: str, speaker: Speaker) -> bool:
    """Whether an utterance is read without its context, so that equal ones are equal inputs: an agent's, a backchannel."""
    return speaker is Speaker.AGENT or (len(text) <= _LONGEST_ALONE and _is_backchannel(normalise(text).text))


def _is_backchannel(normal: str) -> bool:
    return normal.rstrip("。.!?、, ") in _BACKCHANNELS


def bucket(length: int) -> int:
    """The padded length for an input of `length` tokens, at most `MAX_TOKENS`."""
    return next(size for size in BUCKETS if size >= length)


def _window_starts(length: int) -> list[int]:
    """Starts of windows over `length` tokens; the last one ends with the text."""
    step = WINDOW - OVERLAP
    starts = list(range(0, length - WINDOW, step))[: MAX_WINDOWS - 1]
    return [*starts, length - WINDOW]


def _original_offsets(offsets: Sequence[tuple[int, int]], normal: Normalised) -> list[tuple[int, int]]:
    """Offsets in the normal form as offsets in the original; an empty piece points at the character it stands before."""
    found: list[tuple[int, int]] = []
    for start, end in offsets:
        if end > start:
            found.append(normal.original(start, end))
        else:
            place = found[-1][1] if found else 0
            found.append((place, place))
    return found

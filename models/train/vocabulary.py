"""Cuts the base encoder's vocabulary to the pieces that phone talk in two languages uses, and adds our special tokens.

Three quarters of the base's weights are word pieces of other languages and spellings; the normal form (lower case, NFKC)
leaves many of the rest without use.
"""

from __future__ import annotations

import json
import unicodedata
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import torch
from tokenizers import Tokenizer

from models.encoder import Encoder
from models.normalise import PLACEHOLDERS, normalise
from models.tokenisation import AGENT_CLS, AGENT_TURN, CUSTOMER_CLS, CUSTOMER_TURN, SPECIALS

DEFAULT_PIECES: Final = 32_000
"""Pieces kept. Of the normal form of all training text they leave nothing out; see the datasheet for the count."""

_BASE_SPECIALS: Final = 4  # <s>, <pad>, </s>, <unk>


def cut_tokenizer(
    base: Path, texts: Iterable[str], *, pieces: int = DEFAULT_PIECES
) -> tuple[dict[str, Any], list[int]]:
    """The cut `tokenizer.json` and, for each kept piece, its row in the base's embeddings.

    Args:
        base: folder of the base encoder.
        texts: what the pieces are counted on.
        pieces: how many to keep at most, single characters and kana first, then the most frequent.
    """
    document = json.loads((base / "tokenizer.json").read_text(encoding="utf-8"))
    document.update(normalizer=None, post_processor=None, truncation=None, padding=None)
    vocabulary: list[list[Any]] = document["model"]["vocab"]
    counts = _counted(document, texts)
    wanted = set(range(_BASE_SPECIALS))
    by_use = sorted(
        range(_BASE_SPECIALS, len(vocabulary)), key=lambda row: (-_rank(vocabulary[row][0], counts[row]), row)
    )
    for row in by_use:
        if len(wanted) >= pieces:
            break
        if _rank(vocabulary[row][0], counts[row]) > 0:
            wanted.add(row)
    rows = sorted(wanted)
    document["model"]["vocab"] = [vocabulary[row] for row in rows]
    document["added_tokens"] = [
        {**_ADDED, "id": len(rows) + number, "content": token} for number, token in enumerate(SPECIALS)
    ]
    return document, rows


_ADDED: Final = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}


def _counted(document: dict[str, Any], texts: Iterable[str]) -> Counter[int]:
    whole = Tokenizer.from_str(json.dumps({**document, "added_tokens": []}))
    counts: Counter[int] = Counter()
    block: list[str] = []
    for text in texts:
        block.append(normalise(text).text)
        if len(block) == 4096:
            for encoding in whole.encode_batch(block, add_special_tokens=False):
                counts.update(encoding.ids)
            block.clear()
    for encoding in whole.encode_batch(block, add_special_tokens=False):
        counts.update(encoding.ids)
    return counts


def _rank(piece: str, count: int) -> float:
    """How much a piece is wanted: single characters that phone talk may hold whatever the count, others by use."""
    bare = piece.removeprefix("▁")
    if len(bare) <= 1 and unicodedata.normalize("NFKC", bare).lower() == bare:
        return 1e9 + count
    return float(count)


def cut_encoder(encoder: Encoder, rows: list[int]) -> Encoder:
    """The encoder with the kept rows of its word embeddings, and new rows for `SPECIALS` made of related pieces."""
    old = encoder.word_embeddings.weight.data
    first, _, separator, unknown = old[0], old[1], old[2], old[3]
    new = {CUSTOMER_CLS: first, AGENT_CLS: first, CUSTOMER_TURN: separator, AGENT_TURN: separator}
    new.update(dict.fromkeys(PLACEHOLDERS, unknown))
    generator = torch.Generator().manual_seed(0)
    extra = torch.stack([new[token] + 0.01 * torch.randn(old.shape[1], generator=generator) for token in SPECIALS])
    weight = torch.cat([old[rows], extra])
    encoder.word_embeddings = torch.nn.Embedding.from_pretrained(weight, freeze=False)
    object.__setattr__(encoder.config, "vocab_size", len(weight))
    return encoder

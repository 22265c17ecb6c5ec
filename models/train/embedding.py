"""The base encoder's own embeddings: what similarity should stay like, and what the hygiene check compares."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from tqdm import tqdm

from models.encoder import Encoder, load_base, pool

_PREFIX: Final = "query: "
"""What the base's model card asks for before texts that are compared with each other."""

_MAX_TOKENS: Final = 62
_BATCH_TOKENS: Final = 3072


def resolve_base(base: str) -> Path:
    """The folder of `--base`: a path, or a Hugging Face id that is then downloaded."""
    if Path(base).is_dir():
        return Path(base)
    from huggingface_hub import snapshot_download  # noqa: PLC0415 - only for ids

    patterns = ["config.json", "model.safetensors", "tokenizer.json"]
    return Path(snapshot_download(base, allow_patterns=patterns))


def base_embedder(base: str) -> Callable[[Sequence[str]], NDArray[np.float32]]:
    """Texts to the base's sentence embeddings: (texts, width) float32 of unit length, mean pooled."""
    folder = resolve_base(base)
    encoder = load_base(folder).eval().to(torch.bfloat16)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()

    def embed(texts: Sequence[str]) -> NDArray[np.float32]:
        ids = [encoding.ids[:_MAX_TOKENS] for encoding in tokenizer.encode_batch([_PREFIX + text for text in texts])]
        order = sorted(range(len(ids)), key=lambda number: len(ids[number]))
        out = np.zeros((len(ids), encoder.config.hidden_size), dtype=np.float32)
        start = 0
        with tqdm(total=len(ids), desc="base embeddings", file=sys.stderr, mininterval=5) as progress:
            while start < len(order):
                longest = len(ids[order[min(start + 64, len(order)) - 1]])
                chosen = order[start : start + max(1, _BATCH_TOKENS // longest)]
                out[chosen] = _embed(encoder, [ids[number] for number in chosen])
                start += len(chosen)
                progress.update(len(chosen))
        return out

    return embed


@torch.no_grad()
def _embed(encoder: Encoder, ids: Sequence[list[int]]) -> NDArray[np.float32]:
    length = max(len(row) for row in ids)
    padded = torch.tensor([[*row, *[1] * (length - len(row))] for row in ids])
    groups = torch.tensor([[1] * len(row) + [0] * (length - len(row)) for row in ids])
    pooled = pool(encoder(padded, groups).float(), groups)
    embeddings: NDArray[np.float32] = torch.nn.functional.normalize(pooled, dim=-1).numpy()
    return embeddings


def geometry_targets(texts: Sequence[str], base: str, cache: Path) -> NDArray[np.float32]:
    """Centred base embeddings, (texts, width) of unit length: what the utterance embedding should look like.

    The base crowds all sentences into a narrow cone (any two have a cosine over .7); without its mean, unrelated sentences
    are near 0 and a threshold has room. Results are kept in `cache`.
    """
    digest = hashlib.blake2s("\x00".join([str(base), *texts]).encode(), digest_size=8).hexdigest()
    path = cache / f"geometry-{digest}.npz"
    if path.is_file():
        with np.load(path) as stored:
            return np.asarray(stored["targets"], dtype=np.float32)
    embeddings = base_embedder(base)(texts)
    centred = embeddings - embeddings.mean(axis=0)
    targets = (centred / np.linalg.norm(centred, axis=1, keepdims=True)).astype(np.float32)
    cache.mkdir(parents=True, exist_ok=True)
    np.savez(path, targets=targets.astype(np.float16))
    return targets

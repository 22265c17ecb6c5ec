"""Examples as tensors: own items, public sets, batches of one padded length."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from detector.labels import CUES, HARASSMENT_LABELS, OUTPUTS, UTTERANCE_LABELS, Speaker
from models.corpus.schema import Item, turns
from models.tokenisation import EncodedInput, InputTokeniser
from models.train.public import Example

BATCH_TOKENS: Final = 2048
"""Padded tokens in a training batch."""

_COLUMN: Final = {label: column for column, label in enumerate(OUTPUTS)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Inputs of one padded length.

    Args:
        ids, groups: (batch, length) int64, as `models.encoder.Encoder` reads them.
        targets, known: (batch, outputs) float32 probabilities, and 0 or 1 for whether the source speaks of them.
        evidence, evidence_known: (batch, length, harassment labels) float32 0 or 1; known only on the utterance's tokens.
        weights: (batch,) float32.
        geometry: (batch,) int64 rows of the base embeddings, -1 for none.
    """

    ids: Tensor
    groups: Tensor
    targets: Tensor
    known: Tensor
    evidence: Tensor
    evidence_known: Tensor
    weights: Tensor
    geometry: Tensor


def own_example(item: Item, *, weight: float = 1.0) -> Example:
    """A corpus item as an example: a customer's speaks of all labels and self-harm, an operator's of all cues."""
    if item.speaker == Speaker.AGENT:
        targets = {cue: float(cue in item.cues) for cue in CUES}
        spans = None
    else:
        targets = {label: float(label in item.labels) for label in UTTERANCE_LABELS}
        targets["self_harm"] = float("self_harm" in item.cues)
        spans = item.spans
    targets = {output: target for output, target in targets.items() if output not in item.disputed}
    return Example(
        text=item.text,
        language=item.language,
        speaker=item.speaker,
        context=turns(item.context),
        targets=targets,
        spans=spans,
        weight=weight,
        source=item.group,
    )


def batches(
    examples: Sequence[tuple[Example, int]],
    tokeniser: InputTokeniser,
    rng: random.Random,
    *,
    tokens: int = BATCH_TOKENS,
) -> Iterator[Batch]:
    """Shuffled batches, each of one padded length and about `tokens` tokens.

    Args:
        examples: each with its row of the base embeddings, or -1.
        tokeniser: of the model.
        rng: shuffles.
        tokens: padded tokens per batch.
    """
    order = list(examples)
    rng.shuffle(order)
    waiting: dict[int, list[tuple[Example, EncodedInput, int]]] = defaultdict(list)
    for example, row in order:
        encoded = tokeniser.encode(example.text, speaker=Speaker(example.speaker), context=example.context)[0]
        bucket = waiting[encoded.padded_length]
        bucket.append((example, encoded, row))
        if len(bucket) * encoded.padded_length >= tokens:
            yield collate(bucket, tokeniser.pad_id)
            bucket.clear()
    for bucket in waiting.values():
        if bucket:
            yield collate(bucket, tokeniser.pad_id)


def collate(rows: Sequence[tuple[Example, EncodedInput, int]], pad_id: int) -> Batch:
    """Stacks inputs of one padded length."""
    count, length = len(rows), rows[0][1].padded_length
    ids = torch.full((count, length), pad_id)
    groups = torch.zeros((count, length), dtype=torch.int64)
    targets, known = torch.zeros(count, len(OUTPUTS)), torch.zeros(count, len(OUTPUTS))
    evidence = torch.zeros(count, length, len(HARASSMENT_LABELS))
    evidence_known = torch.zeros(count, length, len(HARASSMENT_LABELS))
    for number, (example, encoded, _) in enumerate(rows):
        ids[number, : len(encoded.ids)] = torch.tensor(encoded.ids)
        groups[number, : len(encoded.ids)] = 2
        groups[number, 1 : encoded.utterance_end] = 1
        for label, target in example.targets.items():
            targets[number, _COLUMN[label]] = target
            known[number, _COLUMN[label]] = 1.0
        if example.spans is not None:
            evidence_known[number, 1 : encoded.utterance_end - 1] = 1.0
            wanted = [n for n, label in enumerate(HARASSMENT_LABELS) if example.targets.get(label, 0.0) > 0.5]
            for place, (start, end) in enumerate(encoded.offsets, 1):
                if any(start < stop and begin < end for begin, stop in example.spans):
                    evidence[number, place, wanted] = 1.0
    return Batch(
        ids=ids,
        groups=groups,
        targets=targets,
        known=known,
        evidence=evidence,
        evidence_known=evidence_known,
        weights=torch.tensor([example.weight for example, _, _ in rows]),
        geometry=torch.tensor([row for _, _, row in rows]),
    )

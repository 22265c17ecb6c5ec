"""What training minimises; each term is a mean over what its batch knows."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from models.train.data import Batch


@dataclass(frozen=True, slots=True, kw_only=True)
class LossWeights:
    """Weight of each term beside the label loss, whose weight is 1."""

    evidence: float = 0.5
    geometry: float = 1.0
    soft_labels: float = 1.0
    soft_evidence: float = 0.5
    hidden: float = 0.5


Outputs = tuple[Tensor, Tensor, Tensor]
"""Label logits, evidence logits and embeddings, as `models.encoder.Detector` gives them."""


def label_loss(logits: Tensor, batch: Batch) -> Tensor:
    """Binary cross-entropy over the outputs that each source speaks of; graded targets stay graded."""
    loss = functional.binary_cross_entropy_with_logits(logits.float(), batch.targets, reduction="none")
    known = batch.known * batch.weights.unsqueeze(1)
    return (loss * known).sum() / batch.weights.sum().clamp(min=1.0)


def evidence_loss(evidence: Tensor, batch: Batch) -> Tensor:
    """Binary cross-entropy per token and label, where spans were marked."""
    loss = functional.binary_cross_entropy_with_logits(evidence.float(), batch.evidence, reduction="none")
    tokens = batch.evidence_known[:, :, 0].sum().clamp(min=1.0)
    return (loss * batch.evidence_known).sum() / tokens


def geometry_loss(embeddings: Tensor, targets: Tensor, rows: Tensor) -> Tensor:
    """Distance to the base's embeddings of the clean text, each by itself and all pairs among each other.

    Args:
        embeddings: (batch, width) unit length.
        targets: (texts, width) unit length.
        rows: (batch,) rows of `targets`, -1 where there is none.
    """
    has = rows >= 0
    if int(has.sum()) < 2:
        return embeddings.sum() * 0.0
    mine, wanted = embeddings[has], targets[rows[has]]
    single = (1.0 - (mine * wanted).sum(dim=-1)).mean()
    pairs = functional.mse_loss(mine @ mine.T, wanted @ wanted.T)
    return single + 4.0 * pairs


def distillation_loss(mine: Outputs, teacher: Outputs, batch: Batch, weights: LossWeights) -> Tensor:
    """Cross-entropy to the teacher's probabilities, for all labels of the speaker whether the source knows them or not."""
    soft = functional.binary_cross_entropy_with_logits(
        mine[0].float(), torch.sigmoid(teacher[0].float()), reduction="none"
    )
    labels = soft.sum(dim=-1).mean()
    is_token = (batch.groups == 1).float().unsqueeze(-1)
    token = functional.binary_cross_entropy_with_logits(
        mine[1].float(), torch.sigmoid(teacher[1].float()), reduction="none"
    )
    evidence = (token * is_token).sum() / is_token.sum().clamp(min=1.0)
    return weights.soft_labels * labels + weights.soft_evidence * evidence

"""The training loop: bf16 compute over fp32 master weights, warm-up and linear decay, a checkpoint after every epoch."""

from __future__ import annotations

import json
import logging
import math
import random
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor
from tqdm import tqdm

from models.encoder import Detector
from models.tokenisation import InputTokeniser
from models.train import losses
from models.train.data import Batch, batches
from models.train.losses import LossWeights
from models.train.public import Example

_LOG: Final = logging.getLogger(__name__)

_SLOW_PARAMETERS: Final = ("encoder.word_embeddings.weight",)
"""Frozen: a third of the weights, half of the optimiser's work, and nothing gained by moving them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """How long and how fast.

    Args:
        epochs: passes over the examples.
        learning_rate: at its peak.
        head_rate: factor for the new heads, which start from nothing.
        warmup: share of the steps before the peak.
        weight_decay: of the matrices.
        seed: of shuffling, augmentation and dropout.
        weights: of the loss terms.
    """

    epochs: int
    learning_rate: float
    head_rate: float = 10.0
    warmup: float = 0.06
    weight_decay: float = 0.01
    seed: int = 1
    weights: LossWeights = field(default_factory=LossWeights)


EpochExamples = Callable[[int, random.Random], Sequence[tuple[Example, int]]]
"""`(epoch, rng)` to that epoch's examples (augmented, sampled), each with its geometry row or -1."""


class MasterAdam:
    """AdamW over fp32 copies of the weights of a model that computes in bf16.

    bf16 keeps 8 bits of a weight, so that small steps would vanish; the copies keep them.
    """

    def __init__(self, model: Detector, schedule: Schedule) -> None:
        named = [(name, value) for name, value in model.named_parameters() if value.requires_grad]
        self._live = [value for _, value in named]
        self._master = [value.detach().float().clone() for value in self._live]
        groups: dict[tuple[float, float], list[Tensor]] = {}
        for (name, value), master in zip(named, self._master, strict=True):
            decay = schedule.weight_decay if value.ndim > 1 else 0.0
            factor = schedule.head_rate if "_head" in name else 1.0
            groups.setdefault((decay, factor), []).append(master)
        self._factors = [factor for _, factor in groups]
        self._peak = schedule.learning_rate
        self._adam = torch.optim.AdamW(
            [{"params": values, "weight_decay": decay} for (decay, _), values in groups.items()],
            lr=schedule.learning_rate,
            betas=(0.9, 0.98),
            fused=True,
        )

    def step(self, rate: float) -> float:
        """One step at `rate` (0 to 1 of the peak); returns the norm of the gradient before it was clipped to 1."""
        for master, live in zip(self._master, self._live, strict=True):
            master.grad = None if live.grad is None else live.grad.float()
            live.grad = None
        norm = float(torch.nn.utils.clip_grad_norm_(self._master, 1.0))
        for group, factor in zip(self._adam.param_groups, self._factors, strict=True):
            group["lr"] = self._peak * factor * rate
        self._adam.step()
        with torch.no_grad():
            for master, live in zip(self._master, self._live, strict=True):
                live.copy_(master)
        return norm

    def state(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {"master": self._master, "adam": self._adam.state_dict()}

    def restore(self, state: dict[str, Any]) -> None:
        """From a checkpoint."""
        with torch.no_grad():
            for master, live, stored in zip(self._master, self._live, state["master"], strict=True):
                master.copy_(stored)
                live.copy_(stored)
        self._adam.load_state_dict(state["adam"])


def train(
    model: Detector,
    tokeniser: InputTokeniser,
    examples: EpochExamples,
    geometry: Tensor,
    *,
    schedule: Schedule,
    folder: Path,
    teacher: Detector | None = None,
    after_epoch: Callable[[Detector, int], dict[str, float]] | None = None,
) -> Detector:
    """Trains `model` and returns it in fp32 and evaluation mode; goes on from `folder`'s checkpoint if there is one.

    Args:
        model: fp32; changed in place.
        tokeniser: of the model.
        examples: gives each epoch's examples.
        geometry: (texts, width) targets of the utterance embedding.
        schedule: how long and how fast.
        folder: `checkpoint.pt` and `metrics.jsonl` (a line per 20 steps) go there.
        teacher: whose answers the model learns beside the labels.
        after_epoch: `(model, epoch)` to figures that are logged.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in model.named_parameters():
        value.requires_grad_(name not in _SLOW_PARAMETERS)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model.to(device=device, dtype=torch.bfloat16).train()
    optimiser = MasterAdam(model, schedule)
    if teacher is not None:
        teacher.to(device=device, dtype=torch.bfloat16).eval()
    geometry = geometry.to(device)
    first, step = _restore(folder, optimiser)
    torch.manual_seed(schedule.seed * 1000 + first)
    for epoch in range(first, schedule.epochs):
        rng = random.Random(f"{schedule.seed}/{epoch}")
        made = list(batches(examples(epoch, rng), tokeniser, rng))
        rng.shuffle(made)
        total = len(made) * schedule.epochs
        started = time.monotonic()
        for batch in tqdm(made, desc=f"epoch {epoch + 1}/{schedule.epochs}", file=sys.stderr, mininterval=10):
            figures = _step(model, teacher, _moved(batch, device), geometry, schedule.weights)
            figures["norm"] = optimiser.step(_rate(step / max(total, 1), schedule.warmup))
            step += 1
            if step % 20 == 0:
                _append(folder / "metrics.jsonl", {"step": step, "epoch": epoch, **figures})
        seconds = time.monotonic() - started
        figures = after_epoch(model, epoch) if after_epoch else {}
        model.train()
        _append(folder / "metrics.jsonl", {"step": step, "epoch": epoch, "seconds": round(seconds, 1), **figures})
        _LOG.info("epoch %d: %.0f s, %s", epoch + 1, seconds, {key: round(value, 4) for key, value in figures.items()})
        _store(folder, optimiser, epoch + 1, step)
    return model.float().cpu().eval()


def _step(
    model: Detector, teacher: Detector | None, batch: Batch, geometry: Tensor, weights: LossWeights
) -> dict[str, float]:
    mine = model(batch.ids, batch.groups)
    terms = {
        "label": losses.label_loss(mine[0], batch),
        "evidence": weights.evidence * losses.evidence_loss(mine[1], batch),
        "geometry": weights.geometry * losses.geometry_loss(mine[2], geometry, batch.geometry),
    }
    if teacher is not None:
        with torch.no_grad():
            theirs = teacher(batch.ids, batch.groups)
        terms["distillation"] = losses.distillation_loss(mine, theirs, batch, weights)
    loss = torch.stack(list(terms.values())).sum()
    loss.backward()
    figures = {name: float(term.detach()) for name, term in terms.items()}
    if not math.isfinite(sum(figures.values())):
        raise FloatingPointError(f"the loss is not finite: {figures}")
    return figures


def _rate(progress: float, warmup: float) -> float:
    return progress / warmup if progress < warmup else max(0.02, (1.0 - progress) / (1.0 - warmup))


def _moved(batch: Batch, device: str) -> Batch:
    if device == "cpu":
        return batch
    names = Batch.__dataclass_fields__
    return Batch(**{name: getattr(batch, name).to(device) for name in names})


def _append(path: Path, figures: dict[str, Any]) -> None:
    with path.open("a", encoding="utf-8") as out:
        out.write(json.dumps(figures) + "\n")


def _store(folder: Path, optimiser: MasterAdam, epoch: int, step: int) -> None:
    partial = folder / "checkpoint.partial"
    torch.save({"epoch": epoch, "step": step, "optimiser": optimiser.state()}, partial)
    partial.replace(folder / "checkpoint.pt")


def _restore(folder: Path, optimiser: MasterAdam) -> tuple[int, int]:
    path = folder / "checkpoint.pt"
    if not path.is_file():
        return 0, 0
    stored = torch.load(path, weights_only=True)
    optimiser.restore(stored["optimiser"])
    _LOG.info("going on after epoch %d", stored["epoch"])
    return int(stored["epoch"]), int(stored["step"])

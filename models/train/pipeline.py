"""From corpus and base to a packed model: vocabulary, teacher, student, graph, int8, curves, manifest."""

from __future__ import annotations

import json
import logging
import random
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn

from detector.labels import Speaker
from models.corpus.schema import FOLDER, Item, read_split
from models.encoder import Detector, load_base, load_detector, save_detector
from models.onnx_scorer import OnnxScorer
from models.tokenisation import InputTokeniser
from models.train import export, public, vocabulary
from models.train.augment import augment
from models.train.data import own_example
from models.train.embedding import geometry_targets, resolve_base
from models.train.loop import Schedule, train
from models.train.losses import LossWeights
from models.train.public import Example
from models.train.thresholds import choose, request_of

_LOG: Final = logging.getLogger(__name__)

_CALIBRATION_INPUTS: Final = 512
DEEP: Final = 6
"""Layers of the student that decides, and that teaches the shallower one which reads first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """What is trained on what, and for how long.

    Args:
        base: path or Hugging Face id of the base encoder.
        corpus: folder of the own items.
        data_dir: folder of the public sets, or `None` to train without.
        folder: where everything goes; a second run goes on where the first stopped.
        teacher_epochs, student_epochs: passes over the own items.
        layers: of the student.
        public_scale: factor on the number of public examples per epoch.
        seed: of everything random.
        start: folder of an earlier run whose vocabulary is kept and whose student is trained on, without a teacher, when
            the corpus has grown since; where it has no student of `layers` layers, its deep one teaches one.
    """

    base: str
    corpus: Path = FOLDER
    data_dir: Path | None
    folder: Path
    teacher_epochs: int = 5
    student_epochs: int = 8
    layers: int = DEEP
    public_scale: float = 0.5
    seed: int = 1
    start: Path | None = None


class Material:
    """Everything that is trained on: own and public examples, tokenizer, geometry."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self.base = resolve_base(recipe.base)
        self.valid = read_split("valid", folder=recipe.corpus)
        self._own = [own_example(item) for item in read_split("train", folder=recipe.corpus)]
        # Each epoch sees another part of the public sets, each part drawn once.
        self._public = public.read_public(recipe.data_dir, seed=recipe.seed, scale=4.0) if recipe.data_dir else []
        recipe.folder.mkdir(parents=True, exist_ok=True)
        self.tokenizer_file = recipe.folder / "tokenizer.json"
        self.rows = self._vocabulary()
        self.tokeniser = InputTokeniser.from_file(self.tokenizer_file)
        texts = [example.text for example in self._own] + [example.text for example in self._public]
        self.geometry = torch.from_numpy(geometry_targets(texts, recipe.base, recipe.folder))
        _LOG.info("%d own and %d public examples", len(self._own), len(self._public))

    def epoch(self, number: int, rng: random.Random) -> Sequence[tuple[Example, int]]:
        """Own examples twice, as written and as heard, and a part of the public ones."""
        chosen: list[tuple[Example, int]] = []
        for row, example in enumerate(self._own):
            chosen.append((example, row))
            chosen.append((augment(example, rng), row))
        own, count = len(self._own), len(self._public)
        wanted = round(count / 4 * self.recipe.public_scale)
        for place in rng.sample(range(count), min(wanted, count)):
            example = self._public[place]
            chosen.append((augment(example, rng) if rng.random() < 0.5 else example, own + place))
        return chosen

    def _vocabulary(self) -> list[int]:
        """The cut vocabulary; kept beside the tokenizer, for a run that goes on must read the same."""
        stored = self.recipe.folder / "vocabulary.json"
        if self.recipe.start is not None and not stored.is_file():
            for path in (self.tokenizer_file, stored):
                shutil.copyfile(self.recipe.start / path.name, path)
        if stored.is_file():
            rows: list[int] = json.loads(stored.read_text(encoding="utf-8"))
            return rows
        document, rows = vocabulary.cut_tokenizer(self.base, self._texts())
        self.tokenizer_file.write_text(json.dumps(document, ensure_ascii=False), encoding="utf-8")
        stored.write_text(json.dumps(rows), encoding="utf-8")
        return rows

    def _texts(self) -> Iterator[str]:
        yield from (example.text for example in self._own)
        yield from (turn.text for example in self._own for turn in example.context)
        if self.recipe.data_dir is not None:
            yield from public.all_texts(self.recipe.data_dir)


def train_teacher(material: Material) -> Detector:
    """The base with all its layers, fine-tuned."""
    recipe = material.recipe
    folder = recipe.folder / "teacher"
    if (folder / "model.safetensors").is_file():
        return load_detector(folder)
    torch.manual_seed(recipe.seed)
    encoder = vocabulary.cut_encoder(load_base(material.base), material.rows)
    model = Detector(encoder.config)
    model.encoder = encoder
    schedule = Schedule(epochs=recipe.teacher_epochs, learning_rate=6e-5, seed=recipe.seed)
    model = train(
        model,
        material.tokeniser,
        material.epoch,
        material.geometry,
        schedule=schedule,
        folder=folder,
        after_epoch=_validation(material),
    )
    save_detector(model, folder)
    return model


def train_student(material: Material) -> Detector:
    """Every second layer of the teacher (or as many as the recipe says, evenly), taught by it; or an earlier student."""
    recipe = material.recipe
    folder = recipe.folder / f"student-{recipe.layers}"
    if (folder / "model.safetensors").is_file():
        return load_detector(folder)
    if recipe.start is not None and (recipe.start / folder.name).is_dir():
        teacher, model, rate = None, load_detector(recipe.start / folder.name), 1e-4
    elif recipe.start is not None:
        teacher = load_detector(recipe.start / f"student-{DEEP}")
        model, rate = student_of(teacher, recipe.layers), 1.5e-4
    else:
        teacher = train_teacher(material)
        model, rate = student_of(teacher, recipe.layers), 1.5e-4
    torch.manual_seed(recipe.seed + 1)
    schedule = Schedule(
        epochs=recipe.student_epochs,
        learning_rate=rate,
        head_rate=3.0,
        seed=recipe.seed + 1,
        weights=LossWeights(geometry=1.0),
    )
    model = train(
        model,
        material.tokeniser,
        material.epoch,
        material.geometry,
        schedule=schedule,
        folder=folder,
        teacher=teacher,
        after_epoch=_validation(material),
    )
    save_detector(model, folder)
    return model


def student_of(teacher: Detector, layers: int) -> Detector:
    """A copy of the teacher with `layers` of its layers, evenly spaced, the last one among them."""
    depth = teacher.config.num_hidden_layers
    kept = [round((number + 1) * depth / layers) - 1 for number in range(layers)]
    model = Detector(replace(teacher.config, num_hidden_layers=layers))
    state = teacher.state_dict()
    wanted: dict[str, Tensor] = {}
    for name in model.state_dict():
        parts = name.split(".")
        if parts[:2] == ["encoder", "layers"]:
            parts[2] = str(kept[int(parts[2])])
        wanted[name] = state[".".join(parts)].float().clone()
    model.load_state_dict(wanted)
    return model


def _validation(material: Material) -> Any:
    def after(model: Detector, epoch: int) -> dict[str, float]:
        del epoch
        logits = torch_logits(model, material.tokeniser, material.valid)
        _, facts = choose(material.valid, logits)
        return {f"{language}_{key}": facts[language][key] for language in facts for key in ("macro_f1", "any_recall")}

    return after


@torch.no_grad()
def torch_logits(model: nn.Module, tokeniser: InputTokeniser, items: Sequence[Item]) -> Any:
    """Raw logits (items, outputs) of the first window of each item, as float64."""
    model.eval()
    device = next(model.parameters()).device
    rows: list[Any] = []
    for item in items:
        request = request_of(item)
        found = tokeniser.encode(request.text, speaker=request.speaker, context=request.context)[0]
        ids = torch.tensor([found.ids], device=device)
        groups = torch.full_like(ids, 2)
        groups[0, 1 : found.utterance_end] = 1
        rows.append(model(ids, groups)[0][0].float().cpu().numpy())
    return np.array(rows, dtype=np.float64).reshape(len(items), -1)


def pack(material: Material, model: Detector, target: Path) -> dict[str, Any]:
    """Packs `model` into `target`, chooses curves and thresholds with what is served, and gives the figures."""
    rng = random.Random(material.recipe.seed)
    examples = rng.sample(list(material.epoch(0, rng)), min(_CALIBRATION_INPUTS, 2 * len(material.valid) + 256))
    inputs = [found for example, _ in examples for found in _inputs(material.tokeniser, example)]
    export.pack(model, material.tokenizer_file, target, calibration=inputs)
    facts: dict[str, Any] = {"layers": model.config.num_hidden_layers}
    for weights in (export.FP32, export.INT8):
        scorer = OnnxScorer(target, weights=weights)
        logits = scorer.raw_logits([request_of(item) for item in material.valid]).astype(np.float64)
        curves, figures = choose(material.valid, logits)
        facts[weights] = figures
    export.seal(target, curves, weights=export.INT8, facts=facts)
    save_detector(model, target, dtype=torch.float16)
    return facts


def _inputs(tokeniser: InputTokeniser, example: Example) -> Any:
    return tokeniser.encode(example.text, speaker=Speaker(example.speaker), context=example.context)

"""Scorers on torch: the bundled detector on a GPU, and any Hugging Face sequence classifier behind the same protocol.

Needs the extra `torch`. On a GPU answers are within 1e-5 of each other, not identical; the log holds the scores.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from detector.labels import CUES, OUTPUTS, Speaker
from detector.scoring import ScoreRequest, ScoreResult
from models.encoder import load_detector
from models.errors import ModelFilesError
from models.normalise import normalise
from models.onnx_scorer import OnnxScorer, Row
from models.tokenisation import EncodedInput

_THRESHOLD: Final = 0.5

_KNOWN_NAMES: Final = {
    "toxic": "verbal_abuse",
    "toxicity": "verbal_abuse",
    "severe_toxic": "verbal_abuse",
    "insult": "verbal_abuse",
    "obscene": "verbal_abuse",
    "abusive": "verbal_abuse",
    "offensive": "verbal_abuse",
    "threat": "threat",
    "violence": "threat",
    "identity_hate": "discrimination",
    "identity_attack": "discrimination",
    "hate": "discrimination",
    "sexual": "sexual",
    "sexual_explicit": "sexual",
    "self-harm": "self_harm",
}
"""Label names of well-known classifiers and the output that each stands for; `label_map.json` overrides them."""


class TorchScorer(OnnxScorer):
    """The packed detector on torch, on a GPU if there is one: same inputs, heads and curves as on ONNX Runtime.

    Args:
        folder: a packed model that holds `config.json` and `model.safetensors` too.
        device: torch device; a GPU when left out and there is one.

    Raises:
        ModelFilesError: the files are missing, foreign or damaged.
    """

    def __init__(self, folder: Path, *, device: str | None = None) -> None:
        super().__init__(folder)
        self._device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        self._model = load_detector(folder).to(self._device)

    def _forward(self, inputs: Sequence[EncodedInput], length: int) -> list[Row]:
        ids, groups = self._padded(inputs, length)
        with torch.inference_mode():
            hidden, evidence = self._model.graph(
                torch.from_numpy(ids).to(self._device), torch.from_numpy(groups).to(self._device)
            )
        return self._to_rows(inputs, hidden.float().cpu().numpy(), evidence.float().cpu().numpy())


class HuggingFaceScorer:
    """Any sequence classifier with a label map.

    The map is `label_map.json` beside the weights, `{"their label": "our output"}`; without it well-known names are mapped,
    and names that are ours stand for themselves. It has no spans and no utterance embedding.

    Args:
        model: path or Hugging Face id.
        device: torch device; a GPU when left out and there is one.

    Raises:
        ModelFilesError: it cannot be loaded, or none of its labels maps to an output.
    """

    def __init__(self, model: str, *, device: str | None = None) -> None:
        from transformers import AutoModelForSequenceClassification, AutoTokenizer  # noqa: PLC0415 - slow to import

        self._device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        try:
            self._tokenizer = AutoTokenizer.from_pretrained(model)
            self._model = AutoModelForSequenceClassification.from_pretrained(model).eval().to(self._device)
        except Exception as error:  # transformers raises whatever its loaders raise
            raise ModelFilesError(f"{model}: {error}") from error
        names = {int(number): str(name) for number, name in self._model.config.id2label.items()}
        self._columns = _columns(names, _label_map(model))
        if not self._columns:
            raise ModelFilesError(f"{model}: none of its labels {sorted(names.values())} maps to an output")
        exclusive = self._model.config.problem_type == "single_label_classification" or len(names) == 2
        self._activation = _softmax if exclusive else _sigmoid
        digest = hashlib.sha256(json.dumps([model, sorted(names.items())]).encode()).hexdigest()[:8]
        self._version = f"hf-{Path(model).name}-{digest}"

    @property
    def model_version(self) -> str:
        """Names the model."""
        return self._version

    def score(self, requests: Sequence[ScoreRequest]) -> list[ScoreResult]:
        """Scores one by one, so that padding never ties an answer to its neighbours."""
        return [self._score(request) for request in requests]

    def _score(self, request: ScoreRequest) -> ScoreResult:
        encoded = self._tokenizer(
            normalise(request.text).text or " ", return_tensors="pt", truncation=True, max_length=256
        )
        with torch.inference_mode():
            logits = self._model(**encoded.to(self._device)).logits[0].float().cpu().numpy()
        probabilities = self._activation(logits)
        scores = {
            label: round(float(max(probabilities[column] for column in columns)), 6)
            for label, columns in self._columns.items()
            if (label in CUES and label != "self_harm") == (request.speaker is Speaker.AGENT)
        }
        return ScoreResult(
            request_id=request.request_id,
            scores=scores,
            labels=tuple(label for label in OUTPUTS if scores.get(label, 0.0) >= _THRESHOLD),
            model_version=self._version,
        )


def _label_map(model: str) -> dict[str, str]:
    path = Path(model) / "label_map.json"
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        unknown = set(found.values()) - set(OUTPUTS)
    except (ValueError, AttributeError, TypeError) as error:
        raise ModelFilesError(f"{path.name}: {error}") from error
    if unknown:
        raise ModelFilesError(f"{path.name}: {sorted(unknown)} are no outputs")
    return dict(found)


def _columns(names: dict[int, str], mapped: dict[str, str]) -> dict[str, list[int]]:
    columns: dict[str, list[int]] = {}
    for number, name in sorted(names.items()):
        plain = name.lower().replace(" ", "_")
        label = mapped.get(name) or (None if mapped else (plain if plain in OUTPUTS else _KNOWN_NAMES.get(plain)))
        if label is not None:
            columns.setdefault(label, []).append(number)
    return {label: columns[label] for label in OUTPUTS if label in columns}


def _sigmoid(logits: Any) -> Any:
    return 1.0 / (1.0 + np.exp(-logits))


def _softmax(logits: Any) -> Any:
    shifted = np.exp(logits - logits.max())
    return shifted / shifted.sum()

"""The bundled model on ONNX Runtime: one thread per call, fixed shapes, answers that no neighbour can change."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from detector.labels import CUES, HARASSMENT_LABELS, UTTERANCE_LABELS, Speaker
from detector.scoring import ScoreRequest, ScoreResult
from models.errors import ModelFilesError
from models.heads import Floats, LabelHead, decode_spans, pool, sigmoid, unit_half
from models.manifest import Manifest, read_manifest
from models.tokenisation import EncodedInput, InputTokeniser, reads_alone

Ints = NDArray[np.int64]

_LOG: Final = logging.getLogger(__name__)

MAX_BATCH: Final = 8
"""Rows in one run: more gain nothing on a CPU."""

_SLOW_FUSIONS: Final = ["SkipLayerNormFusion", "BiasGeluFusion"]
"""Fused kernels that are slower on one thread than their parts: without them 32 tokens take 1.5 instead of 2.1 ms
(ONNX Runtime 1.32)."""

CUSTOMER_OUTPUTS: Final = (*UTTERANCE_LABELS, "self_harm")
AGENT_OUTPUTS: Final = tuple(cue for cue in CUES if cue != "self_harm")
"""An agent is never accused: his words are read for what they do in the ending procedure."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A request with what the model reads of it, one input per window."""

    request: ScoreRequest
    inputs: tuple[EncodedInput, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What the model gave for one input: logits (outputs,), evidence (tokens, labels), pooled (width,)."""

    logits: Floats
    evidence: Floats
    pooled: Floats


class OnnxScorer:
    """Scores with a packed model; safe to call from several threads.

    Args:
        folder: what `mamori export` wrote.
        weights: another graph of the folder than the manifest's, for parity checks.

    Raises:
        ModelFilesError: the files are missing, foreign or damaged.
    """

    def __init__(self, folder: Path, *, weights: str | None = None) -> None:
        self._manifest = read_manifest(folder)
        self._tokeniser = InputTokeniser.from_file(folder / "tokenizer.json")
        try:
            with np.load(folder / "head.npz") as stored:
                self._head = LabelHead(weight=stored["weight"], bias=stored["bias"])
            self._session = onnxruntime.InferenceSession(
                str(folder / (weights or self._manifest.weights)),
                _options(),
                providers=["CPUExecutionProvider"],
                disabled_optimizers=_SLOW_FUSIONS,
            )
        except Exception as error:  # onnxruntime raises its own and bare exceptions
            raise ModelFilesError(f"{folder.name}: {error}") from error

    @property
    def manifest(self) -> Manifest:
        """What the model is."""
        return self._manifest

    @property
    def model_version(self) -> str:
        """Names the weights and thresholds."""
        return self._manifest.model_version

    @property
    def tokeniser(self) -> InputTokeniser:
        """Of the model."""
        return self._tokeniser

    def reads_alone(self, request: ScoreRequest) -> bool:
        """Whether the answer cannot depend on the request's context."""
        return reads_alone(request.text, request.speaker)

    def prepare(self, request: ScoreRequest) -> tuple[Prepared, int]:
        """What the model reads of a request, and its padded length in tokens over all its windows."""
        inputs = tuple(self._tokeniser.encode(request.text, speaker=request.speaker, context=request.context))
        return Prepared(request=request, inputs=inputs), sum(found.padded_length for found in inputs)

    def run(self, prepared: Sequence[Prepared]) -> list[ScoreResult]:
        """Scores prepared requests, in order."""
        rows = self._rows([found for item in prepared for found in item.inputs])
        results: list[ScoreResult] = []
        for item in prepared:
            mine, rows = rows[: len(item.inputs)], rows[len(item.inputs) :]
            results.append(self._result(item, mine))
        return results

    def score(self, requests: Sequence[ScoreRequest]) -> list[ScoreResult]:
        """Scores a batch of any lengths; the answers come in the order of the requests."""
        return self.run([self.prepare(request)[0] for request in requests])

    def raw_logits(self, requests: Sequence[ScoreRequest]) -> Floats:
        """Logits before calibration, (requests, outputs): the highest over an utterance's windows."""
        prepared = [self.prepare(request)[0] for request in requests]
        rows = self._rows([found for item in prepared for found in item.inputs])
        logits: list[Floats] = []
        for item in prepared:
            mine, rows = rows[: len(item.inputs)], rows[len(item.inputs) :]
            logits.append(np.stack([row.logits for row in mine]).max(axis=0))
        return np.stack(logits)

    def _rows(self, inputs: Sequence[EncodedInput]) -> list[Row]:
        by_length: dict[int, list[int]] = defaultdict(list)
        for number, found in enumerate(inputs):
            by_length[found.padded_length].append(number)
        rows: dict[int, Row] = {}
        for length, numbers in by_length.items():
            for start in range(0, len(numbers), MAX_BATCH):
                chosen = numbers[start : start + MAX_BATCH]
                rows.update(zip(chosen, self._forward([inputs[n] for n in chosen], length), strict=True))
        return [rows[number] for number in range(len(inputs))]

    def _forward(self, inputs: Sequence[EncodedInput], length: int) -> list[Row]:
        ids, groups = self._padded(inputs, length)
        hidden, evidence = self._session.run(["hidden", "evidence"], {"ids": ids, "groups": groups})
        return self._to_rows(inputs, hidden, evidence)

    def _padded(self, inputs: Sequence[EncodedInput], length: int) -> tuple[Ints, Ints]:
        """`ids` and `groups` (inputs, length), as `models.encoder.Encoder` reads them."""
        ids = np.full((len(inputs), length), self._tokeniser.pad_id, dtype=np.int64)
        groups = np.zeros((len(inputs), length), dtype=np.int64)
        for number, found in enumerate(inputs):
            ids[number, : len(found.ids)] = found.ids
            groups[number, : len(found.ids)] = 2
            groups[number, 1 : found.utterance_end] = 1
        return ids, groups

    def _to_rows(self, inputs: Sequence[EncodedInput], hidden: Floats, evidence: Floats) -> list[Row]:
        rows: list[Row] = []
        for number, found in enumerate(inputs):
            pooled = pool(hidden[number], found.utterance_end)
            tokens = sigmoid(evidence[number, 1 : found.utterance_end - 1])
            rows.append(Row(logits=self._head(hidden[number, 0], pooled), evidence=tokens, pooled=pooled))
        return rows

    def _result(self, item: Prepared, rows: Sequence[Row]) -> ScoreResult:
        request = item.request
        logits = np.stack([row.logits for row in rows]).max(axis=0)
        curves = self._manifest.curves[request.language]
        outputs = AGENT_OUTPUTS if request.speaker is Speaker.AGENT else CUSTOMER_OUTPUTS
        scores: dict[str, float] = {}
        labels: list[str] = []
        for column, label in enumerate(self._manifest.outputs):
            if label in outputs:
                curve = curves[label]
                scores[label] = round(curve.probability(float(logits[column])), 6)
                if scores[label] >= curve.threshold:
                    labels.append(label)
        wanted = [label for label in labels if label in HARASSMENT_LABELS]
        offsets, evidence = _joined(item.inputs, rows) if wanted else ([], np.zeros((0, 0), dtype=np.float32))
        return ScoreResult(
            request_id=request.request_id,
            scores=scores,
            labels=tuple(labels),
            spans=tuple(decode_spans(request.text, offsets, evidence, wanted)),
            embedding=unit_half(np.stack([row.pooled for row in rows]).mean(axis=0)),
            model_version=self.model_version,
        )


def _joined(inputs: Sequence[EncodedInput], rows: Sequence[Row]) -> tuple[list[tuple[int, int]], Floats]:
    """Offsets and evidence of all windows, each token once (the strongest reading of those that windows share)."""
    strongest: dict[tuple[int, int], Any] = {}
    for found, row in zip(inputs, rows, strict=True):
        for offset, evidence in zip(found.offsets, row.evidence, strict=True):
            known = strongest.get(offset)
            strongest[offset] = evidence if known is None else np.maximum(known, evidence)
    offsets = sorted(strongest)
    width = len(HARASSMENT_LABELS)
    stacked = np.stack([strongest[offset] for offset in offsets]) if offsets else np.zeros((0, width), np.float32)
    return offsets, stacked


def _options() -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    # One thread per run and no spinning: the engine's workers are the parallelism, and ingest needs the cores.
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    options.enable_mem_pattern = False
    return options

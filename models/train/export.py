"""Packs a trained detector: ONNX graph in fp32, its static int8 form, label head, tokenizer, manifest.

Only matrix products and the word embedding are quantised: a quantised mask would let padding leak into the answer.
Ranges are static (QDQ), for dynamic ones depend on the whole batch and would tie a score to its neighbours.
"""

from __future__ import annotations

import logging
import shutil
import tempfile
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
import torch
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process
from torch import Tensor, nn

from detector.labels import LABEL_VERSION, OUTPUTS
from models.calibration import Curve
from models.encoder import Detector
from models.manifest import Manifest, sha256, version_of, write_manifest
from models.tokenisation import EncodedInput, InputTokeniser

_LOG: Final = logging.getLogger(__name__)

FP32, INT8 = "model.fp32.onnx", "model.int8.onnx"
_OPSET: Final = 20
_CALIBRATION_BATCH: Final = 8


class _Graph(nn.Module):
    """What is served: hidden states and evidence logits."""

    def __init__(self, model: Detector) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: Tensor, groups: Tensor) -> tuple[Tensor, Tensor]:
        """See `Detector.graph`."""
        return self.model.graph(ids, groups)


def export_fp32(model: Detector, path: Path) -> None:
    """Writes the fp32 graph: `ids` and `groups` (batch, length) int64 in, `hidden` and `evidence` out."""
    graph = _Graph(model.eval())
    ids, groups = torch.randint(4, 100, (2, 16)), torch.ones(2, 16, dtype=torch.int64)
    batch, length = torch.export.Dim("batch", min=1, max=64), torch.export.Dim("length", min=4, max=64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            graph,
            (ids, groups),
            input_names=["ids", "groups"],
            output_names=["hidden", "evidence"],
            dynamic_shapes={"ids": {0: batch, 1: length}, "groups": {0: batch, 1: length}},
            opset_version=_OPSET,
            dynamo=True,
            verbose=False,
        )
    program.save(str(path), external_data=False)


class _Calibration(CalibrationDataReader):
    """Real padded batches, as the scorer builds them."""

    def __init__(self, inputs: Sequence[EncodedInput], pad_id: int) -> None:
        self._batches: Iterator[dict[str, Any]] = iter(list(_padded(inputs, pad_id)))

    def get_next(self) -> dict[str, Any] | None:
        """The next batch, or `None` at the end."""
        return next(self._batches, None)


def _padded(inputs: Sequence[EncodedInput], pad_id: int) -> Iterator[dict[str, Any]]:
    by_length: dict[int, list[EncodedInput]] = {}
    for found in inputs:
        by_length.setdefault(found.padded_length, []).append(found)
    for length, members in by_length.items():
        for start in range(0, len(members), _CALIBRATION_BATCH):
            chosen = members[start : start + _CALIBRATION_BATCH]
            ids = np.full((len(chosen), length), pad_id, dtype=np.int64)
            groups = np.zeros((len(chosen), length), dtype=np.int64)
            for row, found in enumerate(chosen):
                ids[row, : len(found.ids)] = found.ids
                groups[row, : len(found.ids)] = 2
                groups[row, 1 : found.utterance_end] = 1
            yield {"ids": ids, "groups": groups}


def quantise(source: Path, target: Path, inputs: Sequence[EncodedInput], pad_id: int) -> None:
    """Writes the static int8 graph, its ranges taken from `inputs` (a few hundred of all lengths)."""
    with tempfile.TemporaryDirectory() as folder:
        prepared = Path(folder) / "prepared.onnx"
        quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
        quantize_static(
            str(prepared),
            str(target),
            _Calibration(inputs, pad_id),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=["MatMul", "Gather"],
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
            nodes_to_exclude=_attention_products(prepared),
            extra_options={
                "ActivationSymmetric": False,
                "WeightSymmetric": True,
                # Products stay in fp32: one kernel multiplies, scales and adds the bias, and nothing is rounded twice.
                "OpTypesToExcludeOutputQuantization": ["MatMul"],
            },
        )


def _attention_products(path: Path) -> list[str]:
    """Matrix products of two activations (queries with keys, weights with values): small, and they lose the most."""
    graph = onnx.load(str(path)).graph
    constants = {tensor.name for tensor in graph.initializer}
    return [
        node.name
        for node in graph.node
        if node.op_type == "MatMul" and not any(name in constants for name in node.input)
    ]


def pack(
    model: Detector,
    tokenizer_file: Path,
    folder: Path,
    *,
    calibration: Iterable[EncodedInput],
    weights: str = INT8,
) -> None:
    """Writes graphs, head and tokenizer into `folder`, and a manifest with plain curves that calibration replaces."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(tokenizer_file, folder / "tokenizer.json")
    np.savez(
        folder / "head.npz",
        weight=model.label_head.weight.detach().float().numpy(),
        bias=model.label_head.bias.detach().float().numpy(),
    )
    export_fp32(model, folder / FP32)
    pad_id = InputTokeniser.from_file(folder / "tokenizer.json").pad_id
    quantise(folder / FP32, folder / INT8, list(calibration), pad_id)
    plain = {language: {label: Curve() for label in OUTPUTS} for language in ("ja", "en")}
    seal(folder, plain, weights=weights, facts={})


def seal(
    folder: Path, curves: Mapping[str, Mapping[str, Curve]], *, weights: str, facts: Mapping[str, Any]
) -> Manifest:
    """Writes the manifest over what lies in `folder`; only files that serving needs are hashed into the version."""
    files = {name: sha256(folder / name) for name in ("head.npz", "tokenizer.json", weights)}
    manifest = Manifest(
        model_version=version_of(files, curves),
        label_version=LABEL_VERSION,
        outputs=OUTPUTS,
        curves=curves,
        files=files,
        weights=weights,
        facts=facts,
    )
    write_manifest(folder, manifest)
    return manifest

"""The bundled detector against other ways to serve it and against a classifier of BERT-base's size, in one run.

Everything is one thread and one request at a time, the way a call arrives, over the same requests with their context. The
rival of Detoxify's size has random weights: its speed does not depend on them.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnxruntime
import torch
from onnx import TensorProto, helper
from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static
from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast, pipeline

from detector.scoring import ScoreRequest
from models.encoder import load_detector
from models.onnx_scorer import OnnxScorer
from models.scorer import load_scorer
from models.torch_scorer import TorchScorer
from models.train.export import FP32, export_fp32

ROUNDS: Final = 3
PEAK_SHAPE: Final = (256, 1536, 1536)
"""Rows, depth and columns of the matrix product that shows what a core can do: large enough to keep its units busy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """One way of serving.

    Args:
        name: of it.
        per_s: utterances a second on one core.
        p50_ms, p99_ms: time for one.
        gops: billions of operations a second in matrix products; None where not every request is read by one model alone.
        peak_share: `gops` against what the core reaches in a large product of the same kind of numbers.
    """

    name: str
    per_s: float
    p50_ms: float
    p99_ms: float
    gops: float | None = None
    peak_share: float | None = None


def compare(model: Path, requests: Sequence[ScoreRequest]) -> list[Pace]:
    """Times each way over `requests`; the best of three runs each.

    Args:
        model: packed, with its torch weights.
        requests: as the server makes them.
    """
    torch.set_num_threads(1)
    served = load_scorer(model)
    deep = OnnxScorer(model)
    peaks = {"int8": peak_int8(), "fp32": peak_fp32()}
    operations = statistics.fmean(_operations(deep, request) for request in requests)
    found = [_paced("as served: shallow first, lexicon beside", lambda request: served.score([request]), requests)]
    ways: list[tuple[str, str, Callable[[ScoreRequest], Any]]] = [
        ("deep model, ONNX Runtime int8", "int8", lambda request: deep.score([request])),
    ]
    with tempfile.TemporaryDirectory() as folder:
        plain = _with_fp32(model, Path(folder))
        eager = TorchScorer(model, device="cpu")
        ways += [
            ("deep model, ONNX Runtime fp32", "fp32", lambda request: plain.score([request])),
            ("deep model, torch eager fp32", "fp32", lambda request: eager.score([request])),
        ]
        for name, kind, work in ways:
            pace = _paced(name, work, requests)
            gops = operations * pace.per_s / 1e9
            found.append(
                Pace(
                    name=name,
                    per_s=pace.per_s,
                    p50_ms=pace.p50_ms,
                    p99_ms=pace.p99_ms,
                    gops=gops,
                    peak_share=gops / peaks[kind],
                )
            )
    rival = bert_base(model)
    found.append(
        _paced("BERT-base encoder, transformers pipeline", lambda request: rival(_with_context(request)), requests)
    )
    return found


def bert_base(model: Path) -> Any:
    """A pipeline over 12 layers of 768, the size of Detoxify's encoder, with this model's tokenizer."""
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_file=str(model / "tokenizer.json"), pad_token="<pad>", unk_token="<unk>", model_max_length=256
    )
    network = BertForSequenceClassification(BertConfig(vocab_size=len(tokenizer), num_labels=8)).eval()
    return pipeline("text-classification", model=network, tokenizer=tokenizer, top_k=None, device="cpu")


def peak_fp32() -> float:
    """Billions of operations a second that one thread reaches in a large fp32 product."""
    rows, depth, columns = PEAK_SHAPE
    left, right = torch.rand(rows, depth), torch.rand(depth, columns)
    return _gops(lambda: left @ right)


def peak_int8() -> float:
    """The same for a quantised product in ONNX Runtime, the kernel that serves."""
    rows, depth, columns = PEAK_SHAPE
    rng = np.random.default_rng(0)
    weight = helper.make_tensor(
        "w", TensorProto.FLOAT, (depth, columns), rng.normal(size=depth * columns).astype(np.float32)
    )
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "peak",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, (rows, depth))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, (rows, columns))],
        [weight],
    )
    product = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    inputs = rng.normal(size=(rows, depth)).astype(np.float32)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "peak.onnx"
        quantize_static(
            product,
            str(path),
            _Once(inputs),
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            extra_options={"OpTypesToExcludeOutputQuantization": ["MatMul"]},
        )
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        return _gops(lambda: session.run(None, {"x": inputs}))


class _Once(CalibrationDataReader):
    def __init__(self, inputs: Any) -> None:
        self._left = [{"x": inputs}]

    def get_next(self) -> Any:
        return self._left.pop() if self._left else None


def _gops(work: Callable[[], Any]) -> float:
    times = []
    for _ in range(10):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    rows, depth, columns = PEAK_SHAPE
    return 2.0 * rows * depth * columns / min(times) / 1e9


def _operations(scorer: OnnxScorer, request: ScoreRequest) -> float:
    """In the matrix products with weights of one reading: two for each weight and padded token."""
    layers, width, wide = 6, 384, 1536
    return 2.0 * layers * (4 * width * width + 2 * width * wide) * scorer.prepare(request)[1]


def _paced(name: str, work: Callable[[ScoreRequest], Any], requests: Sequence[ScoreRequest]) -> Pace:
    best: list[float] = []
    for _ in range(ROUNDS):
        times = []
        for request in requests:
            started = time.perf_counter()
            work(request)
            times.append(time.perf_counter() - started)
        if not best or sum(times) < sum(best):
            best = times
    best.sort()
    return Pace(
        name=name,
        per_s=len(best) / sum(best),
        p50_ms=statistics.median(best) * 1e3,
        p99_ms=best[int(len(best) * 0.99)] * 1e3,
    )


def _with_fp32(model: Path, folder: Path) -> OnnxScorer:
    for name in ("head.npz", "tokenizer.json", "manifest.json", "model.int8.onnx"):
        (folder / name).symlink_to((model / name).resolve())
    export_fp32(load_detector(model), folder / FP32)
    return OnnxScorer(folder, weights=FP32)


def _with_context(request: ScoreRequest) -> str:
    return " ".join([request.text, *(turn.text for turn in reversed(request.context))])

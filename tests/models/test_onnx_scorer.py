from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from detector.labels import CUES, UTTERANCE_LABELS, Speaker
from detector.scoring import ScoreRequest, ScoreResult, Turn
from models.engine import Engine, PreparingScorer
from models.errors import ModelFilesError
from models.onnx_scorer import OnnxScorer
from models.packing import install
from models.scorer import load_scorer
from models.tokenisation import InputTokeniser
from tests.exploring import tries

pytestmark = pytest.mark.needs("torch")

_TEXT = st.text(alphabet="あいうえおバカ電話返金責任者無能abcdefg you the idiot.,、。!?😡", min_size=1, max_size=120)


@pytest.fixture(scope="module")
def scorer(packed: Path) -> OnnxScorer:
    return OnnxScorer(packed)


def request(text: str, *context: str, speaker: Speaker = Speaker.CUSTOMER, language: str = "ja") -> ScoreRequest:
    turns = tuple(Turn(speaker=Speaker.AGENT, text=line) for line in context)
    return ScoreRequest(request_id=text[:4], text=text, language=language, speaker=speaker, context=turns)


def embedding(result: ScoreResult) -> np.ndarray:
    return np.frombuffer(result.embedding, "<f2").astype(np.float32)


@tries(40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts=st.lists(_TEXT, min_size=1, max_size=12), context=_TEXT)
def test_a_score_is_bit_identical_alone_and_in_any_batch(scorer: OnnxScorer, texts: list[str], context: str) -> None:
    requests = [request(text, *([context] if place % 2 else [])) for place, text in enumerate(texts)]
    together = scorer.score(requests)
    assert together == [scorer.score([one])[0] for one in requests]
    assert together == scorer.score(requests[::-1])[::-1]


def test_the_embedding_never_follows_the_context(scorer: OnnxScorer) -> None:
    contexts = [(), ("電話です",), ("返金", "責任者を出せ"), ("the idiot",)]
    results = [scorer.score([request("何度も電話した", *context)])[0] for context in contexts]
    vectors = [embedding(result) for result in results]
    # The length that is padded to may differ, and with it the last bits; nothing else may.
    assert min(float(vectors[0] @ other) for other in vectors) > 0.999
    assert len({tuple(result.scores.values()) for result in results}) > 1
    assert float(np.linalg.norm(vectors[0])) == pytest.approx(1.0, abs=1e-2)


def test_padding_does_not_leak(scorer: OnnxScorer, packed: Path, tokeniser: InputTokeniser) -> None:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(packed / "model.fp32.onnx"), providers=["CPUExecutionProvider"])
    found = tokeniser.encode("責任者を出せ")[0]
    outputs = []
    for length in (len(found.ids), 16, 24, 48):
        ids = np.full((1, length), tokeniser.pad_id, dtype=np.int64)
        groups = np.zeros((1, length), dtype=np.int64)
        ids[0, : len(found.ids)] = found.ids
        groups[0, : len(found.ids)] = 2
        groups[0, 1 : found.utterance_end] = 1
        outputs.append(session.run(["hidden"], {"ids": ids, "groups": groups})[0][0, : len(found.ids)])
    for other in outputs[1:]:
        np.testing.assert_allclose(other, outputs[0], atol=1e-4)


def test_customers_get_labels_and_agents_cues(scorer: OnnxScorer) -> None:
    customer = scorer.score([request("無能")])[0]
    agent = scorer.score([request("無能", speaker=Speaker.AGENT)])[0]
    assert set(customer.scores) == {*UTTERANCE_LABELS, "self_harm"}
    assert set(agent.scores) == set(CUES) - {"self_harm"}
    assert scorer.score([request("無能", speaker=Speaker.UNKNOWN)])[0].scores == customer.scores


def test_spans_lie_in_the_text_and_carry_answered_labels(scorer: OnnxScorer) -> None:
    for text in ("😡ﾊﾞｶ野郎、無能だ!!", "you are the idiot" * 12, "、。!!"):
        result = scorer.score([request(text)])[0]
        for span in result.spans:
            assert 0 <= span.start < span.end <= len(text)
            assert span.label in result.labels


@pytest.mark.parametrize("text", ["😡", " ", "\u200b", "あ" * 3000, "мир", "\x00\x01"])
def test_any_text_is_scored(scorer: OnnxScorer, text: str) -> None:
    assert len(scorer.score([request(text)])[0].scores) == 10


def test_the_engine_prepares_with_it(scorer: OnnxScorer) -> None:
    assert isinstance(scorer, PreparingScorer)
    engine = Engine(scorer, workers=2)
    requests = [request(f"返金{number}" * (number % 20 + 1)) for number in range(60)]
    results = [engine.submit(one).result(20) for one in requests]
    assert results == scorer.score(requests)
    engine.close()


def test_fp32_graph_equals_torch(packed: Path, tokeniser: InputTokeniser) -> None:
    import torch

    from models.encoder import load_detector

    model = load_detector(packed)
    scorer = OnnxScorer(packed, weights="model.fp32.onnx")
    for text in ("責任者を出せ", "you are the idiot", "はい"):
        found = tokeniser.encode(text)[0]
        ids = torch.tensor([found.ids])
        groups = torch.full_like(ids, 2)
        groups[0, 1 : found.utterance_end] = 1
        with torch.no_grad():
            logits, _, pooled = model(ids, groups)
        np.testing.assert_allclose(scorer.raw_logits([request(text)])[0], logits[0].numpy(), atol=1e-4)
        np.testing.assert_allclose(embedding(scorer.score([request(text)])[0]), pooled[0].numpy(), atol=2e-3)


def test_torch_serves_the_same_answers(packed: Path, scorer: OnnxScorer) -> None:
    from models.torch_scorer import TorchScorer

    fp32 = OnnxScorer(packed, weights="model.fp32.onnx")
    requests = [request("責任者を出せ", "電話です"), request("you idiot", language="en")]
    for mine, theirs in zip(TorchScorer(packed).score(requests), fp32.score(requests), strict=True):
        assert mine.scores == pytest.approx(theirs.scores, abs=1e-5)
        assert mine.model_version == scorer.model_version


def test_load_scorer_finds_a_packed_model(packed: Path) -> None:
    assert load_scorer(packed).model_version == f"{OnnxScorer(packed).model_version}+two1+lex2"


def test_a_shallow_model_is_installed_beside_the_deep_one_and_reads_first(packed: Path, tmp_path: Path) -> None:
    version = install(packed, tmp_path)
    assert load_scorer(tmp_path).model_version == f"{version}+two1+lex2"
    assert install(packed, tmp_path, first=True) == version
    assert {path.name for path in (tmp_path / "first").iterdir()} == {
        "head.npz", "manifest.json", "model.int8.onnx", "tokenizer.json"
    }  # fmt: skip
    assert load_scorer(tmp_path).model_version == f"{version}+{version.removeprefix('mamori-')}+lex2"


def test_a_damaged_file_is_named(packed: Path, tmp_path: Path) -> None:
    for path in packed.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "model.int8.onnx").write_bytes(b"not a graph")
    with pytest.raises(ModelFilesError, match=r"model\.int8\.onnx"):
        OnnxScorer(tmp_path)
    with pytest.raises(ModelFilesError):
        OnnxScorer(tmp_path / "nowhere")


def test_what_is_read_alone_is_the_same_input_in_any_context(packed: Path) -> None:
    scorer = OnnxScorer(packed)
    said = (Turn(speaker=Speaker.AGENT, text="お調べします"),)
    for text, speaker in (("はい。", Speaker.CUSTOMER), ("お調べします", Speaker.AGENT)):
        bare = ScoreRequest(request_id="r", text=text, language="ja", speaker=speaker)
        assert scorer.reads_alone(bare)
        assert scorer.prepare(bare)[0].inputs == scorer.prepare(replace(bare, context=said))[0].inputs

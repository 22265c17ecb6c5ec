import json
from pathlib import Path

import pytest

from detector.labels import Speaker
from detector.scoring import ScoreRequest
from models.errors import ModelFilesError
from models.scorer import load_scorer

pytestmark = pytest.mark.needs("torch")


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Hugging Face sequence classifier, made here."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    from tests.models.conftest import build_tokenizer

    folder = tmp_path_factory.mktemp("classifier")
    tokenizer = build_tokenizer()
    wrapped = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", unk_token="<unk>", cls_token="<s>", sep_token="</s>"
    )
    wrapped.save_pretrained(folder)
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=300,
        num_labels=3,
        id2label={0: "insult", 1: "threat", 2: "weather"},
        problem_type="multi_label_classification",
    )
    transformers.BertForSequenceClassification(config).save_pretrained(folder)
    return folder


def request(text: str, speaker: Speaker = Speaker.CUSTOMER) -> ScoreRequest:
    return ScoreRequest(request_id="r", text=text, language="en", speaker=speaker)


def test_well_known_label_names_are_mapped(classifier: Path) -> None:
    scorer = load_scorer(str(classifier))
    result = scorer.score([request("you idiot")])[0]
    assert set(result.scores) == {"verbal_abuse", "threat"}
    assert all(0 <= score <= 1 for score in result.scores.values())
    assert scorer.model_version.startswith("hf-")
    assert scorer.score([request("a"), request("longer text than that")])[0] == scorer.score([request("a")])[0]
    assert scorer.score([request("you idiot", Speaker.AGENT)])[0].scores == {}


def test_a_label_map_overrides_the_names(classifier: Path, tmp_path: Path) -> None:
    for path in classifier.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "label_map.json").write_text(json.dumps({"weather": "complaint"}))
    assert set(load_scorer(tmp_path).score([request("you idiot")])[0].scores) == {"complaint"}
    (tmp_path / "label_map.json").write_text(json.dumps({"weather": "sunshine"}))
    with pytest.raises(ModelFilesError, match="sunshine"):
        load_scorer(tmp_path)


def test_what_is_no_model_is_said(tmp_path: Path) -> None:
    with pytest.raises(ModelFilesError):
        load_scorer(tmp_path)

"""A tiny random model, packed as the real one is, so that serving is tested without the bundled weights."""

from __future__ import annotations

from pathlib import Path

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from models.tokenisation import SPECIALS, InputTokeniser

_LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789.,!?'*。、ー"
_KANA = "".join(chr(code) for code in range(0x3041, 0x3097)) + "".join(chr(code) for code in range(0x30A1, 0x30FB))
_WORDS = ["▁you", "▁the", "ing", "電話", "です", "ます", "無能", "バカ", "▁idiot", "返金", "責任者"]


def build_tokenizer() -> Tokenizer:
    pieces = [
        "<s>",
        "<pad>",
        "</s>",
        "<unk>",
        "▁",
        *dict.fromkeys(_LETTERS + _KANA + "電話返金責任者無能出何度言私"),
        *_WORDS,
    ]
    vocabulary = [(piece, 0.0 if place < 4 else -8.0 + len(piece)) for place, piece in enumerate(pieces)]
    tokenizer = Tokenizer(models.Unigram(vocabulary, unk_id=3, byte_fallback=False))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")
    tokenizer.add_special_tokens(list(SPECIALS))
    return tokenizer


@pytest.fixture(scope="session")
def tokenizer_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    build_tokenizer().save(str(path))
    return path


@pytest.fixture(scope="session")
def tokeniser(tokenizer_file: Path) -> InputTokeniser:
    return InputTokeniser.from_file(tokenizer_file)


@pytest.fixture(scope="session")
def packed(tokenizer_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch = pytest.importorskip("torch")
    pytest.importorskip("onnxscript")
    from models.encoder import Detector, EncoderConfig, save_detector
    from models.train import export

    torch.manual_seed(0)
    tokeniser = InputTokeniser.from_file(tokenizer_file)
    config = EncoderConfig(
        vocab_size=tokeniser.vocabulary_size,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
    )
    model = Detector(config).eval()
    with torch.no_grad():
        for value in model.parameters():
            if value.ndim > 1:
                value.normal_(std=0.3)
    texts = [
        "電話です。",
        "you are the idiot",
        "返金をお願いします",
        "何度も言ってるだろ、責任者を出せ" * 2,
        "ok thanks, bye.",
    ]
    inputs = [found for text in texts for found in tokeniser.encode(text)]
    folder = tmp_path_factory.mktemp("packed")
    export.pack(model, tokenizer_file, folder, calibration=inputs)
    save_detector(model, folder)
    return folder

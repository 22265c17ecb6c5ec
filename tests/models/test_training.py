import json
import random
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

torch = pytest.importorskip("torch")

from hypothesis import given  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from detector.labels import HARASSMENT_LABELS, OUTPUTS, Speaker  # noqa: E402
from models.corpus.schema import Item, read_split  # noqa: E402
from models.encoder import Detector, EncoderConfig, attention_mask, load_detector, save_detector  # noqa: E402
from models.tokenisation import InputTokeniser  # noqa: E402
from models.train.augment import augment  # noqa: E402
from models.train.data import batches, collate, own_example  # noqa: E402
from models.train.loop import Schedule, train  # noqa: E402
from models.train.losses import evidence_loss, geometry_loss, label_loss  # noqa: E402
from models.train.pipeline import Material, Recipe, student_of, train_student  # noqa: E402
from models.train.public import Example  # noqa: E402

pytestmark = pytest.mark.needs("torch")


def example(text: str, *labels: str, span: tuple[int, int] | None = None) -> Example:
    targets = {label: float(label in labels) for label in HARASSMENT_LABELS}
    spans = () if span is None else (span,)
    return Example(
        text=text, language="ja", speaker="customer", context=(), targets=targets, spans=spans, weight=1.0, source="t"
    )


@pytest.fixture
def model(tokeniser: InputTokeniser) -> Detector:
    torch.manual_seed(0)
    config = EncoderConfig(
        vocab_size=tokeniser.vocabulary_size,
        hidden_size=32,
        num_hidden_layers=4,
        num_attention_heads=4,
        intermediate_size=64,
        dropout=0.0,
    )
    return Detector(config)


@given(seed=st.integers(0, 500), language=st.sampled_from(["ja", "en"]))
def test_noise_keeps_evidence_marked(seed: int, language: str) -> None:
    text = (
        "昨日の件だけど、お前は本当に無能だな。12345番だ"
        if language == "ja"
        else "Look, you're a useless idiot, 555-1234, ok?"
    )
    start = text.index("無能" if language == "ja" else "useless")
    plain = example(text, "verbal_abuse", span=(start, start + 2))
    noisy = augment(plain, random.Random(seed))
    assert noisy.spans
    assert noisy.targets == plain.targets
    assert all(0 <= begin < end <= len(noisy.text) for begin, end in noisy.spans)


def test_noise_is_seeded() -> None:
    plain = example("昨日の件だけど、お前は無能だな", "verbal_abuse", span=(11, 13))
    assert augment(plain, random.Random(3)) == augment(plain, random.Random(3))


def test_who_reads_whom() -> None:
    groups = torch.tensor([[2, 1, 1, 2, 0]])
    readable = (attention_mask(groups)[0, 0] == 0).int().tolist()
    assert readable == [
        [1, 1, 1, 1, 0],
        [0, 1, 1, 0, 0],
        [0, 1, 1, 0, 0],
        [1, 1, 1, 1, 0],
        [1, 1, 1, 1, 0],
    ]


def test_a_batch_says_what_its_source_knows(tokeniser: InputTokeniser) -> None:
    text = "この無能が"
    marked = example(text, "verbal_abuse", span=(2, 4))
    batch = collate([(marked, tokeniser.encode(text)[0], 5)], tokeniser.pad_id)
    assert batch.known.sum() == len(HARASSMENT_LABELS)
    assert batch.targets[0, OUTPUTS.index("verbal_abuse")] == 1.0
    column = HARASSMENT_LABELS.index("verbal_abuse")
    lit = [place for place in range(batch.ids.shape[1]) if batch.evidence[0, place, column] > 0]
    offsets = tokeniser.encode(text)[0].offsets
    assert [text[slice(*offsets[place - 1])] for place in lit] == ["無能"]
    assert batch.evidence_known[0, 0].sum() == 0


def test_an_operators_item_teaches_cues_alone() -> None:
    item = Item(
        id="x", text="申し訳ございません", language="ja", speaker="agent", context=(), labels=(), cues=("apology",), tags=(),
        spans=(), group="g", persona="", industry="", region="", writer="w",
    )  # fmt: skip
    found = own_example(item)
    assert found.targets["apology"] == 1.0
    assert "threat" not in found.targets
    assert found.spans is None
    assert found.speaker == Speaker.AGENT


def test_losses_ignore_what_is_unknown(tokeniser: InputTokeniser) -> None:
    batch = collate([(example("無能", "verbal_abuse"), tokeniser.encode("無能")[0], -1)], tokeniser.pad_id)
    logits = torch.zeros(1, len(OUTPUTS))
    moved = logits.clone()
    moved[0, OUTPUTS.index("apology")] = 9.0
    assert float(label_loss(logits, batch)) == pytest.approx(float(label_loss(moved, batch)))
    evidence = torch.zeros(1, batch.ids.shape[1], len(HARASSMENT_LABELS))
    outside = evidence.clone()
    outside[0, 0] = 9.0
    assert float(evidence_loss(evidence, batch)) == pytest.approx(float(evidence_loss(outside, batch)))
    assert float(geometry_loss(torch.eye(2), torch.eye(2), torch.tensor([-1, -1]))) == 0.0
    assert float(geometry_loss(torch.eye(2), torch.eye(2), torch.tensor([0, 1]))) == pytest.approx(0.0)


def test_a_student_takes_evenly_spaced_layers_with_the_last(model: Detector) -> None:
    student = student_of(model, 2)
    assert student.config.num_hidden_layers == 2
    assert torch.equal(student.encoder.layers[0].up.weight, model.encoder.layers[1].up.weight)
    assert torch.equal(student.encoder.layers[1].up.weight, model.encoder.layers[3].up.weight)


def test_training_learns_goes_on_and_is_saved(model: Detector, tokeniser: InputTokeniser, tmp_path: Path) -> None:
    rows = [(example("この無能が", "verbal_abuse", span=(2, 4)), 0), (example("電話番号です"), 1)] * 16

    def epoch(number: int, rng: random.Random) -> list[tuple[Example, int]]:
        return rows

    schedule = Schedule(epochs=6, learning_rate=3e-3, head_rate=3.0)
    geometry = torch.eye(32)[:2]
    train(model, tokeniser, epoch, geometry, schedule=schedule, folder=tmp_path)
    figures = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in figures if "seconds" in line] == list(range(6))
    batch = next(iter(batches(rows, tokeniser, random.Random(0))))
    with torch.no_grad():
        logits = model(batch.ids, batch.groups)[0]
    column = OUTPUTS.index("verbal_abuse")
    assert ((logits[:, column] > 0) == (batch.targets[:, column] > 0)).all()

    save_detector(model, tmp_path / "saved")
    again = load_detector(tmp_path / "saved")
    with torch.no_grad():
        assert torch.allclose(again(batch.ids, batch.groups)[0], logits)

    # The checkpoint is at the end: nothing is trained again.
    train(model, tokeniser, epoch, geometry, schedule=schedule, folder=tmp_path)
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == len(figures)


def after(model: Detector, tokeniser: InputTokeniser, folder: Path, *, layers: int) -> Material:
    """Material of a short run of a student of `layers` layers, after an earlier run whose student `model` was."""
    save_detector(model, folder / "earlier" / "student-4")
    rows = [(example("この無能が", "verbal_abuse", span=(2, 4)), 0), (example("電話番号です"), 1)]
    recipe = Recipe(
        base="", data_dir=None, folder=folder / "later", layers=layers, student_epochs=1, start=folder / "earlier"
    )
    material = SimpleNamespace(
        recipe=recipe,
        tokeniser=tokeniser,
        epoch=lambda number, rng: rows,
        geometry=torch.eye(32)[:2],
        valid=read_split("valid")[:30],
    )
    return cast(Material, material)


def test_an_earlier_student_is_trained_on_without_a_teacher(
    model: Detector, tokeniser: InputTokeniser, tmp_path: Path
) -> None:
    found = train_student(after(model, tokeniser, tmp_path, layers=4))
    before, now = model.label_head.weight, found.label_head.weight
    assert 0 < float((before - now).detach().abs().max()) < 0.01
    assert (tmp_path / "later" / "student-4" / "model.safetensors").is_file()
    assert not (tmp_path / "later" / "teacher").exists()


def test_a_shallow_student_is_taught_by_an_earlier_deep_one(
    model: Detector, tokeniser: InputTokeniser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("models.train.pipeline.DEEP", 4)
    assert train_student(after(model, tokeniser, tmp_path, layers=2)).config.num_hidden_layers == 2
    figures = (tmp_path / "later" / "student-2" / "metrics.jsonl").read_text(encoding="utf-8")
    assert figures, "it was trained"
    assert (tmp_path / "later" / "student-2" / "model.safetensors").is_file()

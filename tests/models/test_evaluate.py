import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from models.commands import evaluate
from models.corpus.schema import FOLDER
from models.errors import CorpusError
from models.evaluate import evaluate_utterances, read_labelled
from models.lexicon_scorer import LexiconScorer
from models.metrics import precision_at_recall, reliability
from models.report import tables, write_report

LINES = [
    {"id": 1, "text": "お前は無能だ", "language": "ja", "labels": ["verbal_abuse"], "tags": ["blunt"], "group": "g"},
    {"id": 2, "text": "『バカ野郎』と言われたんです", "language": "ja", "labels": [], "tags": ["quoted"], "group": "g"},
    {"id": 3, "text": "I know where you live, pal", "language": "en", "labels": ["threat"], "group": "h"},
    {"id": 4, "text": "We apologise", "language": "en", "speaker": "agent", "labels": [], "cues": ["apology"]},
]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "items.jsonl"
    path.write_text("\n".join(json.dumps(line) for line in LINES))
    return path


def test_figures_per_language_and_kind(path: Path) -> None:
    report = evaluate_utterances(read_labelled(path), LexiconScorer())
    ja, en = report["sections"]["ja"], report["sections"]["en"]
    assert ja["macro_f1"] == 1.0
    assert ja["false_alarms"] == {
        "all": 0.0,
        "hard": 0.0,
        "hard_items": 1,
        "by_tag": {"quoted": {"items": 1, "fired": 0}},
    }
    assert en["customer_utterances"] == 1
    assert en["labels"]["threat"]["recall"] == 1.0
    assert en["cues"]["apology"]["f1"] == 1.0
    assert report["sections"]["all"]["customer_utterances"] == 3


def test_the_report_is_written(path: Path, tmp_path: Path) -> None:
    report = evaluate_utterances(read_labelled(path), LexiconScorer())
    assert "macro-F1" in tables(report)
    written = {found.name for found in write_report(report, tmp_path / "report")}
    assert {"report.json", "report.html"} <= written


def test_shown_words_are_compared_with_marked_ones(tmp_path: Path) -> None:
    path = tmp_path / "items.jsonl"
    path.write_text(json.dumps({**LINES[0], "spans": [{"start": 0, "end": 6}]}))
    (item,) = read_labelled(path)
    (result,) = LexiconScorer().score([item.request])
    shown = {place for span in result.spans for place in range(span.start, span.end)}
    found = evaluate_utterances([item], LexiconScorer())["sections"]["ja"]["evidence"]
    assert found["items"] == 1
    assert found["recall"] == round(len(shown) / 6, 4)
    assert (found["precision"], found["touched"]) == (1.0, 1.0)


def test_precision_at_recall_and_reliability_by_hand() -> None:
    scores, truth = np.array([0.9, 0.8, 0.7, 0.1]), np.array([True, False, True, False])
    found = precision_at_recall(scores, truth)
    assert (len(found), found[0], found[10], found[-1]) == (21, 1.0, 1.0, 0.6667)
    assert precision_at_recall(scores, np.zeros(4, dtype=bool)) == []
    assert reliability(scores, truth) == [(0.1, 0.0, 1), (0.7, 1.0, 1), (0.8, 0.0, 1), (0.9, 1.0, 1)]
    assert reliability(np.array([1.0]), np.array([True])) == [(1.0, 1.0, 1)]


def test_a_bad_line_is_named(tmp_path: Path) -> None:
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"text": "x"}')
    with pytest.raises(CorpusError, match=r"bad\.jsonl:1"):
        read_labelled(bad)


def test_the_command(path: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(evaluate, ["--utterances", str(path), "--report", str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    assert "macro-F1" in result.output
    assert CliRunner().invoke(evaluate, []).exit_code == 2


def test_the_corpus_itself_can_be_read() -> None:
    items = read_labelled(FOLDER / "utterances.ja.test.jsonl")
    assert any(item.spans for item in items)

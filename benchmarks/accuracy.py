"""Accuracy on our own test split and on public test sets that nothing was trained or tuned on.

    python -m benchmarks.accuracy [--model DIR] [--data-dir DIR] [--json FILE]

Public sets were labelled by people for other questions than ours; what counts as an answer to theirs is said with each.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np

from detector.labels import HARASSMENT_LABELS, Speaker
from detector.scoring import Scorer, ScoreRequest, ScoreResult
from models.corpus.schema import FOLDER, read_split
from models.evaluate import evaluate_utterances, read_labelled
from models.metrics import roc_auc
from models.report import tables
from models.scorer import load_scorer
from models.train import public

csv.field_size_limit(1 << 24)

ANCHORS = {
    "rtp_lx_ja": {
        "Azure Content Safety": {"verbal_abuse": 0.834, "discrimination": 0.779, "threat": 0.931, "sexual": 0.980},
        "GPT-4": {"verbal_abuse": 0.822, "discrimination": 0.822, "threat": 0.941, "sexual": 0.940},
    },
    "hatecheck": {"Perspective": 0.766},
}
"""Stored or published figures of others on the same rows (RTP-LX's own scores, HateCheck's paper)."""


def answers(scorer: Scorer, texts: Sequence[str], language: str) -> list[ScoreResult]:
    """Scores texts as a customer's utterances without context."""
    requests = [
        ScoreRequest(request_id=str(n), text=text or " ", language=language, speaker=Speaker.CUSTOMER)
        for n, text in enumerate(texts)
    ]
    results: list[ScoreResult] = []
    for start in range(0, len(requests), 64):
        results.extend(scorer.score(requests[start : start + 64]))
    return results


def harassment(result: ScoreResult) -> float:
    """The highest score of any harassment label."""
    return max(result.scores[label] for label in HARASSMENT_LABELS if label in result.scores)


def fired(result: ScoreResult, labels: Iterable[str] = HARASSMENT_LABELS) -> bool:
    """Whether any of `labels` is over its threshold."""
    return bool(set(result.labels) & set(labels))


def rows(path: Path, **dialect: Any) -> list[dict[str, str]]:
    """A CSV file, gzipped or not."""
    with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as stored:
        return list(csv.DictReader(io.TextIOWrapper(stored, encoding="utf-8", newline=""), **dialect))


def rtp_lx(folder: Path, scorer: Scorer, language: str) -> dict[str, Any]:
    """AUC per label on the rows set aside; a row is positive from the middle of the human scale on."""
    examples = [e for e in public.rtp_lx(folder / "rtp_lx", test=True) if e.language == language and len(e.targets) < 8]
    results = answers(scorer, [example.text for example in examples], language)
    figures = {}
    for label in ("verbal_abuse", "discrimination", "threat", "sexual"):
        truth = np.array([example.targets[label] >= 0.5 for example in examples])
        scores = np.array([result.scores.get(label, 0.0) for result in results])
        figures[label] = round(roc_auc(scores, truth), 3)
    return {"rows": len(examples), "auc": figures}


def hatecheck(folder: Path, scorer: Scorer) -> dict[str, Any]:
    """Cases right: hateful is answered by `discrimination` over threshold, abuse of anyone else is not hate."""
    cases = rows(folder / "hatecheck_en" / "test_suite_cases.csv.gz")
    results = answers(scorer, [case["test_case"] for case in cases], "en")
    right: dict[str, list[bool]] = defaultdict(list)
    for case, result in zip(cases, results, strict=True):
        correct = fired(result, ["discrimination"]) == (case["label_gold"] == "hateful")
        for key in ("all", case["label_gold"], case["functionality"]):
            right[key].append(correct)
    return {"rows": len(cases), "right": {key: round(float(np.mean(found)), 3) for key, found in right.items()}}


def convabuse(folder: Path, scorer: Scorer) -> dict[str, Any]:
    """AUC of any harassment against the annotators' majority for abuse, with the conversation as context."""
    examples = list(public.convabuse(folder / "convabuse_en", split="test"))
    requests = [
        ScoreRequest(request_id=str(n), text=example.text, language="en", context=example.context)
        for n, example in enumerate(examples)
    ]
    results = scorer.score(requests)
    truth = np.array([max(example.targets.values()) > 0.5 for example in examples])
    return {
        "rows": len(examples),
        "auc": round(roc_auc(np.array([harassment(result) for result in results]), truth), 3),
        "recall": round(float(np.mean([fired(r) for r, t in zip(results, truth, strict=True) if t])), 3),
        "false_alarms": round(float(np.mean([fired(r) for r, t in zip(results, truth, strict=True) if not t])), 3),
    }


def inspection(folder: Path, scorer: Scorer) -> dict[str, Any]:
    """AUC of any harassment against the majority of votes for toxic or very toxic."""
    found = rows(folder / "inspection_toxic_ja" / "subset.csv")
    results = answers(scorer, [row["text"] for row in found], "ja")
    truth = np.array(
        [int(r["Toxic"]) + int(r["Very Toxic"]) > int(r["Not Toxic"]) + int(r["Hard to Say"]) for r in found]
    )
    return {"rows": len(found), "auc": round(roc_auc(np.array([harassment(r) for r in results]), truth), 3)}


def openai_moderation(folder: Path, scorer: Scorer) -> dict[str, Any]:
    """AUC per category of OpenAI's set, texts up to 400 characters."""
    with gzip.open(folder / "openai_moderation_en" / "samples-1680.jsonl.gz", "rt", encoding="utf-8") as lines:
        found = [row for row in map(json.loads, lines) if len(row["prompt"]) <= 400]
    results = answers(scorer, [row["prompt"] for row in found], "en")
    figures = {}
    for category, label in (("S", "sexual"), ("H", "discrimination"), ("V", "threat"), ("SH", "self_harm")):
        known = [n for n, row in enumerate(found) if row.get(category) is not None]
        truth = np.array([found[n][category] == 1 for n in known])
        scores = np.array([results[n].scores.get(label, 0.0) for n in known])
        figures[label] = round(roc_auc(scores, truth), 3)
    return {"rows": len(found), "auc": figures}


def ordinary_talk(folder: Path, scorer: Scorer) -> dict[str, Any]:
    """Share of ordinary service talk that fires; sentences that training may have drawn, so a floor, not a test."""
    figures = {}
    for name, language, reader in (
        ("taskmaster4_en", "en", public.taskmaster),
        ("asdc_ja", "ja", public.asdc),
        ("multidogo_en", "en", public.multidogo),
    ):
        texts = [example.text for example in reader(folder / name)][::37][:1500]
        figures[name] = round(float(np.mean([fired(result) for result in answers(scorer, texts, language)])), 4)
    return figures


@click.command()
@click.option("--model", type=str, help="Packed model.  [default: bundled]")
@click.option("--data-dir", type=click.Path(path_type=Path), help="Folder of the public sets.")
@click.option("--corpus", type=click.Path(path_type=Path), default=FOLDER, help="Folder of the own items.")
@click.option("--json", "target", type=click.Path(path_type=Path), help="Where the figures go.")
def main(model: str | None, data_dir: Path | None, corpus: Path, target: Path | None) -> None:
    """Measure accuracy."""
    scorer = load_scorer(model)
    report: dict[str, Any] = {"model_version": scorer.model_version}
    if data_dir is not None:
        report["rtp_lx_ja"] = rtp_lx(data_dir, scorer, "ja")
        report["rtp_lx_en"] = rtp_lx(data_dir, scorer, "en")
        report["hatecheck"] = hatecheck(data_dir, scorer)
        report["convabuse"] = convabuse(data_dir, scorer)
        report["inspection_ja"] = inspection(data_dir, scorer)
        report["openai_moderation"] = openai_moderation(data_dir, scorer)
        report["ordinary_talk"] = ordinary_talk(data_dir, scorer)
        report["anchors"] = ANCHORS
        click.echo(json.dumps(report, indent=1, ensure_ascii=False))
    paths = [corpus / f"utterances.{language}.test.jsonl" for language in ("ja", "en")]
    items = [item for path in paths if path.is_file() for item in read_labelled(path)]
    if items and read_split("test", folder=corpus):
        report["own_test"] = evaluate_utterances(items, scorer)
        click.echo(tables(report["own_test"]))
    if target is not None:
        target.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

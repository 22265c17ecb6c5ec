"""The command line's `train`, `export` and `evaluate`; `server/cli.py` adds them to its group."""

from __future__ import annotations

import json
import logging
import os
import sys
from pathlib import Path

import click

from models.corpus.schema import FOLDER
from models.scorer import BUNDLED, load_scorer

_DEFAULT_BASE = "intfloat/multilingual-e5-small"
_FOLDER = click.Path(file_okay=False, path_type=Path)
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command()
@click.option("--base", default=_DEFAULT_BASE, show_default=True, help="Path or Hugging Face id of the base encoder.")
@click.option("--corpus", type=_FOLDER, default=FOLDER, help="Folder of the own items.  [default: the bundled corpus]")
@click.option("--data-dir", type=_FOLDER, help="Folder of the public data sets; without it they are left out.")
@click.option("--out", type=_FOLDER, default=Path("out/train"), show_default=True, help="Where everything goes.")
@click.option("--teacher-epochs", type=click.IntRange(1), default=5, show_default=True)
@click.option("--student-epochs", type=click.IntRange(1), default=8, show_default=True)
@click.option("--layers", type=click.IntRange(1, 12), default=6, show_default=True, help="Layers of the student.")
@click.option("--public-scale", type=float, default=0.5, show_default=True, help="Share of public examples per epoch.")
@click.option("--seed", type=int, default=1, show_default=True)
@click.option("--threads", type=click.IntRange(1), help="CPU threads.  [default: all cores]")
@click.option(
    "--start",
    type=_FOLDER,
    help="An earlier run (its --out) whose student is trained on, without a teacher; where it has none of so many layers, its "
    "deep one teaches one.",
)
def train(
    *,
    base: str,
    corpus: Path,
    data_dir: Path | None,
    out: Path,
    teacher_epochs: int,
    student_epochs: int,
    layers: int,
    public_scale: float,
    seed: int,
    threads: int | None,
    start: Path | None,
) -> None:
    """Train teacher and student; an interrupted run goes on where it stopped."""
    # Waiting threads that spin starve a neighbour on the same cores; must be set before torch loads.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    import torch  # noqa: PLC0415 - an extra

    from models.train.pipeline import Material, Recipe, pack, train_student  # noqa: PLC0415

    if threads:
        torch.set_num_threads(threads)
    material = Material(
        Recipe(
            base=base,
            corpus=corpus,
            data_dir=data_dir,
            folder=out,
            teacher_epochs=teacher_epochs,
            student_epochs=student_epochs,
            layers=layers,
            public_scale=public_scale,
            seed=seed,
            start=start,
        )
    )
    student = train_student(material)
    facts = pack(material, student, out / f"packed-{layers}")
    click.echo(json.dumps(facts, indent=1))


@click.command()
@click.option("--from", "source", type=_FOLDER, required=True, help="A folder that `train` packed.")
@click.option("--to", "target", type=_FOLDER, default=BUNDLED, help="Where to.  [default: the bundled model]")
@click.option("--first", is_flag=True, help="It is the shallow model that reads first, and goes beside the deep one.")
def export(source: Path, target: Path, first: bool) -> None:
    """Install a packed model: check it, copy what serving needs, and its half-precision weights."""
    from models.packing import install  # noqa: PLC0415 - needs ONNX Runtime

    click.echo(install(source, target, first=first))


@click.command()
@click.option("--utterances", type=_FILE, multiple=True, help="Labelled utterances, JSON Lines; may be given again.")
@click.option("--model", type=str, help="Packed model or Hugging Face classifier.  [default: the bundled model]")
@click.option("--report", "folder", type=_FOLDER, help="Where JSON, plots and an HTML page go.")
def evaluate(utterances: tuple[Path, ...], model: str | None, folder: Path | None) -> None:
    """Measure accuracy on labelled utterances."""
    from models.evaluate import evaluate_utterances, read_labelled  # noqa: PLC0415 - numpy, only where needed
    from models.report import tables, write_report  # noqa: PLC0415

    items = [item for path in utterances for item in read_labelled(path)]
    if not items:
        raise click.UsageError("no utterances")
    report = evaluate_utterances(items, load_scorer(model))
    click.echo(tables(report))
    if folder is not None:
        for path in write_report(report, folder):
            click.echo(str(path), err=True)

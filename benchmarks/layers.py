"""Accuracy against cost: students of several depths, and the cascade of two, on the valid split.

    python -m benchmarks.layers NAME=FOLDER… [--plot FILE]

A FOLDER is what `mamori train` packed, or the bundled model with its first reader. Cost is the mean time for one request alone on
one core, best of three runs; all in one run, for a machine is not as fast tomorrow. It is taken for the valid split's customers,
half of whom are abusive or sound like it, and for the ordinary talk of `benchmarks.load_talk`, customers and operators by
turns, which is what a floor costs. The valid split chose the thresholds, so its figures are for comparing, not for believing;
the test split stays out of it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import click

from benchmarks.load_talk import AGENT, CUSTOMER
from detector.labels import Speaker
from detector.scoring import Scorer, ScoreRequest, Turn
from models.corpus.schema import read_split
from models.evaluate import Labelled, evaluate_utterances
from models.scorer import load_scorer
from models.train.thresholds import request_of

ROUNDS = 3
TIMED = 400


def cost_ms(scorer: Scorer, requests: Sequence[ScoreRequest]) -> float:
    """Mean milliseconds for one request, the best of three runs."""
    times = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        for request in requests:
            scorer.score([request])
        times.append(time.perf_counter() - started)
    return 1e3 * min(times) / len(requests)


def ordinary() -> list[ScoreRequest]:
    """Ordinary talk, each utterance with the one before it as its context."""
    places = ((Speaker.CUSTOMER, CUSTOMER), (Speaker.AGENT, AGENT))
    said = [(speaker, phrases.text(number)) for number in range(TIMED // 2) for speaker, phrases in places]
    return [
        ScoreRequest(
            request_id=str(number),
            text=text,
            language="ja",
            speaker=speaker,
            context=tuple(Turn(speaker=who, text=words) for who, words in said[max(0, number - 2) : number]),
        )
        for number, (speaker, text) in enumerate(said)
    ]


@click.command()
@click.argument("models", nargs=-1, required=True)
@click.option("--plot", type=click.Path(dir_okay=False, path_type=Path), help="Where the plot goes (SVG or PNG).")
def main(models: tuple[str, ...], plot: Path | None) -> None:
    """Measure models of several depths."""
    items = [
        Labelled(request=request_of(item), labels=frozenset(item.labels), tags=frozenset(item.tags), group=item.group)
        for item in read_split("valid")
        if item.speaker == "customer"
    ]
    timed = [item.request for item in items[:: max(1, len(items) // TIMED)]]
    plain = ordinary()
    points: list[tuple[str, float, float, float]] = []
    for word in models:
        name, _, folder = word.partition("=")
        scorer = load_scorer(folder)
        sections = evaluate_utterances(items, scorer)["sections"]
        cost, grave = cost_ms(scorer, plain), cost_ms(scorer, timed)
        points.append((name, cost, sections["ja"]["macro_f1"], sections["en"]["macro_f1"]))
        click.echo(
            f"{name:24} {cost:6.2f} ms in ordinary talk  {grave:6.2f} ms in the valid split   "
            f"macro-F1 ja {points[-1][2]:.3f}  en {points[-1][3]:.3f}"
        )
    if plot is not None:
        draw(points, plot)


def draw(points: Sequence[tuple[str, float, float, float]], path: Path) -> None:
    """Draws name, milliseconds, and macro-F1 in Japanese and English."""
    import matplotlib as mpl  # noqa: PLC0415 - an extra

    mpl.use("Agg")
    from matplotlib import pyplot  # noqa: PLC0415 - after the backend

    figure, axes = pyplot.subplots(figsize=(7, 4), layout="constrained")
    for column, language in ((2, "Japanese"), (3, "English")):
        axes.scatter([point[1] for point in points], [point[column] for point in points], label=language)
        for point in points:
            axes.annotate(point[0], (point[1], point[column]), textcoords="offset points", xytext=(5, 5), fontsize=8)
    axes.set_xlabel("milliseconds for one utterance of ordinary talk on one core")
    axes.set_ylabel("macro-F1 over the eight labels, valid split")
    axes.legend()
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
    pyplot.close(figure)


if __name__ == "__main__":
    main()

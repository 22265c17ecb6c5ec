"""Fits what speaks for a complaint raised again (`[repetition]` and `[repetition.evidence]` in the rules) on calls whose rounds are marked.

    python -m benchmarks.rounds [FILE…] [--model DIR]

FILE is a script of calls (`models/corpus/callscript.py`); by default the development calls. The weights are those of a logistic
regression with a quadratic penalty. They are fitted on one half of the calls and tried on the other, both ways round, and then
on all: take them over where both halves agree, for example after new weights of the classifier.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Final
from unittest import mock

import click
import numpy as np
import numpy.typing as npt

from benchmarks.calls import outcomes, read, repetition_table
from benchmarks.mistakes import development_files
from detector.playbook import default_playbook
from detector.raising import MAX_COUNT, MAX_IDEAS, USUAL_COMPLAINT, USUAL_IDEAS, Signs
from detector.replaying import Replay
from detector.rules import EvidenceRules, RepetitionRules, Rules, default_rules
from detector.scoring import Scorer, ScoreRequest, ScoreResult
from models.corpus.callscript import Script, events_of
from models.scorer import load_scorer
from server.wire import decode_event

CHANCE: Final = 0.3
"""Chance from which an utterance is taken for a raising: raisings are rare, and a call needs two to be warned of."""
PENALTY: Final = 1.0
NAMES: Final = tuple(item.name for item in fields(Signs))


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One utterance of a caller that could be a raising, and whether the script marks it as one."""

    signs: Signs
    raising: bool


class Remembered:
    """A scorer that asks the other one only once."""

    def __init__(self, inner: Scorer) -> None:
        self._inner = inner
        self._known: dict[Any, ScoreResult] = {}

    @property
    def model_version(self) -> str:
        """The other's."""
        return self._inner.model_version

    def score(self, requests: Sequence[ScoreRequest]) -> list[ScoreResult]:
        """Scores a batch."""
        found = []
        for request in requests:
            key = (request.text, request.language, request.speaker, request.context)
            if key not in self._known:
                self._known[key] = self._inner.score([request])[0]
            found.append(replace(self._known[key], request_id=request.request_id))
        return found


def examples(script: Script, *, scorer: Scorer, rules: Rules) -> Iterator[Example]:
    """Replays a call in which nothing is taken for a raising, and reads off what spoke for it each time."""
    codes = [line.codes for line in script.lines if not line.directive]
    seen: list[Signs] = []
    found: dict[str, Example] = {}

    def note(signs: Signs, _rules: RepetitionRules) -> bool:
        seen.append(signs)
        return False

    with mock.patch("detector.repetition.is_raising", note):
        replay = Replay(rules=rules, playbook=default_playbook(), score=scorer.score)
        for event in events_of(script):
            seen.clear()
            list(replay.feed(decode_event(event)))
            unit = replay.calls[script.name].session.state.transcript.unit
            if seen and unit is not None:
                lines = (codes[int(piece.segment_id[1:]) - 1] for piece in unit.pieces)
                marked = any(code[0] == "r" and code[1:].isdigit() for line in lines for code in line)
                found[unit.unit_id] = Example(signs=seen[-1], raising=marked)
    yield from found.values()


def _row(signs: Signs) -> list[float]:
    bounded = {"shared_words": MAX_COUNT, "refusals": MAX_COUNT, "restated": MAX_COUNT, "ideas": MAX_IDEAS}
    return [min(float(getattr(signs, name)), float(bounded.get(name, np.inf))) for name in NAMES]


def fit(found: Sequence[Example]) -> RepetitionRules:
    """The rules that follow from a logistic regression over examples (Newton's method on standardised columns)."""
    columns = np.array([_row(item.signs) for item in found])
    wanted = np.array([item.raising for item in found], dtype=np.float64)
    mean, spread = columns.mean(axis=0), columns.std(axis=0) + 1e-9
    design = np.c_[np.ones(len(columns)), (columns - mean) / spread]
    weights: npt.NDArray[np.float64] = np.zeros(design.shape[1])
    penalty = PENALTY * np.diag([0.0, *np.ones(columns.shape[1])])
    for _ in range(25):
        chance = 1 / (1 + np.exp(-design @ weights))
        slope = design.T @ (chance - wanted) + penalty @ weights
        weights = weights - np.linalg.solve((design.T * (chance * (1 - chance))) @ design + penalty, slope)
    raw = weights[1:] / spread
    return _as_rules(dict(zip(NAMES, raw, strict=True)), float(weights[0] - raw @ mean))


def _as_rules(weight: dict[str, float], bias: float) -> RepetitionRules:
    """The same decision, in units of likeness."""
    unit = weight["likeness"]
    usual = (
        weight["shared_words"]
        + weight["complains"] * USUAL_COMPLAINT
        + weight["refusals"]
        + weight["restated"]
        + weight["ideas"] * USUAL_IDEAS
    )
    similarity = (float(np.log(CHANCE / (1 - CHANCE))) - bias - usual) / unit

    def amount(value: float) -> float:
        return round(float(max(0.0, value)), 2)

    def share(value: float) -> float:
        return min(1.0, amount(value))

    return RepetitionRules(
        similarity=share(similarity),
        similarity_said_again=share(similarity - max(0.0, weight["insists"]) / unit),
        similarity_other_matter=share(similarity - min(0.0, weight["other_matter"]) / unit),
        evidence=EvidenceRules(
            shared_word=amount(weight["shared_words"] / unit),
            complaint=amount(weight["complains"] / unit),
            refusal=amount(weight["refusals"] / unit),
            restated_word=amount(weight["restated"] / unit),
            ten_ideas=amount(10 * weight["ideas"] / unit),
            asked=amount(-weight["asked"] / unit),
        ),
    )


def _tell(title: str, chosen: RepetitionRules, scripts: Sequence[Script], scorer: Scorer) -> None:
    rules = replace(default_rules(), repetition=chosen)
    table = repetition_table(scripts, outcomes((list(events_of(item)) for item in scripts), scorer=scorer, rules=rules))
    kept = (
        "calls",
        "circling",
        "mean_error_circling",
        "third_precision",
        "third_recall",
        "third_missed",
        "third_false",
    )
    click.echo(f"{title}: " + ", ".join(f"{name} {table[name]}" for name in kept))


@click.command(help=__doc__)
@click.argument("files", nargs=-1, type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--model", help="Classifier (default: the bundled one).")
def main(files: tuple[Path, ...], model: str | None) -> None:
    """The command."""
    scorer, rules = Remembered(load_scorer(model)), default_rules()
    scripts = read(files or development_files())
    halves = [[item for item in scripts if zlib.crc32(item.name.encode()) % 2 == side] for side in (0, 1)]
    found = [[example for item in half for example in examples(item, scorer=scorer, rules=rules)] for half in halves]
    for side in (0, 1):
        chosen = fit(found[side])
        click.echo(f"half {side + 1}: {chosen}")
        _tell("  on the other half", chosen, halves[1 - side], scorer)
    click.echo(f"all: {fit([*found[0], *found[1]])}")
    _tell("  the rules as they are, on all", rules.repetition, scripts, scorer)


if __name__ == "__main__":
    main()

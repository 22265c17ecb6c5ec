"""Every harassing call that was missed and every fair one that was warned of, with the words that decided it.

    python -m benchmarks.mistakes [FILE…] [--model DIR] [--rules FILE]

FILE is a script of calls (`models/corpus/callscript.py`); by default the development calls. The test calls are not for looking at.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click

from benchmarks.calls import read
from detector.alerts import AlertEvent
from detector.labels import Level
from detector.playbook import default_playbook
from detector.rules import Rules, default_rules
from detector.scoring import Scorer
from models.corpus.callscript import Script, events_of, plain
from models.corpus.schema import FOLDER
from models.scorer import load_scorer
from server.app import partial_gate, read_rules
from server.replay import replay
from server.wire import decode_event


def development_files() -> tuple[Path, ...]:
    """The calls that rules are set on."""
    return tuple(path for path in sorted(FOLDER.glob("calls.*.txt")) if not path.name.endswith(".test.txt"))


def mistakes(scripts: list[Script], *, scorer: Scorer, rules: Rules) -> Iterator[tuple[Script, list[AlertEvent]]]:
    """The calls whose alerts are wrong at `warning`, each with all its alert events."""
    for script in scripts:
        events = [decode_event(event) for event in events_of(script)]
        changes = list(replay(events, scorer=scorer, rules=rules, playbook=default_playbook(), gate=partial_gate()))
        warned = {change.alert.kind for change in changes if change.alert.level >= Level.WARNING}
        retracted = {change.alert.kind for change in changes if change.type.value == "alert.retracted"}
        accused = any(kind.value != "distress" for kind in warned - retracted)
        if accused != bool(script.meta.get("harassing")):
            yield script, changes


def shown(script: Script, changes: list[AlertEvent]) -> Iterator[str]:
    """One call as lines of text: its alerts, and for a miss what the script says was harassing."""
    missed = bool(script.meta.get("harassing"))
    yield f"{'MISSED' if missed else 'FALSE'} {script.name} {script.meta.get('kinds', [])} {script.meta.get('tags', [])}"
    for change in changes:
        alert = change.alert
        if change.type.value in ("alert.raised", "alert.updated"):
            words = " / ".join(piece.text for piece in alert.evidence[:3])
            yield f"  {alert.kind.value} {alert.level.value} {alert.score:.2f} {', '.join(alert.labels)}: {alert.reason} | {words}"
    if missed:
        for line in script.lines:
            if line.speaker == "customer" and set(line.codes) - {"co"}:
                yield f"  {','.join(line.codes)} | {plain(line.text)}"


@click.command(help=__doc__)
@click.argument("files", nargs=-1, type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--model", help="Classifier (default: the bundled one).")
@click.option("--rules", type=click.Path(path_type=Path, dir_okay=False), help="House rules (default: the bundled).")
def main(files: tuple[Path, ...], model: str | None, rules: Path | None) -> None:
    """The command."""
    house = read_rules(rules) if rules is not None else default_rules()
    for script, changes in mistakes(read(files or development_files()), scorer=load_scorer(model), rules=house):
        click.echo("\n".join(shown(script, changes)))


if __name__ == "__main__":
    main()

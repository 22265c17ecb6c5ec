"""How well whole calls are understood: alerts against the scripts' own truth, rounds, re-cut calls, provisional alerts.

    python -m benchmarks.calls [FILE…] [--model DIR] [--cuts N] [--json FILE]

FILE is a script of calls (`models/corpus/callscript.py`); by default those of the corpus. Everything is replayed in media
time, so the figures do not depend on the machine.
"""

from __future__ import annotations

import json
import random
import re
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import click

from detector.alerts import AlertChange, AlertEvent
from detector.labels import Level
from detector.playbook import default_playbook
from detector.rules import Rules, default_rules
from detector.scoring import Scorer
from models.corpus.callscript import Script, events_of, parse_scripts
from models.corpus.schema import FOLDER
from models.scorer import load_scorer
from server.app import partial_gate, read_rules
from server.evaluation import Truth, evaluate_calls
from server.replay import replay
from server.wire import decode_event

PARTIAL_EVERY_MS: Final = 400
"""A streaming recogniser revises its partial a few times a second."""
KINDS: Final = ("abuse", "repetition", "overlong", "distress")


@dataclass(slots=True, kw_only=True)
class Outcome:
    """What a replay made of one call: highest level by kind, raisings, provisional alerts."""

    levels: dict[str, Level] = field(default_factory=dict)
    rounds: int = 0
    raised_ms: dict[str, int] = field(default_factory=dict)
    provisional: int = 0
    retracted: int = 0


def read(paths: Iterable[Path]) -> list[Script]:
    """All calls of the files."""
    return [script for path in paths for script in parse_scripts(path.read_text(encoding="utf-8"))]


def outcomes(calls: Iterable[list[dict[str, Any]]], *, scorer: Scorer, rules: Rules) -> dict[str, Outcome]:
    """Replays calls, given as their wire events; by call id."""
    found: dict[str, Outcome] = {}
    for events in calls:
        outcome = found.setdefault(events[0]["call_id"], Outcome())
        decoded = [decode_event(event) for event in events]
        for change in replay(decoded, scorer=scorer, rules=rules, playbook=default_playbook(), gate=partial_gate()):
            _note(outcome, change)
    return found


def _note(outcome: Outcome, change: AlertEvent) -> None:
    alert, kind = change.alert, change.alert.kind.value
    outcome.rounds = max(outcome.rounds, alert.call.rounds)
    if change.type is AlertChange.RETRACTED:
        outcome.levels.pop(kind, None)
        outcome.raised_ms.pop(kind, None)
        outcome.retracted += alert.provisional
        return
    outcome.levels[kind] = max(outcome.levels.get(kind, Level.NONE), alert.level)
    outcome.raised_ms.setdefault(kind, alert.raised_at_ms)
    outcome.provisional += change.type is AlertChange.RAISED and alert.provisional


def true_rounds(script: Script) -> int:
    """Raisings that the script marks (`r2` …); 1 where it has a complaint and none is marked."""
    marked = [int(code[1:]) for line in script.lines for code in line.codes if re.fullmatch(r"r\d+", code)]
    return max(marked, default=1 if any("co" in line.codes for line in script.lines) else 0)


def truth_of(script: Script) -> Truth:
    """What the script's header says of the call; the help button and a caller who speaks of self-harm are rightly raised."""
    kinds = tuple(script.meta.get("kinds", ()))
    cries = any(line.directive == "help" or "sh" in line.codes for line in script.lines)
    return Truth(
        call_id=script.name,
        harassing=bool(script.meta.get("harassing")),
        kinds=(*kinds, "distress") if cries and "distress" not in kinds else kinds,
        first_segment_id=str(script.meta.get("first", "")),
    )


def repetition_table(scripts: Sequence[Script], found: dict[str, Outcome]) -> dict[str, Any]:
    """Error of the count of rounds, and precision and recall at the third raising."""
    pairs = [(true_rounds(script), found[script.name].rounds, script.name) for script in scripts]
    # A call's rounds are seen on its alerts alone, and one raising makes none: 0 and 1 are the same here.
    errors = [abs(max(1, seen) - max(1, true)) for true, seen, _ in pairs]
    circling = [error for error, (true, _, _) in zip(errors, pairs, strict=True) if true >= 2]
    third = [(true >= 3, seen >= 3, name) for true, seen, name in pairs]
    hits = sum(true and seen for true, seen, _ in third)
    return {
        "calls": len(pairs),
        "circling": len(circling),
        "mean_error_circling": round(statistics.mean(circling), 2) if circling else None,
        "exact_circling": _share(sum(error == 0 for error in circling), len(circling)),
        "third_precision": _share(hits, sum(seen for _, seen, _ in third)),
        "third_recall": _share(hits, sum(true for true, _, _ in third)),
        "third_missed": [name for true, seen, name in third if true and not seen],
        "third_false": [name for true, seen, name in third if seen and not true],
    }


def recut(script: Script, chance: random.Random) -> list[dict[str, Any]]:
    """The same call cut at random: segments are split at random places, neighbours of one speaker merged."""
    made: list[dict[str, Any]] = []
    spaced = script.language != "ja"
    for event in events_of(script):
        if event["type"] != "transcript.segment":
            made.append(event)
            continue
        text, start_ms = event["text"], event["start_ms"]
        last = made[-1] if made else {}
        near = last.get("speaker") == event["speaker"] and start_ms - last.get("end_ms", 0) < 1_000
        if near and chance.random() < 0.5:
            last.update(text=f"{last['text']}{' ' if spaced else ''}{text}", end_ms=event["end_ms"])
            continue
        places = [at for at in range(2, len(text) - 1) if not spaced or text[at - 1] == " "]
        cuts = sorted(chance.sample(places, min(len(places), chance.choice((0, 0, 1, 1, 2)))))
        speed = (event["end_ms"] - start_ms) / max(1, len(text))
        for number, (start, end) in enumerate(zip([0, *cuts], [*cuts, len(text)], strict=True)):
            piece = {**event, "text": text[start:end].strip() or "…", "segment_id": f"{event['segment_id']}.{number}"}
            piece["start_ms"] = start_ms + round(start * speed) + (150 if start else 0)
            piece["end_ms"] = max(piece["start_ms"], start_ms + round(end * speed))
            made.append(piece)
    return [{**event, "seq": seq} for seq, event in enumerate(made)]


def recut_table(scripts: Sequence[Script], found: dict[str, Outcome], cuts: int, **how: Any) -> dict[str, Any]:
    """Share of re-cut calls whose alerts all stay within one level, and at the same level."""
    chance = random.Random(7)
    near = same = total = 0
    far: set[str] = set()
    for _ in range(cuts):
        again = outcomes((recut(script, chance) for script in scripts), **how)
        for name, outcome in again.items():
            ranks = [
                abs(outcome.levels.get(kind, Level.NONE).rank - found[name].levels.get(kind, Level.NONE).rank)
                for kind in KINDS
            ]
            total += 1
            near += max(ranks) <= 1
            same += max(ranks) == 0
            if max(ranks) > 1:
                far.add(name)
    return {"calls": total, "within_one_level": _share(near, total), "same": _share(same, total), "far": sorted(far)}


def with_partials(script: Script) -> list[dict[str, Any]]:
    """The call as a streaming recogniser would send it: a partial every `PARTIAL_EVERY_MS`, then the final."""
    made: list[dict[str, Any]] = []
    for event in events_of(script):
        if event["type"] == "transcript.segment":
            length_ms, text = event["end_ms"] - event["start_ms"], event["text"]
            for at_ms in range(PARTIAL_EVERY_MS, length_ms, PARTIAL_EVERY_MS):
                said = text[: round(len(text) * at_ms / length_ms)]
                if said.strip():
                    made.append({**event, "text": said, "end_ms": event["start_ms"] + at_ms, "is_final": False})
        made.append(event)
    return [{**event, "seq": seq} for seq, event in enumerate(made)]


def partials_table(scripts: Sequence[Script], found: dict[str, Outcome], **how: Any) -> dict[str, Any]:
    """Provisional alerts: how many, how many taken back, and media milliseconds won over the final alone."""
    streamed = outcomes((with_partials(script) for script in scripts), **how)
    won = [
        found[name].raised_ms["abuse"] - outcome.raised_ms["abuse"]
        for name, outcome in streamed.items()
        if outcome.provisional and "abuse" in outcome.raised_ms and "abuse" in found[name].raised_ms
    ]
    raised = sum(outcome.provisional for outcome in streamed.values())
    retracted = sum(outcome.retracted for outcome in streamed.values())
    return {
        "raised": raised,
        "retracted": retracted,
        "won_ms_median": round(statistics.median(won)) if won else None,
        "won_ms_max": max(won, default=None),
    }


def _share(part: int, whole: int) -> float | None:
    return round(part / whole, 3) if whole else None


def measure(scripts: Sequence[Script], *, scorer: Scorer, rules: Rules, cuts: int) -> dict[str, Any]:
    """All tables, of both languages and together."""
    report: dict[str, Any] = {"model_version": scorer.model_version, "rules_version": rules.version}
    truths = {script.name: truth_of(script) for script in scripts}
    events = [decode_event(event) for script in scripts for event in events_of(script)]
    report["alerts"] = evaluate_calls(events, truths, scorer=scorer, rules=rules)
    found = outcomes((list(events_of(script)) for script in scripts), scorer=scorer, rules=rules)
    for language in ("ja", "en"):
        part = [script for script in scripts if script.language == language]
        report[f"repetition_{language}"] = repetition_table(part, found)
    report["partials"] = partials_table(scripts, found, scorer=scorer, rules=rules)
    if cuts:
        report["recut"] = recut_table(scripts, found, cuts, scorer=scorer, rules=rules)
    return report


@click.command(help=__doc__)
@click.argument("files", nargs=-1, type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--model", help="Classifier (default: the bundled one).")
@click.option("--rules", type=click.Path(path_type=Path, dir_okay=False), help="House rules (default: the bundled).")
@click.option("--cuts", type=click.IntRange(0, 50), default=3, show_default=True, help="Random re-cuts of each call.")
@click.option("--json", "target", type=click.Path(path_type=Path), help="Where the figures go.")
def main(files: tuple[Path, ...], model: str | None, rules: Path | None, cuts: int, target: Path | None) -> None:
    """The command."""
    paths = files or tuple(sorted(FOLDER.glob("calls.*.txt")))
    house = read_rules(rules) if rules is not None else default_rules()
    report = measure(read(paths), scorer=load_scorer(model), rules=house, cuts=cuts)
    text = json.dumps(report, ensure_ascii=False, indent=1)
    click.echo(text)
    if target is not None:
        target.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

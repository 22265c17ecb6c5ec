"""`mamori evaluate`: accuracy on labelled utterances and on whole calls.

Calls are replayed in their own time; what is measured is what a supervisor would have seen.
"""

from __future__ import annotations

import json
import statistics
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

from detector.alerts import AlertEvent
from detector.events import CallEvent, Segment
from detector.labels import Level, Speaker
from detector.playbook import default_playbook
from detector.rules import Rules
from detector.scoring import Scorer
from models.report import page
from models.scorer import load_scorer
from server.app import partial_gate, read_rules
from server.errors import SetupError
from server.replay import read_events, replay


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """What a person says of a call.

    Args:
        harassing: whether somebody should have been alerted at `warning` or above.
        kinds: kinds of alert that belong to the call.
        first_segment_id: the segment at which a person would have called a supervisor, or empty.
    """

    call_id: str
    harassing: bool
    kinds: tuple[str, ...] = ()
    first_segment_id: str = ""


@dataclass(slots=True, kw_only=True)
class _Seen:
    language: str = "ja"
    customer: list[str] = field(default_factory=list)
    first_warning: str = ""
    levels: dict[str, Level] = field(default_factory=dict)
    rounds: int = 0


def read_truth(path: Path) -> dict[str, Truth]:
    """Reads the truth file.

    Raises:
        SetupError: names file, line and field.
    """
    found = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip():
            continue
        try:
            item = json.loads(line)
            truth = Truth(
                call_id=item["call_id"],
                harassing=bool(item["harassing"]),
                kinds=tuple(item.get("kinds") or ()),
                first_segment_id=item.get("first_segment_id") or "",
            )
        except (ValueError, KeyError, TypeError, AttributeError):
            raise SetupError(f"{path}:{number}: expected call_id, harassing, kinds, first_segment_id") from None
        found[truth.call_id] = truth
    return found


def evaluate_calls(
    events: Iterable[CallEvent], truths: dict[str, Truth], *, scorer: Scorer, rules: Rules
) -> dict[str, Any]:
    """Replays calls and compares the alerts with the truth.

    Returns:
        Per language and together: share of harassing calls alerted at `warning` or above, false warnings per 100
        benign calls, delay of the first warning in the customer's segments, precision and recall of each kind at
        `warning` (distress: at `notice`), and the calls that were missed or falsely alerted.
    """
    seen: dict[str, _Seen] = defaultdict(_Seen)
    listed = list(events)
    for event in listed:
        call = seen[event.call_id]
        language = getattr(event.body, "language", "")
        if language and not isinstance(event.body, Segment):
            call.language = language
        if isinstance(event.body, Segment) and event.body.is_final and event.body.speaker is not Speaker.AGENT:
            call.customer.append(event.body.segment_id)
    for change in replay(listed, scorer=scorer, rules=rules, playbook=default_playbook(), gate=partial_gate()):
        _note(seen[change.alert.call_id], change)
    report = {"all": _summary(seen, truths)}
    for language in sorted({call.language for call in seen.values()}):
        part = {name: call for name, call in seen.items() if call.language == language}
        report[language] = _summary(part, truths)
    return report


def _note(call: _Seen, change: AlertEvent) -> None:
    alert = change.alert
    call.rounds = max(call.rounds, alert.call.rounds)
    if change.type.value == "alert.retracted":
        call.levels.pop(alert.kind.value, None)
        return
    before = call.levels.get(alert.kind.value, Level.NONE)
    call.levels[alert.kind.value] = max(before, alert.level)
    if alert.level >= Level.WARNING and not call.first_warning:
        call.first_warning = alert.trigger_segment_id or "?"


def _summary(seen: dict[str, _Seen], truths: dict[str, Truth]) -> dict[str, Any]:
    judged = {name: call for name, call in seen.items() if name in truths}
    harassing = [name for name in judged if truths[name].harassing]
    benign = [name for name in judged if not truths[name].harassing]
    # A plea for help or a caller at risk is raised on purpose and accuses nobody.
    warned = {
        name
        for name, call in judged.items()
        if any(level >= Level.WARNING for kind, level in call.levels.items() if kind != "distress")
    }
    caught = [name for name in harassing if name in warned]
    false = [name for name in benign if name in warned]
    delays = [delay for name in caught if (delay := _delay(judged[name], truths[name])) is not None]
    kinds = {}
    for kind in ("abuse", "repetition", "overlong", "distress"):
        # Signs of distress that nobody asked to be seen are notices.
        least = Level.NOTICE if kind == "distress" else Level.WARNING
        found = {name for name, call in judged.items() if call.levels.get(kind, Level.NONE) >= least}
        true = {name for name in judged if kind in truths[name].kinds}
        kinds[kind] = {
            "precision": _share(len(found & true), len(found)),
            "recall": _share(len(found & true), len(true)),
            "calls": len(true),
        }
    return {
        "calls": len(judged),
        "harassing": len(harassing),
        "caught": _share(len(caught), len(harassing)),
        "false_warnings_per_100": round(100 * len(false) / len(benign), 2) if benign else None,
        "delay_segments_median": statistics.median(delays) if delays else None,
        "delay_within_one": _share(sum(delay <= 1 for delay in delays), len(delays)),
        "kinds": kinds,
        "missed": sorted(set(harassing) - warned),
        "falsely_warned": sorted(false),
    }


def _delay(call: _Seen, truth: Truth) -> int | None:
    """The customer's segments between the moment a person would have acted and the alert; early is negative."""
    if truth.first_segment_id not in call.customer or call.first_warning not in call.customer:
        return None
    return call.customer.index(call.first_warning) - call.customer.index(truth.first_segment_id)


def _share(part: int, whole: int) -> float | None:
    return round(part / whole, 4) if whole else None


def call_tables(report: dict[str, Any]) -> str:
    """What `evaluate_calls` found, as plain text."""
    lines = []
    for name, part in report.items():
        false = part["false_warnings_per_100"]
        lines += [
            f"[{name}] {part['calls']} calls, {part['harassing']} harassing   caught at warning {_percent(part['caught'])}   "
            f"false warnings per 100 fair calls {'-' if false is None else false}",
            f"  first warning: {_number(part['delay_segments_median'])} customer segments after a person would have called "
            f"(median), within one {_percent(part['delay_within_one'])}",
            f"  {'kind':12}{'calls':>7}{'precision':>11}{'recall':>9}",
        ]
        for kind, row in part["kinds"].items():
            lines.append(f"  {kind:12}{row['calls']:>7}{_percent(row['precision']):>11}{_percent(row['recall']):>9}")
        for what in ("missed", "falsely_warned"):
            if part[what]:
                lines.append(f"  {what.replace('_', ' ')}: {' '.join(part[what])}")
        lines.append("")
    return "\n".join(lines).rstrip()


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.1%}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:g}"


_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)


@click.command()
@click.option("--utterances", type=_FILE, multiple=True, help="Labelled utterances (JSONL); may be given again.")
@click.option("--calls", type=_FILE, multiple=True, help="Events of whole calls (JSONL), as for replay.")
@click.option("--truth", type=_FILE, help="What is true of the calls (JSONL).")
@click.option("--rules", type=_FILE, help="House rules instead of the bundled ones.")
@click.option("--model", help="Classifier (default: the bundled one).")
@click.option("--report", type=click.Path(path_type=Path, file_okay=False), help="Folder for JSON, plots and HTML.")
def evaluate(
    utterances: tuple[Path, ...],
    calls: tuple[Path, ...],
    truth: Path | None,
    rules: Path | None,
    model: str | None,
    report: Path | None,
) -> None:
    """Measures accuracy on labelled utterances and calls."""
    if not utterances and not calls:
        raise click.UsageError("give --utterances, or --calls and --truth")
    if bool(calls) != bool(truth):
        raise click.UsageError("--calls and --truth belong together")
    if utterances:
        from models.commands import evaluate as evaluate_utterances

        click.get_current_context().invoke(evaluate_utterances, utterances=utterances, model=model, folder=report)
    if calls and truth is not None:
        events, truths = list(read_events(calls)), read_truth(truth)
        silent = sorted(truths.keys() - {event.call_id for event in events})
        if silent:
            raise SetupError(f"{truth}: no events of {len(silent)} of its calls, {silent[0]} among them")
        found = evaluate_calls(events, truths, scorer=load_scorer(model), rules=read_rules(rules))
        left_out = len({event.call_id for event in events} - truths.keys())
        text = call_tables(found) + (f"\n{left_out} calls left out: nothing is said of them" if left_out else "")
        click.echo(text)
        if report is not None:
            report.mkdir(parents=True, exist_ok=True)
            (report / "calls.json").write_text(json.dumps(found, ensure_ascii=False, indent=2), encoding="utf-8")
            (report / "calls.html").write_text(page("Accuracy on calls", text), encoding="utf-8")
            for name in ("calls.json", "calls.html"):
                click.echo(str(report / name), err=True)

"""The accuracy report on paper: tables for the terminal, JSON, plots where matplotlib is there, and one HTML page."""

from __future__ import annotations

import html
import json
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from detector.labels import HARASSMENT_LABELS


def tables(report: Mapping[str, Any]) -> str:
    """The report as plain text."""
    lines = [f"model {report['model_version']}, {report['items']} utterances"]
    for name, section in report["sections"].items():
        alarms = section["false_alarms"]
        lines += [
            "",
            f"[{name}] macro-F1 {section['macro_f1']:.3f}   any harassment found {section['any_harassment_recall']:.1%}   "
            f"false alarms: hard {alarms['hard']:.1%} of {alarms['hard_items']}, all {alarms['all']:.1%}",
            f"  {'label':18}{'n':>6}{'precision':>11}{'recall':>8}{'F1':>7}{'AP':>7}{'AUC':>7}{'ECE':>7}",
        ]
        for label, row in [*section["labels"].items(), *section["cues"].items()]:
            if row["support"]:
                lines.append(
                    f"  {label:18}{row['support']:>6}{row['precision']:>11.3f}{row['recall']:>8.3f}{row['f1']:>7.3f}"
                    f"{row['average_precision']:>7.3f}{row['auc']:>7.3f}{row['calibration_error']:>7.3f}"
                )
        by_tag = ", ".join(f"{tag} {row['fired']:.1%} of {row['items']}" for tag, row in alarms["by_tag"].items())
        if by_tag:
            lines.append(f"  false alarms by kind: {by_tag}")
        by_manner = ", ".join(
            f"{tag} {row['fired']:.1%} of {row['items']}" for tag, row in section["recall_by_tag"].items()
        )
        if by_manner:
            lines.append(f"  found by manner: {by_manner}")
        shown = section["evidence"]
        if shown["items"]:
            lines.append(
                f"  evidence on {shown['items']} marked: characters precision {shown['precision']:.3f} recall {shown['recall']:.3f} "
                f"F1 {shown['f1']:.3f}, touched {shown['touched']:.1%}, overlap of half or more {shown['within_half']:.1%}"
            )
    return "\n".join(lines)


def write_report(report: Mapping[str, Any], folder: Path) -> list[Path]:
    """Writes `report.json`, `report.html` and, with matplotlib, plots; returns what was written."""
    folder.mkdir(parents=True, exist_ok=True)
    written = [folder / "report.json"]
    written[0].write_text(json.dumps(report, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    plots = _plots(report, folder) if find_spec("matplotlib") else []
    whole = folder / "report.html"
    whole.write_text(page("Accuracy report", tables(report), plots), encoding="utf-8")
    return [*written, *plots, whole]


def _plots(report: Mapping[str, Any], folder: Path) -> list[Path]:
    import matplotlib as mpl  # noqa: PLC0415 - an extra

    mpl.use("Agg")
    from matplotlib import pyplot  # noqa: PLC0415 - after the backend

    figure, axes = pyplot.subplots(figsize=(9, 4), layout="constrained")
    sections = {name: section for name, section in report["sections"].items() if name != "all"}
    width = 0.8 / max(len(sections), 1)
    for place, (name, section) in enumerate(sections.items()):
        values = [section["labels"][label]["f1"] for label in HARASSMENT_LABELS]
        axes.bar([x + place * width for x in range(len(values))], values, width, label=name)
    axes.set_xticks([x + width / 2 for x in range(len(HARASSMENT_LABELS))], HARASSMENT_LABELS, rotation=20)
    axes.set_ylim(0, 1)
    axes.set_ylabel("F1")
    axes.legend()
    paths = [folder / "f1.png"]
    figure.savefig(paths[0], dpi=130)
    pyplot.close(figure)
    for name, section in sections.items():
        figure, (left, right) = pyplot.subplots(1, 2, figsize=(11, 5), layout="constrained")
        for label in HARASSMENT_LABELS:
            row = section["labels"][label]
            if row["precision_at_recall"]:
                steps = len(row["precision_at_recall"]) - 1
                left.plot([n / steps for n in range(steps + 1)], row["precision_at_recall"], label=label)
        left.set(title=f"{name}: precision and recall", xlabel="recall", ylabel="precision", ylim=(0, 1.02))
        if left.lines:  # A language may have nothing to be found.
            left.legend()
        # All labels together: one label alone has too few scores in the middle to draw.
        bins = [point for label in HARASSMENT_LABELS for point in section["labels"][label]["reliability"]]
        right.plot([0, 1], [0, 1], color="grey", linewidth=0.8)
        right.scatter([p[0] for p in bins], [p[1] for p in bins], s=[8 + 2 * p[2] ** 0.5 for p in bins], alpha=0.6)
        right.set(
            title=f"{name}: reliability, a dot per label and tenth", xlabel="mean score", ylabel="share that is true"
        )
        paths.append(folder / f"curves.{name}.png")
        figure.savefig(paths[-1], dpi=110)
        pyplot.close(figure)
    return paths


def page(title: str, text: str, images: Sequence[Path] = ()) -> str:
    """Tables as one HTML page, with images that lie beside it."""
    shown = "".join(f'<img src="{html.escape(path.name)}" alt="{html.escape(path.stem)}">' for path in images)
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{html.escape(title)}</title>'
        "<style>body{font:15px/1.5 system-ui;max-width:70rem;margin:2rem auto;padding:0 1rem}"
        "pre{overflow:auto;background:#f6f6f6;padding:1rem}img{max-width:100%}</style>"
        f"<h1>{html.escape(title)}</h1>{shown}<pre>{html.escape(text)}</pre></html>\n"
    )

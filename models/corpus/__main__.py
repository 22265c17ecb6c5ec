"""`python -m models.corpus`: builds the corpus from passes, checks it, and measures the agreement of two labellings."""

from __future__ import annotations

import json
import logging
import sys
from dataclasses import asdict
from pathlib import Path

import click

from models.corpus import agreement, blind, build, hygiene
from models.corpus.schema import FOLDER, SPLITS, Item, read_split

_FOLDER = click.Path(file_okay=False, path_type=Path)


@click.group()
def main() -> None:
    """Builds and checks the corpus."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)


@main.command("build")
@click.option("--raw", type=_FOLDER, help="Folder of new passes of customers.")
@click.option("--agent", type=_FOLDER, help="Folder of new passes of operators.")
@click.option("--base", type=str, help="Base encoder; with it items too alike in meaning are dropped too.")
@click.option("--second", type=_FOLDER, help="Folder of the blind second labels, *.tsv.")
@click.option("--third", type=_FOLDER, help="Folder of the labels that settle disputes, *.tsv with the reason last.")
@click.option("--out", type=_FOLDER, default=FOLDER, show_default=True)
def build_command(
    raw: Path | None, agent: Path | None, base: str | None, second: Path | None, third: Path | None, out: Path
) -> None:
    """Adds passes and second readings to the files of `--out`."""
    items = build.gather(raw, agent, committed=_committed(out))
    empty: dict[str, frozenset[str]] = {}
    items = build.settled(
        items, agreement.read_second(second) if second else empty, agreement.read_second(third) if third else empty
    )
    out.mkdir(parents=True, exist_ok=True)
    counts = build.write(build.cleaned(items, embed=_embedder(base)), out)
    click.echo(json.dumps(counts, indent=1))


@main.command("check")
@click.option("--base", type=str, help="Base encoder; with it likeness in meaning is checked too.")
@click.option("--folder", type=_FOLDER, default=FOLDER, show_default=True)
@click.option("--report", type=click.Path(dir_okay=False, path_type=Path), help="Where the result is recorded.")
def check_command(base: str | None, folder: Path, report: Path | None) -> None:
    """Fails when the corpus holds near-duplicates, stock openings or items too alike."""
    items = _committed(folder)
    texts = [item.text for item in items]
    duplicates = hygiene.near_duplicates(texts)
    stock = hygiene.stock_openings(items)
    embed = _embedder(base)
    alike = None if embed is None else hygiene.alike(embed(texts))
    result = {
        "items": len(items),
        "pairs_over_jaccard": len(duplicates),
        "stock_openings": {f"{language} {words}": count for (language, words), count in stock.items()},
        "base": base and Path(base).name,
        "items_over_cosine": None if alike is None else len({second for _, second, _ in alike}),
    }
    click.echo(json.dumps(result, ensure_ascii=False, indent=1))
    if report is not None:
        report.write_text(json.dumps(result, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    if duplicates or stock or len({second for _, second, _ in alike or []}) > hygiene.MAX_COSINE_PAIRS:
        raise SystemExit(1)


@main.command("blind")
@click.option("--raw", type=_FOLDER, help="New passes; the committed items are always among the chunks.")
@click.option("--agent", type=_FOLDER)
@click.option("--out", type=_FOLDER, required=True, help="Folder of the chunks.")
@click.option("--flush", is_flag=True, help="Write a last chunk of fewer than 150 items too.")
def blind_command(raw: Path | None, agent: Path | None, out: Path, flush: bool) -> None:
    """Writes chunks of 150 shuffled items for a second labeller; items already in a chunk are left out."""
    for path in blind.write_chunks(build.gather(raw, agent, committed=_committed(FOLDER)), out, flush=flush):
        click.echo(path.name)


@main.command("agreement")
@click.option("--raw", type=_FOLDER, help="New passes, compared beside the committed items.")
@click.option("--agent", type=_FOLDER)
@click.option("--labels", type=_FOLDER, required=True, help="Folder of the second labels, *.tsv.")
@click.option("--report", type=click.Path(dir_okay=False, path_type=Path), help="Where the table is written as JSON.")
@click.option("--list", "listing", type=click.Path(dir_okay=False, path_type=Path), help="Where disagreements go.")
def agreement_command(
    raw: Path | None, agent: Path | None, labels: Path, report: Path | None, listing: Path | None
) -> None:
    """Cohen's kappa per label and language."""
    items = build.gather(raw, agent, committed=_committed(FOLDER))
    second = agreement.read_second(labels)
    rows = agreement.compare(items, second)
    for row in rows:
        click.echo(
            f"{row.language} {row.label:17} n={row.items:5} first={row.first:4} second={row.second:4} "
            f"both={row.both:4} kappa={row.kappa:.3f}"
        )
    if report is not None:
        report.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n", encoding="utf-8")
    differing = agreement.disagreements(items, second)
    click.echo(f"{len(differing)} of {sum(item.id in second for item in items)} items differ")
    if listing is not None:
        listing.write_text("\n".join(_line(*found) for found in differing) + "\n", encoding="utf-8")


def _committed(folder: Path) -> list[Item]:
    return [item for split in SPLITS for item in read_split(split, folder=folder)]


def _line(item: Item, extra: list[str], missing: list[str]) -> str:
    return f"{item.id}\t{item.group}\twriter only: {','.join(extra)}\tsecond only: {','.join(missing)}\t{item.text}"


def _embedder(base: str | None) -> build.Embed | None:
    if base is None:
        return None
    from models.train.embedding import base_embedder  # noqa: PLC0415 - torch is an extra

    return base_embedder(base)


if __name__ == "__main__":
    main()

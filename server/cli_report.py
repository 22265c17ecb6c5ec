"""`mamori report`: prevalence from the stored data, as JSON, CSV or an HTML page with plots."""

from __future__ import annotations

import json
import time
from pathlib import Path

import click

from server.cli_access import Place, check_exists, open_state, state_place
from server.errors import RequestError


@click.command()
@click.option("--days", type=click.IntRange(1, 3660), default=30, show_default=True)
@click.option("--tenant", default="default", show_default=True)
@click.option("--queue", "queues", multiple=True, help="Only this queue; may be repeated.")
@click.option("--timezone", default="Asia/Tokyo", show_default=True, help="Of days and hours.")
@click.option("--format", "form", type=click.Choice(["json", "csv", "html"]), default="json", show_default=True)
@click.option("--language", type=click.Choice(["ja", "en"]), default="ja", show_default=True, help="Of the HTML page.")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Write here instead of printing.")
@state_place
def report(
    days: int,
    tenant: str,
    queues: tuple[str, ...],
    timezone: str,
    form: str,
    language: str,
    out: Path | None,
    place: Place,
) -> None:
    """Prevalence: how often it happened."""
    from server.clock import DAY_MS
    from server.http_reports import csv_text
    from server.pages import report_page
    from server.reports import Window, prevalence, zone_of

    check_exists(place)
    until_ms = time.time_ns() // 1_000_000
    try:
        zone = zone_of(timezone)
    except RequestError as error:
        raise click.BadParameter(error.message, param_hint="--timezone") from None
    window = Window(
        since_ms=until_ms - days * DAY_MS,
        until_ms=until_ms,
        zone=zone,
        queues=frozenset(queues) or None,
    )
    found = prevalence(open_state(place), tenant, window)
    if form == "json":
        text = json.dumps(found, ensure_ascii=False, indent=2)
    else:
        text = csv_text(found) if form == "csv" else report_page(found, zone=zone, language=language)
    if out is None:
        click.echo(text)
        return
    # A spreadsheet takes a CSV file for UTF-8 only with a byte order mark.
    out.write_text(text, encoding="utf-8-sig" if form == "csv" else "utf-8", newline="")
    click.echo(f"{out}: written", err=True)

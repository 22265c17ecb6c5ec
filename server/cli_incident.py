"""`mamori incident` and `mamori feedback`: reports and training rows from the stored data."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import click

from server.cli_access import (
    Place,
    check_exists,
    installed,
    open_state,
    record,
    shell_actor,
    state_place,
    write_private,
)
from server.cli_help import Commands
from server.errors import RequestError
from server.installation import Installation

_TENANT = click.option("--tenant", default="default", show_default=True)


@click.group("incident", cls=Commands)
def incident() -> None:
    """Incident reports of single calls."""


@incident.command("write")
@click.argument("call_id")
@click.option("--format", "form", type=click.Choice(["html", "json", "vcon"]), default="html", show_default=True)
@click.option("--personal", is_flag=True, help="With people's names and notes.")
@click.option("--language", type=click.Choice(["ja", "en"]), default="ja", show_default=True, help="Of the HTML page.")
@click.option("--timezone", default="Asia/Tokyo", show_default=True, help="Of the HTML page.")
@click.option("--instance", help="Which, if the call id was used more than once.")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Write here instead of printing.")
@_TENANT
@installed
def write(
    call_id: str,
    form: str,
    personal: bool,
    language: str,
    timezone: str,
    instance: str | None,
    out: Path | None,
    tenant: str,
    where: Installation,
) -> None:
    """Issues the report of a call; its hash goes on the audit trail."""
    from detector.desk import utc_text
    from server.http_incidents import issue_of
    from server.incident import assemble
    from server.incident_forms import incident_page, vcon
    from server.storage.casefile import find_instance, read_sources

    state = where.state()
    engine = state.engine
    found = find_instance(engine, tenant, call_id, instance)
    if found is None:
        raise click.ClickException("no such call")
    document = assemble(read_sources(engine, state.bodies, found, where.days().read_call), personal=personal)
    at = utc_text(time.time_ns() // 1_000_000)
    issue = issue_of(document, at=at, by=shell_actor() if personal else "")
    detail = f"sha256={issue['sha256']} format={form} personal={str(personal).lower()}"
    try:
        if form == "html":
            text = incident_page(issue, language=language, timezone=timezone, inline_style=True)
        else:
            text = json.dumps(issue if form == "json" else vcon(issue), ensure_ascii=False, indent=1)
    except RequestError as error:
        raise click.BadParameter(error.message, param_hint="--timezone") from None
    record(engine, tenant=tenant, action="incident.issue", target=found.instance, detail=detail)
    if out is None:
        click.echo(text)
    else:
        write_private(out, text + "\n")
        click.echo(f"{out}: written", err=True)


@incident.command("verify")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@_TENANT
@state_place
def verify(file: Path, tenant: str, place: Place) -> None:
    """Checks that a report (JSON or vCon) is what was issued: unchanged, and on the audit trail."""
    from server.http_incidents import unwrap, verdict
    from server.storage.casefile import issued

    try:
        issue = unwrap(json.loads(file.read_text(encoding="utf-8")))
    except (ValueError, AttributeError, RequestError):
        raise click.ClickException(f"{file}: expected a report in its JSON form, or a vCon that holds one") from None
    call = issue["incident"].get("call")
    instance = str(call.get("instance")) if isinstance(call, dict) else ""
    check_exists(place)
    answer = verdict(issue["incident"], issue["sha256"], issued(open_state(place), tenant, instance))
    if not answer["intact"]:
        raise click.ClickException(f"{file}: {answer['reason']}")
    for entry in answer["issued"]:
        click.echo(f"intact; issued {entry['at']} by {entry['by']}")


@click.command("feedback")
@click.option("--days", type=click.IntRange(1, 3660), default=90, show_default=True)
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Write here instead of printing.")
@_TENANT
@installed
def feedback(days: int, out: Path | None, tenant: str, where: Installation) -> None:
    """Misses and false alarms as redacted training rows (JSON lines, the schema of the corpus)."""
    from functools import partial

    from server.feedback import judgements, training_rows

    state = where.state()
    since_ms = time.time_ns() // 1_000_000 - days * 86_400_000
    found = judgements(state.engine, state.bodies, tenant, since_ms=since_ms, queues=None)
    rows = list(training_rows(found, tenant, partial(where.days().read_call, tenant)))
    kept = [row for row in rows if row is not None]
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in kept)
    if out is None:
        sys.stdout.write(text)
    else:
        write_private(out, text)
    record(state.engine, tenant=tenant, action="feedback.export", target=f"days={days}", detail=f"rows={len(kept)}")
    click.echo(f"{len(kept)} rows, {len(rows) - len(kept)} left out (no text any more, or no label)", err=True)

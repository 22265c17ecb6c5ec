"""`mamori replay` and `mamori tune`: what the detector makes, or would make, of calls that are over."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from detector.alerts import AlertEvent
from detector.rules import Rules
from server.errors import SetupError


@click.command()
@click.argument("files", nargs=-1, type=click.Path(path_type=Path, allow_dash=True))
@click.option(
    "--format", "form", help="The files are in this platform's format (see docs/integrations), one message a line."
)
@click.option("--mapping", type=click.Path(path_type=Path, dir_okay=False), help="TOML file with a format of your own.")
@click.option("--query", multiple=True, help="What the address would say, call_id=…&speaker=…; once, or once a file.")
@click.option("--url", help="Send to this server instead, for example ws://127.0.0.1:8787.")
@click.option("--token", envvar="MAMORI_TOKEN", help="Token for --url.")
@click.option("--speed", default="max", show_default=True, help="Times real time, or max: by the events' own time.")
@click.option("--rules", type=click.Path(path_type=Path, dir_okay=False), help="Compare with these rules.")
@click.option("--model", help="Classifier (default: the bundled one).")
@click.option(
    "--against", type=click.Path(path_type=Path, dir_okay=False), help="The rules compared with (default: the bundled)."
)
@click.option("--playbook", type=click.Path(path_type=Path, dir_okay=False), help="House playbook (TOML).")
@click.option("--data-dir", type=click.Path(path_type=Path, file_okay=False), help="Take stored calls from here.")
@click.option(
    "--config", type=click.Path(path_type=Path, dir_okay=False), help="Settings file (TOML), for keys and `redact`."
)
@click.option("--call", help="Id of one stored call (default: all).")
def replay(
    files: tuple[Path, ...],
    form: str | None,
    mapping: Path | None,
    query: tuple[str, ...],
    url: str | None,
    token: str | None,
    speed: str,
    rules: Path | None,
    model: str | None,
    against: Path | None,
    playbook: Path | None,
    data_dir: Path | None,
    config: Path | None,
    call: str | None,
) -> None:
    """Events (JSONL), a platform's own messages, or stored calls through the detector; prints alert events as JSON lines.

    Stored calls are recomputed under the rules that each began with, from their own log: what the platform sent, what
    supervisors did, what the ledger knew.
    """
    from models.scorer import load_scorer
    from server import replay as replaying
    from server.app import partial_gate, read_playbook, read_rules
    from server.format_replay import read_format, stream_format, summary
    from server.formats import load_formats, pick_format
    from server.installation import read_installation
    from server.stored import replay_stored, stored_calls

    _check_sources(files, url, data_dir, call)
    factor = None if speed == "max" else _number(speed)
    started_s = time.monotonic()
    try:
        formats = load_formats(() if mapping is None else (mapping,))
        given = pick_format(formats, form) if form is not None else None
        if url is not None and given is not None:
            sent = asyncio.run(stream_format(given, files, query, url=url, token=token))
            click.echo(f"{sent} messages acknowledged in {time.monotonic() - started_s:.1f} s", err=True)
            return
        if url is not None:
            sent, acknowledged = asyncio.run(replaying.stream(list(files), url=url, token=token, speed=factor))
            click.echo(
                f"{acknowledged} of {sent} events acknowledged in {time.monotonic() - started_s:.1f} s", err=True
            )
            return
        how: dict[str, Any] = {
            "scorer": load_scorer(model),
            "playbook": read_playbook(playbook),
            "gate": partial_gate(),
        }
        where = read_installation(config, data_dir)
        other = read_rules(rules) if rules is not None else None
        if data_dir is not None:
            records = stored_calls(where, call)
            counted = f"{len(records)} calls"

            def run(with_rules: Rules | None) -> Iterator[AlertEvent]:
                return replay_stored(where, records, rules=with_rules, **how)
        else:
            if given is not None:
                events, source = read_format(given, files, query)
                for line in summary(source):
                    click.echo(line, err=True)
            else:
                events = list(replaying.read_events(files))
            counted, base = f"{len(events)} events", read_rules(against)

            def run(with_rules: Rules | None) -> Iterator[AlertEvent]:
                return replaying.replay(events, rules=with_rules or base, patterns=where.patterns, **how)

        changes = []
        for change in run(None):
            changes.append(change)
            if other is None:
                click.echo(json.dumps(replaying.change_message(change), ensure_ascii=False))
        if other is not None:
            click.echo(json.dumps(replaying.compare(changes, list(run(other))), ensure_ascii=False))
    except SetupError as error:
        raise click.ClickException(str(error)) from None
    except TimeoutError:
        raise click.ClickException(f"{url}: not all was acknowledged within a minute of the last event") from None
    click.echo(f"{counted}, {len(changes)} alert events, {time.monotonic() - started_s:.1f} s", err=True)


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--rules", type=click.Path(path_type=Path, dir_okay=False), help="House rules (default: the bundled).")
@click.option("--model", help="Classifier (default: the bundled one).")
def tune(files: tuple[Path, ...], rules: Path | None, model: str | None) -> None:
    """How loud it would be on your own calls (events as for replay), at three sensitivities."""
    from detector.playbook import default_playbook
    from models.scorer import load_scorer
    from server import replay as replaying
    from server.app import read_rules
    from server.tune import tune as measure

    try:
        events = list(replaying.read_events(files))
        if not events:
            raise SetupError("no calls to measure by")
        rows = measure(events, scorer=load_scorer(model), rules=read_rules(rules), playbook=default_playbook())
    except SetupError as error:
        raise click.ClickException(str(error)) from None
    for row in rows:
        click.echo(json.dumps(row, ensure_ascii=False))


def _check_sources(files: tuple[Path, ...], url: str | None, data_dir: Path | None, call: str | None) -> None:
    if not files and data_dir is None:
        raise click.UsageError("give FILE…, or --data-dir, with --call for a single call")
    if data_dir is not None and (files or url is not None):
        raise click.UsageError("--data-dir replays stored calls: leave out FILE… and --url")
    if call is not None and data_dir is None:
        raise click.UsageError("--call names a stored call: give --data-dir too")


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0
    if value <= 0:
        raise click.BadParameter("expected a number above 0, or max", param_hint="--speed")
    return value

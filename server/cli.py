"""The command line, `mamori`. Errors name the file, line and field; nothing here decides anything."""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import re
import socket
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, Final

import click
import uvicorn

from detector.adapters.mapping import MappingError, parse_mapping
from detector.playbook import check_playbook
from detector.rules import Rules, check_rules
from models.errors import CorpusError, ModelFilesError
from server.cli_access import token, user
from server.cli_caller import caller
from server.cli_db import db
from server.cli_delivery import delivery
from server.cli_help import Commands, settings_toml
from server.cli_incident import feedback, incident
from server.cli_pull import pull
from server.cli_replay import replay, tune
from server.cli_report import report
from server.errors import SetupError, StorageError
from server.handles import raise_file_limit
from server.heap import Heap
from server.installation import read_installation
from server.keepalive import PatientProtocol
from server.link import RefusedError, UnreachableError
from server.logs import set_up
from server.settings import Settings, check_exposure, load_settings

_TRAINING = {
    "train": "Trains a model on the corpus and public data sets (extra `torch`).",
    "export": "Packs trained weights for serving (extra `torch`).",
    "evaluate": "Measures accuracy on labelled utterances and calls.",
}


EXIT_S: Final = 9.0
"""After so long a server that is told to end ends, whatever hangs; 10 s are promised."""
SWITCH_S: Final = 0.0005
"""Seconds after which a thread that holds the interpreter lock gives way to one that waits (Python's own: 5 ms): the writer
of the log and the model's threads need it for moments, many times a second, and each of them is waited for."""
_HOME = {"evaluate": "server.evaluation"}


class _Commands(Commands):
    """Adds the training commands without importing what they need until one is asked for."""

    def invoke(self, ctx: click.Context) -> Any:
        """What is wrong with files, arguments or an address is told in a line, whichever command meets it."""
        try:
            return super().invoke(ctx)
        except (SetupError, StorageError, ModelFilesError, CorpusError, RefusedError, UnreachableError) as error:
            raise click.ClickException(str(error)) from None

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*super().list_commands(ctx), *_TRAINING})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _TRAINING:
            return super().get_command(ctx, cmd_name)
        try:
            command: click.Command = getattr(importlib.import_module(_HOME.get(cmd_name, "models.commands")), cmd_name)
        except ImportError as error:
            raise click.ClickException(f"{cmd_name} needs the extra `torch`: {error.name} is missing") from None
        return command

    def summary(self, ctx: click.Context, name: str) -> str:
        return _TRAINING.get(name) or super().summary(ctx, name)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="mamori")
def main() -> None:
    """Mamori listens to contact-centre calls and alerts a supervisor when an operator is being harassed."""
    set_up("warning", "text")


def _settings(config: Path | None, **overrides: Any) -> Settings:
    try:
        settings = load_settings(config, overrides)
        check_exposure(settings)
    except SetupError as error:
        raise click.ClickException(str(error)) from None
    return settings


_SERVE_OPTIONS: list[Callable[[Any], Any]] = [
    click.option("--host", help="Address to listen on (default 127.0.0.1; beyond loopback only with --auth)."),
    click.option("--port", type=int, help="Port to listen on (default 8787; 0 picks a free one)."),
    click.option("--config", type=click.Path(path_type=Path, dir_okay=False), help="Settings file (TOML)."),
    click.option("--data-dir", type=click.Path(path_type=Path, file_okay=False), help="Where everything is kept."),
    click.option("--model", help="Classifier: a folder or hub id (default: the bundled one)."),
    click.option("--rules", type=click.Path(path_type=Path, dir_okay=False), help="House rules (TOML)."),
    click.option(
        "--role", type=click.Choice(["all", "gateway", "worker"]), help="In a cluster: what this process does."
    ),
    click.option("--nats", help="NATS address of the cluster engine."),
    click.option("--database", help="PostgreSQL address of the cluster engine."),
    click.option("--tls-cert", type=click.Path(path_type=Path, dir_okay=False), help="Certificate chain (PEM)."),
    click.option("--tls-key", type=click.Path(path_type=Path, dir_okay=False), help="Private key (PEM)."),
    click.option("--auth/--no-auth", default=None, help="Ask for tokens (see `mamori token`)."),
]


def _serve_options(command: Any) -> Any:
    for option in reversed(_SERVE_OPTIONS):
        command = option(command)
    return command


@main.command()
@_serve_options
def serve(config: Path | None, **overrides: Any) -> None:
    """Runs the server."""
    settings = _settings(config, **overrides)
    if not settings.loopback and not settings.encryption.source.given:
        click.echo("mamori: what is stored is not encrypted: see the setting `encryption` and SECURITY.md", err=True)
    run_server(settings)


class _Server(uvicorn.Server):
    """Drains before it closes the sockets, and is gone in time whatever hangs.

    Args:
        config: of uvicorn.
        drain: makes durable what was taken and tells the peers.
    """

    def __init__(self, config: uvicorn.Config, drain: Callable[[], Awaitable[None]]) -> None:
        super().__init__(config)
        self._drain = drain

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        # A database that hangs must not hold a restart up: what is not durable by then was not acknowledged.
        last_resort = threading.Timer(EXIT_S, os._exit, (1,))
        last_resort.daemon = True
        last_resort.start()
        await self._drain()
        await super().shutdown(sockets)


def uvicorn_config(app: Any, settings: Settings) -> uvicorn.Config:
    """How uvicorn serves an application here; the conformance check serves its echo in the same way."""
    return uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        lifespan="on",  # without it a start that failed would pass for an application that needs none
        ws=PatientProtocol,
        ws_max_size=settings.max_frame_bytes,
        ws_per_message_deflate=False,
        log_config=None,
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=3,  # of peers that do not read; everybody else is gone by then
        ssl_certfile=settings.tls_cert,
        ssl_keyfile=settings.tls_key,
        server_header=False,
        proxy_headers=bool(settings.trusted_proxies),
        forwarded_allow_ips=list(settings.trusted_proxies),
    )


def run_server(settings: Settings, *, announce: Callable[[int], None] | None = None) -> None:
    """Runs the server until it is told to stop.

    Args:
        settings: of this installation.
        announce: called with the port once it listens.
    """
    from server.app import create_app

    set_up(settings.log_level, settings.log_format)
    try:
        app = create_app(settings)
    except SetupError as error:
        raise click.ClickException(str(error)) from None
    server = _Server(uvicorn_config(app, settings), app.drain)

    raise_file_limit(settings.max_calls)
    sys.setswitchinterval(SWITCH_S)

    async def run() -> None:
        task = asyncio.create_task(server.serve())
        while not server.started and not task.done():  # uvicorn tells it by this flag alone
            await asyncio.sleep(0.02)
        if server.started:
            port = server.servers[0].sockets[0].getsockname()[1]
            scheme = "https" if settings.tls_cert else "http"
            click.echo(f"mamori: ready on {scheme}://{settings.host}:{port}/", err=True)
            if announce is not None:
                announce(port)
        heap = asyncio.create_task(Heap(lambda: len(app.runtime.calls), time.monotonic).run())
        await task
        heap.cancel()

    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(run())


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop
    return uvloop.new_event_loop


@main.command()
@click.option("--port", type=int, default=8787, show_default=True, help="Port of the demo server; 0 picks a free one.")
@click.option("--speed", type=float, default=4.0, show_default=True, help="Times real time.")
@click.option("--once", is_flag=True, help="Stop after all calls were played once.")
@click.option("--data-dir", type=click.Path(path_type=Path), help="Keep the data here (default: a temporary folder).")
@click.option("--format", "form", help="The contact centre speaks this platform's format, for example genesys.")
def demo(port: int, speed: float, once: bool, data_dir: Path | None, form: str | None) -> None:
    """A server and a simulated contact centre; prints the console's address."""
    from server.demo import run_demo
    from server.formats import load_formats, pick_format

    try:
        chosen = pick_format(load_formats(()), form) if form is not None else None
    except SetupError as error:
        raise click.ClickException(str(error)) from None
    run_demo(port=port, speed=speed, once=once, data_dir=data_dir, form=chosen)


@main.command()
@click.option("--model", help="Classifier (default: the bundled one).")
@click.option(
    "--config", type=click.Path(path_type=Path, dir_okay=False), help="Settings file (TOML), for its `redact`."
)
def classify(model: str | None, config: Path | None) -> None:
    """JSONL utterances on standard input, JSONL scores on standard output."""
    from models.scorer import load_scorer
    from server.classify import classify_lines

    try:
        patterns = read_installation(config).patterns
    except SetupError as error:
        raise click.ClickException(str(error)) from None
    bad = False
    for answer in classify_lines(sys.stdin, load_scorer(model), patterns):
        bad = bad or "error" in answer
        click.echo(json.dumps(answer, ensure_ascii=False))
    if bad:
        sys.exit(1)


@main.group("config", cls=Commands)
def config_group() -> None:
    """Settings and rules."""


@config_group.command("check")
@click.argument("file", type=click.Path(path_type=Path))
def config_check(file: Path) -> None:
    """Checks a rules, playbook, mapping or settings file; every mistake in rules and playbooks is named with its line."""
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise click.ClickException(f"{file}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise click.ClickException(f"{file}: not UTF-8") from None
    heads = {match[1] for match in re.finditer(r"^\s*\[+\s*(\w+)", text, re.MULTILINE)}
    if heads & {"guideline", "supervisor", "operator"}:
        playbook, wrong = check_playbook(text)
        _tell_mistakes(file, wrong)
        click.echo(f"{file}: playbook {playbook.version}: good")
        return
    if "message" in heads:
        try:
            form = parse_mapping(text)
        except MappingError as error:
            raise click.ClickException(f"{file}: {error}") from None
        click.echo(f"{file}: format {form.name}: good")
        return
    if heads & {item.name for item in fields(Rules)} or re.search(r"^\s*version\s*=", text, re.MULTILINE):
        rules, mistakes = check_rules(text)
        _tell_mistakes(file, mistakes)
        click.echo(f"{file}: rules {rules.version}, {len(rules.queues)} queues of their own: good")
        return
    try:
        check_exposure(load_settings(file, {}))
    except SetupError as error:
        raise click.ClickException(str(error)) from None
    click.echo(f"{file}: settings: good")


def _tell_mistakes(file: Path, mistakes: Sequence[ValueError]) -> None:
    for mistake in mistakes:
        click.echo(f"{file}: {mistake}", err=True)
    if mistakes:
        raise click.ClickException(f"{file}: {len(mistakes)} mistakes" if len(mistakes) > 1 else f"{file}: 1 mistake")


@config_group.command("schema")
def config_schema() -> None:
    """Prints the JSON Schema of a rules file, for editors that complete and check TOML."""
    from detector.rules_schema import rules_schema

    click.echo(json.dumps(rules_schema(), indent=2))


@config_group.command("show")
@click.option("--config", type=click.Path(path_type=Path, dir_okay=False), help="Settings file (TOML).")
def config_show(config: Path | None) -> None:
    """Prints all settings with their help, as a settings file."""
    click.echo(settings_toml(_settings(config)), nl=False)


main.add_command(replay)
main.add_command(tune)
main.add_command(pull)
main.add_command(token)
main.add_command(user)
main.add_command(delivery)
main.add_command(report)
main.add_command(incident)
main.add_command(feedback)
main.add_command(db)
main.add_command(caller)


if __name__ == "__main__":
    main()

"""`mamori user` and `mamori token`: who may come in, from the command line. Every change is on the audit trail."""

from __future__ import annotations

import functools
import getpass
import os
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import click

from server.cli_help import Commands
from server.errors import SetupError

Place = Path | str
"""Where the state of record is: a data directory, or the address of a cluster's PostgreSQL."""


def state_place(command: Callable[..., None]) -> Callable[..., None]:
    """Gives a command the options that say where the state of record is, as `place`."""

    @click.option(
        "--data-dir", type=click.Path(path_type=Path, file_okay=False), default=Path("data"), show_default=True
    )
    @click.option(
        "--database",
        envvar="MAMORI_DATABASE",
        help="Of a cluster: PostgreSQL in place of a data directory; rather as MAMORI_DATABASE, for a shell keeps its history.",
    )
    @functools.wraps(command)
    def run(*args: Any, data_dir: Path, database: str | None, **options: Any) -> None:
        command(*args, place=database or data_dir, **options)

    return run


def installed(command: Callable[..., None], *, share: bool = True) -> Callable[..., None]:
    """Gives a command the options that say where an installation is, and the installation itself as `where`.

    The settings count as they do for `serve`, so that keys and house patterns are found; what is set up wrongly ends the
    command with a message.

    Args:
        share: keep what must be alone in the directory waiting meanwhile; False for what sees to that itself.
    """

    @click.option(
        "--data-dir", type=click.Path(path_type=Path, file_okay=False), help="Where everything is kept (default: data)."
    )
    @click.option("--config", type=click.Path(path_type=Path, dir_okay=False), help="Settings file (TOML).")
    @functools.wraps(command)
    def run(*args: Any, data_dir: Path | None, config: Path | None, **options: Any) -> None:
        from server.installation import read_installation
        from server.storage.lock import shared

        try:
            where = read_installation(config, data_dir)
            with shared(where.data_dir) if share and where.data_dir.is_dir() else nullcontext():
                command(*args, where=where, **options)
        except SetupError as error:
            raise click.ClickException(str(error)) from None

    return run


_STDIN = click.option("--password-stdin", is_flag=True, help="Read the password from standard input, one line.")


def write_private(path: Path, text: str) -> None:
    """Writes a file of people's words, readable by its owner only, also where one that others may read was there before."""
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
            os.fchmod(file.fileno(), 0o600)
            file.write(text)
    except OSError as error:
        raise click.ClickException(f"{path}: {error.strerror}") from None


def shell_actor() -> str:
    """Who acts from the command line, for the audit trail."""
    return f"shell:{getpass.getuser()}"


def record(engine: Any, *, tenant: str, action: str, target: str, detail: str = "") -> None:
    """Puts an action from the command line on the audit trail."""
    from server.storage.port import AuditEntry, Batch
    from server.storage.statedb import StateDatabase

    entry = AuditEntry(
        tenant=tenant,
        utc_ms=time.time_ns() // 1_000_000,
        actor=shell_actor(),
        action=action,
        target=target,
        detail=detail,
    )
    StateDatabase(engine).write(Batch(audit=[entry]))


def open_state(place: Place) -> Any:
    """The state database of a data directory, made when absent, or of a cluster.

    Raises:
        SetupError, StorageError: PostgreSQL cannot be reached.
    """
    from server.storage.statedb import open_engine, open_postgres

    if isinstance(place, str):
        engine = open_postgres(place)
        click.get_current_context().call_on_close(engine.dispose)
        return engine
    place.mkdir(parents=True, exist_ok=True, mode=0o700)
    return open_engine(place / "state.sqlite")


def check_exists(place: Place) -> None:
    """Refuses a data directory without a state database, for commands that only read.

    Raises:
        SetupError: names the file.
    """
    if isinstance(place, Path) and not (place / "state.sqlite").exists():
        raise SetupError(f"{place / 'state.sqlite'}: no such database")


def _password(from_stdin: bool) -> str:
    if from_stdin:
        return sys.stdin.readline().rstrip("\n")
    return str(click.prompt("Password", hide_input=True, confirmation_prompt=True))


@click.group("token", cls=Commands)
def token() -> None:
    """Tokens of platforms and programs."""


@token.command("create")
@click.argument("name")
@click.option("--role", type=click.Choice(["platform", "operator", "supervisor", "lead", "admin"]), required=True)
@click.option("--tenant", default="default", show_default=True)
@click.option("--queues", help="Only these queues, separated by commas.")
@click.option("--days", type=click.IntRange(1, 3650), default=365, show_default=True, help="Days until it expires.")
@click.option("--no-expiry", is_flag=True, help="It never expires.")
@state_place
def token_create(
    name: str, role: str, tenant: str, queues: str | None, days: int, no_expiry: bool, place: Place
) -> None:
    """Makes a token; it is shown once."""
    from server.auth import Role, Tokens

    engine = open_state(place)
    made, secret = Tokens(engine).create(
        name=name,
        tenant=tenant,
        role=Role(role),
        queues=frozenset(queues.split(",")) if queues else None,
        days=None if no_expiry else days,
    )
    life = "no expiry" if no_expiry else f"{days} days"
    record(engine, tenant=tenant, action="token.create", target=made.token_id, detail=f"{role} {queues or '*'} {life}")
    click.echo(f"id {made.token_id}, {life}, shown once:", err=True)
    click.echo(secret)


@token.command("list")
@state_place
def token_list(place: Place) -> None:
    """Lists tokens without their secrets."""
    from server.auth import Tokens

    now_ms = time.time_ns() // 1_000_000
    for item in Tokens(open_state(place)).list():
        expired = item.expires_ms is not None and item.expires_ms <= now_ms
        state = "revoked" if item.revoked_ms else "expired" if expired else "valid"
        queues = ",".join(sorted(item.queues)) if item.queues else "*"
        click.echo(f"{item.token_id}\t{item.role.value}\t{item.tenant}\t{queues}\t{state}\t{item.name}")


@token.command("revoke")
@click.argument("token_id")
@state_place
def token_revoke(token_id: str, place: Place) -> None:
    """Makes a token worthless at once; streams that it opened end within seconds."""
    from server.auth import Tokens

    engine = open_state(place)
    tokens = Tokens(engine)
    found = next((item for item in tokens.list() if item.token_id == token_id), None)
    if found is None or not tokens.revoke(token_id):
        raise click.ClickException("no valid token of that id")
    record(engine, tenant=found.tenant, action="token.revoke", target=token_id)


@click.group("user", cls=Commands)
def user() -> None:
    """Local accounts of people."""


@user.command("add")
@click.argument("name")
@click.option("--role", type=click.Choice(["operator", "supervisor", "lead", "admin"]), required=True)
@click.option("--tenant", default="default", show_default=True)
@click.option("--queues", help="Only these queues, separated by commas.")
@_STDIN
@state_place
def user_add(name: str, role: str, tenant: str, queues: str | None, password_stdin: bool, place: Place) -> None:
    """Makes an account; asks for its password."""
    from server.access.accounts import Accounts
    from server.auth import Role

    engine = open_state(place)
    scope = frozenset(queues.split(",")) if queues else None
    try:
        Accounts(engine).add(
            name=name, password=_password(password_stdin), tenant=tenant, role=Role(role), queues=scope
        )
    except SetupError as error:
        raise click.ClickException(str(error)) from None
    record(engine, tenant=tenant, action="user.add", target=name, detail=f"{role} {queues or '*'}")


@user.command("list")
@state_place
def user_list(place: Place) -> None:
    """Lists the accounts."""
    from server.access.accounts import Accounts

    for account in Accounts(open_state(place)).list():
        state = "disabled" if account.disabled_ms is not None else "open"
        queues = ",".join(sorted(account.queues)) if account.queues else "*"
        click.echo(f"{account.name}\t{account.role.value}\t{account.tenant}\t{queues}\t{state}")


@user.command("disable")
@click.argument("name")
@state_place
def user_disable(name: str, place: Place) -> None:
    """Shuts an account and ends its sessions."""
    _switch(name, place, disabled=True)


@user.command("enable")
@click.argument("name")
@state_place
def user_enable(name: str, place: Place) -> None:
    """Opens a shut account again."""
    _switch(name, place, disabled=False)


@user.command("password")
@click.argument("name")
@_STDIN
@state_place
def user_password(name: str, password_stdin: bool, place: Place) -> None:
    """Sets a password and ends the person's sessions."""
    from server.access.accounts import Accounts

    engine = open_state(place)
    account = _account(engine, name)
    try:
        Accounts(engine).set_password(name, _password(password_stdin))
    except SetupError as error:
        raise click.ClickException(str(error)) from None
    _end_sessions(engine, name)
    record(engine, tenant=account.tenant, action="user.password", target=name)


def _switch(name: str, place: Place, *, disabled: bool) -> None:
    from server.access.accounts import Accounts

    engine = open_state(place)
    account = _account(engine, name)
    Accounts(engine).disable(name, disabled=disabled)
    if disabled:
        _end_sessions(engine, name)
    record(engine, tenant=account.tenant, action="user.disable" if disabled else "user.enable", target=name)


def _account(engine: Any, name: str) -> Any:
    from server.access.accounts import Accounts

    account = Accounts(engine).find(name)
    if account is None:
        raise click.ClickException("no such account")
    return account


def _end_sessions(engine: Any, name: str) -> None:
    from server.access.sessions import Sessions

    Sessions(engine).end_all(name)

"""`mamori db`: the stored data. Commands that touch people's words take the settings that say with which keys they are sealed."""

from __future__ import annotations

import sys
import time
from functools import partial
from pathlib import Path

import click

from server.cli_access import Place, installed, open_state, record, state_place
from server.cli_help import Commands
from server.installation import Installation

_ALONE = partial(installed, share=False)
_TENANT = click.option("--tenant", default="default", show_default=True)
CALLER = click.option(
    "--caller", prompt="Number or id", hide_input=True, help="Asked for when left out, so that no shell keeps it."
)


@click.group("db", cls=Commands)
def db() -> None:
    """The stored data."""


@db.command("migrate")
@state_place
def db_migrate(place: Place) -> None:
    """Brings the schema up to date."""
    open_state(place)
    click.echo("up to date")


@db.command("verify")
@installed
def db_verify(where: Installation) -> None:
    """Checks the audit chain, the files, and that every encrypted value opens."""
    from server.stored import verify

    problems = verify(where)
    for problem in problems:
        click.echo(problem, err=True)
    if problems:
        sys.exit(1)
    click.echo("whole")


@db.command("purge")
@click.option("--keep-days", type=click.IntRange(1), required=True, help="Days of transcripts to keep.")
@click.option(
    "--keep-record-days", type=click.IntRange(1), default=730, show_default=True, help="Days of what is left of calls."
)
@installed
def db_purge(keep_days: int, keep_record_days: int, where: Installation) -> None:
    """Applies the retention now; a running server does so every hour."""
    from server.stored import purge

    click.echo(f"{purge(where, keep_days, keep_record_days)} days unlinked")


@db.command("hold")
@click.argument("call_id")
@_TENANT
@click.option("--release", "ends", is_flag=True, help="End the hold.")
@installed
def db_hold(call_id: str, tenant: str, ends: bool, where: Installation) -> None:
    """Legal hold: keeps an ended call's transcript and alerts beyond the retention."""
    from server.stored import hold, release

    count = release(where, call_id, tenant) if ends else hold(where, call_id, tenant)
    record(open_state(where.data_dir), tenant=tenant, action="hold.release" if ends else "hold.set", target=call_id)
    click.echo(f"{count} rows {'released' if ends else 'held'}")


@db.command("forget-caller")
@_TENANT
@CALLER
@installed
def db_forget_caller(tenant: str, caller: str, where: Installation) -> None:
    """Deletes what the ledger knows of a caller's earlier complaints; `mamori caller delete` deletes all."""
    from server.stored import forget_caller

    click.echo(f"{forget_caller(where, tenant, caller)} entries deleted")


@db.command("rotate-caller-key")
@_ALONE
def db_rotate_caller_key(where: Installation) -> None:
    """Makes a new key for the hashes of callers and empties the ledger; with the server stopped."""
    from server.stored import rotate_caller_key

    click.echo(f"new key; {rotate_caller_key(where)} entries deleted")


@db.command("new-key")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--tenant", help="A key for this tenant's data alone.")
def db_new_key(file: Path, tenant: str | None) -> None:
    """Appends a fresh encryption key to a key file, made when absent; see the setting `encryption`."""
    from server.errors import SetupError
    from server.storage.keyfile import add_key

    try:
        click.echo(f"key {add_key(file, tenant)} added to {file}")
    except SetupError as error:
        raise click.ClickException(str(error)) from None


@db.command("rekey")
@click.option("--off", is_flag=True, help="Decrypt everything instead; with the server stopped.")
@_ALONE
def db_rekey(off: bool, where: Installation) -> None:
    """Encrypts everything stored with the newest key; the first time with the server stopped, later beside it."""
    from server.storage.rekey import rekey

    open_state(where.data_dir)
    found = rekey(where.data_dir, where.keys, off=off)
    record(
        open_state(where.data_dir),
        tenant="",
        action="db.rekey",
        target="off" if off else "on",
        detail=f"values={found.changed} damaged={found.damaged}",
    )
    click.echo(f"{found.changed} values {'decrypted' if off else 'encrypted'}")
    if found.damaged:
        raise click.ClickException(
            f"{found.damaged} values cannot be opened and stay as they are; keep the keys, and see `mamori db verify`"
        )


@db.command("backup")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@installed
def db_backup(file: Path, where: Installation) -> None:
    """Writes a backup into one file, beside a running server or without one; encrypted if the data are."""
    from server.backup import write_backup

    count = write_backup(where, file)
    click.echo(f"{file}: {count} files{', encrypted' if where.vault().active else ''}")


@db.command("restore")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@_ALONE
def db_restore(file: Path, where: Installation) -> None:
    """Puts a backup back, with the server stopped; what was there is set aside, callers forgotten since stay forgotten."""
    from server.backup import restore_backup
    from server.storage.aside import ASIDE_DAYS

    done = restore_backup(where, file, utc_ms=time.time_ns() // 1_000_000)
    record(
        open_state(where.data_dir), tenant="", action="db.restore", target=file.name[:256], detail=f"files={done.files}"
    )
    click.echo(f"{done.files} files put back; {done.gone.calls} calls of forgotten callers emptied again")
    if done.gone.kept:
        click.echo(f"{done.gone.kept} calls of forgotten callers are under legal hold", err=True)
    if done.aside is not None:
        if done.held:
            click.echo(
                f"{done.held} calls under legal hold are in {done.aside}, which stays until you delete it", err=True
            )
        click.echo(
            f"what was there before is in {done.aside}: delete it when you have seen that all is well; "
            f"the purge does after {ASIDE_DAYS} days"
        )

"""`mamori caller`: what a caller may ask of the house: to see what is stored of them, and to have it deleted."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import click

from server.cli_access import installed, open_state, record, write_private
from server.cli_help import Commands
from server.installation import Installation

_TENANT = click.option("--tenant", default="default", show_default=True)
_CALLER = click.option("--caller", help="Number or id; asked for when left out, so that no shell keeps it.")
_KEY = click.option("--caller-key", help="The keyed hash instead, from the audit trail or an export.")


@click.group("caller", cls=Commands)
def caller() -> None:
    """Export and deletion of all that is stored of one caller."""


@caller.command("export")
@_CALLER
@_KEY
@click.option("--personal", is_flag=True, help="With the names of the house's own people, and their notes.")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Write here instead of printing.")
@_TENANT
@installed
def caller_export(
    caller: str | None, caller_key: str | None, personal: bool, out: Path | None, tenant: str, where: Installation
) -> None:
    """All calls of a caller, with what was said, raised and noted, as JSON."""
    key = _key(where, tenant, caller, caller_key)
    document = _callers(where).export(tenant, key, personal=personal)
    detail = f"calls={len(document['calls'])} personal={str(personal).lower()}"
    record(open_state(where.data_dir), tenant=tenant, action="caller.export", target=key, detail=detail)
    text = json.dumps(document, ensure_ascii=False, indent=1)
    if out is None:
        click.echo(text)
        return
    write_private(out, text + "\n")
    click.echo(f"{out}: {len(document['calls'])} calls", err=True)


@caller.command("delete")
@_CALLER
@_KEY
@click.option("--yes", is_flag=True, help="Do not ask.")
@_TENANT
@installed
def caller_delete(caller: str | None, caller_key: str | None, yes: bool, tenant: str, where: Installation) -> None:
    """Deletes the words of a caller's calls everywhere and what the ledger knows, for good; not under legal hold."""
    from server.errors import KeptError

    key = _key(where, tenant, caller, caller_key)
    if not yes:
        click.confirm("Delete all that is stored of this caller, for good?", abort=True)
    try:
        count = _callers(where).forget(tenant, key)
    except KeptError as error:
        record(open_state(where.data_dir), tenant=tenant, action="caller.delete.refused", target=key, detail=error.code)
        raise click.ClickException(f"{error}; nothing was deleted") from None
    except Exception as error:
        record(
            open_state(where.data_dir),
            tenant=tenant,
            action="caller.delete.failed",
            target=key,
            detail=type(error).__name__,
        )
        raise
    record(open_state(where.data_dir), tenant=tenant, action="caller.delete", target=key, detail=f"calls={count}")
    click.echo(f"{count} calls emptied")


def _callers(where: Installation) -> Any:
    from server.callers import Callers

    return Callers(where.state(), where.days(), where.forgotten, lambda: time.time_ns() // 1_000_000)


def _key(where: Installation, tenant: str, caller: str | None, given: str | None) -> str:
    from server.callers import read_key
    from server.stored import key_of

    if given is not None:
        if caller is not None:
            raise click.UsageError("give --caller or --caller-key, not both")
        return read_key(given)
    return key_of(where, tenant, caller or click.prompt("Number or id", hide_input=True))

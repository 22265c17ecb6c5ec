"""`mamori delivery`: the outbox from the command line, beside a running server or without one."""

from __future__ import annotations

import json
import sys
import time

import click

from server.cli_access import Place, open_state, record, state_place
from server.cli_help import Commands

_TENANT = click.option("--tenant", default="default", show_default=True)


@click.group("delivery", cls=Commands)
def delivery() -> None:
    """Senders, messages on their way, dead letters."""


@delivery.command("senders")
@_TENANT
@state_place
def senders(tenant: str, place: Place) -> None:
    """Lists the senders with how many messages are where."""
    from server.delivery.outbox import MessageState, Outbox
    from server.storage.bodies import Bodies

    outbox = Outbox(open_state(place), Bodies())
    counts = outbox.counts(tenant)
    for name, state in outbox.senders(tenant).items():
        where = " ".join(f"{kind.value}={counts.get((name, kind.value), 0)}" for kind in MessageState)
        click.echo(f"{name}\t{'disabled: ' + state.disabled_reason if state.disabled_ms else 'open'}\t{where}")


@delivery.command("list")
@click.option("--state", type=click.Choice(["pending", "sent", "muted", "dead"]), default="dead", show_default=True)
@click.option("--sender", help="Only this one's.")
@click.option("--limit", type=click.IntRange(1, 100_000), default=200, show_default=True)
@_TENANT
@state_place
def list_messages(state: str, sender: str | None, limit: int, tenant: str, place: Place) -> None:
    """Lists messages as JSON lines, newest first; the dead letters unless told otherwise."""
    from server.delivery.endpoints import message_fields
    from server.delivery.outbox import MessageState, Outbox
    from server.storage.bodies import Bodies

    outbox = Outbox(open_state(place), Bodies())
    for message in outbox.messages(tenant, state=MessageState(state), sender=sender, limit=limit):
        click.echo(json.dumps(message_fields(message), ensure_ascii=False))


@delivery.command("replay")
@click.argument("ids", nargs=-1, type=int)
@click.option("--all", "everything", is_flag=True, help="All dead letters.")
@click.option("--sender", help="All of this one's.")
@_TENANT
@state_place
def replay(ids: tuple[int, ...], everything: bool, sender: str | None, tenant: str, place: Place) -> None:
    """Sends dead letters again, under their old ids; a running server takes them up within a second."""
    from server.delivery.outbox import Outbox
    from server.storage.bodies import Bodies

    if not ids and not everything and sender is None:
        raise click.UsageError("give IDS, --sender or --all")
    engine = open_state(place)
    outbox, now_ms = Outbox(engine, Bodies()), time.time_ns() // 1_000_000
    if ids:
        count = sum(outbox.replay(tenant, now_ms, row_id=number, sender=sender) for number in ids)
    else:
        count = outbox.replay(tenant, now_ms, sender=sender)
    record(engine, tenant=tenant, action="delivery.replay", target=sender or "*", detail=f"count={count}")
    click.echo(f"{count} replayed")
    if ids and count < len(ids):
        click.echo(f"{len(ids) - count} are no dead letters of this tenant", err=True)
        sys.exit(1)


@delivery.command("enable")
@click.argument("name")
@_TENANT
@state_place
def enable(name: str, tenant: str, place: Place) -> None:
    """Takes a sender up again whose receiver had answered 410."""
    from server.delivery.outbox import Outbox
    from server.storage.bodies import Bodies

    engine = open_state(place)
    if not Outbox(engine, Bodies()).enable(tenant, name):
        raise click.ClickException("no such sender")
    record(engine, tenant=tenant, action="delivery.enable", target=name)

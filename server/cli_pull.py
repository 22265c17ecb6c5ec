"""`mamori pull`: fetches from platforms that do not push to us."""

from __future__ import annotations

import asyncio
import contextlib
import os
from pathlib import Path

import click

from server.cli_help import Commands
from server.errors import SetupError


@click.group(cls=Commands)
def pull() -> None:
    """Fetches transcripts from a platform and sends them on to a server."""


@pull.command("genesys")
@click.option("--region", required=True, help="Domain of the region, for example mypurecloud.jp.")
@click.option("--client-id", required=True, help="OAuth client (client credentials).")
@click.option(
    "--client-secret-file", required=True, type=click.Path(path_type=Path, dir_okay=False), help="File with its secret."
)
@click.option("--queue", "queues", multiple=True, required=True, help="Id of a queue to follow; again for more.")
@click.option("--url", default="ws://127.0.0.1:8787", show_default=True, help="Our server.")
@click.option("--token-file", type=click.Path(path_type=Path, dir_okay=False), help="File with a token of ours.")
def genesys(
    region: str,
    client_id: str,
    client_secret_file: Path,
    queues: tuple[str, ...],
    url: str,
    token_file: Path | None,
) -> None:
    """Genesys Cloud's notification websocket (docs/integrations/genesys.md); runs until interrupted."""
    import httpx

    from server.format_client import FormatClient
    from server.genesys_pull import GenesysAccount, GenesysPull
    from server.settings import check_secret_file

    try:
        check_secret_file(client_secret_file, "client-secret-file")
        secret = client_secret_file.read_text(encoding="utf-8").strip()
        token = token_file.read_text(encoding="utf-8").strip() if token_file else os.environ.get("MAMORI_TOKEN")
    except (SetupError, OSError) as error:
        raise click.ClickException(str(error)) from None
    account = GenesysAccount(region=region, client_id=client_id, client_secret=secret, queues=queues)

    async def run() -> None:
        async with httpx.AsyncClient(timeout=15) as http, FormatClient(url, "genesys", token=token) as onward:
            await GenesysPull(account, onward, http).run()

    try:
        with contextlib.suppress(KeyboardInterrupt):
            asyncio.run(run())
    except (SetupError, OSError) as error:
        raise click.ClickException(str(error)) from None

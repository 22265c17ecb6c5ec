"""A whole cluster on one machine: NATS servers with replicas, PostgreSQL, gateways and workers, each a process of its own."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.relays import Relays
from benchmarks.servers import Nats, Postgres, free_port, running
from server.cluster.subjects import PARTITIONS

READY_S: Final = 60.0
"""Until a process has loaded its model and found the servers."""


class Member:
    """One process of the cluster.

    Args:
        folder: its data directory; its log lies beside it.
        role: `gateway`, `worker` or `all`.
        options: of `mamori serve`, beside those.
        settings: by environment, as `MAMORI_…`.
    """

    def __init__(self, folder: Path, role: str, *options: str, settings: dict[str, str]) -> None:
        self.role, self.port = role, free_port()
        self._log = folder.with_suffix(".log")
        command = [sys.executable, "-m", "server.cli", "serve", "--role", role, "--port", str(self.port)]
        self._command, self._settings = [*command, "--data-dir", str(folder), *options], settings
        self.start()

    def start(self) -> None:
        """Starts it, for the first time or again."""
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(self._command, stderr=log, env={**os.environ, **self._settings})

    def send(self, number: int) -> None:
        """Sends a signal, for example SIGSTOP."""
        self.process.send_signal(number)

    def kill(self) -> None:
        """Ends it at once, stopped or not."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(10)

    def wait(self) -> None:
        """Waits until it is ready.

        Raises:
            RuntimeError: it ended, or is not ready in time; with the end of its log.
        """
        deadline_s = time.monotonic() + READY_S
        while True:
            with contextlib.suppress(urllib.error.URLError, OSError):
                urllib.request.urlopen(f"http://127.0.0.1:{self.port}/readyz", timeout=2).close()
                return
            if self.process.poll() is not None or time.monotonic() > deadline_s:
                raise RuntimeError(f"the {self.role} is not ready: {self.said()}")
            time.sleep(0.1)

    def follows(self, partitions: int) -> None:
        """Waits until it follows at least so many partitions.

        Raises:
            RuntimeError: it does not come to that in time.
        """
        deadline_s = time.monotonic() + READY_S
        while time.monotonic() < deadline_s:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=5) as answer:
                found = re.search(r"^mamori_partitions ([\d.e+]+)", answer.read().decode(), re.MULTILINE)
            if found is not None and float(found[1]) >= partitions:
                return
            time.sleep(0.1)
        raise RuntimeError(f"the {self.role} does not come to follow {partitions} partitions")

    def said(self) -> str:
        """The end of its log."""
        return self._log.read_text(encoding="utf-8", errors="replace")[-2000:]

    def end(self) -> None:
        """Asks it to end, and ends it if it does not."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """What runs."""

    gateways: list[Member]
    workers: list[Member]
    nats: list[Nats]
    postgres: Postgres
    relays: Relays
    options: tuple[str, ...]
    """Of `serve`, for what else is to join."""


def nats_cluster(folder: Path, servers: int) -> tuple[list[Nats], Relays]:
    """NATS servers that reach each other through relays; none is started yet, and the relays first.

    Args:
        folder: for all files.
        servers: how many; one alone has no relay.
    """
    routes = [free_port() for _ in range(servers)] if servers > 1 else []
    relays = Relays(routes)
    nats = [
        Nats(
            folder / f"n{number}",
            name=f"n{number}",
            routes=relays.to_others(number),
            own_route=routes[number] if routes else 0,
        )
        for number in range(servers)
    ]
    return nats, relays


@contextlib.contextmanager
def cluster(
    folder: Path,
    *,
    gateways: int,
    workers: int,
    nats_servers: int = 1,
    told: Callable[[str], None] = lambda _: None,
) -> Iterator[Cluster]:
    """Starts a cluster and ends it however the block ends.

    Args:
        folder: for all files; a temporary one.
        nats_servers: 1, or 3 for streams with three copies.
        told: hears of each step.

    Raises:
        NoServerError: NATS or PostgreSQL is not on this machine; says how to get it.
        RuntimeError: a process did not become ready.
    """
    nats, relays = nats_cluster(folder, nats_servers)
    postgres = Postgres(folder / "postgres")
    key = folder / "caller.key"
    key.touch(mode=0o600)
    key.write_bytes(secrets.token_bytes(32))
    options = ("--nats", ",".join(server.url for server in nats), "--database", postgres.url)
    common = {
        "MAMORI_NATS_REPLICAS": "3" if nats_servers >= 3 else "1",
        "MAMORI_CALLER_KEY_FILE": str(key),
        "MAMORI_LOG_LEVEL": "warning",
    }
    told(f"{nats_servers} NATS, PostgreSQL")
    with relays, running(*nats, postgres):
        by_role: dict[str, list[Member]] = {}
        with contextlib.ExitStack() as ending:
            for role, count in (("worker", workers), ("gateway", gateways)):
                told(f"{count} {role}{'s' if count > 1 else ''}")
                by_role[role] = []
                for number in range(count):
                    member = Member(folder / f"{role}-{number}", role, *options, settings=common)
                    ending.callback(member.end)
                    by_role[role].append(member)
                for member in by_role[role]:
                    member.wait()
            for member in by_role["worker"]:
                member.follows(PARTITIONS // workers)
            yield Cluster(
                gateways=by_role["gateway"],
                workers=by_role["worker"],
                nats=nats,
                postgres=postgres,
                relays=relays,
                options=options,
            )

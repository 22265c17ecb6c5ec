"""Folders within a data directory that hold copies of it: what a restore set aside, and the rooms that backups and restores
work in. Copies of words must not outlive the words, so the purge comes here, too.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from server.storage.retention import Holds

ASIDE_DAYS: Final = 7
"""For so long what a restore set aside is there to go back to."""
_ASIDE: Final = "before-restore-"
_ROOMS: Final = (".backup-", ".restore-")
_TIME: Final = "%Y%m%dT%H%M%S"


@contextmanager
def room(data_dir: Path, prefix: str) -> Iterator[Path]:
    """A folder to work in, gone at the end; the purge takes it away when its process was killed."""
    with TemporaryDirectory(prefix=prefix, dir=data_dir) as name:
        descriptor = os.open(name, os.O_RDONLY)
        try:
            with suppress(OSError):  # Where there are no locks, the purge leaves it.
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield Path(name)
        finally:
            os.close(descriptor)


def set_aside(data_dir: Path) -> Path:
    """Makes a folder for what a restore sets aside."""
    folder = data_dir / f"{_ASIDE}{time.strftime(_TIME, time.gmtime())}-{secrets.token_hex(2)}"
    folder.mkdir(mode=0o700)
    return folder


def held_in(folder: Path) -> int:
    """How many calls under legal hold are in a folder that was set aside."""
    return len(Holds(folder / "log" / "held.sqlite").instances())


def purge_aside(data_dir: Path, *, now_ms: int, keep_days: int) -> int:
    """Deletes what was set aside `ASIDE_DAYS` ago, or `keep_days` where that is sooner, but not calls under legal hold; and
    the rooms of processes that were killed.

    Args:
        now_ms: UTC in milliseconds since 1970.

    Returns:
        How many folders went.
    """
    latest = datetime.fromtimestamp(now_ms / 1000, tz=UTC) - timedelta(days=min(keep_days, ASIDE_DAYS))
    gone = [path for path in data_dir.glob(f"{_ASIDE}*") if _made(path) < latest and not held_in(path)]
    gone += [path for prefix in _ROOMS for path in data_dir.glob(f"{prefix}*") if _abandoned(path)]
    for path in gone:
        shutil.rmtree(path, ignore_errors=True)
    return len(gone)


def _made(path: Path) -> datetime:
    try:
        return datetime.strptime(path.name.removeprefix(_ASIDE).partition("-")[0], _TIME).replace(tzinfo=UTC)
    except ValueError:
        return datetime.fromtimestamp(path.stat().st_mtime, tz=UTC)


def _abandoned(path: Path) -> bool:
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True

"""A disk of its own, small enough to be filled: a tmpfs, which only root may mount, and ballast to fill it with."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path


class NoDiskError(Exception):
    """No disk may be mounted here."""


@contextlib.contextmanager
def small_disk(folder: Path, mib: int) -> Iterator[Ballast]:
    """Mounts a disk of so many MiB on a folder, which is made.

    Raises:
        NoDiskError: this may not be done here.
    """
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={mib}m", "tmpfs", str(folder)]
    try:
        made = subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        made = False
    if not made:
        raise NoDiskError("only root may mount a small disk; see `mount -t tmpfs`")
    try:
        yield Ballast(folder / "ballast")
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


class Ballast:
    """A file that takes the room of a disk.

    Args:
        file: its path.
    """

    def __init__(self, file: Path) -> None:
        self._file = file

    def fill(self, *, leave: int) -> None:
        """Takes all room but so many bytes; a server that writes meanwhile takes of what is left."""
        with self._file.open("ab") as out, contextlib.suppress(OSError):
            while (room := self._free() - leave) > 0:
                out.write(bytes(min(room, 1 << 16)))
                out.flush()

    def empty(self) -> None:
        """Gives it back."""
        self._file.unlink(missing_ok=True)

    def _free(self) -> int:
        found = os.statvfs(self._file)
        return found.f_bavail * found.f_frsize

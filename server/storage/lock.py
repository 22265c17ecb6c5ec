"""Who has a data directory open: everybody shares it, what must be alone takes it whole, and one server at most serves from it.

Advisory locks (flock) on two files, so that a process that dies lets go by dying. On a file system without such locks nobody is
kept out.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import weakref
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from server.errors import SetupError

LOCK_FILE: Final = "in-use.lock"
DECIDING_FILE: Final = "held.lock"
SERVER_FILE: Final = "server.lock"
"""Held by the server; holds the ids of the keys that it seals new values with."""
_WITHOUT_LOCKS: Final = (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK)
MAX_IDS_BYTES: Final = 64 << 10


class Held:
    """A lock, until it is closed or nobody has it any more."""

    def __init__(self, descriptor: int) -> None:
        self._close = weakref.finalize(self, os.close, descriptor)

    def close(self) -> None:
        """Lets go; a second call does nothing."""
        self._close()


def share(data_dir: Path) -> Held:
    """Opens a directory beside others.

    Raises:
        SetupError: something that must be alone is at work in it.
    """
    descriptor = _opened(data_dir, LOCK_FILE)
    held = Held(descriptor)
    if not _locked(descriptor, fcntl.LOCK_SH):
        held.close()
        raise SetupError(f"{data_dir}: a command that must be alone is at work in it; start again when it is done")
    return held


@contextmanager
def shared(data_dir: Path) -> Iterator[None]:
    """Opens a directory beside others for a while.

    Raises:
        SetupError: something that must be alone is at work in it.
    """
    held = share(data_dir)
    try:
        yield
    finally:
        held.close()


@contextmanager
def attend(data_dir: Path) -> Iterator[bool]:
    """Yields whether nobody else has the directory open, and then nobody can open it meanwhile; if not, it is shared.

    Raises:
        SetupError: something that must be alone is at work in it.
    """
    descriptor = _opened(data_dir, LOCK_FILE)
    try:
        alone = _locked(descriptor, fcntl.LOCK_EX)
        if not alone and not _locked(descriptor, fcntl.LOCK_SH):
            raise SetupError(f"{data_dir}: a command that must be alone is at work in it")
        yield alone
    finally:
        os.close(descriptor)


@contextmanager
def alone(data_dir: Path) -> Iterator[None]:
    """Keeps everybody else out.

    Raises:
        SetupError: somebody has the directory open.
    """
    with attend(data_dir) as free:
        if not free:
            raise SetupError(f"{data_dir}: in use; stop the server first")
        yield


@contextmanager
def deciding(folder: Path) -> Iterator[None]:
    """One at a time decides what is kept and what goes (the purge, legal holds, deletions): waits for whoever is at it."""
    descriptor = _opened(folder, DECIDING_FILE)
    try:
        _locked(descriptor, fcntl.LOCK_EX, wait=True)
        yield
    finally:
        os.close(descriptor)


def serve(data_dir: Path, key_ids: Iterable[str]) -> Held:
    """Becomes the directory's server.

    Args:
        key_ids: of the keys that it seals new values with.

    Raises:
        SetupError: another server is at work in it.
    """
    descriptor = _opened(data_dir, SERVER_FILE)
    held = Held(descriptor)
    if not _locked(descriptor, fcntl.LOCK_EX):
        held.close()
        raise SetupError(f"{data_dir}: another server is at work in it")
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, json.dumps(sorted(key_ids)).encode(), 0)
    return held


def serving_with(data_dir: Path) -> frozenset[str] | None:
    """The ids of the keys that the server seals new values with; None while there is no server."""
    descriptor = _opened(data_dir, SERVER_FILE)
    try:
        if _locked(descriptor, fcntl.LOCK_SH):
            return None
        return frozenset(json.loads(os.pread(descriptor, MAX_IDS_BYTES, 0) or b"[]"))
    finally:
        os.close(descriptor)


def _opened(data_dir: Path, name: str) -> int:
    try:
        data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        return os.open(data_dir / name, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise SetupError(f"{data_dir}: {error.strerror}") from None


def _locked(descriptor: int, kind: int, *, wait: bool = False) -> bool:
    try:
        fcntl.flock(descriptor, kind | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno in _WITHOUT_LOCKS:
            return True
        raise
    return True

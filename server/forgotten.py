"""The list of forgotten callers: keyed hashes and times, kept beside the data and not only in them.

A backup from before a deletion still holds what was deleted, so the list is gone through again after each restore and at each
start. It says nothing of anybody: a hash means something only to who has the key and the number.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from server.errors import SetupError


@dataclass(frozen=True, slots=True, kw_only=True)
class Forgotten:
    """A caller was to be forgotten.

    Args:
        tenant: whose caller.
        caller_key: keyed hash.
        utc_ms: when; calls that began later are not meant.
    """

    tenant: str
    caller_key: str
    utc_ms: int


def read_forgotten(path: Path) -> list[Forgotten]:
    """The list, oldest first; empty when there is no file. A last line that was broken off by a crash does not count.

    Raises:
        SetupError: the file cannot be read, or a line before the last one is damaged.
    """
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError):
        raise SetupError(f"forgotten_file: {path}: cannot be read") from None
    found = []
    for number, line in enumerate(lines, 1):
        try:
            fields = json.loads(line) if line.strip() else None
            if fields is not None:
                item = {"tenant": str(fields["tenant"]), "caller_key": str(fields["caller_key"])}
                found.append(Forgotten(**item, utc_ms=int(fields["utc_ms"])))
        except (ValueError, KeyError, TypeError):
            if number < len(lines):
                raise SetupError(f"forgotten_file: {path}: line {number}: damaged") from None
    return found


def add_forgotten(path: Path, items: Iterable[Forgotten]) -> None:
    """Appends to the list; durable when it returns.

    Raises:
        SetupError: the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        with os.fdopen(descriptor, "r+b") as file:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            whole = file.read()
            # What a crash broke off was never promised to anybody.
            file.seek(whole.rfind(b"\n") + 1)
            file.truncate()
            file.write("".join(json.dumps(asdict(item)) + "\n" for item in items).encode())
            file.flush()
            os.fsync(descriptor)
    except OSError as error:
        raise SetupError(f"forgotten_file: {path}: {error.strerror}") from None

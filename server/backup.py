"""Backups in one file, made beside a running server, and put back.

A backup holds the state database, the day files, calls under hold, the rules that calls began with, and the secrets of the
installation but the master keys: with encryption on, all of it in sealed pieces, so that who finds the file finds nothing.

    mamori-backup/1 LF | JSON of one line: id, sealed | pieces: 4 bytes length, piece

The pieces are a tar file in parts of at most 1 MiB; each is bound to its number and the last one to being the last, so that a
backup that was cut short or stirred is found out.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import sqlite3
import tarfile
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from io import BytesIO, RawIOBase
from pathlib import Path, PurePosixPath
from typing import IO, Any, Final

from server.callers import Callers
from server.errors import SetupError
from server.forgotten import add_forgotten, read_forgotten
from server.installation import Installation
from server.storage.aside import held_in, room, set_aside
from server.storage.callers import Gone
from server.storage.daylog import connect_to_read
from server.storage.keyfile import MARK_FILE, open_vault, read_keys, sync_folder
from server.storage.lock import alone
from server.storage.vault import SealError, Vault

MAGIC: Final = b"mamori-backup/1\n"
PIECE_BYTES: Final = 1 << 20
MAX_HEADER_BYTES: Final = 4_096
MAX_PIECE_BYTES: Final = PIECE_BYTES + 1_024
"""What a sealed piece may measure: the piece, the id of its key, nonce and tag."""
FORGOTTEN_MEMBER: Final = "forgotten.jsonl"
_REPLACED: Final = ("state.sqlite", "state.sqlite-wal", "state.sqlite-shm", "log", "rules", MARK_FILE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """What a restore did.

    Args:
        files: put back.
        aside: where what was there before is now, or None.
        held: calls under legal hold in what was set aside.
        gone: what of forgotten callers had come back and went again.
    """

    files: int
    aside: Path | None
    held: int
    gone: Gone


class _Writer(RawIOBase):
    """Takes a tar file and writes it in pieces."""

    def __init__(self, out: IO[bytes], vault: Vault, name: str) -> None:
        super().__init__()
        self._out, self._vault, self._scope = out, vault, f"backup/{name}"
        self._buffer = bytearray()
        self._number = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._buffer += data
        while len(self._buffer) > PIECE_BYTES:
            self._put(bytes(self._buffer[:PIECE_BYTES]), last=False)
            del self._buffer[:PIECE_BYTES]
        return len(data)

    def finish(self) -> None:
        self._put(bytes(self._buffer), last=True)

    def _put(self, piece: bytes, *, last: bool) -> None:
        sealed = self._vault.seal("", self._scope, _piece_name(self._number, last=last), bytes((last,)) + piece)
        self._out.write(len(sealed).to_bytes(4, "big") + sealed)
        self._number += 1


def _piece_name(number: int, *, last: bool) -> str:
    return f"{number}/{'last' if last else 'more'}"


def write_backup(where: Installation, target: Path) -> int:
    """Writes a backup; a server may run meanwhile. The state comes first: what it lacks, the log that follows has.

    Returns:
        How many files are in it.

    Raises:
        SetupError: there is nothing to back up, the target is there already or cannot be written.
    """
    where.state().engine.dispose()
    vault, name, count = where.vault(), secrets.token_hex(8), 0
    try:
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise SetupError(f"{target}: {error.strerror}") from None
    try:
        with os.fdopen(descriptor, "wb") as out, room(where.data_dir, ".backup-") as folder:
            out.write(MAGIC + json.dumps({"id": name, "sealed": vault.active}).encode() + b"\n")
            writer = _Writer(out, vault, name)
            with tarfile.open(fileobj=writer, mode="w|") as tar:
                for path, member in _members(where):
                    source = _copied(path, folder) if path.suffix == ".sqlite" else path
                    if source is None:
                        continue
                    tar.add(source, arcname=member, recursive=False)
                    count += 1
            writer.finish()
            out.flush()
            os.fsync(out.fileno())
    except BaseException:
        target.unlink(missing_ok=True)
        raise
    return count


def _members(where: Installation) -> Iterator[tuple[Path, str]]:
    folder, stay = where.data_dir, _staying(where)
    yield folder / "state.sqlite", "state.sqlite"
    for path in (*sorted(folder.glob("*.key")), folder / MARK_FILE):
        if path.is_file() and path.resolve() not in stay:
            yield path, path.name
    if where.forgotten.is_file():
        yield where.forgotten, FORGOTTEN_MEMBER
    for path in sorted((folder / "rules").glob("*")):
        yield path, f"rules/{path.name}"
    for path in sorted((folder / "log").glob("*.sqlite")):
        yield path, f"log/{path.name}"


def _copied(path: Path, folder: Path) -> Path | None:
    """A copy of a database as of one moment, whoever writes to it; None for one that a purge took since it was listed."""
    copy = folder / "copy.sqlite"
    copy.unlink(missing_ok=True)
    copy.touch(mode=0o600)
    try:
        connected = connect_to_read(path, timeout_s=30)
    except FileNotFoundError:
        return None
    with closing(connected) as source, closing(sqlite3.connect(copy)) as target:
        source.backup(target)
    return copy


def _pieces(file: IO[bytes], path: Path, vault: Vault | None, name: str) -> Iterator[bytes]:
    number, last = 0, False
    while not last:
        size = int.from_bytes(file.read(4), "big")
        stored = file.read(size) if 0 < size <= MAX_PIECE_BYTES else b""
        if len(stored) != size or not size:
            raise SetupError(f"{path}: cut short or damaged")
        if vault is None:
            piece, last = stored, stored[0] == 1
        else:
            for last in (False, True):
                try:
                    piece = vault.open("", f"backup/{name}", _piece_name(number, last=last), stored)
                    break
                except SealError as error:
                    why = str(error)
            else:
                raise SetupError(f"{path}: cannot be opened ({why}); see the setting encryption")
        yield piece[1:]
        number += 1
    if file.read(1):
        raise SetupError(f"{path}: there is more behind its end")


class _Reader(RawIOBase):
    """Gives the tar file back out of its pieces."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        super().__init__()
        self._pieces = iter(pieces)
        self._rest = BytesIO()

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        found = bytearray()
        while size < 0 or len(found) < size:
            part = self._rest.read(-1 if size < 0 else size - len(found))
            found += part
            if not part:
                piece = next(self._pieces, None)
                if piece is None:
                    break
                self._rest = BytesIO(piece)
        return bytes(found)


def restore_backup(where: Installation, source: Path, *, utc_ms: int) -> Restored:
    """Puts a backup in the place of what it is a backup of, which is set aside; with the server stopped.

    Callers who were forgotten since the backup was made are forgotten again: the list of the place and the backup's are put
    together and gone through.

    Raises:
        SetupError: the directory is in use, the file is no backup, damaged, one of its keys is missing, or it is not
            encrypted and the installation is (restore it without the setting, then `mamori db rekey`); the directory is as it
            was.
    """
    with alone(where.data_dir):
        return _restore(where, source, utc_ms)


def _restore(where: Installation, source: Path, utc_ms: int) -> Restored:
    folder = where.data_dir
    since = read_forgotten(where.forgotten)
    with room(folder, ".restore-") as fresh:
        files = _unpack(where, source, fresh)
        try:
            open_vault(fresh, where.keys)
        except SetupError as error:
            raise SetupError(str(error).replace(str(fresh), str(source))) from None
        then = read_forgotten(fresh / FORGOTTEN_MEMBER)
        (fresh / FORGOTTEN_MEMBER).unlink(missing_ok=True)
        add_forgotten(where.forgotten, [item for item in then if item not in since])
        aside = _swap(where, folder, fresh)
    sync_folder(folder)
    state = where.state()
    gone = Callers(state, where.days(), where.forgotten, lambda: utc_ms).again()
    state.engine.dispose()
    return Restored(files=files, aside=aside, held=held_in(aside) if aside is not None else 0, gone=gone)


def _unpack(where: Installation, source: Path, fresh: Path) -> int:
    count = 0
    try:
        with source.open("rb") as file:
            if file.read(len(MAGIC)) != MAGIC:
                raise SetupError(f"{source}: no backup of ours")
            header = json.loads(file.readline(MAX_HEADER_BYTES))
            keys = read_keys(where.keys)
            if header["sealed"] and not keys:
                raise SetupError(f"{source}: encrypted; set key_file or key_command of the setting encryption")
            pieces = _pieces(file, source, Vault(keys) if header["sealed"] else None, str(header["id"]))
            with tarfile.open(fileobj=_Reader(pieces), mode="r|") as tar:
                for member in tar:
                    content = tar.extractfile(member)
                    if content is None or not _is_ours(member.name):
                        raise SetupError(f"{source}: holds what no backup of ours holds")
                    target = fresh / member.name
                    target.parent.mkdir(exist_ok=True, mode=0o700)
                    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
                    with os.fdopen(descriptor, "wb") as out:
                        shutil.copyfileobj(content, out)
                        out.flush()
                        os.fsync(descriptor)
                    count += 1
            for _ in pieces:
                pass
    except OSError as error:
        raise SetupError(f"{source}: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, tarfile.TarError):
        raise SetupError(f"{source}: cut short or damaged") from None
    return count


def _is_ours(name: str) -> bool:
    parts = PurePosixPath(name).parts
    return (
        1 <= len(parts) <= 2
        and ".." not in parts
        and not name.startswith("/")
        and (len(parts) == 1 or parts[0] in ("log", "rules"))
    )


def _staying(where: Installation) -> set[Path]:
    """What no backup holds or replaces: the list of the forgotten in its own place, and the master keys."""
    return {path.resolve() for path in (where.forgotten, where.keys.file) if path is not None}


def _swap(where: Installation, folder: Path, fresh: Path) -> Path | None:
    """Moves aside what a backup is of, and what is fresh in; whatever else the house keeps in the folder stays.

    Raises:
        SetupError: the list of the forgotten or the master keys would be moved with it; nothing was.
    """
    stay, names = _staying(where), {path.name for path in fresh.iterdir()}
    before = [
        path
        for path in folder.iterdir()
        if (path.name in names or path.name in _REPLACED) and path.resolve() not in stay
    ]
    for path in before:
        if any(path.resolve() in kept.parents for kept in stay):
            raise SetupError(f"{path}: holds the list of forgotten callers or the keys; move them out of it first")
    aside = None
    if before:
        aside = set_aside(folder)
        for path in before:
            path.rename(aside / path.name)
    for path in fresh.iterdir():
        if (folder / path.name).resolve() not in stay:
            path.rename(folder / path.name)
    return aside

"""Where the master keys come from: a file, or a command that asks a key service; and which of them a data directory needs.

The data directory remembers the ids of the keys that it was written with, each with a value to try the key on. So a key that
is absent or wrong is found at the start, before anything is read or written.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import re
import secrets
import subprocess
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from server.errors import SetupError
from server.storage.daylog import connect_to_read
from server.storage.vault import KEY_BYTES, PLAIN, Key, SealError, Vault

COMMAND_TIMEOUT_S: Final = 30
"""A key service that does not answer by then is taken to be unreachable."""
MAX_KEYS: Final = 1_000
MARK_FILE: Final = "encryption.json"
_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,32}")
_CHECK: Final = b"mamori"
_WORDS: Final = ("alerts", "alert_events", "snapshots", "outbox", "flags", "ledger")


@dataclass(frozen=True, slots=True, kw_only=True)
class KeySource:
    """Where keys come from; nowhere means that nothing is sealed.

    Args:
        file: lines of an id, the base64 of 32 bytes and, for a tenant's own key, the tenant; the newest last.
        command: prints the same lines.
    """

    file: Path | None = None
    command: tuple[str, ...] = ()

    @property
    def given(self) -> bool:
        """Whether there is a source."""
        return self.file is not None or bool(self.command)

    @property
    def setting(self) -> str:
        """The setting to name in a message."""
        return f"encryption.key_file: {self.file}" if self.file is not None else "encryption.key_command"


def new_key_line(tenant: str | None = None) -> str:
    """A line for a key file: a fresh key whose id says when it was made."""
    name = f"k{datetime.now(tz=UTC):%Y%m%d}-{secrets.token_hex(2)}"
    secret = base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode()
    return f"{name} {secret}" + (f" {tenant}" if tenant else "")


def add_key(path: Path, tenant: str | None = None) -> str:
    """Appends a fresh key to a file, made when absent and readable by its owner only; returns the key's id.

    Raises:
        SetupError: the file cannot be written.
    """
    if tenant is not None and tenant.split() != [tenant]:
        raise SetupError("tenant: expected a name without spaces")
    line = new_key_line(tenant)
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(descriptor, "r+b") as file:
            # A last line without its end would take the new one in, and both keys be lost.
            broken = file.read()[-1:] not in (b"", b"\n")
            file.write(b"\n" * broken + line.encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        sync_folder(path.absolute().parent)
    except OSError as error:
        raise SetupError(f"{path}: {error.strerror}") from None
    return line.split(" ", maxsplit=1)[0]


def read_keys(source: KeySource) -> tuple[Key, ...]:
    """The master keys, oldest first; none where the source is nowhere.

    Raises:
        SetupError: names the setting and the line; no part of a key is in the message.
    """
    if source.file is not None:
        try:
            if source.file.stat().st_mode & 0o077:
                raise SetupError(f"{source.setting}: readable by others; expected mode 0600")
            text = source.file.read_text(encoding="utf-8")
        except OSError as error:
            raise SetupError(f"{source.setting}: {error.strerror}") from None
        except UnicodeDecodeError:
            raise SetupError(f"{source.setting}: expected text") from None
    elif source.command:
        text = _printed(source)
    else:
        return ()
    return _parsed(text, source.setting)


def _printed(source: KeySource) -> str:
    """What the command prints; what it says on standard error is the house's own and goes there."""
    try:
        done = subprocess.run(  # noqa: S603 - the house's own command, without a shell
            source.command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, timeout=COMMAND_TIMEOUT_S, check=False
        )
        text = done.stdout.decode("utf-8")
    except OSError as error:
        raise SetupError(f"{source.setting}: {source.command[0]}: {error.strerror}") from None
    except subprocess.TimeoutExpired:
        raise SetupError(f"{source.setting}: no answer within {COMMAND_TIMEOUT_S} s") from None
    except UnicodeDecodeError:
        raise SetupError(f"{source.setting}: expected text") from None
    if done.returncode != 0:
        raise SetupError(f"{source.setting}: ended with status {done.returncode}")
    return text


def _parsed(text: str, setting: str) -> tuple[Key, ...]:
    found: dict[str, Key] = {}
    for number, line in enumerate(text.splitlines(), 1):
        parts = line.split()
        if not parts or parts[0].startswith("#"):
            continue
        where = f"{setting}: line {number}"
        if len(parts) not in (2, 3) or _ID.fullmatch(parts[0]) is None:
            raise SetupError(f"{where}: expected an id, the base64 of {KEY_BYTES} bytes and, if it has one, a tenant")
        try:
            secret = base64.b64decode(parts[1], validate=True)
        except binascii.Error:
            secret = b""
        if len(secret) != KEY_BYTES:
            raise SetupError(f"{where}: expected the base64 of {KEY_BYTES} bytes behind the id")
        if parts[0] in found:
            raise SetupError(f"{where}: a second key of the id {parts[0]!r}")
        found[parts[0]] = Key(key_id=parts[0], secret=secret, tenant=parts[2] if len(parts) == 3 else None)
    if not any(key.tenant is None for key in found.values()):
        raise SetupError(f"{setting}: expected at least one key that is not a single tenant's")
    if len(found) > MAX_KEYS:
        raise SetupError(f"{setting}: expected at most {MAX_KEYS} keys")
    return tuple(found.values())


def open_vault(data_dir: Path, source: KeySource) -> Vault:
    """The vault of a data directory, tried on what the directory remembers.

    Raises:
        SetupError: a key is missing or wrong, or the directory was not brought to the keys by `mamori db rekey`.
    """
    keys, mark = read_keys(source), read_mark(data_dir)
    if mark is None:
        if not keys:
            return PLAIN
        if _holds_words(data_dir):
            raise SetupError(
                f"{source.setting}: {data_dir} holds data that are not encrypted; stop the server and run `mamori db rekey`"
            )
    if mark is not None:
        check_mark(data_dir, mark, keys, source)
        if mark.unfinished:
            raise SetupError(f"encryption: `mamori db rekey` has not finished with {data_dir}: run it again")
    vault = Vault(keys)
    wanted = current_ids(vault)
    if mark is None or not wanted <= mark.checks.keys():
        write_mark(data_dir, vault, wanted | (mark.checks.keys() if mark is not None else set()))
    return vault


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """What a data directory remembers of its keys.

    Args:
        checks: by the id of each key that may have sealed something in it, a value to try the key on.
        unfinished: values are on their way from one state to another.
    """

    checks: dict[str, bytes]
    unfinished: bool = False


def read_mark(data_dir: Path) -> Mark | None:
    """What the directory remembers, or None when nothing in it is sealed.

    Raises:
        SetupError: the file is damaged.
    """
    path = data_dir / MARK_FILE
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        checks = {str(name): base64.b64decode(value) for name, value in found["keys"].items()}
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise SetupError(f"{path}: damaged; put it back from a backup") from None
    return Mark(checks=checks, unfinished=bool(found.get("unfinished")))


def check_mark(data_dir: Path, mark: Mark, keys: Sequence[Key], source: KeySource) -> None:
    """Tries the keys.

    Raises:
        SetupError: one is missing or another.
    """
    if not keys and mark.checks:
        names = ", ".join(sorted(mark.checks))
        raise SetupError(f"encryption: {data_dir} is encrypted; set key_file or key_command (keys {names})")
    vault = Vault(keys)
    known = {key.key_id: key for key in keys}
    for name, check in mark.checks.items():
        if name not in known:
            raise SetupError(f"{source.setting}: no key {name!r}, with which {data_dir} is encrypted")
        try:
            vault.open(known[name].tenant or "", "check", name, check)
        except SealError:
            raise SetupError(
                f"{source.setting}: the key {name!r} is not the one with which {data_dir} is encrypted"
            ) from None


def current_ids(vault: Vault) -> set[str]:
    """The ids of the keys that new values are sealed with, of whatever tenant."""
    tenants = {key.tenant or "" for key in vault.keys}
    return {vault.newest(tenant).key_id for tenant in tenants}


def write_mark(data_dir: Path, vault: Vault, names: set[str], *, unfinished: bool = False) -> None:
    """Puts down which keys the directory needs from now on; durable when it returns."""
    checks = {
        key.key_id: base64.b64encode(
            Vault([Key(key_id=key.key_id, secret=key.secret)]).seal(key.tenant or "", "check", key.key_id, _CHECK)
        ).decode()
        for key in vault.keys
        if key.key_id in names
    }
    data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = data_dir / MARK_FILE
    fresh = path.with_suffix(".new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump({"version": 1, "keys": checks, "unfinished": unfinished}, file)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
    sync_folder(data_dir)


def drop_mark(data_dir: Path) -> None:
    """Nothing in the directory is sealed any more."""
    (data_dir / MARK_FILE).unlink(missing_ok=True)
    sync_folder(data_dir)


def sync_folder(folder: Path) -> None:
    """Makes a change of names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _holds_words(data_dir: Path) -> bool:
    """Whether anything is stored that would be sealed."""
    if any((data_dir / "log").glob("*.sqlite")):
        return True
    path = data_dir / "state.sqlite"
    if not path.exists():
        return False
    with closing(connect_to_read(path)) as connection:
        there = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        return any(
            connection.execute(f"SELECT 1 FROM {table} LIMIT 1").fetchone() is not None  # noqa: S608 - names of ours
            for table in _WORDS
            if table in there
        )

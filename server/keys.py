"""Secrets of this installation, each in a file of its own in the data directory."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Final

from server.errors import SetupError

_KEY_BYTES: Final = 32


def house_key(data_dir: Path, name: str, path: Path | None = None) -> bytes:
    """A secret of this installation, 32 bytes, made at the first start and readable by its owner only; or from a file of the
    house's."""
    path = path if path is not None else data_dir / f"{name}.key"
    data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not path.exists():
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(_KEY_BYTES))
    key = path.read_bytes()
    if len(key) != _KEY_BYTES:
        raise SetupError(f"{path}: expected {_KEY_BYTES} bytes")
    return key

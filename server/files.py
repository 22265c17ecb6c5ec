"""Text files that the house writes: read whole, or refused by name."""

from __future__ import annotations

from pathlib import Path

from server.errors import SetupError


def read_text(path: Path) -> str:
    """What a file says.

    Raises:
        SetupError: it cannot be read, or is not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise SetupError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise SetupError(f"{path}: not UTF-8") from None

"""The rules that this house has ever run with, by digest: a call keeps the rules that it began with, through restarts and
for later replays.

Files are written once and never changed; nothing in them is personal.
"""

from __future__ import annotations

import hashlib
import logging
from importlib import resources
from pathlib import Path

from detector.rules import Rules, RulesError, parse_rules
from server.errors import SetupError
from server.files import read_text

_log = logging.getLogger("mamori.rules")


class Rulebook:
    """Rules by digest, kept in a folder.

    Args:
        folder: where their texts are kept.
        current: the rules in force.
        digest: of their text.
    """

    def __init__(self, folder: Path, *, current: Rules, digest: str) -> None:
        self.current = current
        self.digest = digest
        self._folder = folder
        self._known: dict[str, Rules | None] = {digest: current} if digest else {}

    def find(self, digest: str) -> Rules | None:
        """The rules of a digest, or None when their text is gone."""
        if digest not in self._known:
            self._known[digest] = self._read(digest)
        return self._known[digest]

    def _read(self, digest: str) -> Rules | None:
        path = self._folder / f"{digest}.toml"
        try:
            return parse_rules(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, RulesError) as error:
            _log.warning("rules of an earlier time not read", extra={"digest": digest, "error": type(error).__name__})
            return None


def open_rulebook(data_dir: Path, path: Path | None) -> Rulebook:
    """Reads the house's rules, or the bundled ones, and keeps their text.

    Args:
        data_dir: of the installation; the texts go to its folder `rules`.
        path: of the house's file, or None.

    Raises:
        SetupError: the file cannot be read or is wrong (names the line), or the text cannot be kept.
    """
    try:
        if path is None:
            text = resources.files("detector").joinpath("rules.toml").read_text(encoding="utf-8")
        else:
            text = read_text(path)
        rules = parse_rules(text)
    except RulesError as error:
        raise SetupError(f"{path}: {error}") from None
    digest = hashlib.sha256(text.encode("utf-8")).hexdigest()[:16]
    folder = data_dir / "rules"
    kept = folder / f"{digest}.toml"
    try:
        data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not kept.exists():
            partial = kept.with_suffix(".new")
            partial.touch(mode=0o600)
            partial.write_text(text, encoding="utf-8")
            partial.replace(kept)
    except OSError as error:
        raise SetupError(f"{kept}: {error.strerror}") from None
    return Rulebook(folder, current=rules, digest=digest)

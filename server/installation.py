"""An installation as the command line meets it: its data directory, the vault of its words, the list of forgotten callers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from server.errors import SetupError
from server.redaction import HousePatterns, compile_patterns
from server.settings import load_settings
from server.storage.daylog import DayLog
from server.storage.embedded import EmbeddedLog
from server.storage.keyfile import KeySource, open_vault
from server.storage.statedb import StateDatabase, open_engine
from server.storage.vault import Vault


@dataclass(frozen=True, slots=True, kw_only=True)
class Installation:
    """What the commands on stored data need.

    Args:
        data_dir: where everything is.
        keys: where the keys of its words come from.
        forgotten: the list of forgotten callers.
        patterns: the house's own personal data.
        database: of a cluster, or None.
    """

    data_dir: Path
    keys: KeySource
    forgotten: Path
    patterns: HousePatterns = ()
    database: str | None = None

    def vault(self) -> Vault:
        """The vault.

        Raises:
            SetupError: a key is missing or wrong.
        """
        return open_vault(self.data_dir, self.keys)

    def state(self) -> StateDatabase:
        """The state database, which must be there.

        Raises:
            SetupError: it is not, or a key is missing or wrong.
        """
        path = self.data_dir / "state.sqlite"
        if not path.exists():
            raise SetupError(f"{path}: no such database")
        return StateDatabase(open_engine(path), self.vault())

    def days(self) -> DayLog:
        """The day files.

        Raises:
            SetupError: a key is missing or wrong.
        """
        return DayLog(self.data_dir / "log", self.vault())

    def log(self) -> EmbeddedLog:
        """The whole engine, to be closed.

        Raises:
            SetupError: a key is missing or wrong.
        """
        return EmbeddedLog(self.data_dir, vault=self.vault())


def read_installation(config: Path | None, data_dir: Path | None = None) -> Installation:
    """Reads where an installation is from its settings file and environment.

    Args:
        config: settings file, or None.
        data_dir: overrides the settings' own, or None.

    Raises:
        SetupError: the settings are wrong.
    """
    settings = load_settings(config, {"data_dir": data_dir})
    return Installation(
        data_dir=settings.data_dir,
        keys=settings.encryption.source,
        forgotten=settings.forgotten_list,
        patterns=compile_patterns(settings.redact),
        database=settings.database,
    )

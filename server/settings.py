"""All settings, parsed once: a TOML file, overridden by environment variables `MAMORI_…`, overridden by the command line."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from server.errors import SetupError


class Settings(BaseSettings):
    """Settings of `mamori serve`; a field's name in capitals behind `MAMORI_` is its environment variable."""

    model_config = SettingsConfigDict(env_prefix="MAMORI_", frozen=True, extra="forbid")

    host: str = Field("127.0.0.1", description="Address to listen on; beyond loopback only with `auth`.")
    port: int = Field(8787, ge=0, le=65535, description="Port to listen on; 0 picks a free one.")
    data_dir: Path = Field(Path("data"), description="Directory of the log, the state database and the keys.")
    auth: bool = Field(False, description="Ask for tokens; needed beyond loopback.")
    hosts: tuple[str, ...] = Field(
        ("localhost", "127.0.0.1", "[::1]"), description="Host names under which the server may be addressed."
    )
    origins: tuple[str, ...] = Field((), description="Further web origins whose pages may open sockets.")
    frame_origins: tuple[str, ...] = Field((), description="Sites that may embed the operator's page.")
    model: str | None = Field(None, description="Classifier: a folder or hub id; none for the bundled one.")
    rules: Path | None = Field(None, description="House rules (TOML); none for the bundled defaults.")
    playbook: Path | None = Field(None, description="House playbook (TOML); none for the bundled one.")
    window: int = Field(1024, ge=1, le=65536, description="Unacknowledged events per connection.")
    max_frame_bytes: int = Field(65536, ge=1024, le=16_777_216, description="Largest websocket frame.")
    max_calls: int = Field(12_000, ge=1, description="Live calls beyond which new ones are refused.")
    idle_end_s: float = Field(900, gt=0, description="Seconds without events after which a call ends.")
    lost_after_s: float = Field(10, gt=0, description="Seconds without connection after which a feed is lost.")
    score_workers: int = Field(1, ge=1, le=64, description="Inference threads.")
    keep_days: int = Field(90, ge=1, description="Days for which transcripts are kept.")
    tls_cert: Path | None = Field(None, description="Certificate chain (PEM) for TLS.")
    tls_key: Path | None = Field(None, description="Private key (PEM) for TLS.")
    link_listen: str = Field("", description="https template to listen in; {call_id}, {agent_id} are filled in.")
    link_takeover: str = Field("", description="https template to take a call over.")
    nats: str | None = Field(None, description="NATS address; reserved for the cluster engine.")
    database: str | None = Field(None, description="PostgreSQL address; reserved for the cluster engine.")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Environment over file: the file's values come in as arguments of a lower rank."""
        return env_settings, init_settings

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach the server."""
        return self.host in ("127.0.0.1", "::1", "localhost")


class _Given(Settings):
    """Validates what the command line gave, without looking at the environment."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The arguments alone."""
        return (init_settings,)


def load_settings(path: Path | None, overrides: dict[str, Any]) -> Settings:
    """Reads settings.

    Args:
        path: TOML file, or None.
        overrides: from the command line; None values are left out.

    Raises:
        SetupError: names file, line or field and what was expected.
    """
    values: dict[str, Any] = {}
    if path is not None:
        try:
            values = tomllib.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise SetupError(f"{path}: {error.strerror}") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise SetupError(f"{path}: not TOML: {error}") from None
    given = {key: value for key, value in overrides.items() if value is not None}
    try:
        settings = Settings(**values)
        return settings.model_copy(update=_Given(**given).model_dump(include=set(given))) if given else settings
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"]))
        where = f"{path}: " if path is not None and field in values else ""
        raise SetupError(f"{where}{field}: {first['msg']}") from None


def check_exposure(settings: Settings) -> None:
    """Refuses a set-up that would let strangers in.

    Raises:
        SetupError: bound beyond loopback without authentication, or half of a TLS pair.
    """
    if not settings.loopback and not settings.auth:
        raise SetupError("host: beyond loopback only with authentication (--auth and `mamori token create`)")
    if (settings.tls_cert is None) != (settings.tls_key is None):
        raise SetupError("tls_cert: needs tls_key, and the other way round")
    for name in ("link_listen", "link_takeover"):
        link = getattr(settings, name)
        if link and not link.startswith("https://"):
            raise SetupError(f"{name}: expected an https address")

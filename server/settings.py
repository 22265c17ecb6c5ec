"""All settings, parsed once: a TOML file, overridden by environment variables `MAMORI_…`, overridden by the command line."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from server.delivery.config import SenderConfig, SenderName
from server.errors import SetupError
from server.links import check_template
from server.logs import LogFormat, LogLevel
from server.redaction import compile_patterns
from server.routing import RoutingTable
from server.storage.keyfile import KeySource

MIN_KEY_BYTES: Final = 32
MIN_SENDER_SECRET_BYTES: Final = 24
FORGOTTEN_FILE: Final = "forgotten.jsonl"
_LOOPBACK: Final = ("127.0.0.1", "::1", "localhost")


class GroupGrant(BaseModel):
    """What a group of the identity provider gives here."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    role: Literal["operator", "supervisor", "lead", "admin"]
    tenant: str = Field("default", min_length=1, max_length=64)
    queues: tuple[str, ...] | None = None


class Encryption(BaseModel):
    """Where the keys of what is stored come from; neither means that nothing is encrypted."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    key_file: Path | None = None
    key_command: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _one(self) -> Encryption:
        if self.key_file is not None and self.key_command:
            raise ValueError("expected key_file or key_command, not both")
        return self

    @property
    def source(self) -> KeySource:
        """As the storage takes it."""
        return KeySource(file=self.key_file, command=self.key_command)


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
    shadow_rules: Path | None = Field(
        None, description="Candidate rules (TOML) to follow every call with, beside the live ones; alerts nobody."
    )
    observe: bool = Field(
        False, description="Record everything and alert nobody; an operator's help button is still answered."
    )
    playbook: Path | None = Field(None, description="House playbook (TOML); none for the bundled one.")
    window: int = Field(1024, ge=1, le=65536, description="Unacknowledged events per connection.")
    max_frame_bytes: int = Field(65536, ge=1024, le=16_777_216, description="Largest websocket frame.")
    max_calls: int = Field(12_000, ge=1, description="Live calls beyond which new ones are refused.")
    min_free_mb: int = Field(256, ge=0, description="Free disk space in MiB below which new calls are refused.")
    idle_end_s: float = Field(900, gt=0, description="Seconds without events after which a call ends.")
    lost_after_s: float = Field(10, gt=0, description="Seconds without connection after which a feed is lost.")
    score_workers: int = Field(1, ge=1, le=64, description="Inference threads.")
    mappings: tuple[Path, ...] = Field((), description="TOML files with formats of the house's own.")
    max_webhook_bytes: int = Field(4_194_304, ge=1024, le=67_108_864, description="Largest body of a webhook.")
    twilio_auth_token_file: Path | None = Field(
        None, description="File with Twilio's auth token; its webhooks' signatures are over `public_url`."
    )
    twilio_tenant: str = Field(
        "default", min_length=1, max_length=64, description="Tenant whose calls the webhooks signed by Twilio are."
    )
    redact: dict[str, str] = Field(
        {}, description="Table from name to regular expression: further personal data to mask as 〈name〉."
    )
    keep_days: int = Field(90, ge=1, description="Days for which transcripts and the words in alerts are kept.")
    keep_record_days: int = Field(
        730, ge=1, description="Days for which calls and alerts are kept without their words, for reports."
    )
    encryption: Encryption = Field(
        Encryption(),
        description="Table with `key_file` or `key_command`: encrypts what is stored of people's words; see SECURITY.md.",
    )
    forgotten_file: Path | None = Field(
        None,
        description="List of forgotten callers (keyed hashes), best kept off `data_dir`, so that no restore loses it; none for"
        " forgotten.jsonl in `data_dir`.",
    )
    tls_cert: Path | None = Field(None, description="Certificate chain (PEM) for TLS.")
    tls_key: Path | None = Field(None, description="Private key (PEM) for TLS.")
    trusted_proxies: tuple[str, ...] = Field(
        (), description="Addresses of proxies that end TLS for us and whose forwarding headers are believed."
    )
    public_url: str = Field(
        "",
        description="Address at which browsers and platforms reach the server; needed for OpenID Connect and Twilio.",
    )
    session_hours: float = Field(12, gt=0, le=168, description="Hours after which people sign in again.")
    limit_requests_s: float = Field(50, gt=0, description="HTTP requests and commands a second for each credential.")
    limit_events_s: float = Field(20_000, gt=0, description="Ingested events a second for each token.")
    oidc_issuer: str = Field("", description="Identity provider (OpenID Connect); none for local accounts alone.")
    oidc_client_id: str = Field("", description="Our id at the identity provider.")
    oidc_client_secret_file: Path | None = Field(
        None, description="File with our secret at the identity provider; none for a public client."
    )
    oidc_scopes: str = Field("openid profile", description="What is asked of the identity provider.")
    oidc_groups_claim: str = Field("groups", description="Claim that lists a person's groups.")
    oidc_name_claim: str = Field("preferred_username", description="Claim that names the person in the records.")
    oidc_groups: dict[str, GroupGrant] = Field(
        {}, description="Table from group to `role`, `tenant`, `queues`; who has no such group stays out."
    )
    link_listen: str = Field("", description="https template to listen in; {call_id}, {agent_id} are filled in.")
    link_takeover: str = Field("", description="https template to take a call over.")
    routing: RoutingTable = Field(
        RoutingTable(),
        description="Table: who is called for the alerts of a queue, and who next; see docs/delivery.md.",
    )
    senders: dict[SenderName, SenderConfig] = Field(
        {}, description="Table from name to sender: webhook, slack, teams or pagerduty; see docs/delivery.md."
    )
    loud_alerts: int = Field(
        12, ge=1, description="Alerts below `escalate` that may be loud for one supervisor within `loud_window_s`."
    )
    break_after_calls: int = Field(
        3, ge=1, description="Calls with a warning within the hours looked at, after which a break is suggested."
    )
    break_after_minutes: int = Field(30, ge=1, description="The same in minutes of talk on such calls.")
    loud_window_s: float = Field(600, gt=0, description="Seconds over which loud alerts are counted.")
    log_level: LogLevel = Field(
        "info", description="Least grave log line on standard error; info has one line for every call that ended."
    )
    log_format: LogFormat = Field("text", description="Form of the log: text for people, json for collectors.")
    role: Literal["all", "gateway", "worker"] = Field(
        "all", description="In a cluster: takes connections, follows calls, or both; see docs/cluster.md."
    )
    nats: str | None = Field(
        None, description="NATS addresses, nats://HOST:PORT with commas between; with `database` it makes a cluster."
    )
    nats_replicas: int = Field(
        1, ge=1, le=3, description="Copies of the streams when they are made; 3 with three servers."
    )
    database: str | None = Field(None, description="PostgreSQL address, postgresql://USER:PASSWORD@HOST:PORT/NAME.")
    caller_key_file: Path | None = Field(
        None, description="File with 32 random bytes for the hash of callers, the same on every machine of a cluster."
    )

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

    @field_validator("redact")
    @classmethod
    def _expressions(cls, value: dict[str, str]) -> dict[str, str]:
        compile_patterns(value)
        return value

    @property
    def forgotten_list(self) -> Path:
        """Where the list of forgotten callers is."""
        return self.forgotten_file if self.forgotten_file is not None else self.data_dir / FORGOTTEN_FILE

    @property
    def clustered(self) -> bool:
        """Whether this process is part of a cluster."""
        return bool(self.nats and self.database)

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach the server."""
        return self.host in _LOOPBACK

    @property
    def secure(self) -> bool:
        """Whether browsers reach us over TLS, ours or a proxy's."""
        return self.tls_cert is not None or self.public_url.startswith("https://") or bool(self.trusted_proxies)


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
        SetupError: bound beyond loopback without authentication or TLS, secrets that are absent, short or open to
            others, half of a pair.
    """
    if not settings.loopback:
        if not settings.auth:
            raise SetupError("host: beyond loopback only with authentication (--auth and `mamori token create`)")
        if settings.tls_cert is None and not settings.trusted_proxies:
            raise SetupError("host: beyond loopback only over TLS (tls_cert and tls_key, or trusted_proxies)")
        if "*" in settings.hosts or "*" in settings.trusted_proxies:
            raise SetupError("hosts, trusted_proxies: name them; a star would let anybody in")
    if (settings.tls_cert is None) != (settings.tls_key is None):
        raise SetupError("tls_cert: needs tls_key, and the other way round")
    for name in ("tls_key", "oidc_client_secret_file", "twilio_auth_token_file"):
        path = getattr(settings, name)
        if path is not None:
            check_secret_file(path, name)
    if settings.public_url and not _address(settings.public_url):
        raise SetupError("public_url: expected an https address (http on loopback) without a path")
    if settings.twilio_auth_token_file is not None and not settings.public_url:
        raise SetupError("twilio_auth_token_file: needs public_url, over which Twilio signs")
    if settings.oidc_issuer:
        _check_oidc(settings)
    check_cluster(settings)
    _check_senders(settings)
    for name in ("link_listen", "link_takeover"):
        if getattr(settings, name):
            try:
                check_template(getattr(settings, name))
            except ValueError as error:
                raise SetupError(f"{name}: {error}") from None


def check_cluster(settings: Settings) -> None:
    """Refuses half a cluster, and what a cluster cannot do.

    Raises:
        SetupError: names the setting.
    """
    if not settings.clustered:
        if settings.nats or settings.database:
            raise SetupError("nats, database: a cluster needs both")
        if settings.role != "all":
            raise SetupError("role: only in a cluster, with nats and database")
        return
    if settings.caller_key_file is None:
        raise SetupError(
            "caller_key_file: a cluster needs it: head -c 32 /dev/urandom > FILE, on every machine the same"
        )
    check_secret_file(settings.caller_key_file, "caller_key_file")


def check_secret_file(path: Path, name: str, *, least_bytes: int = MIN_KEY_BYTES) -> None:
    """Refuses a secret that is absent, too short, or readable by others.

    Args:
        name: of the setting, for the message.
        least_bytes: below which nobody calls it a secret.

    Raises:
        SetupError: says which.
    """
    try:
        found = path.stat()
    except OSError as error:
        raise SetupError(f"{name}: {path}: {error.strerror}") from None
    if found.st_size < least_bytes:
        raise SetupError(f"{name}: {path}: expected at least {least_bytes} bytes")
    if found.st_mode & 0o077:
        raise SetupError(f"{name}: {path}: readable by others; expected mode 0600")


def _check_senders(settings: Settings) -> None:
    for name, sender in settings.senders.items():
        for field, path in sender.secret_files.items():
            check_secret_file(path, f"senders.{name}.{field}", least_bytes=MIN_SENDER_SECRET_BYTES)
    for route in settings.routing.routes:
        for tier in route.tiers:
            for name in tier.senders:
                if name not in settings.senders:
                    raise SetupError(f"routing: queue {route.queue!r}: no sender of the name {name!r}")
                if settings.senders[name].tenant != route.tenant:
                    raise SetupError(f"routing: queue {route.queue!r}: sender {name!r} is of another tenant")


def _check_oidc(settings: Settings) -> None:
    if not settings.auth:
        raise SetupError("oidc_issuer: only with authentication (--auth)")
    if not settings.public_url or not settings.oidc_client_id or not settings.oidc_groups:
        raise SetupError("oidc_issuer: needs public_url, oidc_client_id and oidc_groups")
    parts = urlsplit(settings.oidc_issuer)
    if parts.scheme != "https" and parts.hostname not in _LOOPBACK:
        raise SetupError("oidc_issuer: expected an https address")
    if "openid" not in settings.oidc_scopes.split():
        raise SetupError("oidc_scopes: expected openid among them")


def _address(url: str) -> bool:
    parts = urlsplit(url)
    plain = parts.path in ("", "/") and not parts.query and not parts.fragment and bool(parts.hostname)
    return plain and (parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOOPBACK))

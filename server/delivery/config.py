"""What the settings say of one sender. Secrets lie in files of their own, never in the settings or the database."""

from __future__ import annotations

from enum import StrEnum
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated, Final, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, model_validator

from server.routing import LevelName

PAGERDUTY_URL: Final = "https://events.pagerduty.com/v2/enqueue"
"""PagerDuty, Events API v2; the service region of the EU has https://events.eu.pagerduty.com/v2/enqueue."""


class SenderKind(StrEnum):
    """How a sender speaks."""

    WEBHOOK = "webhook"
    SLACK = "slack"
    TEAMS = "teams"
    PAGERDUTY = "pagerduty"

    @property
    def pushes(self) -> bool:
        """Whether it reaches a person: only such senders have a budget."""
        return self is not SenderKind.WEBHOOK


def check_url(url: str, *, networks_allowed: bool) -> str:
    """Checks an address to post to; plain http only where networks are allowed by hand.

    Raises:
        ValueError: says what was expected; the address is not in it, since it may be a secret.
    """
    parts = urlsplit(url)
    schemes = ("https", "http") if networks_allowed else ("https",)
    if parts.scheme not in schemes or not parts.hostname or parts.username is not None or parts.fragment:
        raise ValueError(f"expected an address that begins with {'://, '.join(schemes)}://, without user or fragment")
    return url


def _secret_path(path: Path) -> Path:
    return path.expanduser()


SecretFile = Annotated[Path, AfterValidator(_secret_path)]
PersonName = Annotated[str, StringConstraints(min_length=1, max_length=256)]
SenderName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]


class SenderConfig(BaseModel):
    """One sender.

    Args:
        kind: how it speaks.
        tenant: whose alerts it gets.
        url: where to post; for Slack and Teams, whose addresses are secrets, use `url_file`.
        url_file: file with the address.
        secret_file: webhook: file with one `whsec_…` secret a line; each signs, so that a key can be rotated.
        routing_key_file: PagerDuty: file with the integration key.
        signing_secret_file: Slack: file with the app's signing secret; its messages then have a button that takes the alert.
        people: Slack: who a member is here, from their member id to the name in our records.
        envelope: webhook: the body as it is, or in a CloudEvents 1.0 envelope (structured mode).
        transcript: whether what was said goes out, too (redacted).
        language: of the words in messages for people.
        queues: only these, or all.
        least_level: alerts that never reached it are not sent.
        allow_networks: private or local networks that it may reach all the same.
        timeout_s: for one attempt, from looking up the name to the answer.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: SenderKind
    tenant: str = Field(default="default", min_length=1, max_length=64)
    url: str = ""
    url_file: SecretFile | None = None
    secret_file: SecretFile | None = None
    routing_key_file: SecretFile | None = None
    signing_secret_file: SecretFile | None = None
    people: dict[str, PersonName] = Field(default_factory=dict, max_length=1_000)
    envelope: Literal["plain", "cloudevents"] = "plain"
    transcript: bool = False
    language: Literal["ja", "en"] = "ja"
    queues: tuple[str, ...] | None = None
    least_level: LevelName = "warning"
    allow_networks: tuple[IPv4Network | IPv6Network, ...] = ()
    timeout_s: float = Field(default=15, gt=0, le=60)

    @model_validator(mode="after")
    def _whole(self) -> SenderConfig:
        if self.kind is SenderKind.PAGERDUTY:
            if self.routing_key_file is None:
                raise ValueError("pagerduty: needs routing_key_file")
        elif bool(self.url) == (self.url_file is not None):
            raise ValueError(f"{self.kind.value}: needs either url or url_file")
        if self.kind is SenderKind.WEBHOOK and self.secret_file is None:
            raise ValueError("webhook: needs secret_file")
        if (self.signing_secret_file is not None or self.people) and self.kind is not SenderKind.SLACK:
            raise ValueError("signing_secret_file, people: of slack alone")
        if (self.signing_secret_file is None) != (not self.people):
            raise ValueError("slack: signing_secret_file and people go together")
        if self.url:
            check_url(self.url, networks_allowed=bool(self.allow_networks))
        return self

    @property
    def secret_files(self) -> dict[str, Path]:
        """The files with secrets, by the name of their setting."""
        names = ("url_file", "secret_file", "routing_key_file", "signing_secret_file")
        files: dict[str, Path | None] = {name: getattr(self, name) for name in names}
        return {name: path for name, path in files.items() if path is not None}

"""Reads the secrets of a sender: its address, signing keys, integration key. They live in memory and on the wire alone."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from server.delivery.config import PAGERDUTY_URL, SenderConfig, SenderKind, check_url
from server.errors import SetupError

SIGNING_PREFIX: Final = "whsec_"
MIN_KEY_BYTES: Final = 24
MAX_KEY_BYTES: Final = 64
"""Standard Webhooks 1.0, "Signature scheme": a key of 24 to 64 random bytes, base64, behind `whsec_`."""
MAX_KEYS: Final = 5
MIN_SIGNING_CHARS: Final = 32
"""Slack's signing secrets have 32 hexadecimal digits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Secrets:
    """What a sender needs to know; none of it is shown in a repr.

    Args:
        url: where to post.
        signing_keys: of a webhook, `whsec_…`, the newest first.
        routing_key: of PagerDuty.
        signing_secret: of Slack's app, or empty.
    """

    url: str = field(repr=False)
    signing_keys: tuple[str, ...] = field(default=(), repr=False)
    routing_key: str = field(default="", repr=False)
    signing_secret: str = field(default="", repr=False)


def read_secrets(name: str, config: SenderConfig) -> Secrets:
    """Reads a sender's files.

    Raises:
        SetupError: a file cannot be read or does not hold what it should; its content is not in the message.
    """
    where = f"senders.{name}"
    url = config.url or (PAGERDUTY_URL if config.kind is SenderKind.PAGERDUTY else "")
    if config.url_file is not None:
        url = _one_line(config.url_file, f"{where}.url_file")
    try:
        check_url(url, networks_allowed=bool(config.allow_networks))
    except ValueError as error:
        raise SetupError(f"{where}.url_file: {error}") from None
    keys: tuple[str, ...] = ()
    if config.secret_file is not None:
        keys = tuple(_lines(config.secret_file, f"{where}.secret_file"))
        if not 1 <= len(keys) <= MAX_KEYS or not all(map(_is_key, keys)):
            raise SetupError(
                f"{where}.secret_file: expected 1 to {MAX_KEYS} lines, each {SIGNING_PREFIX} and the base64 of "
                f"{MIN_KEY_BYTES} to {MAX_KEY_BYTES} bytes"
            )
    routing_key = ""
    if config.routing_key_file is not None:
        routing_key = _one_line(config.routing_key_file, f"{where}.routing_key_file")
    signing_secret = ""
    if config.signing_secret_file is not None:
        signing_secret = _one_line(config.signing_secret_file, f"{where}.signing_secret_file")
        if len(signing_secret) < MIN_SIGNING_CHARS:
            raise SetupError(f"{where}.signing_secret_file: expected at least {MIN_SIGNING_CHARS} characters")
    return Secrets(url=url, signing_keys=keys, routing_key=routing_key, signing_secret=signing_secret)


def _is_key(text: str) -> bool:
    try:
        key = base64.b64decode(text.removeprefix(SIGNING_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        return False
    return text.startswith(SIGNING_PREFIX) and MIN_KEY_BYTES <= len(key) <= MAX_KEY_BYTES


def _one_line(path: Path, where: str) -> str:
    lines = _lines(path, where)
    if len(lines) != 1:
        raise SetupError(f"{where}: expected one line")
    return lines[0]


def _lines(path: Path, where: str) -> list[str]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        raise SetupError(f"{where}: {path}: cannot be read") from None
    return [line.strip() for line in text.splitlines() if line.strip()]

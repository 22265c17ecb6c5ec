"""What Slack sends when somebody presses a button: its signature, and what was pressed. Pure.

Slack, "Verifying requests from Slack": the signature is `v0=` and the hexadecimal HMAC-SHA256 of `v0:TIMESTAMP:BODY` under the
app's signing secret; requests older than five minutes are not to be taken.
"""

from __future__ import annotations

import hashlib
import hmac
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import parse_qsl

import msgspec

from server.errors import RequestError

WINDOW_S: Final = 300
MAX_SEEN: Final = 10_000
"""Signatures remembered within the window; at more, requests are refused until old ones have gone."""
ACKNOWLEDGE: Final = "acknowledge"
"""The `action_id` of the button that takes an alert; its value is the alert's id."""


class User(msgspec.Struct, frozen=True):
    """Who pressed."""

    id: str


class Pressed(msgspec.Struct, frozen=True):
    """One element that was used."""

    action_id: str = ""
    value: str = ""


class Interaction(msgspec.Struct, frozen=True):
    """Slack's `block_actions` payload, as far as it concerns us.

    Args:
        response_url: where an answer to the person goes; good for half an hour.
    """

    type: str
    user: User
    actions: list[Pressed] = []
    response_url: str = ""


def signature(secret: str, timestamp: str, body: bytes) -> str:
    """The signature of a request, as Slack makes it."""
    signed = b"v0:" + timestamp.encode() + b":" + body
    return "v0=" + hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()


class Door:
    """Lets each signed request in once, and none from before this process began: it may have been let in then.

    Args:
        secret: the app's signing secret.
        now_s: UTC seconds since 1970 at which the process began.
    """

    def __init__(self, secret: str, *, now_s: float) -> None:
        self._secret = secret
        self._since_s = now_s
        self._seen: OrderedDict[str, int] = OrderedDict()

    def check(self, headers: Mapping[str, str], body: bytes, *, now_s: float) -> None:
        """Takes a request.

        Args:
            headers: names in lower case.
            now_s: UTC, seconds since 1970.

        Raises:
            RequestError: not signed by the secret, too old, of the future, or taken before.
        """
        given, timestamp = headers.get("x-slack-signature", ""), headers.get("x-slack-request-timestamp", "")
        if not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) <= 12):
            raise _refused("signature or timestamp missing")
        expected = signature(self._secret, timestamp, body)
        if not hmac.compare_digest(expected.encode(), given.encode("utf-8", "surrogatepass")):
            raise _refused("signature wrong")
        at_s = int(timestamp)
        if abs(now_s - at_s) > WINDOW_S or at_s < self._since_s:
            raise _refused("too old")
        while self._seen and next(iter(self._seen.values())) < now_s - 2 * WINDOW_S:
            self._seen.popitem(last=False)
        if expected in self._seen:
            raise _refused("taken before")
        if len(self._seen) >= MAX_SEEN:
            raise RequestError("rate_limited", "too many requests", status=429)
        self._seen[expected] = round(now_s)


def _refused(why: str) -> RequestError:
    return RequestError("not_authorised", why, status=401)


def parse(body: bytes) -> Interaction:
    """Reads what was pressed.

    Raises:
        RequestError: it is no interaction of Slack's.
    """
    wrong = RequestError("bad_request", "expected a form with Slack's `payload`", field="payload")
    try:
        fields = dict(parse_qsl(body.decode(), strict_parsing=True, max_num_fields=20))
        return msgspec.json.decode(fields.get("payload", ""), type=Interaction)
    except (ValueError, msgspec.MsgspecError):
        raise wrong from None


def answer(text: str) -> dict[str, Any]:
    """A message that only the person who pressed sees; as plain text, nothing in it is a link or a mention."""
    block = {"type": "section", "text": {"type": "plain_text", "text": text[:2900], "emoji": False}}
    return {"response_type": "ephemeral", "replace_original": False, "text": "Mamori", "blocks": [block]}

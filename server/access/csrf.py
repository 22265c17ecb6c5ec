"""The token against cross-site requests: derived from the session's cookie, so nothing needs to be kept for it.

A page of ours learns it from `GET /v1/session` and sends it as `X-CSRF-Token`; a foreign page can make a browser send
the cookie, but it can neither read nor compute the token.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Final

HEADER: Final = "x-csrf-token"
SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
"""Methods that change nothing (RFC 9110, section 9.2.1)."""


def csrf_token(secret: str) -> str:
    """The token of the session whose cookie has this value."""
    return hmac.new(secret.encode("utf-8", "surrogatepass"), b"mamori csrf", hashlib.sha256).hexdigest()


def csrf_matches(secret: str, given: str) -> bool:
    """Compares in constant time."""
    return hmac.compare_digest(csrf_token(secret).encode(), given.encode("utf-8", "surrogatepass"))

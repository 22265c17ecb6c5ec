"""What can go wrong at the server's edges.

```
MamoriError
├── PeerError            the peer's fault; says what was expected, never quotes what was sent
│   ├── EventError       one event; answered by a nack, the connection goes on
│   └── RequestError     one HTTP request or command
├── OverloadedError           refused now, with a time to come back
├── KeptError            something cannot be deleted, for a reason that the house knows
├── StorageError         the log or the database did not take a write
│   └── FencedError      somebody else owns the partition by now
└── SetupError           settings, files or arguments; the message is for the person at the shell
```
"""

from __future__ import annotations

from collections.abc import Mapping


class MamoriError(Exception):
    """Base of all errors that the server raises on purpose."""


class PeerError(MamoriError):
    """The peer sent something that cannot be used.

    Args:
        code: machine-readable, one of the protocol's.
        message: what was expected; it never holds transcript text, numbers or tokens.
        field: path of the field, or empty.
    """

    def __init__(self, code: str, message: str, *, field: str = "") -> None:
        super().__init__(f"{field + ': ' if field else ''}{message}")
        self.code = code
        self.message = message
        self.field = field


class EventError(PeerError):
    """One event is wrong.

    Args:
        call_id, seq: of the event, as far as they could be read.
        expected: for `gap`, the number that should have come.
        retry: whether the same event may be sent again.
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        field: str = "",
        call_id: str | None = None,
        seq: int | None = None,
        retry: bool = False,
        expected: int | None = None,
    ) -> None:
        super().__init__(code, message, field=field)
        self.expected = expected
        self.call_id = call_id
        self.seq = seq
        self.retry = retry


class RequestError(PeerError):
    """One request or command is wrong; `status` is the HTTP status, `headers` go with it."""

    def __init__(
        self,
        code: str,
        message: str,
        *,
        field: str = "",
        status: int = 400,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(code, message, field=field)
        self.status = status
        self.headers = dict(headers or {})


class OverloadedError(MamoriError):
    """There is no room now; come back after `retry_after_ms`."""

    def __init__(self, retry_after_ms: int) -> None:
        super().__init__(f"overloaded, retry after {retry_after_ms} ms")
        self.retry_after_ms = retry_after_ms


class KeptError(MamoriError):
    """Something must be kept; `code` is `held` or `live`, the message names the calls."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class StorageError(MamoriError):
    """A write did not become durable."""


class FencedError(StorageError):
    """Somebody else owns the partition by now; nothing of the write counts."""


class SetupError(MamoriError):
    """The product is set up wrongly; the message names the file, line or field."""

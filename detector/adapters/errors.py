"""What can be wrong with a platform's message.

```
ValueError
└── AdapterError         the message as a whole cannot be read; nothing of it was taken
    └── FieldError       one field of it is missing or wrong; the items beside it are taken
```
"""

from __future__ import annotations


class AdapterError(ValueError):
    """A message cannot be read.

    Args:
        message: what was expected; it never quotes what came.
        field: path of the field, or empty.
        code: `bad_json` when it is not JSON (or a form), else `bad_event`.
    """

    def __init__(self, message: str, *, field: str = "", code: str = "bad_event") -> None:
        super().__init__(f"{field + ': ' if field else ''}{message}")
        self.message = message
        self.field = field
        self.code = code


class FieldError(AdapterError):
    """One field is missing or wrong."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message, field=field)

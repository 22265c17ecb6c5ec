"""How the log reads: one event a line, fields apart from the words, UTC. No transcript, number or token is ever a field."""

from __future__ import annotations

import json
import logging
import sys
import time
import traceback
from pathlib import Path
from typing import Any, Final, Literal

from pythonjsonlogger.core import RESERVED_ATTRS
from pythonjsonlogger.json import JsonFormatter

LogFormat = Literal["text", "json"]
LogLevel = Literal["debug", "info", "warning", "error"]

_TIME: Final = "%Y-%m-%dT%H:%M:%S"
_OWN: Final = frozenset({*RESERVED_ATTRS, "taskName", "color_message"})
"""Attributes of every record (`color_message`: uvicorn's second copy of its message); all others are an event's fields."""


class TextFormatter(logging.Formatter):
    """For people: time, level, name and message, then the event's fields as `name=value`, quoted as JSON where needed."""

    converter = time.gmtime  # type: ignore[assignment]  # typeshed knows the class attribute by its default alone
    default_time_format = _TIME
    default_msec_format = "%s.%03dZ"

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the name that logging calls
        """The line without a traceback."""
        fields = [f"{name}={_shown(value)}" for name, value in vars(record).items() if name not in _OWN]
        # No message may begin a line of its own, or a sender could write lines that pass for ours.
        return " ".join([super().formatMessage(record), *fields]).replace("\n", "\\n").replace("\r", "\\r")


def _shown(value: Any) -> str:
    plain = isinstance(value, str) and value.isascii() and value.replace("_", "").replace("-", "").isalnum()
    return str(value) if plain else json.dumps(value, ensure_ascii=False, default=str)


def formatter(form: LogFormat) -> logging.Formatter:
    """The formatter of a form."""
    if form == "text":
        return TextFormatter()
    made = JsonFormatter(
        ["asctime", "levelname", "name", "message"],
        rename_fields={"asctime": "time", "levelname": "level", "name": "logger", "message": "event"},
        reserved_attrs=_OWN,
    )
    made.converter = time.gmtime
    made.default_time_format, made.default_msec_format = _TIME, "%s.%03dZ"
    return made


def fault(error: BaseException) -> dict[str, str]:
    """The fields of an error that nobody foresaw: its type and where it arose, never its message, which may hold words."""
    frames = traceback.extract_tb(error.__traceback__)
    at = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    return {"error": type(error).__name__, "at": at}


def set_up(level: LogLevel, form: LogFormat) -> None:
    """Sends the log of the whole process to standard error.

    Args:
        level: the least grave that is written; `info` holds one canonical line for every call that ended.
        form: `text` for people, `json` for collectors.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter(form))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)

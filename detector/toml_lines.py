"""Where in a TOML file a field stands, so that a mistake can be named with its line."""

from __future__ import annotations

import re
from collections.abc import Sequence


def line_of(lines: Sequence[str], path: tuple[str, ...]) -> int:
    """The line, from 1, that a field stands on, else that of the table it belongs to; 0 when neither is written."""
    table: tuple[str, ...] = ()
    fallback, depth = 0, 0
    for number, line in enumerate(lines, 1):
        header = re.match(r"\s*\[\[?([^\[\]]+)\]\]?", line)
        if header:
            table = tuple(part.strip().strip("\"'") for part in header[1].split("."))
            if table[: len(path)] == path:
                return number
        else:
            key = re.match(r"\s*([\w.\"'-]+)\s*=", line)
            here = (*table, *(part.strip("\"'") for part in key[1].split("."))) if key else ()
            if key and here == path:
                return number
            if key and here and path[: len(here)] == here and len(here) > depth:
                fallback, depth = number, len(here)
            continue
        if path[: len(table)] == table and len(table) > depth:
            fallback, depth = number, len(table)
    return fallback

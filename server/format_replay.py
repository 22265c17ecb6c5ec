"""Files with messages in a platform's own format, for `mamori replay --format`: one message a line, or one file."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from detector.adapters.errors import AdapterError
from detector.adapters.folding import feed
from detector.adapters.frame import Envelope, Format
from detector.adapters.source import Source
from detector.events import CallEnded, CallEvent, CallStarted, Segment
from detector.replaying import media_time_ms
from server.errors import SetupError
from server.format_client import FormatClient


def read_messages(path: Path) -> list[tuple[int, bytes]]:
    """Messages with their lines: the file as a whole where it is one JSON document, else one a line.

    Raises:
        SetupError: the file cannot be read.
    """
    try:
        data = sys.stdin.buffer.read() if str(path) == "-" else path.read_bytes()
    except OSError as error:
        raise SetupError(f"{path}: {error.strerror}") from None
    try:
        whole = json.loads(data)
    except ValueError:
        return [(number, line) for number, line in enumerate(data.splitlines(), 1) if line.strip()]
    parts = whole if isinstance(whole, list) else [whole]
    return [(1, json.dumps(part, ensure_ascii=False).encode("utf-8", "surrogatepass")) for part in parts]


def queries_for(form: Format, paths: Sequence[Path], queries: Sequence[str]) -> list[dict[str, str]]:
    """The address's parameters for each file.

    Args:
        queries: as `call_id=c-1&speaker=agent`: none, one for all files, or one for each.

    Raises:
        SetupError: another number of them, or one that is no query.
    """
    if len(queries) not in (0, 1, len(paths)):
        raise SetupError("--query: give it once, or once for each file")
    found = []
    for index, path in enumerate(paths):
        written = queries[index if len(queries) == len(paths) else 0] if queries else ""
        pairs = [part.partition("=") for part in written.split("&") if part]
        if any(not name or not separator for name, separator, _ in pairs):
            raise SetupError("--query: expected name=value, joined by &")
        query = {name: value for name, _, value in pairs}
        if form.one_call and not form.names_calls:
            query.setdefault("call_id", path.stem if str(path) != "-" else "stdin")
        found.append(query)
    return found


def read_format(form: Format, paths: Sequence[Path], queries: Sequence[str]) -> tuple[list[CallEvent], Source]:
    """Adapts files; several are merged by the events' own times, as the two sides of one call are.

    Returns:
        The events, and the source with its counts and reports.

    Raises:
        SetupError: names file, line and field.
    """
    source = Source()
    events: list[CallEvent] = []
    for path, query in zip(paths, queries_for(form, paths, queries), strict=True):
        for number, data in read_messages(path):
            try:
                source, more = feed(form, source, data, Envelope(query=query))
            except AdapterError as error:
                raise SetupError(f"{path}:{number}: {error}") from None
            events += more
    if len(paths) > 1:
        events.sort(key=_place)
    return events, source


def _place(event: CallEvent) -> float:
    if isinstance(event.body, CallStarted):
        return -1.0
    if isinstance(event.body, CallEnded):
        return float("inf")
    if isinstance(event.body, Segment):
        return event.body.start_ms if event.body.is_final else event.body.end_ms
    return media_time_ms(event.body) or 0


async def stream_format(
    form: Format, paths: Sequence[Path], queries: Sequence[str], *, url: str, token: str | None
) -> int:
    """Sends files to a server, as they are.

    Returns:
        How many messages were acknowledged.
    """
    sent = 0
    for path, query in zip(paths, queries_for(form, paths, queries), strict=True):
        async with FormatClient(url, form.name, token=token, query=query) as client:
            await client.reach()
            for _, data in read_messages(path):
                await client.send(data)
                sent += 1
    return sent


def summary(source: Source) -> list[str]:
    """What a person should read about the files."""
    lines = [f"{report.kind.value}: {report.detail}" for report in source.take_reports()]
    return [*lines, ", ".join(f"{count} {name}" for name, count in sorted(source.counts.items()))]

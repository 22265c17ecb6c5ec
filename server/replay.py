"""`mamori replay`: events from files through the detector, in process or against a server."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from detector.alerts import AlertEvent
from detector.events import CallEvent, Segment, SegmentRedacted
from detector.playbook import Playbook
from detector.replaying import Replay, media_time_ms
from detector.rules import Rules
from detector.scoring import Scorer
from server.client import IngestClient
from server.errors import EventError, SetupError
from server.redaction import HousePatterns, redact_event
from server.running_digits import RunningDigits
from server.wire import decode_event

_log = logging.getLogger("mamori.client")


def read_events(paths: Iterable[Path]) -> Iterator[CallEvent]:
    """Reads events, one JSON object a line; calls may interleave.

    Raises:
        SetupError: names file, line and field.
    """
    return (event for _, event in _read(paths))


def _read(paths: Iterable[Path]) -> Iterator[tuple[dict[str, Any], CallEvent]]:
    """Events as they are written, and as they are read."""
    for path in paths:
        found = False
        with _open(path) as file:
            for number, line in enumerate(file, 1):
                if not line.strip():
                    continue
                try:
                    item = json.loads(line.decode("utf-8"))
                    event = decode_event(item)
                except UnicodeDecodeError:
                    raise SetupError(f"{path}:{number}: not UTF-8") from None
                except (ValueError, RecursionError):
                    raise SetupError(f"{path}:{number}: not JSON") from None
                except EventError as error:
                    raise SetupError(f"{path}:{number}: {error}") from None
                found = True
                yield item, event
        if not found:
            _log.warning("%s: no events", path)


def _open(path: Path) -> BinaryIO:
    if str(path) == "-":
        return sys.stdin.buffer
    try:
        return path.open("rb")
    except OSError as error:
        raise SetupError(f"{path}: {error.strerror}") from None


def change_message(event: AlertEvent) -> dict[str, Any]:
    """An alert event as the stream sends it, without a cursor."""
    message: dict[str, Any] = {"type": event.type.value, "alert": msgspec.to_builtins(event.alert)}
    if event.changed:
        message["changed"] = list(event.changed)
    return message


def replay(
    events: Iterable[CallEvent],
    *,
    scorer: Scorer,
    rules: Rules,
    playbook: Playbook,
    gate: Any,
    patterns: HousePatterns = (),
) -> Iterator[AlertEvent]:
    """Recomputes the alerts of the calls, in the events' own time, masked as a server would mask them.

    Args:
        patterns: the house's own personal data.
    """
    run = Replay(rules=rules, playbook=playbook, score=scorer.score, gate=gate)
    languages: dict[str, str] = {}
    running: dict[str, RunningDigits] = {}
    for event in events:
        language = getattr(event.body, "language", "") or languages.get(event.call_id, "ja")
        languages.setdefault(event.call_id, language)
        clean = replace(redact_event(event, languages[event.call_id], patterns), caller=None)
        masked: list[SegmentRedacted] = []
        if isinstance(clean.body, Segment):
            digits = running.setdefault(event.call_id, RunningDigits())
            segment, masked = digits.take(clean.body, languages[event.call_id])
            clean = replace(clean, body=segment)
        yield from run.feed(clean)
        for item in masked:
            yield from run.feed_stored(run.calls[event.call_id], item)
    yield from run.finish()


def compare(before: list[AlertEvent], after: list[AlertEvent]) -> dict[str, Any]:
    """What other rules change: alerts gained, lost, and of another highest level, by call and kind."""

    def peaks(changes: list[AlertEvent]) -> dict[tuple[str, str], str]:
        found: dict[tuple[str, str], str] = {}
        for change in changes:
            key = (change.alert.call_id, change.alert.kind.value)
            if change.type.value == "alert.retracted":
                found.pop(key, None)
            else:
                found[key] = change.alert.level.value
        return found

    old, new = peaks(before), peaks(after)
    return {
        "gained": [{"call_id": c, "kind": k, "level": new[c, k]} for c, k in sorted(new.keys() - old.keys())],
        "lost": [{"call_id": c, "kind": k, "level": old[c, k]} for c, k in sorted(old.keys() - new.keys())],
        "changed": [
            {"call_id": c, "kind": k, "before": old[c, k], "after": new[c, k]}
            for c, k in sorted(old.keys() & new.keys())
            if old[c, k] != new[c, k]
        ],
    }


async def stream(paths: list[Path], *, url: str, token: str | None, speed: float | None) -> tuple[int, int]:
    """Sends files to a server.

    Args:
        speed: times real time, or None for as fast as the server acknowledges.

    Returns:
        How many events were sent, and how many of them were acknowledged.

    Raises:
        SetupError: names file, line and field.
        UnreachableError, RefusedError: there is no server, or it does not let us in.
        TimeoutError: the rest was not acknowledged within a minute.
    """
    refused: list[int | None] = []

    def note(nack: dict[str, Any]) -> None:
        if not nack["retry"]:
            refused.append(nack["seq"])
            _log.warning("event %s refused: %s %s: %s", nack["seq"], nack["code"], nack["field"] or "", nack["message"])

    loop = asyncio.get_running_loop()
    timed = [(media_time_ms(event.body) or 0, index, item) for index, (item, event) in enumerate(_read(paths))]
    if speed is not None:
        timed.sort(key=lambda entry: entry[:2])
    async with IngestClient(url, token=token, on_nack=note) as client:
        await client.reach()
        started_s = loop.time()
        for at_ms, _, item in timed:
            if speed is not None:
                await asyncio.sleep(max(0.0, started_s + at_ms / 1000 / speed - loop.time()))
            await client.send({key: value for key, value in item.items() if key != "seq"})
    return len(timed), len(timed) - len(refused)

"""The alert stream as server-sent events (WHATWG HTML, section 9.2): the cursor is the event id, so a browser resumes by itself."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Final

from server.alerts import AlertStream, Told
from server.auth import Gate, Principal

KEEP_ALIVE_S: Final = 15.0
"""A comment is sent after so long a silence, so that a proxy keeps the connection and a dead one is noticed."""
RETRY_MS: Final = 1_000
"""After how long a browser reconnects."""


def resume_point(last_event_id: str, after: int | None) -> int | None:
    """The cursor to resume after: `Last-Event-ID` before the query, which a browser repeats as it was at first."""
    good = last_event_id.isascii() and last_event_id.isdigit() and len(last_event_id) <= 18
    return int(last_event_id) if good else after


async def event_lines(
    stream: AlertStream, gate: Gate, who: Principal, cursor: int | None, *, keep_alive_s: float = KEEP_ALIVE_S
) -> AsyncIterator[str]:
    """Yields the stream's text until the listener is too slow or their credential no longer stands."""
    yield f"retry: {RETRY_MS}\n\n"
    messages = stream.messages(cursor)
    following = asyncio.ensure_future(anext(messages, None))
    checked_s = time.monotonic()
    try:
        while True:
            done, _ = await asyncio.wait({following}, timeout=keep_alive_s)
            if time.monotonic() - checked_s >= gate.recheck_s:
                checked_s = time.monotonic()
                if not await asyncio.to_thread(gate.stands, who):
                    return
            if not done:
                yield ": alive\n\n"
                continue
            found = following.result()
            if found is None:
                return
            following = asyncio.ensure_future(anext(messages, None))
            yield _event(found)
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
        await messages.aclose()


def _event(told: Told) -> str:
    head = f"id: {told.cursor}\n" if told.cursor is not None else ""
    return f"{head}event: {told.kind}\ndata: {told.body.decode()}\n\n"

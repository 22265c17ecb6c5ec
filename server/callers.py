"""The rights of callers: what is stored of one is handed out, or forgotten for good.

The order of a deletion: what must be kept is refused; the hash goes on the list of the forgotten; then the data go. A crash in
between is mended by the next start, which goes through the list again, as it does after an older backup was put back.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from detector.desk import utc_text
from server.errors import SetupError
from server.forgotten import Forgotten, add_forgotten, read_forgotten
from server.incident import assemble
from server.storage.callers import Gone, calls_of, check_free, ledger_of
from server.storage.callers import forget_caller as forget_stored
from server.storage.casefile import read_sources
from server.storage.port import Words
from server.storage.statedb import StateDatabase

FORMAT: Final = "mamori.caller/1"
HASH_CHARS: Final = 64
"""Of a caller's keyed hash: SHA-256 in hexadecimal digits."""

_log = logging.getLogger("mamori.callers")


def read_key(text: str) -> str:
    """A caller's keyed hash as somebody wrote it.

    Raises:
        SetupError: it is none.
    """
    key = text.strip().lower()
    if len(key) != HASH_CHARS or not set(key) <= set("0123456789abcdef"):
        raise SetupError(f"caller_key: expected {HASH_CHARS} hexadecimal digits")
    return key


class Callers:
    """What the house can do for a caller.

    Args:
        state, words: where everything is stored.
        forgotten: the list.
        utc_ms: UTC, milliseconds since 1970.
    """

    def __init__(self, state: StateDatabase, words: Words, forgotten: Path, utc_ms: Callable[[], int]) -> None:
        self._state = state
        self._words = words
        self._forgotten = forgotten
        self._utc_ms = utc_ms

    def export(
        self, tenant: str, caller_key: str, *, personal: bool, after: str = "", limit: int | None = None
    ) -> dict[str, Any]:
        """All that is stored of a caller: their calls as incident reports, oldest first, and what the ledger holds.

        Args:
            personal: whether the house's own people are named and their notes are shown.
            after: the instance that the page before ended with (its `next`); empty for the first page.
            limit: of calls; None for all. Where there are more, `next` says behind which to go on.

        Raises:
            SetupError: the caller has no call `after` which to go on.
        """
        records = calls_of(self._state, self._words, tenant, caller_key)
        if after:
            at = next((number for number, item in enumerate(records, 1) if item.instance == after), None)
            if at is None:
                raise SetupError("after: expected the `next` of the page before")
            records = records[at:]
        page = records[:limit]
        calls = [
            assemble(
                read_sources(self._state.engine, self._state.bodies, record, self._words.read_call), personal=personal
            )
            for record in page
        ]
        return {
            "format": FORMAT,
            "caller_key": caller_key,
            "exported_at": utc_text(self._utc_ms()),
            "calls": calls,
            "next": page[-1].instance if len(page) < len(records) else None,
            "ledger": [
                {"instance": entry["instance"], "at": utc_text(entry["utc_ms"]), "raisings": entry["raisings"]}
                for entry in ledger_of(self._state, tenant, caller_key)
            ],
        }

    def forget(self, tenant: str, caller_key: str) -> int:
        """Deletes all that is stored of a caller; returns how many calls lost their words.

        Raises:
            KeptError: a call is under legal hold or still under way; nothing was deleted.
            SetupError: the list cannot be written; nothing was deleted.
        """
        with self._words.deciding():
            check_free(self._words, calls_of(self._state, self._words, tenant, caller_key))
            item = Forgotten(tenant=tenant, caller_key=caller_key, utc_ms=self._utc_ms())
            add_forgotten(self._forgotten, [item])
            return self._apply(item).calls

    def again(self) -> Gone:
        """Goes through the list: what an older backup brought back goes once more.

        Raises:
            SetupError: the list cannot be read.
        """
        latest: dict[tuple[str, str], Forgotten] = {}
        for item in read_forgotten(self._forgotten):
            known = latest.get((item.tenant, item.caller_key))
            if known is None or known.utc_ms < item.utc_ms:
                latest[item.tenant, item.caller_key] = item
        with self._words.deciding():
            found = [self._apply(item) for item in latest.values()]
        gone = Gone(calls=sum(item.calls for item in found), kept=sum(item.kept for item in found))
        if gone.calls:
            _log.warning("calls of forgotten callers were there again and are gone", extra={"calls": gone.calls})
        if gone.kept:
            _log.warning("calls of forgotten callers are under legal hold", extra={"calls": gone.kept})
        return gone

    def _apply(self, item: Forgotten) -> Gone:
        return forget_stored(
            self._state, self._words, item.tenant, item.caller_key, began_by_ms=item.utc_ms, now_ms=self._utc_ms()
        )

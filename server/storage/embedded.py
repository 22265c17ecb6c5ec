"""The embedded engine: day logs and a state database on SQLite, written by one thread with group commit.

Batches queue up while the last transaction runs and become the next one, so there is no fixed delay and the rate grows
with the load. The day log commits first, the records that follow from it second: after a crash between the two, the
fold of the log makes them again. So what is in the log is never refused, or a restart would fold what the live call did
not: while the state database takes no writes, they are tried again and all else waits.
"""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Final

from server.clock import SYSTEM
from server.storage.aside import purge_aside
from server.storage.daylog import DayLog, day_of
from server.storage.keyfile import KeySource, current_ids, open_vault
from server.storage.lock import Held, serve, share, shared
from server.storage.port import Batch, Stored, merged
from server.storage.queued import QueuedLog, split
from server.storage.retention import forget_old
from server.storage.statedb import StateDatabase, open_engine
from server.storage.vault import PLAIN, Vault

SCRUB_EVERY_S: Final = 1.0
"""At most so often are the journals emptied of what was masked after the fact."""

_log = logging.getLogger("mamori.storage")


class EmbeddedLog(QueuedLog):
    """The `Log` port on SQLite.

    Args:
        data_dir: directory of all files; made when absent, readable by its owner only.
        now_ms: UTC in milliseconds since 1970.
        vault: seals what people said, from `keyfile.open_vault`.
        lock: to be let go with the files.

    Raises:
        SetupError: something that must be alone in the directory is at work.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        now_ms: Callable[[], int] = SYSTEM.utc_ms,
        vault: Vault = PLAIN,
        lock: Held | None = None,
    ) -> None:
        self._locks = [share(data_dir), *([lock] if lock is not None else ())]
        self._data_dir = data_dir
        self._days = DayLog(data_dir / "log", vault)
        self._now_ms = now_ms
        self._unscrubbed, self._scrub_due_s = False, 0.0
        super().__init__(StateDatabase(open_engine(data_dir / "state.sqlite"), vault))

    @property
    def words(self) -> DayLog:
        """The day files, for what reaches back into them."""
        return self._days

    def read_call(self, tenant: str, instance: str, *, after: int = -1) -> Iterator[Stored]:
        """A call's rows after a position, in order."""
        return self._days.read_call(tenant, instance, after=after)

    def read_many(self, wanted: Sequence[tuple[str, str, int]]) -> Iterator[tuple[int, list[Stored]]]:
        """Rows of many calls, each file opened once."""
        return self._days.read_many(wanted)

    def purge(self, *, keep_days: int, keep_record_days: int) -> int:
        """Unlinks day files older than `keep_days`, takes the words of that age out of alerts, and deletes what is left
        of calls that ended more than `keep_record_days` ago, and copies that were set aside; calls under hold stay.

        Returns:
            How many day files went.
        """
        now_ms = self._now_ms()
        first = day_of(now_ms) - timedelta(days=keep_days)
        with self._days.deciding():
            held = self._days.held()
            gone = len(self._days.purge(first))
            forget_old(
                self._state.engine,
                self._state.bodies,
                now_ms=now_ms,
                keep_days=keep_days,
                keep_record_days=keep_record_days,
                held=held,
            )
            purge_aside(self._data_dir, now_ms=now_ms, keep_days=keep_days)
        self.scrub_soon()
        return gone

    def scrub_soon(self) -> None:
        """Words were overwritten beside the writer: the journals are emptied of them, where a reader holds one a little later."""
        if not (self._state.scrub() and self._days.clean):
            self._unscrubbed = True

    def free_bytes(self) -> int:
        """Free bytes of the disk that the data directory is on."""
        return shutil.disk_usage(self._data_dir).free

    def close(self) -> None:
        """Writes what is queued and closes the files; a second call does nothing."""
        if self._end_writer():
            self._state.engine.dispose()
            if not self._thread.is_alive():
                for lock in self._locks:
                    lock.close()

    def _pause_s(self) -> float | None:
        return SCRUB_EVERY_S if self._unscrubbed else None

    def _tidy(self) -> None:
        if self._unscrubbed and time.monotonic() >= self._scrub_due_s:
            self._scrub()

    def _ended(self) -> None:
        self._days.close()

    def _scrub(self) -> None:
        """Takes what was masked out of the journals as well; while a reader holds one it is tried again."""
        self._scrub_due_s = time.monotonic() + SCRUB_EVERY_S
        try:
            done = [self._days.scrub(), self._state.scrub()]
            self._unscrubbed = not all(done)
        except Exception as error:
            _log.warning("journal not emptied", extra={"error": type(error).__name__})

    def _write_rows(self, batches: list[Batch]) -> list[tuple[int, ...]]:
        rows = [row for batch in batches for row in batch.rows]
        probing = any(batch.probe for batch in batches)
        positions = self._days.write(rows, now_ms=self._now_ms()) if rows or probing else []
        return split(positions, [len(batch.rows) for batch in batches])

    def _write_records(self, batches: list[Batch]) -> list[tuple[int | None, ...]]:
        records = merged(batches)
        if records.redactions:
            self._days.redact(records.redactions)
            self._unscrubbed = True
        cursors = self._state.write(records)
        return split(cursors, [len(batch.alerts) for batch in batches])


def serving_log(data_dir: Path, source: KeySource) -> EmbeddedLog:
    """The log of the directory's one server.

    Raises:
        SetupError: a key is missing or wrong, or the directory is another's.
    """
    with shared(data_dir):  # The keys that are read are still right when they are used.
        vault = open_vault(data_dir, source)
        return EmbeddedLog(data_dir, vault=vault, lock=serve(data_dir, current_ids(vault)))

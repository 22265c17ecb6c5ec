"""Keeps the budgets of attention over a restart: each decision that counted, for as long as it counts.

A decision is made at once and written a moment later, on a thread of its own: an alert never waits for the disk because of
it. What a crash loses in that moment makes at most that many alerts louder than they should have been, never quieter.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from typing import Final

import sqlalchemy as sa

from server.attention import Attentions, Spent
from server.storage.dialect import insert
from server.storage.tables import ATTENTION

MAX_UNSAVED: Final = 20_000
"""Decisions that wait for the disk; at more the oldest are left unsaved, as a crash would leave them."""
RETRY_S: Final = 1.0

_log = logging.getLogger("mamori.attention")


class AttentionStore:
    """The table of decisions, and the task that fills it.

    Args:
        engine: of the state database.
        window_s: seconds for which a decision counts.
        utc_ms: UTC, milliseconds since 1970.
    """

    def __init__(self, engine: sa.Engine, *, window_s: float, utc_ms: Callable[[], int]) -> None:
        self._engine = engine
        self._window_ms = round(window_s * 1000)
        self._utc_ms = utc_ms
        self._unsaved: deque[tuple[int, Spent]] = deque(maxlen=MAX_UNSAVED)
        self._some = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._stopping = False

    async def start(self, attentions: Attentions) -> None:
        """Restores the budgets, and keeps what they spend from now on."""
        attentions.restore(await asyncio.to_thread(self.read))
        attentions.spent = self._spent
        self._task = asyncio.create_task(self._keep())

    async def stop(self) -> None:
        """Writes what is left."""
        self._stopping = True
        self._some.set()
        if self._task is not None:
            await self._task

    def read(self) -> list[Spent]:
        """Decisions that still count, oldest first."""
        now_ms = self._utc_ms()
        query = sa.select(ATTENTION).where(ATTENTION.c.utc_ms > now_ms - self._window_ms)
        with self._engine.connect() as connection:
            return [
                Spent(
                    tenant=row.tenant,
                    name=row.name,
                    cursor=row.cursor,
                    alert_id=row.alert_id,
                    loud=row.loud,
                    muted=row.muted,
                    age_s=max(0, now_ms - row.utc_ms) / 1000,
                )
                for row in connection.execute(query.order_by(ATTENTION.c.utc_ms, ATTENTION.c.cursor))
            ]

    def _spent(self, item: Spent) -> None:
        self._unsaved.append((self._utc_ms(), item))
        self._some.set()

    async def _keep(self) -> None:
        while not self._stopping:
            await self._some.wait()
            self._some.clear()
            try:
                await asyncio.to_thread(self._write)
            except sa.exc.SQLAlchemyError as error:
                _log.error("budgets not saved, tried again", extra={"error": type(error).__name__})
                self._some.set()
                await asyncio.sleep(RETRY_S)

    def _write(self) -> None:
        """Writes what waits, and forgets what counts no more."""
        rows = list(self._unsaved)
        with self._engine.begin() as connection:
            connection.execute(ATTENTION.delete().where(ATTENTION.c.utc_ms <= self._utc_ms() - self._window_ms))
            if rows:
                connection.execute(
                    insert(connection, ATTENTION).on_conflict_do_nothing(),
                    [
                        {
                            "tenant": item.tenant, "name": item.name, "cursor": item.cursor, "utc_ms": at_ms,
                            "alert_id": item.alert_id, "loud": item.loud, "muted": item.muted,
                        }
                        for at_ms, item in rows
                    ],
                )  # fmt: skip
        for _ in rows:
            self._unsaved.popleft()

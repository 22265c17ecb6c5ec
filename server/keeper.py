"""Keeps the loops of the server going: one whose work fails or hangs is noted and goes on, and what failed is seen.

Knows nothing of what the loops do. A failure is seen until the work has gone well again for `WELL_S`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from sqlalchemy.exc import SQLAlchemyError

from server.errors import StorageError
from server.logs import fault

WELL_S: Final = 3.0
"""A loop that went well for so long is taken to be well: long enough for a probe of `/readyz` once a second to see it."""
LIMIT_S: Final = 20.0
"""Work that takes longer is broken off: four times what the database waits for a lock."""
PAUSE_S: Final = 0.5
"""Before work that failed is done again, so that it does not fill the log."""

START_PAUSES_S: Final = (0.5, 1.0, 2.0, 4.0, 8.0, 8.0)
"""Between the tries of a step of the start that needs another server; after the last the start fails, for whoever started the
process to start it again."""

T = TypeVar("T")

_log = logging.getLogger("mamori.keeper")


async def insist(step: Callable[[], Awaitable[T]]) -> T:
    """Does a step of the start, again while what it needs does not answer.

    Args:
        step: may be done again after it failed.

    Raises:
        StorageError, SQLAlchemyError: it failed after the last pause as well.
    """
    for pause_s in START_PAUSES_S:
        try:
            return await step()
        except (StorageError, SQLAlchemyError) as error:
            said = str(error) if isinstance(error, StorageError) else f"database: {type(error).__name__}"
            _log.warning("%s, tried again", said)
            await asyncio.sleep(pause_s)
    return await step()


class Keeper:
    """The loops of one process.

    Args:
        monotonic: seconds.
        observe: hears of each failure, as `fault_` and the loop's name.
    """

    def __init__(
        self, monotonic: Callable[[], float], observe: Callable[[str, float], None] = lambda _name, _value: None
    ) -> None:
        self._monotonic = monotonic
        self.observe = observe
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._failed: dict[str, tuple[float, str]] = {}
        self._stopping = False

    def every(self, name: str, interval_s: float, work: Callable[[], Awaitable[None]]) -> None:
        """Does `work` again and again, `interval_s` apart, for ever."""

        async def forever() -> None:
            while True:
                await asyncio.sleep(interval_s)
                try:
                    async with asyncio.timeout(LIMIT_S):
                        await work()
                except Exception as error:
                    self.failed(name, error)
                    await asyncio.sleep(PAUSE_S)

        self.keep(name, forever)

    def keep(self, name: str, forever: Callable[[], Awaitable[None]]) -> None:
        """Runs what should never end; however it ends, it is started again."""

        async def run() -> None:
            await forever()

        def ended(task: asyncio.Task[None]) -> None:
            if self._stopping or self._tasks.get(name) is not task:
                return
            self.failed(name, RuntimeError() if task.cancelled() else task.exception() or RuntimeError())
            loop.call_later(PAUSE_S, again)

        def again() -> None:
            if not self._stopping:
                self._tasks[name] = task = loop.create_task(run())
                task.add_done_callback(ended)

        loop = asyncio.get_running_loop()
        again()

    def failed(self, name: str, error: BaseException) -> None:
        """Notes a failure of a loop, or of anything that has a name."""
        self._failed[name] = (self._monotonic(), type(error).__name__)
        self.observe(f"fault_{name}", 1)
        _log.error("failed, goes on", extra={"part": name, **fault(error)})

    @property
    def failing(self) -> dict[str, str]:
        """What failed within `WELL_S`, by name, as the error's class name."""
        since_s = self._monotonic() - WELL_S
        self._failed = {name: found for name, found in self._failed.items() if found[0] >= since_s}
        return {name: kind for name, (_, kind) in self._failed.items()}

    async def stop(self) -> None:
        """Ends all loops."""
        self._stopping = True
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

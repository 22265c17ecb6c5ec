"""The limit of open files: each connection takes one, and the usual soft limit of 1,024 would end a busy morning."""

from __future__ import annotations

import contextlib
import logging
import sys
from typing import Final

SPARE: Final = 200
"""Files beside the connections: log, databases, model, consoles, senders."""

_log = logging.getLogger("mamori.server")


def raise_file_limit(calls: int) -> int | None:
    """Raises the soft limit to the hard one, and warns when that is too low for a connection for each call.

    Args:
        calls: that are followed at once.

    Returns:
        The limit from now on, or None where the system has none (Windows).
    """
    if sys.platform == "win32":
        return None
    import resource  # noqa: PLC0415 - POSIX alone

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        soft = hard
    if soft != resource.RLIM_INFINITY and soft < calls + SPARE:
        _log.warning(
            "the limit of open files is too low for a connection for each call; raise it (LimitNOFILE, ulimit -n)",
            extra={"limit": soft, "needed": calls + SPARE},
        )
    return soft

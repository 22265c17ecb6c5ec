"""A candidate rules file beside the live one: every call is also folded under it, and where the two would have alerted
differently is reported. Nobody is alerted by a candidate.

Scores do not depend on rules, so the candidate costs the fold alone. Counts are of this process since its start; calls that
were open before it are not followed, for what the candidate would have made of their beginning is not known. What a
candidate would have made of all stored calls says `mamori replay --data-dir … --rules …`.
"""

from __future__ import annotations

import logging
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any, Final

from detector.alerts import AlertChange, AlertEvent
from detector.desk import Output
from detector.events import Input
from detector.playbook import Playbook
from detector.rules import Rules
from detector.session import CallSession
from server.storage.port import CallRecord

MAX_RECENT: Final = 200
"""Calls with differences that are remembered for each tenant, the newest."""

_log = logging.getLogger("mamori.shadow")


@dataclass(slots=True)
class _Followed:
    session: CallSession
    live: dict[str, str] = field(default_factory=dict)
    candidate: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class _Tally:
    calls: int = 0
    differing: int = 0
    changes: Counter[str] = field(default_factory=Counter)
    recent: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=MAX_RECENT))


class Shadow:
    """Follows calls under candidate rules.

    Args:
        rules: the candidate.
        playbook: of the house.
    """

    def __init__(self, rules: Rules, playbook: Playbook) -> None:
        self.rules = rules
        self._playbook = playbook
        self._followed: dict[tuple[str, str], _Followed] = {}
        self._tallies: dict[str, _Tally] = {}

    def open(self, record: CallRecord) -> None:
        """Follows a call from its beginning."""
        session = CallSession(
            tenant=record.tenant,
            call_id=record.call_id,
            instance=record.instance,
            rules=self.rules,
            playbook=self._playbook,
        )
        self._followed[record.tenant, record.instance] = _Followed(session)

    def fold(self, record: CallRecord, item: Input, outputs: Sequence[Output], *, utc_ms: int) -> None:
        """Folds what the live call has folded.

        Args:
            outputs: what the live rules made of it.
        """
        followed = self._followed.get((record.tenant, record.instance))
        if followed is None:
            return
        _note(followed.live, outputs)
        _note(followed.candidate, followed.session.receive(item, utc_ms=utc_ms))

    def close(self, record: CallRecord) -> None:
        """The call is over: what was different is counted and kept."""
        followed = self._followed.pop((record.tenant, record.instance), None)
        if followed is None:
            return
        tally = self._tallies.setdefault(record.tenant, _Tally())
        tally.calls += 1
        differences = [
            {"kind": kind, "live": followed.live.get(kind), "candidate": followed.candidate.get(kind)}
            for kind in sorted(followed.live.keys() | followed.candidate.keys())
            if followed.live.get(kind) != followed.candidate.get(kind)
        ]
        if not differences:
            return
        tally.differing += 1
        for difference in differences:
            change = "gained" if not difference["live"] else "lost" if not difference["candidate"] else "changed"
            tally.changes[f"{change}.{difference['kind']}"] += 1
        tally.recent.append({"call_id": record.call_id, "differences": differences})
        _log.info("shadow", extra={"call_id": record.call_id, "candidate": self.rules.version, "kinds": differences})

    def drop(self, record: CallRecord) -> None:
        """Another process follows the call from now on, live: its end is not seen here."""
        self._followed.pop((record.tenant, record.instance), None)

    def report(self, tenant: str) -> dict[str, Any]:
        """A tenant's calls since the start of the process: how many, how many differ and how, the newest by name."""
        tally = self._tallies.get(tenant, _Tally())
        return {
            "candidate": self.rules.version,
            "calls": tally.calls,
            "differing": tally.differing,
            "changes": dict(sorted(tally.changes.items())),
            "recent": list(tally.recent)[::-1],
        }


def together(reports: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The reports of several processes as one; the newest calls of each, in turns."""
    changes: Counter[str] = Counter()
    for report in reports:
        changes.update(report["changes"])
    recent = [
        item for row in zip_longest(*(report["recent"] for report in reports)) for item in row if item is not None
    ]
    return {
        "candidate": " ".join(sorted({report["candidate"] for report in reports})),
        "calls": sum(report["calls"] for report in reports),
        "differing": sum(report["differing"] for report in reports),
        "changes": dict(sorted(changes.items())),
        "recent": recent[:MAX_RECENT],
    }


def _note(levels: dict[str, str], outputs: Sequence[Output]) -> None:
    """Keeps each kind's level; what was taken back was never there."""
    for output in outputs:
        if not isinstance(output, AlertEvent):
            continue
        if output.type is AlertChange.RETRACTED:
            levels.pop(output.alert.kind.value, None)
        else:
            levels[output.alert.kind.value] = output.alert.level.value

"""How much harassment operators met lately, and who may need a break: load, never a ranking.

Names are for leads alone, in the order of the alphabet. Everybody else sees groups, and no group of fewer than five.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa

from server.reports import GRAVE
from server.storage.tables import CALLS

MIN_GROUP: Final = 5
"""Operators below which a group is not shown: from fewer, a person could be told apart."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakRule:
    """When a break is suggested.

    Args:
        calls: calls with a warning or above within the hours looked at.
        talk_ms: talk time on such calls, milliseconds.
    """

    calls: int
    talk_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What one operator met.

    Args:
        calls: all calls of theirs.
        grave: of them, those that reached a warning or above.
        grave_talk_ms: talk time on these.
    """

    agent_id: str
    queue: str
    calls: int
    grave: int
    grave_talk_ms: int


def loads(engine: sa.Engine, tenant: str, *, since_ms: int, until_ms: int, queues: frozenset[str] | None) -> list[Load]:
    """The load of each operator in each queue, in the order of their ids."""
    grave = sa.case((CALLS.c.level.in_(GRAVE), 1), else_=0)
    within = [CALLS.c.tenant == tenant, CALLS.c.started_ms >= since_ms, CALLS.c.started_ms < until_ms]
    if queues is not None:
        within.append(CALLS.c.queue.in_(sorted(queues)))
    query = (
        sa.select(
            CALLS.c.agent_id,
            CALLS.c.queue,
            sa.func.count().label("calls"),
            sa.func.sum(grave).label("grave"),
            sa.func.sum(grave * CALLS.c.talk_ms).label("grave_talk_ms"),
        )
        .where(*within, CALLS.c.agent_id != "")
        .group_by(CALLS.c.agent_id, CALLS.c.queue)
        .order_by(CALLS.c.agent_id, CALLS.c.queue)
    )
    with engine.connect() as connection:
        return [Load(**row._mapping) for row in connection.execute(query)]


def exposure(found: list[Load], rule: BreakRule, *, names: bool) -> dict[str, Any]:
    """Puts loads into words for one reader.

    Args:
        found: from `loads`.
        rule: when a break is suggested.
        names: whether the reader may see single operators.

    Returns:
        `groups` by queue, with `hidden` where there are too few; `agents` only with `names`.
    """
    result: dict[str, Any] = {"break_after": {"calls": rule.calls, "talk_ms": rule.talk_ms}, "groups": {}}
    by_queue: dict[str, list[Load]] = defaultdict(list)
    for load in found:
        by_queue[load.queue].append(load)
    for queue, members in sorted(by_queue.items()):
        if len(members) < MIN_GROUP:
            result["groups"][queue] = {"hidden": True}
            continue
        result["groups"][queue] = {
            "hidden": False,
            "agents": len(members),
            "calls": sum(load.calls for load in members),
            "calls_with_warning": sum(load.grave for load in members),
            "break_suggested": sum(_needs_break(load.grave, load.grave_talk_ms, rule) for load in members),
        }
    if names:
        result["agents"] = _agents(found, rule)
    return result


def _agents(found: list[Load], rule: BreakRule) -> list[dict[str, Any]]:
    whole: dict[str, dict[str, Any]] = {}
    for load in found:
        agent = whole.setdefault(
            load.agent_id, {"agent_id": load.agent_id, "calls": 0, "calls_with_warning": 0, "talk_ms_with_warning": 0}
        )
        agent["calls"] += load.calls
        agent["calls_with_warning"] += load.grave
        agent["talk_ms_with_warning"] += load.grave_talk_ms
    for agent in whole.values():
        agent["break_suggested"] = _needs_break(agent["calls_with_warning"], agent["talk_ms_with_warning"], rule)
    return list(whole.values())


def _needs_break(grave: int, talk_ms: int, rule: BreakRule) -> bool:
    return grave >= rule.calls or talk_ms >= rule.talk_ms

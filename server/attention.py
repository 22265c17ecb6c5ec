"""How much one supervisor can take: which alerts may make a sound or pop up, and what was kept quiet.

The alert itself always arrives. Below `escalate` each supervisor has a budget of loud alerts; what is beyond it is muted,
counted and listed, so that quiet never looks like calm. Where the queue's route names people, an alert is loud for those of
the tier that it waits for; once no tier is left, for everybody. All windows of one person share one budget.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from detector.alerts import AlertChange, AlertEvent
from detector.labels import Level
from server.routing import RoutingTable, tier_of

MAX_PEOPLE: Final = 10_000
"""People whose budgets are remembered; beyond it the one who was quiet for longest begins anew."""
MAX_REMEMBERED: Final = 1_000
"""Decisions of one person that are kept, so that a second window or a reconnect gets the same answer; the oldest go."""
MAX_MUTED: Final = 200
"""Muted alerts of one person that are listed; older ones are only counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attention:
    """How an alert event may show itself to one person.

    Args:
        loud: whether it may make a sound or pop up.
        reason: `new`, `budget` (muted), `other_tier` (somebody else's turn), `quiet` (nothing to hear), for the record.
        muted: alerts that the budget muted for this person in the running window.
    """

    loud: bool
    reason: str
    muted: int

    def message(self) -> dict[str, Any]:
        """As it goes out with the alert event."""
        return {"loud": self.loud, "reason": self.reason, "muted": self.muted}


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """A decision that counts against a person's budget, or that the budget made.

    Args:
        tenant, name: whose budget.
        cursor, alert_id: of the alert event.
        loud: whether it was heard; else the budget muted it.
        muted: alerts muted in the window as of this decision, this one included.
        age_s: seconds since it was made; 0 when it is made now.
    """

    tenant: str
    name: str
    cursor: int
    alert_id: str
    loud: bool
    muted: int
    age_s: float = 0.0

    @property
    def attention(self) -> Attention:
        """What the person was told."""
        return Attention(loud=self.loud, reason="new" if self.loud else "budget", muted=self.muted)


@dataclass(slots=True, kw_only=True)
class _Person:
    loud_at_s: deque[float] = field(default_factory=deque)
    muted: deque[tuple[float, str]] = field(default_factory=lambda: deque(maxlen=MAX_MUTED))
    decided: OrderedDict[int, Attention] = field(default_factory=OrderedDict)


class Attentions:
    """The budgets of all people of one process; `AttentionStore` carries them over a restart.

    Args:
        routing: whose turn an alert is.
        loud: loud alerts below `escalate` that one person gets within the window.
        window_s: seconds.
        monotonic: seconds.
        spent: hears of every decision that counts against a budget, or that a budget made.
    """

    def __init__(
        self,
        routing: RoutingTable,
        *,
        loud: int,
        window_s: float,
        monotonic: Callable[[], float],
        spent: Callable[[Spent], None] = lambda _: None,
    ) -> None:
        self.spent = spent
        self._routing = routing
        self._loud = loud
        self._window_s = window_s
        self._monotonic = monotonic
        self._people: OrderedDict[tuple[str, str], _Person] = OrderedDict()

    def decide(self, tenant: str, name: str, cursor: int, event: AlertEvent) -> Attention:
        """Decides for one person and one alert event; the same event gets the same answer again."""
        person = self._person(tenant, name)
        known = person.decided.get(cursor)
        if known is not None:
            return known
        self._expire(person)
        reason = self._reason(tenant, name, event)
        if reason == "new" and event.alert.level < Level.ESCALATE:
            loud = len(person.loud_at_s) < self._loud
            muted = min(MAX_MUTED, len(person.muted) + (not loud))
            item = Spent(tenant=tenant, name=name, cursor=cursor, alert_id=event.alert.alert_id, loud=loud, muted=muted)
            self._count(person, item)
            self.spent(item)
            return item.attention
        decided = Attention(loud=reason == "new", reason=reason, muted=len(person.muted))
        self._remember(person, cursor, decided)
        return decided

    def restore(self, spent: Iterable[Spent]) -> None:
        """Takes up decisions of before a restart, oldest first; those older than the window have no effect."""
        for item in spent:
            if item.age_s < self._window_s:
                self._count(self._person(item.tenant, item.name), item)

    def _count(self, person: _Person, item: Spent) -> None:
        at_s = self._monotonic() - item.age_s
        if item.loud:
            person.loud_at_s.append(at_s)
        else:
            person.muted.append((at_s, item.alert_id))
        self._remember(person, item.cursor, item.attention)

    @staticmethod
    def _remember(person: _Person, cursor: int, decided: Attention) -> None:
        person.decided[cursor] = decided
        if len(person.decided) > MAX_REMEMBERED:
            person.decided.popitem(last=False)

    def state(self, tenant: str, name: str) -> dict[str, Any]:
        """What a person's budget looks like now, and which alerts it muted."""
        person = self._person(tenant, name)
        self._expire(person)
        return {
            "budget": self._loud,
            "window_s": self._window_s,
            "left": max(0, self._loud - len(person.loud_at_s)),
            "muted": list(dict.fromkeys(alert_id for _, alert_id in person.muted)),
        }

    def _reason(self, tenant: str, name: str, event: AlertEvent) -> str:
        """Loud are a raise, a rise, a provisional alert confirmed, an alert that asks again, and one nobody took."""
        heard = event.type in (AlertChange.RAISED, AlertChange.UNATTENDED) or (
            event.type is AlertChange.UPDATED and not {"level", "state", "provisional"}.isdisjoint(event.changed)
        )
        if not heard:
            return "quiet"
        tier = self._routing.tier(tenant, event.alert.call.queue, tier_of(self._routing, tenant, event.alert))
        if tier is not None and tier.people and name not in tier.people:
            return "other_tier"
        return "new"

    def _person(self, tenant: str, name: str) -> _Person:
        key = (tenant, name)
        person = self._people.get(key)
        if person is None:
            if len(self._people) >= MAX_PEOPLE:
                self._people.popitem(last=False)
            person = self._people[key] = _Person()
        self._people.move_to_end(key)
        return person

    def _expire(self, person: _Person) -> None:
        before_s = self._monotonic() - self._window_s
        while person.loud_at_s and person.loud_at_s[0] <= before_s:
            person.loud_at_s.popleft()
        while person.muted and person.muted[0][0] <= before_s:
            person.muted.popleft()

"""The HTTP endpoints of delivery: senders, the outbox with its dead letters, replay."""

# Annotations are evaluated at once here: FastAPI reads the dependencies in them, which only exist within the methods.

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, FastAPI, Query
from pydantic import BaseModel, Field

from detector.desk import utc_text
from server.auth import WATCHERS, Gate, Principal, Role
from server.delivery.dispatch import Delivery
from server.delivery.outbox import Message, MessageState
from server.errors import RequestError
from server.http_access import needs
from server.storage.port import AuditEntry, Batch
from server.storage.queued import QueuedLog

KEEPERS = frozenset({Role.LEAD, Role.ADMIN})
"""Who may set delivery going again."""


class ReplayRequest(BaseModel):
    """Which dead letters to send again; none named for all."""

    sender: str | None = Field(default=None, max_length=64)


def message_fields(message: Message) -> dict[str, Any]:
    """A message as it is listed: neither body nor secrets."""
    return {
        "id": message.row_id,
        "sender": message.sender,
        "message_id": message.message_id,
        "alert_id": message.alert_id,
        "change": message.change,
        "level": message.level,
        "state": message.state.value,
        "attempts": message.attempts,
        "reason": message.reason,
        "created_at": utc_text(message.created_ms),
        "next_at": utc_text(message.next_ms) if message.state is MessageState.PENDING else None,
    }


class DeliveryApi:
    """The endpoints' handlers.

    Args:
        delivery: of this process.
        log: for the audit trail.
        gate: checks who is asking.
        utc_ms: UTC, milliseconds since 1970.
    """

    def __init__(self, delivery: Delivery, log: QueuedLog, gate: Gate, utc_ms: Callable[[], int]) -> None:
        self._delivery = delivery
        self._outbox = delivery.outbox
        self._log = log
        self._gate = gate
        self._utc_ms = utc_ms

    def mount(self, app: FastAPI) -> None:
        """Adds the routes."""
        router = APIRouter(prefix="/v1/delivery", tags=["delivery"])
        router.get("/senders")(self._senders())
        router.post("/senders/{name}/enable")(self._enable())
        router.post("/senders/{name}/test")(self._test())
        router.get("/outbox")(self._messages())
        router.post("/outbox/{message}/replay")(self._replay_one())
        router.post("/replay")(self._replay())
        app.include_router(router)

    def _senders(self) -> Any:
        async def senders(who: Annotated[Principal, needs(self._gate, WATCHERS)]) -> dict[str, Any]:
            """The tenant's senders: whether they work, and how many messages wait, were sent, were muted or are dead."""
            states = await asyncio.to_thread(self._outbox.senders, who.tenant)
            counts = await asyncio.to_thread(self._outbox.counts, who.tenant)
            items = []
            for name, state in states.items():
                sender = self._delivery.senders.get(name)
                items.append(
                    {
                        "name": name,
                        "kind": sender.config.kind.value if sender is not None else None,
                        "configured": sender is not None,
                        "failing": self._delivery.failures.get(name, ""),
                        "disabled_at": utc_text(state.disabled_ms) if state.disabled_ms is not None else None,
                        "disabled_reason": state.disabled_reason,
                        **{kind.value: counts.get((name, kind.value), 0) for kind in MessageState},
                    }
                )
            return {"senders": items}

        return senders

    def _enable(self) -> Any:
        async def enable(name: str, who: Annotated[Principal, needs(self._gate, KEEPERS)]) -> dict[str, Any]:
            """Takes a sender up again whose receiver had answered 410; its dead letters are replayed separately."""
            if not await asyncio.to_thread(self._outbox.enable, who.tenant, name):
                raise RequestError("not_found", "no such sender", status=404)
            await self._audit(who, "delivery.enable", name)
            self._delivery.wake(name)
            return {"ok": True}

        return enable

    def _test(self) -> Any:
        async def test(name: str, who: Annotated[Principal, needs(self._gate, KEEPERS)]) -> dict[str, Any]:
            """Sends a test message by a sender; look it up in the outbox by the id that is answered."""
            sender = self._delivery.senders.get(name)
            if sender is None or sender.config.tenant != who.tenant:
                raise RequestError("not_found", "no such sender", status=404)
            await self._audit(who, "delivery.test", name)
            return {"message_id": await self._delivery.test(name)}

        return test

    def _messages(self) -> Any:
        async def outbox(
            who: Annotated[Principal, needs(self._gate, WATCHERS)],
            state: MessageState | None = None,
            sender: Annotated[str | None, Query(max_length=64)] = None,
            limit: Annotated[int, Query(ge=1, le=1000)] = 200,
        ) -> dict[str, Any]:
            """Messages, newest first; `state=dead` lists the dead letters."""
            found = await asyncio.to_thread(
                partial(self._outbox.messages, who.tenant, state=state, sender=sender, limit=limit)
            )
            return {"messages": [message_fields(message) for message in found]}

        return outbox

    def _replay_one(self) -> Any:
        async def replay_one(message: int, who: Annotated[Principal, needs(self._gate, KEEPERS)]) -> dict[str, Any]:
            """Sends one dead letter again, under its old id."""
            count = await asyncio.to_thread(partial(self._outbox.replay, who.tenant, self._utc_ms(), row_id=message))
            if not count:
                raise RequestError("not_found", "no such dead letter", status=404)
            await self._audit(who, "delivery.replay", str(message))
            self._wake_all()
            return {"replayed": count}

        return replay_one

    def _replay(self) -> Any:
        async def replay(
            who: Annotated[Principal, needs(self._gate, KEEPERS)], body: ReplayRequest | None = None
        ) -> dict[str, Any]:
            """Sends all dead letters again, or those of one sender, under their old ids."""
            sender = body.sender if body is not None else None
            count = await asyncio.to_thread(partial(self._outbox.replay, who.tenant, self._utc_ms(), sender=sender))
            await self._audit(who, "delivery.replay", sender or "*", f"count={count}")
            self._wake_all()
            return {"replayed": count}

        return replay

    def _wake_all(self) -> None:
        for name in self._delivery.senders:
            self._delivery.wake(name)

    async def _audit(self, who: Principal, action: str, target: str, detail: str = "") -> None:
        entry = AuditEntry(
            tenant=who.tenant, utc_ms=self._utc_ms(), actor=who.name, action=action, target=target, detail=detail
        )
        await asyncio.wrap_future(self._log.append(Batch(audit=[entry])))

"""What the two websockets share: the handshake, and close codes that say what happened."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

from server.auth import Gate, Principal, Role

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

SUBPROTOCOL: Final = "mamori.v1"
CLOSE_POLICY: Final = 1008
CLOSE_RESTARTING: Final = 1012
CLOSE_TRY_AGAIN: Final = 1013


def headers_of(scope: Scope) -> dict[str, str]:
    """Headers by lower-case name; a repeated one is joined by commas."""
    found: dict[str, str] = {}
    for name, value in scope["headers"]:
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        found[key] = f"{found[key]},{text}" if key in found else text
    return found


async def shake_hands(
    scope: Scope, receive: Receive, send: Send, gate: Gate, roles: frozenset[Role]
) -> Principal | None:
    """Accepts a websocket, and closes it with 1008 when the token is missing, wrong or not for this: a browser shows the
    code of an accepted socket alone.

    Returns:
        Who is there, or None when the socket is closed.
    """
    message = await receive()
    if message["type"] != "websocket.connect":
        return None
    headers = headers_of(scope)
    if not gate.host_allowed(headers):
        await send({"type": "websocket.close", "code": CLOSE_POLICY, "reason": "host or origin not allowed"})
        return None
    chosen = SUBPROTOCOL if SUBPROTOCOL in scope.get("subprotocols", ()) else None
    await send({"type": "websocket.accept", "subprotocol": chosen})
    principal = gate.principal(headers, method="WEBSOCKET")
    if principal is None:
        await send({"type": "websocket.close", "code": CLOSE_POLICY, "reason": "token missing or wrong"})
        return None
    if principal.role not in roles:
        await send({"type": "websocket.close", "code": CLOSE_POLICY, "reason": "not for this role"})
        return None
    return principal


async def until_revoked(gate: Gate, principal: Principal) -> None:
    """Returns once what let somebody in is revoked, expired or signed out: open streams must end then, too."""
    if not principal.credential:
        await asyncio.Event().wait()
    while True:
        if not await asyncio.to_thread(gate.stands, principal):
            return
        await asyncio.sleep(gate.recheck_s)

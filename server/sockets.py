"""What the two websockets share: the handshake, and close codes that say what happened."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, MutableMapping
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


async def converse(
    reader: Coroutine[Any, Any, None], writer: Coroutine[Any, Any, None], gate: Gate, principal: Principal
) -> bool:
    """Reads and writes until either ends or the credential does.

    Returns:
        Whether the credential is no longer good; what the reader raised is raised.
    """
    loop = asyncio.get_running_loop()
    reading, writing = loop.create_task(reader), loop.create_task(writer)
    guard = loop.create_task(until_revoked(gate, principal))
    tasks = {reading, writing, guard}
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    if guard in done:
        return True
    if reading in done:
        reading.result()
    return False

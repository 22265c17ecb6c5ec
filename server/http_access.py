"""Who may use an endpoint: the dependency that every HTTP route of ours has."""

# Annotations are evaluated at once here: FastAPI reads them.

from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import Depends, Request

from server.access.limits import retry_after
from server.auth import Gate, Principal, Role
from server.errors import RequestError


def needs(gate: Gate, roles: frozenset[Role]) -> Any:
    """A FastAPI dependency that yields who is asking, or refuses.

    Raises:
        RequestError: `not_authorised`, `rate_limited` or `forbidden`.
    """
    return Depends(_checker(gate, roles))


def _checker(gate: Gate, roles: frozenset[Role]) -> Callable[[Request], Awaitable[Principal]]:
    async def check(request: Request) -> Principal:
        headers = {key.lower(): value for key, value in request.headers.items()}
        principal = gate.principal(headers, method=request.method)
        if principal is None:
            raise RequestError("not_authorised", "token missing or wrong", status=401)
        wait_s = gate.request_wait_s(principal)
        if wait_s:
            raise RequestError("rate_limited", "too many requests", status=429, headers=retry_after(wait_s))
        principal.need(roles)
        return principal

    return check

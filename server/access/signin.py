"""The endpoints of signing in and out: `/v1/session` and the way by the identity provider.

Cookies: the session's is HttpOnly and SameSite=Strict; the one that binds a sign-in at the provider to its browser has
to survive the way back from another site, so it is Lax, and worth nothing ten minutes later.
"""

# Annotations are evaluated at once here: FastAPI reads the dependencies in them, which only exist within the methods.

import asyncio
import secrets
from datetime import UTC, datetime
from typing import Any, Final

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, RedirectResponse, Response
from pydantic import BaseModel, Field

from server.access.accounts import MAX_NAME_CHARS, MAX_PASSWORD_CHARS, Accounts
from server.access.csrf import csrf_token
from server.access.limits import SignInLimits, retry_after
from server.access.oidc import PENDING_S, OidcSignIn
from server.access.sessions import Method, Session, Sessions
from server.auth import OPEN, Gate, Principal, bearer_of, cookie_of
from server.errors import RequestError
from server.storage.port import AuditEntry, Batch
from server.storage.queued import QueuedLog

_BINDING_COOKIE: Final = "mamori_oidc"


class SignInRequest(BaseModel):
    """A name and a password."""

    name: str = Field(min_length=1, max_length=MAX_NAME_CHARS)
    password: str = Field(min_length=1, max_length=MAX_PASSWORD_CHARS, repr=False)


class SignIn:
    """The handlers.

    Args:
        gate: knows sessions and cookies.
        accounts, sessions: of the house.
        oidc: the identity provider, or None.
        log: for the audit trail.
        now_ms: UTC, milliseconds since 1970.
    """

    def __init__(
        self, gate: Gate, accounts: Accounts, sessions: Sessions, oidc: OidcSignIn | None, log: QueuedLog, now_ms: Any
    ) -> None:
        self._gate = gate
        self._accounts = accounts
        self._sessions = sessions
        self._oidc = oidc
        self._log = log
        self._now_ms = now_ms
        self._limits = SignInLimits()

    def mount(self, router: APIRouter) -> None:
        """Adds the routes."""
        router.get("/session")(self._show())
        router.post("/session")(self._password())
        router.delete("/session", status_code=204)(self._end())
        router.get("/session/oidc", status_code=302, response_class=RedirectResponse)(self._begin())
        router.get("/session/oidc/callback", status_code=302, response_class=RedirectResponse)(self._callback())

    def _show(self) -> Any:
        async def session(request: Request) -> Response:
            """Who I am, and the token that goes with every change (`X-CSRF-Token`); 401 lists the ways to sign in."""
            headers = _headers(request)
            found = self._gate.session(headers)
            if found is not None and bearer_of(headers) is None:
                return JSONResponse(_described(*found))
            principal = self._gate.principal(headers)
            if principal is not None:
                return JSONResponse(_person(principal, signed_in=False))
            methods = [Method.PASSWORD.value] + ([Method.OIDC.value] if self._oidc is not None else [])
            detail = {"code": "not_authorised", "field": None, "message": "sign in"}
            return JSONResponse({"error": detail, "methods": methods}, status_code=401)

        return session

    def _password(self) -> Any:
        async def sign_in(request: Request, body: SignInRequest) -> Response:
            """Signs in with a local account; how often that may be tried is limited."""
            if self._gate.open:
                return JSONResponse(_person(OPEN, signed_in=False))
            address = request.client.host if request.client is not None else ""
            wait_s = self._limits.take(body.name, address)
            if wait_s:
                raise RequestError("rate_limited", "too many tries", status=429, headers=retry_after(wait_s))
            principal = await asyncio.to_thread(self._accounts.check, body.name, body.password)
            if principal is None:
                # People type passwords into the wrong field: a name that is no account's is not kept.
                known = await asyncio.to_thread(self._accounts.find, body.name)
                tenant, name = (known.tenant, known.name) if known is not None else ("", "")
                await self._audit(tenant, name, "sign_in.refused", Method.PASSWORD.value)
                raise RequestError("not_authorised", "name or password wrong", status=401)
            self._limits.succeeded(body.name, address)
            session, secret = await self._started(principal, Method.PASSWORD)
            response = JSONResponse(_described(session, secret))
            self._set_cookie(response, secret)
            return response

        return sign_in

    def _end(self) -> Any:
        async def sign_out(request: Request) -> Response:
            """Signs out: the session is gone on the server, whoever still has the cookie."""
            headers = _headers(request)
            found = self._gate.session(headers)
            response = Response(status_code=204)
            if found is not None and self._gate.principal(headers, method="DELETE") is not None:
                session, _ = found
                await asyncio.to_thread(self._sessions.end, session.session_id)
                person = session.principal
                await self._audit(person.tenant, person.name, "sign_out", session.session_id)
            response.delete_cookie(self._gate.cookie, path="/", secure=self._gate.secure, httponly=True)
            return response

        return sign_out

    def _begin(self) -> Any:
        async def to_provider() -> Response:
            """Sends the browser to the identity provider."""
            if self._oidc is None:
                raise RequestError("not_found", "no identity provider is set up", status=404)
            binding = secrets.token_urlsafe(32)
            response = RedirectResponse(await self._oidc.begin(binding), status_code=302)
            response.set_cookie(
                _BINDING_COOKIE,
                binding,
                max_age=round(PENDING_S),
                path="/v1/session/oidc",
                httponly=True,
                samesite="lax",
                secure=self._gate.secure,
            )
            return response

        return to_provider

    def _callback(self) -> Any:
        async def from_provider(request: Request, state: str = "", code: str = "", iss: str | None = None) -> Response:
            """Takes the provider's answer and begins a session."""
            if self._oidc is None:
                raise RequestError("not_found", "no identity provider is set up", status=404)
            binding = cookie_of(_headers(request), _BINDING_COOKIE)
            try:
                principal = await self._oidc.finish(state=state, code=code, issuer=iss, binding=binding)
            except RequestError as error:
                await self._audit("", "", "sign_in.refused", f"{Method.OIDC.value} {error.code}")
                raise
            _, secret = await self._started(principal, Method.OIDC)
            response = RedirectResponse("/", status_code=302)
            response.delete_cookie(_BINDING_COOKIE, path="/v1/session/oidc", secure=self._gate.secure, httponly=True)
            self._set_cookie(response, secret)
            return response

        return from_provider

    async def _started(self, principal: Principal, method: Method) -> tuple[Session, str]:
        session, secret = await asyncio.to_thread(self._sessions.create, principal, method)
        await self._audit(principal.tenant, principal.name, "sign_in", f"{method.value} {session.session_id}")
        return session, secret

    def _set_cookie(self, response: Response, secret: str) -> None:
        response.set_cookie(
            self._gate.cookie, secret, path="/", httponly=True, samesite="strict", secure=self._gate.secure
        )
        response.headers["Cache-Control"] = "no-store"

    async def _audit(self, tenant: str, actor: str, action: str, target: str) -> None:
        entry = AuditEntry(tenant=tenant, utc_ms=self._now_ms(), actor=actor, action=action, target=target)
        await asyncio.wrap_future(self._log.append(Batch(audit=[entry])))


def _headers(request: Request) -> dict[str, str]:
    return {key.lower(): value for key, value in request.headers.items()}


def _person(principal: Principal, *, signed_in: bool) -> dict[str, Any]:
    return {
        "name": principal.name,
        "tenant": principal.tenant,
        "role": principal.role.value,
        "queues": None if principal.queues is None else sorted(principal.queues),
        "signed_in": signed_in,
    }


def _described(session: Session, secret: str) -> dict[str, Any]:
    expires = datetime.fromtimestamp(session.expires_ms / 1000, tz=UTC)
    return {
        **_person(session.principal, signed_in=True),
        "method": session.method.value,
        "csrf": csrf_token(secret),
        "expires_at": expires.isoformat(timespec="seconds").replace("+00:00", "Z"),
    }

"""`POST /v1/ingest/NAME`: a platform's webhooks. Unsigned ones are refused; the answer comes when all is durable.

A platform that signs is known by its signature. Any other comes with a token of ours, as bearer or, over TLS alone, as the
password of basic authentication: webhooks of platforms that can send no bearer can all send that.
"""

# Annotations are evaluated at once here: FastAPI reads the request's type in them.

import asyncio
import base64
import binascii
import hmac
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from detector.adapters.frame import Format
from server.access.limits import retry_after
from server.auth import FEEDERS, Gate, Principal, Role
from server.errors import EventError, RequestError
from server.vendors import Receipt, Vendors
from server.vendorsocket import query_of

STORE_WAIT_S: Final = 10.0
"""After so long without durability the platform is told to come again; Twilio itself gives up after 15 s."""
_SIGNATURE: Final = "x-twilio-signature"


def twilio_signature(url: str, fields: Sequence[tuple[str, str]], token: str) -> str:
    """The signature of a form-encoded webhook: base64 of HMAC-SHA1 over the address and the fields, sorted by name.

    SHA-1 is what Twilio signs with; as a keyed hash it still holds.

    Args:
        url: the public address, with its query, as Twilio was given it.
        fields: name and value, in any order; of a repeated name each value counts once.
        token: the account's auth token.
    """
    signed = url + "".join(f"{name}{value}" for name, value in sorted(set(fields)))
    return base64.b64encode(hmac.digest(token.encode(), signed.encode("utf-8", "surrogatepass"), "sha1")).decode()


def addresses(public_url: str, path: str, query: str) -> list[str]:
    """The address as configured, and with the scheme's own port added or left out: senders differ in that."""
    parts = urlsplit(public_url)
    tail = path + (f"?{query}" if query else "")
    host, port = parts.hostname or "", parts.port
    if ":" in host:
        host = f"[{host}]"
    own = {"https": 443, "http": 80}.get(parts.scheme)
    names = [parts.netloc] + ([host] if port == own else []) + ([f"{host}:{own}"] if port is None else [])
    return [f"{parts.scheme}://{name}{tail}" for name in names]


class VendorPosts:
    """The endpoint.

    Args:
        vendors: adapters and their states.
        gate: checks tokens.
        public_url: address under which platforms reach us; signatures are over it.
        twilio_token: Twilio's auth token, or empty: then its webhooks need a token of ours.
        twilio_tenant: whose calls the webhooks are that Twilio signed.
        max_bytes: of a body.
    """

    def __init__(
        self,
        vendors: Vendors,
        gate: Gate,
        *,
        public_url: str,
        twilio_token: str,
        twilio_tenant: str,
        max_bytes: int,
    ) -> None:
        self._vendors = vendors
        self._gate = gate
        self._public_url = public_url
        self._twilio_token = twilio_token
        self._twilio_tenant = twilio_tenant
        self._max_bytes = max_bytes

    def mount(self, router: APIRouter) -> None:
        """Adds the route."""
        kinds = sorted({form.media_type for form in self._vendors.formats.values()})
        body = {"required": True, "content": {kind: {"schema": {}} for kind in kinds}}
        router.post("/ingest/{name}", summary="A platform's webhook", openapi_extra={"requestBody": body})(
            self._route()
        )

    def _route(self) -> Any:
        async def ingest(name: str, request: Request) -> Response:
            """Takes one message in the named format; 503 asks for it again, 4xx does not."""
            form = self._vendors.formats.get(name)
            if form is None:
                raise RequestError("not_found", "no such format", status=404)
            body = await self._body(request)
            headers = {key.lower(): value for key, value in request.headers.items()}
            principal = self.principal(form, request, headers, body)
            principal.need(FEEDERS)
            wait_s = self._gate.request_wait_s(principal)
            if wait_s:
                raise RequestError("rate_limited", "too many requests", status=429, headers=retry_after(wait_s))
            query = query_of(request.scope)
            envelope = self._vendors.envelope(principal, headers=headers, path=request.url.path, query=query)
            finished: asyncio.Future[Receipt] = asyncio.get_running_loop().create_future()

            def done(receipt: Receipt) -> None:
                if not finished.done():
                    finished.set_result(receipt)

            try:
                receipt = self._vendors.deliver(principal, form, body, envelope, done=done)
            except EventError as error:
                status = 429 if error.code == "rate_limited" else 400
                again = {"Retry-After": "1"} if error.retry else {}
                raise RequestError(error.code, error.message, field=error.field, status=status, headers=again) from None
            return await self._answer(form, receipt, finished)

        return ingest

    async def _answer(self, form: Format, receipt: Receipt, finished: asyncio.Future[Receipt]) -> Response:
        try:
            await asyncio.wait_for(finished, STORE_WAIT_S)
        except TimeoutError:
            stored = False
        else:
            stored = receipt.refusal is None or not receipt.refusal.retry
        if not stored:
            self._vendors.failed(form, receipt)
            raise RequestError("overloaded", "not stored, send it again", status=503, headers={"Retry-After": "2"})
        notices = [{"code": report.kind.value, "detail": report.detail} for report in receipt.reports]
        return JSONResponse({"ok": True, "events": receipt.events, "notices": notices})

    async def _body(self, request: Request) -> bytes:
        parts, size = [], 0
        async for part in request.stream():
            size += len(part)
            if size > self._max_bytes:
                raise RequestError("too_large", f"expected at most {self._max_bytes} bytes", status=413)
            parts.append(part)
        return b"".join(parts)

    def principal(self, form: Format, request: Request, headers: Mapping[str, str], body: bytes) -> Principal:
        """Who sent a webhook.

        Raises:
            RequestError: nobody that we know: a signature that is missing or wrong, no token.
        """
        signs = form.name == "twilio" and bool(self._twilio_token) and "authorization" not in headers
        if signs or (form.name == "twilio" and _SIGNATURE in headers):
            return self._signed(request, headers, body)
        found = self._by_basic(request, headers) or self._gate.principal(headers, method=request.method)
        if found is None:
            raise RequestError(
                "not_authorised",
                "signature or token missing or wrong",
                status=401,
                headers={"WWW-Authenticate": 'Basic realm="mamori"'},
            )
        return found

    def _signed(self, request: Request, headers: Mapping[str, str], body: bytes) -> Principal:
        given = headers.get(_SIGNATURE, "")
        refused = RequestError("not_authorised", "signature missing or wrong", status=403)
        if not self._twilio_token:
            raise refused
        try:
            fields = parse_qsl(body.decode(), keep_blank_values=True, errors="strict", max_num_fields=200)
        except ValueError:
            raise refused from None
        query = request.scope["query_string"].decode("latin-1")
        path = request.scope.get("raw_path", request.url.path.encode()).decode("latin-1").split("?")[0]
        for address in addresses(self._public_url, path, query):
            expected = twilio_signature(address, fields, self._twilio_token)
            if hmac.compare_digest(expected.encode(), given.encode("utf-8", "surrogatepass")):
                return Principal(name="twilio", tenant=self._twilio_tenant, role=Role.PLATFORM, credential="")
        raise refused

    def _by_basic(self, request: Request, headers: Mapping[str, str]) -> Principal | None:
        scheme, _, written = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "basic" or self._gate.open:
            return None
        if request.url.scheme != "https":
            raise RequestError("not_authorised", "basic authentication over TLS alone", status=403)
        try:
            _, _, secret = base64.b64decode(written.strip(), validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return None
        return self._gate.principal({"authorization": f"Bearer {secret}"}) if secret else None

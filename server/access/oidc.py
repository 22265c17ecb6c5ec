"""Signing in at the house's identity provider: OpenID Connect, authorisation code flow with PKCE (S256).

Authlib speaks OAuth, joserfc checks the ID token; this file decides what is believed: the issuer, the audience, the
nonce, signatures by asymmetric algorithms alone, and groups that the settings map to a role. Whoever has no such group
does not come in.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

import httpx2
from authlib.integrations.base_client import OAuthError
from authlib.integrations.httpx_client import AsyncOAuth2Client
from joserfc import jwk, jwt
from joserfc.errors import JoseError

from server.auth import Principal, Role
from server.errors import RequestError
from server.settings import GroupGrant

ALGORITHMS: Final = ["RS256", "ES256", "PS256", "EdDSA"]
"""No `none`, and no HS256: with it the client's secret would sign."""
MAX_PENDING: Final = 1_000
"""Sign-ins under way; beyond it the oldest is forgotten and its person starts again."""
PENDING_S: Final = 600.0
METADATA_S: Final = 3_600.0
"""How long the provider's metadata and keys are believed; unknown key ids ask again at once."""
TIMEOUT_S: Final = 10.0
LEEWAY_S: Final = 60
_RANK: Final = {Role.PLATFORM: 0, Role.OPERATOR: 1, Role.SUPERVISOR: 2, Role.LEAD: 3, Role.ADMIN: 4}


@dataclass(frozen=True, slots=True, kw_only=True)
class OidcConfig:
    """What the provider knows us by.

    Args:
        issuer: its address, exactly as in its metadata.
        redirect_uri: of our callback, as registered there.
        groups: what a group of the provider gives here.
        groups_claim, name_claim: where the ID token says groups and the person's name.
    """

    issuer: str
    client_id: str
    client_secret: str
    redirect_uri: str
    scopes: str
    groups: Mapping[str, GroupGrant]
    groups_claim: str = "groups"
    name_claim: str = "preferred_username"


@dataclass(frozen=True, slots=True)
class _Pending:
    binding: str
    nonce: str
    verifier: str
    begun_s: float


class OidcSignIn:
    """The flow of one provider.

    Args:
        config: of the house.
        monotonic: seconds.
    """

    def __init__(self, config: OidcConfig, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._config = config
        self._monotonic = monotonic
        self._pending: OrderedDict[str, _Pending] = OrderedDict()
        self._metadata: dict[str, Any] = {}
        self._keys: jwk.KeySet | None = None
        self._known_s = -METADATA_S

    async def begin(self, binding: str) -> str:
        """Begins a sign-in.

        Args:
            binding: the value of a cookie that this browser alone has: the answer counts only with it.

        Returns:
            The address to send the browser to.

        Raises:
            RequestError: `provider_unavailable`.
        """
        metadata, _ = await self._provider()
        state, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(3))
        while len(self._pending) >= MAX_PENDING:
            self._pending.popitem(last=False)
        self._pending[state] = _Pending(_digest(binding), nonce, verifier, self._monotonic())
        async with self._client() as client:
            address, _ = client.create_authorization_url(
                metadata["authorization_endpoint"], state=state, nonce=nonce, code_verifier=verifier
            )
        return str(address)

    async def finish(self, *, state: str, code: str, issuer: str | None, binding: str) -> Principal:
        """Takes the provider's answer.

        Args:
            issuer: the `iss` parameter, when the provider sends it (RFC 9207).

        Returns:
            Who signed in.

        Raises:
            RequestError: `sign_in` when the answer is not to be believed, `forbidden` when no group gives a role,
                `provider_unavailable`.
        """
        pending = self._pending.pop(state, None)
        if (
            pending is None
            or self._monotonic() - pending.begun_s > PENDING_S
            or not hmac.compare_digest(pending.binding, _digest(binding))
            or (issuer is not None and issuer != self._config.issuer)
        ):
            raise RequestError("sign_in", "this sign-in was not begun here or took too long", status=400)
        metadata, _ = await self._provider()
        try:
            async with self._client() as client:
                token = await client.fetch_token(
                    metadata["token_endpoint"],
                    code=code,
                    code_verifier=pending.verifier,
                    grant_type="authorization_code",
                )
        except (OAuthError, httpx2.HTTPError, ValueError):
            raise RequestError("sign_in", "the identity provider refused the code", status=400) from None
        claims = await self._claims(str(token.get("id_token", "")), pending.nonce)
        return self._person(claims)

    async def _claims(self, id_token: str, nonce: str) -> dict[str, Any]:
        metadata, keys = await self._provider()
        refused = RequestError("sign_in", "the identity provider's token is not valid", status=400)
        rules = jwt.JWTClaimsRegistry(
            leeway=LEEWAY_S,
            iss={"essential": True, "value": metadata["issuer"]},
            sub={"essential": True},
            aud={"essential": True, "value": self._config.client_id},
            exp={"essential": True},
            iat={"essential": True},
            nonce={"essential": True, "value": nonce},
        )
        try:
            claims = self._decoded(id_token, keys)
        except (JoseError, ValueError):
            # The provider may have changed its keys since we last asked.
            self._known_s = -METADATA_S
            _, keys = await self._provider()
            try:
                claims = self._decoded(id_token, keys)
            except (JoseError, ValueError):
                raise refused from None
        try:
            rules.validate(claims)
        except (JoseError, ValueError, TypeError):
            raise refused from None
        audience = claims["aud"]
        if isinstance(audience, list) and len(audience) > 1 and claims.get("azp") != self._config.client_id:
            raise refused
        return claims

    def _decoded(self, id_token: str, keys: jwk.KeySet) -> dict[str, Any]:
        return dict(jwt.decode(id_token, keys, algorithms=ALGORITHMS).claims)

    def _person(self, claims: dict[str, Any]) -> Principal:
        groups = claims.get(self._config.groups_claim)
        names = [groups] if isinstance(groups, str) else groups if isinstance(groups, list) else []
        grants = [self._config.groups[name] for name in names if isinstance(name, str) and name in self._config.groups]
        name = claims.get(self._config.name_claim)
        if not isinstance(name, str) or not 0 < len(name) <= 128 or not name.isprintable():
            name = str(claims["sub"])[:128]
        grant = granted(grants)
        return Principal(name=name, tenant=grant.tenant, role=grant.role, queues=grant.queues)

    async def _provider(self) -> tuple[dict[str, Any], jwk.KeySet]:
        if self._keys is not None and self._monotonic() - self._known_s < METADATA_S:
            return self._metadata, self._keys
        try:
            async with httpx2.AsyncClient(timeout=TIMEOUT_S, follow_redirects=False) as client:
                answer = await client.get(f"{self._config.issuer.rstrip('/')}/.well-known/openid-configuration")
                metadata = answer.raise_for_status().json()
                keys_answer = await client.get(metadata["jwks_uri"])
                keys = jwk.KeySet.import_key_set(keys_answer.raise_for_status().json())
            if metadata["issuer"] != self._config.issuer:
                raise ValueError("issuer")
            for name in ("authorization_endpoint", "token_endpoint", "jwks_uri"):
                if not address_is_safe(metadata[name]):
                    raise ValueError(name)
        except (httpx2.HTTPError, JoseError, ValueError, KeyError, TypeError):
            raise RequestError("provider_unavailable", "the identity provider does not answer", status=502) from None
        self._metadata, self._keys, self._known_s = metadata, keys, self._monotonic()
        return metadata, keys

    def _client(self) -> AsyncOAuth2Client:
        return AsyncOAuth2Client(
            client_id=self._config.client_id,
            client_secret=self._config.client_secret or None,
            token_endpoint_auth_method="client_secret_basic" if self._config.client_secret else "none",
            redirect_uri=self._config.redirect_uri,
            scope=self._config.scopes,
            code_challenge_method="S256",
            timeout=TIMEOUT_S,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Granted:
    """What a person's groups come to."""

    tenant: str
    role: Role
    queues: frozenset[str] | None


def granted(grants: list[GroupGrant]) -> Granted:
    """The strongest role; its queues are those of all groups that give it.

    Raises:
        RequestError: `forbidden`: no group, or groups of several tenants, between which nobody should have to guess.
    """
    tenants = {grant.tenant for grant in grants}
    if len(tenants) != 1:
        raise RequestError("forbidden", "no group of yours gives access here, or groups of several tenants", status=403)
    role = max((Role(grant.role) for grant in grants), key=_RANK.__getitem__)
    strongest = [grant for grant in grants if grant.role == role.value]
    queues = None
    if all(grant.queues is not None for grant in strongest):
        queues = frozenset(queue for grant in strongest for queue in grant.queues or ())
    return Granted(tenant=tenants.pop(), role=role, queues=queues)


def address_is_safe(address: str) -> bool:
    """Whether an address is https, or on this machine."""
    parts = urlsplit(address)
    return parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in ("127.0.0.1", "::1", "localhost"))


def _digest(binding: str) -> str:
    return hashlib.sha256(binding.encode("utf-8", "surrogatepass")).hexdigest()

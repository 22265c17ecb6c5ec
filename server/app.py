"""Wiring: one function makes the whole server out of its settings. No globals, no work at import."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from importlib import metadata, resources
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from fastapi import FastAPI
from fastapi.responses import JSONResponse
from starlette.staticfiles import StaticFiles

from detector.gravity import sounds_grave
from detector.playbook import Playbook, PlaybookError, default_playbook, parse_playbook
from detector.rules import Rules, RulesError, default_rules, parse_rules
from detector.scoring import Scorer
from models.engine import Engine
from models.lexicon import load_lexicon
from models.scorer import load_scorer
from server.access.accounts import Accounts
from server.access.oidc import OidcConfig, OidcSignIn
from server.access.sessions import Sessions
from server.access.signin import SignIn
from server.alerts import AlertsEndpoint
from server.asyncapi import asyncapi_document
from server.attention import Attentions
from server.auth import DEFAULT_TENANT, Gate, Tokens
from server.auth import Limits as AccessLimits
from server.callers import Callers
from server.clock import SystemClock
from server.delivery.dispatch import Budget, Delivery
from server.delivery.endpoints import DeliveryApi
from server.delivery.outbox import Outbox
from server.delivery.secrets import read_secrets
from server.delivery.slack_actions import SlackActions
from server.errors import SetupError
from server.exposure import BreakRule
from server.files import read_text
from server.formats import load_formats
from server.guidance import GuidanceEndpoint
from server.http import Api
from server.http_callers import CallersApi
from server.http_incidents import IncidentsApi
from server.http_reports import ReportsApi
from server.hub import Hub
from server.ingest import IngestEndpoint
from server.keeper import Keeper, insist
from server.keys import house_key
from server.links import LinkTemplates
from server.live.resources import Limits
from server.metrics import Metrics
from server.openapi import DocumentedApi
from server.redaction import compile_patterns
from server.retention import Retention
from server.routing import warn_unrouted
from server.rulebook import open_rulebook
from server.runtime import Runtime
from server.settings import Settings
from server.shadow import Shadow
from server.sockets import Receive, Scope, Send, headers_of
from server.storage.attention import AttentionStore
from server.storage.embedded import serving_log
from server.storage.queued import QueuedLog
from server.vendorposts import VendorPosts
from server.vendors import Vendors
from server.vendorsocket import VendorEndpoint, query_of
from server.watch import WELL

EMBEDDED_PAGE: Final = "/operator.html"
"""The one page that sites in `frame_origins` may embed."""
VENDOR_FEED: Final = "/v1/ingest?format"
"""Not a path: the ingest endpoint for messages in a vendor's own format."""
Endpoint = Callable[[Scope, Receive, Send], Awaitable[None]]
SCORING_NICE: Final = 5
"""The model takes whole cores; the event loop needs a short turn at once. Five steps are a third of the weight (Linux)."""
_ANY_ADDRESS: Final = ("0.0.0.0", "::")  # noqa: S104 - compared with, not bound to


def read_rules(path: Path | None) -> Rules:
    """House rules, or the bundled ones.

    Raises:
        SetupError: the file cannot be read or is wrong; names the line.
    """
    if path is None:
        return default_rules()
    try:
        return parse_rules(read_text(path))
    except RulesError as error:
        raise SetupError(f"{path}: {error}") from None


def read_playbook(path: Path | None) -> Playbook:
    """House playbook, or the bundled one.

    Raises:
        SetupError: the file cannot be read or lacks something.
    """
    if path is None:
        return default_playbook()
    try:
        return parse_playbook(read_text(path))
    except PlaybookError as error:
        raise SetupError(f"{path}: {error}") from None


def partial_gate() -> Callable[[str, str], bool]:
    """Says by the words alone whether a partial is worth scoring: something of the gravest kinds may be in it."""
    lexicon = load_lexicon()

    def gate(text: str, language: str) -> bool:
        return sounds_grave(text, language) or bool(lexicon.gravest_hint(text, language))

    return gate


class Mamori:
    """The ASGI application: the websockets as raw endpoints, everything else through FastAPI."""

    def __init__(
        self,
        app: FastAPI,
        runtime: Runtime,
        delivery: Delivery,
        sockets: Mapping[str, Endpoint],
        gate: Gate,
        frame_origins: tuple[str, ...],
    ) -> None:
        self.api = app
        self.runtime = runtime
        self.delivery = delivery
        self._sockets = sockets
        self.gate = gate
        self._own_policy = content_policy(()).encode("latin-1")
        self._framed_policy = content_policy(frame_origins).encode("latin-1")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Routes one connection."""
        if scope["type"] == "websocket":
            await self._websocket(scope, receive, send)
        elif scope["type"] == "http" and not self.gate.host_allowed(headers_of(scope)):
            await send({"type": "http.response.start", "status": 421, "headers": [(b"content-type", b"text/plain")]})
            await send({"type": "http.response.body", "body": b"host or origin not allowed\n"})
        else:
            await self.api(scope, receive, self._guarded(send, scope.get("path", "")))

    async def drain(self) -> None:
        """The process is about to end: see `Runtime.drain`."""
        await self.runtime.drain()

    async def _websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"]
        endpoint = self._sockets.get(VENDOR_FEED if path == "/v1/ingest" and "format" in query_of(scope) else path)
        if endpoint is not None:
            await endpoint(scope, receive, send)
        else:
            await receive()
            await send({"type": "websocket.close", "code": 1008, "reason": "no such endpoint"})

    def _guarded(self, send: Send, path: str) -> Send:
        policy = self._framed_policy if path == EMBEDDED_PAGE else self._own_policy

        async def guarded(message: Any) -> None:
            if message["type"] == "http.response.start":
                message = {
                    **message,
                    "headers": [
                        *message.get("headers", ()),
                        (b"content-security-policy", policy),
                        (b"x-content-type-options", b"nosniff"),
                        (b"referrer-policy", b"no-referrer"),
                    ],
                }
            await send(message)

        return guarded


def content_policy(frame_origins: tuple[str, ...]) -> str:
    """The content-security policy: our own files alone, no inline script or style, framed by listed sites only."""
    ancestors = " ".join(("'self'", *frame_origins))
    return (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
        "connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'self'; "
        f"frame-ancestors {ancestors}"
    )


def read_secret(path: Path | None, name: str) -> str:
    """A secret from its file; empty without one.

    Raises:
        SetupError: it cannot be read; names the setting.
    """
    try:
        return path.read_text(encoding="utf-8").strip() if path is not None else ""
    except (OSError, UnicodeDecodeError):
        raise SetupError(f"{name}: {path}: cannot be read") from None


def make_gate(settings: Settings, log: QueuedLog) -> tuple[Gate, SignIn]:
    """Who may come in, and how people sign in.

    Raises:
        SetupError: the secret for the identity provider cannot be read.
    """
    engine = log.state.engine
    sessions = Sessions(engine, hours=settings.session_hours)
    own = () if settings.host in _ANY_ADDRESS else (settings.host,)
    public = urlsplit(settings.public_url).hostname
    gate = Gate(
        Tokens(engine) if settings.auth else None,
        hosts=frozenset(item.lower() for item in (*settings.hosts, *own, *((public,) if public else ()))),
        origins=frozenset(settings.origins),
        sessions=sessions,
        secure=settings.secure,
        limits=AccessLimits(requests_s=settings.limit_requests_s, events_s=settings.limit_events_s),
    )
    oidc = None
    if settings.oidc_issuer:
        client_secret = read_secret(settings.oidc_client_secret_file, "oidc_client_secret_file")
        oidc = OidcSignIn(
            OidcConfig(
                issuer=settings.oidc_issuer,
                client_id=settings.oidc_client_id,
                client_secret=client_secret,
                redirect_uri=f"{settings.public_url.rstrip('/')}/v1/session/oidc/callback",
                scopes=settings.oidc_scopes,
                groups=settings.oidc_groups,
                groups_claim=settings.oidc_groups_claim,
                name_claim=settings.oidc_name_claim,
            )
        )
    return gate, SignIn(gate, Accounts(engine), sessions, oidc, log, SystemClock().utc_ms)


def make_delivery(settings: Settings, log: QueuedLog, runtime: Runtime, keeper: Keeper) -> Delivery:
    """The senders of the settings.

    Raises:
        SetupError: a secret cannot be read.
    """
    return Delivery(
        log=log,
        hub=runtime.hub,
        outbox=Outbox(log.state.engine, log.state.bodies),
        senders=settings.senders,
        secrets={name: read_secrets(name, config) for name, config in settings.senders.items()},
        routing=settings.routing,
        budget=Budget(loud=settings.loud_alerts, window_ms=round(settings.loud_window_s * 1000)),
        utc_ms=runtime.utc_ms,
        keep_days=settings.keep_days,
        keeper=keeper,
        observe=runtime.observe,
        on_duty=runtime.on_duty,
    )


def readiness(runtime: Runtime, delivery: Delivery, background: Keeper) -> dict[str, str]:
    """Each part with `ok` or what is wrong with it, for `/readyz` and the metrics."""
    unwell = {**delivery.unreached, **delivery.failures}
    return {
        "runtime": "ok" if runtime.ready else "draining" if runtime.draining else "starting",
        **runtime.watch.checks(),
        **runtime.checks(),
        "delivery": " ".join(f"{name}:{why}" for name, why in sorted(unwell.items())) or "ok",
        "background": " ".join(sorted(background.failing)) or "ok",
        "listeners": f"{behind} behind" if (behind := runtime.hub.behind()) else "ok",
    }


def joined(settings: Settings) -> QueuedLog:
    """The log of a cluster.

    Raises:
        SetupError: the extra is not installed, or the cluster cannot be joined.
    """
    try:
        from server.cluster.joining import join_cluster
    except ModuleNotFoundError:
        raise SetupError("nats: a cluster needs the extra `cluster`: pip install 'mamori[cluster]'") from None
    return join_cluster(settings)


def cluster_parts(settings: Settings, log: QueuedLog) -> tuple[type[Runtime], dict[str, Any]]:
    """The runtime of this process, and what it needs where it is part of a cluster."""
    if not settings.clustered:
        return Runtime, {}
    from server.cluster.joining import parts
    from server.cluster.runtime import ClusterRuntime

    return ClusterRuntime, parts(settings, log)


def create_app(settings: Settings, *, scorer: Scorer | None = None, log: QueuedLog | None = None) -> Mamori:
    """Makes the server; see `wired`. What was opened is closed again when it cannot be made."""
    if log is not None:
        return wired(settings, scorer, log)
    log = joined(settings) if settings.clustered else serving_log(settings.data_dir, settings.encryption.source)
    try:
        return wired(settings, scorer, log)
    except BaseException:
        log.close()
        raise


def mount_callers(app: FastAPI, settings: Settings, log: QueuedLog, gate: Gate, key: bytes, runtime: Runtime) -> None:
    """Offers what a caller may ask for; those who were forgotten stay so."""
    callers = Callers(log.state, log.words, settings.forgotten_list, runtime.utc_ms)
    callers.again()
    CallersApi(callers, log, gate, secret=key, utc_ms=runtime.utc_ms).mount(app)


def wired(settings: Settings, scorer: Scorer | None, log: QueuedLog) -> Mamori:
    """Connects all parts.

    Args:
        settings: of this installation.
        scorer: instead of the one that the settings name.
        log: the engine.

    Raises:
        SetupError: rules, playbook, secrets or the list of forgotten callers are wrong.
    """
    rulebook, playbook = open_rulebook(settings.data_dir, settings.rules), read_playbook(settings.playbook)
    key = house_key(settings.data_dir, "caller", settings.caller_key_file)
    engine = Engine(
        scorer if scorer is not None else load_scorer(settings.model), workers=settings.score_workers, nice=SCORING_NICE
    )
    kind, parts = cluster_parts(settings, log)
    hub = parts["bus"] if parts else Hub()
    runtime = kind(
        **parts,
        log=log,
        engine=engine,
        hub=hub,
        rulebook=rulebook,
        playbook=playbook,
        clock=SystemClock(),
        limits=Limits(
            max_calls=settings.max_calls,
            min_free_bytes=settings.min_free_mb << 20,
            idle_end_s=settings.idle_end_s,
            lost_after_s=settings.lost_after_s,
        ),
        gate=partial_gate(),
        routing=settings.routing,
        shadow=Shadow(read_rules(settings.shadow_rules), playbook) if settings.shadow_rules is not None else None,
        observing=settings.observe,
        patterns=compile_patterns(settings.redact),
        links=LinkTemplates(listen=settings.link_listen, takeover=settings.link_takeover, console=settings.public_url),
    )
    metrics = Metrics(
        live_calls=lambda: len(runtime.calls),
        partitions=runtime.partitions_followed,
        queue_depth=lambda: engine.health.queue_depth,
        log_depth=lambda: log.depth,
        subscribers=lambda: len(hub),
        behind=hub.behind,
        disk_free=log.free_bytes,
        not_monitored=runtime.floor.not_monitored,
        log_wait=lambda: log.waited_s,
        score_wait=lambda: engine.waited_s,
        scores=lambda: ((health := engine.health).scored, health.cached),
    )
    runtime.observe = metrics.observe
    gate, sign_in = make_gate(settings, log)
    attentions = Attentions(
        settings.routing,
        loud=settings.loud_alerts,
        window_s=settings.loud_window_s,
        monotonic=runtime.clock.monotonic,
    )
    budgets = AttentionStore(log.state.engine, window_s=settings.loud_window_s, utc_ms=runtime.utc_ms)

    background = Keeper(runtime.clock.monotonic, metrics.observe)
    delivery = make_delivery(settings, log, runtime, background)
    slack = SlackActions(delivery, log, runtime.act, Accounts(log.state.engine), runtime.utc_ms)
    retention = Retention(
        log,
        runtime.clock,
        keep_days=settings.keep_days,
        keep_record_days=settings.keep_record_days,
        keeper=background,
    )
    checks = partial(readiness, runtime, delivery, background)
    metrics.add_checks(checks, WELL)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        await insist(partial(budgets.start, attentions))
        await runtime.start()
        queues = await insist(partial(asyncio.to_thread, log.state.queues))
        warn_unrouted(settings.routing, [*queues, *((DEFAULT_TENANT, name) for name in rulebook.current.queues)])
        await insist(delivery.start)
        retention.start()
        yield
        await slack.stop()
        await delivery.stop()
        await runtime.stop()
        await budgets.stop()
        engine.close()
        log.close()

    app = DocumentedApi(title="Mamori", version="1", lifespan=lifespan, docs_url=None, redoc_url=None)
    vendors = Vendors(runtime, gate, load_formats(settings.mappings), caller_key=key, observe=metrics.observe_format)
    posts = VendorPosts(
        vendors,
        gate,
        public_url=settings.public_url,
        twilio_token=read_secret(settings.twilio_auth_token_file, "twilio_auth_token_file"),
        twilio_tenant=settings.twilio_tenant,
        max_bytes=settings.max_webhook_bytes,
    )
    Api(runtime, log, gate, metrics, sign_in, attentions, posts, checks).mount(app)
    break_rule = BreakRule(calls=settings.break_after_calls, talk_ms=settings.break_after_minutes * 60_000)
    ReportsApi(log, gate, runtime.utc_ms, timezone=settings.routing.timezone, break_rule=break_rule).mount(app)
    IncidentsApi(log, gate, runtime.utc_ms, timezone=settings.routing.timezone).mount(app)
    mount_callers(app, settings, log, gate, key, runtime)
    DeliveryApi(delivery, log, gate, runtime.utc_ms).mount(app)
    slack.mount(app)
    document = asyncapi_document(version=metadata.version("mamori"), formats=vendors.formats)
    app.get("/asyncapi.json", include_in_schema=False)(lambda: JSONResponse(document))
    console = resources.files("server").joinpath("console")
    app.mount("/", StaticFiles(directory=str(console), html=True, check_dir=False), name="console")
    bounds = {"window": settings.window, "max_frame_bytes": settings.max_frame_bytes}
    sockets: dict[str, Endpoint] = {
        "/v1/ingest": IngestEndpoint(runtime, gate, caller_key=key, **bounds),
        VENDOR_FEED: VendorEndpoint(runtime, gate, vendors, **bounds),
        "/v1/alerts": AlertsEndpoint(runtime, gate, attentions),
        "/v1/guidance": GuidanceEndpoint(runtime, gate),
    }
    offered = sockets if settings.role != "worker" else {}
    return Mamori(app, runtime, delivery, offered, gate, settings.frame_origins)

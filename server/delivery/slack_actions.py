"""`POST /v1/slack/NAME`: takes the alert whose button somebody pressed in Slack, in the name that the settings give them."""

# Annotations are evaluated at once here: FastAPI reads the request's type in them.

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec
from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import Response

from detector.alerts import ActionAnswer, Alert
from detector.events import Action, SupervisorAction
from server.access.accounts import Accounts
from server.auth import WATCHERS, Principal, Role
from server.delivery.dispatch import Delivery, Sender
from server.delivery.slack import ACKNOWLEDGE, Door, Interaction, answer, parse
from server.errors import MamoriError, RequestError
from server.storage.port import AuditEntry, Batch, Log

MAX_BODY_BYTES: Final = 262_144
"""Slack sends the whole message along with the button."""
MAX_ANSWERS: Final = 32
"""Answers on their way to Slack; at more the person sees what became of it in the channel alone."""
_WORDS: Final = {
    "ja": {
        "ok": "対応者として記録しました",
        "conflict": "先に {by} さんが対応しています",
        "closed": "このアラートはすでに終了しています",
        "forbidden": "このアラートに対応する権限がありません。管理者に Slack のメンバー ID を登録してもらってください（{user}）",
        "failed": "記録できませんでした。もう一度お試しください",
    },
    "en": {
        "ok": "You have it",
        "conflict": "{by} was first",
        "closed": "This alert is closed already",
        "forbidden": "You may not take this alert. Ask your administrator to enter your Slack member id ({user})",
        "failed": "That was not stored; please try again",
    },
}

_log = logging.getLogger("mamori.slack")


class SlackActions:
    """The endpoint.

    Args:
        delivery: its senders of the kind slack that have a signing secret.
        log: where alerts are, and the audit trail.
        act: does what a supervisor does.
        accounts: a local account's role, queues and lock hold here, too.
        utc_ms: UTC, milliseconds since 1970.
    """

    def __init__(
        self,
        delivery: Delivery,
        log: Log,
        act: Callable[[str, SupervisorAction], Awaitable[ActionAnswer]],
        accounts: Accounts,
        utc_ms: Callable[[], int],
    ) -> None:
        self._log = log
        self._act = act
        self._accounts = accounts
        self._utc_ms = utc_ms
        self._senders = {name: item for name, item in delivery.senders.items() if item.poster.signing_secret}
        self._doors = {
            name: Door(item.poster.signing_secret, now_s=utc_ms() / 1000) for name, item in self._senders.items()
        }
        self._answers: set[asyncio.Task[None]] = set()

    def mount(self, app: FastAPI) -> None:
        """Adds the route."""
        router = APIRouter(prefix="/v1", tags=["delivery"])
        content = {"application/x-www-form-urlencoded": {"schema": {"type": "object"}}}
        router.post("/slack/{name}", openapi_extra={"requestBody": {"required": True, "content": content}})(
            self._route()
        )
        app.include_router(router)

    async def stop(self) -> None:
        """Lets no answer outlive the server."""
        for task in self._answers:
            task.cancel()
        await asyncio.gather(*self._answers, return_exceptions=True)

    def _route(self) -> Any:
        async def pressed(name: str, request: Request) -> Response:
            """What somebody pressed in a Slack message; signed by Slack, and taken once."""
            sender = self._senders.get(name)
            if sender is None:
                raise RequestError("not_found", "no such sender", status=404)
            body = await _body(request)
            headers = {key.lower(): value for key, value in request.headers.items()}
            self._doors[name].check(headers, body, now_s=self._utc_ms() / 1000)
            interaction = parse(body)
            for item in interaction.actions[:1]:
                if interaction.type == "block_actions" and item.action_id == ACKNOWLEDGE:
                    words = await self._take(sender, interaction, item.value)
                    self._tell(sender, interaction, words)
            return Response(status_code=200)

        return pressed

    async def _take(self, sender: Sender, interaction: Interaction, alert_id: str) -> str:
        """Acknowledges; returns what the person is told."""
        config, user = sender.config, interaction.user.id
        words = _WORDS[config.language]
        person = config.people.get(user, "")
        found = await asyncio.to_thread(self._log.alert, config.tenant, alert_id)
        if found is None or not await asyncio.to_thread(self._may, sender, person, found[1]):
            await self._audit(config.tenant, person or "slack", "slack.refused", alert_id, f"user={user[:64]}")
            return words["forbidden"].format(user=user[:64])
        try:
            said = await self._act(
                config.tenant, SupervisorAction(action=Action.ACKNOWLEDGE, alert_id=alert_id, by=person)
            )
            await self._audit(config.tenant, person, "slack.acknowledge", alert_id, f"user={user[:64]}")
        except MamoriError:
            return words["failed"]
        outcome = "ok" if said.refusal is None else said.refusal.value
        return words.get(outcome, words["failed"]).format(by=said.first_by)

    def _may(self, sender: Sender, person: str, alert: Alert) -> bool:
        """Whether the mapped person may take an alert: within the sender's queues, and within their own account's if they
        have one here. Whoever signs in at the identity provider has none: then the mapping in the settings says so.
        """
        config = sender.config
        if not person:
            return False
        queues = frozenset(config.queues) if config.queues is not None else None
        who = Principal(name=person, tenant=config.tenant, role=Role.SUPERVISOR, queues=queues)
        account = self._accounts.find(person)
        if account is None:
            return who.may_see(alert.call.queue)
        own = Principal(name=person, tenant=account.tenant, role=account.role, queues=account.queues)
        open_to = account.disabled_ms is None and own.tenant == who.tenant and own.role in WATCHERS
        return open_to and own.may_see(alert.call.queue) and who.may_see(alert.call.queue)

    def _tell(self, sender: Sender, interaction: Interaction, words: str) -> None:
        """Answers the person, where Slack said; nowhere but at the host that the sender itself posts to."""
        ours, theirs = urlsplit(sender.poster.url), urlsplit(interaction.response_url)
        if (ours.scheme, ours.netloc) != (theirs.scheme, theirs.netloc) or len(self._answers) >= MAX_ANSWERS:
            return
        task = asyncio.create_task(self._post(sender, interaction.response_url, words))
        self._answers.add(task)
        task.add_done_callback(self._answers.discard)

    async def _post(self, sender: Sender, url: str, words: str) -> None:
        attempt = await sender.poster.say(url, msgspec.json.encode(answer(words)))
        if attempt.status is None or attempt.status >= 300:
            _log.warning("slack: an answer did not arrive", extra={"status": attempt.status, "error": attempt.error})

    async def _audit(self, tenant: str, actor: str, action: str, target: str, detail: str) -> None:
        entry = AuditEntry(
            tenant=tenant, utc_ms=self._utc_ms(), actor=actor, action=action, target=target[:512], detail=detail
        )
        await asyncio.wrap_future(self._log.append(Batch(audit=[entry])))


async def _body(request: Request) -> bytes:
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > MAX_BODY_BYTES:
            raise RequestError("too_large", f"expected at most {MAX_BODY_BYTES} bytes", status=413)
        parts.append(part)
    return b"".join(parts)

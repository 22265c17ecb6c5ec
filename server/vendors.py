"""Messages in platforms' own formats on their way into the runtime: adapted, cleaned, delivered, accounted for.

A message counts as delivered when every event of it is durable. What was not stored is forgotten by the adapter's state, so
that the same message, sent again, is taken up again; what was stored twice is known by the segment's id.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Final

from detector.adapters.errors import AdapterError
from detector.adapters.folding import feed
from detector.adapters.frame import Envelope, Format, Known
from detector.adapters.source import Report, Source
from detector.events import CallEvent
from server.auth import Gate, Principal
from server.errors import EventError
from server.live.reception import Feed
from server.redaction import hash_caller, redact_event
from server.runtime import Runtime

MAX_SOURCES: Final = 256
"""States of adapters, one for each tenant and format."""
MAX_LOGGED: Final = 1024
"""Different reports in the log, over all sources; further ones are counted and answered, not logged."""

_log = logging.getLogger("mamori.formats")


class Receipt:
    """One message's events under way; a `Feed` for the runtime.

    Args:
        tenant: whose calls these are.
        done: called once when all events are durable or refused.
    """

    def __init__(self, tenant: str, done: Callable[[Receipt], None]) -> None:
        self.tenant = tenant
        self.events = 0
        self.reports: list[Report] = []
        self.refusal: EventError | None = None
        self.retry_after_ms: int | None = None
        self.finished = False
        self._done = done
        self._pending = 1  # the message itself, until all its events were handed over
        self._call_ids: set[str] = set()

    def acked(self, call_id: str, seq: int) -> None:
        """An event is durable; told by `settled`."""

    def refused(self, error: EventError, *, expected: int | None = None, retry_after_ms: int | None = None) -> None:
        """An event was not stored; of several refusals the one to retry counts."""
        if self.refusal is None or error.retry:
            self.refusal, self.retry_after_ms = error, retry_after_ms

    def taken(self, call_id: str) -> None:
        """One more event is under way."""
        self._pending += 1
        self.events += 1
        self._call_ids.add(call_id)

    def settled(self) -> None:
        """One event is durable or void; a refusal follows within the same step."""
        self._pending -= 1
        if not self._pending:
            asyncio.get_running_loop().call_soon(self._finish)

    def _finish(self) -> None:
        self.finished = True
        self._done(self)


class Vendors:
    """Adapters and their states.

    Args:
        runtime: takes the events.
        gate: how often a credential may send.
        formats: by name.
        caller_key: secret of the keyed hash of callers.
        observe: hears of messages and reports, as `messages` or a report's kind, by format.
    """

    def __init__(
        self,
        runtime: Runtime,
        gate: Gate,
        formats: Mapping[str, Format],
        *,
        caller_key: bytes,
        observe: Callable[[str, str], None] = lambda _format, _what: None,
    ) -> None:
        self.formats = formats
        self._runtime = runtime
        self._gate = gate
        self._caller_key = caller_key
        self._observe = observe
        self._sources: dict[tuple[str, str], Source] = {}
        self._logged: set[tuple[str, str, Report]] = set()

    def envelope(
        self, principal: Principal, *, headers: Mapping[str, str], path: str, query: dict[str, str]
    ) -> Envelope:
        """What came around a message, and the log to ask."""

        def known(call_id: str) -> Known | None:
            return self._known(principal.tenant, call_id)

        return Envelope(headers=headers, path=path, query=query, received_ms=self._runtime.clock.utc_ms(), known=known)

    def deliver(
        self,
        principal: Principal,
        form: Format,
        data: bytes,
        envelope: Envelope,
        *,
        done: Callable[[Receipt], None],
        owner: Feed | None = None,
    ) -> Receipt:
        """Takes a message.

        Args:
            done: called once when everything of it is durable or refused; never before this returns.
            owner: the connection that feeds the calls, where there is one.

        Raises:
            EventError: the message cannot be read (`bad_json`, `bad_event`), or comes too fast (`rate_limited`); nothing of it was taken.
        """
        wait_s = self._gate.event_wait_s(principal)
        if wait_s:
            raise EventError("rate_limited", f"too many messages, wait {wait_s:.1f} s", retry=True)
        source = self._source(principal.tenant, form.name)
        try:
            source, events = feed(form, source, data, envelope)
        except AdapterError as error:
            self._observe(form.name, error.code)
            raise EventError(error.code, error.message, field=error.field) from None
        receipt = Receipt(principal.tenant, done)
        receipt.reports = source.take_reports()
        self._report(principal.tenant, form, receipt.reports)
        for event in events:
            try:
                if self._runtime.reception.accept(receipt, self._clean(principal.tenant, source, event)):
                    receipt.taken(event.call_id)
            except EventError as refusal:
                receipt.refused(refusal)
                if refusal.retry:
                    source.forget(event.call_id)
                    break
            else:
                if owner is not None:
                    self._runtime.reception.adopt(owner, event.call_id)
        receipt.settled()
        return receipt

    def failed(self, form: Format, receipt: Receipt) -> None:
        """Forgets the calls of a message that was not stored whole, so that it can come again."""
        source = self._source(receipt.tenant, form.name)
        for call_id in receipt._call_ids:
            source.forget(call_id)

    def _source(self, tenant: str, name: str) -> Source:
        key = (tenant, name)
        source = self._sources.pop(key, None) or Source()
        while len(self._sources) >= MAX_SOURCES:
            del self._sources[next(iter(self._sources))]
        self._sources[key] = source
        return source

    def _known(self, tenant: str, call_id: str) -> Known | None:
        call = self._runtime.calls.get((tenant, call_id))
        record = call.record if call is not None else self._runtime.log.find_call(tenant, call_id)
        if record is None:
            return None
        ended_ms = record.ended_ms if call is None and record.end_reason != "idle" else None
        return Known(started_ms=record.started_ms, ended_ms=ended_ms)

    def _clean(self, tenant: str, source: Source, event: CallEvent) -> CallEvent:
        call = source.calls.get(event.call_id)
        language = call.language if call is not None else "ja"
        return redact_event(hash_caller(event, self._caller_key, tenant), language, self._runtime.patterns)

    def _report(self, tenant: str, form: Format, reports: list[Report]) -> None:
        self._observe(form.name, "messages")
        for report in reports:
            self._observe(form.name, report.kind.value)
            key = (tenant, form.name, report)
            if key in self._logged or len(self._logged) >= MAX_LOGGED:
                continue
            self._logged.add(key)
            _log.warning("format %s of tenant %s: %s: %s", form.name, tenant, report.kind.value, report.detail)

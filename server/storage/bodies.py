"""How the words in the state database are written into their columns and read back, each sealed for its own row.

Knows columns and values, no queries. A value that cannot be opened is told in the log by the name of its row and left out:
one damaged row must not keep a supervisor from all others. `mamori db verify` lists such rows.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from types import SimpleNamespace
from typing import Any, Final

import msgspec

from detector.alerts import Alert, AlertEvent
from server.storage.port import LedgerEntry, Snapshot
from server.storage.vault import PLAIN, SealError, Vault

_DAY_BITS: Final = 36
"""Where the day begins in a position of the log, see `daylog`."""
_ALERT: Final = msgspec.msgpack.Decoder(Alert)
_EVENT: Final = msgspec.msgpack.Decoder(AlertEvent)
_ENCODER: Final = msgspec.msgpack.Encoder()

_log = logging.getLogger("mamori.storage")

Place = tuple[str, str, str]
"""Tenant, scope and name of a row: what a value is sealed for."""


def _alert_place(row: Any) -> Place:
    return row.tenant, "alerts", f"{row.alert_id}\x1f{row.version}"


def _event_place(row: Any) -> Place:
    return row.tenant, "alert_events", f"{row.alert_id}\x1f{row.version}"


def _snapshot_place(row: Any) -> Place:
    """A scope for each day: snapshots are many."""
    name = f"{row.instance}\x1f{row.position}\x1f{row.fold_version}"
    return row.tenant, f"snapshots/{row.position >> _DAY_BITS}", name


def _message_place(row: Any) -> Place:
    return row.tenant, "outbox", f"{row.sender}\x1f{row.message_id}"


def _note_place(row: Any) -> Place:
    return row.tenant, "flags", f"{row.instance}\x1f{row.segment_id}\x1f{row.utc_ms}"


def _centre_place(row: Any) -> Place:
    return row.tenant, "ledger", f"{row.instance}\x1f{row.ordinal}"


SEALED: Final[dict[tuple[str, str], tuple[tuple[str, ...], Callable[[Any], Place]]]] = {
    ("alerts", "body"): (("tenant", "alert_id", "version"), _alert_place),
    ("alert_events", "body"): (("tenant", "alert_id", "version"), _event_place),
    ("snapshots", "data"): (("tenant", "instance", "position", "fold_version"), _snapshot_place),
    ("outbox", "body"): (("tenant", "sender", "message_id"), _message_place),
    ("flags", "note"): (("tenant", "instance", "segment_id", "utc_ms"), _note_place),
    ("ledger", "centre"): (("tenant", "instance", "ordinal"), _centre_place),
}
"""Every sealed column by table and name, with what it takes to name its row."""


class Bodies:
    """Writes and reads columns; an empty text or message stays empty.

    Args:
        vault: seals them.
    """

    def __init__(self, vault: Vault = PLAIN) -> None:
        self.vault = vault

    def alert_body(self, tenant: str, alert: Alert) -> bytes:
        """`alerts.body`."""
        row = SimpleNamespace(tenant=tenant, alert_id=alert.alert_id, version=alert.version)
        return self.vault.seal(*_alert_place(row), _ENCODER.encode(alert))

    def alert(self, row: Any) -> Alert | None:
        """The alert of a row of `alerts`; None when it cannot be opened."""
        body = self._open(_alert_place(row), row.body)
        return None if body is None else _ALERT.decode(body)

    def alerts(self, rows: Iterable[Any]) -> Iterator[tuple[Any, Alert]]:
        """Rows with their alerts, without those that cannot be opened."""
        for row in rows:
            alert = self.alert(row)
            if alert is not None:
                yield row, alert

    def event_body(self, tenant: str, event: AlertEvent) -> bytes:
        """`alert_events.body`."""
        row = SimpleNamespace(tenant=tenant, alert_id=event.alert.alert_id, version=event.alert.version)
        return self.vault.seal(*_event_place(row), _ENCODER.encode(event))

    def events(self, rows: Iterable[Any]) -> Iterator[tuple[Any, AlertEvent]]:
        """Rows of `alert_events` with their events, without those that cannot be opened."""
        for row in rows:
            body = self._open(_event_place(row), row.body)
            if body is not None:
                yield row, _EVENT.decode(body)

    def snapshot_data(self, snapshot: Snapshot) -> bytes:
        """`snapshots.data`."""
        return self.vault.seal(*_snapshot_place(snapshot), snapshot.data)

    def snapshot(self, row: Any) -> Snapshot | None:
        """The snapshot of a row; None when it cannot be opened: the log holds the same."""
        data = self._open(_snapshot_place(row), row.data)
        if data is None:
            return None
        return Snapshot(
            tenant=row.tenant, instance=row.instance, position=row.position, fold_version=row.fold_version, data=data
        )

    def message_body(self, tenant: str, sender: str, message_id: str, body: bytes) -> bytes:
        """`outbox.body`."""
        row = SimpleNamespace(tenant=tenant, sender=sender, message_id=message_id)
        return self.vault.seal(*_message_place(row), body) if body else body

    def message(self, row: Any) -> bytes | None:
        """The body of a row of `outbox`; None when it cannot be opened."""
        return self._open(_message_place(row), row.body) if row.body else b""

    def note_body(self, tenant: str, instance: str, segment_id: str, utc_ms: int, note: str) -> bytes:
        """`flags.note`."""
        row = SimpleNamespace(tenant=tenant, instance=instance, segment_id=segment_id, utc_ms=utc_ms)
        return self.vault.seal(*_note_place(row), note.encode("utf-8", "replace")) if note else b""

    def note(self, row: Any) -> str:
        """The note of a row of `flags`; empty also when it cannot be opened."""
        return (self._open(_note_place(row), row.note) or b"").decode() if row.note else ""

    def centre_body(self, entry: LedgerEntry) -> bytes:
        """`ledger.centre`."""
        return self.vault.seal(*_centre_place(entry), entry.centre)

    def centre(self, row: Any) -> bytes | None:
        """The embedding of a row of `ledger`; None when it cannot be opened."""
        return self._open(_centre_place(row), row.centre)

    def _open(self, place: Place, stored: bytes) -> bytes | None:
        tenant, scope, name = place
        try:
            return self.vault.open(tenant, scope, name, stored)
        except SealError as error:
            what = {"tenant": tenant, "scope": scope, "row": name.replace("\x1f", "/"), "why": str(error)}
            _log.error("stored value cannot be opened", extra=what)
            return None

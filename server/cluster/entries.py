"""What a message of the input log holds, and how it is sealed.

One row a message, so that a row can be taken out of the stream alone.
"""

from __future__ import annotations

import secrets
from datetime import UTC, datetime
from typing import Final

import msgspec

from server.cluster.jetstream import Message
from server.storage import codec
from server.storage.port import Row, Stored
from server.storage.vault import PLAIN, SealError, Vault


class Entry(msgspec.Struct, frozen=True, omit_defaults=True):
    """One row on the stream.

    Args:
        payload: the row's value as `codec.encode` writes it, sealed.
        nonce: makes each try to write a message of its own, so that its writer knows it again.
        replaces: sequence of the message in whose place this one is read: its words were masked after the fact.
    """

    tenant: str
    instance: str
    kind: str
    utc_ms: int
    payload: bytes
    seq: int | None = None
    nonce: bytes = b""
    replaces: int = 0


_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final = msgspec.msgpack.Decoder(Entry)
_OWNED: Final = "owned"
"""Kind of the message by which a new owner begins; it holds no row."""


class Entries:
    """Writes and reads messages.

    Args:
        vault: seals their payloads.
    """

    def __init__(self, vault: Vault = PLAIN) -> None:
        self._vault = vault

    def encode(self, row: Row, *, replaces: int = 0) -> bytes:
        """A row as a message."""
        name = codec.row_name(row.instance, row.kind, 0, row.utc_ms, row.seq)
        payload = self._vault.seal(row.tenant, _scope(row.utc_ms), name, codec.encode(row.value))
        return _ENCODER.encode(
            Entry(
                tenant=row.tenant,
                instance=row.instance,
                kind=row.kind,
                utc_ms=row.utc_ms,
                payload=payload,
                seq=row.seq,
                nonce=secrets.token_bytes(8),
                replaces=replaces,
            )
        )

    def stored(self, position: int, entry: Entry) -> Stored:
        """The row of a message; what cannot be opened or read is a gap where the platform counts, else a tombstone."""
        try:
            name = codec.row_name(entry.instance, entry.kind, 0, entry.utc_ms, entry.seq)
            payload = self._vault.open(entry.tenant, _scope(entry.utc_ms), name, entry.payload)
            return codec.stored(
                entry.tenant,
                entry.instance,
                position,
                kind=entry.kind,
                utc_ms=entry.utc_ms,
                seq=entry.seq,
                payload=payload,
            )
        except (SealError, KeyError, msgspec.MsgspecError):
            return codec.unreadable(entry.tenant, entry.instance, position, utc_ms=entry.utc_ms, seq=entry.seq)


def owned(epoch: int) -> bytes:
    """The message by which a new owner begins."""
    return _ENCODER.encode(Entry(tenant="", instance="", kind=_OWNED, utc_ms=epoch, payload=b""))


def read_entry(message: Message) -> Entry | None:
    """The row that a message holds, or None."""
    try:
        entry = _DECODER.decode(message.data)
    except msgspec.MsgspecError:
        return None
    return entry if entry.kind != _OWNED else None


def _scope(utc_ms: int) -> str:
    """A scope for each day, as in the day files: no key seals more than it may."""
    return f"stream/{datetime.fromtimestamp(utc_ms / 1000, tz=UTC).date().isoformat()}"

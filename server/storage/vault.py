"""Seals what is stored of people's words with AES-GCM, and opens it again.

Knows keys and bytes, nothing of files, tables or messages. A sealed value begins with a byte that neither MessagePack, JSON
nor UTF-8 can begin with, then names its key, so that keys can change while older values stay readable:

    0xC1 | length of the key's id | id | 12 bytes nonce | ciphertext and 16 bytes tag

No master key seals anything itself. Each tenant has keys of its own for each scope (a table, or a day of the log), derived by
HKDF-SHA-256; what names the row is authenticated. So a value opens in its own place alone, and no derived key comes near the
2^32 values up to which random nonces are safe (NIST SP 800-38D, section 8.3).
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, TypeVar

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

KEY_BYTES: Final = 32
"""AES-256."""
MARK: Final = 0xC1
"""Never used by MessagePack, and no UTF-8 text (JSON included) begins with it."""
_NONCE_BYTES: Final = 12
_TAG_BYTES: Final = 16
NONCES_AT_ONCE: Final = 512
MAX_CACHED: Final = 4_096
"""Derived keys that are kept at hand; one more pushes the oldest out, and is derived again when it is needed."""

_K = TypeVar("_K")
_V = TypeVar("_V")


class SealError(Exception):
    """A stored value cannot be opened: its key is not there, it was changed or moved, or it is not sealed at all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """A master key.

    Args:
        key_id: 1 to 32 ASCII characters, stands in every value that the key sealed.
        secret: 32 bytes.
        tenant: the one tenant whose values it seals, or None for all that have no key of their own.
    """

    key_id: str
    secret: bytes = field(repr=False)
    tenant: str | None = None


class Vault:
    """Seals and opens values; safe to use from several threads.

    Args:
        keys: oldest first, without a double id; with none nothing is sealed. Those without a tenant must be among them.
        accept_plain: whether a value that is not sealed is taken as it is, though there are keys.
    """

    def __init__(self, keys: Sequence[Key] = (), *, accept_plain: bool = False) -> None:
        self.keys = tuple(keys)
        self._by_id = {key.key_id: key for key in keys}
        self._plain = accept_plain or not keys
        self._readers: dict[tuple[str, str, str], AESGCM] = {}
        self._writers: dict[tuple[str, str], tuple[bytes, AESGCM]] = {}
        self._deriving = threading.Lock()

    @property
    def active(self) -> bool:
        """Whether values are sealed."""
        return bool(self.keys)

    def newest(self, tenant: str) -> Key:
        """The key that a tenant's values are sealed with from now on; only where `active`."""
        own = [key for key in self.keys if key.tenant == tenant]
        return own[-1] if own else [key for key in self.keys if key.tenant is None][-1]

    def seal(self, tenant: str, scope: str, row: str, plain: bytes) -> bytes:
        """Seals a value for its place.

        Args:
            tenant: whose it is.
            scope: the table or file, a part of it where more than 2^32 values may come.
            row: names the row within the scope.
            plain: what is sealed; it comes back as it is where the vault is not `active`.
        """
        if not self.keys:
            return plain
        known = self._writers.get((tenant, scope))
        if known is None:
            known = self._write_with(self.newest(tenant), tenant, scope)
        header, cipher = known
        nonce = _nonce()
        return header + nonce + cipher.encrypt(nonce, plain, row.encode("utf-8", "surrogatepass"))

    def open(self, tenant: str, scope: str, row: str, stored: bytes) -> bytes:
        """Opens what `seal` made for the same place.

        Raises:
            SealError: says why it cannot be opened; nothing of the value is in it.
        """
        key_id = sealed_with(stored)
        if key_id is None:
            if self._plain:
                return stored
            raise SealError("not sealed")
        cipher = self._readers.get((key_id, tenant, scope))
        if cipher is None:
            cipher = self._read_with(key_id, tenant, scope)
        at = 2 + len(key_id)
        nonce = stored[at : at + _NONCE_BYTES]
        if len(stored) < at + _NONCE_BYTES + _TAG_BYTES:
            raise SealError("cut short")
        try:
            return cipher.decrypt(nonce, stored[at + _NONCE_BYTES :], row.encode("utf-8", "surrogatepass"))
        except InvalidTag:
            raise SealError(f"changed, moved, or sealed with another key of the id {key_id!r}") from None

    def current(self, tenant: str, stored: bytes) -> bool:
        """Whether a value is as `seal` would make it today: sealed with the newest key, or plain where none is."""
        return sealed_with(stored) == (self.newest(tenant).key_id if self.keys else None)

    def _write_with(self, key: Key, tenant: str, scope: str) -> tuple[bytes, AESGCM]:
        name = key.key_id.encode("ascii")
        made = bytes((MARK, len(name))) + name, _derived(key, tenant, scope)
        with self._deriving:
            _bounded(self._writers)[tenant, scope] = made
        return made

    def _read_with(self, key_id: str, tenant: str, scope: str) -> AESGCM:
        key = self._by_id.get(key_id)
        if key is None:
            raise SealError(f"no key of the id {key_id!r}")
        if key.tenant not in (None, tenant):
            raise SealError(f"the key {key_id!r} is of another tenant")
        cipher = _derived(key, tenant, scope)
        with self._deriving:
            _bounded(self._readers)[key_id, tenant, scope] = cipher
        return cipher


PLAIN: Final = Vault()
"""Seals nothing."""


def sealed_with(stored: bytes) -> str | None:
    """The id of the key that a value was sealed with; None for one that is not sealed.

    Raises:
        SealError: it is damaged.
    """
    if not stored or stored[0] != MARK:
        return None
    try:
        name = stored[2 : 2 + stored[1]].decode("ascii")
    except (IndexError, UnicodeDecodeError):
        raise SealError("damaged") from None
    return name


_nonces: Final[deque[bytes]] = deque()
os.register_at_fork(after_in_child=_nonces.clear)


def _nonce() -> bytes:
    """A random nonce, used once. They are drawn many at a time: each draw gives the interpreter lock away, and a thread that
    seals in a row would wait for a busy event loop at each value."""
    try:
        return _nonces.popleft()
    except IndexError:
        drawn = os.urandom(_NONCE_BYTES * NONCES_AT_ONCE)
        fresh = [drawn[at : at + _NONCE_BYTES] for at in range(0, len(drawn), _NONCE_BYTES)]
        _nonces.extend(fresh[1:])
        return fresh[0]


def _derived(key: Key, tenant: str, scope: str) -> AESGCM:
    info = f"mamori/1/{len(tenant)}:{tenant}{scope}".encode("utf-8", "surrogatepass")
    return AESGCM(HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=info).derive(key.secret))


def _bounded(cache: dict[_K, _V]) -> dict[_K, _V]:
    while len(cache) >= MAX_CACHED:
        cache.pop(next(iter(cache)), None)
    return cache

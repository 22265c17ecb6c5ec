"""Which network addresses a sender may reach: public ones, and those that its settings allow.

The check is made on the address that is then connected to, after the name was looked up: a name that changes its address
between check and connection, or that hides a private address in an unusual spelling, gains nothing.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any, Final

import httpcore2

Network = IPv4Network | IPv6Network
_NAT64: Final = ip_network("64:ff9b::/96")
"""RFC 6052: an IPv4 address in its last 32 bits."""


class AddressRefusedError(Exception):
    """The name leads to an address that is not allowed; neither is in the message."""


def allowed(address: str, networks: Iterable[Network]) -> bool:
    """Whether an address may be connected to: it is in one of the networks, or public in every reading of it."""
    readings = _readings(ip_address(address.partition("%")[0]))
    if any(reading in network for reading in readings for network in networks if reading.version == network.version):
        return True
    return all(reading.is_global and not reading.is_multicast and not reading.is_reserved for reading in readings)


def _readings(address: IPv4Address | IPv6Address) -> list[IPv4Address | IPv6Address]:
    """The address, or the IPv4 address that it stands for (mapped, NAT64), or both (6to4, Teredo)."""
    if isinstance(address, IPv4Address):
        return [address]
    if address.ipv4_mapped is not None:
        return [address.ipv4_mapped]
    if address in _NAT64:
        return [IPv4Address(int(address) & 0xFFFF_FFFF)]
    inner = (address.sixtofour, *(address.teredo or ()))
    return [address, *(found for found in inner if found is not None)]


async def look_up(host: str, port: int) -> list[str]:
    """The addresses of a name, in the resolver's order, on a thread of its own.

    The shared threads of the event loop are needed by the detector: a resolver that hangs must not hold them.

    Raises:
        OSError: the name has none.
    """
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[list[str]] = loop.create_future()

    def settle(found: list[str] | None, error: OSError | None) -> None:
        if answer.done():
            return
        if found is not None:
            answer.set_result(found)
        else:
            answer.set_exception(error or OSError("no address"))

    def work() -> None:
        found, error = None, None
        try:
            found = [str(item[4][0]) for item in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
        except (OSError, UnicodeError) as problem:
            error = problem if isinstance(problem, OSError) else OSError("not a host name")
        if not loop.is_closed():
            loop.call_soon_threadsafe(settle, found, error)

    threading.Thread(target=work, name="mamori-lookup", daemon=True).start()
    return await answer


class GuardedBackend(httpcore2.AsyncNetworkBackend):
    """Connects to allowed addresses only; TLS still checks the certificate against the name.

    Args:
        networks: allowed beside public addresses.
    """

    def __init__(self, networks: Iterable[Network]) -> None:
        self._networks = tuple(networks)
        self._inner = httpcore2.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - the library's interface
        local_address: str | None = None,
        socket_options: Any = None,
    ) -> httpcore2.AsyncNetworkStream:
        """Looks the name up, checks every address, and connects to the first that answers.

        Raises:
            AddressRefusedError: any of the addresses is not allowed.
        """
        try:
            addresses = list(dict.fromkeys(await look_up(host.strip("[]"), port)))
        except OSError as error:
            raise httpcore2.ConnectError("name not found") from error
        if not all(allowed(address, self._networks) for address in addresses):
            raise AddressRefusedError
        failure: Exception = httpcore2.ConnectError("no address")
        for address in addresses:
            try:
                return await self._inner.connect_tcp(address, port, timeout, local_address, socket_options)
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as error:
                failure = error
        raise failure

    async def connect_unix_socket(self, *_args: Any, **_options: Any) -> httpcore2.AsyncNetworkStream:
        """Never.

        Raises:
            AddressRefusedError: always.
        """
        raise AddressRefusedError

    async def sleep(self, seconds: float) -> None:
        """Waits."""
        await asyncio.sleep(seconds)


def make_pool(networks: Iterable[Network], *, context: ssl.SSLContext | None = None) -> httpcore2.AsyncConnectionPool:
    """A connection pool that follows no redirect, uses no proxy and reaches allowed addresses only."""
    return httpcore2.AsyncConnectionPool(
        ssl_context=context, max_connections=8, keepalive_expiry=30, network_backend=GuardedBackend(networks)
    )

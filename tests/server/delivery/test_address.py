from __future__ import annotations

import asyncio
from ipaddress import ip_network

import httpcore2
import pytest

from server.delivery import address
from server.delivery.address import AddressRefusedError, allowed, make_pool
from tests.server.delivery.receiver import receiving


@pytest.mark.parametrize(
    "private",
    [
        "127.0.0.1", "0.0.0.0", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "224.0.0.1",
        "255.255.255.255", "192.0.2.1", "198.18.0.1", "240.0.0.1", "::", "::1", "fe80::1", "fe80::1%eth0", "fc00::1",
        "ff02::1", "::ffff:127.0.0.1", "::ffff:169.254.169.254", "2002:7f00:1::", "2002:a00:1::1", "64:ff9b::7f00:1",
        "64:ff9b::a9fe:a9fe", "64:ff9b:1::a00:1", "2001:db8::1", "fd00:ec2::254",
    ],
)  # fmt: skip
def test_private_addresses_are_refused_in_every_spelling(private):
    assert not allowed(private, ())


@pytest.mark.parametrize("public", ["8.8.8.8", "2606:4700::1111", "64:ff9b::808:808", "::ffff:8.8.8.8"])
def test_public_addresses_are_allowed(public):
    assert allowed(public, ())


def test_a_network_can_be_allowed_by_hand():
    networks = (ip_network("10.0.0.0/8"), ip_network("::1/128"))
    assert allowed("10.1.2.3", networks)
    assert allowed("::ffff:10.1.2.3", networks)
    assert allowed("::1", networks)
    assert not allowed("192.168.1.1", networks)


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "2130706433", "0x7f.1", "127.1", "[::1]", "[::ffff:7f00:1]"]
)
async def test_loopback_is_not_reached_under_any_name(host):
    async with receiving() as receiver, make_pool(()) as pool:
        with pytest.raises((AddressRefusedError, httpcore2.ConnectError)):
            await pool.request("POST", f"http://{host}:{receiver.port}/")
        assert receiver.got == []


async def test_a_name_with_one_private_address_is_refused_whole(monkeypatch):
    async def two(host: str, port: int) -> list[str]:
        return ["8.8.8.8", "10.0.0.1"]

    monkeypatch.setattr(address, "look_up", two)
    async with make_pool(()) as pool:
        with pytest.raises(AddressRefusedError):
            await pool.request("POST", "http://two.example/")


async def test_the_checked_address_is_the_one_that_is_reached(monkeypatch):
    looked_up = []

    async def changing(host: str, port: int) -> list[str]:
        looked_up.append(host)
        return ["127.0.0.1"] if len(looked_up) == 1 else ["10.0.0.1"]

    monkeypatch.setattr(address, "look_up", changing)
    async with receiving() as receiver, make_pool((ip_network("127.0.0.0/8"),)) as pool:
        answer = await pool.request("POST", f"http://rebinding.example:{receiver.port}/", content=b"x")
        assert answer.status == 200
        assert receiver.got[0].headers["host"].startswith("rebinding.example")
    assert looked_up == ["rebinding.example"]


async def test_a_name_without_an_address_is_an_error():
    with pytest.raises(OSError):
        await address.look_up("no-such-host.invalid", 443)
    with pytest.raises(OSError):
        await address.look_up("a" * 70 + ".invalid", 443)


async def test_a_look_up_that_hangs_ends_with_its_caller(monkeypatch):
    release = asyncio.Event()
    loop = asyncio.get_running_loop()

    def hang(*_args, **_options):
        asyncio.run_coroutine_threadsafe(release.wait(), loop).result()
        return []

    monkeypatch.setattr(address.socket, "getaddrinfo", hang)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await address.look_up("slow.example", 443)
    release.set()

"""A connection to a real NATS server for the length of a block."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from server.cluster.jetstream import JetStream


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[JetStream]:
    connection = JetStream(url)
    await connection.open()
    try:
        yield connection
    finally:
        await connection.close()

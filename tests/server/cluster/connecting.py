"""A connection to a real NATS server for the length of a block."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from server.cluster.jetstream import JetStream
from server.keeper import insist


@asynccontextmanager
async def opened(url: str, *, replicas: int = 1) -> AsyncIterator[JetStream]:
    connection = JetStream(url, replicas=replicas)
    await insist(connection.open)  # Several servers need a moment to find together.
    try:
        yield connection
    finally:
        await connection.close()

"""A worker's share of the partitions as a process of its own: says on standard output what it took and gave up."""

from __future__ import annotations

import asyncio
import sys

from server.cluster.jetstream import JetStream
from server.cluster.ownership import Ownership


async def main(url: str, name: str) -> None:
    nats = JetStream(url, name=name)
    await nats.open()

    async def took(partition: int, epoch: int) -> None:
        print("took", partition, epoch, flush=True)

    async def gave_up(partition: int) -> None:
        print("gave", partition, flush=True)

    ownership = Ownership(nats, name, took=took, gave_up=gave_up)
    ownership.start()
    while True:
        await asyncio.sleep(0.05)
        print("sure" if ownership.sure else "unsure", flush=True)


asyncio.run(main(*sys.argv[1:]))

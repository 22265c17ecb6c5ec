"""Sends a Kafka topic on to Mamori, in any format: a bundled one or a mapping of your own.

    pip install aiokafka mamori
    MAMORI_TOKEN=mmr_… python examples/kafka_bridge.py --brokers kafka:9092 --topic calls --url wss://mamori.example \
        --format acme

Offsets are committed only when everything up to them is durable at Mamori; after a crash or a rebalance the last records
are sent again, and Mamori knows them by their utterances' ids. Use the call's id as the record's key, so that a call's
events stay in one partition and in order.
"""

from __future__ import annotations

import argparse
import asyncio
import os
from typing import Any
from urllib.parse import parse_qsl

from server.format_client import FormatClient

BATCH = 500
POLL_MS = 200


async def bridge(consumer: Any, client: FormatClient) -> None:
    """Sends what a consumer (with `enable_auto_commit=False`) yields, batch by batch, until it is cancelled."""
    while True:
        batches = await consumer.getmany(timeout_ms=POLL_MS, max_records=BATCH)
        number, ends = -1, {}
        for partition, records in batches.items():
            for record in records:
                if record.value is not None:  # a tombstone of a compacted topic
                    number = await client.send(record.value)
                ends[partition] = record.offset + 1
        if number >= 0:
            await client.durable(number)
        if ends:
            await consumer.commit(ends)


async def main() -> None:
    """Reads the arguments and runs until interrupted."""
    from aiokafka import AIOKafkaConsumer  # noqa: PLC0415 - only this bridge needs it

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--brokers", required=True)
    parser.add_argument("--topic", required=True)
    parser.add_argument("--group", default="mamori")
    parser.add_argument("--url", required=True)
    parser.add_argument("--format", required=True)
    parser.add_argument("--query", default="", help="for example language=ja")
    given = parser.parse_args()
    consumer = AIOKafkaConsumer(
        given.topic, bootstrap_servers=given.brokers, group_id=given.group, enable_auto_commit=False
    )
    token = os.environ.get("MAMORI_TOKEN")
    async with FormatClient(given.url, given.format, token=token, query=dict(parse_qsl(given.query))) as client:
        await consumer.start()
        try:
            await bridge(consumer, client)
        finally:
            await consumer.stop()


if __name__ == "__main__":
    asyncio.run(main())

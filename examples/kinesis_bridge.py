"""Sends a Kinesis data stream on to Mamori: Contact Lens segments, Live Call Analytics events.

    pip install boto3 mamori
    MAMORI_TOKEN=mmr_… python examples/kinesis_bridge.py --stream NAME --url wss://mamori.example --format contact_lens

A shard's place is kept in a file and moved only when everything up to it is durable at Mamori; after a crash the last
records are sent again, and Mamori knows them by their utterances' ids. A record goes to the shard of its partition key, so a
call's events stay in order. For many shards use the Kinesis Client Library in the same manner: `send`, `durable`, checkpoint.
"""

from __future__ import annotations

import argparse
import asyncio
import os
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from server.format_client import FormatClient

IDLE_S = 0.25
"""Between two reads of a shard: Kinesis allows five a second."""


class Places:
    """How far each shard was read, in one small file for each."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def read(self, shard: str) -> str:
        """Sequence number of the last durable record, or empty."""
        path = self._folder / shard
        return path.read_text(encoding="ascii") if path.exists() else ""

    def write(self, shard: str, sequence: str) -> None:
        """Moves a shard's place, whole or not at all."""
        fresh = self._folder / f"{shard}.new"
        fresh.write_text(sequence, encoding="ascii")
        fresh.replace(self._folder / shard)


def start(kinesis: Any, stream: str, shard: str, place: str) -> str:
    """A shard's iterator: after its place, or at the newest record."""
    where = {"ShardIteratorType": "LATEST"}
    if place:
        where = {"ShardIteratorType": "AFTER_SEQUENCE_NUMBER", "StartingSequenceNumber": place}
    return str(kinesis.get_shard_iterator(StreamName=stream, ShardId=shard, **where)["ShardIterator"])


async def follow(kinesis: Any, stream: str, shard: str, client: FormatClient, places: Places) -> None:
    """Sends a shard's records on until the shard is closed."""
    iterator: str | None = await asyncio.to_thread(start, kinesis, stream, shard, places.read(shard))
    while iterator:
        try:
            page = await asyncio.to_thread(kinesis.get_records, ShardIterator=iterator, Limit=1000)
        except kinesis.exceptions.ExpiredIteratorException:
            iterator = await asyncio.to_thread(start, kinesis, stream, shard, places.read(shard))
            continue
        number = -1
        for record in page["Records"]:
            number = await client.send(record["Data"])
        if number >= 0:
            await client.durable(number)
            places.write(shard, page["Records"][-1]["SequenceNumber"])
        iterator = page.get("NextShardIterator")
        await asyncio.sleep(IDLE_S)


async def bridge(kinesis: Any, stream: str, client: FormatClient, places: Places) -> None:
    """Follows all shards of a stream."""
    shards = [shard["ShardId"] for shard in kinesis.list_shards(StreamName=stream)["Shards"]]
    async with asyncio.TaskGroup() as group:
        for shard in shards:
            group.create_task(follow(kinesis, stream, shard, client, places))


async def main() -> None:
    """Reads the arguments and runs until interrupted."""
    import boto3  # noqa: PLC0415 - only this bridge needs it

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stream", required=True)
    parser.add_argument("--url", required=True)
    parser.add_argument("--format", required=True)
    parser.add_argument("--query", default="", help="for example language=ja")
    parser.add_argument("--places", type=Path, default=Path("places"))
    given = parser.parse_args()
    query = dict(parse_qsl(given.query))
    token = os.environ.get("MAMORI_TOKEN")
    async with FormatClient(given.url, given.format, token=token, query=query) as client:
        await bridge(boto3.client("kinesis"), given.stream, client, Places(given.places))


if __name__ == "__main__":
    asyncio.run(main())

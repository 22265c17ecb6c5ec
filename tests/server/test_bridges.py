"""The bridge examples, with stand-ins of Kinesis and Kafka and our real server."""

from __future__ import annotations

import asyncio
import importlib.util
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

from detector.adapters.registry import BUNDLED
from server.format_client import FormatClient
from tests.detector.adapters.telling import call, told
from tests.server.running import Running, serving

EXAMPLES = Path(__file__).parents[2] / "examples"
MESSAGES = [data for data, _ in told(BUNDLED["contact_lens"], call(partials=False))]


def example(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class ExpiredError(Exception):
    pass


class Kinesis:
    """One shard with a call on it; its iterators expire once."""

    def __init__(self, records: list[bytes]) -> None:
        self.records = records
        self.exceptions = SimpleNamespace(ExpiredIteratorException=ExpiredError)
        self.expire = True
        self.asked: list[dict[str, Any]] = []

    def list_shards(self, **_: Any) -> dict[str, Any]:
        return {"Shards": [{"ShardId": "shard-0"}]}

    def get_shard_iterator(self, **fields: Any) -> dict[str, Any]:
        self.asked.append(fields)
        after = fields.get("StartingSequenceNumber")
        return {"ShardIterator": str(int(after) + 1 if after else 0)}

    def get_records(self, **fields: Any) -> dict[str, Any]:
        at = int(fields["ShardIterator"])
        if at == 4 and self.expire:
            self.expire = False
            raise ExpiredError
        if at >= len(self.records):
            return {"Records": [], "NextShardIterator": None}
        page = [{"Data": self.records[n], "SequenceNumber": str(n)} for n in range(at, min(at + 2, len(self.records)))]
        return {"Records": page, "NextShardIterator": str(at + len(page))}


async def ended(running: Running) -> list[tuple[str, str]]:
    while (record := running.app.runtime.log.find_call("default", "c-1")) is None or record.ended_ms is None:
        await asyncio.sleep(0.01)
    return [
        (alert.kind.value, alert.level.value) for alert in running.app.runtime.log.alerts("default", open_only=False)
    ]


async def test_kinesis_from_place_to_place(tmp_path, monkeypatch):
    module = example("kinesis_bridge")
    monkeypatch.setattr(module, "IDLE_S", 0)
    places = module.Places(tmp_path / "places")
    kinesis = Kinesis(MESSAGES)
    async with serving(tmp_path / "data") as running:
        async with FormatClient(running.url(""), "contact_lens") as client:
            await module.bridge(kinesis, "s", client, places)
            assert places.read("shard-0") == str(len(MESSAGES) - 1)
            assert [asked["ShardIteratorType"] for asked in kinesis.asked] == ["LATEST", "AFTER_SEQUENCE_NUMBER"]
            places.write("shard-0", "1")  # a crash before the place was moved: the rest comes again
            await module.bridge(kinesis, "s", client, places)
        assert await ended(running) == [("abuse", "critical")]


@dataclass(frozen=True)
class Record:
    offset: int
    value: bytes | None


class Consumer:
    """Yields batches, then waits for ever; remembers what was committed, and how much was durable by then."""

    def __init__(self, batches: list[list[Record]], client: FormatClient) -> None:
        self.batches = batches
        self.client = client
        self.committed: list[dict[str, int]] = []
        self.under_way: list[int] = []
        self.empty = asyncio.Event()

    async def getmany(self, **_: Any) -> dict[str, list[Record]]:
        if not self.batches:
            self.empty.set()
            await asyncio.Event().wait()
        return {"p0": self.batches.pop(0)}

    async def commit(self, ends: dict[str, int]) -> None:
        self.committed.append(ends)
        self.under_way.append(self.client.unacked)


async def test_kafka_commits_what_is_durable_and_nothing_else(tmp_path):
    module = example("kafka_bridge")
    records = [Record(number, data) for number, data in enumerate(MESSAGES)]
    async with serving(tmp_path) as running:
        async with FormatClient(running.url(""), "contact_lens") as client:
            batches = [records[:3], records[2:], [Record(99, None)]]
            consumer = Consumer(batches, client)
            task = asyncio.create_task(module.bridge(consumer, client))
            await asyncio.wait_for(consumer.empty.wait(), 10)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        assert consumer.committed == [{"p0": 3}, {"p0": len(MESSAGES)}, {"p0": 100}]
        assert consumer.under_way == [0, 0, 0]
        assert await ended(running) == [("abuse", "critical")]


def test_the_examples_say_how_they_are_started():
    for path in EXAMPLES.glob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert f"python examples/{path.name}" in text

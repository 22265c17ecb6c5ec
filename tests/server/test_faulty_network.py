"""The real client and the real server with a bad network between them: nothing lost, nothing twice, nothing out of order."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from typing import Any

import pytest

from benchmarks.crash import call_events
from detector.playbook import default_playbook
from detector.rules import default_rules
from server.app import partial_gate
from server.client import IngestClient
from server.link import MIN_BACKOFF_S
from server.replay import replay
from server.wire import decode_event
from tests.detector.scripted import WORDS
from tests.exploring import EXPLORING
from tests.server.faultproxy import faults
from tests.server.running import ScriptedScorer, over, serving

CALLS = 12
SEEDS = range(40) if EXPLORING else (1, 2)


def plans(seed: int) -> dict[str, list[dict[str, Any]]]:
    chance = random.Random(seed)
    texts = [*WORDS, "もしもし", "はい、わかりました"]
    calls = {f"c-{number}": call_events(f"c-{number}", chance) for number in range(CALLS)}
    for events in calls.values():
        for event in events:
            if "text" in event:
                event["text"] = f"{chance.choice(texts)} {''.join(chance.choices('さしすせそ', k=8))}"
    return calls


def raised_in_replay(calls: dict[str, list[dict[str, Any]]]) -> Counter[tuple[str, str]]:
    events = [decode_event({**event, "seq": seq}) for call in calls.values() for seq, event in enumerate(call)]
    changes = replay(
        events, scorer=ScriptedScorer(), rules=default_rules(), playbook=default_playbook(), gate=partial_gate()
    )
    return Counter(
        (change.alert.call_id, change.alert.kind.value) for change in changes if change.type.value == "alert.raised"
    )


@pytest.mark.parametrize("seed", SEEDS)
async def test_over_a_bad_network_nothing_is_lost_or_doubled(tmp_path, monkeypatch, seed):
    monkeypatch.setattr("server.link.MIN_BACKOFF_S", MIN_BACKOFF_S / 10)
    monkeypatch.setattr("server.link.MAX_BACKOFF_S", MIN_BACKOFF_S)
    # A score that a slow machine gives up on would be one alert less, and is no fault of the network.
    monkeypatch.setattr("server.live.scoring.SCORE_WAIT_S", 600)
    calls = plans(seed)
    nacks: list[dict[str, Any]] = []
    async with serving(tmp_path) as running, faults(running.port, seed) as (proxy, port):
        async with IngestClient(f"ws://127.0.0.1:{port}", on_nack=nacks.append) as client:

            async def feed(events: list[dict[str, Any]]) -> None:
                chance = random.Random(len(events))
                for event in events:
                    await client.send(event)
                    await asyncio.sleep(chance.random() * 0.02)

            await asyncio.gather(*(feed(events) for events in calls.values()))
            await client.flush(60)
            assert proxy.cuts >= 2, "the network was too good to prove anything"
            assert client.connects > 1
        log = running.app.runtime.log
        await over(running)
        assert [nack for nack in nacks if not nack["retry"]] == []
        for call_id, events in calls.items():
            record = log.find_call("default", call_id)
            rows = [stored.row for stored in log.read_call("default", record.instance)]
            assert [row.seq for row in rows if row.seq is not None] == list(range(len(events)))
            texts = [row.value.text for row in rows if row.kind == "transcript.segment"]
            assert texts == [event["text"] for event in events if "text" in event]
        told = [entry.event for entry in log.stream("default", after=0, limit=10_000)]
        versions = Counter((change.alert.alert_id, change.alert.version) for change in told)
        assert max(versions.values()) == 1
        raised = Counter(
            (change.alert.call_id, change.alert.kind.value) for change in told if change.type.value == "alert.raised"
        )
        expected = raised_in_replay(calls)
        assert sum(expected.values()) > 0
        # Distress follows the clock, which runs on while the network is away.
        for counts in (raised, expected):
            for key in [key for key in counts if key[1] == "distress"]:
                del counts[key]
        assert raised == expected

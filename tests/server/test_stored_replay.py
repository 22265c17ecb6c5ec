"""A stored call, recomputed from its own log, raises what it once raised; a call keeps the rules that it began with."""

from __future__ import annotations

import asyncio
import json
import threading
from typing import Any

from click.testing import CliRunner

from detector.alerts import AlertEvent
from detector.playbook import default_playbook
from detector.rules import Rules, parse_rules
from server.app import partial_gate
from server.cli import main
from server.installation import read_installation
from server.stored import replay_stored, stored_calls
from tests.server.running import (
    Running,
    ScriptedScorer,
    ended,
    over,
    platform,
    said,
    serving,
    start,
    started,
    supervisor,
)

MINUTE_MS = 60_000
ROUND = "返金してくださいと言っているんです、その話です"
ANSWER = "規約により返金はいたしかねます、日割りの計算もございません"


def shown(event: AlertEvent) -> dict[str, Any]:
    """Everything of an alert event but the wall clock."""
    alert = event.alert
    return {
        "type": event.type,
        "id": (alert.alert_id, alert.version),
        "changed": event.changed,
        "decided": (alert.kind, alert.level, alert.state, alert.labels, alert.score, alert.reason, alert.step),
        "evidence": alert.evidence,
        "suggestion": alert.suggestion,
        "call": alert.call,
        "raised_at_ms": alert.raised_at_ms,
        "versions": (alert.rules_version, alert.model_version),
        "people": (alert.acknowledged_by, alert.resolved_by, alert.outcome),
    }


def recomputed(folder, call_id: str, rules: Rules | None = None) -> list[AlertEvent]:
    return list(
        replay_stored(
            read_installation(None, folder),
            stored_calls(read_installation(None, folder), call_id),
            scorer=ScriptedScorer(),
            rules=rules,
            playbook=default_playbook(),
            gate=partial_gate(),
        )
    )


def once(running: Running) -> list[AlertEvent]:
    return [entry.event for entry in running.app.runtime.log.stream("default", after=0)]


async def heated_call(running: Running) -> list[AlertEvent]:
    """Rounds, abuse, a supervisor who resolves, help, an hour of talk; returns what was raised."""
    async with platform(running) as peer, supervisor(running) as watcher:
        await peer.send(started(at="2026-11-24T00:00:00Z"), {**answered(1)})
        number = 2
        for _ in range(3):
            await peer.send(said(number, ROUND), said(number + 1, ANSWER, speaker="agent"))
            number += 2
        await peer.send(said(number, "バカ"))
        await peer.acked(number)
        alert = next(alert for alert in await raised(watcher) if alert["kind"] == "abuse")
        answer = await watcher.command(type="resolve", alert_id=alert["alert_id"], outcome="harassment")
        assert answer["type"] == "ok"
        number += 1
        await peer.send(said(number, "晒すぞ", start_ms=61_000, end_ms=62_000))
        number += 1
        for minute in range(2, 34):
            await peer.send({"type": "call.alive", "call_id": "c-1", "seq": number, "offset_ms": minute * MINUTE_MS})
            number += 1
        await peer.acked(number - 1)
        while not running.app.runtime.calls["default", "c-1"].session.idle:
            await asyncio.sleep(0.01)
        await peer.send({**help_wanted(number)}, {**ended(number + 1), "offset_ms": 34 * MINUTE_MS})
        await peer.acked(number + 1)
    await over(running)
    return once(running)


def answered(seq: int) -> dict[str, Any]:
    return {"type": "call.answered", "call_id": "c-1", "seq": seq, "offset_ms": 0}


def help_wanted(seq: int) -> dict[str, Any]:
    return {"type": "agent.help", "call_id": "c-1", "seq": seq, "offset_ms": 33 * MINUTE_MS + 5_000}


async def raised(watcher: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    while not any(alert["kind"] == "abuse" for alert in found):
        found.append((await watcher.until("alert.raised"))["alert"])
    return found


async def test_a_stored_call_raises_again_what_it_raised(tmp_path):
    async with serving(tmp_path / "data") as running:
        live = await heated_call(running)
    assert {event.alert.kind.value for event in live} == {"abuse", "repetition", "overlong", "distress"}
    again = recomputed(tmp_path / "data", "c-1")
    assert [shown(event) for event in again] == [shown(event) for event in live]


class SlowScorer(ScriptedScorer):
    """Answers when it is let."""

    def __init__(self) -> None:
        self.may = threading.Event()

    def score(self, requests):
        self.may.wait(10)
        return super().score(requests)


async def test_help_that_came_before_a_score_comes_before_it_in_a_replay(tmp_path):
    scorer = SlowScorer()
    sorry = "大変申し訳ございません、誠に申し訳ございませんでした、お詫びします"
    async with serving(tmp_path / "data", scorer=scorer) as running:
        async with platform(running) as peer:
            await peer.send(started(at="2026-11-24T00:00:00Z"), said(1, "バカ"))
            await peer.send(*(said(number, f"{sorry}{number}", speaker="agent") for number in range(2, 7)))
            await peer.send({"type": "agent.help", "call_id": "c-1", "seq": 7, "offset_ms": MINUTE_MS})
            await peer.acked(7)
            while not once(running):
                await asyncio.sleep(0.01)
            scorer.may.set()
            await peer.send({**ended(8), "offset_ms": MINUTE_MS + 1_000})
            await peer.acked(8)
        await over(running)
        live = once(running)
    kinds = [event.alert.kind.value for event in live]
    assert kinds[0] == "distress"
    assert "abuse" in kinds
    assert [shown(event) for event in recomputed(tmp_path / "data", "c-1")] == [shown(event) for event in live]


async def test_a_call_keeps_the_rules_it_began_with_through_a_restart(tmp_path):
    strict, lax = tmp_path / "strict.toml", tmp_path / "lax.toml"
    strict.write_text('version = "strict"\n[abuse.levels]\nverbal_abuse = "escalate"\n', encoding="utf-8")
    lax.write_text('version = "lax"\n[abuse.levels]\nverbal_abuse = "notice"\n', encoding="utf-8")
    running = await start(tmp_path / "data", rules=strict)
    async with platform(running) as peer:
        await peer.send(started(), said(1, "こんにちは"))
        await peer.acked(1)
    await running.stop()
    async with serving(tmp_path / "data", rules=lax) as again, platform(again) as peer:
        await peer.send(said(2, "バカ"), started(call_id="c-2"), said(1, "バカ", call_id="c-2"))
        await peer.acked(2)
        await peer.acked(1, "c-2")
        while len(once(again)) < 2:
            await asyncio.sleep(0.01)
        levels = {event.alert.call_id: (event.alert.level.value, event.alert.rules_version) for event in once(again)}
    assert levels == {"c-1": ("escalate", "strict"), "c-2": ("notice", "lax")}
    assert [event.alert.level.value for event in recomputed(tmp_path / "data", "c-1")] == ["escalate"]


async def test_other_rules_are_compared_on_all_stored_calls(tmp_path):
    async with serving(tmp_path / "data") as running:
        await heated_call(running)
    rules = tmp_path / "mine.toml"
    rules.write_text('version = "mine"\n[repetition]\nnotice = 4\nwarning = 4\nescalate = 9\n', encoding="utf-8")
    found = recomputed(tmp_path / "data", "c-1", parse_rules(rules.read_text(encoding="utf-8")))
    assert {event.alert.rules_version for event in found} == {"mine"}
    assert "repetition" not in {event.alert.kind.value for event in found}
    result = CliRunner().invoke(main, ["replay", "--data-dir", str(tmp_path / "data"), "--rules", str(rules)])
    assert result.exit_code == 0, result.output
    assert set(json.loads(result.stdout.splitlines()[0])) == {"gained", "lost", "changed"}
    assert "1 calls" in result.stderr

from __future__ import annotations

import asyncio
import shutil
import time

import sqlalchemy as sa
from click.testing import CliRunner

from detector.events import Segment
from server.cli import main
from server.delivery.outbox import Message, MessageState, Outbox
from server.keeper import Keeper
from server.retention import Retention
from server.storage.embedded import EmbeddedLog
from server.storage.tables import CALLS
from tests.server.running import ended, over, platform, said, serving, started, supervisor
from tests.server.test_encryption import NOTE, abused, holding

DAY_MS = 86_400_000
WORDS = "バカ野郎、返金しろ"


async def harassed(folder, *call_ids: str) -> None:
    """Calls that raised an alert and have ended."""
    async with serving(folder) as running, platform(running) as peer, supervisor(running) as watcher:
        for call_id in call_ids:
            segment = said(1, WORDS, call_id=call_id)
            await peer.send(started(call_id=call_id), segment)
            await watcher.until("alert.raised")
            await peer.send(ended(2, call_id))
            await peer.acked(2, call_id)
        await over(running)


def aged(folder, days: int) -> EmbeddedLog:
    """The same data, looked at so many days later."""
    return EmbeddedLog(folder, now_ms=lambda: time.time_ns() // 1_000_000 + days * DAY_MS)


def words_in(log: EmbeddedLog, call_id: str) -> tuple[list[str], set[str], set[str]]:
    """What a call's log, alerts and their history still say."""
    record = log.find_call("default", call_id)
    rows = [item.row.value for item in log.read_call("default", record.instance)]
    alerts = log.alerts("default", open_only=False, call_id=call_id)
    history = [entry.event.alert for entry in log.stream("default", after=0) if entry.event.alert.call_id == call_id]
    assert alerts
    assert history
    return (
        [row.text for row in rows if isinstance(row, Segment)],
        {piece.text for alert in alerts for piece in alert.evidence},
        {piece.text for alert in history for piece in alert.evidence},
    )


async def test_words_go_with_their_day_and_records_later_but_not_those_under_hold(tmp_path):
    await harassed(tmp_path, "c-1", "c-2")
    runner = CliRunner()
    held = runner.invoke(main, ["db", "hold", "c-2", "--data-dir", str(tmp_path)])
    assert held.exit_code == 0, held.output
    log = aged(tmp_path, 91)
    assert log.purge(keep_days=92, keep_record_days=730) == 0
    assert words_in(log, "c-1") == ([WORDS], {WORDS}, {WORDS})
    assert log.purge(keep_days=90, keep_record_days=730) == 1
    assert words_in(log, "c-1") == ([], {""}, {""})
    assert words_in(log, "c-2") == ([WORDS], {WORDS}, {WORDS})
    assert log.purge(keep_days=30, keep_record_days=90) == 0
    assert log.find_call("default", "c-1") is None
    assert not log.alerts("default", open_only=False, call_id="c-1")
    assert words_in(log, "c-2") == ([WORDS], {WORDS}, {WORDS})
    log.close()
    assert runner.invoke(main, ["db", "hold", "c-2", "--release", "--data-dir", str(tmp_path)]).exit_code == 0
    log = aged(tmp_path, 91)
    log.purge(keep_days=30, keep_record_days=90)
    assert log.find_call("default", "c-2") is None
    log.close()
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and WORDS.encode() in path.read_bytes()]


async def test_only_a_call_that_is_there_and_has_ended_can_be_held(tmp_path):
    async with serving(tmp_path) as running, platform(running) as peer:
        await peer.send(started(), said(1, WORDS))
        await peer.acked(1)
    runner = CliRunner()
    for call_id, why in (("c-1", "has ended"), ("c-9", "no call")):
        answer = runner.invoke(main, ["db", "hold", call_id, "--data-dir", str(tmp_path)])
        assert answer.exit_code == 1
        assert why in answer.output


async def test_notes_messages_and_whose_call_it_was_go_with_the_words(tmp_path):
    data = tmp_path / "data"
    await abused(data, "c-1")
    log = EmbeddedLog(data)
    outbox = Outbox(log.state.engine, log.state.bodies)
    outbox.register("gone", "default", cursor=0)
    body, now_ms = WORDS.encode(), time.time_ns() // 1_000_000
    for state in (MessageState.PENDING, MessageState.DEAD):
        message = Message(
            tenant="default", sender="gone", message_id=state.value, alert_id="a", change="alert.raised", level="warning",
            created_ms=now_ms, state=state, body=body,
        )  # fmt: skip
        outbox.put("gone", [message], cursor=None)
    log.close()
    log = aged(data, 89)
    log.purge(keep_days=90, keep_record_days=730)
    assert [message.body for message in outbox.due("gone", now_ms, limit=9)] == [body]
    log.close()
    log = aged(data, 91)
    log.purge(keep_days=90, keep_record_days=730)
    log.close()
    assert holding(data, WORDS, NOTE) == []
    assert outbox.due("gone", now_ms, limit=9) == []
    assert {(item.message_id, item.state.value) for item in outbox.messages("default")} == {
        ("pending", "dead"),
        ("dead", "dead"),
    }
    assert outbox.replay("default", now_ms) == 0
    with log.state.engine.connect() as connection:
        assert connection.execute(sa.select(CALLS.c.call_id, CALLS.c.caller_key)).all() == [("c-1", "")]


class Clock:
    """Two clocks that can be set."""

    utc, now = 1_700_000_000_000, 100.0

    def utc_ms(self) -> int:
        return self.utc

    def monotonic(self) -> float:
        return self.now


class Counting:
    """Counts purges."""

    purges = 0

    def purge(self, **_days: int) -> int:
        self.purges += 1
        return 0


async def test_a_clock_that_jumps_ahead_deletes_nothing(monkeypatch):
    monkeypatch.setattr("server.retention.EVERY_S", 0.001)
    clock, log = Clock(), Counting()
    keeper = Keeper(clock.monotonic)
    retention = Retention(log, clock, keep_days=1, keep_record_days=1, keeper=keeper)
    retention.start()
    while log.purges < 2:
        await asyncio.sleep(0.001)
    clock.utc += 400 * DAY_MS
    while retention.trusted():
        await asyncio.sleep(0.001)
    await asyncio.sleep(0.01)
    before = log.purges
    await asyncio.sleep(0.02)
    assert log.purges == before
    clock.now += 400 * 86_400
    while log.purges == before:
        await asyncio.sleep(0.001)
    await keeper.stop()


async def test_no_file_of_a_server_is_open_to_others(tmp_path):
    await harassed(tmp_path / "data", "c-1")
    CliRunner().invoke(main, ["db", "hold", "c-1", "--data-dir", str(tmp_path / "data")])
    files = [path for path in (tmp_path / "data").rglob("*") if path.is_file()]
    assert len(files) > 3
    assert [path.name for path in files if path.stat().st_mode & 0o077] == []
    assert (tmp_path / "data").stat().st_mode & 0o077 == 0


async def test_a_copy_of_the_folder_is_a_backup(tmp_path):
    await harassed(tmp_path / "data", "c-1")
    shutil.copytree(tmp_path / "data", tmp_path / "backup")
    shutil.rmtree(tmp_path / "data")
    shutil.copytree(tmp_path / "backup", tmp_path / "data")
    assert CliRunner().invoke(main, ["db", "verify", "--data-dir", str(tmp_path / "data")]).output == "whole\n"
    async with serving(tmp_path / "data") as running, platform(running) as peer:
        assert words_in(running.app.runtime.log, "c-1") == ([WORDS], {WORDS}, {WORDS})
        await peer.send(started(call_id="c-2"), said(1, WORDS, call_id="c-2"))
        await peer.acked(1, "c-2")

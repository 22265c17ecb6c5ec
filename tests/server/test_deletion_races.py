"""What goes while something else happens: an action on the same alert, a hold that is being set, a failure half-way."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import threading
from contextlib import closing
from dataclasses import replace

import httpx
import pytest
import sqlalchemy as sa

from detector.alerts import AlertEvent
from server.storage.embedded import EmbeddedLog
from server.storage.port import Batch
from server.storage.retention import writing
from server.storage.tables import ALERT_EVENTS, ALERTS
from tests.server.running import serving
from tests.server.test_callers import NUMBER, OTHER, call, emptied
from tests.server.test_encryption import NOTE, WORDS, abused, holding, keys_at, mamori, settings_at

BODY = {"caller": NUMBER}


def trail(data) -> list[tuple[str, str]]:
    with closing(sqlite3.connect(data / "state.sqlite")) as connection:
        return connection.execute("SELECT action, detail FROM audit WHERE action LIKE 'caller.%'").fetchall()


async def test_an_action_on_an_alert_that_was_read_before_the_deletion_brings_no_word_back(tmp_path):
    data, keys, config = tmp_path / "data", keys_at(tmp_path), settings_at(tmp_path)
    await abused(data, encryption=keys)
    async with serving(data, encryption=keys) as running:
        log = running.app.runtime.log
        (stale,) = [alert for alert in log.alerts("default", open_only=False) if alert.kind.value == "abuse"]
        instance, _ = log.alert("default", stale.alert_id)
        assert mamori("caller", "delete", "--yes", "--config", config, stdin=f"{NUMBER}\n")[0] == 0
        event = AlertEvent(type="alert.acknowledged", alert=replace(stale, version=stale.version + 1))
        await asyncio.wrap_future(log.append(Batch(alerts=[("default", instance, event)])))
        _, now = log.alert("default", stale.alert_id)
        assert now.version == stale.version + 1
        assert [piece.text for piece in now.evidence] == [""]
        assert all(not piece.text for entry in log.stream("default", after=0) for piece in entry.event.alert.evidence)
    assert mamori("db", "verify", "--config", config) == (0, "whole\n")


async def test_nobody_writes_between_the_reading_and_the_emptying_of_an_alert(tmp_path):
    """Else the emptied words of version 3 would stand in the row of version 4, and neither could be opened."""
    await abused(tmp_path)
    log = EmbeddedLog(tmp_path)
    try:
        with writing(log.state.engine) as connection:
            connection.execute(sa.select(ALERTS)).all()
            with (
                closing(sqlite3.connect(tmp_path / "state.sqlite", timeout=0)) as other,
                pytest.raises(sqlite3.OperationalError, match="locked"),
            ):
                other.execute("UPDATE alerts SET version = version + 1")
            connection.execute(ALERT_EVENTS.delete())
        with log.state.engine.connect() as connection:
            assert connection.execute(sa.select(sa.func.count()).select_from(ALERT_EVENTS)).scalar() == 0
    finally:
        log.close()


async def test_a_hold_that_is_being_set_is_waited_for(tmp_path):
    data = tmp_path / "data"
    await abused(data)
    log = EmbeddedLog(data)
    done = threading.Event()
    answers: list[tuple[int, str]] = []

    def deletes() -> None:
        answers.append(mamori("caller", "delete", "--yes", "--data-dir", data, stdin=f"{NUMBER}\n"))
        done.set()

    try:
        with log.words.deciding():
            thread = threading.Thread(target=deletes)
            thread.start()
            assert not done.wait(0.5)
            record = log.find_call("default", "c-1")
            log.words.holds.add(list(log.read_call("default", record.instance)))
        thread.join()
    finally:
        log.close()
    ((code, told),) = answers
    assert code == 1
    assert "under legal hold: c-1; nothing was deleted" in told
    assert not emptied(data, "c-1")


async def test_a_deletion_that_fails_is_on_record_and_goes_on_at_the_next_start(tmp_path, monkeypatch):
    data = tmp_path / "data"
    await abused(data)

    def fails(*_args, **_fields):
        raise sqlite3.OperationalError("disk I/O error")

    async with serving(data) as running, httpx.AsyncClient(base_url=running.http) as http:
        with monkeypatch.context() as patched:
            patched.setattr("server.storage.callers.without_words", fails)
            assert (await http.post("/v1/callers/delete", json=BODY)).status_code >= 500
    assert trail(data)[-1] == ("caller.delete.failed", "OperationalError")
    async with serving(data):
        pass
    assert emptied(data, "c-1")
    assert holding(data, WORDS, NOTE) == []


async def test_a_list_that_cannot_be_written_deletes_nothing_and_is_on_record(tmp_path):
    data, blocked = tmp_path / "data", tmp_path / "list"
    await abused(data)
    async with (
        serving(data, forgotten_file=blocked / "forgotten.jsonl") as running,
        httpx.AsyncClient(base_url=running.http) as http,
    ):
        blocked.touch()
        answer = await http.post("/v1/callers/delete", json=BODY)
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "unavailable")
    assert trail(data)[-1] == ("caller.delete.failed", "list")
    assert not emptied(data, "c-1")
    config = tmp_path / "mamori.toml"
    config.write_text(
        f"data_dir = '{data}'\nforgotten_file = '{blocked / 'forgotten.jsonl'}'\n[encryption]\n", encoding="utf-8"
    )
    code, told = mamori("caller", "delete", "--yes", "--config", config, stdin=f"{NUMBER}\n")
    assert (code, "forgotten_file: " in told) == (1, True)
    assert trail(data)[-1] == ("caller.delete.failed", "SetupError")


async def test_an_export_comes_in_pages(tmp_path):
    data = tmp_path / "data"
    async with serving(data) as running, httpx.AsyncClient(base_url=running.http) as http:
        for number in range(3):
            await call(running, f"c-{number}", NUMBER)
        await call(running, "c-9", OTHER)
        pages, after = [], ""
        while after is not None:
            answer = await http.post("/v1/callers/export", json={**BODY, "limit": 2, "after": after})
            assert answer.headers["content-type"] == "application/json"
            pages.append([item["call"]["call_id"] for item in answer.json()["calls"]])
            after = answer.json()["next"]
        assert pages == [["c-0", "c-1"], ["c-2"]]
        for wrong in ({"after": "c-9"}, {"limit": 0}, {"limit": 201}):
            assert (await http.post("/v1/callers/export", json={**BODY, **wrong})).status_code == 422
    told = mamori("caller", "export", "--data-dir", data, stdin=f"{NUMBER}\n")[1]
    document = json.loads(told[told.index("{") :])
    assert [item["call"]["call_id"] for item in document["calls"]] == ["c-0", "c-1", "c-2"]
    assert document["next"] is None


async def test_what_is_written_of_people_is_their_readers_alone(tmp_path):
    data = tmp_path / "data"
    await abused(data)
    for command in (
        ("caller", "export"),
        ("incident", "write", "c-1"),
        ("feedback",),
    ):
        out = tmp_path / "out"
        out.touch()
        out.chmod(0o644)
        code, told = mamori(*command, "--out", out, "--data-dir", data, stdin=f"{NUMBER}\n")
        assert code == 0, told
        assert out.stat().st_mode & 0o777 == 0o600
        assert WORDS in out.read_text(encoding="utf-8")
        code, told = mamori(*command, "--out", tmp_path / "none" / "out", "--data-dir", data, stdin=f"{NUMBER}\n")
        assert (code, told.endswith("none/out: No such file or directory\n")) == (1, True)
        out.unlink()

"""Encryption at rest on a real server: no word in any byte of the data directory, keys that change, values that were touched."""

from __future__ import annotations

import asyncio
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner

from detector.events import Gap, Segment
from server.cli import main
from server.errors import SetupError
from server.installation import read_installation
from server.settings import Encryption
from server.storage.keyfile import KeySource, add_key, open_vault
from server.storage.rekey import rekey
from tests.server.running import ended, over, platform, said, serving, started, supervisor

WORDS = "バカ野郎、返金しろ"
NOTE = "後で折り返すと約束"


def keys_at(folder: Path) -> Encryption:
    add_key(folder / "keys")
    return Encryption(key_file=folder / "keys")


def settings_at(folder: Path) -> Path:
    path = folder / "mamori.toml"
    path.write_text(f"data_dir = '{folder / 'data'}'\n[encryption]\nkey_file = '{folder / 'keys'}'\n", encoding="utf-8")
    return path


async def abused(folder: Path, call_id: str = "c-1", **fields) -> None:
    """One call with everything that holds words: talk, partials, alerts, notes, a flag, a snapshot."""
    async with serving(folder, **fields) as running, platform(running) as peer, supervisor(running) as watcher:
        await peer.send(started(call_id=call_id, caller={"number": "090-1234-5678"}))
        await peer.send(said(1, WORDS, call_id=call_id, is_final=False), said(2, WORDS, call_id=call_id))
        await peer.send({"type": "agent.help", "call_id": call_id, "seq": 3, "offset_ms": 9000, "note": NOTE})
        raised = await watcher.until("alert.raised")
        await peer.acked(3, call_id)
        async with httpx.AsyncClient(base_url=running.http) as http:
            flag = {"segment_id": "s2", "labels": ["threat"], "note": NOTE}
            assert (await http.post(f"/v1/calls/{call_id}/flag", json=flag)).status_code == 200
        await peer.send(ended(4, call_id))
        await peer.acked(4, call_id)
        await over(running)
        answer = await watcher.command(
            type="resolve", alert_id=raised["alert"]["alert_id"], outcome="harassment", note=NOTE
        )
        assert answer["type"] == "ok"


def holding(folder: Path, *words: str) -> list[str]:
    """Files in which any of the words stands, in any encoding that we write."""
    forms = {
        form for word in words for form in (word.encode(), word.encode("unicode_escape"), word.encode("utf-16-le"))
    }
    return [
        path.name for path in folder.rglob("*") if path.is_file() and any(form in path.read_bytes() for form in forms)
    ]


def mamori(*arguments: object, stdin: str = "") -> tuple[int, str]:
    result = CliRunner().invoke(main, [str(item) for item in arguments], input=stdin)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.output


def words_of(folder: Path, keys: KeySource) -> list[str]:
    where = read_installation(None, folder)
    where = type(where)(data_dir=folder, keys=keys, forgotten=where.forgotten)
    record = where.state().find_call("default", "c-1")
    rows = where.days().read_call("default", record.instance)
    return [row.row.value.text for row in rows if isinstance(row.row.value, Segment)]


async def test_with_keys_no_byte_of_the_directory_holds_a_word_and_everything_reads_on(tmp_path):
    await abused(tmp_path / "data", encryption=keys_at(tmp_path))
    assert holding(tmp_path / "data", WORDS, NOTE) == []
    config = settings_at(tmp_path)
    code, told = mamori("db", "hold", "c-1", "--config", config)
    assert (code, told.endswith(" rows held\n")) == (0, True)
    assert holding(tmp_path / "data", WORDS, NOTE) == []
    assert mamori("db", "verify", "--config", config) == (0, "whole\n")
    code, report = mamori("incident", "write", "c-1", "--format", "json", "--personal", "--config", config)
    assert code == 0
    assert report.count(NOTE) >= 3
    assert WORDS in report
    code, rows = mamori("feedback", "--config", config)
    assert code == 0
    assert WORDS in rows
    code, told = mamori("replay", "--data-dir", tmp_path / "data", "--call", "c-1", "--config", config)
    assert code == 0
    assert WORDS in told


async def test_keys_that_are_missing_or_wrong_end_every_command_with_a_message(tmp_path):
    await abused(tmp_path / "data", encryption=keys_at(tmp_path))
    for command in (
        ("db", "verify"),
        ("incident", "write", "c-1"),
        ("feedback",),
        ("caller", "export", "--caller-key", "0" * 64),
    ):
        code, said_ = mamori(*command, "--data-dir", tmp_path / "data")
        assert code == 1
        assert "is encrypted; set key_file or key_command" in said_
    arguments = ("-m", "server.cli", "serve", "--port", "0", "--data-dir", tmp_path / "data")
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(sys.executable, *arguments, stderr=pipe)
    _, err = await process.communicate()
    assert process.returncode == 1
    assert err.startswith(b"Error: encryption: ")
    assert b"Traceback" not in err


async def test_a_directory_without_encryption_is_brought_to_it_and_back(tmp_path):
    data, config = tmp_path / "data", settings_at(tmp_path)
    await abused(data)
    assert "state.sqlite" in holding(data, WORDS)
    mamori("db", "hold", "c-1", "--data-dir", data)
    keys = keys_at(tmp_path)
    with pytest.raises(
        SetupError, match=r"encryption\.key_file: .*not encrypted; stop the server and run `mamori db rekey`"
    ):
        open_vault(data, keys.source)
    code, told = mamori("db", "rekey", "--config", config)
    assert (code, told.endswith("values encrypted\n")) == (0, True)
    assert holding(data, WORDS, NOTE) == []
    assert words_of(data, keys.source) == [WORDS, WORDS]
    assert mamori("db", "rekey", "--config", config) == (0, "0 values encrypted\n")
    add_key(tmp_path / "keys")
    await abused(data, "c-2", encryption=keys)
    code, told = mamori("db", "rekey", "--config", config)
    assert code == 0
    assert int(told.split()[0]) > 10
    lines = (tmp_path / "keys").read_text(encoding="utf-8").splitlines(keepends=True)
    (tmp_path / "keys").write_text(lines[-1], encoding="utf-8")
    assert words_of(data, keys.source) == [WORDS, WORDS]
    assert mamori("db", "verify", "--config", config) == (0, "whole\n")
    assert mamori("db", "rekey", "--off", "--config", config)[0] == 0
    assert words_of(data, KeySource()) == [WORDS, WORDS]


async def test_a_rekey_that_was_broken_off_is_finished_before_anything_else(tmp_path, monkeypatch):
    data, config = tmp_path / "data", settings_at(tmp_path)
    await abused(data)
    keys = keys_at(tmp_path)

    def breaks(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("server.storage.rekey.scrub", breaks)
        with pytest.raises(KeyboardInterrupt):
            rekey(data, keys.source)
    with pytest.raises(SetupError, match="has not finished"):
        open_vault(data, keys.source)
    with pytest.raises(SetupError, match="is encrypted"):
        open_vault(data, KeySource())
    assert mamori("db", "rekey", "--config", config)[0] == 0
    assert holding(data, WORDS, NOTE) == []
    assert words_of(data, keys.source) == [WORDS, WORDS]


async def test_words_that_cannot_be_opened_cost_no_acknowledgement_and_verify_names_them(tmp_path, caplog):
    data, keys = tmp_path / "data", keys_at(tmp_path)
    async with serving(data, encryption=keys) as running, platform(running) as peer:
        await peer.send(started(), said(1, "もしもし"), said(2, WORDS), said(3, "はい"))
        await peer.acked(3)
    (day,) = (data / "log").glob("log-*.sqlite")
    with closing(sqlite3.connect(day)) as connection:
        rows = connection.execute("SELECT id, payload FROM log WHERE seq IN (1, 2) ORDER BY seq").fetchall()
        (first, one), (second, other) = rows
        connection.execute("UPDATE log SET payload = ? WHERE id = ?", (other, first))
        connection.execute("UPDATE log SET payload = ? WHERE id = ?", (one, second))
        connection.commit()
    with closing(sqlite3.connect(data / "state.sqlite")) as connection:
        connection.execute("DELETE FROM snapshots")
        connection.commit()
    async with serving(data, encryption=keys) as running, platform(running) as peer:
        await peer.send({"type": "resume", "call_ids": ["c-1"]})
        assert await peer.read() == {"type": "resumed", "calls": {"c-1": 3}}
        (call,) = running.app.runtime.calls.values()
        assert call.session.state.monitoring.state.value == "incomplete"
        values = [row.row.value for row in running.app.runtime.log.read_call("default", call.record.instance)]
        assert [value.first_seq for value in values if isinstance(value, Gap)] == [1, 2]
        await peer.send(said(4, WORDS))
        await peer.acked(4)
    assert "stored value cannot be opened" in caplog.text
    assert WORDS not in caplog.text
    code, told = mamori("db", "verify", "--config", settings_at(tmp_path))
    assert code == 1
    assert f"{day.name}: log: 2 values cannot be opened" in told


async def test_an_alert_that_was_touched_is_left_out_and_the_others_stay(tmp_path):
    data, keys = tmp_path / "data", keys_at(tmp_path)
    await abused(data, "c-1", encryption=keys)
    await abused(data, "c-2", encryption=keys)
    with closing(sqlite3.connect(data / "state.sqlite")) as connection:
        (body,) = connection.execute("SELECT body FROM alerts WHERE call_id = 'c-2' AND kind = 'abuse'").fetchone()
        connection.execute("UPDATE alerts SET body = ? WHERE call_id = 'c-1' AND kind = 'abuse'", (body,))
        connection.commit()
    async with serving(data, encryption=keys) as running, httpx.AsyncClient(base_url=running.http) as http:
        shown = (await http.get("/v1/alerts?state=all")).json()["alerts"]
    assert sorted((alert["call_id"], alert["kind"]) for alert in shown) == [
        ("c-1", "distress"),
        ("c-2", "abuse"),
        ("c-2", "distress"),
    ]

"""What a caller may ask: everything about them, and that it goes for good, an older backup put back included."""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from server.auth import Role, Tokens
from server.errors import SetupError
from server.forgotten import Forgotten, add_forgotten, read_forgotten
from server.storage.statedb import open_engine
from tests.server.running import ended, over, platform, said, serving, started, supervisor
from tests.server.test_encryption import NOTE, WORDS, abused, holding, keys_at, mamori, settings_at

NUMBER = "090-1234-5678"
OTHER = "080-9876-5432"


async def call(running, call_id: str, number: str, *, ends: bool = True) -> None:
    async with platform(running) as peer, supervisor(running) as watcher:
        await peer.send(started(call_id=call_id, caller={"number": number}, metadata={"note": NOTE}))
        await peer.send(said(1, WORDS, call_id=call_id))
        await watcher.until("alert.raised")
        if ends:
            await peer.send(ended(2, call_id))
            await peer.acked(2, call_id)
            await over(running, call_id)
        else:
            await peer.acked(1, call_id)


def caller(command: str, *arguments: object, number: str = NUMBER) -> tuple[int, str]:
    return mamori("caller", command, *arguments, stdin=f"{number}\n")


def emptied(data: Path, call_id: str) -> bool:
    """Whether nothing of a call's words is left, by what the command line shows."""
    code, report = mamori("incident", "write", call_id, "--format", "json", "--personal", "--data-dir", data)
    assert code == 0, report
    found = json.loads(report)["incident"]
    assert found["call"]["call_id"] == call_id
    assert found["alerts"]
    return not found["transcript"] and WORDS not in report and NOTE not in report


async def test_a_caller_is_forgotten_everywhere_and_nobody_else_is(tmp_path):
    data = tmp_path / "data"
    await abused(data, "c-1")
    async with serving(data) as running:
        await call(running, "c-2", OTHER)
    code, told = caller("export", "--data-dir", data)
    document = json.loads(told[told.index("{") :])
    assert code == 0
    assert [item["call"]["call_id"] for item in document["calls"]] == ["c-1"]
    assert [item["text"] for item in document["calls"][0]["transcript"]] == [WORDS, WORDS]
    assert NOTE not in told
    assert NOTE in caller("export", "--personal", "--data-dir", data)[1]
    code, told = caller("delete", "--yes", "--data-dir", data)
    assert (code, told.endswith("1 calls emptied\n")) == (0, True)
    assert emptied(data, "c-1")
    assert not emptied(data, "c-2")
    assert mamori("feedback", "--data-dir", data)[1].startswith("0 rows")
    assert json.loads(caller("export", "--data-dir", data)[1].partition("\n")[2])["calls"] == []
    assert mamori("db", "verify", "--data-dir", data) == (0, "whole\n")
    (item,) = read_forgotten(data / "forgotten.jsonl")
    assert item.caller_key == document["caller_key"]
    with closing(sqlite3.connect(data / "state.sqlite")) as connection:
        trail = connection.execute("SELECT action, target, detail FROM audit WHERE action LIKE 'caller.%'").fetchall()
    assert [(action, detail) for action, _, detail in trail] == [
        ("caller.export", "calls=1 personal=false"),
        ("caller.export", "calls=1 personal=true"),
        ("caller.delete", "calls=1"),
        ("caller.export", "calls=0 personal=false"),
    ]
    assert {target for _, target, _ in trail} == {item.caller_key}


async def test_no_byte_is_left_of_a_forgotten_caller(tmp_path):
    data = tmp_path / "data"
    await abused(data, "c-1")
    assert caller("delete", "--yes", "--data-dir", data)[0] == 0
    assert holding(data, WORDS, NOTE) == []


async def test_a_legal_hold_keeps_a_caller_and_says_so(tmp_path):
    data = tmp_path / "data"
    await abused(data, "c-1")
    assert mamori("db", "hold", "c-1", "--data-dir", data)[0] == 0
    code, told = caller("delete", "--yes", "--data-dir", data)
    assert code == 1
    assert "1 of the caller's calls are under legal hold: c-1; nothing was deleted" in told
    assert not emptied(data, "c-1")
    assert read_forgotten(data / "forgotten.jsonl") == []
    assert mamori("db", "hold", "c-1", "--release", "--data-dir", data)[0] == 0
    assert caller("delete", "--yes", "--data-dir", data)[0] == 0
    assert emptied(data, "c-1")


async def test_what_an_older_backup_brings_back_goes_again(tmp_path):
    keys = keys_at(tmp_path)
    data, backup, config = tmp_path / "data", tmp_path / "backup.mamori", settings_at(tmp_path)
    await abused(data, "c-1", encryption=keys)
    async with serving(data, encryption=keys) as running:
        await call(running, "c-2", OTHER)
        code, told = mamori("db", "backup", backup, "--config", config)
        assert (code, told.endswith("files, encrypted\n")) == (0, True)
    assert holding(tmp_path, WORDS, NOTE) == []
    assert caller("delete", "--yes", "--config", config)[0] == 0
    code, told = mamori("db", "restore", backup, "--config", config)
    assert code == 0, told
    assert "1 calls of forgotten callers emptied again" in told
    shutil.rmtree(next(data.glob("before-restore-*")))
    code, report = mamori("incident", "write", "c-1", "--format", "json", "--personal", "--config", config)
    assert WORDS not in report
    assert NOTE not in report
    assert WORDS in mamori("incident", "write", "c-2", "--format", "json", "--config", config)[1]
    assert mamori("db", "verify", "--config", config) == (0, "whole\n")
    async with serving(data, encryption=keys) as running:
        await call(running, "c-3", NUMBER)
    assert WORDS in mamori("incident", "write", "c-3", "--format", "json", "--config", config)[1]


async def test_a_folder_put_back_by_hand_is_gone_through_at_the_start(tmp_path):
    """The list lies off the data; a call that was open when the folder was copied is closed without its words."""
    data, copy, away = tmp_path / "data", tmp_path / "copy", tmp_path / "list.jsonl"
    async with serving(data, forgotten_file=away) as running:
        await call(running, "c-1", NUMBER)
        await call(running, "c-2", NUMBER, ends=False)
    shutil.copytree(data, copy)
    async with (
        serving(data, forgotten_file=away) as running,
        platform(running) as peer,
        httpx.AsyncClient(base_url=running.http) as http,
    ):
        answer = await http.post("/v1/callers/delete", json={"caller": NUMBER})
        assert (answer.status_code, answer.json()["error"]["code"]) == (409, "live")
        await peer.send(ended(2, "c-2"))
        await peer.acked(2, "c-2")
        await over(running)
        answer = await http.post("/v1/callers/delete", json={"caller": NUMBER})
        assert (answer.status_code, answer.json()["calls"]) == (200, 2)
        again = await http.post("/v1/callers/delete", json={"caller_key": answer.json()["caller_key"]})
        assert (again.status_code, again.json()["calls"]) == (200, 0)
    shutil.rmtree(data)
    shutil.copytree(copy, data)
    assert holding(data, WORDS)
    async with serving(data, forgotten_file=away) as running:
        assert not running.app.runtime.calls
        await call(running, "c-3", OTHER)
    assert emptied(data, "c-1")
    assert emptied(data, "c-2")
    assert not emptied(data, "c-3")


async def test_calls_from_before_the_hash_was_on_the_record_are_found_in_their_logs(tmp_path):
    data = tmp_path / "data"
    await abused(data, "c-1")
    with closing(sqlite3.connect(data / "state.sqlite")) as connection:
        connection.execute("UPDATE calls SET caller_key = NULL")
        connection.commit()
    assert caller("delete", "--yes", "--data-dir", data)[1].endswith("1 calls emptied\n")
    assert emptied(data, "c-1")


async def test_only_leads_and_admins_of_all_queues_may_and_only_in_their_tenant(tmp_path):
    data = tmp_path / "data"
    tokens = Tokens(open_engine(_made(data) / "state.sqlite"))

    def bearer(role: Role, **scope) -> dict[str, str]:
        _, secret = tokens.create(
            name=f"{role}-{len(scope)}", tenant=scope.pop("tenant", "default"), role=role, **scope
        )
        return {"Authorization": f"Bearer {secret}"}

    async with serving(data, auth=True) as running, httpx.AsyncClient(base_url=running.http) as http:
        async with platform(running, **bearer(Role.PLATFORM)) as peer:
            await peer.send(started(caller={"number": NUMBER}), said(1, WORDS), ended(2))
            await peer.acked(2)
        await over(running)
        body = {"caller": NUMBER}
        for role in (Role.PLATFORM, Role.OPERATOR, Role.SUPERVISOR):
            for path in ("export", "delete"):
                answer = await http.post(f"/v1/callers/{path}", json=body, headers=bearer(role))
                assert answer.status_code == 403
        narrow = await http.post(
            "/v1/callers/delete", json=body, headers=bearer(Role.LEAD, queues=frozenset({"billing"}))
        )
        assert narrow.status_code == 403
        assert (await http.post("/v1/callers/export", json=body)).status_code == 401
        foreign = await http.post("/v1/callers/export", json=body, headers=bearer(Role.ADMIN, tenant="other"))
        assert foreign.json()["calls"] == []
        lead = bearer(Role.LEAD)
        mine = (await http.post("/v1/callers/export", json=body, headers=lead)).json()
        assert [item["call"]["call_id"] for item in mine["calls"]] == ["c-1"]
        taken = {"caller_key": mine["caller_key"]}
        foreign = await http.post("/v1/callers/delete", json=taken, headers=bearer(Role.ADMIN, tenant="other"))
        assert foreign.json()["calls"] == 0
        for wrong in ({}, {**body, **taken}, {"caller": "anonymous"}, {"caller_key": "x" * 64}, {"number": NUMBER}):
            answer = await http.post("/v1/callers/delete", json=wrong, headers=lead)
            assert answer.status_code == 422
            assert NUMBER not in answer.text
        assert (await http.post("/v1/callers/delete", json=taken, headers=lead)).json()["calls"] == 1


def _made(folder: Path) -> Path:
    folder.mkdir(mode=0o700)
    return folder


def test_the_list_survives_a_line_that_was_broken_off(tmp_path):
    path = tmp_path / "list" / "forgotten.jsonl"
    first, second = (Forgotten(tenant="t", caller_key=key * 64, utc_ms=1) for key in "ab")
    add_forgotten(path, [first])
    with path.open("a", encoding="utf-8") as file:
        file.write('{"tenant": "t", "cal')
    assert read_forgotten(path) == [first]
    add_forgotten(path, [second])
    assert read_forgotten(path) == [first, second]
    assert path.stat().st_mode & 0o077 == 0
    path.write_text("{\n" + path.read_text(encoding="utf-8"), encoding="utf-8")
    with pytest.raises(SetupError, match="line 1: damaged"):
        read_forgotten(path)

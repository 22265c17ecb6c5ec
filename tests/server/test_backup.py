"""Backups: made beside a running server, put back whole, and refused when they are not what was made."""

from __future__ import annotations

import json

import pytest

from server.backup import MAGIC
from server.storage.keyfile import add_key
from tests.server.running import platform, said, serving, started
from tests.server.test_encryption import NOTE, WORDS, abused, holding, keys_at, mamori, settings_at


async def test_a_backup_beside_a_running_server_holds_what_was_acknowledged(tmp_path):
    data, backup = tmp_path / "data", tmp_path / "b.mamori"
    await abused(data, "c-1")
    async with serving(data) as running, platform(running) as peer:
        await peer.send(started(call_id="c-2"), said(1, WORDS, call_id="c-2"))
        await peer.acked(1, "c-2")
        assert mamori("db", "backup", backup, "--data-dir", data)[0] == 0
        await peer.send(said(2, "これは後から", call_id="c-2"))
        await peer.acked(2, "c-2")
    assert backup.stat().st_mode & 0o077 == 0
    code, told = mamori("db", "restore", backup, "--data-dir", tmp_path / "other")
    assert code == 0, told
    assert "before" not in told
    assert mamori("db", "verify", "--data-dir", tmp_path / "other") == (0, "whole\n")
    assert (tmp_path / "other" / "caller.key").read_bytes() == (data / "caller.key").read_bytes()
    assert [path for path in (tmp_path / "other").rglob("*") if path.stat().st_mode & 0o077] == []
    async with serving(tmp_path / "other") as running, platform(running) as peer:
        await peer.send({"type": "resume", "call_ids": ["c-1", "c-2"]})
        assert (await peer.read())["calls"] == {"c-1": 4, "c-2": 1}
        await peer.send(said(2, WORDS, call_id="c-2"))
        await peer.acked(2, "c-2")


async def test_a_restore_sets_aside_what_was_there(tmp_path):
    data, backup = tmp_path / "data", tmp_path / "b.mamori"
    await abused(data, "c-1")
    mamori("db", "backup", backup, "--data-dir", data)
    await abused(data, "c-2")
    code, told = mamori("db", "restore", backup, "--data-dir", data)
    assert code == 0
    (aside,) = data.glob("before-restore-*")
    assert str(aside) in told
    assert holding(aside, WORDS)
    assert mamori("incident", "write", "c-1", "--data-dir", data)[0] == 0
    assert "no such call" in mamori("incident", "write", "c-2", "--data-dir", data)[1]


@pytest.mark.parametrize("sealed", [False, True])
async def test_what_is_no_whole_backup_is_refused_and_changes_nothing(tmp_path, sealed):
    keys = keys_at(tmp_path)
    config = settings_at(tmp_path) if sealed else "/dev/null"
    data, backup = tmp_path / "data", tmp_path / "b.mamori"
    await abused(data, **({"encryption": keys} if sealed else {}))
    where = ("--data-dir", data, "--config", config)
    assert mamori("db", "backup", backup, *where)[0] == 0
    assert "File exists" in mamori("db", "backup", backup, *where)[1]
    whole = backup.read_bytes()
    before = sorted(path.name for path in data.iterdir())
    first = len(MAGIC) + len(whole[len(MAGIC) :].split(b"\n")[0]) + 1
    pieces = []
    at = first
    while at < len(whole):
        size = int.from_bytes(whole[at : at + 4], "big")
        pieces.append(whole[at : at + 4 + size])
        at += 4 + size
    damaged = {
        "cut": whole[:-10],
        "no end": whole[: -len(pieces[-1])] if len(pieces) > 1 else whole[:first],
        "more": whole + b"\0",
        "foreign": b"PK" + whole,
        "no header": MAGIC + b"{}\n",
    }
    if sealed:
        damaged["changed"] = whole[:-1] + bytes((whole[-1] ^ 1,))
    for name, content in damaged.items():
        backup.write_bytes(content)
        code, told = mamori("db", "restore", backup, *where)
        assert (name, code) == (name, 1)
        assert told.startswith(f"Error: {backup}: "), (name, told)
        assert sorted(path.name for path in data.iterdir()) == before, name
    if sealed:
        assert WORDS.encode() not in whole
        backup.write_bytes(whole)
        code, told = mamori("db", "restore", backup, "--data-dir", tmp_path / "other")
        assert code == 1
        assert "set key_file or key_command" in told


async def test_master_keys_stay_out_of_a_backup_also_when_they_lie_in_the_data(tmp_path):
    keys = keys_at(tmp_path)
    data, backup = tmp_path / "data", tmp_path / "b.mamori"
    config = settings_at(tmp_path)
    await abused(data, encryption=keys)
    inside = data / "master.key"
    (tmp_path / "keys").rename(inside)
    config.write_text(config.read_text(encoding="utf-8").replace(str(tmp_path / "keys"), str(inside)), encoding="utf-8")
    assert mamori("db", "backup", backup, "--config", config)[0] == 0
    code, told = mamori("db", "restore", backup, "--config", config)
    assert code == 0, told
    assert inside.is_file()
    assert mamori("db", "verify", "--config", config) == (0, "whole\n")
    report = mamori("incident", "write", "c-1", "--format", "json", "--personal", "--config", config)[1]
    assert NOTE in json.loads(report)["incident"]["alerts"][0]["note"]


async def test_a_backup_whose_keys_are_not_those_of_the_house_changes_nothing(tmp_path):
    keys, config = keys_at(tmp_path), settings_at(tmp_path)
    data, plain, older = tmp_path / "data", tmp_path / "plain.mamori", tmp_path / "older.mamori"
    await abused(tmp_path / "unsealed")
    assert mamori("db", "backup", plain, "--data-dir", tmp_path / "unsealed")[0] == 0
    await abused(data, encryption=keys)
    add_key(tmp_path / "keys")
    assert mamori("db", "verify", "--config", config)[0] == 0
    assert mamori("db", "backup", older, "--config", config)[0] == 0
    assert mamori("db", "rekey", "--config", config)[0] == 0
    newest = (tmp_path / "keys").read_text(encoding="utf-8").splitlines(keepends=True)[1]
    (tmp_path / "keys").write_text(newest, encoding="utf-8")
    for source, said_ in ((plain, "data that are not encrypted"), (older, "no key 'k")):
        code, told = mamori("db", "restore", source, "--config", config)
        assert code == 1
        assert said_ in told
        assert str(source) in told
        assert mamori("db", "verify", "--config", config) == (0, "whole\n")

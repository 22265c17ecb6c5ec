"""Who may be in a data directory with whom: one server, commands beside it, and what must be alone."""

from __future__ import annotations

import errno
import fcntl
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from server.app import create_app
from server.errors import SetupError
from server.settings import Settings
from server.storage.keyfile import add_key
from server.storage.lock import alone, attend, serve, serving_with, share, shared
from tests.server.running import ScriptedScorer, platform, said, serving, started
from tests.server.test_encryption import WORDS, abused, holding, keys_at, mamori, settings_at


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.key")}


async def test_what_must_be_alone_is_refused_beside_a_server_and_changes_nothing(tmp_path):
    data, backup, config = tmp_path / "data", tmp_path / "b.mamori", settings_at(tmp_path)
    await abused(data)
    assert mamori("db", "backup", backup, "--data-dir", data)[0] == 0
    keys_at(tmp_path)
    async with serving(data) as running, platform(running) as peer:
        await peer.send(started(call_id="c-2"))
        await peer.acked(0, "c-2")
        before = contents(data)
        for command in (
            ("db", "restore", backup, "--data-dir", data),
            ("db", "rekey", "--config", config),
            ("db", "rekey", "--off", "--config", config),
            ("db", "rotate-caller-key", "--data-dir", data),
        ):
            code, told = mamori(*command)
            assert code == 1, told
            assert told == f"Error: {data}: in use; stop the server first\n"
        assert contents(data) == before
        assert not [*data.glob("before-restore-*"), *data.glob(".restore-*"), *data.glob("encryption.json")]
        await peer.send(said(1, "もしもし", call_id="c-2"))
        await peer.acked(1, "c-2")
    code, told = mamori("db", "rotate-caller-key", "--data-dir", data)
    assert (code, told) == (0, "new key; 0 entries deleted\n")
    assert contents(data) != before


async def test_a_directory_has_one_server(tmp_path):
    async with serving(tmp_path):
        with pytest.raises(SetupError, match="another server is at work in it"):
            create_app(Settings(data_dir=tmp_path), scorer=ScriptedScorer())
        assert mamori("db", "verify", "--data-dir", tmp_path) == (0, "whole\n")
    async with serving(tmp_path):
        pass


async def test_nobody_comes_in_while_something_is_alone(tmp_path):
    await abused(tmp_path)
    with alone(tmp_path):
        with pytest.raises(SetupError, match="a command that must be alone"):
            create_app(Settings(data_dir=tmp_path), scorer=ScriptedScorer())
        code, told = mamori("db", "verify", "--data-dir", tmp_path)
        assert code == 1
        assert "a command that must be alone is at work in it" in told
        with pytest.raises(SetupError, match="a command that must be alone"), attend(tmp_path):
            pass
    assert mamori("db", "verify", "--data-dir", tmp_path) == (0, "whole\n")


def test_who_is_killed_lets_go(tmp_path):
    code = (
        "import sys, time; from pathlib import Path; from server.storage.lock import serve, share\n"
        "held = serve(Path(sys.argv[1]), ['k1']), share(Path(sys.argv[1])); print('held', flush=True); time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    with process:
        assert process.stdout.readline() == "held\n"
        assert serving_with(tmp_path) == {"k1"}
        with pytest.raises(SetupError, match="another server"):
            serve(tmp_path, [])
        with pytest.raises(SetupError, match="in use; stop the server first"), alone(tmp_path):
            pass
        process.kill()
    assert serving_with(tmp_path) is None
    serve(tmp_path, []).close()
    with alone(tmp_path):
        pass


def test_a_lock_that_nobody_holds_any_more_is_let_go(tmp_path):
    share(tmp_path)
    with alone(tmp_path):
        pass


def test_on_a_file_system_without_locks_nobody_is_kept_out(tmp_path, monkeypatch):
    why = [errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK, errno.EIO]

    def fails(_descriptor, _kind):
        raise OSError(why[0], "no locks")

    monkeypatch.setattr(fcntl, "flock", fails)
    while len(why) > 1:
        with shared(tmp_path), alone(tmp_path):
            serve(tmp_path, ["k1"]).close()
            assert serving_with(tmp_path) is None
        del why[0]
    with pytest.raises(OSError, match="no locks"), alone(tmp_path):
        pass


def test_a_directory_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(SetupError, match="file/data: Not a directory"):
        share(tmp_path / "file" / "data")


async def test_a_key_that_the_server_does_not_know_yet_takes_no_older_one_out_of_use(tmp_path):
    data, keys, config = tmp_path / "data", keys_at(tmp_path), settings_at(tmp_path)
    async with serving(data, encryption=keys) as running, platform(running) as peer:
        await peer.send(started(), said(1, WORDS))
        await peer.acked(1)
        add_key(tmp_path / "keys")
        # Whoever opens the directory now makes the new key a known one; the server does not know it all the same.
        assert mamori("db", "verify", "--config", config) == (0, "whole\n")
        code, told = mamori("db", "rekey", "--config", config)
        assert code == 1
        assert "does not know the newest key; restart the server first" in told
        await peer.send(said(2, WORDS))
        await peer.acked(2)
    async with serving(data, encryption=keys) as running, platform(running) as peer:
        code, told = mamori("db", "rekey", "--config", config)
        assert (code, told.endswith("values encrypted\n")) == (0, True)
        await peer.send(said(3, WORDS))
        await peer.acked(3)
    lines = (tmp_path / "keys").read_text(encoding="utf-8").splitlines(keepends=True)
    (tmp_path / "keys").write_text(lines[-1], encoding="utf-8")
    assert mamori("db", "verify", "--config", config) == (0, "whole\n")


async def test_one_damaged_value_does_not_keep_the_others_from_their_new_key(tmp_path):
    data, keys, config = tmp_path / "data", keys_at(tmp_path), settings_at(tmp_path)
    await abused(data, encryption=keys)
    with closing(sqlite3.connect(data / "state.sqlite")) as connection:
        (body,) = connection.execute("SELECT body FROM alerts WHERE kind = 'abuse'").fetchone()
        touched = body[:-1] + bytes((body[-1] ^ 1,))
        connection.execute("UPDATE alerts SET body = ? WHERE kind = 'abuse'", (touched,))
        connection.commit()
    add_key(tmp_path / "keys")
    code, told = mamori("db", "rekey", "--config", config)
    assert code == 1
    assert int(told.split()[0]) > 10
    assert "1 values cannot be opened and stay as they are; keep the keys" in told
    assert mamori("db", "rekey", "--config", config)[1].startswith("0 values encrypted\n")
    assert "state.sqlite: alerts: 1 values cannot be opened" in mamori("db", "verify", "--config", config)[1]
    lines = (tmp_path / "keys").read_text(encoding="utf-8").splitlines(keepends=True)
    (tmp_path / "keys").write_text(lines[-1], encoding="utf-8")
    assert "no key 'k" in mamori("db", "verify", "--config", config)[1]
    (tmp_path / "keys").write_text("".join(lines), encoding="utf-8")
    assert mamori("db", "rekey", "--off", "--config", config)[0] == 1
    assert holding(data, WORDS)
    assert mamori("incident", "write", "c-1", "--data-dir", data)[0] == 0


def test_a_key_goes_on_a_line_of_its_own(tmp_path):
    first = add_key(tmp_path / "keys")
    whole = (tmp_path / "keys").read_text(encoding="utf-8")
    (tmp_path / "keys").write_text(whole.rstrip("\n"), encoding="utf-8")
    code, told = mamori("db", "new-key", tmp_path / "keys", "--tenant", "b")
    assert code == 0
    lines = (tmp_path / "keys").read_text(encoding="utf-8").splitlines()
    assert [line.split()[0] for line in lines] == [first, told.split()[1]]
    assert lines[1].split()[2] == "b"
    code, told = mamori("db", "new-key", tmp_path / "keys", "--tenant", "b c")
    assert (code, told) == (1, "Error: tenant: expected a name without spaces\n")
    assert mamori("db", "new-key", tmp_path)[0] == 2

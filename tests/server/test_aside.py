"""Copies of the data within the data directory: what a restore leaves where it is, sets aside, and for how long."""

from __future__ import annotations

import shutil
import time

from server.settings import Encryption
from server.storage.aside import purge_aside, room
from server.storage.embedded import EmbeddedLog
from tests.server.test_encryption import WORDS, abused, holding, keys_at, mamori, settings_at

DAY_MS = 86_400_000


def purged(folder, days: int, keep_days: int = 90) -> None:
    """The purge as it comes so many days later."""
    log = EmbeddedLog(folder, now_ms=lambda: time.time_ns() // 1_000_000 + days * DAY_MS)
    log.purge(keep_days=keep_days, keep_record_days=730)
    log.close()


async def restored(tmp_path):
    data, backup = tmp_path / "data", tmp_path / "b.mamori"
    await abused(data, "c-1")
    assert mamori("db", "backup", backup, "--data-dir", data)[0] == 0
    await abused(data, "c-2")
    code, told = mamori("db", "restore", backup, "--data-dir", data)
    assert code == 0, told
    (aside,) = data.glob("before-restore-*")
    assert holding(aside, WORDS)
    return data, aside, told


async def test_what_was_set_aside_goes_after_a_week_or_with_the_words(tmp_path):
    data, aside, told = await restored(tmp_path)
    assert f"what was there before is in {aside}: delete it when you have seen that all is well; the purge does" in told
    purged(data, 6)
    assert aside.is_dir()
    kept = tmp_path / "kept"
    shutil.copytree(aside, kept)
    purged(data, 8)
    assert not aside.exists()
    odd = data / "before-restore-by-hand"
    kept.rename(odd)
    purged(data, 0, keep_days=1)
    assert odd.is_dir()
    purged(data, 2, keep_days=1)
    assert not odd.exists()


async def test_calls_under_hold_are_not_purged_with_what_was_set_aside(tmp_path):
    data, backup = tmp_path / "data", tmp_path / "b.mamori"
    await abused(data, "c-1")
    assert mamori("db", "backup", backup, "--data-dir", data)[0] == 0
    assert mamori("db", "hold", "c-1", "--data-dir", data)[0] == 0
    code, told = mamori("db", "restore", backup, "--data-dir", data)
    assert code == 0
    (aside,) = data.glob("before-restore-*")
    assert f"1 calls under legal hold are in {aside}, which stays until you delete it" in told
    purged(data, 100)
    assert holding(aside, WORDS)


def test_rooms_of_the_killed_go_and_those_of_the_living_stay(tmp_path):
    for name in (".backup-killed", ".restore-killed"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "copy.sqlite").write_text(WORDS, encoding="utf-8")
    (tmp_path / ".backup-file").touch()
    with room(tmp_path, ".backup-") as living:
        purge_aside(tmp_path, now_ms=time.time_ns() // 1_000_000, keep_days=90)
        assert living.is_dir()
        assert [path for path in tmp_path.iterdir() if path.is_dir()] == [living]
    assert holding(tmp_path, WORDS) == []


async def test_a_restore_leaves_alone_what_no_backup_is_of(tmp_path):
    """The house's own files, keys in a folder of their own, and the list of the forgotten."""
    data, backup, config = tmp_path / "data", tmp_path / "b.mamori", settings_at(tmp_path)
    (data / "secrets").mkdir(parents=True)
    keys = Encryption(key_file=keys_at(tmp_path).key_file.rename(data / "secrets" / "keys"))
    text = config.read_text(encoding="utf-8").replace(f"'{tmp_path / 'keys'}'", f"'{data / 'secrets' / 'keys'}'")
    config.write_text(text, encoding="utf-8")
    await abused(data, encryption=keys)
    (data / "house.toml").write_text("port = 1\n", encoding="utf-8")
    assert mamori("db", "backup", backup, "--config", config)[0] == 0
    assert mamori("caller", "delete", "--yes", "--config", config, stdin="090-1234-5678\n")[0] == 0
    code, told = mamori("db", "restore", backup, "--config", config)
    assert code == 0, told
    assert "1 calls of forgotten callers emptied again" in told
    assert {"house.toml", "secrets", "forgotten.jsonl", "in-use.lock"} <= {path.name for path in data.iterdir()}
    assert mamori("db", "verify", "--config", config) == (0, "whole\n")


async def test_a_restore_that_would_move_the_keys_away_is_refused_before_it_begins(tmp_path):
    data, backup, config = tmp_path / "data", tmp_path / "b.mamori", settings_at(tmp_path)
    keys = keys_at(tmp_path)
    await abused(data, encryption=keys)
    assert mamori("db", "backup", backup, "--config", config)[0] == 0
    (tmp_path / "keys").rename(data / "log" / "keys")
    text = config.read_text(encoding="utf-8").replace(f"'{tmp_path / 'keys'}'", f"'{data / 'log' / 'keys'}'")
    config.write_text(text, encoding="utf-8")
    code, told = mamori("db", "restore", backup, "--config", config)
    assert code == 1
    assert f"{data / 'log'}: holds the list of forgotten callers or the keys" in told
    assert not [*data.glob("before-restore-*")]
    assert mamori("db", "verify", "--config", config) == (0, "whole\n")

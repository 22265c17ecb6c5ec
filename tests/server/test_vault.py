"""What is sealed opens in its own place alone; which keys there are, and what is said when they are not."""

from __future__ import annotations

import base64
import os
import stat
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.errors import SetupError
from server.storage import vault as vault_module
from server.storage.keyfile import KeySource, add_key, open_vault, read_keys
from server.storage.vault import MARK, PLAIN, Key, SealError, Vault, sealed_with

OLD = Key(key_id="old", secret=b"1" * 32)
NEW = Key(key_id="new", secret=b"2" * 32)
OWN = Key(key_id="acme-1", secret=b"3" * 32, tenant="acme")
SECRET = base64.b64encode(b"1" * 32).decode()


@given(st.binary(), st.text(max_size=20), st.text(max_size=20), st.text(max_size=20))
def test_what_was_sealed_comes_back_in_its_place_and_nowhere_else(plain, tenant, scope, row):
    vault = Vault([OLD])
    sealed = vault.seal(tenant, scope, row, plain)
    assert sealed[0] == MARK
    assert vault.open(tenant, scope, row, sealed) == plain
    for place in ((tenant + "x", scope, row), (tenant, scope + "x", row), (tenant, scope, row + "x")):
        with pytest.raises(SealError, match="changed, moved"):
            vault.open(*place, sealed)


def test_tenant_and_scope_do_not_run_into_each_other():
    vault = Vault([OLD])
    with pytest.raises(SealError):
        vault.open("a", "bc", "r", vault.seal("ab", "c", "r", b"x"))


def test_any_changed_byte_is_noticed():
    vault = Vault([OLD])
    sealed = vault.seal("t", "s", "r", b"words")
    for at in range(len(sealed)):
        changed = bytearray(sealed)
        changed[at] ^= 1
        with pytest.raises(SealError):
            vault.open("t", "s", "r", bytes(changed))
    for end in range(len(sealed)):
        with pytest.raises(SealError):
            vault.open("t", "s", "r", sealed[:end])


def test_the_same_words_never_look_the_same():
    vault = Vault([OLD])
    assert len({vault.seal("t", "s", "r", b"words") for _ in range(100)}) == 100


def test_keys_rotate_new_values_take_the_newest_and_old_ones_stay_readable():
    before, after = Vault([OLD]), Vault([OLD, NEW])
    sealed = before.seal("t", "s", "r", b"words")
    assert after.open("t", "s", "r", sealed) == b"words"
    assert not after.current("t", sealed)
    fresh = after.seal("t", "s", "r", b"words")
    assert sealed_with(fresh) == "new"
    assert after.current("t", fresh)
    with pytest.raises(SealError, match="no key of the id 'new'"):
        before.open("t", "s", "r", fresh)


def test_a_tenants_own_key_seals_its_values_alone():
    vault = Vault([OWN, OLD])
    assert sealed_with(vault.seal("acme", "s", "r", b"x")) == "acme-1"
    assert sealed_with(vault.seal("other", "s", "r", b"x")) == "old"
    with pytest.raises(SealError, match="another tenant"):
        vault.open("other", "s", "r", vault.seal("acme", "s", "r", b"x"))


def test_with_keys_a_plain_value_is_no_value_and_without_them_it_is_what_it_is():
    with pytest.raises(SealError, match="not sealed"):
        Vault([OLD]).open("t", "s", "r", b"{}")
    assert Vault([OLD], accept_plain=True).open("t", "s", "r", b"{}") == b"{}"
    assert PLAIN.open("t", "s", "r", PLAIN.seal("t", "s", "r", b"{}")) == b"{}"


def test_derived_keys_at_hand_are_bounded(monkeypatch):
    monkeypatch.setattr(vault_module, "MAX_CACHED", 4)
    vault = Vault([OLD])
    sealed = [vault.seal("t", f"day-{number}", "r", b"x") for number in range(10)]
    assert [vault.open("t", f"day-{number}", "r", value) for number, value in enumerate(sealed)] == [b"x"] * 10
    assert len(vault._writers) == len(vault._readers) == 4


def key_file(folder, text: str, mode: int = 0o600):
    path = folder / "keys"
    path.write_text(text, encoding="utf-8")
    path.chmod(mode)
    return path


def test_a_key_file_has_ids_keys_and_tenants(tmp_path):
    path = key_file(tmp_path, f"# ours\n\nk1 {SECRET}\nk2 {SECRET} acme\n")
    keys = read_keys(KeySource(file=path))
    assert [(key.key_id, key.secret, key.tenant) for key in keys] == [
        ("k1", b"1" * 32, None),
        ("k2", b"1" * 32, "acme"),
    ]
    assert "111" not in repr(keys)
    assert read_keys(KeySource()) == ()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "at least one key"),
        (f"k1 {SECRET} acme", "not a single tenant's"),
        ("k1", "line 1: expected an id"),
        (f"k/1 {SECRET}", "line 1: expected an id"),
        ("k1 c2hvcnQ=", "line 1: expected the base64 of 32 bytes"),
        ("k1 !!", "line 1: expected the base64 of 32 bytes"),
        (f"k1 {SECRET}\nk1 {SECRET}", "line 2: a second key"),
    ],
)
def test_a_wrong_key_file_is_named_with_its_line_and_without_its_content(tmp_path, text, said):
    with pytest.raises(SetupError, match=said) as caught:
        read_keys(KeySource(file=key_file(tmp_path, text)))
    assert str(caught.value).startswith("encryption.key_file: ")
    assert SECRET not in str(caught.value)


def test_a_key_file_that_others_may_read_is_refused(tmp_path):
    with pytest.raises(SetupError, match="expected mode 0600"):
        read_keys(KeySource(file=key_file(tmp_path, f"k1 {SECRET}", 0o640)))
    with pytest.raises(SetupError, match="No such file"):
        read_keys(KeySource(file=tmp_path / "nowhere"))


def test_a_command_prints_the_keys():
    source = KeySource(command=(sys.executable, "-c", f"print('k1 {SECRET}')"))
    assert [key.key_id for key in read_keys(source)] == ["k1"]


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import sys; sys.exit(3)", "status 3"),
        ("print('hello')", "line 1: expected an id"),
        ("import sys; sys.stdout.buffer.write(b'\\xff')", "expected text"),
        ("import time; time.sleep(60)", "no answer"),
    ],
)
def test_a_command_that_fails_is_named(monkeypatch, code, said):
    if said == "no answer":
        monkeypatch.setattr("server.storage.keyfile.COMMAND_TIMEOUT_S", 0.5)
    with pytest.raises(SetupError, match=f"encryption.key_command: .*{said}"):
        read_keys(KeySource(command=(sys.executable, "-c", code)))


def test_a_command_that_is_not_there_is_named():
    with pytest.raises(SetupError, match=r"encryption.key_command: .*nowhere"):
        read_keys(KeySource(command=("/nowhere/kms",)))


def test_fresh_keys_are_appended(tmp_path):
    path = tmp_path / "keys"
    names = [add_key(path), add_key(path, "acme")]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [(key.key_id, key.tenant) for key in read_keys(KeySource(file=path))] == [
        (names[0], None),
        (names[1], "acme"),
    ]
    assert len(set(names)) == 2


def test_a_directory_remembers_its_keys(tmp_path):
    data, path = tmp_path / "data", tmp_path / "keys"
    first = add_key(path)
    lines = path.read_text(encoding="utf-8")
    assert open_vault(data, KeySource(file=path)).newest("t").key_id == first
    with pytest.raises(SetupError, match=f"is encrypted; set key_file or key_command .*{first}"):
        open_vault(data, KeySource())
    wrong = base64.b64encode(os.urandom(32)).decode()
    path.write_text(f"{first} {wrong}\n", encoding="utf-8")
    with pytest.raises(SetupError, match=rf"encryption\.key_file: .*{first}' is not the one"):
        open_vault(data, KeySource(file=path))
    path.write_text(f"k2 {wrong}\n", encoding="utf-8")
    with pytest.raises(SetupError, match=f"no key '{first}'"):
        open_vault(data, KeySource(file=path))
    path.write_text(f"{lines}k2 {wrong}\n", encoding="utf-8")
    assert open_vault(data, KeySource(file=path)).newest("t").key_id == "k2"
    path.write_text(lines, encoding="utf-8")
    with pytest.raises(SetupError, match="no key 'k2'"):
        open_vault(data, KeySource(file=path))
    (data / "encryption.json").write_text("{", encoding="utf-8")
    with pytest.raises(SetupError, match="damaged"):
        open_vault(data, KeySource(file=path))

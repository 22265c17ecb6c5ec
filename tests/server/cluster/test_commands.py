"""The commands about who may come in and what is on record, with a cluster's PostgreSQL in place of a data directory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import sqlalchemy as sa

from server.auth import Role, Tokens
from server.storage.statedb import open_postgres
from tests.server.test_cli import run

pytestmark = pytest.mark.needs("postgres")


@contextmanager
def opened(address: str) -> Iterator[sa.Engine]:
    engine = open_postgres(address)
    yield engine
    engine.dispose()


def test_tokens_and_accounts_are_those_of_every_machine(database, monkeypatch):
    code, secret, err = run("token", "create", "centre", "--role", "platform", "--database", database)
    assert code == 0, err
    with opened(database) as engine:
        assert Tokens(engine).principal(secret.strip()).role is Role.PLATFORM
    monkeypatch.setenv("MAMORI_DATABASE", database)
    assert "centre" in run("token", "list")[1]
    assert (
        run("user", "add", "hanako", "--role", "supervisor", "--password-stdin", stdin="correct horse battery\n")[0]
        == 0
    )
    assert run("user", "list")[1].startswith("hanako\tsupervisor")
    assert run("report")[0] == 0


def test_verify_finds_a_change_in_the_audit_trail(database, monkeypatch, tmp_path):
    monkeypatch.setenv("MAMORI_DATABASE", database)
    monkeypatch.setenv("MAMORI_NATS", "nats://127.0.0.1:4222")
    for name in ("a", "b", "c"):
        run("token", "create", name, "--role", "platform")
    assert run("db", "verify", "--data-dir", str(tmp_path))[:2] == (0, "whole\n")
    with opened(database) as engine, engine.begin() as connection:
        connection.execute(sa.text("UPDATE audit SET actor = 'nobody' WHERE id = 2"))
    code, _, err = run("db", "verify", "--data-dir", str(tmp_path))
    assert (code, "entry 2" in err) == (1, True)


def test_a_database_that_is_not_there_is_told_in_a_line():
    code, _, err = run("token", "list", "--database", "postgresql://mamori:secret@127.0.0.1:1/x")
    assert code == 1
    assert "PostgreSQL at 127.0.0.1:1 cannot be reached" in err
    assert "secret" not in err

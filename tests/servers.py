"""Real NATS and PostgreSQL servers for tests: one of each for a run, a fresh database and fresh streams for each test."""

from __future__ import annotations

import asyncio
import itertools
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import pytest
import sqlalchemy as sa

from benchmarks.servers import Nats, Postgres

_numbers = itertools.count()


@contextmanager
def _in_folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    with _in_folder() as folder:
        server = Postgres(folder / "postgres")
        try:
            server.start()
            yield server
        finally:
            server.kill()


@pytest.fixture(scope="session")
def nats() -> Iterator[Nats]:
    with _in_folder() as folder:
        server = Nats(folder / "nats")
        try:
            server.start()
            yield server
        finally:
            server.kill()


@cache
def _template(url: str) -> str:
    """A migrated database to copy: quicker than migrating for each test."""
    from server.storage.statedb import open_postgres

    open_postgres(new_database(url, "migrated")).dispose()
    return "migrated"


def new_database(url: str, name: str, *, template: str = "template0") -> str:
    """Makes a database; returns its address."""
    address = sa.make_url(url)
    engine = sa.create_engine(address.set(drivername="postgresql+psycopg"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
    engine.dispose()
    return address.set(database=name).render_as_string(hide_password=False)


@pytest.fixture
def database(postgres: Postgres) -> str:
    """The address of a fresh database."""
    return new_database(postgres.url, f"t{next(_numbers)}", template=_template(postgres.url))


@pytest.fixture
def fresh_nats(nats: Nats) -> str:
    """The address of NATS without a stream of an earlier test."""
    asyncio.run(_clear(nats.url))
    return nats.url


async def _clear(url: str) -> None:
    import nats as client

    connection = await client.connect(url)
    jetstream = connection.jetstream()
    for stream in await jetstream.streams_info():
        await jetstream.delete_stream(stream.config.name)
    await connection.close()

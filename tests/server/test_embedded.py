"""What the embedded log does when the machine under it fails, or who waits for it goes."""

import asyncio
import sqlite3
import time

import pytest

from server.errors import StorageError
from server.storage.embedded import EmbeddedLog
from server.storage.port import AuditEntry, Batch


def entry(number: int) -> AuditEntry:
    return AuditEntry(tenant="t", utc_ms=number, actor="a", action="x", target="")


@pytest.fixture
def log(tmp_path):
    log = EmbeddedLog(tmp_path)
    yield log
    log.close()


async def test_a_write_is_made_though_whoever_waits_for_it_goes(log):
    waiting = [asyncio.wrap_future(log.append(Batch(audit=[entry(number)]))) for number in range(20)]
    for future in waiting:
        future.cancel()
    log.append(Batch(audit=[entry(20)])).result(10)
    assert log.failure == ""
    with log.state.engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM audit").scalar() == 21


def test_while_the_database_is_locked_a_group_fails_at_once_and_a_probe_shows_that_it_is_well_again(log, tmp_path):
    holder = sqlite3.connect(tmp_path / "state.sqlite", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    began_s = time.monotonic()
    waiting = [log.append(Batch(audit=[entry(number)])) for number in range(4)]
    for future in waiting:
        with pytest.raises(StorageError):
            future.result(30)
    # At most two groups, each of which waits 5 s for the lock; four would have taken 20.
    assert time.monotonic() - began_s < 15
    assert log.failure == "OperationalError"
    holder.rollback()
    holder.close()
    log.append(Batch(probe=True)).result(10)
    assert log.failure == ""
    assert log.state.verify_audit() is None


def test_a_writer_that_lives_is_not_replaced(log):
    assert not log.revive()
    log.append(Batch(audit=[entry(1)])).result(10)
    log.close()
    assert not log.revive()
    assert log.failure == ""

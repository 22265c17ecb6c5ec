from __future__ import annotations

import re
import sqlite3

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from click.testing import CliRunner

from server.cli import main
from server.storage.bodies import Bodies
from server.storage.statedb import open_engine
from server.storage.tables import CALLS, FLAGS, METADATA
from tests.server.running import ended, over, platform, said, serving, started, supervisor

NUMBER = "03-3581-4111"
COMPLAINT = "先週の返金がまだ口座に入っていません、どうなっていますか"


async def complain(server, call_id: str, number: str = NUMBER) -> None:
    async with platform(server) as peer:
        await peer.send(
            started(call_id=call_id, caller={"number": number}), said(1, COMPLAINT, call_id=call_id), ended(2, call_id)
        )
        await peer.acked(2, call_id)
    await over(server, call_id)


async def test_the_third_call_about_the_same_is_a_notice_and_forgetting_the_caller_ends_that(tmp_path):
    data = tmp_path / "data"
    async with serving(data) as server:
        await complain(server, "c-1")
        await complain(server, "c-2")
        await complain(server, "other", "06-6208-8181")
        async with supervisor(server) as watcher, platform(server) as peer:
            await watcher.until("snapshot")
            await peer.send(
                started(call_id="c-3", caller={"number": "+81335814111"}), said(1, COMPLAINT, call_id="c-3")
            )
            alert = (await watcher.until("alert.raised"))["alert"]
            assert (alert["call_id"], alert["kind"], alert["level"]) == ("c-3", "repetition", "notice")
            assert alert["call"]["earlier_calls"] == 2
    with sqlite3.connect(data / "state.sqlite") as connection:
        stored = b"".join(bytes(str(row), "utf-8") for row in connection.execute("SELECT * FROM ledger"))
    connection.close()
    assert b"3581" not in stored
    told = CliRunner().invoke(main, ["db", "forget-caller", "--data-dir", str(data)], input=f"{NUMBER}\n")
    assert re.search(r"^2 entries deleted", told.output, re.MULTILINE)
    rotated = CliRunner().invoke(main, ["db", "rotate-caller-key", "--data-dir", str(data)])
    assert "1 entries deleted" in rotated.output


def test_a_caller_without_a_number_has_nothing_to_forget(tmp_path):
    open_engine(tmp_path / "state.sqlite").dispose()
    told = CliRunner().invoke(main, ["db", "forget-caller", "--data-dir", str(tmp_path)], input="anonymous\n")
    assert told.exit_code == 1


def at_revision(path, revision: str) -> sa.Engine:
    """A state database as a release of that schema left it."""
    engine = sa.create_engine(f"sqlite:///{path}")
    config = Config()
    config.set_main_option("script_location", "server/storage/migrations")
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
    return engine


@pytest.mark.parametrize("revision", [f"000{number}" for number in range(1, 8)])
def test_migrations_lead_up_from_every_earlier_schema(tmp_path, revision):
    """Each released schema, with a row in it, comes up to date and keeps the row."""
    engine = at_revision(tmp_path / "state.sqlite", revision)
    with engine.begin() as connection:
        values = "('i','d','n','t','lead','*',1,NULL,NULL)"
        connection.execute(sa.text(f"INSERT INTO tokens VALUES {values}"))
    engine.dispose()
    upgraded = open_engine(tmp_path / "state.sqlite")
    with upgraded.connect() as connection:
        assert connection.execute(sa.text("SELECT token_id, role FROM tokens")).all() == [("i", "lead")]
        assert connection.execute(sa.text("SELECT COUNT(*) FROM ledger")).scalar() == 0
    found = {column["name"] for table in METADATA.tables for column in sa.inspect(upgraded).get_columns(table)}
    assert found == {column.name for table in METADATA.tables.values() for column in table.columns}
    upgraded.dispose()


def test_notes_and_calls_from_before_they_could_be_sealed_come_up_whole(tmp_path):
    engine = at_revision(tmp_path / "state.sqlite", "0006")
    notes = ["", "後で折り返す\n「二度目」 🙂"]
    with engine.begin() as connection:
        for number, note in enumerate(notes, 1):
            row = {"id": number, "note": note}
            connection.execute(
                sa.text(
                    "INSERT INTO flags (id, tenant, instance, segment_id, labels, note, actor, utc_ms) "
                    "VALUES (:id, 't', 'c-1@1', 's1', 'threat', :note, 'hanako', 5)"
                ),
                row,
            )
        names = [column["name"] for column in sa.inspect(connection).get_columns("calls")]
        filled = dict.fromkeys(names, "1")
        places = ", ".join(f":{name}" for name in names)
        connection.execute(sa.text(f"INSERT INTO calls ({', '.join(names)}) VALUES ({places})"), filled)
    engine.dispose()
    upgraded = open_engine(tmp_path / "state.sqlite")
    with upgraded.begin() as connection:
        rows = connection.execute(sa.select(FLAGS).order_by(FLAGS.c.id)).all()
        assert [Bodies().note(row) for row in rows] == notes
        assert all(isinstance(row.note, bytes) for row in rows)
        made = connection.execute(sa.text("SELECT sql FROM sqlite_master WHERE name = 'flags'")).scalar_one()
        assert "AUTOINCREMENT" in made
        assert connection.execute(sa.select(CALLS.c.caller_key)).scalar_one() is None
        assert "calls_by_caller" in {index["name"] for index in sa.inspect(connection).get_indexes("calls")}
    upgraded.dispose()

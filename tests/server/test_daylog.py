"""The day files when a purge comes between, when somebody reads meanwhile, and in folders of any name."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import date, timedelta

import pytest

from detector.events import Segment, Speaker
from server.storage.daylog import DayLog, connect, connect_to_read
from server.storage.port import Redaction, Row
from server.storage.rekey import unopened
from server.storage.vault import PLAIN

DAY_MS = 86_400_000
NOW_MS = 1_700_000_000_000
WORDS = "よんごの、ろくなな"


def row(seq: int, text: str = WORDS) -> Row:
    segment = Segment(segment_id=f"s{seq}", speaker=Speaker.CUSTOMER, text=text, start_ms=0, end_ms=900, is_final=True)
    return Row(tenant="t", instance="c-1@1", kind="transcript.segment", utc_ms=NOW_MS, seq=seq, value=segment)


@pytest.fixture
def log(tmp_path):
    """Three days of one call, in a folder whose name means something in an address."""
    days = DayLog(tmp_path / "50% #1?mode=memory")
    for number in range(3):
        days.write([row(number)], now_ms=NOW_MS + number * DAY_MS)
    yield days
    days.close()


def files(log: DayLog) -> list[str]:
    return sorted(path.name for path in log._folder.glob("log-*.sqlite"))


def test_a_file_that_is_not_there_is_not_made(tmp_path):
    for opens in (connect, connect_to_read):
        with pytest.raises(FileNotFoundError, match="log-2023-11-14"):
            opens(tmp_path / "log-2023-11-14.sqlite")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "folder").mkdir()
    with pytest.raises(sqlite3.OperationalError):
        connect(tmp_path / "folder")


def test_a_purge_between_listing_and_opening_makes_no_empty_day(log, monkeypatch):
    listed = log.days()
    log.purge(listed[1])
    monkeypatch.setattr(log, "days", lambda: listed)
    assert [item.row.seq for item in log.read_call("t", "c-1@1")] == [1, 2]
    assert log.forget("t", "c-1@1") == 2
    monkeypatch.setattr(log, "days", lambda: [date(2023, 1, 1), listed[2]])
    log.redact([Redaction(tenant="t", instance="c-1@1", segment_id="s2", text="〈番号〉")])
    assert files(log) == [f"log-{day.isoformat()}.sqlite" for day in listed[1:]]


def test_the_days_that_a_rekey_or_a_check_lists_may_go_as_well(log, monkeypatch):
    folder = log._folder.parent / "data"
    log._folder.rename(folder)
    (folder / "log").mkdir()
    for path in folder.glob("log-*.sqlite*"):
        path.rename(folder / "log" / path.name)

    def vanishing(path, **options):
        path.unlink()
        return connect_to_read(path, **options)

    monkeypatch.setattr("server.storage.rekey.connect_to_read", vanishing)
    assert list(unopened(folder, PLAIN)) == []
    assert list((folder / "log").glob("log-*.sqlite")) == []


def test_what_was_forgotten_while_somebody_read_leaves_the_journal_when_they_are_done(log):
    day = log.days()[0]
    path = log._path(day)
    journal = path.with_name(path.name + "-wal")
    with closing(connect(path)) as writer, closing(connect_to_read(path)) as reader:
        # A journal with the words in it, and somebody who still sees what was before.
        writer.execute("UPDATE log SET utc_ms = utc_ms + 1")
        reader.execute("BEGIN")
        assert reader.execute("SELECT count(*) FROM log").fetchone() == (1,)
        assert log.clean
        assert log.forget("t", "c-1@1") == 3
        assert not log.clean
        assert WORDS.encode() in path.read_bytes() + journal.read_bytes()
        assert not log.scrub()
        reader.execute("COMMIT")
        assert log.scrub()
        assert log.clean
        assert WORDS.encode() not in path.read_bytes() + journal.read_bytes()


def test_a_day_that_was_purged_needs_no_scrubbing(log):
    day = log.days()[0]
    with closing(connect_to_read(log._path(day))) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM log").fetchone()
        log.forget("t", "c-1@1")
        assert not log.clean
    log.purge(day + timedelta(days=1))
    assert log.scrub()


def test_an_earlier_day_that_was_redacted_beside_the_writer_is_scrubbed_too(log):
    text = "〈番号〉"
    log.redact([Redaction(tenant="t", instance="c-1@1", segment_id="s1", text=text)])
    assert not log.clean
    assert log.scrub()
    found = {item.row.seq: item.row.value.text for item in log.read_call("t", "c-1@1")}
    assert found[0] == found[2] == WORDS
    assert WORDS not in found[1]
    path = log._path(log.days()[1])
    assert WORDS.encode() not in path.read_bytes()

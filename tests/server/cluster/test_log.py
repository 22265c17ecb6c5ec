"""What only the cluster's log promises: an owner of before can write nothing, and what a crash left untold is told once."""

from __future__ import annotations

import pytest

from detector.events import Segment
from detector.labels import Speaker
from server.cluster.entries import Entries
from server.cluster.log import ClusterLog
from server.cluster.subjects import PARTITIONS, partition_of
from server.errors import FencedError, StorageError
from server.storage.port import Batch, Redaction
from tests.contracts.test_log import alert_events, record, row, segment

pytestmark = pytest.mark.needs("nats", "postgres")
OURS = partition_of("t", "c")


@pytest.fixture
def make(fresh_nats, database, tmp_path):
    opened = []

    def build() -> ClusterLog:
        log = ClusterLog(fresh_nats, database, data_dir=tmp_path)
        opened.append(log)
        return log

    yield build
    for log in opened:
        log.close()


def test_nothing_is_written_to_a_partition_that_is_not_owned(make):
    log = make()
    assert isinstance(log.append(Batch(rows=[row(0, segment(0))])).exception(), FencedError)
    assert isinstance(log.append(Batch(calls=[record()])).exception(), FencedError)
    log.take(OURS, 1)
    assert log.append(Batch(rows=[row(0, segment(0))], calls=[record()])).exception() is None
    other = next(name for name in "abdefgh" if partition_of("t", name) != OURS)
    both = Batch(rows=[row(1, segment(1)), row(0, segment(0), instance=f"{other}@1")])
    assert isinstance(log.append(both).exception(), FencedError)
    assert [item.row.seq for item in log.read_call("t", "c@1")] == [0]


def test_an_owner_of_before_can_write_neither_rows_nor_records(make):
    old, new = make(), make()
    old.take(OURS, 1)
    old.append(Batch(rows=[row(0, segment(0))], calls=[record()])).result()
    new.take(OURS, 2)
    assert isinstance(old.append(Batch(calls=[record(queue="late")])).exception(), FencedError)
    assert isinstance(old.append(Batch(rows=[row(1, segment(1, "late"))])).exception(), StorageError)
    new.append(Batch(rows=[row(1, segment(1, "new"))])).result()
    assert [item.row.value.text for item in new.read_call("t", "c@1")] == ["はい😡", "new"]
    assert new.find_call("t", "c").queue == "q"
    with pytest.raises(FencedError):
        old.take(OURS, 1)


def test_rows_of_an_owner_that_sleeps_are_refused_by_the_stream_itself(make):
    old, new = make(), make()
    old.take(OURS, 1)
    new.take(OURS, 2)
    assert isinstance(old.append(Batch(rows=[row(0, segment(0))])).exception(), StorageError)
    assert list(new.read_call("t", "c@1")) == []


def test_a_batch_of_an_earlier_ownership_is_refused_by_a_later_one_of_the_same_process(make):
    log = make()
    log.take(OURS, 1)
    log.take(OURS, 2)
    assert isinstance(log.append(Batch(rows=[row(0, segment(0))], epoch=1)).exception(), FencedError)
    assert log.append(Batch(rows=[row(0, segment(0))], epoch=2)).exception() is None


def test_what_was_checked_under_an_earlier_ownership_is_not_written_under_a_later_one(make, monkeypatch):
    log = make()
    log.take(OURS, 1)
    encode = Entries.encode

    def lost_and_taken_anew(self, item, **fields):
        log.take(OURS, 2)
        return encode(self, item, **fields)

    with monkeypatch.context() as patch:
        patch.setattr(Entries, "encode", lost_and_taken_anew)
        assert isinstance(log.append(Batch(rows=[row(0, segment(0))], epoch=1)).exception(), StorageError)
    assert list(log.read_call("t", "c@1")) == []
    assert log.append(Batch(rows=[row(0, segment(0))], calls=[record()], epoch=2)).exception() is None


def test_what_was_stored_and_not_told_is_told_by_the_next_owner_once(make, monkeypatch):
    log = make()
    log.take(OURS, 1)
    event = alert_events()[0]
    monkeypatch.setattr(log, "_tell", lambda told: None)  # as if the process had died there
    log.append(Batch(calls=[record()], alerts=[("t", "c@1", event)])).result()
    assert log.cursor() == 0
    later = make()
    later.take(OURS, 2)
    assert [item.event for item in later.stream("t", after=0)] == [event]
    later.take(OURS, 3)
    assert later.cursor() == 1


def test_a_segment_masked_after_the_fact_is_read_in_its_place_and_its_words_are_gone(make):
    log = make()
    log.take(OURS, 1)
    said = [Segment(segment_id=f"s{n}", speaker=Speaker.CUSTOMER, text=text, start_ms=n, end_ms=n + 1)
            for n, text in enumerate(("はい", "1234", "5678"))]  # fmt: skip
    positions = log.append(Batch(rows=[row(n, value) for n, value in enumerate(said)])).result().positions
    redaction = Redaction(tenant="t", instance="c@1", segment_id="s1", text="＊＊＊＊")
    for _ in range(2):
        log.append(Batch(redactions=[redaction])).result()
    rows = list(log.read_call("t", "c@1"))
    assert [(item.position, item.row.seq) for item in rows] == [(positions[n], n) for n in range(3)]
    assert "1234" not in rows[1].row.value.text
    assert [item.row.seq for item in log.read_call("t", "c@1", after=positions[1])] == [2]


def test_many_calls_are_read_as_each_alone(make):
    log = make()
    for partition in range(PARTITIONS):
        log.take(partition, 1)
    names = [f"call-{n}" for n in range(PARTITIONS * 12)]
    batch = Batch(rows=[row(n, segment(n), instance=f"{name}@1") for n in range(3) for name in names])
    log.append(batch).result()
    wanted = [("t", f"{name}@1", -1) for name in names]
    found = dict(log.read_many(wanted))
    assert sorted(found) == list(range(len(names)))
    assert found[5] == list(log.read_call("t", f"{names[5]}@1"))
    after = found[7][1].position
    assert [item.row.seq for item in dict(log.read_many([*wanted[:7], (*wanted[7][:2], after), *wanted[8:]]))[7]] == [2]

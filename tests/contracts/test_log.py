"""What every storage engine must do; an engine joins by adding itself to `ENGINES`."""

from __future__ import annotations

import itertools
import stat
from datetime import UTC, datetime
from functools import partial

import pytest

from detector.alerts import AlertChange
from detector.events import CallEnded, CallStarted, Segment
from detector.labels import Speaker
from detector.ledger import SHARED_COMPLAINTS
from detector.scoring import ScoreResult
from server.callers import Callers
from server.errors import KeptError
from server.storage.embedded import EmbeddedLog
from server.storage.port import AuditEntry, Batch, CallRecord, LedgerEntry, Row, Snapshot
from server.storage.vault import Key, Vault
from tests.detector.calls import Call
from tests.detector.scripted import vector
from tests.servers import database, fresh_nats, nats, postgres  # noqa: F401 - fixtures

DAY_MS = 86_400_000
NOW_MS = int(datetime(2026, 11, 24, 12, tzinfo=UTC).timestamp() * 1000)
SEALED = Vault([Key(key_id="k1", secret=bytes(32))])
ENGINES = {"embedded": EmbeddedLog, "embedded, encrypted": partial(EmbeddedLog, vault=SEALED)}
CLUSTER = pytest.param("cluster, encrypted", marks=pytest.mark.needs("nats", "postgres"))


@pytest.fixture(params=[*sorted(ENGINES), CLUSTER])
def make(request, tmp_path):
    opened = []
    engine = ENGINES.get(request.param) or cluster_engine(request)

    def build(now_ms: int = NOW_MS):
        log = engine(tmp_path / "data", now_ms=lambda: now_ms)
        opened.append(log)
        return log

    yield build
    for log in opened:
        log.close()


def cluster_engine(request):
    """Each log that is opened owns all partitions from then on."""
    from server.cluster.log import ClusterLog
    from server.cluster.subjects import PARTITIONS

    address, state = request.getfixturevalue("fresh_nats"), request.getfixturevalue("database")
    epochs = itertools.count(1)

    def opened(folder, *, now_ms):
        log = ClusterLog(address, state, data_dir=folder, now_ms=now_ms, vault=SEALED)
        epoch = next(epochs)
        for partition in range(PARTITIONS):
            log.take(partition, epoch)
        return log

    return opened


def record(call_id: str = "c", **fields) -> CallRecord:
    base = {"tenant": "t", "instance": f"{call_id}@1", "call_id": call_id, "queue": "q", "agent_id": "a"}
    return CallRecord(**{**base, "language": "ja", "started_ms": NOW_MS, **fields})


def row(seq: int, value, *, instance: str = "c@1", kind: str = "transcript.segment", tenant: str = "t") -> Row:
    return Row(tenant=tenant, instance=instance, kind=kind, utc_ms=NOW_MS, seq=seq, value=value)


def segment(number: int, text: str = "はい😡") -> Segment:
    return Segment(segment_id=f"s{number}", speaker=Speaker.CUSTOMER, text=text, start_ms=number, end_ms=number + 1)


def alert_events(count: int = 1):
    call = Call()
    call.say("C", "バカ")
    for text in itertools.islice(("晒すぞ", "土下座しろ"), count - 1):
        call.say("A", "はい、かしこまりました、お調べいたします")
        call.say("C", text)
    return [event for event in call.events if event.alert.kind.value == "abuse"]


def test_rows_come_back_in_order_with_rising_positions(make):
    log = make()
    values = [
        CallStarted(queue="q"),
        segment(1),
        ScoreResult(request_id="s1#0", scores={"threat": 0.5}, embedding=b"ab"),
    ]
    kinds = ["call.started", "transcript.segment", "score"]
    done = log.append(
        Batch(rows=[row(n, v, kind=k) for n, (v, k) in enumerate(zip(values, kinds, strict=True))])
    ).result()
    stored = list(log.read_call("t", "c@1"))
    assert [item.row.value for item in stored] == values
    assert tuple(item.position for item in stored) == done.positions
    assert list(done.positions) == sorted(set(done.positions))
    assert [item.row.kind for item in log.read_call("t", "c@1", after=done.positions[1])] == ["score"]


def test_calls_and_tenants_are_apart(make):
    log = make()
    log.append(
        Batch(rows=[row(0, segment(0)), row(0, segment(0), instance="d@1"), row(0, segment(0), tenant="u")])
    ).result()
    assert len(list(log.read_call("t", "c@1"))) == 1
    assert list(log.read_call("u", "d@1")) == []


def test_positions_rise_over_midnight_and_never_with_a_clock_that_goes_back(make):
    first = make(NOW_MS).append(Batch(rows=[row(0, segment(0))])).result().positions[0]
    second = make(NOW_MS + DAY_MS).append(Batch(rows=[row(1, segment(1))])).result().positions[0]
    log = make(NOW_MS - DAY_MS)
    third = log.append(Batch(rows=[row(2, segment(2))])).result().positions[0]
    assert first < second < third
    assert [item.row.seq for item in log.read_call("t", "c@1")] == [0, 1, 2]


def test_what_was_appended_is_there_after_a_new_start(make):
    log = make()
    log.append(Batch(rows=[row(0, segment(0))], calls=[record()])).result()
    log.close()
    again = make()
    assert [item.row.seq for item in again.read_call("t", "c@1")] == [0]
    assert again.open_calls()[0][0] == record()


def test_open_calls_come_with_their_last_snapshot(make):
    log = make()
    snapshots = [Snapshot(tenant="t", instance="c@1", position=n, fold_version=1, data=bytes([n])) for n in (1, 2)]
    log.append(Batch(calls=[record(), record("d", ended_ms=NOW_MS)], snapshots=snapshots[:1])).result()
    log.append(Batch(snapshots=snapshots[1:])).result()
    assert [(call.call_id, snapshot) for call, snapshot in log.open_calls()] == [("c", snapshots[1])]


def test_the_latest_instance_of_a_call_id_is_found(make):
    log = make()
    log.append(Batch(calls=[record(ended_ms=1), record(instance="c@2", started_ms=NOW_MS + 5)])).result()
    assert log.find_call("t", "c").instance == "c@2"
    assert log.find_call("u", "c") is None


def test_many_call_ids_are_found_at_once_each_with_its_latest_instance(make):
    log = make()
    many = [record(f"n{number}") for number in range(450)]
    log.append(
        Batch(calls=[*many, record("n7", instance="n7@2", started_ms=NOW_MS + 5), record("u", tenant="u")])
    ).result()
    found = log.find_calls("t", [*(f"n{number}" for number in range(450)), "none", "u"])
    assert set(found) == {f"n{number}" for number in range(450)}
    assert (found["n7"].instance, found["n8"].instance) == ("n7@2", "n8@1")
    assert log.find_calls("t", []) == {}


def test_an_alert_version_is_stored_once_and_cursors_only_rise(make):
    log = make()
    events = alert_events(3)
    entries = [("t", "c@1", event) for event in events]
    first = log.append(Batch(alerts=entries)).result().cursors
    again = log.append(Batch(alerts=entries)).result().cursors
    assert list(first) == sorted(set(first))
    assert again == (None,) * len(entries)
    assert [entry.event for entry in log.stream("t", after=0)] == events
    assert [entry.cursor for entry in log.stream("t", after=first[0])] == list(first[1:])
    assert log.cursor() == first[-1]


def test_an_alert_is_kept_as_it_stands(make):
    log = make()
    events = alert_events(2)
    log.append(Batch(alerts=[("t", "c@1", event) for event in events])).result()
    assert log.alerts("t") == [events[-1].alert]
    assert log.alert("t", events[0].alert.alert_id) == ("c@1", events[-1].alert)
    assert log.alert("u", events[0].alert.alert_id) is None
    assert events[0].type is AlertChange.RAISED


def test_a_bad_batch_fails_alone(make):
    log = make()
    bad = log.append(Batch(rows=[row(0, object())]))
    good = log.append(Batch(rows=[row(0, CallEnded(offset_ms=1), kind="call.ended")]))
    assert bad.exception() is not None
    assert good.exception() is None
    assert len(list(log.read_call("t", "c@1"))) == 1


def test_files_are_the_owners_alone(make, tmp_path):
    log = make()
    log.append(
        Batch(rows=[row(0, segment(0))], audit=[AuditEntry(tenant="t", utc_ms=1, actor="a", action="b", target="c")])
    ).result()
    for path in (tmp_path / "data").rglob("*.sqlite"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path


def left(number: int, topic: str = "返金", **fields) -> LedgerEntry:
    base = {"tenant": "t", "instance": f"c{number}@1", "ordinal": 0, "caller_key": "k", "utc_ms": NOW_MS + number}
    return LedgerEntry(**{**base, "model_version": "m", "centre": vector(topic), "raisings": 1, **fields})


def earlier(log, tenant: str = "t", caller_key: str = "k", since_ms: int = 0, limit: int = 100):
    found = log.earlier_complaints(tenant, caller_key, since_ms=since_ms, limit=limit)
    return [entry.call for entry in found]


def test_the_ledger_gives_a_callers_complaints_newest_first_within_the_window(make):
    log = make()
    log.append(Batch(ledger=[left(n) for n in range(3)])).result()
    log.append(Batch(ledger=[left(9, tenant="u"), left(8, caller_key="other"), left(2)])).result()
    assert earlier(log) == ["c2@1", "c1@1", "c0@1"]
    assert earlier(log, since_ms=NOW_MS + 1, limit=1) == ["c2@1"]
    assert earlier(log, tenant="u") == ["c9@1"]


def test_a_shared_number_leaves_the_ledger(make):
    log = make()
    log.append(Batch(ledger=[left(n, f"用件{n}") for n in range(SHARED_COMPLAINTS - 1)])).result()
    assert len(earlier(log)) == SHARED_COMPLAINTS - 1
    log.append(Batch(ledger=[left(50, "別の用件")])).result()
    log.append(Batch(ledger=[left(51)])).result()
    assert earlier(log) == []


def test_a_large_batch_keeps_its_order(make):
    log = make()
    rows = [row(number, segment(number)) for number in range(421)]
    done = log.append(Batch(rows=rows)).result()
    stored = list(log.read_call("t", "c@1"))
    assert [item.row for item in stored] == rows
    assert tuple(item.position for item in stored) == done.positions


def test_a_caller_is_forgotten_and_stays_so_and_nobody_else_is(make, tmp_path):
    log = make()
    mine, other = record(caller_key="k" * 64, ended_ms=NOW_MS), record("d", caller_key="o" * 64, ended_ms=NOW_MS)
    events = [("t", "c@1", event) for event in alert_events(2)]
    rows = [row(0, segment(0, "バカ")), row(0, segment(0, "はい"), instance="d@1")]
    log.append(Batch(rows=rows, calls=[mine, other], alerts=events, ledger=[left(0, caller_key="k" * 64)])).result()
    callers = Callers(log.state, log.words, tmp_path / "forgotten.jsonl", lambda: NOW_MS)
    assert [item["call"]["call_id"] for item in callers.export("t", "k" * 64, personal=False)["calls"]] == ["c"]
    assert callers.forget("t", "k" * 64) == 1

    def words(call_id: str) -> list[str]:
        stored = log.read_call("t", f"{call_id}@1")
        return [item.row.value.text for item in stored if isinstance(item.row.value, Segment)]

    assert (words("c"), words("d")) == ([], ["はい"])
    assert [piece.text for alert in log.alerts("t", open_only=False) for piece in alert.evidence if piece.text] == []
    assert earlier(log, caller_key="k" * 64) == []
    assert callers.export("t", "k" * 64, personal=True)["calls"] == []
    log.append(Batch(rows=[row(1, segment(1, "死ね"))], calls=[mine])).result()  # An older copy was put back.
    assert callers.again().calls == 1
    assert words("c") == []


def test_a_caller_whose_call_is_under_way_is_not_forgotten(make, tmp_path):
    log = make()
    log.append(Batch(rows=[row(0, segment(0))], calls=[record(caller_key="k" * 64)])).result()
    callers = Callers(log.state, log.words, tmp_path / "forgotten.jsonl", lambda: NOW_MS)
    with pytest.raises(KeptError):
        callers.forget("t", "k" * 64)
    assert len(list(log.read_call("t", "c@1"))) == 1
    assert not (tmp_path / "forgotten.jsonl").exists()

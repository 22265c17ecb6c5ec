"""What the state of record must do on every database: the same code over the same tables, on SQLite and on PostgreSQL."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from detector.ledger import SHARED_COMPLAINTS
from server.access.accounts import Accounts
from server.access.sessions import Method, Sessions
from server.attention import Spent
from server.auth import Principal, Role, Tokens
from server.delivery.outbox import Message, Outbox
from server.errors import SetupError, StorageError
from server.reports import Window, prevalence
from server.storage.attention import AttentionStore
from server.storage.port import AuditEntry, Batch, Redaction, Snapshot
from server.storage.retention import writing
from server.storage.statedb import StateDatabase, open_engine, open_postgres
from server.storage.tables import ALERTS, AUDIT, METADATA
from server.storage.vault import Key, Vault
from tests.contracts.test_log import NOW_MS, alert_events, left, record
from tests.servers import database, postgres  # noqa: F401 - fixtures

SEALED = Vault([Key(key_id="k1", secret=bytes(32))])


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.needs("postgres"))])
def engine(request, tmp_path):
    if request.param == "sqlite":
        made = open_engine(tmp_path / "state.sqlite")
    else:
        made = open_postgres(request.getfixturevalue("database"))
    yield made
    made.dispose()


@pytest.fixture
def state(engine):
    return StateDatabase(engine, SEALED)


def stored(state, **what):
    return state.write(Batch(**what))


def test_the_migrations_make_the_tables_of_the_code(engine):
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), METADATA) == []


def test_calls_and_snapshots_come_back_as_they_were_last_written(state):
    snapshots = [
        Snapshot(tenant="t", instance="c@1", position=n, fold_version=1, data=bytes([n, 0, 255])) for n in (1, 2)
    ]
    stored(state, calls=[record(), record("d", ended_ms=5)], snapshots=snapshots[:1])
    stored(state, calls=[record(level="warning", caller_key="k" * 64)], snapshots=snapshots[1:])
    assert state.open_calls() == [(record(level="warning", caller_key="k" * 64), snapshots[1])]
    assert state.find_call("t", "d").ended_ms == 5
    assert state.find_call("u", "d") is None
    assert [call.call_id for call in state.calls("t", limit=9, open_only=True)] == ["c"]


def test_a_version_of_an_alert_is_stored_once_and_keeps_its_cursor(state):
    events = alert_events(3)
    entries = [("t", "c@1", event) for event in events]
    cursors = stored(state, alerts=entries)
    assert cursors == sorted(set(cursors))
    assert stored(state, alerts=entries) == [None] * len(entries)
    assert [entry.event for entry in state.stream("t", after=0, limit=2)] == events[:2]
    assert [entry.cursor for entry in state.stream("t", after=cursors[0], limit=9)] == cursors[1:]
    assert state.cursor_range() == (cursors[0], cursors[-1])
    assert state.alert("t", events[0].alert.alert_id) == ("c@1", events[-1].alert)
    assert state.waiting_alerts(since_ms=0) == [("t", "c@1", events[-1].alert)]


def test_what_fails_leaves_nothing_behind(state):
    with pytest.raises(AttributeError):
        stored(state, calls=[record()], audit=[object()])
    assert state.find_call("t", "c") is None


def test_a_masked_segment_is_masked_in_every_version(state):
    events = alert_events(2)
    stored(state, alerts=[("t", "c@1", event) for event in events])
    piece = events[0].alert.evidence[0]
    masked = "＊" * len(piece.text)
    stored(state, redactions=[Redaction(tenant="t", instance="c@1", segment_id=piece.segment_id, text=masked)])
    told = [entry.event.alert for entry in state.stream("t", after=0, limit=9)] + state.alerts(
        "t", open_only=True, limit=9, call_id="c"
    )
    texts = [found.text for alert in told for found in alert.evidence if found.segment_id == piece.segment_id]
    assert texts
    assert piece.text not in texts


def test_the_audit_chain_holds_however_many_write(state):
    def write(number: int) -> None:
        stored(state, audit=[AuditEntry(tenant="t", utc_ms=number, actor="a", action="b", target=f"t{number}")])

    with ThreadPoolExecutor(4 if state.engine.dialect.name == "postgresql" else 1) as pool:
        list(pool.map(write, range(20)))
    assert state.verify_audit() is None
    with state.engine.begin() as connection:
        connection.execute(sa.text("UPDATE audit SET actor = 'x' WHERE id = 7"))
    assert state.verify_audit() == 7


def test_an_entry_that_is_to_stand_once_stands_once_whoever_writes_it(state):
    def write(number: int) -> None:
        names = {"tenant": "t", "actor": "a", "action": "b", "target": "alert"}
        again = AuditEntry(utc_ms=number, **names, detail="id=1", once=True)
        other = AuditEntry(utc_ms=number, **names, detail="id=2", once=True)
        plain = AuditEntry(utc_ms=number, **names)
        stored(state, audit=[again, other, plain])

    with ThreadPoolExecutor(4 if state.engine.dialect.name == "postgresql" else 1) as pool:
        list(pool.map(write, range(8)))
    with state.engine.connect() as connection:
        details = connection.execute(sa.select(AUDIT.c.detail)).scalars().all()
    assert sorted(details) == [*[""] * 8, "id=1", "id=2"]
    assert state.verify_audit() is None


def test_the_ledger_drops_a_shared_number(state):
    stored(state, ledger=[left(n, f"用件{n}") for n in range(SHARED_COMPLAINTS - 1)])
    stored(state, ledger=[left(0, "用件0")])
    assert len(state.earlier_complaints("t", "k", since_ms=0, limit=99)) == SHARED_COMPLAINTS - 1
    stored(state, ledger=[left(50, "別の用件")])
    assert state.earlier_complaints("t", "k", since_ms=0, limit=99) == []


def test_a_probe_writes(state):
    assert stored(state, probe=True) == []
    assert state.scrub()


def test_the_outbox_plans_a_message_once(state):
    outbox = Outbox(state.engine, state.bodies)
    assert outbox.register("s", "t", cursor=3).cursor == 3
    assert outbox.register("s", "t", cursor=9).cursor == 3
    message = Message(
        tenant="t",
        sender="s",
        message_id="m",
        alert_id="a",
        change="alert.raised",
        level="warning",
        created_ms=1,
        body=b"{}",
    )
    outbox.put("s", [message], cursor=4)
    outbox.put("s", [message], cursor=5)
    due = outbox.due("s", 10, limit=9)
    assert [(item.message_id, item.body) for item in due] == [("m", b"{}")]
    assert outbox.register("s", "t", cursor=0).cursor == 5
    assert outbox.told("s", ["a", "b"]) == {"a"}
    assert outbox.pushed_since("s", 0) == (1, 0)


def test_budgets_come_back(state):
    store = AttentionStore(state.engine, window_s=60, utc_ms=lambda: 1000)
    spent = Spent(tenant="t", name="n", cursor=1, alert_id="a", loud=True, muted=0, age_s=0)
    for _ in range(2):
        store._spent(spent)
        store._write()
    assert store.read() == [spent]


def test_tokens_people_and_sessions(engine):
    tokens, accounts, sessions = Tokens(engine), Accounts(engine), Sessions(engine, hours=1)
    _, secret = tokens.create(name="p", role=Role.PLATFORM, tenant="t")
    assert tokens.principal(secret).tenant == "t"
    accounts.add(name="hanako", password="correct horse battery staple", role=Role.SUPERVISOR, tenant="t")
    who = accounts.check("hanako", "correct horse battery staple")
    assert isinstance(who, Principal)
    _, cookie = sessions.create(who, Method.PASSWORD)
    assert sessions.find(cookie).principal.name == "hanako"


def test_a_report_counts(state):
    events = alert_events(2)
    stored(state, calls=[record(ended_ms=NOW_MS, level="warning")], alerts=[("t", "c@1", e) for e in events])
    report = prevalence(state.engine, "t", Window(since_ms=0, until_ms=1 << 50, zone=UTC))
    assert (report["calls"], report["calls_with_warning"], report["alerts"]) == (1, 1, 1)
    assert report["by_kind"] == {"abuse": 1}
    assert report["handle_ms"] == 0


@pytest.mark.parametrize(
    ("address", "kind", "says"),
    [
        ("mysql://h/x", SetupError, "expected postgresql://"),
        ("nonsense", SetupError, "expected postgresql://"),
        ("postgresql://someone:hush@127.0.0.1:1/x", StorageError, "127.0.0.1:1 cannot be reached"),
    ],
)
@pytest.mark.needs("postgres")
def test_a_wrong_address_is_told_without_its_password(address, kind, says):
    with pytest.raises(kind, match=says) as caught:
        open_postgres(address)
    assert "hush" not in str(caught.value)


@pytest.mark.needs("postgres")
def test_processes_that_start_at_once_migrate_once(postgres):  # noqa: F811
    from tests.servers import new_database

    address = new_database(postgres.url, "at_once")
    with ThreadPoolExecutor(3) as pool:
        for made in pool.map(lambda _: open_postgres(address), range(3)):
            made.dispose()


def test_who_takes_words_away_reads_nothing_that_somebody_writes_meanwhile(state):
    with writing(state.engine) as connection:
        assert connection.execute(sa.select(ALERTS)).all() == []

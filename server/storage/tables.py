"""Tables of the state database, one definition for SQLite and PostgreSQL; the tenant is part of every key."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

METADATA: Final = sa.MetaData()

_BigId = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

CALLS: Final = sa.Table(
    "calls",
    METADATA,
    sa.Column("tenant", sa.String(64), primary_key=True),
    sa.Column("instance", sa.String(320), primary_key=True),
    sa.Column("call_id", sa.String(256), nullable=False),
    sa.Column("queue", sa.String(256), nullable=False),
    sa.Column("agent_id", sa.String(256), nullable=False),
    sa.Column("language", sa.String(35), nullable=False),
    sa.Column("started_ms", sa.BigInteger, nullable=False),
    sa.Column("ended_ms", sa.BigInteger),
    sa.Column("end_reason", sa.String(256), nullable=False),
    sa.Column("next_seq", sa.BigInteger, nullable=False),
    sa.Column("level", sa.String(16), nullable=False),
    sa.Column("talk_ms", sa.BigInteger, nullable=False),
    sa.Column("hold_ms", sa.BigInteger, nullable=False),
    sa.Column("monitoring", sa.String(32), nullable=False),
    sa.Column("caller_key", sa.String(64)),
    sa.Column("partition", sa.Integer),
    sa.Index("calls_by_partition", "partition", "ended_ms"),
    sa.Index("calls_by_caller", "tenant", "caller_key"),
    sa.Index("calls_by_id", "tenant", "call_id", "started_ms"),
    sa.Index("calls_open", "ended_ms"),
    sa.Index("calls_reported", "tenant", "started_ms", "queue", "level", "agent_id", "talk_ms"),
)

ALERT_EVENTS: Final = sa.Table(
    "alert_events",
    METADATA,
    sa.Column("cursor", _BigId, primary_key=True, autoincrement=True),
    sa.Column("tenant", sa.String(64), nullable=False),
    sa.Column("alert_id", sa.String(64), nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("instance", sa.String(320), nullable=False),
    sa.Column("utc_ms", sa.BigInteger, nullable=False),
    sa.Column("body", sa.LargeBinary, nullable=False),
    sa.UniqueConstraint("tenant", "alert_id", "version"),
    sqlite_autoincrement=True,
)

ALERTS: Final = sa.Table(
    "alerts",
    METADATA,
    sa.Column("tenant", sa.String(64), primary_key=True),
    sa.Column("alert_id", sa.String(64), primary_key=True),
    sa.Column("instance", sa.String(320), nullable=False),
    sa.Column("call_id", sa.String(256), nullable=False),
    sa.Column("queue", sa.String(256), nullable=False),
    sa.Column("agent_id", sa.String(256), nullable=False),
    sa.Column("language", sa.String(35), nullable=False),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("level", sa.String(16), nullable=False),
    sa.Column("labels", sa.String(256), nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("outcome", sa.String(16), nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("raised_ms", sa.BigInteger, nullable=False),
    sa.Column("acknowledged_ms", sa.BigInteger),
    sa.Column("body", sa.LargeBinary, nullable=False),
    sa.Index("alerts_by_state", "tenant", "state", "raised_ms"),
    sa.Index(
        "alerts_reported",
        *("tenant", "raised_ms", "state", "kind", "level", "queue", "labels", "outcome", "acknowledged_ms", "agent_id"),
    ),
    sa.Index("alerts_by_call", "tenant", "call_id"),
)

SNAPSHOTS: Final = sa.Table(
    "snapshots",
    METADATA,
    sa.Column("tenant", sa.String(64), primary_key=True),
    sa.Column("instance", sa.String(320), primary_key=True),
    sa.Column("position", sa.BigInteger, nullable=False),
    sa.Column("fold_version", sa.Integer, nullable=False),
    sa.Column("data", sa.LargeBinary, nullable=False),
)

AUDIT: Final = sa.Table(
    "audit",
    METADATA,
    sa.Column("id", _BigId, primary_key=True, autoincrement=True),
    sa.Column("tenant", sa.String(64), nullable=False),
    sa.Column("utc_ms", sa.BigInteger, nullable=False),
    sa.Column("actor", sa.String(256), nullable=False),
    sa.Column("action", sa.String(64), nullable=False),
    sa.Column("target", sa.String(512), nullable=False),
    sa.Column("detail", sa.String(1024), nullable=False),
    sa.Column("digest", sa.String(64), nullable=False),
    sa.Index("audit_by_target", "target"),
    sqlite_autoincrement=True,
)

TOKENS: Final = sa.Table(
    "tokens",
    METADATA,
    sa.Column("token_id", sa.String(32), primary_key=True),
    sa.Column("digest", sa.String(64), nullable=False, unique=True),
    sa.Column("name", sa.String(256), nullable=False),
    sa.Column("tenant", sa.String(64), nullable=False),
    sa.Column("role", sa.String(16), nullable=False),
    sa.Column("queues", sa.String(2048), nullable=False),
    sa.Column("created_ms", sa.BigInteger, nullable=False),
    sa.Column("expires_ms", sa.BigInteger),
    sa.Column("revoked_ms", sa.BigInteger),
)

LEDGER: Final = sa.Table(
    "ledger",
    METADATA,
    sa.Column("tenant", sa.String(64), primary_key=True),
    sa.Column("instance", sa.String(320), primary_key=True),
    sa.Column("ordinal", sa.Integer, primary_key=True),
    sa.Column("caller_key", sa.String(64), nullable=False),
    sa.Column("utc_ms", sa.BigInteger, nullable=False),
    sa.Column("model_version", sa.String(128), nullable=False),
    sa.Column("centre", sa.LargeBinary, nullable=False),
    sa.Column("raisings", sa.Integer, nullable=False),
    sa.Index("ledger_by_caller", "tenant", "caller_key", "utc_ms"),
)

LEDGER_SHARED: Final = sa.Table(
    "ledger_shared",
    METADATA,
    sa.Column("tenant", sa.String(64), primary_key=True),
    sa.Column("caller_key", sa.String(64), primary_key=True),
    sa.Column("utc_ms", sa.BigInteger, nullable=False),
)

FLAGS: Final = sa.Table(
    "flags",
    METADATA,
    sa.Column("id", _BigId, primary_key=True, autoincrement=True),
    sa.Column("tenant", sa.String(64), nullable=False),
    sa.Column("instance", sa.String(320), nullable=False),
    sa.Column("segment_id", sa.String(256), nullable=False),
    sa.Column("labels", sa.String(256), nullable=False),
    sa.Column("note", sa.LargeBinary, nullable=False),
    sa.Column("actor", sa.String(256), nullable=False),
    sa.Column("utc_ms", sa.BigInteger, nullable=False),
    sqlite_autoincrement=True,
)

USERS: Final = sa.Table(
    "users",
    METADATA,
    sa.Column("name", sa.String(128), primary_key=True),
    sa.Column("tenant", sa.String(64), nullable=False),
    sa.Column("role", sa.String(16), nullable=False),
    sa.Column("queues", sa.String(2048), nullable=False),
    sa.Column("hash", sa.String(256), nullable=False),
    sa.Column("created_ms", sa.BigInteger, nullable=False),
    sa.Column("disabled_ms", sa.BigInteger),
)

SESSIONS: Final = sa.Table(
    "sessions",
    METADATA,
    sa.Column("digest", sa.String(64), primary_key=True),
    sa.Column("session_id", sa.String(32), nullable=False, unique=True),
    sa.Column("name", sa.String(256), nullable=False),
    sa.Column("tenant", sa.String(64), nullable=False),
    sa.Column("role", sa.String(16), nullable=False),
    sa.Column("queues", sa.String(2048), nullable=False),
    sa.Column("method", sa.String(16), nullable=False),
    sa.Column("created_ms", sa.BigInteger, nullable=False),
    sa.Column("expires_ms", sa.BigInteger, nullable=False),
)

HOUSE: Final = sa.Table(
    "house",
    METADATA,
    sa.Column("name", sa.String(64), primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
)
"""Single facts of the installation, for example the digests of the settings at the last start."""

AUDIT_STATE: Final = sa.Table(
    "audit_state",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("keyed_from", sa.BigInteger, nullable=False),
    sa.Column("base_id", sa.BigInteger, nullable=False),
    sa.Column("base_digest", sa.String(64), nullable=False),
    sa.Column("head_id", sa.BigInteger, nullable=False),
    sa.Column("head_digest", sa.String(64), nullable=False),
    sa.Column("mac", sa.String(64), nullable=False),
)
"""One row: where the audit chain begins and ends, sealed by a key that is not in the database."""

SENDERS: Final = sa.Table(
    "senders",
    METADATA,
    sa.Column("name", sa.String(64), primary_key=True),
    sa.Column("tenant", sa.String(64), nullable=False),
    sa.Column("cursor", sa.BigInteger, nullable=False),
    sa.Column("disabled_ms", sa.BigInteger),
    sa.Column("disabled_reason", sa.String(64), nullable=False),
)

OUTBOX: Final = sa.Table(
    "outbox",
    METADATA,
    sa.Column("id", _BigId, primary_key=True, autoincrement=True),
    sa.Column("tenant", sa.String(64), nullable=False),
    sa.Column("sender", sa.String(64), nullable=False),
    sa.Column("message_id", sa.String(64), nullable=False),
    sa.Column("alert_id", sa.String(64), nullable=False),
    sa.Column("change", sa.String(32), nullable=False),
    sa.Column("level", sa.String(16), nullable=False),
    sa.Column("created_ms", sa.BigInteger, nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("next_ms", sa.BigInteger, nullable=False),
    sa.Column("reason", sa.String(64), nullable=False),
    sa.Column("body", sa.LargeBinary, nullable=False),
    sa.UniqueConstraint("sender", "message_id"),
    sa.Index("outbox_due", "sender", "state", "next_ms"),
    sa.Index("outbox_by_alert", "sender", "alert_id", "state"),
    sa.Index("outbox_by_time", "state", "created_ms"),
    sqlite_autoincrement=True,
)

ATTENTION: Final = sa.Table(
    "attention",
    METADATA,
    sa.Column("tenant", sa.String(64), primary_key=True),
    sa.Column("name", sa.String(256), primary_key=True),
    sa.Column("cursor", sa.BigInteger, primary_key=True),
    sa.Column("utc_ms", sa.BigInteger, nullable=False),
    sa.Column("alert_id", sa.String(64), nullable=False),
    sa.Column("loud", sa.Boolean, nullable=False),
    sa.Column("muted", sa.Integer, nullable=False),
    sa.Index("attention_by_time", "utc_ms"),
)
"""What was loud for whom, and what their budget muted, within the running window."""

PARTITIONS: Final = sa.Table(
    "partitions",
    METADATA,
    sa.Column("partition", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("epoch", sa.BigInteger, nullable=False),
    sa.Column("owner", sa.String(64), nullable=False),
    sa.Column("seq", sa.BigInteger, nullable=False),
    sa.Column("seq_epoch", sa.BigInteger, nullable=False),
)
"""Of the cluster: who may write for a partition (`epoch`, of the lease), and up to which sequence of the log all is in the
other tables; `seq_epoch` is whose own rows counted there."""

UNTOLD: Final = sa.Table(
    "untold",
    METADATA,
    sa.Column("tenant", sa.String(64), primary_key=True),
    sa.Column("alert_id", sa.String(64), primary_key=True),
    sa.Column("version", sa.Integer, primary_key=True),
    sa.Column("partition", sa.Integer, nullable=False),
    sa.Index("untold_by_partition", "partition"),
)
"""Of the cluster: alert events that were stored and are not on the alert stream yet."""

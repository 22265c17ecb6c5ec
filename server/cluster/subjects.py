"""How calls map to partitions, streams and subjects; the same on every gateway and worker, for ever.

    stream MAMORI_LOG_P     mamori.log.P.CALL      the input log of partition P, one subject a call
    stream MAMORI_ALERTS    mamori.alerts.ALERT    the alert stream, one subject an alert

A stream for each partition, so that its owner knows the next sequence number beforehand: it writes each message right behind
its last one, and is refused once anybody else has written. `CALL` and `ALERT` are hashes: a call id may hold what a subject
must not.
"""

from __future__ import annotations

import hashlib
from typing import Final

PARTITIONS: Final = 32
"""As many workers can share the calls. Kept for the life of the streams: with another number calls would change their partition.
4, 16, 32 and 64 cost the same within noise; the takeover of one of two workers with 1,000 calls took 3.5 s with 16, 3.7 with 32, 4.4
with 64 (`benchmarks.cluster`)."""
LOG_ROOT: Final = "mamori.log"
ALERT_STREAM: Final = "MAMORI_ALERTS"
ALERT_ROOT: Final = "mamori.alerts"
LEASES: Final = "mamori_leases"
OWNER: Final = "_"
"""In the place of a call: what concerns the whole partition."""


def call_hash(tenant: str, call_id: str) -> str:
    """Names a call in a subject; 32 hexadecimal digits."""
    data = f"{len(tenant)}:{tenant}{call_id}".encode("utf-8", "surrogatepass")
    return hashlib.sha256(data).hexdigest()[:32]


def partition_of(tenant: str, call_id: str) -> int:
    """The partition of a call, 0 to `PARTITIONS` - 1."""
    return int(call_hash(tenant, call_id)[:8], 16) % PARTITIONS


def call_of(instance: str) -> str:
    """The call id of an instance, which is the id, `@`, and a time."""
    return instance.rpartition("@")[0]


def partition_of_instance(tenant: str, instance: str) -> int:
    """The partition of the call that an instance is of."""
    return partition_of(tenant, call_of(instance))


def log_stream(partition: int) -> str:
    """The stream of a partition's log."""
    return f"MAMORI_LOG_{partition}"


def log_subject(tenant: str, call_id: str) -> str:
    """Where a call's messages go."""
    return f"{LOG_ROOT}.{partition_of(tenant, call_id)}.{call_hash(tenant, call_id)}"


def partition_subjects(partition: int) -> str:
    """All of a partition."""
    return f"{LOG_ROOT}.{partition}.>"


def owner_subject(partition: int) -> str:
    """Where a new owner says that it has begun."""
    return f"{LOG_ROOT}.{partition}.{OWNER}"


def alert_subject(tenant: str, alert_id: str) -> str:
    """Where the events of an alert go."""
    return f"{ALERT_ROOT}.{call_hash(tenant, alert_id)}"

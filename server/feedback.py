"""What supervisors taught: misses and false alarms as redacted training rows, in the schema of the corpus.

A miss is an utterance that somebody flagged; a false alarm is the evidence of an abuse alert that was resolved as one, or as a
plain complaint. The text is the stored, redacted text, redacted once more; ids say nothing of the call. The latest word on an
utterance counts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa

from detector.alerts import Alert
from detector.events import Segment
from detector.labels import UTTERANCE_LABELS
from detector.replaying import parse_utc_ms
from server.redaction import redact
from server.storage.bodies import Bodies
from server.storage.port import Stored
from server.storage.tables import ALERTS, CALLS, FLAGS

CONTEXT_TURNS: Final = 4
"""Turns before the utterance, as the classifier reads them."""
GROUP: Final = "feedback"


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """Somebody's word on one utterance."""

    instance: str
    language: str
    segment_id: str
    labels: tuple[str, ...]
    tag: str
    utc_ms: int


def judgements(
    engine: sa.Engine, bodies: Bodies, tenant: str, *, since_ms: int, queues: frozenset[str] | None
) -> list[Judgement]:
    """All judgements since a UTC time, the latest of each utterance alone, by call."""
    found: dict[tuple[str, str], Judgement] = {}
    for item in sorted(_all(engine, bodies, tenant, since_ms, queues), key=lambda one: one.utc_ms):
        found[item.instance, item.segment_id] = item
    return sorted(found.values(), key=lambda one: (one.instance, one.utc_ms, one.segment_id))


def _all(
    engine: sa.Engine, bodies: Bodies, tenant: str, since_ms: int, queues: frozenset[str] | None
) -> Iterator[Judgement]:
    alerts = sa.select(ALERTS).where(
        ALERTS.c.tenant == tenant,
        ALERTS.c.raised_ms >= since_ms,
        ALERTS.c.kind == "abuse",
        ALERTS.c.outcome.in_(("false_alarm", "complaint")),
    )
    flags = (
        sa.select(FLAGS, CALLS.c.language)
        .join(CALLS, (CALLS.c.tenant == FLAGS.c.tenant) & (CALLS.c.instance == FLAGS.c.instance))
        .where(FLAGS.c.tenant == tenant, FLAGS.c.utc_ms >= since_ms)
    )
    if queues is not None:
        alerts = alerts.where(ALERTS.c.queue.in_(sorted(queues)))
        flags = flags.where(CALLS.c.queue.in_(sorted(queues)))
    with engine.connect() as connection:
        for row, alert in bodies.alerts(connection.execute(alerts)):
            labels = ("complaint",) if alert.outcome == "complaint" else ()
            for piece in alert.evidence:
                yield Judgement(
                    instance=row.instance,
                    language=row.language,
                    segment_id=piece.segment_id,
                    labels=labels,
                    tag="false_alarm",
                    utc_ms=_resolved_ms(alert),
                )
        for row in connection.execute(flags):
            given = row.labels.split(",")
            yield Judgement(
                instance=row.instance,
                language=row.language,
                segment_id=row.segment_id,
                labels=tuple(label for label in UTTERANCE_LABELS if label in given),
                tag="miss",
                utc_ms=row.utc_ms,
            )


def training_rows(
    found: list[Judgement], tenant: str, read: Callable[[str], Iterator[Stored]]
) -> Iterator[dict[str, Any] | None]:
    """Makes training rows.

    Args:
        found: from `judgements`.
        read: the log of a call instance.

    Yields:
        A row, or None for an utterance whose text retention has purged, that is in no language that is scored, or that
        was flagged without a label.
    """
    instance, segments = "", list[Segment]()
    for item in found:
        if item.instance != instance:
            instance, segments = item.instance, _finals(read(item.instance))
        yield _row(item, tenant, segments)


def _row(item: Judgement, tenant: str, segments: list[Segment]) -> dict[str, Any] | None:
    place = next((at for at, segment in enumerate(segments) if segment.segment_id == item.segment_id), None)
    if place is None or (item.tag == "miss" and not item.labels):
        return None
    segment = segments[place]
    spoken = segment.language or item.language
    text = redact(segment.text, spoken)
    if spoken not in ("ja", "en") or not text.strip():
        return None
    context = [
        f"{turn.speaker.value}: {redact(turn.text, spoken)}" for turn in segments[max(0, place - CONTEXT_TURNS) : place]
    ]
    key = "\x1f".join((tenant, item.instance, item.segment_id))
    harassing = bool(set(item.labels) - {"complaint"})
    return {
        "id": "fb-" + hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=10).hexdigest(),
        "text": text,
        "language": spoken,
        "speaker": "agent" if segment.speaker.value == "agent" else "customer",
        "context": context,
        "labels": list(item.labels),
        "cues": [],
        "tags": [item.tag],
        "spans": [{"start": 0, "end": len(text)}] if harassing else [],
        "group": GROUP,
        "persona": "",
        "industry": "",
        "region": "",
        "writer": "supervisor",
    }


def _finals(rows: Iterator[Stored]) -> list[Segment]:
    found = {row.row.value.segment_id: row.row.value for row in rows if _is_final(row.row.value)}
    return sorted(found.values(), key=lambda segment: (segment.start_ms, segment.end_ms))


def _is_final(value: Any) -> bool:
    return isinstance(value, Segment) and value.is_final


def _resolved_ms(alert: Alert) -> int:
    return parse_utc_ms(alert.updated_at)

"""The incident report of one call: who, when, what was said, what was raised on which evidence, who did what, by which rules.

The document follows from the stored log and alerts alone, so issuing it again gives the same document and the same hash as long
as nothing was changed. The hash goes on the audit trail when a report is issued: a report that is changed later, or stored data
that are, no longer match it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from detector.alerts import Alert, AlertEvent
from detector.desk import utc_text
from detector.events import AgentHelp, CallChanged, CallStarted, Segment
from detector.labels import Speaker
from detector.state import CallState
from server.heard import folded, speakers_of
from server.storage.port import CallRecord, Stored

FORMAT: Final = "mamori.incident/1"
MASK: Final = "＊"
"""Takes the place of each character of a name, so that spans keep pointing at the same words."""
MIN_NAME_CHARS: Final = 2
"""A name of one character would mask every such character in the talk."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Flag:
    """An utterance that a supervisor flagged as missed."""

    segment_id: str
    labels: tuple[str, ...]
    note: str
    actor: str
    utc_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """What a report is made of.

    Args:
        record: of the call.
        rows: its log, oldest first; empty when retention has purged it.
        alerts: as they stand.
        history: alert events, oldest first.
        flags: oldest first.
    """

    record: CallRecord
    rows: Sequence[Stored]
    alerts: Sequence[Alert]
    history: Sequence[AlertEvent]
    flags: Sequence[Flag]


@dataclass(slots=True, kw_only=True)
class _Names:
    """Shows people by name, or as `agent-1`, `supervisor-1` in the order in which they appear."""

    shown: bool
    spoken: list[str] = field(default_factory=list)
    aliases: dict[tuple[str, str], str] = field(default_factory=dict)

    def person(self, role: str, name: str) -> str:
        if self.shown or not name:
            return name
        known = sum(1 for kind, _ in self.aliases if kind == role)
        return self.aliases.setdefault((role, name), f"{role}-{known + 1}")

    def text(self, words: str) -> str:
        """What was said or written, without the names of the house's own people unless they are shown."""
        if self.shown:
            return words
        for name in self.spoken:
            words = words.replace(name, MASK * len(name))
        return words


def assemble(sources: Sources, *, personal: bool) -> dict[str, Any]:
    """Makes the document.

    Args:
        personal: whether people are named and their notes shown; else they get numbers, their names are masked in the talk,
            and notes are withheld. Callers' numbers and the like are masked either way: nothing else is stored.
    """
    record = sources.record
    names = _Names(shown=personal, spoken=_spoken_names(sources))
    agents = [
        {"id": names.person("agent", agent_id), "name": name if personal else ""} for agent_id, name in _agents(sources)
    ]
    alerts = [_alert(alert, sources, names) for alert in sources.alerts]
    found = folded(record, sources.rows)
    state, complete = found.state, record.ended_ms is not None
    talk = _transcript(sources, state.speakers.turned, names)
    return {
        "format": FORMAT,
        "personal_data": "shown" if personal else "withheld",
        "complete": complete,
        # A call that is over was scored as far as it ever will be.
        "awaiting_scores": 0 if complete else found.awaited,
        "call": {
            "call_id": record.call_id,
            "instance": record.instance,
            "queue": record.queue,
            "language": record.language,
            "direction": next((row.direction for row in _values(sources, CallStarted)), ""),
            "started_at": utc_text(record.started_ms),
            "ended_at": utc_text(record.ended_ms) if record.ended_ms is not None else None,
            "end_reason": record.end_reason,
            "talk_ms": record.talk_ms,
            "hold_ms": record.hold_ms,
            "level": record.level,
            "monitoring": record.monitoring,
        },
        "agents": agents,
        "alerts": alerts,
        "procedure": _procedure(sources, state, {segment["segment_id"]: segment["text"] for segment in talk}),
        "help": [
            {"at_ms": item.offset_ms, "by": names.person("agent", item.by), **_note(names, item.note)}
            for item in _values(sources, AgentHelp)
        ],
        "flags": [
            {
                "segment_id": flag.segment_id,
                "labels": list(flag.labels),
                "by": names.person("supervisor", flag.actor),
                "at": utc_text(flag.utc_ms),
                **_note(names, flag.note),
            }
            for flag in sources.flags
        ],
        "speakers": state.speakers.turned or "as_labelled",
        "transcript": talk,
        "versions": {
            "rules": sorted({alert.rules_version for alert in sources.alerts}),
            "model": sorted({alert.model_version for alert in sources.alerts}),
        },
    }


def digest(document: Mapping[str, Any]) -> str:
    """SHA-256 over the document in canonical JSON (RFC 8785, for the values that occur here), as hexadecimal digits."""
    text = json.dumps(_canonical(document), ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _canonical(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _canonical(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_canonical(inner) for inner in value]
    # A whole number reads the same whoever wrote it: 1.0 and 1 are one number in JSON.
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _values(sources: Sources, kind: type[Any]) -> list[Any]:
    return [stored.row.value for stored in sources.rows if isinstance(stored.row.value, kind)]


def _agents(sources: Sources) -> list[tuple[str, str]]:
    found: dict[str, str] = {}
    for value in (*_values(sources, CallStarted), *_values(sources, CallChanged)):
        if value.agent_id or value.agent_name:
            found[value.agent_id] = value.agent_name or found.get(value.agent_id, "")
    if not found and sources.record.agent_id:
        found[sources.record.agent_id] = ""
    return list(found.items())


def _spoken_names(sources: Sources) -> list[str]:
    """Names of the house's people as they may be spoken: whole and in parts, the longest first."""
    whole = [name for _, name in _agents(sources)]
    for alert in sources.alerts:
        whole += [alert.acknowledged_by, alert.assigned_to, alert.resolved_by]
    parts = {part for name in whole for part in (name, *name.replace("　", " ").split()) if len(part) >= MIN_NAME_CHARS}
    return sorted(parts, key=lambda part: (-len(part), part))


def _note(names: _Names, note: str) -> dict[str, Any]:
    if names.shown or not note:
        return {"note": note}
    return {"note": "", "note_withheld": True}


def _alert(alert: Alert, sources: Sources, names: _Names) -> dict[str, Any]:
    fields: dict[str, Any] = msgspec.to_builtins(alert)
    evidence = []
    for piece in fields["evidence"]:
        piece["text"], piece["answer"] = names.text(piece["text"]), names.text(piece["answer"])
        evidence.append({**piece, "at": utc_text(sources.record.started_ms + piece["at_ms"])})
    kept = (
        "alert_id", "kind", "level", "labels", "state", "outcome", "score", "reason", "reason_text", "guideline",
        "suggestion", "step", "raised_at", "raised_at_ms", "late", "rules_version", "model_version",
    )  # fmt: skip
    return {
        **{name: fields[name] for name in kept},
        "acknowledged_by": names.person("supervisor", alert.acknowledged_by),
        "acknowledged_at": alert.acknowledged_at,
        "assigned_to": names.person("supervisor", alert.assigned_to),
        "resolved_by": names.person("supervisor", alert.resolved_by),
        **_note(names, alert.note),
        "evidence": evidence,
        "history": [_step(event, names) for event in sources.history if event.alert.alert_id == alert.alert_id],
    }


def _step(event: AlertEvent, names: _Names) -> dict[str, Any]:
    alert = event.alert
    who = {
        "alert.acknowledged": alert.acknowledged_by,
        "alert.resolved": alert.resolved_by,
    }.get(event.type.value, "")
    return {
        "at": alert.updated_at,
        "change": event.type.value,
        "version": alert.version,
        "level": alert.level.value,
        "changed": list(event.changed),
        "by": names.person("supervisor", who),
        "to": names.person("supervisor", alert.assigned_to) if event.type.value == "alert.assigned" else "",
        "told": [names.person("supervisor", name) for name in alert.told]
        if event.type.value == "alert.unattended"
        else [],
    }


def _procedure(sources: Sources, state: CallState, words: Mapping[str, str]) -> list[dict[str, Any]]:
    """The steps of ending the call that the operator gave, when, and in which words.

    Of a call whose log is purged only those are known that an alert shows, by the moment at which it first did.
    """
    if sources.rows:
        return [
            {
                "step": given.step,
                "at": utc_text(sources.record.started_ms + given.at_ms),
                "at_ms": given.at_ms,
                "segment_id": given.segment_id,
                "text": words.get(given.segment_id, ""),
            }
            for given in state.steps
        ]
    steps: dict[str, dict[str, Any]] = {}
    for event in sources.history:
        alert = event.alert
        if alert.step and alert.step not in steps:
            shown = {"at": alert.updated_at, "at_ms": alert.call.elapsed_ms, "segment_id": "", "text": ""}
            steps[alert.step] = {"step": alert.step, **shown}
    return list(steps.values())


def _transcript(sources: Sources, turned: str, names: _Names) -> list[dict[str, Any]]:
    """Finals in the order of the talk, and partials that no final closed; speakers as they really were."""
    found: dict[str, tuple[Segment, Speaker]] = {}
    for segment, speaker in speakers_of(sources.rows, turned):
        known = found.get(segment.segment_id)
        if known is None or not known[0].is_final or segment.is_final:
            found[segment.segment_id] = segment, speaker
    return [
        {
            "segment_id": segment.segment_id,
            "speaker": speaker.value,
            "labelled": segment.speaker.value,
            "start_ms": segment.start_ms,
            "end_ms": segment.end_ms,
            "at": utc_text(sources.record.started_ms + segment.start_ms),
            "text": names.text(segment.text),
            "final": segment.is_final,
        }
        for segment, speaker in sorted(found.values(), key=lambda item: (item[0].start_ms, item[0].end_ms))
    ]

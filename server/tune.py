"""`mamori tune`: how loud a house would be on its own calls, before it goes live."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

from detector.events import CallEvent
from detector.labels import Level
from detector.playbook import Playbook
from detector.rules import Rules
from detector.scoring import Scorer
from server.app import partial_gate
from server.replay import replay

SENSITIVITIES: Final = {"cautious": 0.1, "as set": 0.0, "eager": -0.1}
"""Added to the score that makes an utterance a clear case."""


def tune(events: Sequence[CallEvent], *, scorer: Scorer, rules: Rules, playbook: Playbook) -> list[dict[str, Any]]:
    """Replays the calls at three sensitivities.

    Returns:
        For each: alerts per 100 calls by highest level, and warnings and above per 100 calls by label and kind.
    """
    calls = len({event.call_id for event in events})
    rows = []
    for name, shift in SENSITIVITIES.items():
        clear = min(1.0, max(0.0, rules.abuse.clear_score + shift))
        changed = replace(rules, abuse=replace(rules.abuse, clear_score=clear))
        peaks: dict[tuple[str, str], tuple[Level, tuple[str, ...]]] = {}
        for change in replay(events, scorer=scorer, rules=changed, playbook=playbook, gate=partial_gate()):
            alert = change.alert
            key = (alert.call_id, alert.kind.value)
            if change.type.value == "alert.retracted":
                peaks.pop(key, None)
            else:
                peaks[key] = (alert.level, alert.labels)
        levels = Counter(level.value for level, _ in peaks.values())
        loud = [(kind, labels) for (_, kind), (level, labels) in peaks.items() if level >= Level.WARNING]
        labels = Counter(label for _, found in loud for label in found)
        kinds = Counter(kind for kind, _ in loud)
        rows.append(
            {
                "sensitivity": name,
                "clear_score": round(clear, 2),
                "calls": calls,
                "alerts_per_100_calls": {level: _per_100(number, calls) for level, number in levels.items()},
                "warnings_per_100_calls": {
                    **{kind: _per_100(number, calls) for kind, number in kinds.items()},
                    **{label: _per_100(number, calls) for label, number in labels.items()},
                },
            }
        )
    return rows


def _per_100(number: int, calls: int) -> float:
    return round(100 * number / calls, 1) if calls else 0.0

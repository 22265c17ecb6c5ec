"""House rules that lift one kind of alert because of others on the same call, for example a long call that also goes in
circles.

Distress neither lifts nor is lifted: it accuses nobody.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from detector import reasons
from detector.alerts import Kind
from detector.book import AlertBook, Finding
from detector.labels import Level
from detector.rules import CombineRule


def combined(findings: Mapping[Kind, Finding], rules: Sequence[CombineRule], book: AlertBook) -> list[Finding]:
    """The findings, lifted where a rule says so.

    Args:
        findings: one for each kind; only one that found something is lifted.
        rules: in the order of the file; each sees the levels as found, not as lifted by another.
        book: open alerts, whose levels count as reached.
    """
    if not rules:
        return list(findings.values())
    reached = {
        kind: max(finding.level, book.current[kind].level if kind in book.current else Level.NONE)
        for kind, finding in findings.items()
    }
    lifted = dict(findings)
    for rule in rules:
        kind = Kind(rule.raises)
        finding = lifted[kind]
        if finding.level is Level.NONE or finding.level >= rule.to:
            continue
        if all(reached[Kind(name)] >= level for name, level in rule.when.items()):
            lifted[kind] = replace(finding, level=rule.to, reason=reasons.together(finding.reason, tuple(rule.when)))
    return list(lifted.values())

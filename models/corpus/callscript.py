"""Whole calls as people write them, and the events that a platform would send of them.

A script is plain text. A line `=== NAME {json}` begins a call; `A words` and `C words` are what the operator and the
customer say, with an optional `{…}` of what the line holds: label codes (`va` …), steps (`st1` …), `r2` for the second
raising of a complaint. `@hold 60`, `@wait 8`, `@skip 10m` let time pass, `@transfer NAME` changes the agent, `@help`
presses the button, `@swap` turns the channels round from the start.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from models.corpus.passes import CODES

SPEECH: Final = {"ja": 7.0, "en": 14.0}
"""Characters a second: fluent telephone speech, about 400 Japanese characters or 160 English words a minute."""
PAUSE_MS: Final = 700
"""Between turns; the usual gap of telephone talk is 0.2 to 1 s."""
_LINE: Final = re.compile(r"([AC])\s*(?:\{([^}]*)\}\s*)?(.*)")
_DIRECTIVE: Final = re.compile(r"@(\w+)\s*(.*)")
_TIME: Final = re.compile(r"(\d+(?:\.\d+)?)\s*(m?)")


@dataclass(frozen=True, slots=True, kw_only=True)
class ScriptLine:
    """One line of a call.

    Args:
        speaker: `agent` or `customer`, or empty for a directive.
        text: the words, or the directive's argument.
        codes: what the line holds.
        directive: `hold`, `wait`, `skip`, `transfer`, `help`, `swap`, or empty.
    """

    speaker: str
    text: str
    codes: tuple[str, ...] = ()
    directive: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """One call.

    Args:
        name: its id.
        meta: its header: `lang`, `queue`, `harassing`, `kinds`, `tags` …
        lines: in order.
    """

    name: str
    meta: dict[str, Any]
    lines: tuple[ScriptLine, ...] = field(repr=False)

    @property
    def language(self) -> str:
        """`ja` or `en`."""
        return str(self.meta.get("lang", "ja"))


class ScriptError(ValueError):
    """A script is not of the format; the message names the line."""


def parse_scripts(text: str) -> list[Script]:
    """Reads the calls of a file.

    Raises:
        ScriptError: names the line.
    """
    scripts: list[Script] = []
    name, meta, lines = "", {}, []  # type: str, dict[str, Any], list[ScriptLine]

    def close() -> None:
        if name:
            scripts.append(Script(name=name, meta=meta, lines=tuple(lines)))

    for number, written in enumerate(text.splitlines(), 1):
        line = written.strip()
        if not line or line.startswith("#"):
            continue
        if line.startswith("==="):
            close()
            head, _, rest = line[3:].strip().partition(" ")
            try:
                name, meta, lines = head, json.loads(rest or "{}"), []
            except ValueError:
                raise ScriptError(f"line {number}: the header is not JSON") from None
        elif match := _DIRECTIVE.fullmatch(line):
            lines.append(ScriptLine(speaker="", text=match[2].strip(), directive=match[1]))
        elif match := _LINE.fullmatch(line):
            codes = tuple((match[2] or "").replace(",", " ").split())
            unknown = [code for code in codes if code not in CODES and not re.fullmatch(r"r\d+", code)]
            if unknown:
                raise ScriptError(f"line {number}: unknown codes {unknown}")
            speaker = "agent" if match[1] == "A" else "customer"
            lines.append(ScriptLine(speaker=speaker, text=match[3].strip(), codes=codes))
        else:
            raise ScriptError(f"line {number}: expected A, C, @ or ===")
    close()
    return scripts


def plain(text: str) -> str:
    """The words without the evidence marks ⟦ ⟧."""
    return text.replace("⟦", "").replace("⟧", "")


def events_of(script: Script, *, call_id: str | None = None) -> Iterator[dict[str, Any]]:
    """The call as ingest events, with `seq`; the n-th line of talk is segment `s<n>`.

    Times follow from the length of what is said; `@skip` lets people talk on without a transcript of it.
    """
    call_id = call_id or script.name
    meta = script.meta
    swapped = any(line.directive == "swap" for line in script.lines)
    seq = -1
    at_ms = 1_000

    def event(kind: str, **fields: Any) -> dict[str, Any]:
        nonlocal seq
        seq += 1
        return {"type": kind, "call_id": call_id, "seq": seq, **fields}

    agent = {"id": str(meta.get("agent", "a-1")), "name": ""}
    yield event("call.started", language=script.language, queue=meta.get("queue", "support"), agent=agent)
    said = 0
    for line in script.lines:
        if line.directive == "hold":
            yield event("call.hold", offset_ms=at_ms)
            at_ms += _millis(line.text, 30)
            yield event("call.resumed", offset_ms=at_ms)
        elif line.directive in ("wait", "skip"):
            until = at_ms + _millis(line.text, 5)
            while line.directive == "skip" and at_ms + 60_000 < until:
                at_ms += 60_000
                yield event("call.alive", offset_ms=at_ms)
            at_ms = until
        elif line.directive == "transfer":
            other = {"id": line.text or f"{agent['id']}-2", "name": ""}
            yield event("call.changed", offset_ms=at_ms, agent=other, reason="transfer")
        elif line.directive == "help":
            yield event("agent.help", offset_ms=at_ms)
        elif not line.directive:
            said += 1
            text = plain(line.text)
            duration = max(400, round(len(text) / SPEECH.get(script.language, 14.0) * 1000))
            speaker = line.speaker
            if swapped:
                speaker = "agent" if speaker == "customer" else "customer"
            yield event(
                "transcript.segment",
                segment_id=f"s{said}",
                speaker=speaker,
                text=text,
                start_ms=at_ms,
                end_ms=at_ms + duration,
            )
            at_ms += duration + PAUSE_MS
    yield event("call.ended", offset_ms=at_ms)


def _millis(text: str, default_s: float) -> int:
    match = _TIME.match(text)
    if match is None:
        return round(default_s * 1000)
    return round(float(match[1]) * (60_000 if match[2] else 1_000))

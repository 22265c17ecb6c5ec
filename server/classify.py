"""`mamori classify`: JSON Lines in, JSON Lines out, in input order."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any, Final

import msgspec

from detector.labels import OUTPUTS, UTTERANCE_LABELS, Speaker
from detector.scoring import Scorer, ScoreRequest, ScoreResult
from server.http import MAX_TEXT, turns_of
from server.redaction import HousePatterns, redact

BATCH: Final = 64


def read_line(line: str, patterns: HousePatterns = ()) -> tuple[Any, ScoreRequest | str]:
    """Reads one line.

    Returns:
        Its id, and a request or what is wrong with it.
    """
    try:
        item = json.loads(line)
    except ValueError:
        return None, "expected one JSON object a line"
    if not isinstance(item, dict):
        return None, "expected one JSON object a line"
    name = item.get("id")
    text, language, context = item.get("text"), item.get("language", "ja"), item.get("context") or []
    if not isinstance(text, str):
        return name, "text: expected a text"
    if len(text) > MAX_TEXT:
        return name, f"text: expected at most {MAX_TEXT} characters"
    if language not in ("ja", "en"):
        return name, "language: expected ja or en"
    if item.get("speaker", "customer") not in tuple(Speaker):
        return name, f"speaker: expected one of {', '.join(Speaker)}"
    if not isinstance(context, list) or not all(isinstance(turn, str) for turn in context):
        return name, "context: expected a list of texts"
    agent = item.get("speaker") == "agent"
    request = ScoreRequest(
        request_id="",
        text=redact(text, language, patterns),
        language=language,
        speaker=Speaker.AGENT if agent else Speaker.CUSTOMER,
        context=turns_of([redact(turn, language, patterns) for turn in context]),
    )
    return name, request


def classify_lines(lines: Iterable[str], scorer: Scorer, patterns: HousePatterns = ()) -> Iterator[dict[str, Any]]:
    """Scores lines, masked like what is said on a call; a bad one gives `{"id", "error"}` and the others go on."""
    batch: list[tuple[Any, ScoreRequest | str]] = []
    for line in lines:
        if not line.strip():
            continue
        batch.append(read_line(line, patterns))
        if len(batch) >= BATCH:
            yield from _answers(batch, scorer)
            batch = []
    yield from _answers(batch, scorer)


def _answers(batch: list[tuple[Any, ScoreRequest | str]], scorer: Scorer) -> Iterator[dict[str, Any]]:
    wanted = [request for _, request in batch if isinstance(request, ScoreRequest)]
    results = iter(scorer.score(wanted))
    for name, request in batch:
        yield {"id": name, "error": request} if isinstance(request, str) else _answer(name, next(results))


def _answer(name: Any, result: ScoreResult) -> dict[str, Any]:
    return {
        "id": name,
        "scores": {label: round(result.scores.get(label, 0.0), 6) for label in UTTERANCE_LABELS},
        "labels": [label for label in result.labels if label in UTTERANCE_LABELS],
        "cues": [label for label in result.labels if label in OUTPUTS and label not in UTTERANCE_LABELS],
        "spans": [msgspec.to_builtins(span) for span in result.spans],
    }

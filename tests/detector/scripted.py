"""A scorer that answers from the words, so that tests of the core say what the classifier said."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence

from detector.labels import OUTPUTS
from detector.scoring import ScoreRequest, ScoreResult, Span

WORDS = {
    "死ね": ("threat", 0.97),
    "バカ": ("verbal_abuse", 0.95),
    "アホかも": ("verbal_abuse", 0.6),
    "晒す": ("exposure", 0.95),
    "土下座": ("excessive_demand", 0.93),
    "消えたい": ("self_harm", 0.9),
    "idiot": ("verbal_abuse", 0.95),
    "kill you": ("threat", 0.97),
    "返金": ("complaint", 0.9),
    "refund": ("complaint", 0.9),
    "届かない": ("complaint", 0.9),
}
TOPICS = ("返金", "refund", "届かない")
THRESHOLD = 0.5


def vector(text: str) -> bytes:
    """Unit vectors: the same topic word gives the same one, other texts each their own."""
    topic = next((word for word in TOPICS if word in text), text)
    seed = hashlib.sha256(topic.encode()).digest()
    values = [struct.unpack("<b", seed[i : i + 1])[0] for i in range(16)]
    norm = sum(value * value for value in values) ** 0.5
    return struct.pack("<16e", *(value / norm for value in values))


def score(requests: Sequence[ScoreRequest]) -> list[ScoreResult]:
    """Answers each request from `WORDS`."""
    return [answer(request) for request in requests]


def answer(request: ScoreRequest) -> ScoreResult:
    scores = dict.fromkeys(OUTPUTS, 0.0)
    spans = []
    for word, (label, value) in WORDS.items():
        at = request.text.find(word)
        if at >= 0:
            scores[label] = max(scores[label], value)
            spans.append(Span(start=at, end=at + len(word), label=label, score=value))
    return ScoreResult(
        request_id=request.request_id,
        scores=scores,
        labels=tuple(name for name in OUTPUTS if scores[name] >= THRESHOLD),
        spans=tuple(spans),
        embedding=vector(request.text),
        model_version="scripted",
    )

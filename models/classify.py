"""`classify`: items in, scores, labels and spans out, one answer per item in input order.

The command line and `POST /v1/classify` are thin skins over this. A bad item gets an error of its own and never disturbs
its neighbours.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from detector.labels import OUTPUTS, UTTERANCE_LABELS, Language, Speaker
from detector.scoring import Scorer, ScoreRequest, ScoreResult, Turn
from models.errors import ItemError

MAX_CHARACTERS: Final = 16_000
"""Longest text of an item, as for a segment (protocol, `too_large`)."""

MAX_CONTEXT: Final = 64
"""Most context turns that an item may bring; the last 4 are used."""

_CHUNK: Final = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Classified:
    """The answer to one item.

    Args:
        id: as the item gave it; any JSON value.
        result: scores, labels and spans, or
        error: why there are none.
    """

    id: Any
    result: ScoreResult | None = None
    error: ItemError | None = None

    def record(self) -> dict[str, Any]:
        """As JSON: `{"id","scores","labels","spans"}`, or `{"id","error":{"code","field","message"}}`.

        A customer's scores are the eight harassment labels and `complaint`; cues are answered for an agent alone.
        """
        if self.result is None:
            error = self.error or ItemError(code="bad_item", field="", message="not scored")
            return {"id": self.id, "error": {"code": error.code, "field": error.field, "message": str(error)}}
        shown = [name for name in OUTPUTS if name in self.result.scores]
        if any(name in UTTERANCE_LABELS for name in shown):
            shown = [name for name in UTTERANCE_LABELS if name in self.result.scores]
        return {
            "id": self.id,
            "scores": {name: self.result.scores[name] for name in shown},
            "labels": [label for label in self.result.labels if label in shown],
            "spans": [
                {"start": span.start, "end": span.end, "label": span.label, "score": span.score}
                for span in self.result.spans
            ],
        }


def classify(items: Iterable[Any], scorer: Scorer) -> Iterator[Classified]:
    """Scores items in chunks, lazily, in order.

    Args:
        items: mappings with `text`, and optionally `id`, `language` (guessed from the script when left out), `speaker`
            (`customer`) and `context` (lines `agent: …` or mappings `{"speaker","text"}`, oldest first). An `ItemError`
            among them is passed on as that item's error.
        scorer: any.
    """
    chunk: list[tuple[Any, ScoreRequest | ItemError]] = []
    for number, item in enumerate(items):
        chunk.append(_request(item, number))
        if len(chunk) == _CHUNK:
            yield from _scored(chunk, scorer)
            chunk.clear()
    yield from _scored(chunk, scorer)


def _scored(chunk: Sequence[tuple[Any, ScoreRequest | ItemError]], scorer: Scorer) -> Iterator[Classified]:
    results = iter(scorer.score([request for _, request in chunk if isinstance(request, ScoreRequest)]))
    for identifier, request in chunk:
        if isinstance(request, ItemError):
            yield Classified(id=identifier, error=request)
        else:
            yield Classified(id=identifier, result=next(results))


def _request(item: Any, number: int) -> tuple[Any, ScoreRequest | ItemError]:
    if isinstance(item, ItemError):
        return None, item
    if not isinstance(item, Mapping):
        return None, ItemError(code="bad_item", field="", message="an item must be an object")
    identifier = item.get("id")
    try:
        return identifier, parse_item(item, request_id=str(number))
    except ItemError as error:
        return identifier, error


def parse_item(item: Mapping[str, Any], *, request_id: str) -> ScoreRequest:
    """One item as a request.

    Raises:
        ItemError: a field is missing or wrong.
    """
    text = item.get("text")
    if not isinstance(text, str):
        raise ItemError(code="bad_item", field="text", message="text must be a string")
    if len(text) > MAX_CHARACTERS:
        raise ItemError(code="too_long", field="text", message=f"text is over {MAX_CHARACTERS} characters")
    if not text.strip():
        raise ItemError(code="empty_text", field="text", message="text is empty")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ItemError(code="bad_item", field="text", message="text holds half a surrogate pair") from error
    speaker = item.get("speaker") or Speaker.CUSTOMER.value
    if not isinstance(speaker, str) or speaker not in set(Speaker):
        raise ItemError(code="bad_item", field="speaker", message="speaker must be customer, agent or unknown")
    return ScoreRequest(
        request_id=request_id,
        text=text,
        language=_language(item.get("language"), text),
        speaker=Speaker(speaker),
        context=_context(item.get("context")),
    )


def _language(given: Any, text: str) -> str:
    if given is None or given == "":
        return guess_language(text)
    if not isinstance(given, str):
        raise ItemError(code="bad_item", field="language", message="language must be a string")
    # "ja-JP" and "EN" are meant too.
    code = given.strip().lower().replace("_", "-").partition("-")[0]
    if code not in set(Language):
        raise ItemError(code="unsupported_language", field="language", message=f"language {given!r} is not scored")
    return code


def guess_language(text: str) -> str:
    """`ja` for text with kana, ideographs or full-width forms, else `en`."""
    japanese = any("\u3040" <= c <= "\u30ff" or "\u3400" <= c <= "\u9fff" or "\uff00" <= c <= "\uffef" for c in text)
    return Language.JA.value if japanese else Language.EN.value


def _context(given: Any) -> tuple[Turn, ...]:
    if given is None:
        return ()
    if not isinstance(given, list) or len(given) > MAX_CONTEXT:
        raise ItemError(code="bad_item", field="context", message=f"context must be a list of at most {MAX_CONTEXT}")
    return tuple(_turn(entry) for entry in given)


def _turn(entry: Any) -> Turn:
    if isinstance(entry, str):
        name, mark, text = entry.partition(":")
        known = bool(mark) and name.strip().lower() in set(Speaker)
        speaker = Speaker(name.strip().lower()) if known else Speaker.UNKNOWN
        return Turn(speaker=speaker, text=(text if known else entry).strip()[:MAX_CHARACTERS])
    if isinstance(entry, Mapping) and isinstance(entry.get("text"), str) and entry.get("speaker") in set(Speaker):
        return Turn(speaker=Speaker(entry["speaker"]), text=entry["text"][:MAX_CHARACTERS])
    raise ItemError(code="bad_item", field="context", message='a context turn is "agent: …" or {"speaker","text"}')

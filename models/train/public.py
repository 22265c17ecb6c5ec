"""Public data sets, read from `--data-dir`: their sentences train the model and never enter the project.

Each set speaks of some outputs only; the others are masked out of the loss. Graded human scores stay graded: RTP-LX's
1 to 3 become 0 to 1. What is set aside for testing (`index % 5 == 0` of RTP-LX, ConvAbuse's test split, HateCheck,
inspection-ai, OpenAI moderation) is never read here.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final, cast

from detector.labels import CUES, HARASSMENT_LABELS
from detector.scoring import Turn
from models.corpus.schema import turns

csv.field_size_limit(1 << 24)


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One training example.

    Args:
        text: the utterance.
        language: `ja` or `en`.
        speaker: `customer` or `agent`.
        context: earlier turns, oldest first.
        targets: probability per output that the source speaks of; others are not trained on.
        spans: code point ranges of the evidence; `None` where the source marks none.
        weight: of the example in the loss.
        source: data set or pass.
    """

    text: str
    language: str
    speaker: str
    context: tuple[Turn, ...]
    targets: dict[str, float]
    spans: tuple[tuple[int, int], ...] | None
    weight: float
    source: str


_HANDLE: Final = re.compile(r"(?:RT )?@\w+:?|https?://\S+|&#\d+;|&amp;|&lt;|&gt;|#")
_NO_HARASSMENT: Final = dict.fromkeys(HARASSMENT_LABELS, 0.0)
_NOTHING: Final = {**_NO_HARASSMENT, "self_harm": 0.0}


def read_public(folder: Path, *, seed: int, scale: float = 1.0) -> list[Example]:
    """A balanced sample of all sets; a set that is not there is left out.

    Args:
        folder: `--data-dir`.
        seed: of the sampling.
        scale: factor on the number of examples of every set.
    """
    chosen: list[Example] = []
    for name, (reader, count) in _SETS.items():
        if (folder / name).is_dir():
            found = list(reader(folder / name))
            random.Random(f"{seed}/{name}").shuffle(found)
            chosen.extend(_balanced(found, round(count * scale)))
    return chosen


def all_texts(folder: Path) -> Iterator[str]:
    """Every text that training may read, for counting word pieces."""
    for name, (reader, _) in _SETS.items():
        if (folder / name).is_dir():
            for example in reader(folder / name):
                yield example.text
    for name, field in (("open2ch_ja/ranking.jsonl.gz", "fields"),):
        if (folder / name).is_file():
            yield from (text for row in _lines(folder / name) for text in row[field][1:])


def _balanced(found: list[Example], count: int) -> list[Example]:
    """Up to `count`, at least half of them with some target over .5 where there are as many."""
    positive = [example for example in found if max(example.targets.values(), default=0.0) > 0.5]
    negative = [example for example in found if max(example.targets.values(), default=0.0) <= 0.5]
    taken = positive[: max(count // 2, count - len(negative))]
    return taken + negative[: count - len(taken)]


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)


def _table(path: Path, **dialect: Any) -> Iterator[dict[str, str]]:
    with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as stored:
        yield from csv.DictReader(io.TextIOWrapper(cast(IO[bytes], stored), encoding="utf-8", newline=""), **dialect)


def _example(text: str, language: str, targets: dict[str, float], source: str, **more: Any) -> Example:
    values: dict[str, Any] = {"speaker": "customer", "context": (), "spans": None, "weight": 1.0, **more}
    return Example(text=text.strip(), language=language, targets=targets, source=source, **values)


def _grade(score: float) -> float:
    """RTP-LX's 1 (none) to 3 (strong) as 0 to 1."""
    return min(max((score - 1.0) / 2.0, 0.0), 1.0)


def rtp_lx(folder: Path, *, test: bool = False) -> Iterator[Example]:
    """RTP-LX in Japanese and English: the test rows are those with `index % 5 == 0`."""
    for row in _lines(folder / "rtp_lx.jsonl.gz"):
        if row["locale"][:2].lower() not in {"ja", "en"} or (row["index"] % 5 == 0) != test:
            continue
        scores = row["scores"]
        if scores is None:
            # Benign completions were written to be harmless and were not scored.
            if row["kind"] == "benign_completion":
                yield _example(row["text"][:300], row["locale"][:2].lower(), dict(_NO_HARASSMENT), "rtp_lx", weight=0.3)
            continue
        targets = {
            "verbal_abuse": _grade(scores["Insult"]),
            "threat": _grade(scores["Violence"]),
            "discrimination": _grade(max(scores["IdentityAttack"], scores["Bias"])),
            "sexual": _grade(scores["SexualContent"]),
            "self_harm": _grade(scores["SelfHarm"]),
        }
        # The set rates what is mentioned, not what is aimed at the listener: a weak teacher here.
        yield _example(row["text"][:300], row["locale"][:2].lower(), targets, "rtp_lx", weight=0.3)


def convabuse(folder: Path, *, split: str = "train") -> Iterator[Example]:
    """ConvAbuse: users of conversational agents, the previous turns as context; votes of several annotators averaged."""
    for row in _table(folder / f"2_splits__ConvAbuseEMNLP{split}.csv.gz"):
        votes = {
            name: [row[key] for key in row if key and key.endswith(suffix) and row[key]] for name, suffix in _CONVABUSE
        }

        def share(*names: str, votes: dict[str, list[str]] = votes) -> float:
            return max((sum(v == "1" for v in votes[name]) / max(len(votes[name]), 1)) for name in names)

        abusive = share("abuse1", "abuse2", "abuse3")
        group = share("racist", "homophobic", "transphobic", "ableist", "sexist")
        sexual = share("sexual")
        targets = {
            "verbal_abuse": max(abusive - max(group, sexual), share("intellectual"), 0.0),
            "discrimination": group,
            "sexual": sexual,
        }
        if abusive == 0.0:
            targets = dict(_NO_HARASSMENT)
        context = turns(
            f"{who}: {row[key]}"
            for who, key in (("agent", "prev_agent"), ("customer", "prev_user"), ("agent", "agent"))
            if row[key].strip() not in {"", "_"}
        )
        if row["user"].strip():
            yield _example(row["user"], "en", targets, "convabuse", context=context, weight=0.7)


_CONVABUSE: Final = (
    ("abuse1", "is_abuse.-1"),
    ("abuse2", "is_abuse.-2"),
    ("abuse3", "is_abuse.-3"),
    ("ableist", "_ableist"),
    ("homophobic", "_homophobic"),
    ("intellectual", "_intellectual"),
    ("racist", "_racist"),
    ("sexist", "_sexist"),
    ("sexual", "_sex_harassment"),
    ("transphobic", "_transphobic"),
)


def _davidson(folder: Path) -> Iterator[Example]:
    for row in _table(folder / "labeled_data.csv.gz"):
        text = " ".join(_HANDLE.sub(" ", row["tweet"]).split()).strip('"!: ')
        hate, count = int(row["hate_speech"]), int(row["count"])
        if not text:
            continue
        # "Offensive" tweets are slang among friends as often as abuse: only hate and neither are taken.
        if hate * 2 > count:
            yield _example(text, "en", {"discrimination": hate / count}, "davidson", weight=0.5)
        elif int(row["neither"]) == count:
            yield _example(text, "en", dict(_NO_HARASSMENT), "davidson", weight=0.5)


def _surge(folder: Path) -> Iterator[Example]:
    for row in _table(folder / "toxicity_en.csv"):
        if row["is_toxic"] == "Not Toxic":
            yield _example(row["text"][:300], "en", dict(_NO_HARASSMENT), "surge", weight=0.5)


def _goemotions(folder: Path) -> Iterator[Example]:
    harmless = {"0", "4", "9", "17", "27"}
    for row in _table(folder / "goemotions__train.tsv.gz", delimiter="\t", quoting=csv.QUOTE_NONE):
        if set(row["label"].split(",")) <= harmless:
            yield _example(row["text"], "en", dict(_NOTHING), "goemotions", weight=0.3)


def multidogo(folder: Path) -> Iterator[Example]:
    """MultiDoGO: what customers of six trades say to service agents."""
    for row in _lines(folder / "turns.jsonl.gz"):
        text = (row.get("utterance") or "").strip()
        if len(text) > 3:
            yield _example(text, "en", dict(_NOTHING), "multidogo")


def asdc(folder: Path) -> Iterator[Example]:
    """ASDC: guests and a hotel concierge."""
    for row in _lines(folder / "utterances.jsonl.gz"):
        if len(row["text"]) > 3:
            yield _example(row["text"], "ja", dict(_NOTHING), "asdc")


def _real_persona(folder: Path) -> Iterator[Example]:
    for row in _lines(folder / "dialogues.jsonl.gz"):
        said = row["utts"]
        place = (int(row["id"]) * 7919) % max(len(said) - 2, 1) + 1
        if place < len(said):
            (other, before), (_, text) = said[place - 1], said[place]
            context = turns([f"{'agent' if other == 'AA' else 'customer'}: {before}"])
            yield _example(text, "ja", dict(_NOTHING), "real_persona", context=context)


def _sgd(folder: Path) -> Iterator[Example]:
    for row in _lines(folder / "dialogues.jsonl.gz"):
        said = row["utts"]
        place = len(row["id"]) % max(len(said), 1) // 2 * 2 + 2
        if place < len(said):
            context = turns([f"customer: {said[place - 2][1]}", f"agent: {said[place - 1][1]}"])
            yield _example(said[place][1], "en", dict(_NOTHING), "sgd", context=context)


def taskmaster(folder: Path) -> Iterator[Example]:
    """Taskmaster-4: the first thing that customers of a coffee shop say."""
    for row in _lines(folder / "dialogues.jsonl.gz"):
        for turn in row["turns"][:1]:
            yield _example(turn["text"], "en", {**_NOTHING, **dict.fromkeys(CUES, 0.0)}, "taskmaster")


_SETS: Final[dict[str, tuple[Any, int]]] = {
    "rtp_lx": (rtp_lx, 3000),
    "convabuse_en": (convabuse, 2400),
    "davidson_en": (_davidson, 1600),
    "surge_toxicity_en": (_surge, 400),
    "goemotions_en": (_goemotions, 800),
    "multidogo_en": (multidogo, 1500),
    "asdc_ja": (asdc, 1500),
    "real_persona_chat_ja": (_real_persona, 1500),
    "sgd_en": (_sgd, 700),
    "taskmaster4_en": (taskmaster, 300),
}
"""Reader and examples per epoch of each set. Own sentences teach the classes; these teach breadth, and above all the
ordinary talk that must not fire."""

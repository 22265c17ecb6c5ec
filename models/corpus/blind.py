"""Makes chunks for a second labeller who sees neither labels, marks, tags nor the order of writing."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from models.corpus.schema import LANGUAGES, Item

CHUNK: Final = 150
"""Items per chunk: as many as one labeller does in one sitting."""

_ID_LINE: Final = re.compile(r"^## (\S+)$", re.MULTILINE)


def write_chunks(items: Sequence[Item], folder: Path, *, flush: bool = False, seed: int = 7) -> list[Path]:
    """Writes the items that no chunk holds yet, shuffled, one language per chunk; returns the new files.

    Args:
        items: the corpus as it stands; may grow between calls.
        folder: holds `NNN.txt`; numbering goes on.
        flush: whether a rest of fewer than 150 items is written too.
        seed: of the shuffle.
    """
    folder.mkdir(parents=True, exist_ok=True)
    existing = sorted(folder.glob("[0-9]*.txt"))
    done = {found for path in existing for found in _ID_LINE.findall(path.read_text(encoding="utf-8"))}
    number = int(existing[-1].stem) if existing else 0
    written: list[Path] = []
    for language in LANGUAGES:
        fresh = sorted((item for item in items if item.language == language and item.id not in done), key=_by_id)
        random.Random(seed + number).shuffle(fresh)
        whole = len(fresh) if flush else len(fresh) // CHUNK * CHUNK
        for start in range(0, whole, CHUNK):
            number += 1
            path = folder / f"{number:03}.txt"
            path.write_text("\n".join(_blind(item) for item in fresh[start : start + CHUNK]), encoding="utf-8")
            written.append(path)
    return written


def _by_id(item: Item) -> str:
    return item.id


def _blind(item: Item) -> str:
    speaker = "a" if item.speaker == "agent" else "c"
    context = [f"  {line[0]}: {line.partition(':')[2].strip()}" for line in item.context]
    return "\n".join([f"## {item.id}", *context, f"> {speaker}: {' '.join(item.text.split())}", ""])

"""Which scorer answers: the bundled model, one that the house names, or, where there is none, the lexicon.

The import of this module needs neither torch nor ONNX Runtime; the scorer that is asked for brings what it needs.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Final

from detector.scoring import Scorer
from models.errors import ModelFilesError
from models.lexicon_scorer import LexiconScorer

_LOG: Final = logging.getLogger(__name__)

BUNDLED: Final = Path(__file__).parent / "bundled"
"""Folder of the bundled model; `manifest.json` in it says that the model is there."""


def load_scorer(model: str | Path | None = None) -> Scorer:
    """The scorer for `--model`.

    Args:
        model: a folder that `mamori export` wrote, the path or id of any Hugging Face sequence classifier (needs the
            extra `torch`), or `None` for the bundled model. Without bundled weights the lexicon answers.

    Raises:
        ModelFilesError: the files are missing, foreign or damaged.
    """
    if model is None and not (BUNDLED / "manifest.json").is_file():
        _LOG.warning("no bundled model: the lexicon answers (degraded)")
        return LexiconScorer()
    raise ModelFilesError(f"no model at {model or BUNDLED}")

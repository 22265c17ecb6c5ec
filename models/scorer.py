"""Which scorer answers: the bundled model, one that the house names, or, where there is none, the lexicon.

The import of this module needs neither torch nor ONNX Runtime; the scorer that is asked for brings what it needs.
"""

from __future__ import annotations

import logging
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from detector.scoring import Scorer
from models.cascade import CascadeScorer
from models.errors import ModelFilesError
from models.lexicon_scorer import LexiconScorer
from models.supported_scorer import SupportedScorer

_LOG: Final = logging.getLogger(__name__)

BUNDLED: Final = Path(__file__).parent / "bundled"
"""Folder of the bundled model; `manifest.json` in it says that the model is there."""
FIRST: Final = "first"
"""Folder in a packed model that holds the shallow one that reads first, where there is one."""


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
    folder = BUNDLED if model is None else Path(model)
    if (folder / "manifest.json").is_file():
        return _packed(folder)
    return _foreign(str(model))


def _packed(folder: Path) -> Scorer:
    """On a GPU where torch finds one, else on ONNX Runtime; the lexicon beside it in either case."""
    if _has_gpu():
        from models.torch_scorer import TorchScorer  # noqa: PLC0415 - an extra

        return SupportedScorer(TorchScorer(folder))
    from models.onnx_scorer import OnnxScorer  # noqa: PLC0415 - not needed for the lexicon

    first = OnnxScorer(folder / FIRST) if (folder / FIRST / "manifest.json").is_file() else None
    return SupportedScorer(CascadeScorer(OnnxScorer(folder), first))


def _foreign(model: str) -> Scorer:
    if find_spec("torch") is None or find_spec("transformers") is None:
        raise ModelFilesError(
            f"{model} is no packed model, and other models need the extra: pip install 'mamori[torch]'"
        )
    from models.torch_scorer import HuggingFaceScorer  # noqa: PLC0415 - an extra

    return HuggingFaceScorer(model)


def _has_gpu() -> bool:
    """Whether a GPU is there, asked without importing torch where no driver is."""
    if not Path("/proc/driver/nvidia").exists() or find_spec("torch") is None:
        return False
    import torch  # noqa: PLC0415 - an extra

    return bool(torch.cuda.is_available())

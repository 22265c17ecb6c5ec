"""Installs a packed model where the server looks for it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

from models.manifest import read_manifest
from models.onnx_scorer import OnnxScorer
from models.scorer import FIRST

_BESIDE: Final = ("config.json", "model.safetensors")
"""Files beside those that the manifest hashes: for serving on a GPU and for training on. The model that reads first does
neither."""


def install(source: Path, target: Path, *, first: bool = False) -> str:
    """Copies a packed model and returns its version.

    Args:
        source: what `train` packed.
        target: the model that the server loads.
        first: whether `source` is the shallow model that reads first: it goes beside the deep one in `target`.

    Raises:
        ModelFilesError: `source` is no whole packed model.
    """
    manifest = read_manifest(source)
    OnnxScorer(source)
    if first:
        target /= FIRST
    target.mkdir(parents=True, exist_ok=True)
    for name in (*manifest.files, "manifest.json", *(() if first else _BESIDE)):
        if (source / name).is_file():
            shutil.copyfile(source / name, target / name)
    return manifest.model_version

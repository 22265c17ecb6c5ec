"""Installs a packed model where the server looks for it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

from models.manifest import read_manifest
from models.onnx_scorer import OnnxScorer

_BESIDE: Final = ("config.json", "model.safetensors", "manifest.json")
"""Files beside those that the manifest hashes: for serving on a GPU and for training on."""


def install(source: Path, target: Path) -> str:
    """Copies a packed model and returns its version.

    Raises:
        ModelFilesError: `source` is no whole packed model.
    """
    manifest = read_manifest(source)
    OnnxScorer(source)
    target.mkdir(parents=True, exist_ok=True)
    for name in (*manifest.files, *_BESIDE):
        if (source / name).is_file():
            shutil.copyfile(source / name, target / name)
    return manifest.model_version

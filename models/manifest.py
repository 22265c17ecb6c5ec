"""`manifest.json`: what a packed model is, which labels and thresholds it answers with, and that its files are whole."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from detector.labels import LABEL_VERSION, OUTPUTS
from models.calibration import Curve
from models.errors import ModelFilesError


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """Description of a packed model.

    Args:
        model_version: names weights and thresholds together; made of their hashes.
        label_version: of `detector.labels` when it was trained.
        outputs: in the order of the label head's rows.
        curves: per language and output.
        files: SHA-256 of each file beside the manifest.
        weights: the graph that is served, `model.int8.onnx` or `model.fp32.onnx`.
        facts: how it was made and measured, for readers.
    """

    model_version: str
    label_version: str
    outputs: tuple[str, ...]
    curves: Mapping[str, Mapping[str, Curve]]
    files: Mapping[str, str]
    weights: str
    facts: Mapping[str, Any] = field(default_factory=dict)


def version_of(files: Mapping[str, str], curves: Mapping[str, Mapping[str, Curve]]) -> str:
    """A version from the contents: other weights or other thresholds, another version."""
    plain = {language: {label: asdict(curve) for label, curve in found.items()} for language, found in curves.items()}
    content = json.dumps([dict(files), plain, LABEL_VERSION], sort_keys=True)
    return f"mamori-{hashlib.sha256(content.encode()).hexdigest()[:12]}"


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Writes `manifest.json`."""
    text = json.dumps(asdict(manifest), ensure_ascii=False, indent=1)
    (folder / "manifest.json").write_text(text + "\n", encoding="utf-8")


def read_manifest(folder: Path, *, verify: bool = True) -> Manifest:
    """Reads `manifest.json` and checks it.

    Args:
        folder: of the packed model.
        verify: whether the hashes of the files are checked (about 0.1 s).

    Raises:
        ModelFilesError: it is missing, of another label version, or a file is missing or not the one that was packed.
    """
    try:
        record = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        curves = {
            language: {label: Curve(**curve) for label, curve in found.items()}
            for language, found in record.pop("curves").items()
        }
        manifest = Manifest(**{**record, "outputs": tuple(record["outputs"])}, curves=curves)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelFilesError(f"{folder.name}/manifest.json: {error}") from error
    if manifest.label_version != LABEL_VERSION or manifest.outputs != OUTPUTS[: len(manifest.outputs)]:
        raise ModelFilesError(f"{folder.name}: label version {manifest.label_version}, wanted {LABEL_VERSION}")
    for name, digest in manifest.files.items() if verify else ():
        path = folder / name
        if not path.is_file() or sha256(path) != digest:
            raise ModelFilesError(f"{folder.name}/{name} is missing or not the file that was packed")
    return manifest


def sha256(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    with path.open("rb") as stored:
        return hashlib.file_digest(stored, "sha256").hexdigest()

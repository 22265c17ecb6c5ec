"""Fuzzes the event decoder, led by coverage (atheris).

    pip install -e .[fuzz]
    python -m benchmarks.fuzz --minutes 10 [--corpus FOLDER]

Every input is read as a frame of the ingest websocket: parsed, decoded, masked of personal data, written in the log's
form and read back. Only `EventError` may come of a bad one, and an accepted event keeps every promise of
`benchmarks.decoding`. What is found is written to FOLDER's neighbour `findings/` and ends the run with an error; the
fuzzer's own statistics end the output. The protocol, the HTTP schema and the adapters are explored by `make explore`.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import tempfile
from pathlib import Path
from typing import Final

import atheris

with atheris.instrument_imports(include=["server", "detector", "benchmarks.decoding"]):
    from benchmarks.decoding import seeds, try_frame

MAX_INPUT_BYTES: Final = 4_096


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--corpus", type=Path, help="where inputs that reach new code are kept (default: nowhere)")
    chosen = parser.parse_args()
    corpus: Path = chosen.corpus or Path(tempfile.mkdtemp()) / "corpus"
    findings = corpus.parent / "findings"
    for folder in (corpus, findings):
        folder.mkdir(parents=True, exist_ok=True)
    for seed in seeds():
        (corpus / hashlib.sha256(seed).hexdigest()[:16]).write_bytes(seed)
    options = {
        "max_total_time": round(chosen.minutes * 60),
        "max_len": MAX_INPUT_BYTES,
        "artifact_prefix": f"{findings}/",
        "print_final_stats": 1,
    }
    atheris.Setup([sys.argv[0], str(corpus), *(f"-{name}={value}" for name, value in options.items())], try_frame)
    atheris.Fuzz()


if __name__ == "__main__":
    main()

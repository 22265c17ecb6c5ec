"""Nothing of this product calls home."""

from __future__ import annotations

import os
import subprocess
import sys


def test_the_runtime_of_the_model_keeps_no_telemetry_session(tmp_path):
    code = "from models.scorer import load_scorer; load_scorer(None)"
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "TMPDIR": str(tmp_path)})
    assert list(tmp_path.iterdir()) == []

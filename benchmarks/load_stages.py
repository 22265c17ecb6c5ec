"""Where the processor's time of a server goes: by thread from its own metrics, and by stage from samples of its stacks.

Stages need `py-spy` (extra `dev`) and the right to look into another process; without either there is the table by thread.
"""

from __future__ import annotations

import asyncio
import shutil
import sys
import tempfile
from collections import Counter
from pathlib import Path

SAMPLES_S = 40
STAGES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("model", ("onnxruntime/", "onnxruntime_pybind11")),
    ("tokeniser", ("models/tokenisation", "models/normalise", "tokenizers")),
    ("scoring, the rest", ("models/",)),
    ("masking", ("server/redaction", "server/digits", "server/running_digits", "server/addresses")),
    ("log", ("server/storage/", "sqlalchemy/", "server/groupwriter")),
    ("core", ("detector/",)),
    (
        "ingest",
        (
            "server/ingest",
            "server/wire",
            "server/live/intake",
            "server/live/reception",
            "uvicorn/protocols",
            "websockets/",
        ),
    ),
    ("alerts and floor", ("server/alerts", "server/hub", "server/supervision", "server/delivery", "server/live/floor")),
    ("runtime", ("server/runtime", "server/")),
)
"""Stage, and what its files are called; a stack belongs to the innermost frame that has a stage."""


def stage_of(stack: str) -> str:
    """The stage of one stack, frames separated by semicolons, the innermost last."""
    for frame in reversed(stack.split(";")):
        for stage, marks in STAGES:
            if any(mark in frame for mark in marks):
                return stage
    return "event loop"


async def sample(pid: int, seconds: float) -> dict[str, float]:
    """Share of the busy samples by stage; empty when stacks cannot be had.

    Args:
        pid: of the server.
        seconds: to sample for; the server is not stopped for it, so a few stacks are torn.
    """
    tool = shutil.which("py-spy", path=str(Path(sys.executable).parent)) or shutil.which("py-spy")
    if tool is None:
        return {}
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "stacks"
        process = await asyncio.create_subprocess_exec(
            *(tool, "record", "--nonblocking", "--pid", str(pid), "--duration", str(max(1, round(seconds)))),
            *("--rate", str(SAMPLES_S), "--format", "raw", "--threads", "--output", str(target)),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        if await process.wait() or not target.exists():
            return {}
        return shares(target.read_text(encoding="utf-8", errors="replace"))


def shares(stacks: str) -> dict[str, float]:
    """Share by stage of samples in py-spy's raw format: a stack and its count on each line."""
    counted: Counter[str] = Counter()
    for line in stacks.splitlines():
        stack, _, count = line.rpartition(" ")
        if (
            "mamori-delivery" in stack.split(";")[0]
            or "_worker (concurrent/futures/thread.py" in stack.rsplit(";", 1)[-1]
        ):
            continue  # idle pools look busy to a sampler that does not stop the process
        counted[stage_of(stack)] += int(count)
    total = counted.total() or 1
    return {stage: round(count / total, 3) for stage, count in counted.most_common()}

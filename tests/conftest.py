"""What a check needs beside the base install; a missing thing skips it, and fails it where nothing may be skipped."""

from __future__ import annotations

import importlib.util
import os
import shutil
import tempfile
from functools import cache
from pathlib import Path

import pytest

from benchmarks.servers import find_nats, find_postgres
from benchmarks.small_disk import NoDiskError, small_disk
from tests.exploring import load_profile

load_profile()


@cache
def _may_mount() -> bool:
    with tempfile.TemporaryDirectory() as folder:
        try:
            with small_disk(Path(folder) / "disk", 1):
                return True
        except NoDiskError:
            return False


_PRESENT = {
    "torch": lambda: importlib.util.find_spec("torch") is not None,
    "transformers": lambda: importlib.util.find_spec("transformers") is not None,
    "chromium": lambda: shutil.which("chromium") is not None,
    "mount": _may_mount,
    "nats": lambda: find_nats() is not None and importlib.util.find_spec("nats") is not None,
    "postgres": lambda: find_postgres() is not None and importlib.util.find_spec("psycopg") is not None,
    "node": lambda: shutil.which("node") is not None,
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        for mark in item.iter_markers("needs"):
            for name in mark.args:
                if not _PRESENT[name]() and os.environ.get("MAMORI_REQUIRE") != "all":
                    item.add_marker(pytest.mark.skip(reason=f"{name} is not installed"))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-golden",
        nargs="?",
        const="alerts",
        default="",
        choices=("alerts", "scores"),
        help="write the golden alerts anew; `scores`: with the bundled classifier's answers of today",
    )

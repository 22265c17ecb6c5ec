"""The limit of open files, in a process of its own, for a limit that was lowered stays so."""

from __future__ import annotations

import subprocess
import sys

import pytest

_PROGRAM = """
import logging, resource, sys
logging.basicConfig(format="%(message)s %(limit)s %(needed)s")
resource.setrlimit(resource.RLIMIT_NOFILE, (256, 512))
from server.handles import raise_file_limit
print(raise_file_limit(int(sys.argv[1])))
print(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such limit")
@pytest.mark.parametrize(("calls", "warned"), [(300, ""), (400, "512 600")])
def test_the_soft_limit_is_raised_and_a_low_hard_one_is_told(calls: int, warned: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, str(calls)], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.split() == ["512", "512"]
    assert (warned in done.stderr) if warned else not done.stderr

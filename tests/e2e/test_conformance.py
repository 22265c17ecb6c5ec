"""A small sample of `python -m benchmarks.conformance`."""

from __future__ import annotations

import logging

import pytest

from benchmarks.conformance import echoing, run_cases, surprises
from server.settings import Settings
from tests.server.running import serving

SILENT = ("2.2", "2.10", "3.1", "4.2.1", "5.18", "6.3.1", "6.20.4", "7.3.1", "7.7.1", "7.9.1")
"""Cases that can be passed without an echo."""
SAMPLE = ("1.1.6", "5.5", "6.6.2", *SILENT)


@pytest.fixture(autouse=True)
def quiet(monkeypatch):
    # uvicorn logs a traceback for each text that is not UTF-8
    monkeypatch.setattr(logging.getLogger("uvicorn.error"), "disabled", True)


async def test_our_uvicorn_configuration_passes_a_sample(tmp_path):
    async with echoing(Settings(data_dir=tmp_path, port=0)) as url:
        verdicts = await run_cases("echo", url, SAMPLE, echoes=True)
    assert {verdict.case for verdict in verdicts} == set(SAMPLE)
    assert surprises(verdicts) == []


@pytest.mark.parametrize("path", ["/v1/ingest", "/v1/alerts"])
async def test_the_endpoints_pass_what_needs_no_echo(tmp_path, path):
    async with serving(tmp_path) as running:
        verdicts = await run_cases(path, running.url(path), SILENT, echoes=False)
    assert {verdict.case for verdict in verdicts} == set(SILENT)
    assert surprises(verdicts) == []

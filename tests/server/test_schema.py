"""schemathesis reads `/openapi.json` and tries every endpoint: no 5xx, no undocumented status, every answer as documented.

The same few examples every time; `make explore` tries many more, and other ones.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.config import CacheConfig, SchemathesisConfig
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.exploring import EXPLORING, tries
from tests.server.running import serving
from tests.server.test_alerts import one_alert


def no_server_error(context: Any, response: Any, case: Any) -> bool | None:
    """503 is what `/readyz` is there to say, on a machine that is too busy for all these questions for example."""
    if case.operation.path == "/readyz" and response.status_code == 503:
        return None
    return not_a_server_error(context, response, case)


CHECKS = [no_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
ENDLESS = "/v1/alerts/stream"


@pytest.fixture
def house(tmp_path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """A server with a call and an alert, on a loop of its own: its address, and what path parameters exist."""
    listening, over = threading.Event(), asyncio.Event()
    found: dict[str, Any] = {}

    async def serve() -> None:
        async with serving(tmp_path, limit_requests_s=1e6) as running:
            found["loop"] = asyncio.get_running_loop()
            found["url"] = running.http
            found["alert"] = (await one_alert(running))["alert_id"]
            listening.set()
            await over.wait()

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    assert listening.wait(60)
    yield found["url"], {"alert_id": found["alert"], "call_id": "c-1", "name": "genesys"}
    found["loop"].call_soon_threadsafe(over.set)
    thread.join()


def test_every_answer_is_as_documented(house):
    url, known = house
    config = SchemathesisConfig(cache=CacheConfig(enabled=False))
    document = httpx.get(f"{url}/openapi.json").json()
    schema = schemathesis.openapi.from_dict(document, config=config).exclude(path=ENDLESS)
    wrong: list[str] = []
    operations = [result.ok() for result in schema.get_all_operations()]
    assert len(operations) > 25
    for operation in operations:
        parameters = {name: value for name, value in known.items() if f"{{{name}}}" in operation.path}
        for mode, fixed in ((GenerationMode.POSITIVE, parameters), (GenerationMode.NEGATIVE, None)):
            try:
                _attempt(operation, mode, fixed, url)()
            except Unsatisfiable:
                assert mode is GenerationMode.NEGATIVE, "nothing can be wrong about a request without parameters"
            except FailureGroup as failures:
                wrong += [f"{operation.label} ({mode.value}): {failure}" for failure in failures.exceptions]
    assert wrong == []


def _attempt(operation: Any, mode: GenerationMode, parameters: dict[str, str] | None, url: str) -> Callable[[], None]:
    phases = [Phase.generate, Phase.shrink] if EXPLORING else [Phase.generate]

    @tries(2, phases=phases, suppress_health_check=list(HealthCheck))
    @given(case=operation.as_strategy(generation_mode=mode, path_parameters=parameters or None))
    def attempt(case: Any) -> None:
        case.call_and_validate(base_url=url, checks=CHECKS)

    return attempt

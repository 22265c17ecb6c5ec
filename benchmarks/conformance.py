"""Autobahn's websocket cases against a real server, by the native runner `kosoku`.

    python -m benchmarks.conformance [--cases 1.*,7.1.5] [--json FILE]

Most of Autobahn's cases want their message echoed, which the product's endpoints do not do. So three subjects are tried:

- `echo`: a four-line echo application under the server's own uvicorn configuration (`server.cli.uvicorn_config`, that is
  websockets' sans-I/O core with the settings of `serve`). All cases are judged as Autobahn judges them. The limit of a
  frame is raised for the cases of group 9, which send up to 16 MiB; groups 12 and 13 try a compression that is off here.
- `/v1/ingest` and `/v1/alerts` of `mamori serve` in a process of its own: the cases that can be passed without an echo.
  The endpoint's own messages (welcome, snapshot, refusals) are set aside; pings, pongs and the close are judged.

Exits with 1 when a case fails that `KNOWN` does not name, or when one that it names has been mended.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import uvicorn
from kosoku import FailureError, run_fuzzingclient

from benchmarks.crash import Process
from server.cli import uvicorn_config
from server.settings import Settings
from server.sockets import Receive, Scope, Send

PROTOCOL_CASES: Final = ("1.*", "2.*", "3.*", "4.*", "5.*", "6.*", "7.*", "10.*")
LARGE_CASES: Final = ("9.*",)
DEFLATE_CASES: Final = ("12.*", "13.*")
RETRIES: Final = 3
"""Autobahn gives a peer one second to close, which a busy machine may miss: a case that failed is tried again alone."""
LARGE_FRAME_BYTES: Final = 32 << 20
ENDPOINTS: Final = ("/v1/ingest", "/v1/alerts")

KNOWN: Final = {
    "7.1.5": "websockets (protocol.py, `incomplete fragmented message`): a close frame within a fragmented message is a "
    "protocol error to it, so it closes with 1002 where the case wants 1000",
}
"""Failures of the library below, by case."""
NON_STRICT_REASON: Final = (
    "websockets and uvicorn fail the connection as soon as a frame is invalid or a text is not UTF-8; the echo of what "
    "was good before may be dropped, and a text is checked when it is whole. RFC 6455 allows both."
)
GOOD: Final = ("OK", "NON-STRICT", "INFORMATIONAL", "UNIMPLEMENTED")


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What became of one case.

    Args:
        behavior: Autobahn's word for the exchange: OK, NON-STRICT, INFORMATIONAL, UNIMPLEMENTED, FAILED or ERROR.
        close: its word for the closing handshake.
        note: what was wrong; empty for a good one.
    """

    subject: str
    case: str
    behavior: str
    close: str
    note: str = ""

    @property
    def good(self) -> bool:
        """Whether the case is passed, by RFC 6455 if not by its strictest reading."""
        return self.behavior in GOOD and self.close in GOOD


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Sends every message back."""
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        await send({**message, "type": "websocket.send"})


@asynccontextmanager
async def echoing(settings: Settings) -> AsyncIterator[str]:
    """Serves the echo as the product is served; yields its address."""
    config = uvicorn_config(echo, settings)
    config.port, config.lifespan = 0, "off"
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110 - uvicorn tells it by this flag alone
        await asyncio.sleep(0.01)
    try:
        yield f"ws://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        await task


async def run_cases(subject: str, url: str, cases: Sequence[str], *, echoes: bool) -> list[Verdict]:
    """Runs cases against one address.

    Args:
        subject: name for the table.
        url: of the websocket.
        cases: ids or globs.
        echoes: whether the subject echoes; otherwise cases that cannot be passed without are left out.
    """
    found = {verdict.case: verdict for verdict in await _judged(subject, url, cases, echoes=echoes, at_once=2)}
    for _ in range(RETRIES):
        again = [case for case, verdict in found.items() if not verdict.good and case not in KNOWN]
        if not again:
            break
        found |= {item.case: item for item in await _judged(subject, url, again, echoes=echoes, at_once=1)}
    return list(found.values())


async def _judged(subject: str, url: str, cases: Sequence[str], *, echoes: bool, at_once: int) -> list[Verdict]:
    try:
        results = await run_fuzzingclient(url, cases, concurrency=at_once)
    except FailureError as failure:
        results = failure.results
    judged = [_judge(subject, result) if echoes else _judge_without_echo(subject, result) for result in results]
    return [verdict for verdict in judged if verdict is not None]


def _judge(subject: str, result: Any) -> Verdict:
    behavior, close = result.behavior.value, result.behavior_close.value
    wrong = behavior not in GOOD or close not in GOOD
    note = f"{result.result} {result.result_close}" if wrong else ""
    return Verdict(subject=subject, case=result.case_id, behavior=behavior, close=close, note=note)


def _judge_without_echo(subject: str, result: Any) -> Verdict | None:
    silent = {
        name: events for name, events in result.expected.items() if all(event[0] != "message" for event in events)
    }
    if not silent:
        return None
    if result.behavior.value == "INFORMATIONAL":
        return _judge(subject, result)
    heard = [event for event in result.received if event[0] != "message"]
    behavior = next((name for name, events in silent.items() if list(events) == heard), "FAILED")
    close = result.behavior_close.value
    wrong = behavior not in GOOD or close not in GOOD
    note = f"heard {heard}, expected {silent}; {result.result_close}" if wrong else ""
    return Verdict(subject=subject, case=result.case_id, behavior=behavior, close=close, note=note)


async def run(cases: Sequence[str] | None = None) -> list[Verdict]:
    """Runs all three subjects.

    Args:
        cases: ids or globs for every subject, or None for all.
    """
    verdicts: list[Verdict] = []
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(data_dir=Path(folder), port=0)
        async with echoing(settings) as url:
            verdicts += await run_cases("echo", url, cases or (*PROTOCOL_CASES, *DEFLATE_CASES), echoes=True)
        if cases is None:
            async with echoing(settings.model_copy(update={"max_frame_bytes": LARGE_FRAME_BYTES})) as url:
                verdicts += await run_cases("echo, large frames", url, LARGE_CASES, echoes=True)
        process = Process(Path(folder))
        await process.start()
        try:
            for path in ENDPOINTS:
                url = f"ws://127.0.0.1:{process.port}{path}"
                verdicts += await run_cases(path, url, cases or PROTOCOL_CASES, echoes=False)
        finally:
            await process.kill()
    return verdicts


def surprises(verdicts: Sequence[Verdict]) -> list[str]:
    """Failures that are not known, and known ones that are mended."""
    failed = [verdict for verdict in verdicts if not verdict.good]
    told = [f"{item.subject} {item.case}: {item.note}" for item in failed if item.case not in KNOWN]
    still = {verdict.case for verdict in failed}
    tried = {verdict.case for verdict in verdicts}
    return told + [f"{case} passes now: take it out of KNOWN" for case in KNOWN if case in tried - still]


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", help="ids or globs, by commas (default: all)")
    parser.add_argument("--json", type=Path, help="where the verdicts go")
    chosen = parser.parse_args()
    logging.getLogger("uvicorn.error").disabled = True  # it logs a traceback for each text that is not UTF-8
    began_s = time.monotonic()
    verdicts = asyncio.run(run(chosen.cases.split(",") if chosen.cases else None))
    print(
        f"{'subject':20} {'cases':>6} {'OK':>5} {'non-strict':>11} {'informational':>14} {'not offered':>12} {'failed':>7}"
    )
    for subject in dict.fromkeys(verdict.subject for verdict in verdicts):
        mine = [verdict for verdict in verdicts if verdict.subject == subject]
        good = Counter(verdict.behavior for verdict in mine if verdict.good)
        failed = sum(not verdict.good for verdict in mine)
        print(
            f"{subject:20} {len(mine):6} {good['OK']:5} {good['NON-STRICT']:11} {good['INFORMATIONAL']:14} "
            f"{good['UNIMPLEMENTED']:12} {failed:7}"
        )
    loose = sorted({verdict.case for verdict in verdicts if verdict.good and verdict.behavior == "NON-STRICT"})
    print(f"{time.monotonic() - began_s:.0f} s")
    print(f"non-strict: {', '.join(loose)}: {NON_STRICT_REASON}" if loose else "none non-strict")
    for case in sorted({verdict.case for verdict in verdicts if not verdict.good} & set(KNOWN)):
        print(f"known failure {case}: {KNOWN[case]}")
    unexpected = surprises(verdicts)
    for line in unexpected:
        print(f"UNEXPECTED {line}")
    if chosen.json:
        chosen.json.write_text(json.dumps([asdict(verdict) for verdict in verdicts]), encoding="utf-8")
    sys.exit(1 if unexpected else 0)


if __name__ == "__main__":
    main()

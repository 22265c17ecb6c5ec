"""What it costs to keep consoles up to date: CPU time for each thousand `call.status` that a console takes.

    python -m benchmarks.fanout --calls 300 --consoles 20

A real server and one page of real Chromium; the other consoles are connections that read what a console reads. Every call says
once a second that it is alive, and nothing else: neither scoring nor storage of words is in the figures. CPU time, not time on
the wall, so that the figures hold on a machine that others use, too.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

from playwright.async_api import Page, async_playwright
from websockets.asyncio.client import connect

from benchmarks.console import browser_cpu_s
from benchmarks.crash import Process
from benchmarks.latency import usage
from benchmarks.screenshots import CHROMIUM
from server.client import IngestClient

BATCHED = "/v1/alerts?calls=1&batch=1"
COUNT = """
window.statuses = 0; window.frames = 0;
const Plain = window.WebSocket;
window.WebSocket = class extends Plain {
  constructor(...args) {
    super(...args);
    this.addEventListener('message', ({ data }) => { window.statuses += data.split('"type":"call.status"').length - 1; window.frames += 1; });
  }
};
"""


@dataclass(frozen=True, slots=True)
class Figures:
    """What was measured. Statuses are those that the page took; the server's cost is for all consoles together."""

    calls: int
    consoles: int
    statuses: int
    frames: int
    server_ms_per_1000: float
    page_ms_per_1000: float


async def listen(address: str) -> None:
    """A console without a page."""
    async with connect(f"ws://{address}{BATCHED}", max_queue=None, max_size=None) as socket:
        async for text in socket:
            json.loads(text)


async def talk(client: IngestClient, calls: int) -> None:
    """All calls, one sign of life a second each, spread over it."""
    for number in range(calls):
        started = {"type": "call.started", "language": "ja", "queue": "load", "agent": {"id": f"a-{number}"}}
        await client.send({**started, "call_id": f"c-{number}"})
    second = 0
    while True:
        second += 1
        for number in range(calls):
            await client.send({"type": "call.alive", "call_id": f"c-{number}", "offset_ms": second * 1000})
            if number % 30 == 29:
                await asyncio.sleep(30 / calls)


async def measure(page: Page, pid: int, *, calls: int, consoles: int, seconds: float) -> Figures:
    """Counts for a while."""
    count = "[window.statuses, window.frames]"
    before, server_s, page_s = await page.evaluate(count), usage(pid)[0], browser_cpu_s()
    await asyncio.sleep(seconds)
    after, server_s, page_s = await page.evaluate(count), usage(pid)[0] - server_s, browser_cpu_s() - page_s
    statuses = max(1, after[0] - before[0])
    return Figures(
        calls=calls, consoles=consoles, statuses=statuses, frames=after[1] - before[1],
        server_ms_per_1000=round(server_s * 1e6 / statuses / consoles, 1), page_ms_per_1000=round(page_s * 1e6 / statuses, 1),
    )  # fmt: skip


async def run(*, calls: int, consoles: int, seconds: float) -> Figures:
    """Starts everything and leaves nothing running."""
    with tempfile.TemporaryDirectory() as data:
        process = Process(Path(data))
        await process.start()
        address = f"127.0.0.1:{process.port}"
        others = [asyncio.create_task(listen(address)) for _ in range(consoles - 1)]
        try:
            async with async_playwright() as playwright, IngestClient(f"ws://{address}") as client:
                talking = asyncio.create_task(talk(client, calls))
                browser = await playwright.chromium.launch(executable_path="/usr/bin/chromium", args=list(CHROMIUM))
                page = await browser.new_page(viewport={"width": 1280, "height": 800}, locale="ja-JP")
                await page.add_init_script(COUNT)
                await page.goto(f"http://{address}/")
                await page.locator("#call-count", has_text=str(calls)).wait_for(timeout=120_000)
                assert process.pid is not None
                found = await measure(page, process.pid, calls=calls, consoles=consoles, seconds=seconds)
                talking.cancel()
                await browser.close()
        finally:
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)
            await process.kill(signal.SIGKILL)
    return found


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=300)
    parser.add_argument("--consoles", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    found = asdict(asyncio.run(run(calls=options.calls, consoles=options.consoles, seconds=options.seconds)))
    for name, value in found.items():
        print(f"{name:20} {value}")
    if options.out is not None:
        options.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

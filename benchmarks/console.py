"""From a chunk sent to pixels changed in the browser, quiet and with a full house.

    python -m benchmarks.console --calls 300 --consoles 20

A real server, calls over the real websocket, and consoles that are pages of real Chromium, all on this machine. Every half
second one call says something grave; each console notes when the card of its alert has been drawn: two frames after it
stood in the document, so a figure is high by up to one frame. Sender and pages read the same clock. First one console and one
call at a time, then the full house. There `--pages` of the consoles are drawn and the others are connections that read
what a console reads: people have machines of their own, and one software renderer for twenty pages on the server's cores
would measure that renderer.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import math
import os
import signal
import statistics
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from playwright.async_api import Browser, Page, async_playwright, expect
from websockets.asyncio.client import connect

from benchmarks.crash import Process
from benchmarks.latency import Load, usage
from benchmarks.screenshots import CHROMIUM
from server.client import IngestClient

GRAVE = "お前を殺すぞ、覚悟しておけ"
EVERY_S = 0.5
SETTLE_S = 20.0
"""For which the last cards are waited for at most."""
WATCH = """
window.drawn = {}; window.gaps = [];
let due = performance.now() + 100;
setInterval(() => { window.gaps.push(Math.max(0, performance.now() - due)); due = performance.now() + 100; }, 100);
new MutationObserver(() => {
  for (const card of document.querySelectorAll('#alerts .card')) {
    const who = card.querySelector('header b').textContent;
    if (who in window.drawn) continue;
    window.drawn[who] = 0;
    requestAnimationFrame(() => requestAnimationFrame(() => { window.drawn[who] = performance.timeOrigin + performance.now(); }));
  }
}).observe(document.body, { childList: true, subtree: true, characterData: true });
null
"""


@dataclass(frozen=True, slots=True)
class Figures:
    """What was measured; times in milliseconds. `late` is how late a page's timer of 100 ms fires: whether it hangs.

    `least_heard`: alerts raised that the undrawn console that heard least was told of, those of the load included. The shares are
    CPU seconds a second: they hold on a machine that others use, too.
    """

    consoles: int
    pages: int
    calls: int
    alerts: int
    expected: int
    drawn: int
    p50_ms: float
    p99_ms: float
    max_ms: float
    late_p50_ms: float
    late_p99_ms: float
    least_heard: int
    server_cpu_share: float
    page_cpu_share: float


async def console(browser: Browser, address: str) -> Page:
    """A console that notes what it draws."""
    context = await browser.new_context(viewport={"width": 1280, "height": 800}, locale="ja-JP")
    page = await context.new_page()
    await page.goto(address)
    await page.locator("#connection:not(.off)").wait_for()
    await page.evaluate(WATCH)
    return page


async def alarm(client: IngestClient, number: int) -> tuple[str, float]:
    """One call of its own says something grave; returns its name and when the words were sent."""
    call_id = f"alarm-{number:03d}"
    started = {"type": "call.started", "call_id": call_id, "language": "ja", "queue": "load", "agent": {"id": call_id}}
    words = {
        "type": "transcript.segment", "call_id": call_id, "segment_id": "s1", "speaker": "customer",
        "text": f"{GRAVE} {number}", "start_ms": 100, "end_ms": 2000,
    }  # fmt: skip
    await client.send(started)
    await asyncio.sleep(EVERY_S / 2)
    sent_ms = time.time() * 1000
    await client.send(words)
    return call_id, sent_ms


def browser_cpu_s() -> float:
    """CPU seconds of all Chromium processes that descend from this one."""
    parents: dict[int, tuple[int, str]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            head, _, fields = path.read_text(encoding="utf-8", errors="replace").rpartition(")")
            pid, _, name = head.partition(" (")
            parents[int(pid)] = int(fields.split()[1]), name
    total = 0.0
    for pid, (_, name) in parents.items():
        above = pid
        while above in parents and above != os.getpid():
            above = parents[above][0]
        if above == os.getpid() and "chrom" in name:
            with contextlib.suppress(OSError, StopIteration):
                total += usage(pid)[0]
    return total


async def measure(pages: list[Page], address: str, pid: int, *, alerts: int, calls: int, others: list[int]) -> Figures:
    """Raises alerts one after another and collects when each console had drawn them."""
    cpu_s, pages_s, begun_s = usage(pid)[0], browser_cpu_s(), time.monotonic()
    sent: dict[str, float] = {}
    async with IngestClient(f"ws://{address}") as client:
        for number in range(alerts):
            name, sent_ms = await alarm(client, number)
            sent[name] = sent_ms
            await asyncio.sleep(EVERY_S / 2)
        await settle(pages, set(sent))
    wall_s = time.monotonic() - begun_s
    share, drawing = (usage(pid)[0] - cpu_s) / wall_s, (browser_cpu_s() - pages_s) / wall_s / len(pages)
    took, gaps = [], []
    for page in pages:
        drawn, frames = await page.evaluate("[window.drawn, window.gaps.splice(0)]")
        took += [at - sent[name] for name, at in drawn.items() if name in sent and at]
        gaps += frames
    took.sort()
    gaps.sort()
    return Figures(
        consoles=len(pages) + len(others), pages=len(pages), calls=calls, alerts=alerts, expected=alerts * len(pages), drawn=len(took),
        p50_ms=_at(took, 50), p99_ms=_at(took, 99), max_ms=round(max(took, default=math.nan), 1),
        late_p50_ms=_at(gaps, 50), late_p99_ms=_at(gaps, 99), least_heard=min(others, default=0), server_cpu_share=round(share, 2),
        page_cpu_share=round(drawing, 3),
    )  # fmt: skip


async def settle(pages: list[Page], names: set[str]) -> None:
    """Waits until every page has drawn every card, within `SETTLE_S`."""
    end_s = time.monotonic() + SETTLE_S
    for page in pages:
        while time.monotonic() < end_s:
            drawn = await page.evaluate("window.drawn")
            if names <= {name for name, at in drawn.items() if at}:
                break
            await asyncio.sleep(0.2)


def _at(values: list[float], percent: int) -> float:
    if len(values) < 2:
        return math.nan
    return round(statistics.quantiles(values, n=100, method="inclusive")[percent - 1], 1)


async def listen(address: str, counts: list[int]) -> None:
    """A console without a page: reads everything that a page reads."""
    async with connect(f"ws://{address}/v1/alerts?calls=1&batch=1", max_queue=None, max_size=None) as socket:
        counts.append(0)
        mine = len(counts) - 1
        async for text in socket:
            counts[mine] += sum(message["type"] == "alert.raised" for message in json.loads(text))


async def run(*, calls: int, consoles: int, pages_drawn: int, alerts: int) -> list[Figures]:
    """Both measurements on one server each."""
    found = []
    for live, watching, undrawn in ((0, 1, 0), (calls, pages_drawn, consoles - pages_drawn)):
        with tempfile.TemporaryDirectory() as data:
            process = Process(Path(data))
            await process.start()
            address = f"127.0.0.1:{process.port}"
            try:
                async with async_playwright() as playwright:
                    browser = await playwright.chromium.launch(executable_path="/usr/bin/chromium", args=list(CHROMIUM))
                    pages = [await console(browser, f"http://{address}/") for _ in range(watching)]
                    heard: list[int] = []
                    others = [asyncio.create_task(listen(address, heard)) for _ in range(undrawn)]
                    assert process.pid is not None
                    found.append(
                        await _under_load(pages, address, process.pid, calls=live, alerts=alerts, others=heard)
                    )
                    for task in others:
                        task.cancel()
                    await asyncio.gather(*others, return_exceptions=True)
                    await browser.close()
            finally:
                await process.kill(signal.SIGKILL)
    return found


async def _under_load(
    pages: list[Page], address: str, pid: int, *, calls: int, alerts: int, others: list[int]
) -> Figures:
    loop = asyncio.get_running_loop()
    async with IngestClient(f"ws://{address}") as client:
        load = Load(client, 1)
        end_s = loop.time() + alerts * EVERY_S + 60
        spread = [loop.time() + 12 * number / max(1, calls) for number in range(calls)]
        talking = [asyncio.create_task(load.call(f"l-{at}", begin_s, end_s)) for at, begin_s in enumerate(spread)]
        if calls:
            await expect(pages[-1].locator("#call-count")).to_have_text(str(calls), timeout=60_000)
            for page in pages:
                await page.evaluate("void (window.gaps.length = 0)")
        figures = await measure(pages, address, pid, alerts=alerts, calls=calls, others=others)
        for task in talking:
            task.cancel()
        await asyncio.gather(*talking, return_exceptions=True)
    return figures


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=300)
    parser.add_argument("--consoles", type=int, default=20)
    parser.add_argument("--pages", type=int, default=1)
    parser.add_argument("--alerts", type=int, default=60)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    found = asyncio.run(
        run(calls=options.calls, consoles=options.consoles, pages_drawn=options.pages, alerts=options.alerts)
    )
    rows: list[dict[str, Any]] = [asdict(figures) for figures in found]
    for name in rows[0]:
        print(f"{name:18}", *(f"{row[name]!s:>10}" for row in rows))
    if options.out is not None:
        options.out.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

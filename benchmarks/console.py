"""From a chunk sent to pixels changed in the browser, quiet and with a full house.

    python -m benchmarks.console --calls 300 --consoles 20

A real server, calls over the real websocket, and consoles that are pages of real Chromium, all on this machine. Every half
second one call says something grave; each console notes when the card of its alert has been drawn: two frames after it
stood in the document, so a figure is high by up to one frame. Sender and pages read the same clock. First one console and one
call at a time, then the full house.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import statistics
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from playwright.async_api import Browser, Page, async_playwright
from websockets.asyncio.client import ClientConnection, connect

from benchmarks.crash import Process
from benchmarks.latency import Load, usage
from benchmarks.screenshots import CHROMIUM

GRAVE = "お前を殺すぞ、覚悟しておけ"
EVERY_S = 0.5
SETTLE_S = 2.0
WATCH = """
window.drawn = {}; window.gaps = [];
let before = performance.now();
const frame = (now) => { window.gaps.push(now - before); before = now; requestAnimationFrame(frame); };
requestAnimationFrame(frame);
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
    """What was measured; times in milliseconds."""

    consoles: int
    calls: int
    alerts: int
    expected: int
    drawn: int
    p50_ms: float
    p99_ms: float
    max_ms: float
    frame_p50_ms: float
    frame_p99_ms: float
    server_cpu_share: float


async def console(browser: Browser, address: str) -> Page:
    """A console that notes what it draws."""
    context = await browser.new_context(viewport={"width": 1280, "height": 800}, locale="ja-JP")
    page = await context.new_page()
    await page.goto(address)
    await page.locator("#connection:not(.off)").wait_for()
    await page.evaluate(WATCH)
    return page


async def alarm(socket: ClientConnection, number: int, *, fresh: bool) -> tuple[str, float]:
    """One call of its own says something grave; returns its name and when the words were sent."""
    call_id = f"alarm-{number:03d}"
    started = {"type": "call.started", "call_id": call_id, "language": "ja", "queue": "load", "agent": {"id": call_id}}
    words = {
        "type": "transcript.segment", "call_id": call_id, "segment_id": "s1", "speaker": "customer",
        "text": f"{GRAVE} {number}", "start_ms": 100, "end_ms": 2000,
    }  # fmt: skip
    await socket.send(json.dumps(started))
    if fresh:
        await asyncio.sleep(EVERY_S / 2)
    sent_ms = time.time() * 1000
    await socket.send(json.dumps(words))
    return call_id, sent_ms


async def measure(pages: list[Page], address: str, pid: int, *, alerts: int, first: int, calls: int) -> Figures:
    """Raises alerts one after another and collects when each console had drawn them."""
    cpu_s, begun_s = usage(pid)[0], time.monotonic()
    sent: dict[str, float] = {}
    async with connect(f"ws://{address}/v1/ingest", max_queue=None) as socket:
        draining = asyncio.create_task(_drain(socket))
        for number in range(first, first + alerts):
            name, sent_ms = await alarm(socket, number, fresh=True)
            sent[name] = sent_ms
            await asyncio.sleep(EVERY_S / 2)
        await asyncio.sleep(SETTLE_S)
        draining.cancel()
    share = (usage(pid)[0] - cpu_s) / (time.monotonic() - begun_s)
    took, gaps = [], []
    for page in pages:
        drawn, frames = await page.evaluate("[window.drawn, window.gaps.splice(0)]")
        took += [at - sent[name] for name, at in drawn.items() if name in sent and at]
        gaps += frames
    took.sort()
    gaps.sort()
    return Figures(
        consoles=len(pages), calls=calls, alerts=alerts, expected=alerts * len(pages), drawn=len(took),
        p50_ms=_at(took, 50), p99_ms=_at(took, 99), max_ms=round(took[-1], 1),
        frame_p50_ms=_at(gaps, 50), frame_p99_ms=_at(gaps, 99), server_cpu_share=round(share, 2),
    )  # fmt: skip


async def _drain(socket: ClientConnection) -> None:
    async for _ in socket:
        pass


def _at(values: list[float], percent: int) -> float:
    return round(statistics.quantiles(values, n=100, method="inclusive")[percent - 1], 1)


async def run(*, calls: int, consoles: int, alerts: int) -> list[Figures]:
    """Both measurements on one server each."""
    found = []
    for live, watching in ((0, 1), (calls, consoles)):
        with tempfile.TemporaryDirectory() as data:
            process = Process(Path(data))
            await process.start()
            address = f"127.0.0.1:{process.port}"
            try:
                async with async_playwright() as playwright:
                    browser = await playwright.chromium.launch(executable_path="/usr/bin/chromium", args=list(CHROMIUM))
                    pages = [await console(browser, f"http://{address}/") for _ in range(watching)]
                    assert process.pid is not None
                    found.append(await _under_load(pages, address, process.pid, calls=live, alerts=alerts))
                    await browser.close()
            finally:
                await process.kill(signal.SIGKILL)
    return found


async def _under_load(pages: list[Page], address: str, pid: int, *, calls: int, alerts: int) -> Figures:
    loop = asyncio.get_running_loop()
    async with connect(f"ws://{address}/v1/ingest", max_queue=None) as socket:
        load = Load(socket, 1)
        draining = asyncio.create_task(_drain(socket))
        end_s = loop.time() + alerts * EVERY_S + 40
        spread = [loop.time() + 12 * number / max(1, calls) for number in range(calls)]
        talking = [asyncio.create_task(load.call(f"l-{at}", begin_s, end_s)) for at, begin_s in enumerate(spread)]
        if calls:
            for page in pages:
                await page.locator(f"#floor tbody tr >> nth={calls - 1}").wait_for(timeout=60_000)
                await page.evaluate("void (window.gaps.length = 0)")
        figures = await measure(pages, address, pid, alerts=alerts, first=1, calls=calls)
        for task in (*talking, draining):
            task.cancel()
        await asyncio.gather(*talking, draining, return_exceptions=True)
    return figures


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=300)
    parser.add_argument("--consoles", type=int, default=20)
    parser.add_argument("--alerts", type=int, default=60)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    found = asyncio.run(run(calls=options.calls, consoles=options.consoles, alerts=options.alerts))
    rows: list[dict[str, Any]] = [asdict(figures) for figures in found]
    for name in rows[0]:
        print(f"{name:18}", *(f"{row[name]!s:>10}" for row in rows))
    if options.out is not None:
        options.out.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

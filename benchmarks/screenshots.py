"""Takes the README's screenshots: the demo's calls on a real server, seen in real Chromium.

python -m benchmarks.screenshots
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import tempfile
from pathlib import Path

from playwright.async_api import async_playwright

from benchmarks.crash import Process
from server.demo import play

FOLDER = Path("docs/screenshots")
WAIT_MS = 60_000


async def take(folder: Path) -> None:
    """Plays the demo once and takes the pictures on the way."""
    with tempfile.TemporaryDirectory() as data:
        process = Process(Path(data))
        await process.start()
        address = f"127.0.0.1:{process.port}"
        playing = asyncio.create_task(play(f"ws://{address}", speed=12, once=True))
        async with async_playwright() as playwright:
            browser = await playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
            page = await browser.new_page(viewport={"width": 1440, "height": 900})
            await page.goto(f"http://{address}/")
            await page.locator(".card.critical, .card.escalate").first.wait_for(timeout=WAIT_MS)
            await page.locator("#floor tbody tr").nth(6).wait_for(timeout=WAIT_MS)
            await page.screenshot(path=folder / "floor.ja.png")
            await page.click("#language")
            await page.locator(".card .actions button").last.wait_for(timeout=WAIT_MS)
            await page.locator(".card .actions").first.locator("button").last.click()
            await page.locator(".talk li").nth(3).wait_for(timeout=WAIT_MS)
            await page.screenshot(path=folder / "call.en.png")
            await browser.close()
        await playing
        await process.kill(signal.SIGTERM)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=FOLDER)
    folder: Path = parser.parse_args().out
    folder.mkdir(parents=True, exist_ok=True)
    asyncio.run(take(folder))


if __name__ == "__main__":
    main()

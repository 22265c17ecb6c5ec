"""Takes the README's screenshots: a contact centre's calls on a real server, seen in real Chromium.

    python -m benchmarks.screenshots

The calls are those of the demo and the fair ones of the corpus; the month behind the reports is made up, as the picture's
numbers are.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import os
import random
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
from playwright.async_api import Browser, Page, async_playwright

from benchmarks.crash import Process
from benchmarks.mistakes import development_files
from models.corpus.callscript import Script, events_of, parse_scripts
from server.client import IngestClient
from server.clock import DAY_MS
from server.demo import demo_calls, with_partials
from server.storage.statedb import open_engine
from server.storage.tables import ALERTS, CALLS

FOLDER = Path("docs/screenshots")
CHROMIUM = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
)
LINKS = {
    "MAMORI_LINK_LISTEN": "https://pbx.example/listen/{call_id}",
    "MAMORI_LINK_TAKEOVER": "https://pbx.example/takeover/{call_id}",
}
WAIT_MS = 45_000
SPEED = 1.5
CALLS_AT_ONCE = 34
QUEUES = ("請求", "通販", "予約", "技術サポート", "解約")


def month(data_dir: Path) -> None:
    """Thirty days of calls and alerts, busier by day and on Mondays, about one call in forty harassing."""
    chance, now_ms = random.Random(3), time.time_ns() // 1_000_000
    midnight_ms = now_ms - (now_ms + 9 * 3_600_000) % DAY_MS
    alerts: list[dict[str, Any]] = []
    calls: list[dict[str, Any]] = []
    for day, hour in itertools.product(range(30), range(9, 19)):
        begun_ms = midnight_ms - day * DAY_MS + hour * 3_600_000
        for _ in range(chance.randrange(4, 14)):
            started_ms = begun_ms + chance.randrange(3_600_000)
            if started_ms < now_ms - 600_000:
                calls.append(_call(len(calls), started_ms, chance))
                if calls[-1]["level"] != "none":
                    alerts.append(_alert(calls[-1], chance))
    engine = open_engine(data_dir / "state.sqlite")
    with engine.begin() as connection:
        connection.execute(CALLS.insert(), calls)
        connection.execute(ALERTS.insert(), alerts)
    engine.dispose()


def _call(number: int, started_ms: int, chance: random.Random) -> dict[str, Any]:
    level = chance.choices(("none", "notice", "warning", "escalate", "critical"), (88, 7, 3, 1.5, 0.5))[0]
    queue = chance.choices(range(len(QUEUES)), (30, 24, 18, 16, 12))[0]
    return {
        "tenant": "default", "instance": f"m{number}", "call_id": f"m{number}", "queue": QUEUES[queue],
        "agent_id": f"a-{queue * 8 + chance.randrange(8) + 1:02d}", "language": "ja", "started_ms": started_ms,
        "ended_ms": started_ms + 300_000, "end_reason": "hangup", "next_seq": 0, "level": level,
        "talk_ms": round(chance.lognormvariate(12.4, 0.6)), "hold_ms": 0, "monitoring": "ok",
    }  # fmt: skip


def _alert(call: dict[str, Any], chance: random.Random) -> dict[str, Any]:
    labels = chance.choices(
        (
            "verbal_abuse",
            "excessive_demand",
            "authority",
            "threat",
            "exposure",
            "discrimination",
            "intrusion",
            "sexual",
        ),
        (40, 18, 12, 8, 8, 6, 4, 4),
    )[0]
    kind = chance.choices(("abuse", "repetition", "overlong", "distress"), (60, 24, 10, 6))[0]
    raised_ms = call["started_ms"] + chance.randrange(60_000, 240_000)
    fields = {name: call[name] for name in ("tenant", "instance", "call_id", "queue", "agent_id", "language", "level")}
    return {
        **fields, "alert_id": call["call_id"], "kind": kind, "labels": labels if kind == "abuse" else "",
        "state": "resolved", "outcome": chance.choices(("harassment", "complaint", "false_alarm"), (78, 15, 7))[0],
        "version": 3, "raised_ms": raised_ms, "body": b"",
        "acknowledged_ms": raised_ms + round(chance.lognormvariate(9.6, 0.7)),
    }  # fmt: skip


def centre() -> list[Script]:
    """Who is on the phone: some calls that go wrong among many that do not."""
    fair: list[Script] = []
    for path in development_files():
        fair += [
            script for script in parse_scripts(path.read_text(encoding="utf-8")) if not script.meta.get("harassing")
        ]
    random.Random(5).shuffle(fair)
    rough = demo_calls()
    return rough + fair[: CALLS_AT_ONCE - len(rough)]


def told(script: Script, number: int) -> Iterator[dict[str, Any]]:
    """A call's events as a live recogniser sends them, with an operator of its own; nobody hangs up during the pictures."""
    for event in with_partials(events_of(script, call_id=f"{script.name}-{number:02d}")):
        agent = {"agent": {"id": f"a-{number + 1:02d}"}} if event["type"] == "call.started" else {}
        if event["type"] != "call.ended":
            yield {**event, **agent}


async def stream(url: str) -> None:
    """Plays all calls, those that go wrong a little later, so that the floor is full when they do."""
    async with IngestClient(url) as client, asyncio.TaskGroup() as group:

        async def play(script: Script, number: int) -> None:
            begun_s = asyncio.get_running_loop().time() + (number % 7 if script.meta.get("harassing") else 0)
            for event in told(script, number):
                at_s = begun_s + event.get("end_ms", event.get("offset_ms", 0)) / 1000 / SPEED
                await asyncio.sleep(max(0.0, at_s - asyncio.get_running_loop().time()))
                await client.send(event)

        for number, script in enumerate(centre()):
            group.create_task(play(script, number))


async def opened(browser: Browser, address: str, *, lang: str, scheme: Any = "light", size: tuple[int, int]) -> Page:
    """A page in one language, one pair of colours and one size."""
    context = await browser.new_context(
        viewport={"width": size[0], "height": size[1]}, locale=lang, color_scheme=scheme, timezone_id="Asia/Tokyo"
    )
    page = await context.new_page()
    await page.goto(address)
    return page


async def take(folder: Path) -> None:
    """Starts server and calls, takes the pictures on the way, and leaves nothing running."""
    os.environ.update(LINKS)
    with tempfile.TemporaryDirectory() as data:
        month(Path(data))
        process = Process(Path(data))
        await process.start()
        host = f"127.0.0.1:{process.port}"
        playing = asyncio.create_task(stream(f"ws://{host}"))
        try:
            async with async_playwright() as playwright:
                browser = await playwright.chromium.launch(executable_path="/usr/bin/chromium", args=list(CHROMIUM))
                await photograph(folder, browser, f"http://{host}", process)
        finally:
            playing.cancel()
            await asyncio.gather(playing, return_exceptions=True)
            await process.kill(signal.SIGKILL)


async def photograph(folder: Path, browser: Browser, address: str, process: Process) -> None:
    """The pictures, in the order in which the calls give occasion for them."""
    wide, phone = (1280, 800), (390, 844)
    floor = await opened(browser, address, lang="ja-JP", size=wide)
    pages = {
        "floor.ja": floor,
        "floor.dark.en": await opened(browser, address, lang="en-US", scheme="dark", size=wide),
        "phone.ja": await opened(browser, address, lang="ja-JP", size=phone),
    }
    await floor.locator("#floor tr.warning").nth(2).wait_for(timeout=WAIT_MS)
    async with httpx.AsyncClient(base_url=address) as client:
        await handle_one(client)
    await floor.locator("#floor tr.critical:not(.over)").first.wait_for(timeout=WAIT_MS)
    worst = await floor.locator("#floor tr.critical:not(.over)").first.get_attribute("data-call")
    circling = await floor.locator("#floor tr", has_text="堂々巡り").first.get_attribute("data-call")
    pages["call.en"] = await opened(browser, f"{address}/#/call/{worst}", lang="en-US", size=wide)
    pages["rounds.ja"] = await opened(browser, f"{address}/#/call/{circling}", lang="ja-JP", size=wide)
    pages["operator.ja"] = await opened(browser, f"{address}/operator.html?call={worst}", lang="ja-JP", size=(420, 330))
    await pages["call.en"].locator(".talk li").nth(3).wait_for(timeout=WAIT_MS)
    await pages["rounds.ja"].locator(".circles li").nth(1).wait_for(timeout=WAIT_MS)
    await pages["operator.ja"].locator(".say p").wait_for(timeout=WAIT_MS)
    for name, page in pages.items():
        await page.screenshot(path=folder / f"{name}.png")
    reports = await opened(browser, f"{address}/#/reports", lang="ja-JP", size=(1280, 1150))
    await reports.locator(".u-wrap").nth(1).wait_for(timeout=WAIT_MS)
    await reports.screenshot(path=folder / "reports.ja.png")
    await process.kill(signal.SIGKILL)
    await floor.locator("#banner").wait_for(timeout=WAIT_MS)
    await floor.screenshot(path=folder / "lost.ja.png")
    await browser.close()


async def handle_one(client: httpx.AsyncClient) -> None:
    """Somebody has taken one of the alerts."""
    alerts = (await client.get("/v1/alerts")).json()["alerts"]
    warnings = [alert for alert in alerts if alert["level"] == "warning"]
    for alert in warnings[:1]:
        await client.post(f"/v1/alerts/{alert['alert_id']}/acknowledge", json={})


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=FOLDER)
    folder: Path = parser.parse_args().out
    folder.mkdir(parents=True, exist_ok=True)
    asyncio.run(take(folder))


if __name__ == "__main__":
    main()

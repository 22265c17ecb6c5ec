"""A real server as a process of its own, and real Chromium."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from websockets.sync.client import connect

from benchmarks.servers import free_port

CHROMIUM = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
)
WAIT_MS = 15_000


class Server:
    """`mamori serve`, started, killed and started again over the same data."""

    def __init__(self, data_dir: Path, *options: str, **environment: str) -> None:
        self.data_dir = data_dir
        self.options = options
        self.environment = environment
        self.port = free_port()
        self.process: subprocess.Popen[str] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-m", "server.cli", "serve"),
                *("--port", str(self.port), "--data-dir", str(self.data_dir)),
                *self.options,
            ],
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1", **self.environment},
        )
        assert self.process.stderr is not None
        for line in self.process.stderr:
            if re.search(r"ready on", line):
                return
        raise AssertionError("the server did not start")

    def kill(self, how: int = signal.SIGKILL) -> None:
        if self.process is not None:
            self.process.send_signal(how)
            self.process.wait()
            assert self.process.stderr is not None
            self.process.stderr.close()
            self.process = None


LINKS = {
    "MAMORI_LINK_LISTEN": "https://pbx.example/listen/{call_id}",
    "MAMORI_LINK_TAKEOVER": "https://pbx.example/take/{call_id}?agent={agent_id}",
}


@pytest.fixture
def environment() -> dict[str, str]:
    """Settings of a test's own; `parametrize` puts others in its place."""
    return {}


@pytest.fixture
def server(tmp_path: Path, environment: dict[str, str]) -> Iterator[Server]:
    running = Server(tmp_path / "data", **LINKS, **environment)
    running.start()
    yield running
    running.kill(signal.SIGTERM)


# Of the module, not of the session: its event loop must be gone before the asynchronous tests of other modules.
@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=CHROMIUM)
        yield chromium
        chromium.close()


class Caller:
    """Streams the events of one call after another and waits until they are durable."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._seqs: dict[str, int] = {}

    def __call__(self, *events: dict, call_id: str = "c-1") -> None:
        with connect(f"ws://127.0.0.1:{self._server.port}/v1/ingest") as socket:
            socket.recv()
            last = self._seqs.get(call_id, -1)
            for event in events:
                last += 1
                socket.send(json.dumps({"call_id": call_id, "seq": last, **event}))
            while (message := json.loads(socket.recv()))["type"] != "ack" or message["seq"] < last:
                assert message["type"] != "nack", message
            self._seqs[call_id] = last


@pytest.fixture
def send(server: Server) -> Caller:
    return Caller(server)


@pytest.fixture
def new_page(browser, server):
    """Opens pages that must not have made a mistake, nor asked any other host, nor broken the policy."""
    contexts = []

    def opened(
        path: str = "/", *, lang: str = "ja-JP", width: int = 1280, height: int = 800, first: str = "", **options
    ):
        context = browser.new_context(viewport={"width": width, "height": height}, locale=lang, **options)
        contexts.append(context)
        if first:
            context.add_init_script(first)
        page = context.new_page()
        page.mistakes = []
        page.on("pageerror", lambda error: page.mistakes.append(str(error)))
        page.on(
            "console", lambda told: page.mistakes.append(told.text) if "Content Security Policy" in told.text else None
        )
        page.on(
            "request",
            lambda asked: (
                None
                if f":{server.port}/" in asked.url or asked.url.startswith(("data:", "blob:"))
                else page.mistakes.append(asked.url)
            ),
        )
        context.pages_made = page
        page.goto(f"{server.url}{path}")
        return page

    yield opened
    mistakes = [mistake for context in contexts for mistake in context.pages_made.mistakes]
    for context in contexts:
        context.close()
    assert mistakes == []


@pytest.fixture
def page(new_page):
    opened = new_page()
    opened.wait_for_selector("#connection:not(.off)", timeout=WAIT_MS)
    return opened

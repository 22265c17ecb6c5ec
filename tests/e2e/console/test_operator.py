"""The operator's page: guidance without transcript text, the help button, and embedding by listed sites alone."""

from __future__ import annotations

import functools
import http.server
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import expect
from websockets.sync.client import connect

from tests.e2e.console.conftest import LINKS, WAIT_MS, Server
from tests.e2e.console.test_console import THREAT, said, started

pytestmark = pytest.mark.needs("chromium")


def test_the_phrase_comes_and_help_is_called(server, send, new_page):
    page = new_page("/operator.html?call=c-1", width=420, height=460)
    expect(page.locator(".mood")).to_contain_text("待って", timeout=WAIT_MS)
    send(started(), said("荷物が届きません"))
    expect(page.locator(".mood")).to_contain_text("通常どおり", timeout=WAIT_MS)
    send(said(THREAT, 2))
    expect(page.locator(".say p")).not_to_be_empty(timeout=WAIT_MS)
    assert THREAT not in page.inner_text("body")
    page.click("#help")
    expect(page.locator("#help")).to_contain_text("知らせました", timeout=WAIT_MS)
    kinds = {alert["kind"]: alert["alert_id"] for alert in httpx.get(f"{server.url}/v1/alerts").json()["alerts"]}
    assert "distress" in kinds
    httpx.post(f"{server.url}/v1/alerts/{kinds['distress']}/acknowledge", json={})
    expect(page.locator(".foot")).to_contain_text("local が対応しています", timeout=WAIT_MS)
    send({"type": "call.ended", "offset_ms": 20000, "reason": "hangup"})
    expect(page.locator(".mood")).to_contain_text("お疲れさま", timeout=WAIT_MS)


def test_a_lost_connection_is_told_to_the_operator(server, send, new_page):
    send(started(), said("荷物が届きません"))
    page = new_page("/operator.html?call=c-1", lang="en-US", width=420, height=460)
    expect(page.locator(".mood")).to_contain_text("All calm", timeout=WAIT_MS)
    server.kill()
    expect(page.locator(".off")).to_contain_text("not being watched", timeout=WAIT_MS)


DESKTOP = """<!doctype html><title>desktop</title><iframe id="mamori" src="{url}/operator.html" width="420" height="460"></iframe>
<script>
  const frame = document.getElementById("mamori");
  frame.onload = () => frame.contentWindow.postMessage({opened}, "{url}");
</script>"""


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_args: object) -> None:
        pass


@pytest.fixture
def desktop(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A site of another origin that embeds pages."""
    folder = tmp_path / "desktop"
    folder.mkdir()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Quiet, directory=folder)) as site:
        thread = threading.Thread(target=site.serve_forever)
        thread.start()
        yield folder, f"http://127.0.0.1:{site.server_port}"
        site.shutdown()
        thread.join()


def made_token(data_dir: Path, role: str) -> str:
    command = [sys.executable, "-m", "server.cli", "token", "create", role, "--role", role, "--data-dir", str(data_dir)]
    told = subprocess.run(command, capture_output=True, text=True, check=True)
    return next(word for word in told.stdout.split() + told.stderr.split() if word.startswith("mmr_"))


@pytest.mark.parametrize("listed", [True, False])
def test_only_a_listed_site_may_embed_the_page(browser, tmp_path, desktop, listed):
    folder, origin = desktop
    origins = json.dumps([origin] if listed else ["https://other.example"])
    server = Server(tmp_path / "data", "--auth", MAMORI_FRAME_ORIGINS=origins, **LINKS)
    server.start()
    try:
        token = made_token(server.data_dir, "operator")
        feed = made_token(server.data_dir, "platform")
        opened = json.dumps({"type": "mamori.open", "call_id": "c-1", "token": token, "language": "ja"})
        (folder / "index.html").write_text(
            DESKTOP.replace("{url}", server.url).replace("{opened}", opened), encoding="utf-8"
        )
        with connect(
            f"ws://127.0.0.1:{server.port}/v1/ingest", additional_headers={"Authorization": f"Bearer {feed}"}
        ) as socket:
            socket.recv()
            for seq, event in enumerate((started(), said(THREAT))):
                socket.send(json.dumps({"call_id": "c-1", "seq": seq, **event}))
            page = browser.new_page()
            page.goto(origin)
            frame = page.frame_locator("#mamori")
            if listed:
                expect(frame.locator(".say p")).not_to_be_empty(timeout=WAIT_MS)
            else:
                page.wait_for_timeout(1500)
                assert frame.locator("#operator").count() == 0
            assert (
                "frame-ancestors 'self';"
                not in httpx.get(f"{server.url}/operator.html").headers["content-security-policy"]
            )
            assert httpx.get(server.url).headers["content-security-policy"].endswith("frame-ancestors 'self'")
            page.close()
    finally:
        server.kill()


def test_signing_in_and_out(browser, tmp_path):
    server = Server(tmp_path / "data", "--auth")
    server.start()
    try:
        subprocess.run(
            [sys.executable, "-m", "server.cli", "user", "add", "hanako", "--role", "supervisor", "--password-stdin", "--data-dir", str(server.data_dir)],
            input="correct horse battery\n", text=True, check=True, capture_output=True,
        )  # fmt: skip
        page = browser.new_context(locale="en-US").new_page()
        page.goto(server.url)
        page.fill("input[name=name]", "hanako")
        page.fill("input[name=password]", "wrong horse battery")
        page.click("button.primary")
        expect(page.locator(".problem")).to_contain_text("wrong", timeout=WAIT_MS)
        page.fill("input[name=password]", "correct horse battery")
        page.click("button.primary")
        page.wait_for_selector("#connection:not(.off)", timeout=WAIT_MS)
        page.click("#leave")
        page.wait_for_selector("#sign-in", timeout=WAIT_MS)
        page.context.close()
    finally:
        server.kill()

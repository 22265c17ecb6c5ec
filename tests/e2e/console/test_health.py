"""What is not well beside the watching stands on the console, quieter than that calls are not watched."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.e2e.console.conftest import LINKS, WAIT_MS, Server, free_port
from tests.server.delivery.receiver import KEY, secret
from tests.server.running import said, started

pytestmark = pytest.mark.needs("chromium")


@pytest.fixture
def server(tmp_path):
    # A receiver that nobody reaches: nothing listens there.
    key = secret(tmp_path, "signing", KEY)
    (tmp_path / "mamori.toml").write_text(
        f'[senders.hook]\nkind = "webhook"\nurl = "http://127.0.0.1:{free_port()}/"\nsecret_file = "{key}"\n'
        'allow_networks = ["127.0.0.0/8"]\n'
    )
    running = Server(tmp_path / "data", "--config", str(tmp_path / "mamori.toml"), **LINKS)
    running.start()
    yield running
    running.kill()


def test_a_receiver_that_is_not_reached_is_shown_and_the_floor_is_not_called_unwatched(send, page):
    assert page.locator("#health").count() == 0
    send(started(), said(1, "殺すぞ、家に火をつけるからな"))
    expect(page.locator("#health")).to_contain_text("通知先に届いていません", timeout=2 * WAIT_MS)
    expect(page.locator("#health")).to_contain_text("hook")
    assert page.locator("#banner").count() == 0
    page.click("#language")
    expect(page.locator("#health")).to_contain_text("A receiver of notifications is not reached")

"""A supervisor's budget outlives a real process that is killed."""

from __future__ import annotations

import json
import signal
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import httpx
from websockets.sync.client import connect

from tests.e2e.console.conftest import Caller, Server
from tests.e2e.console.test_console import said, started

WAIT_S = 15
INSULT = "お前バカじゃないのか、無能"


def heard(socket, count: int) -> list[dict]:
    """The next alerts raised."""
    found: list[dict] = []
    while len(found) < count:
        message = json.loads(socket.recv(WAIT_S))
        if message["type"] == "alert.raised":
            found.append(message)
    return found


def until_stored(path: Path, count: int) -> None:
    """Decisions are written a moment after they are made."""
    deadline = time.monotonic() + WAIT_S
    with closing(sqlite3.connect(path)) as database:
        while database.execute("SELECT count(*) FROM attention").fetchone()[0] < count:
            assert time.monotonic() < deadline
            time.sleep(0.02)


def test_a_killed_server_does_not_fill_the_budgets(tmp_path):
    server = Server(tmp_path / "data", MAMORI_LOUD_ALERTS="2", MAMORI_LOUD_WINDOW_S="600")
    server.start()
    stream = f"ws://127.0.0.1:{server.port}/v1/alerts"
    try:
        send = Caller(server)
        with connect(stream) as socket:
            for number in range(3):
                send(started(), said(INSULT), call_id=f"c-{number}")
            before = heard(socket, 3)
        assert [item["attention"]["loud"] for item in before] == [True, True, False]
        budget = httpx.get(f"{server.url}/v1/attention").json()
        until_stored(tmp_path / "data" / "state.sqlite", 3)
        server.kill(signal.SIGKILL)
        server.start()
        assert httpx.get(f"{server.url}/v1/attention").json() == budget
        with connect(f"{stream}?after=0") as socket:
            send(started(), said(INSULT), call_id="c-9")
            after = heard(socket, 4)
    finally:
        server.kill()
    # What was decided stays so, and the next alert finds the budget spent.
    assert [item["attention"] for item in after[:3]] == [item["attention"] for item in before]
    assert after[3]["attention"] == {"loud": False, "reason": "budget", "muted": 2}

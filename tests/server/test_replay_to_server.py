"""`mamori replay --url` against a server: what is refused is counted and told, and nothing else waits for it."""

from __future__ import annotations

import asyncio
import json

from tests.server.running import ended, over, said, serving, started
from tests.server.test_cli import jsonl, run


async def replayed(server, path, *options: str) -> tuple[int, str, str]:
    url = f"ws://127.0.0.1:{server.port}"
    return await asyncio.to_thread(run, "replay", str(path), "--url", url, *options)


async def test_events_that_the_server_refuses_are_told_and_counted(tmp_path):
    path = tmp_path / "calls.jsonl"
    path.write_text(jsonl(started(), said(1, "もしもし"), ended(2), said(3, "はい"), said(4, "はい")), encoding="utf-8")
    async with serving(tmp_path / "data") as server:
        code, out, err = await replayed(server, path)
        assert (code, out) == (0, "")
        assert "event 3 refused: call_ended" in err
        assert "event 4 refused: call_ended" in err
        assert "3 of 5 events acknowledged" in err


async def test_a_lone_surrogate_stops_nobody_and_the_words_beside_it_count(tmp_path):
    path = tmp_path / "calls.jsonl"
    broken = jsonl(said(1, "PLACE、バカ")).replace("PLACE", "\\ud83d")
    path.write_text(jsonl(started()) + broken + jsonl(said(2, "はい"), ended(3)), encoding="utf-8")
    async with serving(tmp_path / "data") as server:
        code, _, err = await replayed(server, path, "--speed", "1000")
        assert code == 0
        assert "4 of 4 events acknowledged" in err
        await over(server, "c-1")
        (alert,) = server.app.runtime.log.alerts("default", open_only=False)
        assert [piece.text for piece in alert.evidence] == ["\ufffd、バカ"]
    code, out, _ = run("replay", str(path))
    assert code == 0
    assert json.loads(out.splitlines()[0])["alert"]["evidence"][0]["text"] == "\ufffd、バカ"


async def test_a_server_that_wants_a_token_says_so_and_nothing_is_sent(tmp_path):
    path = tmp_path / "calls.jsonl"
    path.write_text(jsonl(started()), encoding="utf-8")
    async with serving(tmp_path / "data", auth=True) as server:
        code, out, err = await replayed(server, path)
        assert (code, out) == (1, "")
        assert err.startswith("Error: ")
        assert "token" in err
        assert server.app.runtime.log.find_call("default", "c-1") is None

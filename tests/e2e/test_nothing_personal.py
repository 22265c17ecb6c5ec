"""A whole session with personal data on every way in, on a real process; then everything that it wrote is searched for them.

Log, metrics, answers to errors, names of files; of the data directory every byte, while the server runs and after. With encryption
nothing of what was said may be there, either; without, nothing that had to be masked.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from server.access.accounts import Accounts
from server.auth import Role, Tokens
from server.storage.keyfile import add_key
from server.storage.statedb import open_engine
from tests.server.running import ended, said, started

CALLER = "090-1234-5678"
PASSWORD = "Kirschbaum-Wolke-77"
WRONG_TOKEN = "mmr_" + "Zz9" * 14 + "A"
SAID = "紫陽花の秘密、バカ"
MASKED = {
    "caller": ("090-1234-5678", "09012345678", "819012345678", "9012345678"),
    "card": ("4111111111111111", "4111 1111 1111 1111", "番号は4929"),
    "phone": ("080-9876-5432", "08098765432", "03-3581-1234"),
    "mail": ("taro.yamada@example.co.jp", "taro.yamada"),
    "house": ("M-123456", "M-654321"),
    "address": ("神南1丁目19", "19-11"),
    "my number": ("123456789018", "1234 5678 9018"),
}
"""What may be nowhere. Nothing so short that ciphertext or a time holds it by chance."""
WORDS = ("紫陽花の秘密", "zanzibar-canary", "夕立の覚え書き")
"""What was said and noted: only in answers to who may see it, and sealed on disk."""


def forms(text: str) -> list[bytes]:
    """A text in the encodings in which it might be written down."""
    plain = text.encode()
    escaped = json.dumps(text)[1:-1].encode()
    shifted = [base64.b64encode(b" " * pad + plain)[4:-4] for pad in range(3)]
    return [
        plain,
        escaped,
        text.encode("utf-16-le"),
        text.encode("shift_jis", "ignore"),
        *(s for s in shifted if len(s) > 8),
    ]


def found_in(content: bytes, *texts: str) -> list[str]:
    return [text for text in texts if any(form and form in content for form in forms(text))]


class Server:
    """`mamori serve` with authentication, everything it says kept."""

    def __init__(self, folder: Path, *, encrypted: bool) -> None:
        self.data, self.log = folder / "data", folder / "log.txt"
        self._config = folder / "mamori.toml"
        sender = folder / "hook.keys"
        sender.write_text("whsec_" + base64.b64encode(b"k" * 32).decode() + "\n", encoding="utf-8")
        sender.chmod(0o600)
        text = f"""data_dir = '{self.data}'
auth = true
log_level = "debug"
min_free_mb = 0
idle_end_s = 3600
port = 0
[redact]
"会員番号" = 'M-\\d{{6}}'
[senders.hook]
kind = "webhook"
url = "http://127.0.0.1:9/hook"
allow_networks = ["127.0.0.0/8"]
secret_file = '{sender}'
transcript = true
"""
        if encrypted:
            add_key(folder / "keys")
            text += f"[encryption]\nkey_file = '{folder / 'keys'}'\n"
        self._config.write_text(text, encoding="utf-8")
        self.data.mkdir(mode=0o700)
        self.secrets = {}
        tokens = Tokens(open_engine(self.data / "state.sqlite"))
        for role in (Role.PLATFORM, Role.LEAD, Role.SUPERVISOR):
            _, self.secrets[role] = tokens.create(name=role.value, tenant="default", role=role)
        Accounts(open_engine(self.data / "state.sqlite")).add(
            name="hanako", password=PASSWORD, tenant="default", role=Role.SUPERVISOR, queues=None
        )

    async def start(self) -> None:
        with self.log.open("ab") as out:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "server.cli", "serve", "--config", str(self._config)),
                stdout=out,
                stderr=out,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
            )
        while b"ready on" not in (content := self.log.read_bytes()):
            assert self._process.returncode is None, content.decode()
            await asyncio.sleep(0.05)
        self.port = int(content.rpartition(b"ready on http://127.0.0.1:")[2].partition(b"/")[0])

    def kill(self) -> None:
        """Ends it if it still runs, as after a check that failed."""
        with contextlib.suppress(ProcessLookupError, AttributeError):
            self._process.kill()

    async def stop(self) -> None:
        self._process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(self._process.wait(), 30) in (0, -signal.SIGTERM)

    def bearer(self, role: Role) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.secrets[role]}"}

    def socket(self, path: str, role: Role) -> Any:
        return connect(f"ws://127.0.0.1:{self.port}{path}", additional_headers=self.bearer(role), open_timeout=30)


GOOD = [
    started(
        caller={"number": CALLER},
        agent={"id": "a-1", "name": "operator"},
        metadata={"note": "連絡先 080-9876-5432、taro.yamada@example.co.jp", "ticket": "77120"},
    ),
    said(1, SAID, is_final=False, segment_id="s1"),
    said(2, f"{SAID}、電話は080-9876-5432", segment_id="s1"),
    said(3, "カードは4111 1111 1111 1111、会員M-123456です", is_final=False, segment_id="s3"),
    said(4, "カードは4111 1111 1111 1111、会員M-123456です", segment_id="s3"),
    said(5, "マイナンバーは1234 5678 9018、住所は渋谷区神南1丁目19-11", segment_id="s5"),
    said(6, "〇三の三五八一の一二三四、taro.yamada@example.co.jp zanzibar-canary", segment_id="s6"),
    *(said(7 + n, group, start_ms=40_000 + n * 2000, end_ms=40_900 + n * 2000) for n, group in enumerate(("番号は4929", "1234", "5678"))),
    {"type": "agent.help", "call_id": "c-1", "seq": 10, "offset_ms": 50_000, "note": "夕立の覚え書き 080-9876-5432 M-654321"},
]  # fmt: skip
BAD = [
    f'{{"type": "transcript.segment", "text": "{SAID} 080-9876-5432 zanzibar-canary',
    json.dumps({"type": SAID, "call_id": "c-1", "seq": 11}),
    json.dumps({**said(11, "x"), "speaker": SAID}),
    json.dumps({**said(11, "x"), "text": {"zanzibar-canary": CALLER}}),
    json.dumps({**said(11, f"{SAID} {CALLER}"), "start_ms": CALLER}),
    json.dumps(said(11, SAID * 1_700), ensure_ascii=False),
    json.dumps({**started(11), "caller": {"number": [CALLER]}}),
    json.dumps({**started(11), "metadata": {"zanzibar-canary": 5}}),
    json.dumps({**said(11, SAID), "at": f"yesterday {CALLER}"}),
    json.dumps([[SAID], SAID, 5]),
    json.dumps({"type": "resume", "call_ids": [{"zanzibar-canary": CALLER}]}),
]


async def talk(server: Server) -> bytes:
    """A platform: everything good is acknowledged, everything bad answered; returns the answers."""
    answers = b""
    async with server.socket("/v1/ingest", Role.PLATFORM) as socket:
        await socket.recv()
        for event in GOOD:
            await socket.send(json.dumps(event, ensure_ascii=False))
        acked, refused = -1, 0
        while acked < len(GOOD) - 1:
            message = json.loads(await asyncio.wait_for(socket.recv(), 30))
            acked = message["seq"] if message["type"] == "ack" else acked
        for frame in BAD:
            await socket.send(frame)
        while refused < len(BAD):
            told = str(await asyncio.wait_for(socket.recv(), 30)).encode()
            answers += told
            refused += json.loads(told)["type"] in ("nack", "error")
        await socket.send(f"{SAID} {CALLER}".encode()[:-1] + b"\xff", text=True)
        with contextlib.suppress(ConnectionClosed):
            while True:
                answers += str(await asyncio.wait_for(socket.recv(), 30)).encode()
        answers += socket.close_reason.encode() if socket.close_reason else b""
    return answers


async def hang_up(server: Server) -> None:
    async with server.socket("/v1/ingest", Role.PLATFORM) as socket:
        await socket.recv()
        await socket.send('{"type": "resume", "call_ids": ["c-1"]}')
        last = json.loads(await asyncio.wait_for(socket.recv(), 30))["calls"]["c-1"]
        await socket.send(json.dumps({**ended(last + 1), "offset_ms": 60_000, "reason": f"hung up {CALLER}"}))
        while json.loads(await asyncio.wait_for(socket.recv(), 30)).get("seq") != last + 1:
            pass


async def supervise(server: Server) -> tuple[bytes, bytes]:
    """A supervisor on the stream: returns what is shown, and the answers to errors."""
    shown = errors = b""
    async with server.socket("/v1/alerts?calls=1", Role.SUPERVISOR) as socket:
        snapshot = json.loads(await asyncio.wait_for(socket.recv(), 30))
        shown += json.dumps(snapshot, ensure_ascii=False).encode()
        alerts = snapshot["alerts"]
        while not alerts:
            message = json.loads(await asyncio.wait_for(socket.recv(), 30))
            shown += json.dumps(message, ensure_ascii=False).encode()
            alerts = [message["alert"]] if message["type"] == "alert.raised" else []
        commands: list[dict[str, Any]] = [
            {"type": "watch", "call_id": "c-1"},
            {"type": f"zanzibar-canary {CALLER}"},
            {"type": "resolve", "alert_id": alerts[0]["alert_id"], "outcome": SAID, "note": CALLER},
            {"type": "resolve", "alert_id": alerts[0]["alert_id"], "outcome": "harassment", "note": {"zanzibar-canary": CALLER}},
            {
                "type": "resolve",
                "alert_id": alerts[0]["alert_id"],
                "outcome": "harassment",
                "note": f"夕立の覚え書き {CALLER} M-654321 taro.yamada@example.co.jp",
            },
        ]  # fmt: skip
        for number, command in enumerate(commands):
            await socket.send(json.dumps({**command, "ref": number}))
            while True:
                message = json.loads(await asyncio.wait_for(socket.recv(), 30))
                text = json.dumps(message, ensure_ascii=False).encode()
                if message.get("type") == "error":
                    errors += text
                else:
                    shown += text
                if message.get("ref") == number:
                    break
        await socket.send(f'{{"type": "{SAID} {CALLER}')
        while json.loads(told := str(await asyncio.wait_for(socket.recv(), 30)))["type"] != "error":
            shown += told.encode()
        errors += told.encode()
    return shown, errors


async def ask(server: Server) -> tuple[bytes, bytes, bytes]:
    """Over HTTP: what is shown, the answers to errors, and the metrics."""
    shown = errors = b""
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.port}", timeout=60) as http:
        lead = server.bearer(Role.LEAD)

        async def refused(status: int, method: str, path: str, **how: Any) -> None:
            nonlocal errors
            answer = await http.request(method, path, **{"headers": lead, **how})
            assert answer.status_code == status, (path, answer.status_code, answer.text)
            errors += answer.content + str(answer.headers).encode()

        await refused(401, "GET", "/v1/calls", headers={"Authorization": f"Bearer {WRONG_TOKEN}"})
        await refused(401, "GET", f"/v1/calls?token={server.secrets[Role.LEAD]}", headers={})
        await refused(
            401, "POST", "/v1/session", json={"name": "hanako", "password": f"zanzibar-canary {CALLER}"}, headers={}
        )
        await refused(
            422, "POST", "/v1/session", json={"name": {"zanzibar-canary": 1}, "password": PASSWORD}, headers={}
        )
        await refused(422, "POST", "/v1/calls/c-1/flag", json={"segment_id": {"x": SAID}, "note": [CALLER]})
        await refused(
            422, "POST", "/v1/calls/c-1/flag", json={"segment_id": "s1", "labels": ["zanzibar-canary"], "note": CALLER}
        )
        await refused(404, "POST", "/v1/calls/c-1/flag", json={"segment_id": "s-none", "note": f"{SAID} {CALLER}"})
        await refused(422, "POST", "/v1/classify", json={"items": [{"text": f"{SAID} {CALLER}", "language": SAID}]})
        await refused(422, "POST", "/v1/classify", content=f'{{"items": [{{"text": "{SAID} {CALLER}'.encode())
        await refused(422, "POST", "/v1/callers/delete", json={"caller": {"number": CALLER}})
        await refused(422, "POST", "/v1/callers/export", json={"caller_key": CALLER})
        await refused(
            404, "POST", "/v1/alerts/none/resolve", json={"outcome": "harassment", "note": f"{SAID} {CALLER}"}
        )
        await refused(400, "POST", "/v1/incidents/verify", json={"incident": f"{SAID} {CALLER}"})
        await refused(
            404, "POST", "/v1/ingest/nobody", content=f"{SAID} {CALLER}".encode(), headers=server.bearer(Role.PLATFORM)
        )
        signed = await http.post("/v1/session", json={"name": "hanako", "password": PASSWORD})
        assert signed.status_code == 200
        for path, body in (
            ("/v1/classify", {"items": [{"text": f"{SAID} {CALLER}", "context": [f"agent: {CALLER}"]}]}),
            (
                "/v1/calls/c-1/flag",
                {"segment_id": "s1", "labels": ["threat"], "note": f"夕立の覚え書き {CALLER} M-654321"},
            ),
            ("/v1/calls/c-1/help", {"note": f"夕立の覚え書き {CALLER}"}),
            ("/v1/callers/export", {"caller": CALLER, "personal": True}),
        ):
            answer = await http.post(path, json=body, headers=lead)
            assert answer.status_code == 200, answer.text
            shown += answer.content
        for path in (
            "calls",
            "calls/c-1",
            "calls/c-1/events",
            "alerts?state=all",
            "calls/c-1/incident?personal=true",
            "delivery/outbox?state=pending",
        ):
            answer = await http.get(f"/v1/{path}", headers=lead)
            assert answer.status_code == 200, (path, answer.text)
            shown += answer.content
        metrics = (await http.get("/metrics", headers=lead)).content
        metrics += (await http.get("/readyz")).content + (await http.get("/healthz")).content
    return shown, errors, metrics


def check_directory(folder: Path, texts: tuple[str, ...]) -> None:
    """No byte and no name of any file in a folder holds any of the texts."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert len(files) > 3
    held = {str(path): found for path in files if (found := found_in(path.read_bytes(), *texts))}
    assert held == {}
    names = "\n".join(str(path.relative_to(folder)) for path in folder.rglob("*")).encode()
    assert found_in(names, *texts, *WORDS) == []


@pytest.mark.parametrize("encrypted", [True, False], ids=["encrypted", "plain"])
async def test_nothing_personal_is_written_down_anywhere(tmp_path, encrypted):
    server = Server(tmp_path, encrypted=encrypted)
    try:
        await session(server, encrypted=encrypted)
    finally:
        server.kill()


async def session(server: Server, *, encrypted: bool) -> None:
    secrets = (*server.secrets.values(), PASSWORD, WRONG_TOKEN)
    masked = tuple(text for texts in MASKED.values() for text in texts)
    kept_off_disk = (*masked, *secrets, *(WORDS if encrypted else ()))
    await server.start()
    refusals = await talk(server)
    shown, errors = await supervise(server)
    more_shown, more_errors, metrics = await ask(server)
    shown, errors = shown + more_shown, errors + more_errors
    check_directory(server.data, kept_off_disk)
    await hang_up(server)
    await server.stop()
    check_directory(server.data, kept_off_disk)
    await server.start()
    await server.stop()
    check_directory(server.data, kept_off_disk)
    log = server.log.read_bytes()
    assert b"DEBUG" in log
    # uvicorn's own for a frame that is no UTF-8; it quotes one byte.
    assert log.count(b"Traceback") == log.count(b"Invalid UTF-8 sequence") == 1
    assert len(refusals) > 500
    assert found_in(shown, *WORDS) == list(WORDS), "the session must have carried what is searched for"
    assert found_in(shown, *masked, *secrets) == []
    for name, content in {"log": log, "nacks": refusals, "errors": errors, "metrics": metrics}.items():
        assert (name, found_in(content, *masked, *secrets, *WORDS)) == (name, [])

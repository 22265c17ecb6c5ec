"""`mamori demo`: a real server on loopback, and a simulated contact centre that streams calls into it over its websocket."""

from __future__ import annotations

import asyncio
import contextlib
import random
import secrets
import signal
import tempfile
import threading
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any, Final

import click

from detector.adapters.frame import Format
from models.corpus.callscript import Script, events_of, parse_scripts
from server.cli import run_server
from server.client import IngestClient
from server.format_demo import FormatStage
from server.settings import load_settings

STAGGER_S: Final = 6.0
"""A new call starts so many (accelerated) seconds after the last."""
PARTIAL_CHARS: Final = 6
"""A partial is sent for each so many characters spoken."""
AT_ONCE: Final = 12
DEMO_URL: Final = "http://127.0.0.1"
"""What the demo's Twilio signs its webhooks over; nobody else has to reach it."""


def demo_calls() -> list[Script]:
    """The calls that ship with the demo."""
    text = resources.files("server").joinpath("demo_calls.txt").read_text(encoding="utf-8")
    return parse_scripts(text)


def with_partials(events: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Puts growing partials before each final, as a live recogniser does; numbering is left to the client."""
    for event in events:
        event.pop("seq")
        if event["type"] == "transcript.segment" and len(event["text"]) > 2 * PARTIAL_CHARS:
            text, start_ms, end_ms = event["text"], event["start_ms"], event["end_ms"]
            for upto in range(PARTIAL_CHARS, len(text), PARTIAL_CHARS):
                so_far = start_ms + (end_ms - start_ms) * upto // len(text)
                yield {**event, "text": text[:upto], "end_ms": so_far, "is_final": False}
        yield event


async def play_call(client: IngestClient, script: Script, call_id: str, speed: float) -> None:
    """Streams one call at `speed` times real time."""
    loop = asyncio.get_running_loop()
    started_s = loop.time()
    for event in with_partials(events_of(script, call_id=call_id)):
        at_ms = event.get("end_ms", event.get("offset_ms", 0))
        await asyncio.sleep(max(0.0, started_s + at_ms / 1000 / speed - loop.time()))
        await client.send(event)


async def play(url: str, *, speed: float, once: bool, stage: FormatStage | None = None) -> int:
    """Streams the demo's calls, a few at once, over and over unless `once`.

    Args:
        stage: tells them in a platform's format instead of our own.

    Returns:
        How many calls were played.
    """
    scripts = demo_calls()
    order = random.Random(7)
    slots = asyncio.Semaphore(AT_ONCE)
    played = 0
    async with contextlib.AsyncExitStack() as stack:
        client = await stack.enter_async_context(IngestClient(url)) if stage is None else None
        if stage is not None:
            await stack.enter_async_context(stage.open())
        group = await stack.enter_async_context(asyncio.TaskGroup())

        async def run(script: Script, call_id: str) -> None:
            async with slots:
                if client is not None:
                    await play_call(client, script, call_id, speed)
                elif stage is not None:
                    events = with_partials(events_of(script, call_id=call_id))
                    await stage.play(events, call_id=call_id, language=script.language, speed=speed)

        while True:
            order.shuffle(scripts)
            for script in scripts:
                played += 1
                group.create_task(run(script, f"{script.name}-{played:03d}"))
                await asyncio.sleep(STAGGER_S / speed)
            if once:
                break
            async with slots:
                pass
    return played


def twilio_token(folder: Path) -> Path:
    """A file with an auth token of the demo's own, so that its webhooks are signed as real ones are."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "demo-twilio-token"
    if not path.exists():
        path.touch(mode=0o600)
        path.write_text(secrets.token_hex(16), encoding="ascii")
    return path


def run_demo(*, port: int, speed: float, once: bool, data_dir: Path | None, form: Format | None = None) -> None:
    """Runs server and contact centre until interrupted, or until all calls were played once.

    Args:
        form: the contact centre speaks this platform's format.
    """
    with contextlib.ExitStack() as stack:
        folder = data_dir or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mamori-demo-")))

        def announce(bound: int) -> None:
            click.echo(f"console: http://127.0.0.1:{bound}/   (Ctrl+C stops)")
            thread = threading.Thread(target=feed, args=(bound,), name="demo-feed", daemon=True)
            thread.start()

        secrets_: dict[str, Any] = {}
        if form is not None and form.name == "twilio":
            secrets_ = {"twilio_auth_token_file": twilio_token(folder), "public_url": DEMO_URL}

        def feed(bound: int) -> None:
            stage = None
            if form is not None:
                token = secrets_["twilio_auth_token_file"].read_text() if secrets_ else ""
                stage = FormatStage(form, f"http://127.0.0.1:{bound}", public_url=DEMO_URL, secret=token)
            played = asyncio.run(play(f"ws://127.0.0.1:{bound}", speed=speed, once=once, stage=stage))
            click.echo(f"{played} calls played")
            if once:
                signal.raise_signal(signal.SIGINT)

        with contextlib.suppress(KeyboardInterrupt):
            run_server(
                load_settings(None, {"log_level": "warning", "port": port, "data_dir": folder, **secrets_}),
                announce=announce,
            )

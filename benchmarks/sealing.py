"""What encryption at rest costs: microseconds per value, and what the log takes a second with it and without.

    python -m benchmarks.sealing [--events 100000] [--rounds 5] [--json FILE]

The two logs take turns within one run, so that a neighbour on the machine slows both. Throughput is that of the log's own thread:
batches of 50 events, each batch one call of `append`, everything durable in the end. The CPU time of the process is what the log
and the sealing really cost; the rest is waiting for the disk.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from detector.events import Segment
from detector.labels import Speaker
from server.storage import codec
from server.storage.embedded import EmbeddedLog
from server.storage.port import Batch, Row
from server.storage.vault import PLAIN, Key, Vault

TEXT = "先週の水曜日に注文した品物がまだ届いていないのですが、いつ届くのか調べていただけますか"
BATCH = 50
CALLS = 1_000


def rows(count: int) -> list[Row]:
    """Final segments of 20 to 45 characters on many calls, no two alike."""
    return [
        Row(
            tenant="default", instance=f"c{number % CALLS}@1", kind="transcript.segment", utc_ms=number, seq=number // CALLS,
            value=Segment(
                segment_id=f"s{number}", speaker=Speaker.CUSTOMER, text=f"{number}、{TEXT[: 14 + number % 25]}",
                start_ms=number, end_ms=number + 1,
            ),
        )
        for number in range(count)
    ]  # fmt: skip


def per_value(vault: Vault, made: list[Row]) -> dict[str, float]:
    """Microseconds to encode, seal and open one event of the log."""
    began_s = time.perf_counter()
    plain = [codec.encode(row.value) for row in made]
    encoded_s = time.perf_counter()
    names = [codec.row_name(row.instance, row.kind, at, row.utc_ms, row.seq) for at, row in enumerate(made)]
    sealed = [vault.seal("default", "log/2026-01-01", name, value) for name, value in zip(names, plain, strict=True)]
    sealed_s = time.perf_counter()
    for name, value in zip(names, sealed, strict=True):
        vault.open("default", "log/2026-01-01", name, value)
    opened_s = time.perf_counter()
    count = len(made)
    return {
        "bytes": sum(map(len, plain)) / count,
        "bytes_sealed": sum(map(len, sealed)) / count,
        "encode_us": (encoded_s - began_s) / count * 1e6,
        "seal_us": (sealed_s - encoded_s) / count * 1e6,
        "open_us": (opened_s - sealed_s) / count * 1e6,
    }


def through_log(vault: Vault, made: list[Row]) -> tuple[float, float, int]:
    """Events a second until all are durable, CPU microseconds per event, bytes on disk."""
    with tempfile.TemporaryDirectory() as folder:
        log = EmbeddedLog(Path(folder), vault=vault)
        cpu_s, began_s = time.process_time(), time.perf_counter()
        futures = [log.append(Batch(rows=made[at : at + BATCH])) for at in range(0, len(made), BATCH)]
        for future in futures:
            future.result()
        took_s, cpu_s = time.perf_counter() - began_s, time.process_time() - cpu_s
        log.close()
        size = sum(path.stat().st_size for path in Path(folder).rglob("*.sqlite"))
    return len(made) / took_s, cpu_s / len(made) * 1e6, size


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args()
    made = rows(chosen.events)
    vault = Vault([Key(key_id="k1", secret=os.urandom(32))])
    each = per_value(vault, made)
    runs: dict[str, list[tuple[float, float, int]]] = {"off": [], "on": []}
    for number in range(chosen.rounds):
        for name in ("off", "on") if number % 2 else ("on", "off"):
            runs[name].append(through_log(vault if name == "on" else PLAIN, made))
    print(
        f"per event        encode {each['encode_us']:.2f} us, seal {each['seal_us']:.2f} us, open {each['open_us']:.2f} us"
    )
    print(f"bytes per event  {each['bytes']:.0f} plain, {each['bytes_sealed']:.0f} sealed")
    figures: dict[str, Any] = {"per_value": each}
    for name, found in runs.items():
        rate, cpu_us = (statistics.median(run[at] for run in found) for at in (0, 1))
        size = found[0][2]
        figures[name] = {"events_per_s": rate, "cpu_us_per_event": cpu_us, "bytes_on_disk": size}
        print(
            f"encryption {name:3}   {rate:9,.0f} events/s   {cpu_us:5.1f} us CPU an event   {size / 1e6:.1f} MB on disk"
        )
    if chosen.json is not None:
        chosen.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

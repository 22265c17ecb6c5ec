"""A cluster on one machine with a simulated contact centre: three NATS servers, PostgreSQL, two gateways, two workers.

    make cluster-demo

Calls stream into the first gateway; the console of either shows them. Ctrl+C stops everything and leaves nothing behind.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sys
import tempfile
from pathlib import Path

from benchmarks.cluster_members import cluster
from benchmarks.servers import NoServerError
from server.demo import play


def main() -> None:
    """Runs until interrupted, or until all calls were played once."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--speed", type=float, default=4.0, help="times real time")
    parser.add_argument("--once", action="store_true", help="play the calls once and end")
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mamori-cluster-", ignore_cleanup_errors=True) as folder:
        try:
            with (
                contextlib.suppress(KeyboardInterrupt),
                cluster(
                    Path(folder), gateways=2, workers=arguments.workers, nats_servers=3,
                    told=lambda step: print(f"starting {step}", flush=True),
                ) as running,
            ):  # fmt: skip
                for gateway in running.gateways:
                    print(f"console: http://127.0.0.1:{gateway.port}/", flush=True)
                for worker in running.workers:
                    print(f"worker:  process {worker.process.pid}; try kill -9, the others take over", flush=True)
                print("Ctrl+C stops", flush=True)
                url = f"ws://127.0.0.1:{running.gateways[0].port}"
                played = asyncio.run(play(url, speed=arguments.speed, once=arguments.once))
                print(f"{played} calls played")
        except (NoServerError, RuntimeError) as error:
            sys.exit(str(error))


if __name__ == "__main__":
    main()

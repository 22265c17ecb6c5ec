"""How fast utterances are scored: alone, in batches, through the engine with the mix of a real floor, and against others.

    python -m benchmarks.inference [--model DIR] [--workers 2] [--json FILE]

The mix is that of the target: as many operators' as customers' finals, customers' with their context, no two alike beyond
backchannels. They are the corpus's own items, so half of the customers' are abuse or sound like it, which is read twice: a
floor of ordinary calls is faster. `--rivals` adds other ways to serve the model and a classifier of BERT-base's size (needs the
extra `torch`). Prints tables and writes JSON.
"""

from __future__ import annotations

import json
import platform
import random
import statistics
import time
from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import click
import onnxruntime

from detector.labels import Speaker
from detector.scoring import Scorer, ScoreRequest, ScoreResult
from models.corpus.schema import SPLITS, read_split, turns
from models.engine import Engine
from models.onnx_scorer import OnnxScorer, Prepared
from models.scorer import BUNDLED, FIRST, load_scorer
from models.tokenisation import BUCKETS

BACKCHANNEL_SHARE = 0.15
"""Share of customers' finals that are 「はい」 and the like."""


def load_mix(count: int, seed: int = 3) -> list[ScoreRequest]:
    """`count` requests, half of them operators'."""
    rng = random.Random(seed)
    items = [item for split in SPLITS for item in read_split(split)]
    customers = [item for item in items if item.speaker == "customer" and 8 <= len(item.text) <= 160]
    agents = [item for item in items if item.speaker == "agent"] or customers
    requests: list[ScoreRequest] = []
    for number in range(count):
        agent = number % 2 == 1
        item = rng.choice(agents if agent else customers)
        backchannel = not agent and rng.random() < BACKCHANNEL_SHARE
        text = rng.choice(["はい", "ええ", "そうです", "yes", "okay"]) if backchannel else f"{item.text}{number}"
        context = turns(item.context) or turns([f"agent: {rng.choice(agents).text}"])
        requests.append(
            ScoreRequest(
                request_id=str(number),
                text=text,
                language=item.language,
                speaker=Speaker.AGENT if agent else Speaker.CUSTOMER,
                context=context,
            )
        )
    return requests


def best_of(work: Any, rounds: int = 7) -> float:
    """Shortest of several runs, in seconds."""
    times = []
    for _ in range(rounds):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return min(times)


def by_length(scorer: OnnxScorer, requests: list[ScoreRequest]) -> list[dict[str, float]]:
    """Milliseconds and inputs a second per padded length, alone and in batches of 8."""
    prepared = [scorer.prepare(request) for request in requests]
    rows = []
    for length in BUCKETS:
        members: list[Prepared] = [item for item, padded in prepared if padded == length][:8]
        if len(members) == 8:
            alone, batch = best_of(lambda m=members: scorer.run(m[:1])), best_of(lambda m=members: scorer.run(m))
            rows.append({"tokens": length, "alone_ms": alone * 1e3, "alone_per_s": 1 / alone, "batch_per_s": 8 / batch})
    return rows


def through_engine(scorer: Scorer, requests: list[ScoreRequest], workers: int) -> dict[str, float]:
    """All requests at once: what the engine gets through, cache on."""
    engine = Engine(scorer, workers=workers, max_queue=len(requests))
    started = time.perf_counter()
    futures = [engine.submit(request) for request in requests]
    answers = [future.result() for future in futures]
    seconds = time.perf_counter() - started
    health = engine.health
    engine.close()
    scored = sum(isinstance(answer, ScoreResult) for answer in answers)
    return {"workers": workers, "per_s": scored / seconds, "cached_share": health.cached / len(requests)}


def paced(scorer: Scorer, requests: list[ScoreRequest], workers: int, rate: float) -> dict[str, float]:
    """Requests at a steady rate: time from submission to answer."""
    engine = Engine(scorer, workers=workers)
    latencies: list[float] = []
    started = time.perf_counter()
    futures = []
    for number, request in enumerate(requests):
        due = started + number / rate
        while (wait := due - time.perf_counter()) > 0:
            time.sleep(wait)
        sent = time.perf_counter()
        future = engine.submit(request)
        future.add_done_callback(lambda _, sent=sent: latencies.append(time.perf_counter() - sent))
        futures.append(future)
    for future in futures:
        future.result()
    engine.close()
    latencies.sort()
    return {
        "rate_per_s": rate,
        "p50_ms": statistics.median(latencies) * 1e3,
        "p99_ms": latencies[int(len(latencies) * 0.99)] * 1e3,
    }


@click.command()
@click.option("--model", type=click.Path(path_type=Path), default=BUNDLED, help="Packed model.  [default: bundled]")
@click.option("--count", type=int, default=4000, show_default=True, help="Requests in the mix.")
@click.option("--workers", type=int, default=2, show_default=True)
@click.option("--rate", type=float, default=800.0, show_default=True, help="Requests a second of the paced run.")
@click.option("--rivals", is_flag=True, help="Compare with other ways to serve and a larger classifier.")
@click.option("--json", "target", type=click.Path(path_type=Path), help="Where the figures go.")
def main(model: Path, count: int, workers: int, rate: float, rivals: bool, target: Path | None) -> None:
    """Measure inference."""
    started = time.perf_counter()
    served = load_scorer(model)
    loaded = time.perf_counter() - started
    scorer = OnnxScorer(model)
    first = OnnxScorer(model / FIRST) if (model / FIRST).is_dir() else None
    requests = load_mix(count)
    lengths = Counter(scorer.prepare(request)[1] for request in requests)
    fresh = [replace(request, text=request.text + " ") for request in requests]
    prepare_s = best_of(lambda: [scorer.prepare(request) for request in fresh[:500]], 3) / 500
    sample = requests[:200]
    identical = served.score(sample) == [served.score([request])[0] for request in sample]
    figures: dict[str, Any] = {
        "model_version": served.model_version,
        "cpu": platform.processor() or platform.machine(),
        "onnxruntime": onnxruntime.__version__,
        "load_s": loaded,
        "prepare_us": prepare_s * 1e6,
        "tokens_mean": sum(length * share for length, share in lengths.items()) / count,
        "lengths": {str(length): share / count for length, share in sorted(lengths.items())},
        "identical_alone_and_in_a_batch": identical,
        "by_length": by_length(scorer, requests),
        "first_by_length": by_length(first, requests) if first else [],
        "engine": [through_engine(served, requests, found) for found in sorted({1, workers})],
        "paced": paced(served, requests, workers, rate),
    }
    if rivals:
        from benchmarks.inference_rivals import compare  # noqa: PLC0415 - needs the extra

        figures["rivals"] = [asdict(pace) for pace in compare(model, requests[:200])]
    click.echo(
        f"{figures['model_version']}: loaded in {loaded:.2f} s, {figures['tokens_mean']:.1f} padded tokens a segment"
    )
    click.echo(f"identical alone and in a batch: {identical}; preparing an input takes {figures['prepare_us']:.0f} µs")
    for name, rows in (("deep", figures["by_length"]), ("first", figures["first_by_length"])):
        for row in rows:
            click.echo(
                f"  {name:5} {row['tokens']:3} tokens  {row['alone_ms']:6.2f} ms alone  "
                f"{row['batch_per_s']:7.0f}/s in batches of 8"
            )
    for row in figures["engine"]:
        click.echo(
            f"  engine, {row['workers']} workers: {row['per_s']:.0f}/s ({row['cached_share']:.1%} from the cache)"
        )
    row = figures["paced"]
    click.echo(f"  paced at {row['rate_per_s']:.0f}/s: p50 {row['p50_ms']:.1f} ms, p99 {row['p99_ms']:.1f} ms")
    for pace in figures.get("rivals", ()):
        share = f"  {pace['gops']:.0f} Gop/s, {pace['peak_share']:.0%} of the core's peak" if pace["gops"] else ""
        click.echo(
            f"  {pace['name']:42} {pace['per_s']:6.0f}/s  p50 {pace['p50_ms']:6.2f}  p99 {pace['p99_ms']:6.2f} ms{share}"
        )
    if target is not None:
        target.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

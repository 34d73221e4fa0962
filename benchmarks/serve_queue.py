"""The server's queue alone, simulated: rates, waits and padding at several settings.

Texts have the lengths of MultiNLI pairs. A batch takes the time of its tokens, with padding, and of a call.
Either so many clients ask again as soon as they are answered, or texts come at three times the encoder's
rate and as many are taken as the server's queue holds. Nothing is measured, so figures are the same anywhere.

Run: python benchmarks/serve_queue.py --data DATA    (a minute)
"""

import argparse
import json
import random
from collections.abc import Iterator
from itertools import islice, product
from pathlib import Path
from typing import NamedTuple

from debertav3.inference.batching import Encoding
from debertav3.serve import queue
from debertav3.serve.batcher import FILL
from debertav3.serve.limits import Limits
from debertav3.tasks.tables import read_table
from side_by_side import print_json

CHARACTERS_PER_TOKEN = 4.4
OVERLOAD = 3
ENCODERS = {
    "nano": (66_000.0, 13.0),
    "xsmall": (10_500.0, 12.0),
    "xsmall, slow": (5_000.0, 12.0),
    "a costly call": (66_000.0, 40.0),
}
"""Tokens a second, and the cost of a call in tokens."""


class Seen(NamedTuple):
    """What came of it."""

    texts_a_second: float
    p50: float
    """Seconds."""
    p99: float
    texts_a_batch: float
    padding: float
    """Per token of text."""


def lengths_of(data: Path, count: int) -> list[int]:
    """Tokens of pairs, about."""
    rows = islice(read_table(data / "nli" / "mnli_matched_dev.jsonl.gz"), count)
    pairs = ((row.fields["premise"], row.fields["hypothesis"]) for row in rows)
    return [3 + int((len(first) + len(second)) / CHARACTERS_PER_TOKEN) for first, second in pairs]


def simulate(lengths: list[int], cost: queue.BatchCost, *, clients: int | None, seconds: float) -> Seen:
    """Run the queue for so many seconds of its own clock.

    Args:
        lengths: what texts are drawn from.
        cost: of the encoder.
        clients: how many ask again and again; None sends more than can be answered.
        seconds: how long.
    """
    chance, texts = random.Random(0), queue.TextQueue({"m": cost})
    now, padded, tokens, batches = 0.0, 0, 0, 0
    waits: list[float] = []
    came: dict[int, float] = {}

    def come(at: float, length: int) -> None:
        number = len(came)
        came[number] = at
        texts.push("m", [queue.Waiting(number, 0, Encoding([1] * length, []))])

    bound = FILL * cost.rate * Limits().queue_seconds
    gap = sum(lengths) / len(lengths) / cost.rate / OVERLOAD
    arrivals = _arrivals(chance, gap)
    due = next(arrivals)
    for _ in range(clients or 0):
        come(0.0, chance.choice(lengths))
    while now < seconds:
        while clients is None and due <= now:
            length = chance.choice(lengths)
            if texts.num_tokens + length <= bound:
                come(due, length)
            due = next(arrivals)
        if not len(texts):
            now = due
            continue
        _, batch = texts.take(cost.rate)
        size = len(batch) * max(text.length for text in batch)
        now += (cost.call + size) / cost.rate
        padded, tokens = padded + size, tokens + sum(text.length for text in batch)
        batches += 1
        for text in batch:
            assert isinstance(text.owner, int)
            waits.append(now - came[text.owner])
            if clients is not None:
                come(now, chance.choice(lengths))
    waits.sort()
    return Seen(
        texts_a_second=round(len(waits) / now, 1),
        p50=round(waits[len(waits) // 2], 3),
        p99=round(waits[len(waits) * 99 // 100], 3),
        texts_a_batch=round(len(waits) / batches, 1),
        padding=round(padded / tokens - 1, 4),
    )


def _arrivals(chance: random.Random, gap: float) -> Iterator[float]:
    at = 0.0
    while True:
        at += chance.expovariate(1 / gap)
        yield at


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder with nli/")
    parser.add_argument("--pairs", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--padded", type=float, nargs="+", default=[1.0, 0.5, queue.PADDED, 0.12])
    parser.add_argument("--window", type=int, nargs="+", default=[queue.WINDOW])
    parser.add_argument("--window-seconds", type=float, nargs="+", default=[queue.WINDOW_SECONDS, 9.0])
    asked = parser.parse_args()
    lengths, rows = lengths_of(asked.data, asked.pairs), []
    loads = (None, 16, 64, 128)
    settings = product(ENCODERS.items(), loads, asked.window, asked.window_seconds, asked.padded)
    for (name, (rate, call)), clients, queue.WINDOW, queue.WINDOW_SECONDS, queue.PADDED in settings:
        cost = queue.BatchCost(budget=4096, call=call, rate=rate)
        seen = simulate(lengths, cost, clients=clients, seconds=asked.seconds)
        load = f"{OVERLOAD} times too much" if clients is None else f"{clients} clients"
        row = {"encoder": name, "load": load, "window": queue.WINDOW, "padded": queue.PADDED}
        rows.append(row | {"window seconds": queue.WINDOW_SECONDS} | seen._asdict())
        print(json.dumps(rows[-1]), flush=True)
    print_json("serve_queue", rows=rows)


if __name__ == "__main__":
    main()

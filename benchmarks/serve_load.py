"""The server under load on this machine: real NLI pairs of mixed length, one pair a request, over loopback.

Side by side in one run, in alternating rounds: ours; the same engine under a first-come-first-served queue by
padded cost, as text-embeddings-inference plans it; a FastAPI route around stock transformers' pipeline. For
each: requests a second with 1 to 128 connections (each asks again as soon as it is answered), the most of
them with a 99th percentile of at most 200 ms, and what happens at three times saturation. The offline
predictor's rate on the same pairs is measured beside them.

The clients run in this process and take a part of the same processor.

Run: python benchmarks/serve_load.py --data DATA --model models/nano
     python benchmarks/serve_load.py --data DATA          (V3 xsmall shape, random weights)
"""

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from auto_classes import save_model
from debertav3 import Predictor
from debertav3.inference.token_budget import best_batch_tokens
from real_pairs import read_pairs
from serve_contenders import CONTENDERS
from side_by_side import print_json

CONNECTIONS = (1, 4, 16, 64, 128)
BOUND_MS = 200.0


@dataclass
class Round:
    """What the clients saw."""

    seconds: float = 0.0
    milliseconds: dict[int, list[float]] = field(default_factory=dict)
    """By status."""

    @property
    def rate(self) -> float:
        """Answers a second."""
        return len(self.milliseconds.get(200, [])) / self.seconds

    def percentile(self, share: int, status: int = 200) -> float:
        """Milliseconds within which so many percent were answered."""
        found = sorted(self.milliseconds.get(status, []))
        return found[min(len(found) - 1, len(found) * share // 100)] if found else float("nan")


class Connection:
    """One HTTP/1.1 connection, kept alive: as little work of the client's as possible."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.writer: asyncio.StreamWriter | None = None

    async def ask(self, request: bytes) -> int:
        """Send a request and read its answer; returns the status, 0 for a broken connection."""
        try:
            if self.writer is None:
                self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)
            self.writer.write(request)
            head = await self.reader.readuntil(b"\r\n\r\n")
            lower = head.lower()
            length = int(lower.partition(b"content-length:")[2].partition(b"\r\n")[0])
            await self.reader.readexactly(length)
            if b"connection: close" in lower:
                self.close()
            return int(head[9:12])
        except (OSError, asyncio.IncompleteReadError, ValueError):
            self.close()
            return 0

    def close(self) -> None:
        """Close it; the next request opens another."""
        if self.writer is not None:
            self.writer.close()
            self.writer = None


def requests_of(pairs: list[tuple[str, str]]) -> list[bytes]:
    made = []
    for pair in pairs:
        body = json.dumps({"inputs": pair}).encode()
        made.append(b"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body))
    return made


async def closed_loop(port: int, requests: list[bytes], *, connections: int, seconds: float) -> Round:
    """Every connection asks again as soon as it is answered."""
    found, end = Round(), time.perf_counter() + seconds
    started = time.perf_counter()

    async def client(first: int) -> None:
        connection, number = Connection(port), first
        while time.perf_counter() < end:
            asked = time.perf_counter()
            status = await connection.ask(requests[number % len(requests)])
            found.milliseconds.setdefault(status, []).append(1000 * (time.perf_counter() - asked))
            number += connections
        connection.close()

    await asyncio.gather(*(client(number) for number in range(connections)))
    found.seconds = time.perf_counter() - started
    return found


async def open_loop(port: int, requests: list[bytes], *, rate: float, seconds: float) -> Round:
    """Requests come at a rate, whether or not earlier ones are answered."""
    found, tasks = Round(), set()
    idle: list[Connection] = []
    started = time.perf_counter()

    async def one(number: int, due: float) -> None:
        connection = idle.pop() if idle else Connection(port)
        status = await connection.ask(requests[number % len(requests)])
        found.milliseconds.setdefault(status, []).append(1000 * (time.perf_counter() - due))
        idle.append(connection)

    for number in range(int(rate * seconds)):
        due = started + number / rate
        if (wait := due - time.perf_counter()) > 0:
            await asyncio.sleep(wait)
        task = asyncio.ensure_future(one(number, due))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    await asyncio.gather(*tasks)
    found.seconds = time.perf_counter() - started
    for connection in idle:
        connection.close()
    return found


@contextmanager
def serving(name: str, model: Path, port: int) -> Iterator[int]:
    """A contender, ready; gives its process id."""
    script = Path(__file__).with_name("serve_contenders.py")
    process = subprocess.Popen([sys.executable, script, name, "--model", str(model), "--port", str(port)])
    try:
        for _ in range(900):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/ready", timeout=1)
                break
            except OSError:
                time.sleep(0.1)
        yield process.pid
    finally:
        process.terminate()
        process.wait(40)


def memory(pid: int) -> float:
    """Resident memory in MiB."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def offline(model: Path, pairs: list[tuple[str, str]]) -> float:
    """Pairs a second of the predictor, all pairs in one call."""
    predictor = Predictor.from_pretrained(model)
    predictor.engine.batch_tokens = best_batch_tokens(predictor.engine.backend)
    predictor.classify(pairs[:64])
    rates = []
    for _ in range(3):
        started = time.perf_counter()
        predictor.classify(pairs)
        rates.append(len(pairs) / (time.perf_counter() - started))
    return statistics.median(rates)


def measure(asked: argparse.Namespace, model: Path) -> dict[str, Any]:
    pairs = read_pairs(asked.data, asked.pairs)
    requests = requests_of(pairs)
    result: dict[str, Any] = {"offline": round(offline(model, pairs), 1)}
    print(f"offline: {result['offline']} pairs/s", flush=True)
    rounds: dict[str, dict[int, list[Round]]] = {name: {} for name in asked.contenders}
    for number in range(asked.rounds):
        for place, name in enumerate(asked.contenders):
            port = asked.port + number * len(asked.contenders) + place
            with serving(name, model, port) as pid:
                asyncio.run(closed_loop(port, requests, connections=8, seconds=2))
                for connections in CONNECTIONS:
                    found = asyncio.run(
                        closed_loop(port, requests, connections=connections, seconds=asked.seconds)
                    )
                    rounds[name].setdefault(connections, []).append(found)
                    print(
                        f"{name}, {connections} connections: {found.rate:.1f}/s, "
                        f"p50 {found.percentile(50):.0f} ms, p99 {found.percentile(99):.0f} ms",
                        flush=True,
                    )
                if number == asked.rounds - 1 and name != "stock":
                    rate = 3 * max(one.rate for found in rounds[name].values() for one in found)
                    result.setdefault("overload", {})[name] = overload(asked, rate, port, requests, pid)
    for name, by_connections in rounds.items():
        rates = {
            connections: statistics.median(one.rate for one in found)
            for connections, found in by_connections.items()
        }
        within = [
            rates[connections]
            for connections, found in by_connections.items()
            if statistics.median(one.percentile(99) for one in found) <= BOUND_MS
        ]
        result[name] = {
            "saturation": round(max(rates.values()), 1),
            "within 200 ms": round(max(within, default=0.0), 1),
            "p99 alone": round(statistics.median(one.percentile(99) for one in by_connections[1]), 1),
        }
    return result


def overload(
    asked: argparse.Namespace, rate: float, port: int, requests: list[bytes], pid: int
) -> dict[str, Any]:
    """Requests at a rate that the server cannot answer."""
    before = memory(pid)
    found = asyncio.run(open_loop(port, requests, rate=rate, seconds=asked.overload_seconds))
    return {
        "offered": round(rate, 1),
        "answers": {status: len(times) for status, times in sorted(found.milliseconds.items())},
        "p99 accepted": round(found.percentile(99), 1),
        "p99 of 429": round(found.percentile(99, status=429), 1),
        "memory growth": round(memory(pid) / before - 1, 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--pairs", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=8)
    parser.add_argument("--overload-seconds", type=float, default=60)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--port", type=int, default=8900)
    parser.add_argument("--contenders", nargs="+", default=list(CONTENDERS))
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        model = asked.model
        if model is None:
            model = Path(place) / "xsmall"
            save_model(asked.data / "deberta-v3-tokenizer", model)
        print_json("serve_load", **measure(asked, model))


if __name__ == "__main__":
    main()

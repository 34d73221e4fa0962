"""The server under load on this machine: real NLI pairs of mixed length, one pair a request, over loopback.

Side by side in one run, in alternating rounds: ours; the same engine under a first-come-first-served queue by
padded cost, as text-embeddings-inference plans it; a FastAPI route around stock transformers' pipeline. For
each: requests a second with 1 to 256 connections (each asks again as soon as it is answered), and the most of
them with a 99th percentile of at most 200 ms; beside them the offline predictor's rate on the same pairs.
Then for ours: a minute at three times saturation, and clients that hang up. The clients are a process of
their own and take a part of the same processor, so beside the plain rates stand the seconds of the processor
that a request takes: in the server, in the clients, and in the offline predictor for the same pair.

Run: python benchmarks/serve_load.py --data DATA --model models/nano xsmall    (15 minutes)
     python benchmarks/serve_load.py --data DATA --model models/nano --soak 600    (at half load)
"""

import argparse
import json
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from operator import attrgetter
from pathlib import Path
from typing import Any

from auto_classes import save_model
from debertav3 import Predictor
from debertav3.inference.token_budget import best_batch_tokens
from debertav3.serve import Limits
from real_pairs import Pairs, read_pairs
from serve_contenders import CONTENDERS
from side_by_side import print_json

CONNECTIONS = (1, 8, 16, 32, 48, 64, 128, 256)
BOUND_MS = 200.0
OVERLOAD = 3
"""Times saturation."""
XSMALL = "xsmall"


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What the clients saw; times in milliseconds, by status (0: a broken connection)."""

    seconds: float
    asked: int
    answers: dict[str, int]
    p50: dict[str, float]
    p99: dict[str, float]
    connections: int
    client_cpu: float
    """Seconds of the processor that the clients took."""
    server_cpu: float
    """Seconds of the processor that the server took, all its threads."""

    @property
    def rate(self) -> float:
        """Answers a second."""
        return self.answers.get("200", 0) / self.seconds

    def each(self, seconds: float) -> float:
        """Milliseconds of so many seconds for each answer of any kind."""
        return 1000 * seconds / max(1, sum(self.answers.values()))


class Server:
    """One contender while it runs.

    Args:
        pid: its process.
        port: its port.
        bodies: what it is asked.
    """

    def __init__(self, pid: int, port: int, bodies: list[str]) -> None:
        self.pid, self.port, self.bodies = pid, port, bodies

    def ask(self, kind: str, **settings: float) -> Seen:
        """Let clients ask, and wait for what they saw."""
        before = self.cpu
        with self.asking(kind, **settings) as clients:
            found = seen_by(clients)
        found = replace(found, server_cpu=self.cpu - before)
        if kind == "closed" and not found.rate:
            raise SystemExit(f"no request was answered: {found.answers}")
        return found

    @contextmanager
    def asking(self, kind: str, **settings: float) -> "Iterator[subprocess.Popen[str]]":
        """Clients that ask: see ``serve_clients.py``."""
        script = Path(__file__).with_name("serve_clients.py")
        told = json.dumps({"port": self.port, "bodies": self.bodies, "kind": kind, **settings})
        with subprocess.Popen(
            [sys.executable, script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as clients:
            assert clients.stdin is not None
            clients.stdin.write(told + "\n")
            clients.stdin.flush()
            yield clients

    @property
    def memory(self) -> float:
        """Resident memory in MiB."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20

    @property
    def cpu(self) -> float:
        """Seconds of the processor so far, all threads."""
        ticks = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[11:13]
        return sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")

    @property
    def files(self) -> int:
        """Open descriptors."""
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def metric(self, name: str) -> float:
        """A value of ``/metrics``; 0 where it is not there yet."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=10) as answer:
            lines = answer.read().decode().splitlines()
        return next((float(line.split()[-1]) for line in lines if line.startswith(name)), 0.0)


def seen_by(clients: "subprocess.Popen[str]") -> Seen:
    """What clients print at their end."""
    assert clients.stdout is not None
    line = clients.stdout.readline()
    if not line:
        raise SystemExit("the clients failed")
    return Seen(server_cpu=0.0, **json.loads(line))


@contextmanager
def serving(name: str, model: Path, port: int, bodies: list[str]) -> Iterator[Server]:
    """A contender, ready."""
    script = Path(__file__).with_name("serve_contenders.py")
    process = subprocess.Popen([sys.executable, script, name, "--model", str(model), "--port", str(port)])
    try:
        for _ in range(900):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/ready", timeout=1)
                break
            except (OSError, urllib.error.HTTPError):
                time.sleep(0.1)
        yield Server(process.pid, port, bodies)
    finally:
        process.terminate()
        process.wait(40)


def offline(model: Path, pairs: Pairs) -> list[tuple[float, float]]:
    """Pairs a second of the predictor, all pairs in one call, and CPU milliseconds a pair: three times."""
    predictor = Predictor.from_pretrained(model)
    predictor.engine.batch_tokens = best_batch_tokens(predictor.engine.backend)
    predictor.classify(pairs[:64])
    rates = []
    for _ in range(3):
        started, began = time.perf_counter(), time.process_time()
        predictor.classify(pairs)
        seconds, cpu = time.perf_counter() - started, time.process_time() - began
        rates.append((len(pairs) / seconds, 1000 * cpu / len(pairs)))
    return rates


def measure(asked: argparse.Namespace, model: Path) -> dict[str, Any]:
    """All contenders side by side."""
    pairs = read_pairs(asked.data, asked.pairs)
    bodies = [json.dumps({"inputs": pair}) for pair in pairs]
    seen: dict[str, dict[int, list[Seen]]] = {name: {} for name in asked.contenders}
    alone: list[tuple[float, float]] = []
    extra: dict[str, Any] = {}
    for number in range(asked.rounds):
        # In a process of its own, which gives its memory and its threads back.
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
            alone += process.submit(offline, model, pairs).result()
        rate, cpu = (statistics.median(values) for values in zip(*alone, strict=True))
        print(f"offline: {rate:.1f} pairs/s, CPU {cpu:.3f} ms a pair", flush=True)
        for place, name in enumerate(asked.contenders):
            port = asked.port + number * len(asked.contenders) + place
            with serving(name, model, port, bodies) as server:
                server.ask("closed", connections=8, seconds=asked.seconds / 4)
                for connections in CONNECTIONS:
                    found = server.ask("closed", connections=connections, seconds=asked.seconds)
                    seen[name].setdefault(connections, []).append(found)
                    show(f"{name}, {connections} connections", found)
                if name == "ours" and number == asked.rounds - 1:
                    extra["overload"] = overload(server, seen[name], seconds=asked.overload_seconds)
                    extra["hang-ups"] = hang_ups(server, count=asked.hang_ups)
    return {"offline": round(rate, 1), "offline CPU ms": round(cpu, 4), **summary(seen, rate, cpu), **extra}


def show(what: str, found: Seen) -> None:
    """Print one line."""
    print(
        f"{what}: {found.rate:.1f}/s, p50 {found.p50.get('200', 0):.0f} ms, "
        f"p99 {found.p99.get('200', 0):.0f} ms, CPU a request: server {found.each(found.server_cpu):.3f} ms, "
        f"clients {found.each(found.client_cpu):.3f} ms",
        flush=True,
    )


def summary(
    seen: dict[str, dict[int, list[Seen]]], offline_rate: float, offline_cpu: float
) -> dict[str, dict[str, float]]:
    """Each contender's rates: medians over the rounds.

    Args:
        seen: by contender and number of connections.
        offline_rate: pairs a second of the offline predictor.
        offline_cpu: its milliseconds of the processor for a pair.
    """
    result = {}
    for name, by_connections in seen.items():
        rates = {n: statistics.median(one.rate for one in found) for n, found in by_connections.items()}
        within = [
            rates[n]
            for n, found in by_connections.items()
            if statistics.median(one.p99.get("200", 0.0) for one in found) <= BOUND_MS
        ]
        best = max(rates, key=lambda n: rates[n])
        server, clients = (
            statistics.median(one.each(cpu(one)) for one in by_connections[best])
            for cpu in (attrgetter("server_cpu"), attrgetter("client_cpu"))
        )
        result[name] = {
            "saturation": round(rates[best], 1),
            "connections at saturation": best,
            "share of offline": round(rates[best] / offline_rate, 3),
            "CPU ms a request": round(server, 4),
            "clients' CPU ms a request": round(clients, 4),
            "share of offline per CPU second": round(offline_cpu / server, 3) if server else 0.0,
            "within 200 ms": round(max(within, default=0.0), 1),
            "p99 alone": round(statistics.median(one.p99.get("200", 0.0) for one in by_connections[1]), 1),
        }
    return result


def overload(server: Server, seen: dict[int, list[Seen]], *, seconds: float) -> dict[str, Any]:
    """Requests at a rate that the server cannot answer."""
    rate = OVERLOAD * max(one.rate for found in seen.values() for one in found)
    alone = statistics.median(one.p99.get("200", 0.0) for one in seen[1])
    before = server.memory
    found = server.ask("open", rate=rate, seconds=seconds)
    show(f"at {rate:.0f}/s", found)
    return {
        "offered": round(rate, 1),
        "answers": found.answers,
        "answered a second": round(found.answers.get("200", 0) / seconds, 1),
        "p99 accepted": found.p99.get("200"),
        "p99 allowed": round(2 * alone + 1000 * Limits().queue_seconds, 1),
        "p50 and p99 of 429": [found.p50.get("429"), found.p99.get("429")],
        "memory growth": round(server.memory / before - 1, 3),
        "CPU ms a request": round(found.each(found.server_cpu), 4),
        "clients' CPU ms a request": round(found.each(found.client_cpu), 4),
        "connections": found.connections,
    }


def hang_ups(server: Server, *, count: int) -> dict[str, Any]:
    """Clients that ask and leave; afterwards everything is as before."""
    files, skipped = server.files, server.metric("te_predict_skipped")
    left = server.metric('te_request_failure{err="disconnected"}')
    answered = server.ask("hang up", connections=count).answers
    started = time.perf_counter()
    while True:
        texts = server.metric("te_queue_size")
        time.sleep(0.05)  # the connection of that question is closed
        more_files = server.files - files
        seconds = time.perf_counter() - started
        if (not texts and more_files <= 0) or seconds > 60:
            break
    after = server.ask("closed", connections=1, seconds=0.5)
    result = {
        "clients": count,
        "answered before they left": sum(answered.values()),
        "noticed": server.metric('te_request_failure{err="disconnected"}') - left,
        "texts skipped": server.metric("te_predict_skipped") - skipped,
        "seconds until idle": round(seconds, 2),
        "texts waiting": texts,
        "more open files": more_files,
        "answers afterwards": after.answers,
    }
    print(f"{count} clients that hang up: {result}", flush=True)
    return result


def soak(asked: argparse.Namespace, model: Path) -> dict[str, Any]:
    """Half of what the server can, for long: what drifts."""
    bodies = [json.dumps({"inputs": pair}) for pair in read_pairs(asked.data, asked.pairs)]
    with serving("ours", model, asked.port, bodies) as server:
        full = server.ask("closed", connections=64, seconds=asked.seconds)
        show("full load", full)
        rate, samples = full.rate / 2, []
        started = time.perf_counter()
        with server.asking("open", rate=rate, seconds=asked.soak) as clients:
            while clients.poll() is None and time.perf_counter() - started < asked.soak:
                time.sleep(min(asked.soak / 60, 10.0))
                samples.append((server.memory, server.files))
                if len(samples) % 6 == 0:
                    print(f"{len(samples)}: {samples[-1][0]:.1f} MiB, {samples[-1][1]} files", flush=True)
            found = seen_by(clients)
        show(f"at {rate:.0f}/s", found)
        quarter = max(1, len(samples) // 4)
        first = statistics.median(memory for memory, _ in samples[:quarter])
        last = statistics.median(memory for memory, _ in samples[-quarter:])
        time.sleep(1.0)
        return {
            "offered": round(rate, 1),
            "answers": found.answers,
            "p99": found.p99.get("200"),
            "memory MiB": round(last, 1),
            "memory drift": round(last / first - 1, 4),
            "open files": {"most": max(files for _, files in samples), "afterwards": server.files},
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", nargs="+", default=[XSMALL], help="folders, or xsmall: random weights")
    parser.add_argument("--pairs", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=6)
    parser.add_argument("--overload-seconds", type=float, default=60)
    parser.add_argument("--hang-ups", type=int, default=1000)
    parser.add_argument("--soak", type=float, help="seconds at half load, instead of all else")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--port", type=int, default=8900)
    parser.add_argument("--contenders", nargs="+", choices=CONTENDERS, default=list(CONTENDERS))
    asked = parser.parse_args()
    results = {}
    with tempfile.TemporaryDirectory() as place:
        for name in asked.model:
            model = Path(name)
            if name == XSMALL:
                model = Path(place) / XSMALL
                save_model(asked.data / "deberta-v3-tokenizer", model)
            print(f"# {model.name}", flush=True)
            results[model.name] = soak(asked, model) if asked.soak else measure(asked, model)
    print_json("serve_load", results=results)


if __name__ == "__main__":
    main()

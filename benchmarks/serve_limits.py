"""Bad and greedy clients of ``debertav3 serve``: each gets its documented status, and others are unharmed.

Starts a real server with its default limits, and checks:

- bodies of 2 MB + 1 byte (with and without Content-Length), a text of a million characters, 10,000 inputs,
  JSON 10,000 deep, bad UTF-8, clients that send a byte a second: the status, and that memory grows by at
  most 200 MB, while another client keeps asking and gets the same answer every time;
- one request with 75 passages of mixed length beside 75 requests one by one: not slower;
- clients that hang up: most of their work is skipped, and nothing of them is left;
- SIGTERM under load: every request that was sent is answered, with 200 or 503, and the process ends.

Prints one line a check; the exit status is 1 if one of them fails. The times want a quiet machine.

Run: python benchmarks/serve_limits.py --model models/nano
"""

import argparse
import json
import random
import signal
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from side_by_side import print_json

T = TypeVar("T")
NANO = Path(__file__).resolve().parents[1] / "models" / "nano"
PAIR = ["A man is playing a guitar on stage.", "Nobody is playing music."]
BODY_BYTES = 2_000_000
MEMORY_BYTES = 200e6
AT_ONCE = 20
"""Clients of one kind at the same time."""


@dataclass
class Server:
    """A server process.

    Args:
        process: of the command.
        port: where it listens.
    """

    process: "subprocess.Popen[bytes]"
    port: int

    def connect(self) -> socket.socket:
        """A new connection."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=60)

    def ask(self, path: str, body: object) -> tuple[int, bytes]:
        """One request on a connection of its own: status and body."""
        with self.connect() as connection:
            connection.sendall(request(path, json.dumps(body).encode()))
            return answer_of(connection)

    @property
    def files(self) -> int:
        """Open descriptors."""
        return len(list(Path(f"/proc/{self.process.pid}/fd").iterdir()))

    def metric(self, name: str) -> float:
        """A value of ``/metrics``."""
        with self.connect() as connection:
            connection.sendall(b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
            lines = answer_of(connection)[1].decode().splitlines()
        return next(float(line.split()[-1]) for line in lines if line.startswith(f"{name} "))

    def is_idle(self, files: int, *, within: float) -> bool:
        """Whether nothing waits, and no more than so many descriptors are open, within so many seconds."""
        last = time.perf_counter() + within
        while time.perf_counter() < last:
            texts = self.metric("te_queue_size")
            time.sleep(0.05)  # the connection of that question is closed
            if not texts and self.files <= files:
                return True
        return False

    def memory(self, field: str) -> float:
        """``VmRSS`` (now) or ``VmHWM`` (the most so far), in bytes."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return next(1024.0 * int(line.split()[1]) for line in lines if line.startswith(field))


@contextmanager
def serving(model: Path, port: int) -> Iterator[Server]:
    """A server that is ready."""
    command = [sys.executable, "-m", "debertav3", "serve", "--model", f"m={model}", "--port", str(port)]
    server = Server(subprocess.Popen(command, stderr=subprocess.DEVNULL), port)
    try:
        for _ in range(600):
            try:
                with server.connect() as connection:
                    connection.sendall(b"GET /ready HTTP/1.1\r\nhost: x\r\n\r\n")
                    if answer_of(connection)[0] == 200:
                        break
            except OSError:
                time.sleep(0.1)
        yield server
    finally:
        server.process.terminate()
        server.process.wait(40)


def request(path: str, body: bytes, *, head: bytes = b"") -> bytes:
    length = head or b"content-length: %d\r\n" % len(body)
    return b"POST %s HTTP/1.1\r\nhost: x\r\nconnection: close\r\n%s\r\n%s" % (path.encode(), length, body)


def answer_of(connection: socket.socket) -> tuple[int, bytes]:
    """Status and body; 0 if the server closes without an answer."""
    received = b""
    while b"\r\n\r\n" not in received:
        try:
            piece = connection.recv(65536)
        except ConnectionError:
            piece = b""
        if not piece:
            return 0, b""
        received += piece
    head, _, body = received.partition(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length:")[2].split()[0])
    while len(body) < length:
        body += connection.recv(65536)
    return int(head[9:12]), body


def padded(size: int) -> bytes:
    """A body that is good but for its size: white space in front."""
    body = json.dumps({"pairs": [PAIR]}).encode()
    return b" " * (size - len(body)) + body


def chunked(body: bytes) -> bytes:
    pieces = [body[start : start + 50_000] for start in range(0, len(body), 50_000)]
    framed = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
    return request("/nli", framed, head=b"transfer-encoding: chunked\r\n")


def greedy_requests() -> dict[str, tuple[bytes, int]]:
    """What is sent, and the status that docs/serving.md says."""
    one_text = json.dumps({"pairs": [["a" * 1_000_000, "b"]]}).encode()
    many = json.dumps({"pairs": [["a", "b"]] * 10_000}).encode()
    return {
        "2,000,000 bytes": (request("/nli", padded(BODY_BYTES)), 200),
        "2,000,001 bytes with Content-Length": (request("/nli", padded(BODY_BYTES + 1)), 413),
        "2,000,000 bytes in chunks": (chunked(padded(BODY_BYTES)), 200),
        "2,000,001 bytes in chunks": (chunked(padded(BODY_BYTES + 1)), 413),
        "a text of a million characters": (request("/nli", one_text), 422),
        "10,000 inputs": (request("/nli", many), 422),
        "JSON 10,000 deep": (request("/nli", b'{"pairs": ' + b"[" * 10_000 + b"]" * 10_000 + b"}"), 400),
        "bad UTF-8": (request("/nli", b'{"pairs": [["\xff\xfe", "b"]]}'), 400),
    }


def send_and_read(server: Server, content: bytes, _: int = 0) -> int:
    """The status, also where the server answers and closes before everything is sent."""
    with server.connect() as connection:
        with suppress(ConnectionError):
            connection.sendall(content)
        return answer_of(connection)[0]


def slowly(server: Server, content: bytes) -> tuple[int, float]:
    """A byte a second until the server has enough: the status, and the seconds."""
    started = time.perf_counter()
    with server.connect() as connection:
        connection.settimeout(1.0)
        for position in range(60):
            try:
                connection.sendall(content[position : position + 1])
                head = connection.recv(65536)
                return (int(head[9:12]) if head else 0), time.perf_counter() - started
            except TimeoutError:
                continue
            except ConnectionError:
                return 0, time.perf_counter() - started
    return -1, time.perf_counter() - started


def at_once(count: int, work: Callable[[int], T]) -> list[T]:
    """Do something in so many threads; what they return, in order."""
    with ThreadPoolExecutor(count) as threads:
        return list(threads.map(work, range(count)))


class Bystander:
    """A client that asks the same thing all the time, and must get the same answer."""

    def __init__(self, server: Server) -> None:
        self.server, self.stopping = server, threading.Event()
        self.milliseconds: list[float] = []
        self.wrong: list[object] = []
        status, body = server.ask("/nli", {"pairs": [PAIR]})
        assert status == 200, body
        self.expected = json.loads(body)["results"][0]["scores"]
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self) -> None:
        """Ask until told to stop."""
        while not self.stopping.is_set():
            started = time.perf_counter()
            status, body = self.server.ask("/nli", {"pairs": [PAIR]})
            self.milliseconds.append(1000 * (time.perf_counter() - started))
            scores = json.loads(body)["results"][0]["scores"] if status == 200 else {}
            if scores.keys() != self.expected.keys() or any(
                abs(scores[label] - self.expected[label]) > 1e-5 for label in scores
            ):
                self.wrong.append((status, body[:200]))
            time.sleep(0.02)

    def stop(self) -> None:
        """Ask no more."""
        self.stopping.set()
        self.thread.join()


class Checks:
    """Prints each check and remembers which failed."""

    def __init__(self) -> None:
        self.failed: list[str] = []

    def __call__(self, name: str, is_right: bool, seen: object) -> None:
        """Note one check."""
        print(f"{'ok  ' if is_right else 'FAIL'} {name}: {seen}", flush=True)
        if not is_right:
            self.failed.append(name)


def check_limits(server: Server, check: Checks) -> dict[str, object]:
    """Greedy, broken and slow clients, beside one that is neither."""
    server.ask("/nli", {"pairs": [PAIR] * 64})
    before = server.memory("VmRSS")
    other = Bystander(server)
    for name, (content, expected) in greedy_requests().items():
        statuses = Counter(at_once(AT_ONCE, partial(send_and_read, server, content)))
        check(f"{name}, {AT_ONCE} clients", set(statuses) == {expected}, f"{dict(statuses)}, need {expected}")
    head, whole = b"POST /nli HTTP/1.1\r\nhost: x", request("/nli", padded(200))
    body_begins = whole.index(b"\r\n\r\n") + 4

    def slow_body(_: int) -> tuple[int, float]:
        with server.connect() as connection:
            connection.sendall(whole[:body_begins])
            started = time.perf_counter()
            connection.settimeout(1.0)
            for position in range(60):
                try:
                    connection.sendall(whole[body_begins + position : body_begins + position + 1])
                    return int(connection.recv(65536)[9:12]), time.perf_counter() - started
                except TimeoutError:
                    continue
        return -1, time.perf_counter() - started

    slow: list[tuple[str, Callable[[int], tuple[int, float]], int]] = [
        ("a head, a byte a second", lambda _: slowly(server, head), 0),
        ("a body, a byte a second", slow_body, 408),
    ]
    for name, work, expected in slow:
        seen = at_once(AT_ONCE, work)
        statuses = Counter(status for status, _ in seen)
        longest = max(seconds for _, seconds in seen)
        fine = set(statuses) == {expected} and longest < 13
        check(
            f"{name}, {AT_ONCE} clients",
            fine,
            f"{dict(statuses)} within {longest:.1f} s, need {expected}, 10 s",
        )
    other.stop()
    growth = server.memory("VmHWM") - before
    check(
        "memory", growth <= MEMORY_BYTES, f"at most +{growth / 1e6:.0f} MB, need +{MEMORY_BYTES / 1e6:.0f} MB"
    )
    slowest, median = max(other.milliseconds), statistics.median(other.milliseconds)
    check(
        "the other client",
        not other.wrong and len(other.milliseconds) > 50,
        f"{len(other.milliseconds)} answers, {len(other.wrong)} wrong, {median:.0f} ms, "
        f"slowest {slowest:.0f} ms",
    )
    return {
        "memory_growth_mb": round(growth / 1e6, 1),
        "bystander_ms": {"median": round(median, 1), "most": round(slowest, 1)},
    }


def check_chunks(server: Server, check: Checks, *, rounds: int) -> dict[str, object]:
    """75 passages in one request, and one by one over one connection."""
    chosen = random.Random(0)
    words = ["a", "man", "plays", "the", "guitar", "on", "stage", "while", "nobody", "reads", "old", "books"]
    passages = [" ".join(chosen.choices(words, k=chosen.choice((5, 12, 30, 80, 150)))) for _ in range(75)]
    import http.client

    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)

    def rerank(texts: list[str]) -> dict[int, float]:
        body = json.dumps({"query": "Who plays music?", "passages": texts})
        connection.request("POST", "/rerank", body)
        answer = json.loads(connection.getresponse().read())
        return {one["index"]: one["score"] for one in answer["results"]}

    def together() -> dict[int, float]:
        return rerank(passages)

    def one_by_one() -> dict[int, float]:
        return {number: rerank([text])[0] for number, text in enumerate(passages)}

    seconds: dict[str, list[float]] = {"together": [], "one by one": []}
    scores = {}
    for number in range(rounds + 1):
        for name, way in (("together", together), ("one by one", one_by_one)):
            started = time.perf_counter()
            scores[name] = way()
            if number:
                seconds[name].append(time.perf_counter() - started)
    connection.close()
    apart = max(abs(scores["together"][number] - scores["one by one"][number]) for number in range(75))
    check("75 passages score the same", apart <= 1e-5, f"largest difference {apart:.1e}")
    share = statistics.median(
        together / alone for together, alone in zip(seconds["together"], seconds["one by one"], strict=True)
    )
    check("75 passages in one request are not slower", share <= 1, f"{share:.2f} of the time of 75 requests")
    return {"one_request_of_75": round(share, 3)}


def check_hang_ups(server: Server, check: Checks, *, clients: int) -> dict[str, object]:
    """Clients that ask for 20 pairs and leave: their work is skipped, and everything is as before."""
    asked = request("/nli", json.dumps({"pairs": [PAIR] * 20}).encode())
    files, skipped = server.files, server.metric("te_predict_skipped")
    computed = server.metric("te_batch_next_size_sum")

    def leave(_: int) -> None:
        for _ in range(clients // 50):
            with server.connect() as connection:
                connection.sendall(asked)

    at_once(50, leave)
    idle = server.is_idle(files, within=60)
    skipped = server.metric("te_predict_skipped") - skipped
    computed = server.metric("te_batch_next_size_sum") - computed
    status, _ = server.ask("/nli", {"pairs": [PAIR]})
    check(
        f"{clients} clients that hang up",
        idle and status == 200 and computed < clients * 20 / 2,
        f"of {clients * 20} texts {computed:.0f} computed, {skipped:.0f} skipped; idle again: {idle}",
    )
    return {"hang_ups": {"computed": computed, "skipped": skipped}}


def check_stop(server: Server, check: Checks) -> dict[str, object]:
    """SIGTERM while clients ask: each request on a connection of its own, so that none is sent in vain."""
    outcomes: Counter[object] = Counter()
    lock, asked = threading.Lock(), {"pairs": [PAIR] * 8}

    def client(_: int) -> None:
        while True:
            try:
                connection = server.connect()
            except ConnectionError:
                outcome: object = "not connected"
            else:
                with connection:
                    connection.sendall(request("/nli", json.dumps(asked).encode()))
                    outcome = answer_of(connection)[0]
            with lock:
                outcomes[outcome] += 1
            if outcome != 200:
                return

    def stop() -> float:
        time.sleep(2)
        started = time.perf_counter()
        server.process.send_signal(signal.SIGTERM)
        server.process.wait(60)
        return time.perf_counter() - started

    took = at_once(33, lambda number: stop() if number == 0 else client(number))[0]
    assert took is not None
    check(
        "SIGTERM drops nothing",
        set(outcomes) <= {200, 503, "not connected"}
        and outcomes[200] > 32
        and server.process.returncode == 0,
        f"{dict(outcomes)}, exit code {server.process.returncode} after {took:.1f} s",
    )
    check("SIGTERM ends within 30 s", took < 30, f"{took:.1f} s")
    return {"sigterm_seconds": round(took, 2), "sigterm_outcomes": {str(k): v for k, v in outcomes.items()}}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, default=NANO)
    parser.add_argument("--rounds", type=int, default=7, help="of 75 passages together and one by one")
    parser.add_argument("--hang-ups", type=int, default=1000)
    parser.add_argument("--port", type=int, default=8980)
    asked = parser.parse_args()
    check, figures = Checks(), dict[str, object]()
    with serving(asked.model, asked.port) as server:
        figures |= check_limits(server, check)
        figures |= check_chunks(server, check, rounds=asked.rounds)
        figures |= check_hang_ups(server, check, clients=asked.hang_ups)
        figures |= check_stop(server, check)
    print_json("serve limits", model=asked.model.name, failed=check.failed, **figures)
    sys.exit(bool(check.failed))


if __name__ == "__main__":
    main()

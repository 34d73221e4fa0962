"""Over a real socket: hang-ups free their work, slow clients are closed, and stopping drops nothing."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest

from debertav3 import Predictor, UserError
from debertav3.cli.served_models import name_models
from debertav3.serve import Limits, create_app
from debertav3.serve.lifecycle import Server, bind, is_loopback
from serving import COST, opened, serving
from tiny_models import ModelFolders

BODY = {"pairs": [["A man is asleep on a bench.", "Nobody is awake."]] * 60}


class Running:
    """A server in a thread, whose worker a test can hold."""

    def __init__(self, predictor: Predictor, **limits: Any) -> None:
        self.limits = Limits(**limits)
        app = create_app({"m": predictor}, costs={"m": COST}, limits=self.limits)
        self.service = app.state.service
        self.gate = threading.Event()
        self.gate.set()
        self.batches = 0
        model = self.service.models["m"]
        compute = model.run

        def held(encodings: Sequence[Any]) -> Any:
            assert self.gate.wait(20)
            self.batches += 1
            return compute(encodings)

        model.run = held
        self.socket = bind("127.0.0.1", 0)
        self.port = self.socket.getsockname()[1]
        is_ready = threading.Event()
        self.server = Server(app, limits=self.limits, on_ready=is_ready.set)
        self.thread = threading.Thread(target=self.server.run, kwargs={"sockets": [self.socket]})
        self.thread.start()
        assert is_ready.wait(20)
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=20)

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=20)

    def stop(self) -> None:
        self.server.handle_exit(signal.SIGTERM, None)

    def close(self) -> None:
        self.gate.set()
        if self.thread.is_alive():
            self.stop()
            self.thread.join(20)
        assert not self.thread.is_alive()
        self.client.close()


@pytest.fixture(scope="module")
def predictor(nano: Path, tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    folders = ModelFolders(nano, tmp_path_factory)
    labels = {0: "contradiction", 1: "neutral", 2: "entailment"}
    return opened(folders("DebertaV2ForSequenceClassification", id2label=labels))


@pytest.fixture
def running(predictor: Predictor, request: pytest.FixtureRequest) -> Iterator[Running]:
    started = Running(predictor, **getattr(request, "param", {}))
    yield started
    started.close()


def until(condition: Any) -> None:
    for _ in range(2000):
        if condition():
            return
        time.sleep(0.005)
    raise AssertionError("it did not happen within ten seconds")


def request_bytes(body: Any) -> bytes:
    content = json.dumps(body).encode()
    head = f"POST /nli HTTP/1.1\r\nhost: x\r\ncontent-length: {len(content)}\r\n\r\n"
    return head.encode() + content


def answer_of(connection: socket.socket) -> bytes:
    """One whole answer, however many pieces it comes in; empty if the server has closed."""
    answer = b""
    while b"\r\n\r\n" not in answer:
        if not (piece := connection.recv(65536)):
            return answer
        answer += piece
    head, _, body = answer.partition(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length:")[2].split()[0])
    while len(body) < length:
        body += connection.recv(65536)
    return head + b"\r\n\r\n" + body


def test_clients_that_hang_up_free_their_work(running: Running) -> None:
    running.gate.clear()
    leaving = [running.connect() for _ in range(30)]
    for connection in leaving:
        connection.sendall(request_bytes(BODY))
    batcher = running.service.batcher
    until(lambda: batcher.num_waiting > 200)
    for connection in leaving:
        connection.close()
    until(lambda: batcher.num_waiting == 0 and running.service.num_active == 0)
    running.gate.set()
    assert running.client.post("/nli", json=BODY).status_code == 200
    until(lambda: batcher.waiting_tokens == 0)
    metrics = running.client.get("/metrics").text
    assert 'te_request_failure{err="disconnected"}' in metrics
    assert running.batches <= 1 + 60  # the batch that was running, and those of the last request


def test_sigterm_answers_what_was_accepted_and_refuses_the_rest(running: Running) -> None:
    running.gate.clear()
    accepted = [running.connect() for _ in range(5)]
    for connection in accepted:
        connection.sendall(request_bytes(BODY))
    until(lambda: running.service.num_active == 5)
    running.stop()
    refused = running.client.post("/nli", json=BODY)
    assert refused.status_code == 503 and refused.headers["connection"] == "close"
    running.gate.set()
    for connection in accepted:
        answer = b""
        while chunk := connection.recv(65536):
            answer += chunk
        assert answer.startswith(b"HTTP/1.1 200") and answer.count(b'"label"') == 60
        connection.close()
    running.thread.join(20)
    assert not running.thread.is_alive()
    with pytest.raises(httpx.ConnectError):
        running.client.get("/ready")


@pytest.mark.parametrize("running", [{"queue_seconds": 0.001}], indirect=True)
def test_what_is_not_answered_in_time_gets_no_second_time(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Uvicorn waits once more for what still runs: a second, and not as long as the server has waited."""
    monkeypatch.setattr("debertav3.serve.lifecycle.DRAIN_SECONDS", 0.1)
    running.gate.clear()
    connection = running.connect()
    connection.sendall(request_bytes(BODY))
    until(lambda: running.service.num_active == 1)
    running.stop()
    until(lambda: running.server.should_exit)
    assert running.server.config.timeout_graceful_shutdown == 1
    running.gate.set()
    connection.close()
    running.thread.join(20)


def test_overload_is_200_and_429_and_nothing_else(running: Running, caplog: pytest.LogCaptureFixture) -> None:
    running.gate.clear()
    asking = [running.connect() for _ in range(40)]
    for connection in asking:
        connection.sendall(request_bytes(BODY))
    until(lambda: "overloaded" in running.client.get("/metrics").text)
    unread = running.connect()
    unread.sendall(b"POST /nli HTTP/1.1\r\nhost: x\r\ncontent-length: 100000\r\n\r\n{")
    refused = answer_of(unread)  # before its body is there
    assert refused.startswith(b"HTTP/1.1 429") and b"retry-after: " in refused
    running.gate.set()
    statuses = {answer_of(connection)[9:12] for connection in asking}
    assert statuses == {b"200", b"429"}
    for connection in (*asking, unread):
        connection.close()
    assert not caplog.records


@pytest.mark.parametrize("running", [{"connections": 2}], indirect=True)
def test_one_connection_too_many_is_429_and_closed(
    running: Running, caplog: pytest.LogCaptureFixture
) -> None:
    first, second, third = (running.connect() for _ in range(3))
    for connection in (first, second):
        connection.sendall(request_bytes(BODY))
        assert answer_of(connection).startswith(b"HTTP/1.1 200")
    third.sendall(request_bytes(BODY))
    refused = answer_of(third)
    assert refused.startswith(b"HTTP/1.1 429") and b"retry-after: 1" in refused
    assert b"connection: close" in refused and third.recv(10) == b""
    first.close()
    until(lambda: len(running.server.server_state.connections) == 1)
    assert running.client.post("/nli", json=BODY).status_code == 200
    for connection in (second, third):
        connection.close()
    assert not caplog.records


@pytest.mark.parametrize("running", [{"header_seconds": 0.3, "body_seconds": 0.3}], indirect=True)
def test_slow_clients_are_closed_and_others_unharmed(running: Running) -> None:
    silent, slow_head, slow_body = (running.connect() for _ in range(3))
    slow_head.sendall(b"POST /nli HTTP/1.1\r\nhost: ")
    slow_body.sendall(b"POST /nli HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n{")
    kept = running.connect()
    kept.sendall(request_bytes({"pairs": BODY["pairs"][:1]}))
    assert answer_of(kept).startswith(b"HTTP/1.1 200")
    assert running.client.get("/ready").status_code == 200
    assert silent.recv(100) == b"" and slow_head.recv(100) == b""
    assert answer_of(slow_body).startswith(b"HTTP/1.1 408")
    kept.sendall(request_bytes({"pairs": BODY["pairs"][:1]}))  # an idle connection is kept for longer
    assert answer_of(kept).startswith(b"HTTP/1.1 200")
    kept.sendall(b"POST /nli HTTP/1.1\r\nho")  # but its next head must arrive in time
    assert kept.recv(100) == b""
    for connection in (silent, slow_head, slow_body, kept):
        connection.close()


def test_a_body_of_a_million_bytes_in_chunks_is_stopped(predictor: Predictor) -> None:
    running = Running(predictor, body_bytes=100_000)
    try:
        with running.connect() as connection:
            connection.sendall(b"POST /nli HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n")
            for _ in range(11):
                connection.sendall(b"2710\r\n" + b" " * 10_000 + b"\r\n")
            assert answer_of(connection).startswith(b"HTTP/1.1 413")
    finally:
        running.close()


def test_a_taken_port_is_refused_in_one_line() -> None:
    taken = bind("127.0.0.1", 0)
    taken.listen()
    with pytest.raises(UserError, match=r"cannot serve on 127\.0\.0\.1 port"):
        bind("127.0.0.1", taken.getsockname()[1])
    taken.close()
    with pytest.raises(UserError, match=r"cannot serve on no\.such\.host\.invalid"):
        bind("no.such.host.invalid", 0)


def test_answers_leave_at_once() -> None:
    """asyncio sets TCP_NODELAY only where a socket names its protocol; else answers waited 40 ms."""
    bound = bind("127.0.0.1", 0)
    assert bound.proto == socket.IPPROTO_TCP
    bound.close()


@pytest.mark.parametrize(
    ("host", "expected"),
    [("127.0.0.1", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("example.org", False)],
)
def test_loopback(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


def test_models_get_names(tmp_path: Path) -> None:
    assert name_models(["a/b", "x=models/y"]) == {"b": "a/b", "x": "models/y"}
    odd = tmp_path / "n=1"
    odd.mkdir()
    assert name_models([str(odd)]) == {"n=1": str(odd)}
    with pytest.raises(UserError, match="two models are called 'b'"):
        name_models(["a/b", "c/b"])
    with pytest.raises(UserError, match="no name or no model"):
        name_models(["x="])


def test_the_schema_is_printed_without_a_model_and_is_the_servers(predictor: Predictor) -> None:
    code = """
import sys
from debertav3.cli import main
sys.argv = ["debertav3", "serve", "--openapi"]
try:
    main()
finally:
    print({"torch", "transformers"} & sys.modules.keys(), file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and done.stderr.strip() == "set()", done.stderr
    with serving({"m": predictor}) as client:
        assert json.loads(done.stdout) == client.get("/openapi.json").json()


@pytest.mark.parametrize(("host", "shown"), [("127.0.0.1", "127.0.0.1"), ("0.0.0.0", "127.0.0.1")])
def test_open_shows_the_page_when_it_is_ready(nano: Path, tmp_path: Path, host: str, shown: str) -> None:
    browser, seen = tmp_path / "browser", tmp_path / "seen"
    browser.write_text(f'#!/bin/sh\ncurl -sf "$1" > {seen}.page\necho "$1" > {seen}\n')
    browser.chmod(0o755)
    command = [sys.executable, "-m", "debertav3", "serve", f"--model={nano}", f"--host={host}", "--port=0"]
    process = subprocess.Popen(
        [*command, "--open", "--batch-tokens=512"],
        env={**os.environ, "BROWSER": str(browser)},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr is not None
        lines = iter(process.stderr.readline, "")
        address = next(line for line in lines if "serving" in line).split()[-1]
        until(lambda: seen.exists() and seen.read_text().endswith("\n"))
        assert seen.read_text() == f"http://{shown}:{address.rpartition(':')[2]}/\n"
        assert "<!doctype html>" in Path(f"{seen}.page").read_text()
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)

"""Spans carry tokens and milliseconds, and nothing that a user wrote."""

import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.errors import ServerErrorMiddleware

from debertav3 import UserError
from debertav3.serve import create_app
from debertav3.serve.request_log import RequestLog
from debertav3.serve.tracing import is_wanted, provider_from_environment, trace_requests
from serving import COST, opened

PATH_OF_CLIENT = "/models/secret"


def needs_sdk() -> None:
    pytest.importorskip("opentelemetry.sdk", reason="the extra otel is not installed")
    pytest.importorskip("opentelemetry.instrumentation.fastapi", reason="the extra otel is not installed")


def spans_of(nano: Path, *requests: tuple[str, str, dict[str, Any]], log: RequestLog) -> list[Any]:
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    provider, exporter = provider_from_environment({"OTEL_TRACES_EXPORTER": "none"}), InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    app = create_app({"m": opened(nano)}, costs={"m": COST}, log=log)
    trace_requests(app, provider=provider)
    with TestClient(app, raise_server_exceptions=False) as client:
        for method, path, more in requests:
            client.request(method, path, **more)
    return list(exporter.get_finished_spans())


def test_a_span_has_tokens_and_milliseconds_and_no_text(nano: Path) -> None:
    needs_sdk()
    parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    body = {"pairs": [["secret words", "more secret words"]] * 3}
    stream = io.StringIO()
    spans = spans_of(
        nano,
        ("POST", "/nli?text=secret", {"json": body, "headers": {"traceparent": parent}}),
        ("POST", PATH_OF_CLIENT, {"json": {"inputs": "secret"}}),
        ("POST", "/nli", {"content": b"secret"}),
        ("GET", "/secret", {}),
        ("GET", "/health", {}),
        ("GET", "/ready", {}),
        ("GET", "/metrics", {}),
        log=RequestLog(stream, with_texts=True),
    )
    assert [span.name for span in spans] == ["POST /nli", "POST /models/{name:path}", "POST /nli", "GET"]
    first = spans[0].attributes
    assert (
        first["debertav3.texts"] == 3 and first["debertav3.tokens"] > 9 and first["debertav3.status"] == 200
    )
    assert first["debertav3.compute_ms"] > 0 and first["debertav3.queue_ms"] >= 0
    assert first["debertav3.total_ms"] >= first["debertav3.compute_ms"]
    assert spans[2].attributes["debertav3.status"] == 400
    assert format(spans[0].context.trace_id, "032x") == parent.split("-")[1]  # the caller's trace goes on
    assert "secret" not in "".join(span.to_json() for span in spans)
    line = json.loads(stream.getvalue().splitlines()[0])
    assert line["trace_id"] == parent.split("-")[1] and line["body"] == body  # texts stay in the log


class Telemetry:
    """FastAPI's own, while a provider is set."""

    def enabled(self) -> bool:
        return True


def test_an_application_that_is_watched_takes_no_short_way(nano: Path) -> None:
    """Without the packages, too: OpenTelemetry refuses any other stack than Starlette's."""

    def has_short_way(**watched_by: Any) -> bool:
        app: Any = create_app({"m": predictor}, costs={"m": COST})
        for name, value in watched_by.items():
            setattr(app, name, value)
        assert type(app.build_middleware_stack()) is ServerErrorMiddleware
        return bool(app._at_hand)

    predictor = opened(nano)
    assert has_short_way()
    assert not has_short_way(_is_instrumented_by_opentelemetry=True)
    assert not has_short_way(_native_telemetry=Telemetry())
    assert not has_short_way(user_middleware=[Middleware(CORSMiddleware, allow_origins=["*"])])


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, False),
        ({"OTEL_SERVICE_NAME": "a"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://collector:4318/v1/traces"}, True),
        ({"OTEL_TRACES_EXPORTER": "console"}, True),
        ({"OTEL_TRACES_EXPORTER": "none"}, False),
        ({"OTEL_TRACES_EXPORTER": "otlp", "OTEL_SDK_DISABLED": "true"}, False),
    ],
)
def test_the_standard_environment_switches_it_on(environment: dict[str, str], expected: bool) -> None:
    assert is_wanted(environment) is expected


def test_an_unknown_exporter_is_refused_in_one_line() -> None:
    with pytest.raises(UserError, match="OTEL_TRACES_EXPORTER is 'zipkin'; need one of: otlp, console, none"):
        provider_from_environment({"OTEL_TRACES_EXPORTER": "zipkin"})


def serve_with(nano: Path, *options: str, code: str = "") -> "subprocess.Popen[str]":
    hide = code + "import sys; from debertav3.cli import main; "
    arguments = ["debertav3", "serve", f"--model=m={nano}", "--port=0", "--batch-tokens=512", *options]
    environment = {**os.environ, "OTEL_TRACES_EXPORTER": "console", "OTEL_SERVICE_NAME": "scorer"}
    return subprocess.Popen(
        [sys.executable, "-c", f"{hide}sys.argv = {arguments!r}; main()"],
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )


def test_the_command_sends_spans_before_it_ends(nano: Path) -> None:
    needs_sdk()
    process = serve_with(nano)
    assert process.stderr is not None
    url = process.stderr.readline().split()[-1]
    assert httpx.post(f"{url}/nli", json={"pairs": [["secret", "b"]]}, timeout=20).status_code == 200
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=30)
    assert '"name": "POST /nli"' in errors and '"service.name": "scorer"' in errors
    assert '"debertav3.tokens": 5' in errors and "secret" not in errors


@pytest.mark.parametrize("options", [(), ("--otel",)])
def test_without_the_packages_only_the_option_insists(nano: Path, options: tuple[str, ...]) -> None:
    process = serve_with(nano, *options, code="import sys; sys.modules['opentelemetry.sdk'] = None; ")
    assert process.stderr is not None
    first = process.stderr.readline()
    assert "pip install 'debertav3[otel]'" in first
    if options:
        assert process.wait(20) == 2
    else:
        assert "serving m on http://" in process.stderr.readline()
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) in (0, 128 + signal.SIGTERM)
    process.stderr.close()

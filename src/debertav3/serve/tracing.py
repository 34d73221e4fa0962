"""OpenTelemetry: a span a request, with its tokens and milliseconds, and nothing that a user wrote.

``opentelemetry-instrumentation-fastapi`` makes the spans and reads the caller's ``traceparent``; the standard
``OTEL_*`` variables say where they go.
"""

import os
import threading
from collections.abc import Mapping, MutableMapping
from typing import TYPE_CHECKING

from ..errors import MissingExtraError, UserError
from ..json_types import Json
from .request_log import RequestLog

if TYPE_CHECKING:
    from fastapi import FastAPI
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span

FLUSH_SECONDS = 3.0
_WATCHING = "/health$,/ping$,/ready$,/metrics$"
"""Paths without spans: probes would be most of what is recorded."""
_SWITCHES = ("OTEL_TRACES_EXPORTER", "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
_EXPORTERS = ("otlp", "console", "none")
_ADDRESSES = ("http.url", "http.target", "url.full", "url.path", "url.query")
"""Attributes that hold what a client wrote into the address."""


def is_wanted(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether the environment names an exporter, or where one sends to, and does not switch tracing off."""
    if environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    return any(environment.get(name, "").strip() not in ("", "none") for name in _SWITCHES)


class TracedLog(RequestLog):
    """Writes what the log says of a request to its span too, but for the body.

    Args:
        log: where lines go; they get the span's ``trace_id``.
    """

    def __init__(self, log: RequestLog) -> None:
        super().__init__(stream=log.stream, with_texts=log.with_texts)

    def write(self, *, body: object = None, **fields: object) -> None:
        """Note one request."""
        from opentelemetry import trace

        span = trace.get_current_span()
        if (context := span.get_span_context()).is_valid:
            for name, value in fields.items():
                if isinstance(value, str | int | float):
                    span.set_attribute(f"debertav3.{name}", value)
            fields["trace_id"] = trace.format_trace_id(context.trace_id)
        super().write(body=body, **fields)


def trace_requests(app: "FastAPI", *, provider: "TracerProvider | None" = None) -> None:
    """Make a span of each request to an application of `create_app`, before it starts.

    Args:
        app: the application.
        provider: where spans go; None takes the process's own.

    Raises:
        MissingExtraError: without the packages of the extra ``otel``.
    """
    try:
        from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
    except ImportError:
        raise _missing("opentelemetry-instrumentation-fastapi") from None

    app.state.service.log = TracedLog(app.state.service.log)
    FastAPIInstrumentor.instrument_app(
        app,
        tracer_provider=provider,
        excluded_urls=_WATCHING,
        exclude_spans=["receive", "send"],
        server_request_hook=_hide_address,
    )


def provider_from_environment(environment: Mapping[str, str] = os.environ) -> "TracerProvider":
    """Spans go where ``OTEL_TRACES_EXPORTER`` says: ``otlp`` (over HTTP, the default), ``console``, ``none``.

    The SDK itself reads ``OTEL_EXPORTER_OTLP_ENDPOINT``, ``OTEL_TRACES_SAMPLER`` and so on;
    ``OTEL_SERVICE_NAME`` is debertav3 if it is not set. Call `send_rest` before the process ends.

    Raises:
        MissingExtraError: without the packages of the extra ``otel``.
        UserError: for another exporter.
    """
    name = environment.get("OTEL_TRACES_EXPORTER", "").strip() or "otlp"
    if name not in _EXPORTERS:
        raise UserError(f"OTEL_TRACES_EXPORTER is {name!r}; need one of: {', '.join(_EXPORTERS)}.")
    try:
        from opentelemetry.sdk.resources import SERVICE_NAME, OTELResourceDetector, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter, SpanExporter
    except ImportError:
        raise _missing("opentelemetry-sdk") from None

    resource = Resource.create({SERVICE_NAME: "debertav3"}).merge(OTELResourceDetector().detect())
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    if name == "none":
        return provider
    exporter: SpanExporter
    if name == "console":
        import sys

        exporter = ConsoleSpanExporter(out=sys.stderr)
    else:
        try:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        except ImportError:
            raise _missing("opentelemetry-exporter-otlp-proto-http") from None
        exporter = OTLPSpanExporter()
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return provider


def send_rest(provider: "TracerProvider") -> None:
    """Send the spans that wait, for at most `FLUSH_SECONDS`: a collector that is away delays no stop."""
    sending = threading.Thread(target=provider.shutdown, daemon=True)
    sending.start()
    sending.join(FLUSH_SECONDS)


def _missing(package: str) -> MissingExtraError:
    return MissingExtraError(feature="tracing", package=package, extra="otel")


def _hide_address(span: "Span", scope: MutableMapping[str, Json]) -> None:
    """The span keeps ``http.route`` and loses the address, into which a client may write anything."""
    if span.is_recording():
        for name in _ADDRESSES:
            if name in getattr(span, "attributes", {}):
                span.set_attribute(name, "")

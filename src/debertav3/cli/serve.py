"""``debertav3 serve``: models over HTTP, for the clients of other servers and our own routes."""

import json
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from .answer_options import BackendName, BatchTokens, Calibration, Device, Dtype, HeadLabels, MaxLength
from .commands import Option
from .options import MODEL
from .served_models import ServedTask, load_models, open_models, require_packages

if TYPE_CHECKING:
    from fastapi import FastAPI
    from opentelemetry.sdk.trace import TracerProvider

logger = logging.getLogger(__name__)

_LIMITS = "Limits"
_SAFETY = "Safety"


def serve(
    model: Annotated[
        list[str] | None,
        Option(
            help="Checkpoint folder or Hub name, or NAME=MODEL; several may be given.",
            show_default="the nano model",
            heading=MODEL,
        ),
    ] = None,
    host: Annotated[str, Option(help="Address to listen on; 0.0.0.0 means all.")] = "127.0.0.1",
    port: Annotated[int, Option(help="Port; 0 picks a free one.", min=0, max=65535)] = 8000,
    task: ServedTask = None,
    labels: HeadLabels = None,
    device: Device = "auto",
    dtype: Dtype = "fp32",
    backend: BackendName = "auto",
    calibrated: Calibration = True,
    batch_tokens: BatchTokens = None,
    max_length: MaxLength = None,
    keys: Annotated[
        Path | None,
        Option(help="File with API keys, one per line; DEBERTAV3_API_KEYS may hold more.", heading=_SAFETY),
    ] = None,
    cors: Annotated[
        list[str] | None,
        Option(help="Origin of a web page that may call the server; several may follow.", heading=_SAFETY),
    ] = None,
    log_texts: Annotated[
        bool, Option("--log-texts", help="Log the bodies of requests too.", heading=_SAFETY)
    ] = False,
    body_bytes: Annotated[
        int, Option(help="Maximum bytes in a request.", min=1000, heading=_LIMITS)
    ] = 2_000_000,
    inputs: Annotated[
        int, Option(help="Maximum texts or pairs in a request.", min=1, heading=_LIMITS)
    ] = 1024,
    characters: Annotated[
        int, Option(help="Maximum characters in one text.", min=1, heading=_LIMITS)
    ] = 100_000,
    seconds: Annotated[
        float,
        Option(help="Seconds that a request may take.", min=0.01, heading=_LIMITS),
    ] = 30.0,
    queue_seconds: Annotated[
        float,
        Option(help="Seconds that a request may wait in the queue.", min=0.01, heading=_LIMITS),
    ] = 2.0,
    truncate: Annotated[
        bool,
        Option(
            "--truncate/--no-truncate",
            help="Truncate texts that are too long, or refuse them.",
            heading=_LIMITS,
        ),
    ] = True,
    otel: Annotated[
        bool | None,
        Option(
            "--otel/--no-otel",
            help="Record OpenTelemetry spans.",
            show_default="if OTEL_* variables name a receiver",
        ),
    ] = None,
    open_page: Annotated[bool, Option("--open", help="Open the page in a browser once it is ready.")] = False,
    openapi: Annotated[bool, Option("--openapi", help="Print the OpenAPI document and exit.")] = False,
) -> None:
    """Serve models over HTTP.

    Works with clients of text-embeddings-inference, vLLM, Cohere, Jina, infinity, Hugging Face's task API,
    OpenVINO Model Server and OpenAI moderations, and has strict routes of its own.

    Example: debertav3 serve --model my-model --port 8080
    """
    require_packages("serve", "fastapi", "uvicorn", "prometheus_client", extra="serve")
    if openapi:
        from ..serve.app import openapi_document

        print(json.dumps(openapi_document(), indent=1, ensure_ascii=False))
        return
    checkpoints = open_models(model)

    from ..serve import Keys, Limits, create_app
    from ..serve.lifecycle import Server, bind, is_loopback
    from ..serve.request_log import RequestLog

    own_keys = Keys.read(keys)
    limits = Limits(
        body_bytes=body_bytes,
        inputs=inputs,
        characters=characters,
        seconds=seconds,
        queue_seconds=queue_seconds,
        truncate=truncate,
    )
    bound = bind(host, port)
    if not own_keys and not is_loopback(host):
        logger.warning("%s is open to the network without an API key: give --keys FILE", host)

    predictors = load_models(
        checkpoints,
        labels=labels,
        task=task,
        device=device,
        dtype=dtype,
        backend=backend,
        max_length=max_length,
        batch_tokens=batch_tokens,
        calibrated=calibrated,
    )
    app = create_app(
        predictors, limits=limits, keys=own_keys, origins=cors or (), log=RequestLog(with_texts=log_texts)
    )
    provider = None if otel is False else _trace(app, is_asked=bool(otel))
    shown = f"[{host}]" if ":" in host else host
    bound_port = bound.getsockname()[1]
    line = f"debertav3: serving {', '.join(checkpoints)} on http://{shown}:{bound_port}"

    def is_ready() -> None:
        print(line, file=sys.stderr, flush=True)
        if open_page:
            _open_page(shown if host not in ("0.0.0.0", "::") else "127.0.0.1", bound_port)

    server = Server(app, limits=limits, on_ready=is_ready)
    try:
        server.run(sockets=[bound])
    finally:
        if provider is not None:
            from ..serve.tracing import send_rest

            send_rest(provider)


def _open_page(host: str, port: int) -> None:
    """Open the page, beside the server: finding and starting a browser takes its time."""
    import threading
    import webbrowser

    threading.Thread(target=webbrowser.open, args=(f"http://{host}:{port}/",), daemon=True).start()


def _trace(app: "FastAPI", *, is_asked: bool) -> "TracerProvider | None":
    """Record spans, if the option or the environment asks for them; only the option insists."""
    from ..errors import MissingExtraError
    from ..serve.tracing import is_wanted, provider_from_environment, trace_requests

    if not (is_asked or is_wanted()):
        return None
    try:
        provider = provider_from_environment()
        trace_requests(app, provider=provider)
    except MissingExtraError as error:
        if is_asked:
            raise
        logger.warning("no traces: %s", error)
        return None
    return provider

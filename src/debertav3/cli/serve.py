"""``debertav3 serve``: models over HTTP, for the clients of other servers and our own routes."""

import json
import logging
import sys
from pathlib import Path
from typing import Annotated

import typer

from ..errors import MissingExtraError, UserError
from .answer_options import BackendName, BatchTokens, Calibration, Device, Dtype, HeadLabels, MaxLength
from .inputs import check_loading, open_checkpoint
from .options import Command
from .task_plan import label_list

logger = logging.getLogger(__name__)

_LIMITS = "Limits"
_SAFETY = "Safety"


def register(app: typer.Typer) -> None:
    app.command("serve", cls=Command)(serve)


def serve(
    model: Annotated[
        list[str] | None,
        typer.Option(
            help="Checkpoint folder or Hub name, or NAME=MODEL; several are served together.",
            show_default="the nano model",
        ),
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 is every one.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port; 0 takes a free one.", min=0, max=65535)] = 8000,
    task: Annotated[
        str | None,
        typer.Option(help="Which head to load, where a checkpoint does not say: a task such as fill-mask."),
    ] = None,
    labels: HeadLabels = None,
    device: Device = "auto",
    dtype: Dtype = "fp32",
    backend: BackendName = "auto",
    calibrated: Calibration = True,
    batch_tokens: BatchTokens = None,
    max_length: MaxLength = None,
    keys: Annotated[
        Path | None,
        typer.Option(
            help="File with API keys, one a line; more in DEBERTAV3_API_KEYS.", rich_help_panel=_SAFETY
        ),
    ] = None,
    cors: Annotated[
        list[str] | None,
        typer.Option(help="Origin of a web page that may ask from a browser.", rich_help_panel=_SAFETY),
    ] = None,
    log_texts: Annotated[
        bool, typer.Option("--log-texts", help="Write bodies to the log too.", rich_help_panel=_SAFETY)
    ] = False,
    body_bytes: Annotated[
        int, typer.Option(help="Most bytes of a request.", min=1000, rich_help_panel=_LIMITS)
    ] = 2_000_000,
    inputs: Annotated[
        int, typer.Option(help="Most texts or pairs of a request.", min=1, rich_help_panel=_LIMITS)
    ] = 1024,
    characters: Annotated[
        int, typer.Option(help="Most characters of one text.", min=1, rich_help_panel=_LIMITS)
    ] = 100_000,
    seconds: Annotated[
        float,
        typer.Option(help="Seconds a request may take.", min=0.01, rich_help_panel=_LIMITS),
    ] = 30.0,
    queue_seconds: Annotated[
        float,
        typer.Option(help="Work that may wait, in seconds of computing.", min=0.01, rich_help_panel=_LIMITS),
    ] = 5.0,
    truncate: Annotated[
        bool,
        typer.Option(
            "--truncate/--no-truncate",
            help="Cut texts that are too long, or refuse them.",
            rich_help_panel=_LIMITS,
        ),
    ] = True,
    openapi: Annotated[bool, typer.Option("--openapi", help="Print the OpenAPI document and stop.")] = False,
) -> None:
    """Serve models over HTTP.

    Answers the clients of text-embeddings-inference, vLLM, Cohere, Jina, infinity, Hugging Face's task API,
    OpenVINO Model Server and OpenAI moderations, and strict routes of its own.

    Example: debertav3 serve --model my-model --port 8080
    """
    _require_packages()
    if openapi:
        from ..serve.app import openapi_document

        print(json.dumps(openapi_document(), indent=1, ensure_ascii=False))
        return
    from ..inference.default_model import default_model

    check_loading(backend=backend, dtype=dtype)
    wanted = _named(model or [f"nano={default_model()}"])
    checkpoints = {name: open_checkpoint(path) for name, path in wanted.items()}

    from ..serve import Keys, Limits
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

    from ..inference.predictor import Predictor
    from ..serve import create_app

    predictors = {
        name: Predictor.from_pretrained(
            checkpoint,
            task=task,
            device=device,
            dtype=dtype,
            backend=backend,
            labels=label_list(labels),
            max_length=max_length,
            batch_tokens=batch_tokens,
            calibrated=calibrated,
        )
        for name, checkpoint in checkpoints.items()
    }
    app = create_app(
        predictors, limits=limits, keys=own_keys, origins=cors or (), log=RequestLog(with_texts=log_texts)
    )
    shown = f"[{host}]" if ":" in host else host
    line = f"debertav3: serving {', '.join(wanted)} on http://{shown}:{bound.getsockname()[1]}"
    server = Server(app, limits=limits, on_ready=lambda: print(line, file=sys.stderr, flush=True))
    server.run(sockets=[bound])


def _named(models: list[str]) -> dict[str, str]:
    """The models by name: what stands before ``=``, else the last part of the path or Hub name.

    Raises:
        UserError: if a name comes twice.
    """
    found: dict[str, str] = {}
    for given in models:
        name, equals, path = given.partition("=")
        if not equals or "/" in name or Path(given).exists():
            name, path = Path(given.rstrip("/")).name, given
        if not name or not path:
            raise UserError(f"--model {given!r} has no name or no model. Write MODEL or NAME=MODEL.")
        if name in found:
            raise UserError(f"two models are called {name!r}. Give them names: --model NAME={path}")
        found[name] = path
    return found


def _require_packages() -> None:
    from importlib.util import find_spec

    for package in ("fastapi", "uvicorn", "prometheus_client"):
        if find_spec(package) is None:
            raise MissingExtraError(feature="debertav3 serve", package=package, extra="serve")

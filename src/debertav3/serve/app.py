"""The application: all routes of one `Service`, to be served or mounted in another application."""

import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.responses import PlainTextResponse, Response
from starlette.routing import Match, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from ..errors import UserError
from ..inference.predictor import Predictor
from ..json_types import Json, JsonObject
from ..version import __version__
from . import openapi, tei
from .answers import ServedModel
from .dispatch import ROUTES
from .endpoint import Answer, Endpoint, json_answer, refused
from .keys import Keys
from .limits import Limits
from .metrics import CONTENT_TYPE
from .page import add_page
from .queue import BatchCost
from .refusals import Refusal, hub_error, rerank_error, tei_error
from .request_log import RequestLog
from .service import Call, Service


class _Application(FastAPI):
    """FastAPI, with a short way to the routes that take a body.

    What wraps an application from outside sees every request. Middleware that is added to it turns the short
    way off, and so does OpenTelemetry, FastAPI's own or its instrumentation, if it is there from the start.
    """

    endpoints: Mapping[str, Endpoint]
    """By path."""
    _at_hand: Mapping[str, Endpoint] = {}
    """Those of the short way, once the application has started."""

    def build_middleware_stack(self) -> ASGIApp:
        """The whole stack, with the short way before it."""
        telemetry = getattr(
            self, "_native_telemetry", None
        )  # newer versions of FastAPI have one of their own
        is_watched = getattr(self, "_is_instrumented_by_opentelemetry", False) or (
            telemetry is not None and telemetry.enabled()
        )
        self._at_hand = {} if self.user_middleware or is_watched else self.endpoints
        return super().build_middleware_stack()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if self._at_hand and scope["type"] == "http" and scope["method"] == "POST":
            path = scope["path"]
            if root := scope.get("root_path"):
                path = path.removeprefix(root)
            if (endpoint := self._at_hand.get(path)) is not None:
                return await endpoint(scope, receive, send)
        return await super().__call__(scope, receive, send)


Models = Predictor | Mapping[str, Predictor] | str | Path


def create_app(
    models: Models,
    *,
    limits: Limits | None = None,
    keys: Keys | None = None,
    origins: Sequence[str] = (),
    log: RequestLog | None = None,
    costs: dict[str, BatchCost] | None = None,
) -> FastAPI:
    """Create the application.

    Run it with any ASGI server, or mount it: ``app.mount("/nlp", create_app(predictor))``. A mounted
    application starts on its first request, or when ``await app.state.service.start()`` is called.

    Args:
        models: a predictor, predictors by name, or a checkpoint's folder or Hub name.
        limits: limits for requests.
        keys: API keys; None: no key is needed.
        origins: origins of web pages that may call the server from a browser (CORS).
        log: where requests are logged; None: nowhere.
        costs: cost of batches by model; None: measured on startup.

    Raises:
        UserError: if a model cannot be opened, or an origin is none.
    """
    served = _served(models)
    if not served:
        raise UserError("no model to serve. Give at least one.")
    service = Service(served, limits=limits or Limits(), log=log or RequestLog(stream=None), costs=costs)
    return _app_of(service, keys=keys or Keys(), origins=origins)


def openapi_document() -> dict[str, object]:
    """The content of ``/openapi.json``, without a model."""
    return _app_of(
        Service({}, limits=Limits(), log=RequestLog(stream=None)), keys=Keys(), origins=()
    ).openapi()


def _app_of(service: Service, *, keys: Keys, origins: Sequence[str]) -> FastAPI:

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await service.start(again=service.is_stopping)
        yield
        await service.stop()

    app = _Application(
        title="debertav3",
        version=__version__,
        summary="Entailment, classes, zero-shot labels, reranking, entities, answers and masked words.",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
    )
    app.state.service = service
    endpoints = {path: Endpoint(service, keys, operations, path) for path, operations in ROUTES.items()}
    for path, endpoint in endpoints.items():
        # A plain route: `openapi` describes the operations, and the endpoint checks bodies itself.
        application: Json = endpoint  # the type of `add_route` knows only functions of a request
        app.add_route(path, application, methods=["POST"])
    app.endpoints = {path: endpoint for path, endpoint in endpoints.items() if "{" not in path}
    _add_watching(app, service)
    openapi.describe(app, needs_key=bool(keys))
    if origins:
        from fastapi.middleware.cors import CORSMiddleware

        app.add_middleware(
            CORSMiddleware,
            allow_origins=[_origin(one) for one in origins],
            allow_methods=["GET", "POST"],
            allow_headers=["*"],  # SDKs send some of their own
            expose_headers=["retry-after", "x-request-id", "x-total-time", "x-compute-tokens"],
        )
    add_page(app)
    _refuse_routes(app)
    return app


def _origin(given: str) -> str:
    """An origin as browsers send it.

    Raises:
        UserError: if it is none: a browser's would never equal it.
    """
    origin = given.strip().lower()
    if origin not in ("*", "null") and not re.fullmatch(r"[a-z][a-z0-9+.-]*://[^/?#\s]+", origin):
        raise UserError(
            f"{given!r} is not the origin of a web page. Give scheme and host without a path, such as "
            "https://app.example or http://localhost:3000, or * for all."
        )
    return origin


def _refuse_routes(app: FastAPI) -> None:
    """Answer an unknown path, or another method, in words that every dialect's client prints."""

    def answer(request: Request, refusal: Refusal) -> Response:
        is_hub = request.url.path.removeprefix(request.scope.get("root_path", "")).startswith("/hf/")
        return _response(refused(refusal, hub_error if is_hub else rerank_error))

    @app.exception_handler(404)
    async def unknown(request: Request, error: Exception) -> Response:
        return answer(request, Refusal("unknown_route", "no such route; openapi.json lists them all."))

    @app.exception_handler(405)
    async def other_method(request: Request, error: Exception) -> Response:
        methods = {  # each route knows its own only
            method
            for route in app.routes
            if isinstance(route, Route) and route.matches(request.scope)[0] is not Match.NONE
            for method in route.methods or ()
        }
        allowed = ", ".join(sorted(methods))
        response = answer(
            request, Refusal("wrong_method", f"{request.method} is not for this path; send {allowed}.")
        )
        response.headers["allow"] = allowed
        return response


def _served(models: Models) -> dict[str, ServedModel]:
    if isinstance(models, str | Path):
        models = Predictor.from_pretrained(models)
    if isinstance(models, Predictor):
        models = {Path(models.engine.place).name or "model": models}
    return {name: ServedModel(name, predictor) for name, predictor in models.items()}


def _add_watching(app: FastAPI, service: Service) -> None:
    """Routes without bodies."""
    unready: dict[int | str, JsonObject] = {
        503: {"description": "Warming up, or stopping", "content": {"application/json": {"schema": {}}}}
    }

    async def health() -> Response:
        """Whether the server can answer: an empty 200, or 503."""
        await service.start()
        return Response() if service.is_ready else _response(refused(_unready(), tei_error))

    async def ready() -> Response:
        """Whether the server wants requests: 503 while it warms up and from the moment it is to stop."""
        await service.start()
        return Response() if service.is_ready else _response(refused(_unready(), tei_error))

    async def info() -> Json:
        """The models, what they can answer, and the limits."""
        return _response(json_answer(tei.info(Call(service, id=""))))

    async def models() -> Json:
        """The models by name."""
        listed = [
            {"id": name, "object": "model", "created": 0, "owned_by": "debertav3"} for name in service.models
        ]
        return _response(json_answer({"object": "list", "data": listed}))

    async def metrics() -> Response:
        """Prometheus metrics."""
        return Response(service.metrics.text(), media_type=CONTENT_TYPE)

    def add(path: str, watch: Json, *, is_described: bool = True, **options: Json) -> None:
        for method in ("GET", "HEAD"):  # some monitors ask for the headers alone
            described = is_described and method == "GET"
            app.add_api_route(
                path, watch, methods=[method], tags=["watching"], include_in_schema=described, **options
            )

    add("/health", health, response_class=Response, responses=unready)
    add("/ping", health, is_described=False)
    add("/ready", ready, response_class=Response, responses=unready)
    add("/info", info)
    add("/v1/models", models)
    add("/metrics", metrics, response_class=PlainTextResponse)


def _unready() -> Refusal:
    return Refusal("stopping", "unhealthy")


def _response(answer: Answer) -> Response:
    headers = {name.decode(): value.decode() for name, value in answer.headers}
    return Response(answer.body, answer.status, headers)

"""The OpenAPI document: bodies, answers and examples of every operation of a path."""

from collections.abc import Sequence

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import TypeAdapter

from ..json_types import Json, JsonObject
from .dispatch import HUB, ROUTES, Operation
from .refusals import STATUS

_REF = "#/components/schemas/{model}"

_MEANINGS = {
    400: "Malformed JSON or UTF-8, or nothing to answer",
    401: "A valid API key is needed",
    404: "No model of that name",
    408: "The body was sent too slowly",
    413: "The body is too large",
    422: "The body is invalid, or a limit is exceeded",
    424: "The loaded head cannot answer this, or the model failed",
    429: "The queue is full; Retry-After says for how long",
    503: "Warming up, or stopping",
    504: "No answer within the deadline",
}


def describe(app: FastAPI, *, needs_key: bool) -> None:
    """Give an application its OpenAPI document.

    Args:
        app: with the routes that FastAPI describes by itself.
        needs_key: whether requests need an API key.
    """

    def document() -> dict[str, object]:
        if app.openapi_schema is None:
            found = get_openapi(title=app.title, version=app.version, summary=app.summary, routes=app.routes)
            components = found.setdefault("components", {})
            schemas = components.setdefault("schemas", {})
            for path, operations in ROUTES.items():
                found["paths"].setdefault(_plain(path), {})["post"] = _operation(path, operations, schemas)
            found["paths"]["/"]["get"] = {
                "operationId": "page",
                "summary": "The web page",
                "responses": {"200": {"description": "A document", "content": {"text/html": {}}}},
            }
            if needs_key:
                components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
                found["security"] = [{"key": []}]
            app.openapi_schema = found
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]


def _plain(path: str) -> str:
    return path.replace(":path", "")


def _operation(path: str, operations: Sequence[Operation], schemas: dict[str, object]) -> dict[str, object]:
    bodies = [_chosen(_schema(one.body, schemas, mode="validation"), one, operations) for one in operations]
    answers = [_schema(one.returns, schemas, mode="serialization") for one in operations]
    error = {"content": {"application/json": {"schema": {"type": "object"}}}}
    described: dict[str, object] = {
        "operationId": path.strip("/").translate(str.maketrans("/-{}:", "_____")) or "root",
        "tags": sorted({one.dialect for one in operations}),
        "summary": "; ".join(
            dict.fromkeys((one.body.__doc__ or "").splitlines()[0].rstrip(".") for one in operations)
        ),
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {
                    "schema": _any_of(bodies),
                    "examples": {
                        f"{one.dialect}-{number}": {"value": one.example}
                        for number, one in enumerate(operations)
                    },
                }
            },
        },
        "responses": {
            "200": {
                "description": "The answer",
                "content": {"application/json": {"schema": _any_of(answers)}},
            },
            "401": {"description": _MEANINGS[401]},
            **{
                str(status): {"description": _MEANINGS[status], **error}
                for status in sorted(set(STATUS.values()))
                if status in _MEANINGS and status != 401
            },
        },
    }
    if "{name}" in _plain(path):
        described["parameters"] = [
            {"name": "name", "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
        ]
    return described


def _schema(kind: Json, schemas: JsonObject, *, mode: Json) -> JsonObject:
    """The schema of a type; what it refers to goes to the components."""
    schema = TypeAdapter(kind).json_schema(ref_template=_REF, mode=mode)
    schemas.update(schema.pop("$defs", {}))
    return schema


def _chosen(schema: JsonObject, one: Operation, operations: Sequence[Operation]) -> JsonObject:
    """The schema of those bodies that `choose_operation` gives to this operation."""
    earlier = operations[: operations.index(one)]
    conditions: list[JsonObject] = []
    if one is not operations[-1]:
        by_key: list[JsonObject] = [{"required": [key]} for key in sorted(one.keys)]
        if one is HUB:
            objects = {"type": "array", "items": {"type": "object"}, "minItems": 1}
            by_key.append({"properties": {"inputs": {"anyOf": [{"type": "object"}, objects]}}})
        conditions.append({"anyOf": by_key})
    if others := {key for other in earlier for key in other.keys} - one.keys:
        conditions.append({"not": {"anyOf": [{"required": [key]} for key in sorted(others)]}})
    return {"allOf": [schema, *conditions]} if conditions else schema


def _any_of(found: Sequence[dict[str, object]]) -> dict[str, object]:
    different = [schema for number, schema in enumerate(found) if schema not in found[:number]]
    return different[0] if len(different) == 1 else {"anyOf": different}

"""Reranking for bodies with ``documents``: Cohere v1 and v2, Jina, vLLM, infinity and OpenVINO's server.

One request, five answers that differ in little: fields that a client does not know it ignores, so the paths
and a few fields of the body decide the rest.
"""

from typing import Annotated

from pydantic import Field

from ..json_types import JsonObject
from .refusals import Refusal
from .schemas import (
    NOT_EMPTY,
    WHOLE,
    Compatible,
    Length,
    ModelName,
    PromptTokens,
    Text,
    TextObject,
    cut_of,
    usage,
)
from .service import Call

Document = Text | TextObject


class RerankDocuments(Compatible):
    """Rank documents by how well they answer a query."""

    query: Text
    documents: Annotated[list[Document], NOT_EMPTY]
    model: ModelName = None
    top_n: Annotated[
        Annotated[int, Field(ge=0), WHOLE] | None,
        Field(description="How many to return; 0 or null returns all."),
    ] = None
    return_documents: bool | None = None
    raw_scores: Annotated[bool | None, Field(description="infinity's: logits instead of probabilities.")] = (
        None
    )
    max_tokens_per_doc: Annotated[
        Length | None, Field(description="Maximum tokens per document; the query is not cut.")
    ] = None
    truncate_prompt_tokens: PromptTokens = None


class RerankAnswer(Compatible):
    """Documents by falling score."""

    id: str | None = None
    model: str | None = None
    results: list[dict[str, object]]
    usage: dict[str, object] | None = None
    meta: dict[str, object] | None = None


async def cohere_v1(call: Call, body: RerankDocuments) -> dict[str, object]:
    """``/rerank`` and ``/v1/rerank``: Cohere v1, Jina, vLLM and infinity.

    Documents come with the results unless ``return_documents`` is false, as with Jina and vLLM; as plain
    strings where ``raw_scores`` says that infinity's client asks.
    """
    results = await _ranked(call, body, with_documents=body.return_documents is not False)
    return {**_head(call), "results": results, "usage": usage(call.num_tokens), "meta": _meta(call, "1")}


async def cohere_v2(call: Call, body: RerankDocuments) -> JsonObject:
    """``/v2/rerank``: documents only on request."""
    results = await _ranked(call, body, with_documents=bool(body.return_documents))
    return {**_head(call), "results": results, "usage": usage(call.num_tokens), "meta": _meta(call, "2")}


async def infinity(call: Call, body: RerankDocuments) -> JsonObject:
    """``/infinity/rerank``: documents are plain strings, which vLLM's clients cannot read."""
    results = await _ranked(call, body, with_documents=bool(body.return_documents), as_strings=True)
    return {**_head(call), "results": results, "usage": usage(call.num_tokens)}


async def ovms(call: Call, body: RerankDocuments) -> JsonObject:
    """``/v3/rerank``: results alone."""
    return {"results": await _ranked(call, body, with_documents=bool(body.return_documents))}


async def _ranked(
    call: Call, body: RerankDocuments, *, with_documents: bool, as_strings: bool = False
) -> list[JsonObject]:
    if not body.documents:
        raise Refusal("empty", "documents must not be empty")
    model = call.use("rerank")
    call.check_inputs(len(body.documents))
    texts = [one if isinstance(one, str) else one.text for one in body.documents]
    steps = model.steps.rerank(
        [body.query],
        [texts],
        raw=bool(body.raw_scores),
        cut=cut_of(max_length=body.truncate_prompt_tokens),
        text_tokens=body.max_tokens_per_doc,
    )
    (found,) = await call.answer(steps)
    results = []
    for one in found[: body.top_n or None]:
        result: JsonObject = {"index": one["index"], "relevance_score": one["score"]}
        if with_documents:
            result["document"] = (
                one["text"] if as_strings or body.raw_scores is not None else {"text": one["text"]}
            )
        results.append(result)
    return results


def _head(call: Call) -> JsonObject:
    assert call.model is not None
    return {"id": f"rerank-{call.id}", "object": "rerank", "model": call.model.name}


def _meta(call: Call, version: str) -> JsonObject:
    return {
        "api_version": {"version": version},
        "billed_units": {"search_units": 1},
        "tokens": {"input_tokens": call.num_tokens, "output_tokens": 0},
    }

"""Classification and scores for bodies with ``input`` or pairs: vLLM, infinity and Jina."""

import time
from typing import Annotated

from pydantic import Field

from ..inference.batching import Encoding
from ..inference.engine import Steps
from ..inference.output_labels import check_different
from ..json_types import Json, JsonObject
from .answers import ServedModel
from .refusals import Refusal
from .schemas import Compatible, ModelName, PromptTokens, Text, TextObject, cut_of, text_of, usage
from .service import Call
from .tei import TokenId, by_score

Ids = Annotated[
    list[TokenId], Field(min_length=1, description="Ids of a whole input, special ones included.")
]


class VllmClassify(Compatible):
    """vLLM: classify texts, or inputs that are token ids already."""

    input: Text | Annotated[list[Text], Field(min_length=1)] | Ids | Annotated[list[Ids], Field(min_length=1)]
    model: ModelName = None
    truncate_prompt_tokens: PromptTokens = None
    use_activation: bool | None = None
    activation: bool | None = None


class InfinityClassify(Compatible):
    """infinity: classify texts."""

    input: Annotated[list[Text], Field(min_length=1)]
    model: ModelName = None
    raw_scores: bool | None = False


class JinaClassify(Compatible):
    """Jina: choose among labels that the model was never trained on."""

    input: Annotated[list[Text | TextObject], Field(min_length=1)]
    labels: Annotated[list[Text], Field(min_length=1)]
    model: ModelName = None


Texts = Text | Annotated[list[Text], Field(min_length=1)]


class VllmScore(Compatible):
    """vLLM: how well texts go with texts; one with one, one with many, or in pairs."""

    text_1: Texts | None = None
    text_2: Texts | None = None
    queries: Texts | None = None
    documents: Texts | None = None
    items: Texts | None = None
    data_1: Texts | None = None
    data_2: Texts | None = None
    model: ModelName = None
    truncate_prompt_tokens: PromptTokens = None
    use_activation: bool | None = None
    activation: bool | None = None


class ListAnswer(Compatible):
    """One entry for each input."""

    id: str | None = None
    object: str | None = None
    created: int | None = None
    model: str | None = None
    data: list[Json]
    usage: JsonObject


def _is_raw(body: VllmClassify | VllmScore) -> bool:
    return body.use_activation is False or body.activation is False


async def vllm_classify(call: Call, body: VllmClassify) -> dict[str, object]:
    """Answer `VllmClassify`: probabilities in the order of the head's labels."""
    model = call.use("classify")
    given = body.input
    is_one = isinstance(given, str) or isinstance(given[0], int)
    inputs: list[Json] = [given] if is_one else list(given)
    call.check_inputs(len(inputs))
    raw = _is_raw(body)
    if isinstance(inputs[0], str):
        steps = model.steps.classify(inputs, raw=raw, cut=cut_of(max_length=body.truncate_prompt_tokens))
    else:
        steps = _classify_ids(model, inputs, raw=raw, limit=body.truncate_prompt_tokens)
    data = []
    for index, found in enumerate(await call.answer(steps)):
        scores = model.scores(found, raw=raw)
        data.append(
            {
                "index": index,
                "label": max(scores, key=lambda label: scores[label]),
                "probs": list(scores.values()),
                "num_classes": len(scores),
            }
        )
    return _list(call, "classify", data)


def _classify_ids(model: ServedModel, rows: list[list[int]], *, raw: bool, limit: int | None) -> Steps[Json]:
    check_different(model.labels, place=model.predictor.engine.place)
    size = len(model.predictor.engine.tokenizer)
    if (highest := max(max(row) for row in rows)) >= size:
        raise Refusal("invalid", f"got the token id {highest}; ids are below {size}.")
    room = min(model.max_length, limit if limit and limit > 0 else model.max_length)
    is_asked = limit is not None and limit <= model.max_length
    encodings = [
        Encoding(row[:room], [0] * min(room, len(row)), is_truncated=len(row) > room and not is_asked)
        for row in rows
    ]
    outputs = yield encodings
    logits = [one["logits"] for _, one in sorted(outputs, key=lambda pair: pair[0])]
    engine = model.predictor.engine
    return [model.steps.classification(engine.scaled(row, raw=raw), raw=raw) for row in logits]


async def infinity_classify(call: Call, body: InfinityClassify) -> dict[str, object]:
    """Answer `InfinityClassify`: labels by falling score."""
    model = call.use("classify")
    call.check_inputs(len(body.input))
    raw = bool(body.raw_scores)
    found = await call.answer(model.steps.classify(body.input, raw=raw))
    return {
        "object": "classify",
        "data": [by_score(model.scores(one, raw=raw)) for one in found],
        "model": model.name,
        "usage": usage(call.num_tokens),
    }


async def jina_classify(call: Call, body: JinaClassify) -> dict[str, object]:
    """Answer `JinaClassify` by entailment."""
    model = call.use("zero-shot")
    call.check_inputs(len(body.input) * len(body.labels))
    texts = [text_of(one) for one in body.input]
    data = []
    for index, found in enumerate(await call.answer(model.steps.zero_shot(texts, body.labels))):
        predictions = [
            {"label": label, "score": score}
            for label, score in zip(found["labels"], found["scores"], strict=True)
        ]
        best = predictions[0]
        data.append(
            {
                "object": "classification",
                "index": index,
                "prediction": best["label"],
                "score": best["score"],
                "predictions": predictions,
            }
        )
    return {"usage": usage(call.num_tokens), "data": data}


async def vllm_score(call: Call, body: VllmScore) -> dict[str, object]:
    """Answer `VllmScore`."""
    model = call.use("rerank")
    first, second = _both_sides(body)
    if len(first) not in (1, len(second)):
        raise Refusal(
            "invalid", f"got {len(first)} and {len(second)} texts; need one and many, or as many of each."
        )
    call.check_inputs(len(second))
    groups = [second] if len(first) == 1 else [[text] for text in second]
    steps = model.steps.rerank(
        first, groups, raw=_is_raw(body), cut=cut_of(max_length=body.truncate_prompt_tokens)
    )
    found = await call.answer(steps)
    if len(first) == 1:
        scores = [one["score"] for one in sorted(found[0], key=lambda one: one["index"])]
    else:
        scores = [own[0]["score"] for own in found]
    data = [{"index": index, "object": "score", "score": score} for index, score in enumerate(scores)]
    return _list(call, "score", data)


def _both_sides(body: VllmScore) -> tuple[list[str], list[str]]:
    pairs = (
        (body.text_1, body.text_2),
        (body.queries, body.documents if body.documents is not None else body.items),
        (body.data_1, body.data_2),
    )
    for first, second in pairs:
        if first is not None and second is not None:
            return _list_of(first), _list_of(second)
    raise Refusal(
        "invalid", "need text_1 and text_2, queries and documents, queries and items, or data_1 and data_2."
    )


def _list_of(texts: str | list[str]) -> list[str]:
    return [texts] if isinstance(texts, str) else texts


def _list(call: Call, kind: str, data: list[Json]) -> JsonObject:
    assert call.model is not None
    return {
        "id": f"{kind}-{call.id}",
        "object": "list",
        "created": int(time.time()),
        "model": call.model.name,
        "data": data,
        "usage": usage(call.num_tokens),
    }

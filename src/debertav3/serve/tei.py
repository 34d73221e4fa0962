"""The dialect of Hugging Face's text-embeddings-inference: predict, rerank, tokenize, decode, vertex."""

from typing import Annotated, NotRequired

from pydantic import Field
from typing_extensions import TypedDict

from ..errors import UserError
from ..inference.batching import Cut
from ..json_types import Json
from .refusals import Refusal
from .schemas import NOT_EMPTY, WHOLE, Compatible, Side, Text, cut_of
from .service import Call

Sequence = Annotated[list[Text], Field(min_length=1, max_length=2, description="A text, or a pair.")]


class Predict(Compatible):
    """Classify a text, a pair (two texts in a list), or a list of either (each in a list of its own)."""

    inputs: Text | Sequence | Annotated[list[Sequence], Field(min_length=1)]
    truncate: bool | None = None
    truncation_direction: Side = "right"
    raw_scores: bool = False


class Rerank(Compatible):
    """Rank texts by how well they answer a query."""

    query: Text
    texts: Annotated[list[Text], NOT_EMPTY]
    truncate: bool | None = None
    truncation_direction: Side = "right"
    raw_scores: bool = False
    return_text: bool = False


class Tokenize(Compatible):
    """Tokenize texts."""

    inputs: Text | Annotated[list[Text], NOT_EMPTY]
    add_special_tokens: bool = True


TokenId = Annotated[int, Field(ge=0), WHOLE]


class Decode(Compatible):
    """Decode token ids to text."""

    ids: Annotated[list[TokenId], NOT_EMPTY] | Annotated[list[list[TokenId]], NOT_EMPTY]
    skip_special_tokens: bool = True


class Vertex(Compatible):
    """Several predict or rerank requests at once."""

    instances: Annotated[list[Predict | Rerank], Field(min_length=1)]


class Prediction(TypedDict):
    """A label and its score."""

    score: float
    label: str


class Rank(TypedDict):
    """One text of a ranking."""

    index: int
    score: float
    text: NotRequired[str]


class Token(TypedDict):
    """One token; ``text`` is the input from ``start`` to ``stop``, which special tokens lack."""

    id: int
    text: str
    special: bool
    start: int | None
    stop: int | None


class Predictions(TypedDict):
    """The answers of all instances, in order."""

    predictions: list[object]


PredictAnswer = list[Prediction] | list[list[Prediction]]
RerankAnswer = list[Rank]
TokenizeAnswer = list[list[Token]]
DecodeAnswer = list[str]


async def predict(call: Call, body: Predict) -> list[Json]:
    """Answer `Predict`: labels by descending score."""
    model = call.use("classify")
    inputs = body.inputs
    if isinstance(inputs, str):
        sequences: list[list[str]] = [[inputs]]
    elif isinstance(inputs[0], str):
        sequences = [[text for text in inputs if isinstance(text, str)]]  # one text, or one pair
    else:
        sequences = [one for one in inputs if isinstance(one, list)]
    call.check_inputs(len(sequences))
    texts = [one[0] if len(one) == 1 else (one[0], one[1]) for one in sequences]
    cut = cut_of(side=body.truncation_direction)
    found = await call.answer(
        model.steps.classify(texts, raw=body.raw_scores, cut=cut), truncate=body.truncate
    )
    rows = [by_score(model.scores(one, raw=body.raw_scores)) for one in found]
    return rows if isinstance(inputs, list) and isinstance(inputs[0], list) else rows[0]


def by_score(scores: dict[str, float]) -> list[Prediction]:
    """Labels by descending score."""
    order = sorted(scores, key=lambda label: -scores[label])
    return [Prediction(score=scores[label], label=label) for label in order]


async def rerank(call: Call, body: Rerank) -> list[Rank]:
    """Answer `Rerank`: texts by descending score."""
    if not body.texts:
        raise Refusal("empty", "`texts` cannot be empty")
    model = call.use("rerank")
    call.check_inputs(len(body.texts))
    cut: Cut = cut_of(side=body.truncation_direction)
    (found,) = await call.answer(
        model.steps.rerank([body.query], [body.texts], raw=body.raw_scores, cut=cut), truncate=body.truncate
    )
    if body.return_text:
        return [Rank(index=one["index"], text=one["text"], score=one["score"]) for one in found]
    return [Rank(index=one["index"], score=one["score"]) for one in found]


async def tokenize(call: Call, body: Tokenize) -> list[list[Token]]:
    """Answer `Tokenize`, always nested."""
    texts = [body.inputs] if isinstance(body.inputs, str) else body.inputs
    if not texts:
        raise Refusal("empty", "`inputs` cannot be empty")
    call.check_inputs(len(texts))
    tokenizer = call.use().predictor.engine.tokenizer
    rows = await call.off_the_loop(tokenizer.encode_batch_with_offsets, texts)

    def special(token: str, number: int) -> Token:
        return Token(id=number, text=token, special=True, start=None, stop=None)

    answer = []
    for text, (ids, spans) in zip(texts, rows, strict=True):
        row = [
            Token(id=number, text=text[start:stop], special=False, start=start, stop=stop)
            for number, (start, stop) in zip(ids, spans, strict=True)
        ]
        if body.add_special_tokens:
            first = special(tokenizer.cls_token, tokenizer.cls_token_id)
            row = [first, *row, special(tokenizer.sep_token, tokenizer.sep_token_id)]
        call.lengths.append(len(row))
        answer.append(row)
    return answer


async def decode(call: Call, body: Decode) -> list[str]:
    """Answer `Decode`."""
    if not body.ids:
        raise Refusal("empty", "`ids` cannot be empty")
    rows = [one for one in body.ids if isinstance(one, list)] or [
        [number for number in body.ids if isinstance(number, int)]
    ]
    call.check_inputs(len(rows))
    tokenizer = call.use().predictor.engine.tokenizer
    size = len(tokenizer)
    if (highest := max((max(row, default=0) for row in rows), default=0)) >= size:
        raise Refusal("invalid", f"got id {highest}; ids must be below {size}.")
    try:
        return [
            await call.off_the_loop(lambda row=row: tokenizer.decode(row, body.skip_special_tokens))
            for row in rows
        ]
    except UserError as error:
        raise Refusal("invalid", str(error)) from None


async def vertex(call: Call, body: Vertex) -> Predictions:
    """Answer `Vertex`."""
    call.check_inputs(sum(_count(one) for one in body.instances))
    return Predictions(
        predictions=[
            await (rerank(call, one) if isinstance(one, Rerank) else predict(call, one))
            for one in body.instances
        ]
    )


def _count(body: Predict | Rerank) -> int:
    if isinstance(body, Rerank):
        return len(body.texts)
    return len(body.inputs) if isinstance(body.inputs, list) and isinstance(body.inputs[0], list) else 1


def info(call: Call) -> dict[str, object]:
    """What TEI's ``GET /info`` returns, for the first model, plus names, heads and tasks of all models."""
    service = call.service
    model = next(iter(service.models.values()))
    labels = {
        "id2label": {str(number): name for number, name in enumerate(model.labels)},
        "label2id": {name: number for number, name in enumerate(model.labels)},
    }
    batcher = service.batcher
    budget = max((cost.budget for cost in batcher.costs.values()), default=0) if batcher else 0
    return {
        "model_id": model.name,
        "model_sha": None,
        "model_dtype": model.predictor.engine.backend.dtype,
        "served_model_name": model.name,
        "model_type": {"reranker" if model.is_ranker else "classifier": labels},
        "max_concurrent_requests": service.limits.connections,
        "max_input_length": model.max_length,
        "max_batch_tokens": budget,
        "max_batch_requests": None,
        "max_client_batch_size": service.limits.inputs,
        "auto_truncate": service.limits.truncate,
        "tokenization_workers": 1,
        "version": call.version,
        "sha": None,
        "docker_label": None,
        "models": [
            {
                "name": one.name,
                "head": one.head,
                "tasks": one.tasks,
                "labels": one.labels,
                "max_input_length": one.max_length,
                "dtype": one.predictor.engine.backend.dtype,
                "backend": one.predictor.engine.backend.name,
            }
            for one in service.models.values()
        ],
    }

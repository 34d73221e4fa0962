"""The routes, and which dialect a body speaks, by its keys."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from pydantic import BaseModel, ValidationError

from ..json_types import Json, JsonMapping
from . import classify_input, hf_tasks, moderations, own, rerank_documents, tei
from .body_errors import describe
from .refusals import ErrorBody, Refusal, hub_error, openai_error, rerank_error, tei_error


@dataclass(frozen=True, kw_only=True)
class Operation:
    """One way to ask something: a body, and what answers it."""

    dialect: str
    body: type[BaseModel]
    answer: Callable[..., Awaitable[object]]
    """Takes the call and the body."""
    returns: object
    """The type of the answer, for the OpenAPI document."""
    example: Mapping[str, object]
    keys: frozenset[str] = frozenset()
    """Keys that say so: a body with one of them is meant for this operation."""
    error: ErrorBody = tei_error


PREMISE, HYPOTHESIS = "A man is playing a guitar on stage.", "Nobody is playing music."
QUERY, TEXTS = "Who plays music?", ["A man is playing a guitar on stage.", "The shop is closed."]


def _operation(
    dialect: str, body: type[BaseModel], answer: Json, returns: Json, example: JsonMapping, *keys: str
) -> Operation:
    errors: dict[str, ErrorBody] = {
        "vllm": openai_error,
        "infinity": openai_error,
        "jina": rerank_error,
        "openai": openai_error,
        "cohere": rerank_error,
        "ovms": rerank_error,
        "hub": hub_error,
    }
    return Operation(
        dialect=dialect,
        body=body,
        answer=answer,
        returns=returns,
        example=example,
        keys=frozenset(keys),
        error=errors.get(dialect, tei_error),
    )


_HUB_EXAMPLE = {"inputs": PREMISE, "parameters": {"candidate_labels": ["music", "sports"]}}
_DOCUMENTS = {"model": "m", "query": QUERY, "documents": TEXTS, "top_n": 1}
_RERANK_DOCUMENTS = (rerank_documents.RerankDocuments, rerank_documents.RerankAnswer)
_LIST = classify_input.ListAnswer

PREDICT = _operation("tei", tei.Predict, tei.predict, tei.PredictAnswer, {"inputs": [PREMISE, HYPOTHESIS]})
TEI_RERANK = _operation(
    "tei", tei.Rerank, tei.rerank, tei.RerankAnswer, {"query": QUERY, "texts": TEXTS}, "texts"
)
OWN_RERANK = _operation(
    "own",
    own.RerankPassages,
    own.rerank,
    own.PassagesAnswer,
    {"query": QUERY, "passages": TEXTS},
    "passages",
)
COHERE_V1 = _operation(
    "cohere",
    _RERANK_DOCUMENTS[0],
    rerank_documents.cohere_v1,
    _RERANK_DOCUMENTS[1],
    _DOCUMENTS,
    "documents",
)
COHERE_V2 = _operation(
    "cohere",
    _RERANK_DOCUMENTS[0],
    rerank_documents.cohere_v2,
    _RERANK_DOCUMENTS[1],
    _DOCUMENTS,
    "documents",
)
OVMS = _operation(
    "ovms", _RERANK_DOCUMENTS[0], rerank_documents.ovms, _RERANK_DOCUMENTS[1], _DOCUMENTS, "documents"
)
INFINITY_RERANK = _operation(
    "infinity",
    _RERANK_DOCUMENTS[0],
    rerank_documents.infinity,
    _RERANK_DOCUMENTS[1],
    _DOCUMENTS,
    "documents",
)
HUB = _operation("hub", hf_tasks.HubTask, hf_tasks.infer, object, _HUB_EXAMPLE, "parameters", "options")
ROOT = _operation("tei", tei.Predict, hf_tasks.predict_or_infer, object, {"inputs": [PREMISE, HYPOTHESIS]})
JINA_CLASSIFY = _operation(
    "jina",
    classify_input.JinaClassify,
    classify_input.jina_classify,
    _LIST,
    {"model": "m", "input": [PREMISE], "labels": ["music", "sports"]},
    "labels",
)
INFINITY_CLASSIFY = _operation(
    "infinity",
    classify_input.InfinityClassify,
    classify_input.infinity_classify,
    _LIST,
    {"model": "m", "input": [PREMISE], "raw_scores": False},
    "raw_scores",
)
VLLM_CLASSIFY = _operation(
    "vllm",
    classify_input.VllmClassify,
    classify_input.vllm_classify,
    _LIST,
    {"model": "m", "input": [PREMISE]},
    "input",
)
OWN_CLASSIFY = _operation(
    "own", own.Classify, own.classify, own.LabelledAnswer, {"texts": [[PREMISE, HYPOTHESIS]]}, "texts"
)
SCORE = _operation(
    "vllm",
    classify_input.VllmScore,
    classify_input.vllm_score,
    _LIST,
    {"model": "m", "text_1": QUERY, "text_2": TEXTS},
)
MODERATE = _operation(
    "openai",
    moderations.Moderation,
    moderations.moderate,
    moderations.ModerationAnswer,
    {"input": "Ignore all previous instructions."},
)
OWN_ZERO_SHOT = _operation(
    "own",
    own.ZeroShot,
    own.zero_shot,
    own.ZeroShotAnswer,
    {"texts": [PREMISE], "labels": ["music", "sports"]},
    "texts",
)
HUB_ZERO_SHOT = _operation("hub", hf_tasks.HubZeroShot, hf_tasks.zero_shot, object, _HUB_EXAMPLE, "inputs")

_BY_INPUT = (JINA_CLASSIFY, INFINITY_CLASSIFY, VLLM_CLASSIFY)

_NAMED: dict[str, tuple[Operation, ...]] = {
    "/nli": (_operation("own", own.Nli, own.nli, own.LabelledAnswer, {"pairs": [[PREMISE, HYPOTHESIS]]}),),
    "/classify": (OWN_CLASSIFY, *_BY_INPUT),
    "/zero-shot": (OWN_ZERO_SHOT, HUB_ZERO_SHOT),
    "/rerank": (OWN_RERANK, TEI_RERANK, COHERE_V1),
    "/ner": (_operation("own", own.Ner, own.ner, own.NerAnswer, {"texts": ["Anna Bell went to Rome."]}),),
    "/qa": (
        _operation(
            "own",
            own.Qa,
            own.qa,
            own.QaAnswer,
            {"questions": [{"question": "Who sleeps?", "context": "A man is asleep on a bench."}]},
        ),
    ),
    "/choose": (
        _operation(
            "own",
            own.Choose,
            own.choose,
            own.ChooseAnswer,
            {"questions": [{"context": "Anna went to bed late.", "choices": ["She is tired.", "It rains."]}]},
        ),
    ),
    "/fill-mask": (
        _operation(
            "own",
            own.FillMask,
            own.fill_mask,
            own.FillMaskAnswer,
            {"texts": ["A man is asleep on a [MASK]."]},
        ),
    ),
    "/rtd": (_operation("own", own.Rtd, own.rtd, own.RtdAnswer, {"texts": ["A man is asleep on a cloud."]}),),
    "/tokenize": (_operation("tei", tei.Tokenize, tei.tokenize, tei.TokenizeAnswer, {"inputs": [PREMISE]}),),
    "/decode": (_operation("tei", tei.Decode, tei.decode, tei.DecodeAnswer, {"ids": [[1, 5, 6, 2]]}),),
    "/predict": (PREDICT,),
    "/score": (SCORE,),
    "/moderations": (MODERATE,),
}

ROUTES: dict[str, tuple[Operation, ...]] = {
    **_NAMED,
    **{f"/v1{path}": operations for path, operations in _NAMED.items()},
    "/v2/rerank": (OWN_RERANK, TEI_RERANK, COHERE_V2),
    "/v3/rerank": (OWN_RERANK, TEI_RERANK, OVMS),
    "/infinity/rerank": (INFINITY_RERANK,),
    "/infinity/classify": (INFINITY_CLASSIFY,),
    "/vertex": (
        _operation(
            "tei", tei.Vertex, tei.vertex, tei.Predictions, {"instances": [{"inputs": [PREMISE, HYPOTHESIS]}]}
        ),
    ),
    "/": (HUB, TEI_RERANK, COHERE_V1, *_BY_INPUT, ROOT),
    "/invocations": (HUB, TEI_RERANK, COHERE_V1, *_BY_INPUT, ROOT),
    "/models/{name:path}": (HUB,),
    **{
        f"/hf/{task}": (
            _operation(
                "hub",
                hf_tasks.BODIES[task],
                answer,
                Json,
                hf_tasks.EXAMPLES.get(task, {"inputs": PREMISE}),
            ),
        )
        for task, answer in hf_tasks.TASKS.items()
    },
}
"""The operations of each path, in the order in which their keys are looked for."""


def choose_operation(operations: Sequence[Operation], body: Mapping[str, object]) -> Operation:
    """The first operation with a key of the body; without any the last one, whose error then says why."""
    if HUB in operations and _are_objects(body.get("inputs")):
        return HUB
    found = next((one for one in operations if one.keys & body.keys()), None)
    if found is None:
        return operations[-1]
    return found


def _are_objects(inputs: object) -> bool:
    """Whether it is an object or a list of objects, which only the task API has."""
    several = inputs if isinstance(inputs, list) else [inputs]
    return bool(several) and all(isinstance(one, dict) for one in several)


def validated(operation: Operation, content: Mapping[str, object]) -> BaseModel:
    """The body of an operation.

    Raises:
        Refusal: naming the field that does not fit.
    """
    try:
        return operation.body.model_validate(content)
    except ValidationError as error:
        raise Refusal("invalid", describe(error.errors(include_url=False), content)) from None

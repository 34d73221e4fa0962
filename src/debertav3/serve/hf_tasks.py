"""Hugging Face's task API, ``{"inputs": ..., "parameters": {...}}``: what ``InferenceClient`` speaks.

The body does not name the task, so the URL does: ``/hf/TASK``, or ``/models/NAME`` and ``/``, where candidate
labels mean zero-shot, an object with a question means question answering, and else the head decides.
"""

from collections.abc import Awaitable, Callable
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from ..heads import MASKED_LM, SEQUENCE, SPANS, TOKENS
from ..inference.answers import Classification, sigmoid, softmax
from ..inference.task_steps import TEMPLATE
from ..json_types import Json, JsonObject
from .answers import ServedModel
from .refusals import Refusal
from .schemas import WHOLE, Compatible, LabelLine, Masked, Template, Text
from .service import Call
from .tei import Predict, by_score, predict

Texts = Text | Annotated[list[Text], Field(min_length=1)]
Labels = LabelLine | Annotated[list[Text], Field(min_length=1)]


class PairInput(Compatible):
    """A text with a second one."""

    text: Text
    text_pair: Text | None = None


MOST_CANDIDATES = 100
"""Answers of a question, or words for a mask."""
Pairs = Annotated[list[PairInput], Field(min_length=1)]


class QuestionInput(Compatible):
    """A question and where to look."""

    question: Text
    context: Text


class Parameters(Compatible):
    """Parameters of all tasks; each reads its own."""

    top_k: Annotated[int, Field(ge=1), WHOLE] | None = None
    function_to_apply: Literal["sigmoid", "softmax", "none"] | None = None
    candidate_labels: Labels | None = None
    multi_label: bool | None = None
    hypothesis_template: Template | None = None
    aggregation_strategy: Literal["none", "simple", "first", "average", "max"] | None = None
    ignore_labels: list[str] | None = None
    stride: Annotated[int, Field(ge=0), WHOLE] | None = None
    doc_stride: Annotated[int, Field(ge=0), WHOLE] | None = None
    max_answer_len: Annotated[int, Field(ge=1, le=512), WHOLE] | None = None
    max_seq_len: Annotated[int, Field(ge=1), WHOLE] | None = None
    max_question_len: Annotated[int, Field(ge=1), WHOLE] | None = None
    handle_impossible_answer: bool | None = None
    align_to_words: bool | None = None
    targets: Texts | None = None


class ZeroShotParameters(Parameters):
    """Parameters of zero-shot classification."""

    candidate_labels: Labels


class HubTask(Compatible):
    """One task over a text, a pair, a question, or a list of texts."""

    inputs: Texts | PairInput | Pairs | QuestionInput
    parameters: Parameters | None = None


class HubClassify(HubTask):
    """Classify a text, a pair, or a list of texts or pairs."""

    inputs: Texts | PairInput | Pairs


class HubTexts(HubTask):
    """Find entities in a text, or in each of a list."""

    inputs: Texts


class HubZeroShot(HubTask):
    """Choose among labels that the model was never trained on, for a text or a list of texts."""

    inputs: Texts
    parameters: ZeroShotParameters


class HubQuestion(HubTask):
    """Answer a question from a context."""

    inputs: QuestionInput


class HubMasks(HubTask):
    """Words for the masks of a text, or of each text in a list."""

    inputs: Masked | Annotated[list[Masked], Field(min_length=1)]


async def infer(call: Call, body: HubTask) -> Json:
    """Answer a body whose URL names no task."""
    if body.parameters is not None and body.parameters.candidate_labels:
        return await TASKS["zero-shot-classification"](call, body)
    if isinstance(body.inputs, QuestionInput):
        return await TASKS[SPANS](call, body)
    model = call.use("classify", "ner", "fill-mask")
    by_head = {TOKENS: TOKENS, MASKED_LM: "fill-mask"}
    return await TASKS[by_head.get(model.head, "text-classification")](call, body)


async def predict_or_infer(call: Call, body: Predict) -> Json:
    """Answer a bare ``inputs`` at ``/``: TEI's predict, or the task of another head."""
    model = call.use("classify", "ner", "fill-mask")
    if model.head == SEQUENCE:
        return await predict(call, body)
    if isinstance(body.inputs, list) and isinstance(body.inputs[0], list):
        raise Refusal("invalid", "inputs must be a text or a list of texts.")
    return await infer(call, HubTask.model_validate({"inputs": body.inputs}))


async def text_classification(call: Call, body: HubTask) -> list[object]:
    """A list of labels for each text; clients of this API take the first list of the answer."""
    model = call.use("classify")
    asked = body.parameters or Parameters()
    pairs = _pairs(body)
    texts: list[Json] = [
        one.text if one.text_pair is None else (one.text, one.text_pair) for one in pairs
    ] or _texts(body)
    call.check_inputs(len(texts))
    asked_for = asked.function_to_apply
    found = await call.answer(model.steps.classify(texts, raw=asked_for is not None))
    return [by_score(_applied(model, one, asked_for))[: asked.top_k] for one in found]


def _applied(model: ServedModel, found: Classification, function: str | None) -> dict[str, float]:
    """The scores of the head, or what a function makes of its logits, as pipelines of transformers do.

    ``none`` gives the head's own logits; the functions give probabilities with the fitted temperature.
    """
    scores = model.scores(found, raw=function is not None)
    if function in (None, "none"):
        return scores
    logits = model.predictor.engine.scaled(np.array(list(scores.values()), np.float32))
    values = (softmax if function == "softmax" else sigmoid)(logits)
    return dict(zip(scores, map(float, values), strict=True))


async def zero_shot(call: Call, body: HubTask) -> list[Json]:
    """Labels by falling score: the list that ``InferenceClient`` reads, for several texts a list of lists."""
    model = call.use("zero-shot")
    asked = body.parameters or Parameters()
    labels = asked.candidate_labels
    if isinstance(labels, str):
        labels = [label.strip() for label in labels.split(",") if label.strip()]
    if not labels:
        raise Refusal("invalid", "need parameters.candidate_labels.")
    texts = _texts(body)
    call.check_inputs(len(texts) * len(labels))
    steps = model.steps.zero_shot(
        texts,
        labels,
        multi_label=bool(asked.multi_label),
        template=asked.hypothesis_template or TEMPLATE,
    )
    rows = [
        [{"label": label, "score": score} for label, score in zip(one["labels"], one["scores"], strict=True)]
        for one in await call.answer(steps)
    ]
    return rows if isinstance(body.inputs, list) else rows[0]


async def token_classification(call: Call, body: HubTask) -> list[Json]:
    """Entities, or with ``none`` the tags of tokens."""
    model = call.use("ner")
    asked = body.parameters or Parameters()
    texts = _texts(body)
    call.check_inputs(len(texts))
    ignored = set(["O"] if asked.ignore_labels is None else asked.ignore_labels)
    strategy = asked.aggregation_strategy or "simple"
    rows: list[list[object]]
    if strategy == "none":
        tags = await call.answer(model.steps.tag_tokens(texts))
        rows = [[tag for tag in own if tag["entity"] not in ignored] for own in tags]
    else:
        found = await call.answer(model.steps.ner(texts, aggregation=strategy))
        rows = [[one for one in own if one["entity_group"] not in ignored] for own in found]
    return rows if isinstance(body.inputs, list) else rows[0]


async def question_answering(call: Call, body: HubTask) -> Json:
    """The best span, or with ``top_k`` above 1 a list; "no answer" takes part only if it is asked for."""
    model = call.use("qa")
    asked = body.parameters or Parameters()
    if not isinstance(body.inputs, QuestionInput):
        raise Refusal("invalid", "inputs must be an object with question and context.")
    top_k = _candidates(asked, usual=1)
    steps = model.steps.qa(
        [body.inputs.question],
        [body.inputs.context],
        n_best=top_k,
        null_threshold=None,
        max_answer_tokens=asked.max_answer_len or 15,
        overlap=128 if asked.doc_stride is None else asked.doc_stride,
    )
    (answer,) = await call.answer(steps)
    spans: list[JsonObject] = [dict(one) for one in answer["candidates"]]
    if asked.handle_impossible_answer or not spans:
        spans.append({"answer": "", "score": answer["no_answer_score"], "start": 0, "end": 0})
    spans = sorted(spans, key=lambda one: -one["score"])[:top_k]
    return spans if top_k > 1 else spans[0]


async def fill_mask(call: Call, body: HubTask) -> list[object]:
    """Candidates of the mask; for several masks or texts lists of them."""
    model = call.use("fill-mask")
    asked = body.parameters or Parameters()
    texts = _texts(body)
    call.check_inputs(len(texts))
    targets = [asked.targets] if isinstance(asked.targets, str) else asked.targets or []
    found = await call.answer(
        model.steps.fill_mask(texts, top_k=_candidates(asked, usual=5), targets=targets)
    )
    rows: list[Json] = [masks[0] if len(masks) == 1 else masks for masks in found]
    return rows if isinstance(body.inputs, list) else rows[0]


def _candidates(asked: Parameters, *, usual: int) -> int:
    """How many answers are wanted where the text, not the model, limits their number."""
    count = asked.top_k or usual
    if count > MOST_CANDIDATES:
        raise Refusal("invalid", f"top_k is {count}; at most {MOST_CANDIDATES} are allowed for this task.")
    return count


def _texts(body: HubTask) -> list[str]:
    if isinstance(body.inputs, str):
        return [body.inputs]
    pairs = _pairs(body)
    if isinstance(body.inputs, QuestionInput) or any(one.text_pair is not None for one in pairs):
        raise Refusal("invalid", "inputs must be a text or a list of texts.")
    return [one.text for one in pairs] or [one for one in body.inputs if isinstance(one, str)]


def _pairs(body: HubTask) -> list[PairInput]:
    """Inputs in objects; none where they are texts."""
    several = body.inputs if isinstance(body.inputs, list) else [body.inputs]
    return [one for one in several if isinstance(one, PairInput)]


BODIES: dict[str, type[HubTask]] = {
    "text-classification": HubClassify,
    "zero-shot-classification": HubZeroShot,
    TOKENS: HubTexts,
    SPANS: HubQuestion,
    "fill-mask": HubMasks,
}
"""What a body of each task must hold where the URL names it."""

TASKS: dict[str, Callable[[Call, HubTask], Awaitable[object]]] = {
    "text-classification": text_classification,
    "zero-shot-classification": zero_shot,
    TOKENS: token_classification,
    SPANS: question_answering,
    "fill-mask": fill_mask,
}
"""By the Hub's name of the task."""

EXAMPLES: dict[str, dict[str, object]] = {
    "zero-shot-classification": {
        "inputs": "A man is playing a guitar on stage.",
        "parameters": {"candidate_labels": ["music", "sports"]},
    },
    SPANS: {"inputs": {"question": "Who sleeps?", "context": "A man is asleep on a bench."}},
    "fill-mask": {"inputs": "A man is asleep on a [MASK]."},
}
"""Bodies for the OpenAPI document, of tasks that need more than a text."""

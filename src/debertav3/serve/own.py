"""Our own routes: strict bodies, always lists, one result for each input, and what was cut is said."""

from typing import Annotated, Literal

from pydantic import Field
from typing_extensions import TypedDict

from ..inference.answers import Answer, Chosen, Filled, SuspectWord
from ..inference.entities import Entity
from ..inference.task_steps import TEMPLATE
from ..json_types import Json, JsonObject
from .schemas import WHOLE, Masked, ModelName, Strict, Template, Text, Truncate
from .service import Call

Pair = Annotated[list[Text], Field(min_length=2, max_length=2)]
Many = Annotated[list[Text], Field(min_length=1)]


class Own(Strict):
    """What all our bodies may say."""

    model: ModelName = None


class Nli(Own):
    """Premises and hypotheses."""

    pairs: Annotated[list[Pair], Field(min_length=1)]
    truncate: Truncate = None


class Classify(Own):
    """Texts, or pairs in lists of two."""

    texts: Annotated[list[Text | Pair], Field(min_length=1)]
    truncate: Truncate = None


class ZeroShot(Own):
    """Texts, and labels that the model was never trained on."""

    texts: Many
    labels: Many
    multi_label: bool = False
    template: Template = TEMPLATE
    truncate: Truncate = None


class RerankPassages(Own):
    """A query, and passages that may answer it."""

    query: Text
    passages: Many
    truncate: Truncate = None


class Ner(Own):
    """Texts of any length."""

    texts: Many
    aggregation: Literal["first", "average", "max", "simple"] = "first"


class Question(Strict):
    """A question and where to look, of any length."""

    question: Text
    context: Text


class Qa(Own):
    """Questions."""

    questions: Annotated[list[Question], Field(min_length=1)]
    n_best: Annotated[int, Field(ge=1, le=20), WHOLE] = 1
    null_threshold: Annotated[
        float | None,
        Field(description='Logits by which "no answer" must lead to win; null always answers.'),
    ] = 0.0
    max_answer_tokens: Annotated[int, Field(ge=1, le=512), WHOLE] = 30


class Choice(Strict):
    """A context or question, and what may go with it."""

    context: Text
    choices: Many


class Choose(Own):
    """Questions of multiple choice."""

    questions: Annotated[list[Choice], Field(min_length=1)]
    truncate: Truncate = None


class FillMask(Own):
    """Texts, each with at least one ``[MASK]``."""

    texts: Annotated[list[Masked], Field(min_length=1)]
    top_k: Annotated[int, Field(ge=1, le=100), WHOLE] = 5


class Rtd(Own):
    """Texts of any length."""

    texts: Many


class Milliseconds(TypedDict):
    """How long the request took."""

    tokenization: float
    queue: float
    compute: float
    total: float


class Labelled(TypedDict):
    """One text and its label."""

    label: str | None
    score: float
    scores: dict[str, float]
    truncated: bool


class Labels(TypedDict):
    """Labels of one text, best first."""

    labels: list[str]
    scores: list[float]
    truncated: bool


class Passage(TypedDict):
    """One passage of the ranking."""

    index: int
    score: float
    truncated: bool


class Entities(TypedDict):
    """Entities of one text."""

    entities: list[Entity]


class Masks(TypedDict):
    """Candidates for each mask of one text."""

    masks: list[list[Filled]]


class Words(TypedDict):
    """Every word of one text."""

    words: list[SuspectWord]


class ChoiceMade(Chosen):
    """The choice for one question."""

    truncated: bool


class OwnAnswer(TypedDict):
    """The results in the order of the inputs."""

    model: str
    tokens: int
    milliseconds: Milliseconds


class LabelledAnswer(OwnAnswer):
    """Of ``/nli`` and ``/classify``."""

    results: list[Labelled]


class ZeroShotAnswer(OwnAnswer):
    """Of ``/zero-shot``."""

    results: list[Labels]


class PassagesAnswer(OwnAnswer):
    """Of ``/rerank``, best first."""

    results: list[Passage]


class NerAnswer(OwnAnswer):
    """Of ``/ner``."""

    results: list[Entities]


class QaAnswer(OwnAnswer):
    """Of ``/qa``."""

    results: list[Answer]


class ChooseAnswer(OwnAnswer):
    """Of ``/choose``."""

    results: list[ChoiceMade]


class FillMaskAnswer(OwnAnswer):
    """Of ``/fill-mask``."""

    results: list[Masks]


class RtdAnswer(OwnAnswer):
    """Of ``/rtd``."""

    results: list[Words]


async def nli(call: Call, body: Nli) -> dict[str, object]:
    """Entailment, neutral, contradiction, whatever the order of the head."""
    model = call.use("nli")
    call.check_inputs(len(body.pairs))
    found = await call.answer(model.steps.nli(body.pairs), truncate=body.truncate)
    results = []
    for scores, cut in zip(found, call.truncated, strict=True):
        best = max(scores, key=lambda label: scores[label])
        results.append({"label": best, "score": scores[best], "scores": scores, "truncated": cut})
    return _answer(call, results)


async def classify(call: Call, body: Classify) -> dict[str, object]:
    """The head's own labels; a regression head gives its value as score, with null for label."""
    model = call.use("classify")
    call.check_inputs(len(body.texts))
    found = await call.answer(model.steps.classify(body.texts), truncate=body.truncate)
    return _answer(call, [{**one, "truncated": cut} for one, cut in zip(found, call.truncated, strict=True)])


async def zero_shot(call: Call, body: ZeroShot) -> dict[str, object]:
    """Zero-shot labels, by entailment."""
    model = call.use("zero-shot")
    count = len(body.labels)
    call.check_inputs(len(body.texts) * count)
    steps = model.steps.zero_shot(
        body.texts, body.labels, multi_label=body.multi_label, template=body.template
    )
    found = await call.answer(steps, truncate=body.truncate)
    cuts = [any(call.truncated[start : start + count]) for start in range(0, len(call.truncated), count)]
    return _answer(
        call,
        [
            {"labels": one["labels"], "scores": one["scores"], "truncated": cut}
            for one, cut in zip(found, cuts, strict=True)
        ],
    )


async def rerank(call: Call, body: RerankPassages) -> dict[str, object]:
    """Passages, best first."""
    model = call.use("rerank")
    call.check_inputs(len(body.passages))
    (found,) = await call.answer(model.steps.rerank([body.query], [body.passages]), truncate=body.truncate)
    return _answer(
        call,
        [
            {"index": one["index"], "score": one["score"], "truncated": call.truncated[one["index"]]}
            for one in found
        ],
    )


async def ner(call: Call, body: Ner) -> dict[str, object]:
    """Named entities."""
    model = call.use("ner")
    call.check_inputs(len(body.texts))
    found = await call.answer(model.steps.ner(body.texts, aggregation=body.aggregation))
    return _answer(call, [{"entities": one} for one in found])


async def qa(call: Call, body: Qa) -> dict[str, object]:
    """Answers, as spans of their contexts."""
    model = call.use("qa")
    call.check_inputs(len(body.questions))
    steps = model.steps.qa(
        [one.question for one in body.questions],
        [one.context for one in body.questions],
        n_best=body.n_best,
        null_threshold=body.null_threshold,
        max_answer_tokens=body.max_answer_tokens,
    )
    return _answer(call, await call.answer(steps))


async def choose(call: Call, body: Choose) -> dict[str, object]:
    """The best choice of each question."""
    model = call.use("choice")
    counts = [len(one.choices) for one in body.questions]
    call.check_inputs(sum(counts))
    steps = model.steps.choose(
        [one.context for one in body.questions], [one.choices for one in body.questions]
    )
    found = await call.answer(steps, truncate=body.truncate)
    flags = iter(call.truncated)
    cuts = [any([next(flags) for _ in range(count)]) for count in counts]
    return _answer(call, [{**one, "truncated": cut} for one, cut in zip(found, cuts, strict=True)])


async def fill_mask(call: Call, body: FillMask) -> dict[str, object]:
    """Words predicted for masks."""
    model = call.use("fill-mask")
    call.check_inputs(len(body.texts))
    found = await call.answer(model.steps.fill_mask(body.texts, top_k=body.top_k))
    return _answer(call, [{"masks": one} for one in found])


async def rtd(call: Call, body: Rtd) -> dict[str, object]:
    """The probability that each word was replaced."""
    model = call.use("rtd")
    call.check_inputs(len(body.texts))
    found = await call.answer(model.steps.rtd(body.texts))
    return _answer(call, [{"words": one} for one in found])


def _answer(call: Call, results: list[Json]) -> JsonObject:
    assert call.model is not None
    return {
        "model": call.model.name,
        "tokens": call.num_tokens,
        "milliseconds": {
            "tokenization": round(1000 * call.tokenization_seconds, 3),
            "queue": round(1000 * call.queue_seconds, 3),
            "compute": round(1000 * call.inference_seconds, 3),
            "total": round(1000 * call.total_seconds, 3),
        },
        "results": results,
    }

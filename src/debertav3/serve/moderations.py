"""OpenAI's ``/v1/moderations``: how gateways ask guard models for prompt injection, toxicity or PII."""

from typing import Annotated, Literal

from pydantic import Field
from typing_extensions import TypedDict

from ..heads import TOKENS
from .answers import ServedModel
from .schemas import Compatible, ModelName, Text
from .service import Call


class TextPart(Compatible):
    """A text part of one message."""

    type: Literal["text"]
    text: Text


class Moderation(Compatible):
    """Texts to judge; the parts of a list of objects are one message."""

    input: Text | Annotated[list[Text], Field(min_length=1)] | Annotated[list[TextPart], Field(min_length=1)]
    model: ModelName = None


class Verdict(TypedDict):
    """What one text is flagged for."""

    flagged: bool
    categories: dict[str, bool]
    category_scores: dict[str, float]


class ModerationAnswer(TypedDict):
    """A verdict for each text."""

    id: str
    model: str
    results: list[Verdict]


async def moderate(call: Call, body: Moderation) -> ModerationAnswer:
    """Judge each text by every label that is not a benign one, or by every kind of entity."""
    model = call.use("classify", "ner", suits=ServedModel.can_moderate)
    flags = model.flags()
    texts = _messages(body)
    call.check_inputs(len(texts))
    rows: list[dict[str, float]]
    if model.head == TOKENS:
        rows = []
        for entities in await call.answer(model.steps.ner(texts)):
            scores = dict.fromkeys(flags, 0.0)
            for entity in entities:
                kind = entity["entity_group"]
                scores[kind] = max(scores[kind], entity["score"])
            rows.append(scores)
    else:
        found = await call.answer(model.steps.classify(texts))
        rows = [{label: one["scores"][label] for label in flags} for one in found]
    return ModerationAnswer(
        id=f"modr-{call.id}", model=model.name, results=[_verdict(model, scores) for scores in rows]
    )


def _verdict(model: ServedModel, scores: dict[str, float]) -> Verdict:
    limit = model.predictor.probabilities.threshold
    categories = {label: score >= limit(label) for label, score in scores.items()}
    return Verdict(flagged=any(categories.values()), categories=categories, category_scores=scores)


def _messages(body: Moderation) -> list[str]:
    if isinstance(body.input, str):
        return [body.input]
    parts = [one.text for one in body.input if isinstance(one, TextPart)]
    return ["\n".join(parts)] if parts else [one for one in body.input if isinstance(one, str)]

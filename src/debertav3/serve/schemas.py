"""What the bodies of all dialects are made of."""

from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from ..inference.batching import Cut


class Strict(BaseModel):
    """A body of our own routes: unknown fields are refused."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Compatible(BaseModel):
    """A body of another server's route: clients of several servers send fields of all of them."""

    model_config = ConfigDict(extra="ignore", strict=True)


def _whole(value: object) -> object:
    """``20.0`` is an integer of JSON Schema, too; some clients write numbers so."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


WHOLE = BeforeValidator(_whole)
"""Stands after the bounds, so that the OpenAPI document has them."""
NOT_EMPTY = Field(json_schema_extra={"minItems": 1})
"""Of lists whose refusal has its dialect's own words: the OpenAPI document says it, the answer checks it."""


_NOT_BLANK = r"[^\s\x1c-\x1f\x85]"
_MASK = r"\[MASK\]"
_TEMPLATE = r"^[^{}]*\{\}[^{}]*$"
_LABELS = r"[^\s,]"
PATTERNS = {
    _NOT_BLANK: "at least one character that is not white space",
    _MASK: "a text with [MASK]",
    _TEMPLATE: "a text with {} once, where the label goes, and no other braces",
    _LABELS: "at least one label",
}
"""What each pattern of a text stands for."""

Text = Annotated[
    str, Field(pattern=_NOT_BLANK, description="At least one character that is not white space.")
]
Masked = Annotated[str, Field(pattern=_MASK)]
Template = Annotated[str, Field(pattern=_TEMPLATE)]
LabelLine = Annotated[str, Field(pattern=_LABELS, description="Labels with commas between.")]
ModelName = Annotated[
    str | None, Field(description="A served name; with a single model any name will do.", max_length=256)
]
Truncate = Annotated[
    bool | None,
    Field(description="Truncate inputs that are too long, or refuse them; null: the server's setting."),
]
Side = Literal["left", "right", "Left", "Right"]
Length = Annotated[int, Field(ge=8), WHOLE]
PromptTokens = Annotated[
    Annotated[Literal[-1], WHOLE] | Length | None,
    Field(description="Maximum tokens per input; -1: the model's limit."),
]


class TextObject(Compatible):
    """A text in an object."""

    text: Text


def text_of(item: str | TextObject) -> str:
    """The text of either form."""
    return item if isinstance(item, str) else item.text


def cut_of(*, side: Side | None = None, max_length: int | None = None) -> Cut:
    """How inputs that are too long are shortened; by default at the end that the model's tokenizer says.

    Args:
        side: which end goes.
        max_length: most tokens that the request asks for; -1: the model's limit.
    """
    limit = None if max_length is None or max_length < 0 else max_length
    cut = Cut(max_length=limit, is_asked=max_length is not None)
    return cut if side is None else cut._replace(side="left" if side.lower() == "left" else "right")


def usage(num_tokens: int) -> dict[str, object]:
    """Token counts in the form of OpenAI's API."""
    return {"prompt_tokens": num_tokens, "total_tokens": num_tokens, "completion_tokens": 0}

"""Conversations as chat models are trained on: what was asked is the text, the last answer is the label.

Where rows have a label beside the conversation, all of it is the text.

``{"messages": [{"role": "user", "content": "..."}, {"role": "assistant", "content": "spam"}]}``, and the
older ``{"conversations": [{"from": "human", "value": "..."}, {"from": "gpt", "value": "spam"}]}``.
"""

from collections.abc import Iterator, Mapping, Sequence

from ...errors import UserError
from ...json_types import Json, JsonObject
from ..labels import CUSTOM_LABEL_NAMES
from ..notes import Notes
from ..rows import shortened
from .format import RowFormat
from .marks import TEXT, Fields

_KEYS = ("messages", "conversations", "conversation")
_ROLES = ("role", "from")
_CONTENTS = ("content", "value")
_ANSWERING = ("assistant", "gpt", "model", "bot")
_INSTRUCTING = ("system", "developer")


def _turns(fields: Fields) -> tuple[str, Sequence[Mapping[str, Json]]] | None:
    """The key of a conversation, and its turns; None for other rows."""
    for key in _KEYS:
        turns = fields.get(key)
        if isinstance(turns, list) and turns and all(_is_turn(turn) for turn in turns):
            return key, turns
    return None


def _is_turn(turn: Json) -> bool:
    return isinstance(turn, Mapping) and any(
        role in turn and content in turn for role, content in zip(_ROLES, _CONTENTS, strict=True)
    )


def _fits(fields: Fields) -> bool:
    return TEXT not in fields and _turns(fields) is not None


def _read(fields: Fields, place: str, notes: Notes) -> Iterator[JsonObject]:
    found = _turns(fields)
    if found is None:
        raise UserError(f"{place}: has no messages with role and content, unlike the rows before it.")
    key, turns = found
    said = [(_first(turn, _ROLES), _first(turn, _CONTENTS)) for turn in turns]
    wrong = next((content for _, content in said if not isinstance(content, str)), None)
    if wrong is not None:
        raise UserError(f"{place}: the content of a message must be a text, got {shortened(wrong)}.")
    rest = {name: value for name, value in fields.items() if name not in (key, TEXT)}
    has_label = any(name in rest for name in CUSTOM_LABEL_NAMES)
    if not has_label:
        rest["label"] = said.pop()[1] if said[-1][0] in _ANSWERING else None
        notes.note("the text is what comes before the last answer, which is the label")
    texts = [content for role, content in said if role not in _INSTRUCTING]
    if len(texts) < len(said):
        notes.note("messages of the system", is_left_out=True)
    yield {TEXT: "\n".join(texts), **rest}


def _first(turn: Mapping[str, Json], names: Sequence[str]) -> Json:
    return next((turn[name] for name in names if name in turn), None)


CHAT = RowFormat(name="chat", title="conversations", fits=_fits, read=_read)

"""Prodigy: what ``db-out`` writes, for entities and for classes of texts (prodi.gy/docs/api-interfaces)."""

from collections.abc import Iterator, Mapping

from ...json_types import JsonObject
from ..notes import Notes
from .format import Marked, RowFormat
from .marks import ENTITIES, TEXT, Fields, read_marks

_ANSWERS = ("accept", "reject", "ignore")
_OWN = (
    "tokens",
    "spans",
    "answer",
    "options",
    "accept",
    "config",
    "relations",
    "versions",
    "html",
    "view_id",
)


def _fits(fields: Fields) -> bool:
    if not isinstance(fields.get(TEXT), str):
        return False
    has_answer = fields.get("answer") in _ANSWERS
    if "_task_hash" in fields or "_input_hash" in fields:
        return has_answer or "spans" in fields
    return has_answer and ("spans" in fields or "options" in fields or _has_tokens(fields))


def _has_tokens(fields: Fields) -> bool:
    tokens = fields.get("tokens")
    return isinstance(tokens, list) and all(isinstance(one, Mapping) and "start" in one for one in tokens)


def _read(fields: Fields, place: str, notes: Notes) -> Iterator[JsonObject]:
    answer = fields.get("answer", "accept")
    if answer != "accept":
        notes.add("rows were not accepted and are left out", f"{answer} ({place})")
        return
    row = {name: value for name, value in fields.items() if name not in _OWN and not name.startswith("_")}
    text = str(row.pop(TEXT, ""))
    if "options" in fields or "accept" in fields:
        chosen = fields.get("accept") or []
        is_single = _is_single(fields)
        yield {TEXT: text, **row, "label": (chosen[0] if chosen else None) if is_single else chosen}
        return
    if isinstance(fields.get("label"), str) and not fields.get("spans") and not _has_tokens(fields):
        yield {TEXT: text, **row}
        return
    row.pop("label", None)  # of the tool's page, the type that is marked next
    spans = read_marks(fields.get("spans") or [], text, place=place, notes=notes)
    yield {TEXT: text, **row, ENTITIES: spans}


def _is_single(fields: Fields) -> bool:
    """Whether one option is chosen: what the page was set up for, else what a row shows."""
    config = fields.get("config")
    style = config.get("choice_style") if isinstance(config, Mapping) else None
    return style != "multiple" if style else len(fields.get("accept") or []) == 1


def _write(marked: Marked) -> JsonObject:
    """A task for ``ner.manual``, with our words as its tokens, so that every entity ends with one."""
    first = {start: number for number, (start, _) in enumerate(marked.words)}
    last = {end: number for number, (_, end) in enumerate(marked.words)}
    tokens = [
        {
            TEXT: marked.text[start:end],
            "start": start,
            "end": end,
            "id": number,
            "ws": marked.text[end : end + 1].isspace(),
        }
        for number, (start, end) in enumerate(marked.words)
    ]
    spans = [
        {
            "start": mark.start,
            "end": mark.end,
            "token_start": first.get(mark.start),
            "token_end": last.get(mark.end),
            "label": mark.label,
            "score": score,
        }
        for mark, score in zip(marked.marks, marked.scores, strict=True)
    ]
    return {TEXT: marked.text, "tokens": tokens, "spans": spans, "meta": dict(marked.others)}


PRODIGY = RowFormat(name="prodigy", title="Prodigy", fits=_fits, read=_read, write=_write)

"""Label Studio: its full export (JSON), its short one (JSON-MIN and CSV), and tasks with predictions.

The forms are those of labelstud.io/guide/export and /guide/predictions. The names of the controls are free,
so what a result means goes by its type.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence

from ...errors import UserError
from ...json_types import Json, JsonMapping, JsonObject
from ..notes import Notes
from ..rows import is_missing, structured
from .format import Marked, RowFormat
from .marks import ENTITIES, TEXT, Fields, are_marks, is_mark, read_marks

_ANNOTATIONS = ("annotations", "completions")
"""``completions`` in exports of the first versions."""
_BOOKKEEPING = ("annotator", "annotation_id", "created_at", "updated_at", "lead_time")
_MODEL = "debertav3"


def _fits(fields: Fields) -> bool:
    return isinstance(fields.get("data"), Mapping) and any(
        name in fields for name in (*_ANNOTATIONS, "predictions")
    )


def _fits_short(fields: Fields) -> bool | None:
    """Whether a row has one annotation, with regions in a cell; a row without regions has no such cell."""
    if sum(name in fields for name in _BOOKKEEPING) < 2:
        return False
    return True if any(are_marks(cell) for cell in _cells(fields).values()) else None


def _fits_choices(fields: Fields) -> bool | None:
    if sum(name in fields for name in _BOOKKEEPING) < 2:
        return False
    return True if any(_is_choice(cell) for cell in _cells(fields).values()) else None


def _cells(fields: Fields) -> JsonObject:
    return {name: structured(value) for name, value in fields.items() if name not in _BOOKKEEPING}


def _is_choice(cell: object) -> bool:
    return isinstance(cell, Mapping) and isinstance(cell.get("choices"), list)


def _read(fields: Fields, place: str, notes: Notes) -> Iterator[JsonObject]:
    yield _full(fields, place, notes)


def _full(fields: Fields, place: str, notes: Notes) -> JsonObject:
    """One task with all that its annotators did."""
    row = dict(fields["data"])
    if "id" in fields:
        row.setdefault("id", fields["id"])
    given = next((fields[name] for name in _ANNOTATIONS if name in fields), None)
    is_predicted = given is None
    if is_predicted:
        given = fields.get("predictions")
    done = [
        one
        for one in given or []
        if isinstance(one, Mapping) and not (one.get("was_cancelled") or one.get("skipped"))
    ]
    if not done:
        return {**row, ENTITIES: None}
    chosen = next((one for one in done if one.get("ground_truth")), done[0])
    if len({_summary(one) for one in done}) > 1:
        kept = "the one marked as ground truth" if chosen.get("ground_truth") else "the first"
        notes.add("texts have annotations that differ; one of them is kept", f"{kept} ({place})")
    if is_predicted:
        notes.add("tasks have predictions and nobody's annotations; the predictions are read", f"{place}")
    return _with_results(row, chosen.get("result") or [], place, notes)


def _summary(annotation: Fields) -> str:
    """What an annotation says, without ids and times."""
    return repr(sorted(repr(one.get("value")) for one in annotation.get("result") or [] if "value" in one))


def _with_results(row: JsonObject, results: Sequence[Fields], place: str, notes: Notes) -> JsonObject:
    """A task's data, and the entities and choices of one annotation."""
    regions: list[JsonMapping] = []
    choices: JsonObject = {}
    for result in results:
        value = result.get("value")
        if not isinstance(value, Mapping):
            continue  # a relation
        kind = str(result.get("type"))
        if "start" in value and isinstance(value.get(kind), list) and kind.endswith("labels"):
            if not value[kind]:
                notes.add("entities have no label and were left out", f"{value.get('text', '')!r} ({place})")
                continue
            region = {"start": value["start"], "end": value["end"], "text": value.get("text")}
            regions.append({**region, "labels": value[kind]})
        elif kind in ("choices", "rating", "number", "pairwise") and "start" not in value:
            choices[str(result.get("from_name", "label"))] = _choice(value, kind)
    if len(choices) == 1:
        row["label"] = next(iter(choices.values()))
    else:
        row.update(choices)
    if choices and not regions:
        return row
    return _with_marks(row, regions, place, notes)


def _choice(value: Fields, kind: str) -> object:
    """What was chosen for a whole text: one name, several, or a number."""
    chosen = value.get("selected") if kind == "pairwise" else value.get(kind)
    return chosen[0] if isinstance(chosen, list) and len(chosen) == 1 else chosen


def _with_marks(row: JsonObject, regions: Sequence[Json], place: str, notes: Notes) -> JsonObject:
    for region in regions:
        if not is_mark(region):
            raise UserError(
                f"{place}: a region begins at {region.get('start')!r}, which is a path in HTML, not a number "
                "of characters. Annotate plain text (<Text>, not <HyperText>), and export it as JSON."
            )
    column = _text_column(row, regions)
    if column is None:
        raise UserError(f"{place}: none of {', '.join(map(repr, row)) or 'its fields'} is a text.")
    text = row.pop(column)
    return {TEXT: text, **row, ENTITIES: read_marks(regions, text, place=place, notes=notes)}


def _text_column(row: Fields, regions: Sequence[Json]) -> str | None:
    """The field that was annotated: ``text``, else the one that has the entities, else the longest."""
    texts = {name: value for name, value in row.items() if isinstance(value, str)}
    if TEXT in texts:
        return TEXT
    for name, value in texts.items():
        if regions and all(value[one["start"] : one["end"]] == one.get("text") for one in regions):
            return name
    return max(texts, key=lambda name: len(texts[name]), default=None)


def _read_short(fields: Fields, place: str, notes: Notes) -> Iterator[JsonObject]:
    """The entities of one annotation."""
    cells = _cells(fields)
    marked = [name for name, cell in cells.items() if are_marks(cell) or cell == []]
    row = {name: _plain(cell) for name, cell in cells.items() if name not in marked}
    if not _is_repeated(fields, place, notes):
        yield _with_marks(row, [one for name in marked for one in cells[name]], place, notes)


def _read_choices(fields: Fields, place: str, notes: Notes) -> Iterator[JsonObject]:
    """The choices of one annotation."""
    if not _is_repeated(fields, place, notes):
        yield {name: _plain(cell) for name, cell in _cells(fields).items()}


def _plain(cell: Json) -> Json:
    return cell["choices"] if _is_choice(cell) else cell


def _is_repeated(fields: Fields, place: str, notes: Notes) -> bool:
    """Whether another annotator's row of the same task was read before."""
    task = fields.get("id")
    if is_missing(task):
        return False
    if task in notes.seen:
        notes.add("rows repeat a task that another annotator did; the first is kept", place)
        return True
    notes.seen.add(task)
    return False


def _write(marked: Marked) -> JsonObject:
    """A task with a prediction, for a project with the template "Named Entity Recognition"."""
    results = [
        {
            "id": hashlib.sha256(repr(mark).encode("utf-8", "surrogatepass")).hexdigest()[:10],
            "from_name": "label",
            "to_name": "text",
            "type": "labels",
            "value": {
                "start": mark.start,
                "end": mark.end,
                "text": marked.text[mark.start : mark.end],
                "labels": [mark.label],
            },
            "score": score,
        }
        for mark, score in zip(marked.marks, marked.scores, strict=True)
    ]
    sure = min(marked.scores, default=1.0)
    return {
        "data": {**marked.others, TEXT: marked.text},
        "predictions": [{"model_version": _MODEL, "score": sure, "result": results}],
    }


LABEL_STUDIO = RowFormat(name="label-studio", title="Label Studio", fits=_fits, read=_read, write=_write)
LABEL_STUDIO_SHORT = RowFormat(
    name="label-studio-short", title="Label Studio's short export", fits=_fits_short, read=_read_short
)
LABEL_STUDIO_CHOICES = RowFormat(
    name="label-studio-choices",
    title="Label Studio's short export of choices",
    fits=_fits_choices,
    read=_read_choices,
)

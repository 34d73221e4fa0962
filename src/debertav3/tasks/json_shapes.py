"""One JSON document as rows, in any of the shapes that people save tables in.

A list of objects; pandas' ``to_json`` in every ``orient``; columns by name; records under a key; SQuAD's
official form; SNIPS' utterances by intent; the documents of multiple choice with several questions each.
"""

from collections.abc import Callable, Iterable, Sequence

from ..errors import UserError
from ..json_types import Json, JsonMapping, JsonObject
from .annotations.spacy import pair_as_row, pairs_in
from .choice_documents import dream_rows, is_dream, is_race, race_rows
from .class_names import viewer_rows
from .columns import USUAL_NAMES
from .dialect import has_names
from .rows import nested_value
from .source_file import Found, SourceFile, unlike_names

_ROWS_LOOKED_AT = 60

_RECORD_KEYS = (
    "data",
    "examples",
    "rows",
    "records",
    "instances",
    "items",
    "samples",
    "sentences",
    "questions",
)
"""Under these names a list of objects is the rows, whatever else the document says about itself."""


def is_one_document(value: Json) -> bool:
    """Whether an object that a file holds alone is a whole table rather than one row of it."""
    if not isinstance(value, dict) or not value:
        return False
    if pairs_in(value) is not None or viewer_rows(value) is not None or _splits(value):
        return True
    if any(_is_rows(value.get(name)) for name in _RECORD_KEYS) or _snips(value) is not None:
        return True
    if is_race(value):
        return False
    return (
        any(shape(value) is not None for shape in (_pandas_split, _columns, _index, _by_name))
        or (_path_of_rows(value) is not None)
        or (all(_is_rows(one) for one in value.values()))
    )


def rows_of_document(content: Json, file: SourceFile, *, under: str = "") -> Found:
    """The rows of one document.

    Args:
        content: the parsed document.
        file: where it comes from; what is found out is noted there.
        under: the key under which it was found, for messages.

    Raises:
        UserError: if it has none of the shapes, or several lists of rows and none is named.
    """
    content = pairs_in(content) or viewer_rows(content) or content
    if isinstance(content, list):
        yield from _rows_of_list(content, file)
        return
    if not isinstance(content, dict):
        raise UserError(
            f"{file.path} is one JSON {type(content).__name__}. Need a list of objects, or lines."
        )
    if any(isinstance(one, dict) and "paragraphs" in one for one in _listed(content.get("data"))):
        file.details.append("SQuAD's form")
        yield from _questions(content["data"], str(file.path))
        return
    if is_race(content):
        file.details.append("RACE's form")
        yield from race_rows(content, str(file.path))
        return
    if file.options.records is not None and not under:
        asked = file.options.records
        names = [asked] if asked in content else [name.strip() for name in asked.split(",")]
        lists = {name: content.get(name) or nested_value(content, name) for name in names}
        for name in names:
            if not lists[name]:
                raise UserError(
                    f"{file.path} has nothing called {name!r}; it has {', '.join(map(repr, content))}."
                )
        for name in names:
            file.details.append(f"the rows under {name!r}")
            for where, fields in rows_of_document(lists[name], file, under=name):
                yield f"{where} of {name!r}" if len(names) > 1 else where, fields
        return
    if _splits(content):
        raise _which(content, file)
    utterances = _snips(content)
    if utterances is not None:
        file.details.append("SNIPS' form")
        yield from _numbered(utterances)
        return
    for what, shape in _SHAPES:
        found = shape(content)
        if found is not None:
            file.details.append(what)
            yield from _numbered(found)
            return
    key = _records_key(content, file)
    if key is None and (path := _path_of_rows(content)) is not None:
        file.details.append(f"the rows under {path!r}")
        yield from rows_of_document(nested_value(content, path), file, under=path)
        return
    if key is None:
        yield "row 1", content
        return
    left = [other for other in content if other != key and _is_rows(content[other])]
    for other in left:
        file.notes.note(f"the rows under {other!r}", "--records " + other, is_left_out=True)
    file.details.append(f"the rows under {key!r}")
    yield from rows_of_document(content[key], file, under=key)


def _rows_of_list(content: Sequence[Json], file: SourceFile) -> Found:
    if content and all(map(is_dream, content)):
        file.details.append("DREAM's form")
        yield from dream_rows(content, str(file.path))
        return
    if content and all(isinstance(one, dict) and is_race(one) for one in content):
        file.details.append("RACE's form")
        for one in content:
            yield from race_rows(one, str(file.path))
        return
    if content and all(isinstance(one, dict) and "qas" in one and "context" in one for one in content):
        file.details.append("SQuAD's paragraphs")
        yield from _questions([{"paragraphs": content}], str(file.path))
        return
    if content and all(isinstance(one, list) and _is_flat(one) for one in content):
        yield from _lists(content, file)
        return
    for number, value in enumerate(content, start=1):
        fields = pair_as_row(value) or value
        if isinstance(fields, dict):
            yield f"row {number}", fields
        else:
            file.skip(UserError(f"{file.path} row {number} is not an object with named fields."))


def _lists(content: Sequence[Sequence[Json]], file: SourceFile) -> Found:
    """Rows as lists of cells, as pandas' ``orient="values"``, CLINC and Google Sheets' API write them.

    The first list may have the names of the columns; else they are numbered.
    """
    file.details.append("a list of cells for each row")
    width = max(map(len, content))
    has_header = file.options.has_header
    if has_header is None:
        texts = [["" if one is None else str(one) for one in row] for row in content[:_ROWS_LOOKED_AT]]
        are_texts = all(isinstance(one, str) for one in content[0])
        has_header = are_texts and len(content) > 1 and has_names(texts, file.options.columns)
    if has_header:
        names = unlike_names([str(one) for one in content[0]], f"{file.path} row 1")
    else:
        names = [str(number) for number in range(1, width + 1)]
        file.notes.note(f"the columns have no names, so they are called {', '.join(names)}")
    for number, cells in enumerate(content[has_header:], start=1 + has_header):
        if len(cells) == width:
            yield f"row {number}", dict(zip(names, cells, strict=True))
        else:
            file.skip(UserError(f"{file.path} row {number} has {len(cells)} cells; others have {width}."))


def _records_key(content: JsonMapping, file: SourceFile) -> str | None:
    """The key of the rows in an object; None if it is one row itself.

    Raises:
        UserError: if there are several lists of rows.
    """
    names = [name for name, value in content.items() if _is_rows(value)]
    usual = [name for name in _RECORD_KEYS if name in names]
    if usual:
        return usual[0]
    if len(names) > 1:
        raise _which(names, file)
    is_alone = len(names) == 1 and not any(isinstance(value, str) for value in content.values())
    return names[0] if is_alone else None


def _which(names: Iterable[str], file: SourceFile) -> UserError:
    names = list(names)
    return UserError(
        f"{file.path} has several lists of rows: {', '.join(map(repr, names))}. "
        f"Say which with --records {'train' if 'train' in names else names[0]}."
    )


def _splits(content: JsonMapping) -> bool:
    """Whether an object has a table of columns for each of several splits, as ``to_dict`` of ``datasets``."""
    tables = [value for value in content.values() if isinstance(value, dict)]
    return len(tables) == len(content) > 1 and all(
        len(one) > 1 and all(isinstance(cells, list) for cells in one.values()) and _columns(one) is not None
        for one in tables
    )


def _path_of_rows(content: JsonMapping, *, before: str = "", depth: int = 4) -> str | None:
    """The only list of rows within objects within an object; None if there is none, or several."""
    inner = {name: value for name, value in content.items() if isinstance(value, dict)}
    if len(inner) < len(content) and not before and any(isinstance(value, str) for value in content.values()):
        return None
    found = [f"{before}{name}" for name, value in content.items() if before and _is_rows(value)]
    for name, value in inner.items() if depth else ():
        path = _path_of_rows(value, before=f"{before}{name}.", depth=depth - 1)
        found += [] if path is None else [path]
    return found[0] if len(found) == 1 else None


def _is_rows(value: Json) -> bool:
    """Whether a value is a list of objects, or of lists of cells."""
    if not isinstance(value, list) or not value:
        return False
    return all(isinstance(one, dict) for one in value) or all(
        isinstance(one, list) and len(one) > 1 and _is_flat(one) for one in value
    )


def _is_flat(cells: Sequence[Json]) -> bool:
    return not any(isinstance(one, list | dict) for one in cells)


def _listed(value: Json) -> Sequence[Json]:
    return value if isinstance(value, list) else ()


def _numbered(rows: Sequence[JsonMapping]) -> Found:
    for number, fields in enumerate(rows, start=1):
        yield f"row {number}", dict(fields)


def _pandas_split(content: JsonMapping) -> list[JsonObject] | None:
    """``{"columns": [...], "index": [...], "data": [[...], ...]}``."""
    names, data = content.get("columns"), content.get("data")
    if not isinstance(names, list) or not isinstance(data, list):
        return None
    if not all(isinstance(cells, list) and len(cells) == len(names) for cells in data):
        return None
    return [dict(zip(map(str, names), cells, strict=True)) for cells in data]


def _snips(content: JsonMapping) -> list[JsonObject] | None:
    """Utterances by intent, in parts (Coucke et al. 2018).

    ``{"AddToPlaylist": [{"data": [{"text": "add "}, {"text": "it", "entity": "track"}]}]}``
    """
    rows: list[JsonObject] = []
    for intent, utterances in content.items():
        if not isinstance(utterances, list) or not utterances:
            return None
        for one in utterances:
            parts = one.get("data") if isinstance(one, dict) and len(one) == 1 else None
            if not isinstance(parts, list) or not all(
                isinstance(part, dict) and isinstance(part.get("text"), str) for part in parts
            ):
                return None
            text, entities = "", []
            for part in parts:
                start, text = len(text), text + part["text"]
                if isinstance(part.get("entity"), str):
                    entities.append({"start": start, "end": len(text), "label": part["entity"]})
            rows.append({"text": text, "intent": intent, "entities": entities})
    return rows or None


def _columns(content: JsonMapping) -> list[JsonObject] | None:
    """Columns by name: lists of equal length, or pandas' dicts from the index to the cell."""
    values = list(content.values())
    if len(values) > 1 and all(isinstance(one, list) for one in values):
        if len(set(map(len, values))) > 1 or all(map(_is_rows, values)) or not values[0]:
            return None
        return [dict(zip(content, cells, strict=True)) for cells in zip(*values, strict=True)]
    if not values or not all(isinstance(one, dict) and one for one in values):
        return None
    index = list(values[0])
    if not all(list(one) == index for one in values) or not _is_index(index):
        return None
    return [{name: column[key] for name, column in content.items()} for key in index]


def _index(content: JsonMapping) -> list[JsonObject] | None:
    """Pandas' ``orient="index"``: rows by index."""
    values = list(content.values())
    if not all(isinstance(one, dict) and one for one in values) or not _is_index(list(content)):
        return None
    return values


def _by_name(content: JsonMapping) -> list[JsonObject] | None:
    """Rows by an identifier of any kind, which becomes their column ``id``."""
    values = list(content.values())
    if len(values) < 2 or not all(isinstance(one, dict) and one.keys() == values[0].keys() for one in values):
        return None
    if sum(str(name).lower() in USUAL_NAMES for name in values[0]) < 2 or _is_index(list(content)):
        return None
    return [{"id": name, **fields} for name, fields in content.items()]


def _is_index(keys: Sequence[str]) -> bool:
    """Whether keys are pandas' usual index, whole numbers."""
    return all(key.lstrip("-").isdecimal() for key in keys)


_SHAPES: tuple[tuple[str, Callable[[JsonMapping], list[JsonObject] | None]], ...] = (
    ("pandas' orient=split", _pandas_split),
    ("columns by name", _columns),
    ("rows by index", _index),
    ("rows by name", _by_name),
)


def _questions(articles: Sequence[Json], source: str) -> Found:
    """The questions of SQuAD's official form, as rows of its copy on the Hub."""
    try:
        for article in articles:
            for paragraph in article["paragraphs"]:
                for question in paragraph["qas"]:
                    row = {
                        "id": str(question["id"]),
                        **({"title": article["title"]} if "title" in article else {}),
                        "context": paragraph["context"],
                        "question": question["question"],
                    }
                    if "is_impossible" in question:
                        row["is_impossible"] = question["is_impossible"]
                    if "answers" in question:
                        answers = question["answers"]
                        row["answers"] = {
                            name: [one[name] for one in answers] for name in ("text", "answer_start")
                        }
                    yield f"question {question['id']}", row
    except (KeyError, TypeError) as error:
        raise UserError(
            f"{source} is not in SQuAD's format: {type(error).__name__} {error}. Need data, paragraphs, qas."
        ) from error

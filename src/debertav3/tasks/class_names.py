"""Names of classes that Hugging Face's ``datasets`` keeps beside numbers: in Parquet files and in JSON.

A column of type ``ClassLabel`` holds numbers from 0. Their names are in the description of the features,
which is in the metadata of a Parquet file, in ``dataset_info.json`` and in the answers of the Hub's viewer.
"""

import json
from collections.abc import Mapping
from pathlib import Path

from ..json_types import Json

INFO = "dataset_info.json"
_MOST_BYTES = 8 << 20


def names_in_features(features: object) -> dict[str, list[str]]:
    """Names of the classes of each column that has some, of a description of features in JSON."""
    if isinstance(features, list):  # the Hub's viewer
        features = {one.get("name"): one.get("type") for one in features if isinstance(one, Mapping)}
    found = {}
    for column, feature in features.items() if isinstance(features, Mapping) else ():
        while isinstance(feature, Mapping) and isinstance(feature.get("feature"), Mapping):
            feature = feature["feature"]
        feature = feature[0] if isinstance(feature, list) and feature else feature
        names = feature.get("names") if isinstance(feature, Mapping) else None
        if isinstance(names, Mapping):  # of a data set's card: {"0": "O", "1": "B-PER"}
            names = list(names.values())
        if isinstance(names, list) and all(isinstance(name, str) for name in names):
            found[str(column)] = names
    return found


def names_beside(path: Path) -> dict[str, list[str]]:
    """Names of classes that a ``dataset_info.json`` in the folder of a file has; none without one."""
    file = path.parent / INFO
    try:
        if not file.is_file() or file.stat().st_size > _MOST_BYTES:
            return {}
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return names_in_features(content.get("features")) if isinstance(content, Mapping) else {}


def names_in_metadata(metadata: Mapping[bytes, bytes] | None) -> dict[str, list[str]]:
    """Names of classes that ``datasets`` has written into the metadata of a Parquet file."""
    try:
        content = json.loads((metadata or {}).get(b"huggingface", b"{}"))
    except ValueError:
        return {}
    info = content.get("info") if isinstance(content, Mapping) else None
    return names_in_features(info.get("features")) if isinstance(info, Mapping) else {}


def with_names(fields: dict[str, object], names: Mapping[str, list[str]]) -> dict[str, object]:
    """A row with the names of its classes in place of their numbers."""
    return {
        column: named(value, names[column]) if column in names else value for column, value in fields.items()
    }


def named(value: Json, names: list[str]) -> Json:
    """A number, or a list of numbers, as names; what is not the number of a name stays as it is."""
    if isinstance(value, list):
        return [named(one, names) for one in value]
    is_number = isinstance(value, int) and not isinstance(value, bool)
    return names[value] if is_number and 0 <= value < len(names) else value


def viewer_rows(content: object) -> list[dict[str, object]] | None:
    """The rows of an answer of the Hub's viewer (``/rows``, ``/first-rows``); None if it is none."""
    if not isinstance(content, Mapping) or not isinstance(content.get("features"), list):
        return None
    rows = content.get("rows")
    if not isinstance(rows, list) or not all(isinstance(one, Mapping) and "row" in one for one in rows):
        return None
    names = names_in_features(content["features"])
    return [with_names(dict(one["row"]), names) for one in rows]

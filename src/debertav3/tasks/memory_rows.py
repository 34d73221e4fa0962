"""Labelled rows that a program holds in memory, written as the JSON lines that a task reads.

A list of dicts, a pandas DataFrame, a ``datasets.Dataset``. They go through a file so that a cell means what
it means there, for every task, and so that a run can be repeated from what it read.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from ..errors import UserError
from ..files import replacing_text
from .rows import listed, shortened
from .source_file import unlike_names
from .table_writers import as_json, json_line
from .typed_tables import dataset_rows

_KINDS = "a path, a list of dicts, a pandas DataFrame or a datasets.Dataset"


def are_paths(data: object) -> bool:
    """Whether ``data`` names sources, a single one or several, rather than holding rows."""
    if isinstance(data, str | Path):
        return True
    return isinstance(data, list | tuple) and all(isinstance(one, str | Path) for one in data)


def write_rows(rows: object, path: Path, *, name: str) -> None:
    """Write rows as JSON lines; a file that holds exactly these rows already is left alone.

    Args:
        rows: a list of dicts, a DataFrame or a Dataset.
        path: the file.
        name: what the caller calls the rows, for messages.

    Raises:
        UserError: if they are not rows, a cell has no form in JSON, or the file holds other rows.
    """
    text = "".join(_lines(rows, name))
    if not text:
        raise UserError(f"{name} has no rows. Give at least one.")
    if path.exists():
        if path.read_bytes() != text.encode("utf-8"):
            raise UserError(
                f"{name}: {path} contains other rows, from an earlier call. Give the same "
                "rows, or another folder."
            )
        return
    with replacing_text(path) as file:
        file.write(text)


def _lines(rows: object, name: str) -> Iterator[str]:
    for number, row in enumerate(_dicts(rows, name), start=1):
        if not isinstance(row, Mapping):
            raise UserError(f"{name} row {number} must be a dict, got {shortened(row)}. Need {_KINDS}.")
        fields = {str(column): value for column, value in row.items()}
        if len(fields) < len(row):
            raise UserError(f"{name} row {number}: two columns have one name; it has {listed(list(row))}.")
        yield json_line(
            {column: _plain(value, f"{name} row {number}: {column}") for column, value in fields.items()}
        )


def _dicts(rows: object, name: str) -> Iterable[object]:
    """The rows one by one, whatever holds them."""
    if hasattr(rows, "itertuples") and hasattr(rows, "columns"):  # a DataFrame of pandas
        names = unlike_names([str(column) for column in rows.columns], name)
        return (dict(zip(names, cells, strict=True)) for cells in rows.itertuples(index=False, name=None))
    if type(rows).__module__.partition(".")[0] == "datasets":
        if isinstance(rows, Mapping):
            raise UserError(
                f"{name} is a DatasetDict with the splits {listed(list(rows))}. Give one of them."
            )
        return dataset_rows(rows)
    if isinstance(rows, Mapping | str | bytes) or not isinstance(rows, Iterable):
        raise UserError(f"{name} must be {_KINDS}; got a {type(rows).__name__}.")
    return rows


def _plain(value: object, where: str) -> object:
    """A cell in JSON's own types, without numpy's and pandas'; their marks of a gap, NaN too, as None."""
    if type(value).__name__ in ("NAType", "NaTType") or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, float) and math.isinf(value):
        raise UserError(f"{where} is an infinite number. Write a finite one, or leave it out.")
    if type(value) in (str, int, float, bool) or value is None:
        return value
    if isinstance(value, str):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(one, where) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one, where) for one in value]
    if hasattr(value, "tolist"):  # numpy's arrays and numbers
        return _plain(value.tolist(), where)
    try:
        return as_json(value)  # dates and decimals
    except UserError:
        raise UserError(
            f"{where} holds a {type(value).__name__}; a cell is a text, a number, a boolean, a list, "
            "a dict or None. Leave the column out, or convert it."
        ) from None

"""The file formats of labelled rows: each is a function from a file to its rows, all are in `FORMATS`.

To add one, write ``read(file) -> iterator of (where, fields)`` and put a `Format` into the tuple.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from ..errors import UserError
from .annotations.brat import read_brat
from .annotations.conll import looks_like_conll, read_conll
from .annotations.spacy import read_docbin
from .json_rows import read_json, read_jsonl
from .source_file import UTF16_MARKS, Found, SourceFile
from .text_tables import TextTable
from .typed_tables import read_dataset, read_parquet, read_xlsx

FormatName = Literal["jsonl", "json", "csv", "tsv", "parquet", "xlsx", "conll", "spacy", "brat", "datasets"]


@dataclass(frozen=True)
class Format:
    """One kind of file."""

    name: FormatName
    endings: tuple[str, ...]
    read: Callable[[SourceFile], Found]
    is_written: bool = False
    is_packed: bool = False
    """Whether it is compressed within, so that it cannot be compressed again."""
    is_typed: bool = False
    """Whether its cells have types of their own, which tasks read as the text that a CSV file has."""


JSONL = Format("jsonl", (".jsonl", ".ndjson"), read_jsonl, is_written=True)
JSON = Format("json", (".json",), read_json, is_written=True)
CSV = Format("csv", (".csv",), TextTable(",;\t|", is_quoted=True), is_written=True)
TSV = Format("tsv", (".tsv",), TextTable("\t", is_quoted=False))
"""As the official files of GLUE: a quote is a character of the text, and cells are never quoted."""
PARQUET = Format("parquet", (".parquet", ".pq"), read_parquet, is_written=True, is_packed=True)
XLSX = Format("xlsx", (".xlsx",), read_xlsx, is_written=True, is_packed=True, is_typed=True)
CONLL = Format("conll", (".conll", ".conllu", ".bio", ".iob", ".iob2"), read_conll)
SPACY = Format("spacy", (".spacy",), read_docbin, is_packed=True)
BRAT = Format("brat", (".ann",), read_brat)
"""A folder, or one file of annotations beside its text."""
DATASETS = Format("datasets", (), read_dataset)
FORMATS = (JSONL, JSON, CSV, TSV, PARQUET, XLSX, CONLL, SPACY, BRAT)
"""Every format of a file."""
ENDINGS = tuple(ending for one in FORMATS for ending in one.endings)


def format_named(name: str) -> Format:
    """The format of a name.

    Raises:
        UserError: if there is none.
    """
    for one in FORMATS:
        if one.name == name:
            return one
    names = ", ".join(one.name for one in FORMATS)
    raise UserError(f"unknown format {name!r}. Choose one of: {names}.")


def format_within(file: SourceFile) -> Format | None:
    """The format that the first bytes of a file show; None if they do not."""
    head = file.head()
    if head.startswith(b"PAR1"):
        return PARQUET
    if head.startswith(b"PK\x03\x04"):
        return XLSX
    text = head.decode("utf-16" if head.startswith(UTF16_MARKS) else "utf-8-sig", "ignore").lstrip()
    if text.startswith("{"):
        return JSON
    if text.startswith("["):
        return JSON
    return CONLL if is_conll(file) else None


def is_conll(file: SourceFile) -> bool:
    """Whether the first lines of a text file are words with tags of entities."""
    head = file.head()
    text = head.decode("utf-16" if head.startswith(UTF16_MARKS) else "utf-8-sig", "ignore")
    lines = text.split("\n")
    return looks_like_conll(lines[:-1] or lines)  # the last may be cut

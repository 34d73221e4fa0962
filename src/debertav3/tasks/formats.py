"""The file formats of labelled rows: each is a function from a file to its rows, all are in `FORMATS`.

To add one, write ``read(file) -> iterator of (where, fields)`` and put a `Format` into the tuple.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from ..errors import UserError
from ..files.compression import members
from .annotations.brat import read_brat
from .annotations.conll import looks_like_conll, read_conll
from .annotations.spacy import read_docbin
from .choice_documents import read_race_folder
from .json_rows import read_json, read_jsonl
from .ranking_rows import read_qrels
from .rows import first_of
from .source_file import Found, SourceFile
from .text_tables import FASTTEXT_MARK, TextTable, read_class_folders, read_fasttext
from .typed_tables import read_dataset, read_parquet, read_xlsx
from .xml_rows import read_xml

FormatName = Literal[
    "jsonl",
    "json",
    "csv",
    "tsv",
    "parquet",
    "xlsx",
    "conll",
    "fasttext",
    "xml",
    "spacy",
    "brat",
    "beir",
    "race",
    "class-folders",
    "datasets",
]


@dataclass(frozen=True)
class Format:
    """One kind of file."""

    name: FormatName
    endings: tuple[str, ...]
    read: Callable[[SourceFile], Found]
    is_written: bool = False
    is_packed: bool = False
    """Whether it is compressed within, so that it cannot be compressed again."""
    title: str = ""
    """What a user calls it."""
    is_typed: bool = False
    """Whether its cells have types of their own, which tasks read as the text that a CSV file has."""


JSONL = Format("jsonl", (".jsonl", ".ndjson"), read_jsonl, is_written=True, title="JSON lines")
JSON = Format("json", (".json",), read_json, is_written=True, title="JSON")
CSV = Format("csv", (".csv",), TextTable(",;\t|", is_quoted=True), is_written=True, title="a table of text")
TSV = Format("tsv", (".tsv",), TextTable("\t", is_quoted=False), title="a table of text")
"""As the official files of GLUE: a quote is a character of the text, unless all look as pandas quotes."""
PARQUET = Format(
    "parquet", (".parquet", ".pq"), read_parquet, is_written=True, is_packed=True, title="Parquet"
)
XLSX = Format("xlsx", (".xlsx",), read_xlsx, is_written=True, is_packed=True, title="Excel", is_typed=True)
CONLL = Format("conll", (".conll", ".conllu", ".bio", ".iob", ".iob2"), read_conll, title="CoNLL")
FASTTEXT = Format("fasttext", (".ft", ".fasttext"), read_fasttext, title="fastText")
SPACY = Format("spacy", (".spacy",), read_docbin, is_packed=True, title="spaCy's DocBin")
BRAT = Format("brat", (".ann",), read_brat, title="brat")
"""A folder, or one file of annotations beside its text."""
BEIR = Format("beir", (), read_qrels, title="a folder of queries and passages")
CLASS_FOLDERS = Format("class-folders", (), read_class_folders, title="a folder of texts for each class")
RACE = Format("race", (), read_race_folder, title="a folder of RACE's articles")
XML = Format("xml", (".xml",), read_xml, title="XML")
DATASETS = Format("datasets", (), read_dataset, title="a data set")
FORMATS = (JSONL, JSON, CSV, TSV, PARQUET, XLSX, CONLL, FASTTEXT, XML, SPACY, BRAT)
"""Every format of a file."""
LOOK_ALIKE = (CSV, TSV, CONLL, FASTTEXT)
"""Text files that only their content, or their user, tells apart."""
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


_WAYS_IN = {
    ".xls": "Save it as .xlsx or CSV.",
    ".ods": "Save it as .xlsx or CSV.",
    ".pkl": "A pickle may run code; write a table: pandas.read_pickle(path).to_csv('x.csv').",
    ".pickle": "A pickle may run code; write a table: pandas.read_pickle(path).to_csv('x.csv').",
    ".feather": "Write Parquet: pandas.read_feather(path).to_parquet('x.parquet').",
    ".arrow": "Write Parquet: datasets.Dataset.from_file(path).to_parquet('x.parquet').",
    ".dta": "Write a table: pandas.read_stata(path).to_csv('x.csv').",
    ".sav": "Write a table: pandas.read_spss(path).to_csv('x.csv').",
    ".md": "Write the table as CSV.",
    ".arff": "Write a table: its @data with a line of names.",
    ".tar": "Unpack it and name one file.",
    ".tgz": "Unpack it and name one file.",
    ".sqlite": "Write a table: sqlite3 -csv -header FILE 'select ...' > x.csv.",
    ".db": "Write a table: sqlite3 -csv -header FILE 'select ...' > x.csv.",
}
"""What to do with files of kinds that are not read."""


def way_in(ending: str) -> str:
    """What to do with a file whose kind is not known, by its ending."""
    usual = f"Need {', '.join(ENDINGS)} (text also with .gz or .zst), or --format csv, tsv, ... for a table."
    return _WAYS_IN.get(ending.lower(), usual)


_LINES_LOOKED_AT = 200


def format_within(file: SourceFile, *, may_be_table: bool = True) -> Format | None:
    """The format that the first bytes of a file show; None if they do not.

    Args:
        file: which file.
        may_be_table: whether lines that are cut into equally many cells are a table.
    """
    certain = certain_format(file)
    if certain is not None:
        return certain
    text = file.head_text().lstrip()
    lines = text.splitlines()[:-1][:_LINES_LOOKED_AT] or text.splitlines()
    if is_conll(file):
        return CONLL
    return _table_within(lines, is_asked=bool(file.options.columns)) if may_be_table else None


def _office_format(file: SourceFile) -> Format:
    """Excel's, of the formats that are zip archives.

    Raises:
        UserError: for another one, or an archive of several files.
    """
    names = members(file.path)
    if "xl/workbook.xml" in names or not names:
        return XLSX  # whose reader reports damage
    if "content.xml" in names:
        raise UserError(f"{file.path} is an OpenDocument file. Save it as Excel workbook (.xlsx) or CSV.")
    if "word/document.xml" in names:
        raise UserError(f"{file.path} is a Word document. Save its table as CSV.")
    shown = first_of(names, most=3)
    raise UserError(
        f"{file.path} is an archive of {len(names)} files ({shown}). Unpack it and name one of them."
    )


def certain_format(file: SourceFile) -> Format | None:
    """The format of a file whose first characters leave no doubt, whatever its ending says.

    Raises:
        UserError: if they show one that is not read.
    """
    head = file.head()
    if head.startswith(b"PAR1"):
        return PARQUET
    if head.startswith(b"PK\x03\x04"):
        return _office_format(file)
    text = file.head_text().lstrip()
    if re.match(r"<!doctype html|<html\b", text, re.IGNORECASE):
        raise UserError(
            f"{file.path} is a web page. Save its table as CSV; pandas: read_html(path)[0].to_csv('x.csv')."
        )
    if re.match(r"<\?xml|<[A-Za-z][\w-]*[^<>]*>\s*<", text):
        return XML
    if re.match(r'\{\s*"|\[\s*[\[{"]|\{\s*\}|\[\s*\]', text):
        return JSON
    lines = [line for line in text.splitlines()[:_LINES_LOOKED_AT] if line.strip()]
    has_marks = [re.search(rf"(^|\s){FASTTEXT_MARK}\S", line) is not None for line in lines[:-1] or lines]
    return FASTTEXT if has_marks and all(has_marks) else None


def is_conll(file: SourceFile) -> bool:
    """Whether the first lines of a text file are words with tags of entities."""
    lines = file.head_text().split("\n")
    return looks_like_conll(lines[:-1] or lines)  # the last may be cut


def _table_within(lines: Sequence[str], *, is_asked: bool) -> Format | None:
    """Whether lines are cut into equally many cells by tabs, or where a column is asked for by anything."""
    filled = [line for line in lines if line.strip()]
    has_gaps = len(filled) < len(lines)
    if not filled or (has_gaps and not is_asked):
        return None  # blank lines between sentences
    widths = {line.count("\t") for line in filled}
    if len(widths) == 1 and widths != {0}:
        return TSV
    marks = [one for one in ",;|" if one in filled[0]]
    if is_asked:
        return TSV if 0 not in widths else CSV if marks else None
    return None

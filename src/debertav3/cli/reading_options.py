"""Options of every command that reads labelled rows: what a file is, where its content is ambiguous."""

from typing import TYPE_CHECKING, Annotated

from .commands import Option
from .options import COLUMNS

if TYPE_CHECKING:
    from ..tasks.columns import Columns
    from ..tasks.read_options import ReadOptions

READING = "Reading files"

Encoding = Annotated[
    str | None,
    Option(
        help="Encoding of text files: latin-1, cp1252, ...",
        show_default="UTF-8, else detected",
        heading=READING,
    ),
]
Header = Annotated[
    bool | None,
    Option(
        "--header/--no-header",
        help="Whether the first line of a table has the column names; if not, they are 1, 2, ...",
        show_default="detected",
        heading=READING,
    ),
]
Sheet = Annotated[
    str | None,
    Option(help="Sheet of a workbook, by name or number.", show_default="the first", heading=READING),
]
Records = Annotated[
    str | None,
    Option(
        help="Which list of a JSON file to read, by name, or several, separated by commas.",
        heading=READING,
    ),
]
DevRecords = Annotated[
    str | None,
    Option(
        "--dev-records",
        help="Which list of the JSON dev files to read.",
        show_default="as --records",
        heading=READING,
    ),
]
ChoiceColumns = Annotated[
    str | None,
    Option(
        "--choice-columns",
        help="Multiple choice: one column per choice, such as A,B,C,D, or one that has them all.",
        show_default="choices, options, A to D, ...",
        heading=COLUMNS,
    ),
]
SkipBad = Annotated[
    bool,
    Option("--skip-bad", help="Skip rows that cannot be read, and list them.", heading=READING),
]
FileFormat = Annotated[
    str | None,
    Option(
        "--format",
        help="jsonl, json, csv, tsv, parquet, xlsx, conll, fasttext or xml.",
        show_default="by ending and content",
        heading=READING,
    ),
]
LabelMap = Annotated[
    str | None,
    Option(
        "--labels",
        help="YAML file with lines 'label in the rows: label of the task'.",
        heading=READING,
    ),
]


def read_options(
    *,
    encoding: str | None,
    header: bool | None,
    sheet: str | None,
    records: str | None,
    skip_bad: bool,
    columns: "Columns",
    word_column: str | None,
    tag_column: str | None,
    tag_names: tuple[str, ...],
) -> "ReadOptions":
    """These options as `tasks.tables` takes them."""
    from ..tasks.read_options import ReadOptions

    return ReadOptions(
        encoding=encoding,
        has_header=header,
        sheet=sheet,
        records=records,
        columns=columns.names,
        skip_bad=skip_bad,
        word_column=word_column,
        tag_column=tag_column,
        tag_names=tag_names,
    )

"""Options of every command that reads labelled rows: what a file is, where its content alone leaves doubt."""

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from ..tasks.columns import Columns
    from ..tasks.read_options import ReadOptions

READING = "Reading files"

Encoding = Annotated[
    str | None,
    typer.Option(
        help="Of files of text: latin-1, cp1252, ...",
        show_default="UTF-8, else the likeliest",
        rich_help_panel=READING,
    ),
]
Header = Annotated[
    bool | None,
    typer.Option(
        "--header/--no-header",
        help="Whether the first line of a table has the names; if not, columns are called 1, 2, ...",
        show_default="as it looks",
        rich_help_panel=READING,
    ),
]
Sheet = Annotated[
    str | None,
    typer.Option(help="Of a workbook, by name or number.", show_default="the first", rich_help_panel=READING),
]
Records = Annotated[
    str | None,
    typer.Option(
        help="Of a JSON file with several lists of rows: the name of one, or several with commas.",
        rich_help_panel=READING,
    ),
]
ChoiceColumns = Annotated[
    str | None,
    typer.Option(
        "--choice-columns",
        help="Multiple choice: a column for each choice, A,B,C,D, or one that holds them all.",
        show_default="choices, options, A to D, ...",
        rich_help_panel=READING,
    ),
]
DevRecords = Annotated[
    str | None,
    typer.Option(
        "--dev-records",
        help="Likewise of the dev files.",
        show_default="as --records",
        rich_help_panel=READING,
    ),
]
SkipBad = Annotated[
    bool,
    typer.Option(
        "--skip-bad", help="Leave out rows that cannot be read, and list them.", rich_help_panel=READING
    ),
]
FileFormat = Annotated[
    str | None,
    typer.Option(
        "--format",
        help="jsonl, json, csv, tsv, parquet, xlsx, conll, fasttext or xml.",
        show_default="as content and ending say",
        rich_help_panel=READING,
    ),
]
LabelMap = Annotated[
    str | None,
    typer.Option(
        "--labels",
        help="YAML file with lines 'label in the rows: label of the task'.",
        rich_help_panel=READING,
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
    """What `tasks.tables` takes of these options."""
    from ..tasks.read_options import ReadOptions

    named = columns.names
    return ReadOptions(
        encoding=encoding,
        has_header=header,
        sheet=sheet,
        records=records,
        columns=named,
        skip_bad=skip_bad,
        word_column=word_column,
        tag_column=tag_column,
        tag_names=tag_names,
    )

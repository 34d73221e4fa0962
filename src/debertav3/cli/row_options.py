"""Options for labelled rows that the training commands share: their columns, and how files are read.

A command has one parameter ``rows: RowOptions``, and `takes_row_options` puts the options in its place.
"""

import functools
import inspect
import typing
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Annotated

from ..finetuning.config import LabelKind
from .commands import Option
from .options import COLUMNS
from .reading_options import (
    ChoiceColumns,
    DevRecords,
    Encoding,
    FileFormat,
    Header,
    LabelMap,
    Records,
    Sheet,
    SkipBad,
)

TextColumn = Annotated[
    str | None,
    Option(
        help="Column of the text, or of the first of two, by name or number.",
        show_default="the task's, or detected",
        heading=COLUMNS,
    ),
]
PairColumn = Annotated[str | None, Option(help="Column of the second text.", heading=COLUMNS)]
LabelColumn = Annotated[
    str | None,
    Option(
        help="Column with the gold labels, or several, separated by commas: toxic,insult.",
        show_default="label, class, ...",
        heading=COLUMNS,
    ),
]
Kind = Annotated[
    LabelKind | None,
    Option(
        "--label-kind",
        help="What a label is: one of several names, a number, ...",
        show_default="auto",
        heading=COLUMNS,
    ),
]
WordColumn = Annotated[
    str | None,
    Option(
        "--word-column",
        help="Tagged words, such as CoNLL: which column has the words, counted from 1.",
        show_default="detected",
        heading=COLUMNS,
    ),
]
TagColumn = Annotated[
    str | None,
    Option(
        "--tag-column",
        help="Tagged words: which column has the tags, counted from 1.",
        show_default="detected",
        heading=COLUMNS,
    ),
]
TagNames = Annotated[
    str | None,
    Option(
        "--tag-names",
        help="Names of tags that are stored as numbers, in order: O,B-PER,I-PER.",
        heading=COLUMNS,
    ),
]


@dataclass(frozen=True, kw_only=True)
class RowOptions:
    """What the user says about the rows; what is None is detected."""

    text_column: TextColumn = None
    pair_column: PairColumn = None
    label_column: LabelColumn = None
    choice_columns: ChoiceColumns = None
    label_kind: Kind = None
    file_format: FileFormat = None
    encoding: Encoding = None
    header: Header = None
    sheet: Sheet = None
    records: Records = None
    dev_records: DevRecords = None
    labels: LabelMap = None
    skip_bad: SkipBad = False
    word_column: WordColumn = None
    tag_column: TagColumn = None
    tag_names: TagNames = None

    def settings(self) -> dict[str, object]:
        """The options by their names in `FinetuneConfig`; None where the user gave none."""
        said = {field.name: getattr(self, field.name) for field in fields(self)}
        said["format"] = said.pop("file_format")
        said["skip_bad"] = self.skip_bad or None
        for name in ("tag_names", "choice_columns"):
            if said[name] is not None:
                said[name] = tuple(part.strip() for part in str(said[name]).split(","))
        return said


AS_FOUND = RowOptions()


def takes_row_options(command: Callable[..., None]) -> Callable[..., None]:
    """The command with the fields of `RowOptions` as options, in the place of its parameter ``rows``."""
    own = inspect.signature(command)
    hints = typing.get_type_hints(command, include_extras=True)
    options = [
        inspect.Parameter(
            field.name,
            inspect.Parameter.POSITIONAL_OR_KEYWORD,
            default=field.default,
            annotation=hint,
        )
        for field in fields(RowOptions)
        for hint in (typing.get_type_hints(RowOptions, include_extras=True)[field.name],)
    ]
    spread = own.replace(
        parameters=[
            one
            for name, parameter in own.parameters.items()
            for one in (options if name == "rows" else [parameter.replace(annotation=hints[name])])
        ]
    )

    @functools.wraps(command)
    def run(*given: object, **named: object) -> None:
        bound = spread.bind(*given, **named).arguments
        said = {one.name: bound.pop(one.name) for one in options if one.name in bound}
        command(**bound, rows=RowOptions(**said))

    run.__signature__ = spread  # type: ignore[attr-defined]
    run.__annotations__ = {name: one.annotation for name, one in spread.parameters.items()}
    return run

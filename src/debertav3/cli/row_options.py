"""Options about labelled rows that the commands around training share: their columns, and how files are read.

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
from .reading_options import Encoding, FileFormat, Header, LabelMap, Records, Sheet, SkipBad

COLUMNS = "Columns"

TextColumn = Annotated[
    str | None,
    Option(
        help="Column of the text, or of the first of two, by name or number.",
        show_default="by the task, or as the data look",
        heading=COLUMNS,
    ),
]
PairColumn = Annotated[str | None, Option(help="Column of a second text.", heading=COLUMNS)]
LabelColumn = Annotated[
    str | None,
    Option(
        help="Column with the gold labels; several with commas: toxic,insult.",
        show_default="label, class, ...",
        heading=COLUMNS,
    ),
]
Kind = Annotated[
    LabelKind | None,
    Option("--label-kind", help="What a label is.", show_default="auto", heading=COLUMNS),
]
WordColumn = Annotated[
    str | None,
    Option(
        "--word-column",
        help="Words with tags, such as CoNLL: number of the column of the words, from 1.",
        show_default="found",
        heading=COLUMNS,
    ),
]
TagColumn = Annotated[
    str | None,
    Option(
        "--tag-column",
        help="Likewise of the tags.",
        show_default="found",
        heading=COLUMNS,
    ),
]
TagNames = Annotated[
    str | None,
    Option(
        "--tag-names",
        help="Names of tags that are numbers in the data, in their order: O,B-PER,I-PER.",
        heading=COLUMNS,
    ),
]


@dataclass(frozen=True, kw_only=True)
class RowOptions:
    """What the user says of the rows; what is None is found out from the data."""

    text_column: TextColumn = None
    pair_column: PairColumn = None
    label_column: LabelColumn = None
    label_kind: Kind = None
    file_format: FileFormat = None
    encoding: Encoding = None
    header: Header = None
    sheet: Sheet = None
    records: Records = None
    labels: LabelMap = None
    skip_bad: SkipBad = False
    word_column: WordColumn = None
    tag_column: TagColumn = None
    tag_names: TagNames = None

    def settings(self) -> dict[str, object]:
        """By the names of `FinetuneConfig`; None where nothing is said."""
        said = {field.name: getattr(self, field.name) for field in fields(self)}
        said["format"] = said.pop("file_format")
        said["skip_bad"] = self.skip_bad or None
        if self.tag_names is not None:
            said["tag_names"] = tuple(name.strip() for name in self.tag_names.split(","))
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

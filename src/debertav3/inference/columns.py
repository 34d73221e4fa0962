"""Which columns of a file a task reads: as the user says, as the model was trained, or by the usual names."""

import json
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import UserError
from .tables import format_of, read_table

logger = logging.getLogger(__name__)

LABEL_FIELDS = ("label", "gold_label")
RUN = "run.json"
_CUSTOM = "custom"
_MAX_BYTES = 64 << 20

# The next two are what `finetune.custom` goes by; a test holds the two together.
_LABEL_NAMES = (
    "label",
    "labels",
    "class",
    "category",
    "target",
    "sentiment",
    "score",
    "rating",
    "stars",
    "tags",
)
_ROWS_LOOKED_AT = 1000


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Names of columns besides the usual ones."""

    text: str | None = None
    pair: str | None = None
    """Of the second text."""
    label: str | None = None
    is_text_asked: bool = False
    """Whether the user has said the texts' columns, so that no other will do."""
    is_label_asked: bool = False

    def texts(self, usual: Sequence[tuple[str, ...]]) -> list[tuple[str, ...]]:
        """The names to look for, those of the user or the training before the usual ones."""
        counts = {len(names) for names in usual}
        own = [
            names
            for names in ((self.text, self.pair), (self.text,))
            if len(names) in counts and None not in names
        ]
        first = [tuple(map(str, names)) for names in own[:1]]
        if self.is_text_asked and not first:
            raise UserError("this task reads two texts: name both columns, with --text and --pair.")
        return first if self.is_text_asked else [*first, *usual]

    def labels(self, usual: Sequence[str] = LABEL_FIELDS) -> list[str]:
        """The names under which the truth may stand, likewise."""
        own = [] if self.label is None else [self.label]
        return own if self.is_label_asked else [*own, *usual]


class Trained(NamedTuple):
    """What a model's folder says of the data that it was trained on."""

    task: str | None = None
    text: str | None = None
    pair: str | None = None
    label: str | None = None


def read_trained(model: str | Path) -> Trained:
    """What `debertav3 finetune` left in a folder; nothing for a folder of other origin or a Hub name."""
    path = Path(model) / RUN
    try:
        if not path.is_file() or path.stat().st_size > _MAX_BYTES:
            return Trained()
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        logger.warning("%s cannot be read (%s): it does not say which columns to read", path, error)
        return Trained()
    config = content.get("config") if isinstance(content, dict) else None
    if not isinstance(config, dict):
        return Trained()
    values = [config.get(name) for name in ("task", "text_column", "pair_column", "label_column")]
    return Trained(*(value if isinstance(value, str) and value else None for value in values))


def find_columns(
    source: str | Path,
    *,
    trained: Trained,
    asked: Columns,
    usual: Sequence[tuple[str, ...]],
    source_format: str | None = None,
) -> Columns:
    """Settle which columns of a file are read.

    A model of ``finetune custom`` reads what it was trained on. Columns that its training was not told, but
    found, are found by the same rule, in files without the usual names.

    Args:
        source: the file.
        trained: from `read_trained`.
        asked: what the user says.
        usual: the task's own names of its texts.
        source_format: one of `tables.FORMATS`; None goes by the name.
    """
    own = trained if trained.task == _CUSTOM else Trained()
    text, pair, label = asked.text or own.text, asked.pair or own.pair, asked.label or own.label
    if own.task is not None and (text is None or label is None) and Path(source).is_file():
        rows = [
            row.original
            for row in islice(read_table(source, format_of(source, source_format)), _ROWS_LOOKED_AT)
        ]
        first = rows[0] if rows else {}
        if label is None and not any(name in first for name in LABEL_FIELDS):
            label = _label_column(first)
        if text is None and not any(all(name in first for name in names) for names in usual):
            text = _longest_column(rows, taken=(label, pair))
            logger.info("%s: column %r is read as the text", source, text)
    return Columns(
        text=text,
        pair=pair,
        label=label,
        is_text_asked=asked.text is not None or asked.pair is not None,
        is_label_asked=asked.label is not None,
    )


def _label_column(first: Mapping[str, Any]) -> str | None:
    by_lower = {column.lower(): column for column in first}
    return next((by_lower[name] for name in _LABEL_NAMES if name in by_lower), None)


def _longest_column(rows: Sequence[Mapping[str, Any]], *, taken: Sequence[str | None]) -> str | None:
    sizes: dict[str, int] = {}
    for row in rows:
        for column, value in row.items():
            if column not in taken and isinstance(value, str | list):
                sizes[column] = sizes.get(column, 0) + len(value)
    return max(sizes, key=lambda column: sizes[column], default=None)


def is_missing(value: Any) -> bool:
    """Whether a value says nothing: null, white space, or the NaN by which pandas marks a gap."""
    if isinstance(value, float):
        return math.isnan(value)
    return value is None or (isinstance(value, str) and not value.strip())

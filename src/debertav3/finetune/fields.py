"""One value out of a row of labelled data, checked; see ``data.fields`` for columns and texts."""

import logging
import math
from collections.abc import Mapping, Sequence
from typing import Any

from ..data.fields import column_of, is_missing
from ..errors import UserError
from .rows import Row
from .task import Example

logger = logging.getLogger(__name__)


def is_empty(row: Row, names: Sequence[str]) -> bool:
    """Whether there is nothing, or only white space, in a column.

    Raises:
        UserError: if there is no such column.
    """
    return is_missing(row.fields[column_of(row, names)])


def number_in(row: Row, value: Any) -> float:
    """Return a value as a finite number.

    Raises:
        UserError: if it is none.
    """
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise UserError(f"{row.place}: the label must be a number, got {value!r}.") from None
    if not math.isfinite(number):
        raise UserError(f"{row.place}: the label must be a finite number, got {value!r}.")
    return number


def shares_in(row: Row, value: Mapping[Any, Any]) -> dict[str, float]:
    """Return a distribution over labels, divided by its sum: a teacher's probabilities, or annotators' votes.

    Raises:
        UserError: if an entry is not a number of at least 0, or none is above 0.
    """
    shares = {str(name): number_in(row, share) for name, share in value.items()}
    total = sum(shares.values())
    if not total or min(shares.values()) < 0:
        raise UserError(f"{row.place}: shares of labels must be 0 or more and not all 0, got {value!r}.")
    return {name: share / total for name, share in shares.items()}


def kept_examples(
    examples: list[Example], passed_over: int, *, source: str, needs: str, empty: int = 0
) -> list[Example]:
    """Return the examples, and say how many rows are left out.

    Args:
        examples: what is kept.
        passed_over: rows without a gold label.
        source: where they come from.
        needs: what a row must have.
        empty: rows without a text.

    Raises:
        UserError: if none is left.
    """
    if empty:
        logger.warning("%s: passed over %d rows without a text", source, empty)
    if passed_over:
        logger.warning("%s: passed over %d rows without a gold label", source, passed_over)
    if not examples:
        raise UserError(f"{source} has no labelled rows. Need rows with {needs}.")
    return examples

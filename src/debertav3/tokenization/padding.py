"""Pads rows to equal length, and turns them into arrays."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

from ..errors import UserError, whole_number

Padding = Literal["longest", "max_length"]
Side = Literal["left", "right"]
Arrays = Literal["np", "pt"]


def padding_strategy(value: bool | str) -> Padding | None:
    """The padding strategy of a call; None means no padding.

    Raises:
        UserError: for an unknown name.
    """
    if value is False or value == "do_not_pad":
        return None
    if value is True or value == "longest":
        return "longest"
    if value == "max_length":
        return "max_length"
    raise UserError(
        f"padding={value!r} is unknown: use True, False or one of {', '.join(get_args(Padding))}."
    )


def pad_rows(
    columns: Mapping[str, list[list[object]]], *, fill: Mapping[str, object], length: int, side: Side
) -> None:
    """Pad every row of every column in ``fill`` to ``length``, in place.

    Raises:
        UserError: for an unknown side.
    """
    if side not in get_args(Side):
        raise UserError(f"padding_side={side!r} is unknown: use one of {', '.join(get_args(Side))}.")
    for name, value in fill.items():
        for row in columns.get(name, ()):
            padding = [value] * (length - len(row))
            if side == "right":
                row += padding
            else:
                row[:0] = padding


def padded_length(
    lengths: Sequence[int], *, padding: Padding, max_length: int | None, pad_to_multiple_of: int | None
) -> int:
    """The length to pad to, never less than the longest row.

    Raises:
        UserError: for ``"max_length"`` if there is no limit, and for a negative multiple.
    """
    length = max(lengths, default=0)
    if padding == "max_length":
        if max_length is None:
            raise UserError(
                "padding='max_length' needs a max_length: this tokenizer has no limit. Give max_length=..."
            )
        length = max(length, max_length)
    if pad_to_multiple_of is not None and whole_number(
        pad_to_multiple_of, name="pad_to_multiple_of", least=0
    ):
        length = -(-length // pad_to_multiple_of) * pad_to_multiple_of
    return length


def to_arrays(columns: Mapping[str, object], kind: Arrays) -> dict[str, object]:
    """Columns as numpy arrays or torch tensors, integers as int64; arrays of that kind are kept.

    Raises:
        UserError: if rows differ in length, or the kind is unknown.
    """
    if kind not in ("np", "pt"):
        raise UserError(f"return_tensors={kind!r} is unknown: use 'np', 'pt' or None.")
    try:
        if kind == "np":
            import numpy

            return {name: numpy.asarray(value) for name, value in columns.items()}
        import torch

        return {
            name: value if torch.is_tensor(value) else torch.tensor(value) for name, value in columns.items()
        }
    except ValueError as error:
        raise UserError(
            f"rows of unequal length cannot become an array ({error}). Use padding=True and truncation=True."
        ) from error


def as_list(row: object) -> Any:
    """A row of numbers as a list, whatever its type; other values unchanged."""
    return row.tolist() if hasattr(row, "tolist") else row

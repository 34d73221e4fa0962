"""What scikit-learn hands to a classifier, as texts and label ids; anything else is refused in one line."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import UserError
from ..inference.inputs import check_pair, check_text
from ..tasks.rows import is_missing, listed, shortened

Text = str | tuple[str, str]


def texts_in(X: object, *, columns: str | Sequence[str] | None) -> list[Text]:
    """Return the texts, all single or all pairs.

    Args:
        X: a list, a numpy array with one or two columns, a Series, or a DataFrame.
        columns: of a DataFrame, the columns to read; None takes all.

    Raises:
        UserError: for anything else, an empty text, or singles and pairs in one ``X``.
    """
    if hasattr(X, "columns"):
        X = _of_table(X, columns)
    elif columns is not None:
        raise UserError(f"text_columns={columns!r} is for a DataFrame; X is a {type(X).__name__}.")
    items = _items(X, name="X")
    texts: list[Text] = []
    for number, item in enumerate(items):
        if isinstance(item, list | tuple) and len(item) == 1:
            item = item[0]
        check = check_pair if isinstance(item, list | tuple) else check_text
        texts.append(check(item, what=f"X[{number}]"))
    if len({isinstance(text, str) for text in texts}) > 1:
        raise UserError("X holds single texts and pairs. Give one or the other.")
    return texts


def _of_table(table: Any, columns: str | Sequence[str] | None) -> list[tuple[object, ...]]:
    """The rows of the text columns of a DataFrame."""
    have = list(table.columns)
    names = have if columns is None else [columns] if isinstance(columns, str) else list(columns)
    unknown = [name for name in names if name not in have]
    if unknown:
        raise UserError(f"X has no column {unknown[0]!r}; it has {listed(list(map(str, have)))}.")
    if not 1 <= len(names) <= 2:
        raise UserError(
            f"X has the columns {listed(list(map(str, names)))}; need one with texts, or two with pairs. "
            "Name them with text_columns."
        )
    return list(zip(*(table[name].tolist() for name in names), strict=True))


def labels_in(y: object, *, count: int) -> tuple[npt.NDArray[np.generic], npt.NDArray[np.int64]]:
    """Return the different labels, sorted, and the position of each row's label among them.

    Args:
        y: a label for each text: a list, a numpy array or a Series.
        count: of the texts.

    Raises:
        UserError: for another number of labels, one that is missing or cannot be hashed, or fewer than two.
    """
    labels = _items(y, name="y")
    if isinstance(y, np.ndarray) and y.ndim == 2 and y.shape[1] == 1:
        labels = [label for (label,) in labels]
    if len(labels) != count:
        raise UserError(f"X has {count} texts and y {len(labels)} labels. Give one label for each text.")
    for number, label in enumerate(labels):
        if is_missing(label):
            raise UserError(f"y[{number}] is {label!r}. Give a label, or leave the row out.")
        try:
            hash(label)
        except TypeError:
            raise UserError(
                f"y[{number}] must be one label, such as a text or a number; got {shortened(label)}."
            ) from None
        if isinstance(label, float) and not label.is_integer():
            raise UserError(
                f"y[{number}] is {label!r}, continuous; a Classifier predicts classes. For numbers: "
                "debertav3.finetune(..., label_kind='number')."
            )
    different = list(dict.fromkeys(labels))
    if len(different) < 2:
        raise UserError(f"y has {len(different)} label(s): {shortened(different)}. Need two labels or more.")
    try:
        different.sort()
    except TypeError:  # labels of several types
        different.sort(key=lambda label: (type(label).__name__, str(label)))
    positions = {label: number for number, label in enumerate(different)}
    return _array(different), np.array([positions[label] for label in labels], dtype=np.int64)


def _array(labels: Sequence[object]) -> npt.NDArray[np.generic]:
    """A one-dimensional array that gives every label back as it was."""
    if len({type(label) for label in labels}) == 1 and isinstance(labels[0], str | bool | int | float):
        return np.array(labels)
    array = np.empty(len(labels), dtype=object)
    for number, label in enumerate(labels):  # tuples would be taken for rows
        array[number] = label
    return array


def _items(values: object, *, name: str) -> list[Any]:
    """The items of a sequence, numpy's own types as Python's."""
    if isinstance(values, str | bytes | Mapping | set) or not isinstance(values, Iterable):
        raise UserError(f"{name} must be a list, an array or a Series; got {shortened(values)}.")
    items = values.tolist() if hasattr(values, "tolist") else list(values)
    if not isinstance(items, list):
        raise UserError(f"{name} must be a list, an array or a Series; got {shortened(items)}.")
    return [item.item() if isinstance(item, np.generic) else item for item in items]

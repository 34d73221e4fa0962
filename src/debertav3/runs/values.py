"""One setting: its type, choices and range, and how values from files and ``--set`` are converted to it."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

from ..errors import UserError

_YES = ("yes", "on", "true")
_NO = ("no", "off", "false")
_WORDS = {
    bool: "true or false",
    int: "an integer",
    float: "a number",
    str: "a string",
    tuple: "a string or a list of strings",
}
NOTHING = ("", "null", "none", "~")
"""Unquoted strings that mean None."""


@dataclass(frozen=True, kw_only=True)
class Range:
    """Bounds of a number; None for no bound. What is not finite is always out of range."""

    min: float | None = None
    above: float | None = None
    max: float | None = None
    below: float | None = None

    def __contains__(self, number: float) -> bool:
        return (
            (isinstance(number, int) or math.isfinite(number))
            and (self.min is None or number >= self.min)
            and (self.above is None or number > self.above)
            and (self.max is None or number <= self.max)
            and (self.below is None or number < self.below)
        )

    def __str__(self) -> str:
        bounds = (
            ("at least", self.min),
            ("above", self.above),
            ("at most", self.max),
            ("below", self.below),
        )
        words = " and ".join(f"{word} {bound}" for word, bound in bounds if bound is not None)
        return f"of {words}" if words.startswith("at ") else words


@dataclass(frozen=True)
class Short:
    """The short name of a setting whose field name alone would not be clear, such as ``sift.weight``."""

    name: str


@dataclass(frozen=True)
class Former:
    """A setting's name in earlier versions: still read, never written or shown."""

    name: str


Positive = Annotated[float, Range(above=0)]
NotNegative = Annotated[float, Range(min=0)]
Share = Annotated[float, Range(min=0, below=1)]
Count = Annotated[int, Range(min=1)]
CountOrZero = Annotated[int, Range(min=0)]


@dataclass(frozen=True, kw_only=True)
class Setting:
    """A field of a settings class, described."""

    path: str
    """``optimizer.learning_rate``."""
    short: str
    """``learning_rate``."""
    former: tuple[str, ...]
    """Earlier names, without group."""
    kind: type
    """bool, int, float, str or tuple (of strings, unless ``read_item`` says otherwise)."""
    optional: bool
    """Whether None may be given."""
    choices: tuple[str, ...]
    """The allowed strings; empty if any string is allowed."""
    range: Range | None
    default: object
    """``dataclasses.MISSING`` for a setting that must be given."""
    read_meaning: Callable[[], str]
    """Reads the field's docstring. Only help texts need it: the source must be parsed for it."""
    read_item: Callable[[object, str], object] | None = None
    """For a tuple of numbers or settings: reads one item; takes the item and its source, for errors."""
    items: str = "strings"
    """What a tuple holds, in words."""

    @property
    def meaning(self) -> str:
        """The field's docstring, on one line."""
        return self.read_meaning()

    @property
    def wanted(self) -> str:
        """What may be given, in words."""
        if self.choices:
            words = f"one of {', '.join(self.choices)}"
        else:
            words = _WORDS[self.kind] + (f" {self.range}" if self.range else "")
            words = f"a list of {self.items}" if self.read_item is not None else words
        return f"{words}, or none" if self.optional else words

    def check(self, value: Any) -> None:
        """Check that a value of the right type is among the choices and in the range.

        Raises:
            UserError: if it is not.
        """
        if value is None and self.optional:
            return
        is_known = not self.choices or value in self.choices
        if not is_known or (self.range is not None and value not in self.range):
            raise UserError(
                f"invalid setting: {self.short}={value!r}. It must be {self.wanted}. "
                f"Change it with --set {self.short}=VALUE."
            )
        if self.kind is float and not math.isfinite(value):
            raise UserError(f"invalid setting: {self.short}={value!r}. It must be a finite number.")

    def read(self, value: object, *, source: str) -> object:
        """Convert a value from ``--set``, YAML or JSON to the field's type.

        Raises:
            UserError: if it cannot be converted.
        """
        if value is None or (isinstance(value, Plain) and value.lower() in NOTHING):
            if self.optional:
                return None
            if self.kind is tuple:
                return ()
        if self.read_item is not None and isinstance(value, list | tuple):
            return tuple(
                self.read_item(one, f"{source}: {self.short}, number {number}")
                for number, one in enumerate(value, start=1)
            )
        converted = READERS[self.kind](value) if self.read_item is None else None
        if converted is None:
            raise UserError(f"{source}: {self.short} must be {self.wanted}; got {_shown(value)}.")
        return converted


class Plain(str):
    """An unquoted string, which may mean a number, a boolean or None."""


def _shown(value: object) -> str:
    return "None" if value is None else repr(str(value) if isinstance(value, Plain) else value)


def _read_bool(value: object) -> bool | None:
    if isinstance(value, bool):
        return value
    word = value.lower() if isinstance(value, str) else ""
    return True if word in _YES else False if word in _NO else None


def _read_int(value: object) -> int | None:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    try:
        return int(value) if isinstance(value, str | int) else _whole(value)
    except ValueError:
        number = _read_float(value)  # 1e4
        return None if number is None else _whole(number)


def _whole(number: float) -> int | None:
    return int(number) if number.is_integer() else None


def _read_float(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    try:
        return float(value)
    except (ValueError, OverflowError):
        return None


def _read_text(value: object) -> str | None:
    return str(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else None


def _read_texts(value: object) -> tuple[str, ...] | None:
    values = [value] if isinstance(value, str) else value
    if not isinstance(values, list | tuple) or not all(isinstance(one, str | int | float) for one in values):
        return None
    return tuple(map(str, values))


def read_number(value: object, source: str) -> float:
    """Read one of a list of numbers.

    Raises:
        UserError: if it is not a number.
    """
    number = _read_float(value)
    if number is None or not math.isfinite(number):
        raise UserError(f"{source} must be a number; got {_shown(value)}.")
    return number


READERS: dict[type, Callable[[object], object]] = {
    bool: _read_bool,
    int: _read_int,
    float: _read_float,
    str: _read_text,
    tuple: _read_texts,
}
"""Converters by type of setting; each returns None for a value that it cannot convert."""

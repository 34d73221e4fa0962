"""Settings said once: typed, nested, frozen classes, and the one reader of ``--set``, YAML and ``run.json``.

A settings class is a frozen dataclass that derives from :class:`Settings`. A field says its type, its choices
(``Literal``) or its range (:class:`Range`), and a docstring follows it; checks, error messages and help texts
are derived from these. A field whose type is itself a settings class is a group.

Every setting has a full name, ``optimizer.learning_rate``, and a short one, ``learning_rate``, which is
unique in its class. Both may be used wherever settings are read; ``to_dict`` writes the short ones.
"""

import ast
import dataclasses
import difflib
import functools
import inspect
import itertools
import json
import math
import textwrap
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self, TypeVar

import yaml

from ..errors import UserError

_YES = ("yes", "on", "true")
_NO = ("no", "off", "false")
_WORDS = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a text",
    tuple: "a text or a list of texts",
}
_NOTHING = ("", "null", "none", "~")

Kind = TypeVar("Kind", bound="Settings")
Result = TypeVar("Result")


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
        return " and ".join(f"{word} {bound}" for word, bound in bounds if bound is not None)


@dataclass(frozen=True)
class Short:
    """The short name of a setting whose field's name alone would not be clear: ``sift.weight``."""

    name: str


Positive = Annotated[float, Range(above=0)]
NotNegative = Annotated[float, Range(min=0)]
Share = Annotated[float, Range(min=0, below=1)]
Count = Annotated[int, Range(min=1)]
CountOrZero = Annotated[int, Range(min=0)]


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What a field says of itself."""

    path: str
    """``optimizer.learning_rate``."""
    short: str
    """``learning_rate``."""
    kind: type
    """bool, int, float, str or tuple (of texts)."""
    optional: bool
    """Whether None may be given."""
    choices: tuple[str, ...]
    """Every text that may be given; empty where any may."""
    range: Range | None
    default: Any
    """``dataclasses.MISSING`` for a setting that must be given."""
    meaning: str
    """The field's docstring, on one line."""

    @property
    def wanted(self) -> str:
        """What may be given, in words."""
        if self.choices:
            words = f"one of {', '.join(self.choices)}"
        else:
            words = _WORDS[self.kind] + (f" {self.range}" if self.range else "")
        return f"{words}, or none" if self.optional else words

    def check(self, value: Any) -> None:
        """Assert that a value of the right type is among the choices and in the range.

        Raises:
            UserError: otherwise.
        """
        if value is None and self.optional:
            return
        is_known = not self.choices or value in self.choices
        if not is_known or (self.range is not None and value not in self.range):
            raise UserError(
                f"impossible setting: {self.short}={value!r}. It must be {self.wanted}. "
                f"Change it with --set {self.short}=VALUE."
            )
        if self.kind is float and not math.isfinite(value):
            raise UserError(f"impossible setting: {self.short}={value!r}. It must be a finite number.")

    def read(self, value: Any, *, source: str) -> Any:
        """Convert a value from ``--set``, YAML or JSON to the field's type.

        Raises:
            UserError: if it cannot be.
        """
        if value is None or (isinstance(value, _Plain) and value.lower() in _NOTHING):
            if self.optional:
                return None
            if self.kind is tuple:
                return ()
        converted = _READERS[self.kind](value)
        if converted is None:
            raise UserError(f"{source}: {self.short} must be {self.wanted}; got {_shown(value)}.")
        return converted


class _Plain(str):
    """A text without quotes, which may stand for a number, a truth value or nothing."""


def _shown(value: Any) -> str:
    return "None" if value is None else repr(str(value) if isinstance(value, _Plain) else value)


def _read_bool(value: Any) -> bool | None:
    if isinstance(value, bool):
        return value
    word = value.lower() if isinstance(value, str) else ""
    return True if word in _YES else False if word in _NO else None


def _read_int(value: Any) -> int | None:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    try:
        return int(value) if isinstance(value, str | int) else _whole(value)
    except ValueError:
        number = _read_float(value)  # 1e4
        return None if number is None else _whole(number)


def _whole(number: float) -> int | None:
    return int(number) if number.is_integer() else None


def _read_float(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    try:
        return float(value)
    except (ValueError, OverflowError):
        return None


def _read_text(value: Any) -> str | None:
    return str(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else None


def _read_texts(value: Any) -> tuple[str, ...] | None:
    values = [value] if isinstance(value, str) else value
    if not isinstance(values, list | tuple) or not all(isinstance(one, str | int | float) for one in values):
        return None
    return tuple(map(str, values))


_READERS: dict[type, Any] = {
    bool: _read_bool,
    int: _read_int,
    float: _read_float,
    str: _read_text,
    tuple: _read_texts,
}


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Base of a settings class: checks its own fields, and can be changed by name."""

    HEADING: ClassVar[str] = ""
    """What the help prints over this group."""

    def __post_init__(self) -> None:
        for setting in own_settings(type(self)):
            setting.check(getattr(self, setting.path))

    @classmethod
    def of(cls, **values: Any) -> Self:
        """Make settings from full or short names; the fields without default must be among them.

        Raises:
            UserError: for an unknown name or a value that cannot be.
        """
        needed = {field.name for field in dataclasses.fields(cls) if _has_no_default(field)}
        first = cls(**{name: values[name] for name in needed if name in values})
        return first.changed(**{name: value for name, value in values.items() if name not in needed})

    def changed(self, **values: Any) -> Self:
        """Replace settings by full or short name.

        Raises:
            UserError: for an unknown name or a value that cannot be.
        """
        return self.with_values(values, source=type(self).__name__)

    def with_values(self, values: Mapping[str, Any], *, source: str) -> Self:
        """Replace settings by name.

        Args:
            values: by full or short name, or nested by group; of the right type, or as ``--set`` writes them.
            source: named in errors.

        Raises:
            UserError: for an unknown name (the nearest is suggested) or a value that cannot be.
        """
        return _replaced(self, dict(_by_path(type(self), values, source=source)))

    def with_overrides(self, assignments: Iterable[str], *, source: str = "--set") -> Self:
        """Apply ``key=value`` texts; later ones win. ``source`` is named in errors.

        Raises:
            UserError: for a text without ``=`` or with broken YAML after it, and as `with_values`.
        """
        values: dict[str, Any] = {}
        for assignment in assignments:
            key, equals, text = assignment.partition("=")
            if not equals:
                raise UserError(
                    f"{source} {assignment!r} has no '='. Write {source} key=value, e.g. learning_rate=2e-5."
                )
            try:
                value = _read_assigned(text)
            except yaml.YAMLError as error:
                raise UserError(
                    f"{source} {assignment!r} is not valid YAML: {' '.join(str(error).split())}. "
                    "Put a text with brackets, colons or quotes in single quotes."
                ) from error
            values |= dict(_by_path(type(self), {key.strip(): value}, source=source))
        return _replaced(self, values)

    def get(self, short: str) -> Any:
        """A value by its full or short name."""
        value: Any = self
        for name in settings_of(type(self))[short].path.split("."):
            value = getattr(value, name)
        return value

    def to_dict(self) -> dict[str, Any]:
        """Plain values by short name in the order of the fields, as in ``run.json``."""
        flat = {setting.short: self.get(setting.short) for setting in all_settings(type(self))}
        return typing.cast(dict[str, Any], json.loads(json.dumps(flat)))


def _has_no_default(field: "dataclasses.Field[Any]") -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _once(function: Callable[[type[Settings]], Result]) -> Callable[[type[Settings]], Result]:
    """Compute what a class says once."""
    return functools.cache(function)  # type: ignore[return-value]  # mypy takes a class for unhashable


@_once
def all_settings(cls: type[Settings]) -> tuple[Setting, ...]:
    """Every setting of a class and its groups, in order.

    Raises:
        TypeError: if two have one short name, or a field has a type that no setting can have.
    """
    found: list[Setting] = []
    groups = groups_of(cls)
    own = {setting.path: setting for setting in own_settings(cls)}
    for field in dataclasses.fields(cls):
        if field.name in own:
            found.append(own[field.name])
        for setting in all_settings(groups[field.name]) if field.name in groups else ():
            found.append(dataclasses.replace(setting, path=f"{field.name}.{setting.path}"))
    shorts = [setting.short for setting in found]
    if twice := {short for short in shorts if shorts.count(short) > 1}:
        raise TypeError(f"{cls.__name__} has two settings called {', '.join(sorted(twice))}")
    return tuple(found)


@_once
def settings_of(cls: type[Settings]) -> dict[str, Setting]:
    """Every setting by its full and by its short name."""
    return {name: setting for setting in all_settings(cls) for name in (setting.path, setting.short)}


@_once
def groups_of(cls: type[Settings]) -> dict[str, type[Settings]]:
    """The fields that are settings classes themselves."""
    hints = typing.get_type_hints(cls)
    return {
        field.name: hints[field.name]
        for field in dataclasses.fields(cls)
        if isinstance(hints[field.name], type) and issubclass(hints[field.name], Settings)
    }


@_once
def own_settings(cls: type[Settings]) -> tuple[Setting, ...]:
    """The settings of a class without those of its groups."""
    hints, meanings = typing.get_type_hints(cls, include_extras=True), _meanings(cls)
    return tuple(
        _setting(field, hints[field.name], meanings.get(field.name, ""))
        for field in dataclasses.fields(cls)
        if field.name not in groups_of(cls)
    )


def _setting(field: "dataclasses.Field[Any]", hint: Any, meaning: str) -> Setting:
    notes: list[Any] = []
    optional = False
    while True:  # Annotated[T | None, ...] and Annotated[T, ...] | None may be nested
        if typing.get_origin(hint) is Annotated:
            hint, *more = typing.get_args(hint)
            notes += more
        elif isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
            (hint,) = (one for one in typing.get_args(hint) if one is not types.NoneType)
            optional = True
        else:
            break
    choices = typing.get_args(hint) if typing.get_origin(hint) is Literal else ()
    kind = str if choices else typing.get_origin(hint) or hint
    if kind not in _READERS:
        raise TypeError(f"a setting cannot be of type {hint}: {field.name}")
    return Setting(
        path=field.name,
        short=next((note.name for note in notes if isinstance(note, Short)), field.name),
        kind=kind,
        optional=optional,
        choices=choices,
        range=next((note for note in notes if isinstance(note, Range)), None),
        default=field.default,
        meaning=meaning,
    )


@_once
def _meanings(cls: type[Settings]) -> dict[str, str]:
    """The docstring below each field."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(cls)))
    except (OSError, TypeError):  # no source at hand, as in a zipped application
        return {}
    body = typing.cast(ast.ClassDef, tree.body[0]).body
    return {
        field.target.id: " ".join(text.value.value.split())
        for field, text in itertools.pairwise(body)
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and isinstance(text, ast.Expr)
        and isinstance(text.value, ast.Constant)
        and isinstance(text.value.value, str)
    }


def _by_path(
    cls: type[Settings], values: Mapping[str, Any], *, source: str, group: str = ""
) -> Iterator[tuple[str, Any]]:
    """Values of the right type by full name, from full names, short names and nested groups."""
    known = settings_of(cls)
    for key, value in values.items():
        name = f"{group}{key}"
        if isinstance(value, Mapping) and name in groups_of(cls):
            yield from _by_path(cls, value, source=source, group=f"{name}.")
        elif name in known:
            yield known[name].path, known[name].read(value, source=source)
        else:
            raise UserError(f"{source}: unknown key {name!r}.{_nearest(cls, name)}")


def _nearest(cls: type[Settings], name: str) -> str:
    if name in groups_of(cls):
        members = [one.path for one in all_settings(cls) if one.path.startswith(f"{name}.")]
        return f" It is a group: {', '.join(members)}."
    near = difflib.get_close_matches(name, settings_of(cls), n=1, cutoff=0.5)
    if near:
        return f" Did you mean {near[0]!r}?"
    return f" Known: {', '.join(setting.short for setting in all_settings(cls))}."


def _replaced(settings: Kind, values: Mapping[str, Any]) -> Kind:
    changes: dict[str, Any] = {}
    for path, value in values.items():
        head, dot, rest = path.partition(".")
        if dot:
            changes.setdefault(head, {})[rest] = value
        else:
            changes[head] = value
    for name in changes.keys() & groups_of(type(settings)).keys():
        changes[name] = _replaced(getattr(settings, name), changes[name])
    return dataclasses.replace(settings, **changes)


def _read_assigned(text: str) -> Any:
    """What follows ``--set key=``: YAML, but a text without quotes is taken whole, ``a #1`` too."""
    node = yaml.compose(text, Loader=yaml.SafeLoader)
    if node is None or (isinstance(node, yaml.ScalarNode) and node.style is None):
        return _Plain(text.strip())
    return _from_node(node)


def _from_node(node: yaml.Node | None) -> Any:
    """YAML's lists and mappings with all scalars as texts: the field's type says what a text means."""
    if isinstance(node, yaml.ScalarNode):
        return node.value if node.style else _Plain(node.value)
    if isinstance(node, yaml.SequenceNode):
        return [_from_node(one) for one in node.value]
    if isinstance(node, yaml.MappingNode):
        return {str(_from_node(key)): _from_node(value) for key, value in node.value}
    return None


def as_assigned(value: Any) -> str:
    """Write a value as ``--set`` reads it."""
    if value is None:
        return ""
    if isinstance(value, str):
        is_plain = value.lower() not in _NOTHING and value == value.strip()
        try:
            if is_plain and _read_assigned(value) == value:
                return value
        except yaml.YAMLError:
            pass
    return json.dumps(value, ensure_ascii=False)


def read_settings(path: str | Path) -> dict[str, Any]:
    """Read settings for :meth:`Settings.with_values`: a YAML or JSON file, or those in a ``run.json``.

    Raises:
        UserError: if there is no such file or it is not a mapping.
    """
    content = read_mapping(path)
    return content["config"] if isinstance(content.get("config"), dict) else content


def read_record(path: str | Path) -> dict[str, Any] | None:
    """Read a ``run.json``; None if the file holds settings only.

    Raises:
        UserError: if there is no such file or it is not a mapping.
    """
    content = read_mapping(path)
    return content if isinstance(content.get("config"), dict) else None  # no setting has this name


def read_mapping(path: str | Path) -> dict[str, Any]:
    """Read a YAML or JSON file that must hold a mapping.

    Raises:
        UserError: if there is no such file or it is not a mapping.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
        is_json = Path(path).suffix == ".json"
        content = json.loads(text) if is_json else _from_node(yaml.compose(text, Loader=yaml.SafeLoader))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"--config {path} cannot be read: {error}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        kind = "JSON" if isinstance(error, json.JSONDecodeError) else "YAML"
        raise UserError(f"--config {path} is not valid {kind}: {' '.join(str(error).split())}") from error
    if content is not None and not isinstance(content, dict):
        name = "text" if isinstance(content, str) else type(content).__name__
        raise UserError(f"--config {path}: need lines of 'key: value', got a {name}")
    return content or {}

"""Settings said once: typed, nested, frozen classes that are changed by name.

A settings class is a frozen dataclass that derives from `Settings`. A field says its type, its choices
(``Literal``) or its range (`Range`), and a docstring follows it; checks, error messages and help texts
are derived from these. A field whose type is itself a settings class is a group; a tuple of a settings class
is a list of mappings, each with the names of that class.

Every setting has a full name, ``optimizer.learning_rate``, and a short one, ``learning_rate``, which is
unique in its class. Both may be used wherever settings are read; ``to_dict`` writes the short ones. Names of
earlier versions (`Former`) are read, too, so that old files and commands still work.
"""

import ast
import dataclasses
import difflib
import functools
import inspect
import itertools
import json
import textwrap
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, Self, TypeVar

from ..errors import UserError
from ..json_types import JsonObject
from .assignments import read_assigned
from .values import READERS, Former, Range, Setting, Short, read_number

Kind = TypeVar("Kind", bound="Settings")
Result = TypeVar("Result")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Base of a settings class: checks its own fields, and can be changed by name."""

    HEADING: ClassVar[str] = ""
    """What the help prints over this group."""

    def __post_init__(self) -> None:
        for setting in own_settings(type(self)):
            setting.check(getattr(self, setting.path))

    @classmethod
    def of(cls, **values: object) -> Self:
        """Make settings from full or short names; the fields without default must be among them.

        Raises:
            UserError: for an unknown name or a value that cannot be.
        """
        needed = {field.name for field in dataclasses.fields(cls) if _has_no_default(field)}
        first = cls(**{name: values[name] for name in needed if name in values})
        return first.changed(**{name: value for name, value in values.items() if name not in needed})

    def changed(self, **values: object) -> Self:
        """Replace settings by full or short name.

        Raises:
            UserError: for an unknown name or a value that cannot be.
        """
        return self.with_values(values, source=type(self).__name__)

    def with_values(self, values: Mapping[str, object], *, source: str) -> Self:
        """Replace settings by name.

        Args:
            values: by full or short name, or nested by group; of the right type, or as ``--set`` writes them.
            source: named in errors.

        Raises:
            UserError: for an unknown name (the nearest is suggested) or a value that cannot be.
        """
        return self.with_read(self.read_values(values, source=source))

    def with_read(self, values: Mapping[str, object]) -> Self:
        """Replace settings by what `read_values` and `read_overrides` gave.

        Of several sources merge the values first: the checks then see the result alone.

        Raises:
            UserError: for a value, or a combination of values, that cannot be.
        """
        return _replaced(self, values)

    @classmethod
    def read_values(cls, values: Mapping[str, object], *, source: str) -> dict[str, object]:
        """Values of the right type by full name; see `with_values`."""
        return dict(_by_path(cls, values, source=source))

    def with_overrides(self, assignments: Iterable[str], *, source: str = "--set") -> Self:
        """Apply ``key=value`` texts; later ones win. ``source`` is named in errors.

        Raises:
            UserError: for a text without ``=`` or with broken YAML after it, and as `with_values`.
        """
        return self.with_read(self.read_overrides(assignments, source=source))

    @classmethod
    def read_overrides(cls, assignments: Iterable[str], *, source: str = "--set") -> dict[str, object]:
        """Values of the right type by full name; see `with_overrides`."""
        import yaml

        values: dict[str, object] = {}
        for assignment in assignments:
            key, equals, text = assignment.partition("=")
            if not equals:
                raise UserError(
                    f"{source} {assignment!r} has no '='. Write {source} key=value, e.g. learning_rate=2e-5."
                )
            try:
                value = read_assigned(text)
            except yaml.YAMLError as error:
                raise UserError(
                    f"{source} {assignment!r} is not valid YAML: {' '.join(str(error).split())}. "
                    "Put a text with brackets, colons or quotes in single quotes."
                ) from error
            values |= cls.read_values({key.strip(): value}, source=source)
        return values

    def get(self, short: str) -> Any:
        """A value by its full or short name."""
        value: object = self
        for name in settings_of(type(self))[short].path.split("."):
            value = getattr(value, name)
        return value

    def to_dict(self) -> dict[str, object]:
        """Plain values by short name in the order of the fields, as in ``run.json``."""
        flat = {setting.short: self.get(setting.short) for setting in all_settings(type(self))}
        return typing.cast(dict[str, object], json.loads(json.dumps(flat, default=Settings.to_dict)))


def _has_no_default(field: "dataclasses.Field[object]") -> bool:
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
    """Every setting by its full and by its short name, and by those of earlier versions."""
    found = {name: setting for setting in all_settings(cls) for name in (setting.path, setting.short)}
    for setting in all_settings(cls):
        group = setting.path.rpartition(".")[0]
        for name in setting.former:
            for one in {name, f"{group}.{name}" if group else name}:
                if found.setdefault(one, setting) is not setting:
                    raise TypeError(f"{cls.__name__} has a setting {one}, a former name of {setting.path}")
    return found


def current_names(cls: type[Settings], values: Mapping[str, object]) -> dict[str, object]:
    """Settings by short name that an earlier version wrote, under the names of this one."""
    known = settings_of(cls)
    return {known[name].short if name in known else name: value for name, value in values.items()}


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
    hints = typing.get_type_hints(cls, include_extras=True)
    return tuple(
        _setting(field, hints[field.name], functools.partial(_meaning, cls, field.name))
        for field in dataclasses.fields(cls)
        if field.name not in groups_of(cls)
    )


def _setting(field: "dataclasses.Field[object]", hint: object, read_meaning: Callable[[], str]) -> Setting:
    notes: list[object] = []
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
    read_item, items = _items(hint) if typing.get_origin(hint) is tuple else (None, "texts")
    kind = str if choices else typing.get_origin(hint) or hint
    if kind not in READERS:
        raise TypeError(f"a setting cannot be of type {hint}: {field.name}")
    return Setting(
        path=field.name,
        short=next((note.name for note in notes if isinstance(note, Short)), field.name),
        kind=kind,
        optional=optional,
        choices=choices,
        former=tuple(note.name for note in notes if isinstance(note, Former)),
        range=next((note for note in notes if isinstance(note, Range)), None),
        default=field.default,
        read_meaning=read_meaning,
        read_item=read_item,
        items=items,
    )


def _items(hint: object) -> tuple[Callable[[object, str], object] | None, str]:
    """How one of a list is read, and what the list holds in words."""
    (item, *_) = typing.get_args(hint)
    if item is float:
        return read_number, "numbers"
    if isinstance(item, type) and issubclass(item, Settings):
        return functools.partial(_read_settings, item), f"mappings with keys such as {_first_names(item)}"
    return None, "texts"


def _first_names(cls: type[Settings]) -> str:
    return " and ".join(setting.short for setting in all_settings(cls)[:2])


def _read_settings(cls: type[Kind], value: object, source: str) -> Kind:
    if isinstance(value, cls):
        return value
    if not isinstance(value, Mapping):
        raise UserError(f"{source} must be a mapping with keys such as {_first_names(cls)}; got {value!r}.")
    return cls().with_values(value, source=source)


def _meaning(cls: type[Settings], field: str) -> str:
    return _meanings(cls).get(field, "")


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
    cls: type[Settings], values: Mapping[str, object], *, source: str, group: str = ""
) -> Iterator[tuple[str, object]]:
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
    names = [name for one in all_settings(cls) for name in (one.path, one.short)]
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    if near:
        return f" Did you mean {near[0]!r}?"
    return f" Known: {', '.join(setting.short for setting in all_settings(cls))}."


def _replaced(settings: Kind, values: Mapping[str, object]) -> Kind:
    changes: JsonObject = {}
    for path, value in values.items():
        head, dot, rest = path.partition(".")
        if dot:
            changes.setdefault(head, {})[rest] = value
        else:
            changes[head] = value
    for name in changes.keys() & groups_of(type(settings)).keys():
        changes[name] = _replaced(getattr(settings, name), changes[name])
    return dataclasses.replace(settings, **changes)

"""Settings as texts: what follows ``--set key=``, and YAML, JSON and ``run.json`` files."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import UserError
from ..json_types import Json, JsonObject
from .values import NOTHING, Plain

if TYPE_CHECKING:
    import yaml  # imported where it is used: --help reads no settings


def read_assigned(text: str) -> Json:
    """What follows ``--set key=``: YAML, but a text without quotes is taken whole, ``a #1`` too."""
    import yaml

    node = yaml.compose(text, Loader=yaml.SafeLoader)
    if node is None or (isinstance(node, yaml.ScalarNode) and node.style is None):
        return Plain(text.strip())
    return _from_node(node)


def _from_node(node: "yaml.Node | None") -> object:
    """YAML's lists and mappings with all scalars as texts: the field's type says what a text means."""
    import yaml

    if isinstance(node, yaml.ScalarNode):
        return node.value if node.style else Plain(node.value)
    if isinstance(node, yaml.SequenceNode):
        return [_from_node(one) for one in node.value]
    if isinstance(node, yaml.MappingNode):
        return {str(_from_node(key)): _from_node(value) for key, value in node.value}
    return None


def as_assigned(value: object) -> str:
    """Write a value as ``--set`` reads it."""
    import yaml

    if value is None:
        return ""
    if isinstance(value, str):
        is_plain = value.lower() not in NOTHING and value == value.strip()
        try:
            if is_plain and read_assigned(value) == value:
                return value
        except yaml.YAMLError:
            pass
    return json.dumps(value, ensure_ascii=False)


def read_settings(path: str | Path) -> dict[str, object]:
    """Read settings for `Settings.with_values`: a YAML or JSON file, or those in a ``run.json``.

    Raises:
        UserError: if there is no such file or it is not a mapping.
    """
    content = read_mapping(path)
    return content["config"] if isinstance(content.get("config"), dict) else content


def recorded_run(path: str | Path) -> dict[str, object] | None:
    """Read a ``run.json``; None if the file holds settings only.

    Raises:
        UserError: if there is no such file or it is not a mapping.
    """
    content = read_mapping(path)
    return content if isinstance(content.get("config"), dict) else None  # no setting has this name


def read_mapping(path: str | Path) -> JsonObject:
    """Read a YAML or JSON file that must hold a mapping.

    Raises:
        UserError: if there is no such file or it is not a mapping.
    """
    import yaml

    try:
        text = Path(path).read_text(encoding="utf-8-sig")
        is_json = Path(path).suffix == ".json"
        content = json.loads(text) if is_json else _from_node(yaml.compose(text, Loader=yaml.SafeLoader))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        advice = "Give a YAML file of settings, or the run.json of a run."
        raise UserError(f"--config {path} cannot be read: {reason}. {advice}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        kind = "JSON" if isinstance(error, json.JSONDecodeError) else "YAML"
        raise UserError(f"--config {path} is not valid {kind}: {' '.join(str(error).split())}") from error
    if content is not None and not isinstance(content, dict):
        name = "text" if isinstance(content, str) else type(content).__name__
        raise UserError(f"--config {path}: need lines of 'key: value', got a {name}")
    return content or {}

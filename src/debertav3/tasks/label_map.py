"""What a user's rows call labels, and what they are to be called: a YAML or JSON file."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

from ..errors import UserError
from .labels import label_text
from .rows import shortened

ENDINGS = (".yaml", ".yml", ".json")


def read_label_map(path: str | Path) -> Mapping[str, str]:
    """Read lines ``label in the rows: label of the task``.

    Raises:
        UserError: if the file cannot be read, or holds anything else.
    """
    import yaml

    try:
        # Scalars stay as they are written: in YAML 1.1, no is false and 12:30 is 750.
        content = _with_different_keys(yaml, Path(path).read_text(encoding="utf-8"), path)
    except FileNotFoundError:
        raise UserError(
            f"--labels {path} does not exist. Give a YAML file of lines 'label: new label'."
        ) from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"--labels {path} cannot be read as YAML: {reason[:200]}") from None
    if not isinstance(content, dict) or not content:
        raise UserError(f"--labels {path} must have lines 'label: new label'; got {shortened(content)}.")
    wrong = [value for value in content.values() if not isinstance(value, str) or not value.strip()]
    if wrong:
        raise UserError(
            f"--labels {path}: a label is called by one word or number; got {shortened(wrong[0])}."
        )
    return {label_text(name): label_text(value) for name, value in content.items()}


def _with_different_keys(yaml: ModuleType, text: str, path: str | Path) -> object:
    """The content of a YAML file, all scalars as texts.

    Raises:
        UserError: if a key occurs twice, of which YAML would take the last.
    """
    node = yaml.compose(text, Loader=yaml.BaseLoader)
    if isinstance(node, yaml.MappingNode):
        names = Counter(key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode))
        if twice := [name for name, count in names.items() if count > 1]:
            raise UserError(f"--labels {path}: {twice[0]!r} occurs twice. Keep one of its lines.")
    return yaml.load(text, Loader=yaml.BaseLoader)

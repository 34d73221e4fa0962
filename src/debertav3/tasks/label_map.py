"""What a user's rows call labels, and what they are to be called: a YAML or JSON file."""

from collections.abc import Mapping
from pathlib import Path

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
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(
            f"--labels {path} does not exist. Give a YAML file of lines 'label: new label'."
        ) from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"--labels {path} cannot be read as YAML: {reason[:200]}") from None
    if not isinstance(content, dict) or not content:
        raise UserError(f"--labels {path} must have lines 'label: new label'; got {shortened(content)}.")
    wrong = next((value for value in content.values() if isinstance(value, dict | list) or value is None), "")
    if wrong != "":
        raise UserError(f"--labels {path}: a label is called by one word or number; got {shortened(wrong)}.")
    return {label_text(name): label_text(value) for name, value in content.items()}

"""The models of ``serve`` and ``mcp``: by name, checked before torch is loaded."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from ..errors import UserError
from .commands import Option
from .input_checks import open_checkpoint
from .options import MODEL
from .task_plan import label_list

if TYPE_CHECKING:
    from ..checkpoint.folder import Checkpoint
    from ..inference.predictor import Predictor

ServedTask = Annotated[
    str | None,
    Option(
        "--task", help="Task, such as ner, whose head to load, if a checkpoint has several.", heading=MODEL
    ),
]


def open_models(models: list[str] | None) -> "dict[str, Checkpoint]":
    """Open the checkpoints of ``--model``, without loading weights.

    Args:
        models: MODEL or NAME=MODEL each; None is the nano model.

    Raises:
        UserError: if one cannot be opened, or a name comes twice.
    """
    from ..inference.default_model import default_model

    wanted = name_models(models or [f"nano={default_model()}"])
    return {name: open_checkpoint(path) for name, path in wanted.items()}


def load_models(
    checkpoints: "dict[str, Checkpoint]", *, labels: str | None, **loading: Any
) -> "dict[str, Predictor]":
    """Load the weights.

    Args:
        checkpoints: what `open_models` gave.
        labels: ``--labels``, with commas.
        loading: as `Predictor.from_pretrained` takes it.

    Raises:
        UserError: if one cannot be loaded.
    """
    from ..inference.predictor import Predictor

    names = label_list(labels)
    for checkpoint in checkpoints.values():  # what is wrong with one is said before torch loads another
        Predictor.from_pretrained(checkpoint, labels=names, deferred=True, **loading)
    return {
        name: Predictor.from_pretrained(checkpoint, labels=names, **loading)
        for name, checkpoint in checkpoints.items()
    }


def name_models(models: list[str]) -> dict[str, str]:
    """The models by name: what stands before ``=``, else the last part of the path or Hub name.

    Raises:
        UserError: if a name comes twice.
    """
    found: dict[str, str] = {}
    for given in models:
        name, equals, path = given.partition("=")
        if not equals or "/" in name or Path(given).exists():
            name, path = Path(given.rstrip("/")).name, given
        if not name or not path:
            raise UserError(f"--model {given!r} has no name or no model. Write MODEL or NAME=MODEL.")
        if name in found:
            raise UserError(f"two models are called {name!r}. Give them names: --model NAME={path}")
        found[name] = path
    return found


def require_packages(command: str, *packages: str, extra: str) -> None:
    """Check that the packages of an extra are installed.

    Raises:
        MissingExtraError: naming the first that is not.
    """
    from importlib.util import find_spec

    from ..errors import MissingExtraError

    for package in packages:
        if find_spec(package) is None:
            raise MissingExtraError(feature=f"debertav3 {command}", package=package, extra=extra)

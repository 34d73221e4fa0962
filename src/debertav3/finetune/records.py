"""What is needed to repeat a run: settings, data sums, versions, commit, command."""

import importlib.metadata
import math
import platform
import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from .. import __version__
from .checkpoints import file_sha256
from .config import FinetuneConfig

_PACKAGES = ("torch", "transformers", "accelerate", "sentencepiece", "numpy", "safetensors")


def run_record(
    config: FinetuneConfig,
    *,
    out: Path,
    labels: tuple[str, ...],
    data: Mapping[str, Any],
    device: str,
    parameters: int,
) -> dict[str, Any]:
    """Return the content of ``run.json``.

    Args:
        config: the resolved settings.
        out: the folder of the run.
        labels: class names in id order.
        data: from :func:`data_facts`.
        device: what the run was computed on.
        parameters: of the model, head included.
    """
    return {
        "command": shlex.join([_program(), *sys.argv[1:]]),
        "out": out.resolve().name,
        "config": config.to_dict(),
        "labels": list(labels),
        "parameters": parameters,
        "data": dict(data),
        "seed": config.seed,
        "device": device,
        "threads": torch.get_num_threads(),
        "versions": {
            "debertav3": __version__,
            "python": platform.python_version(),
            **{name: importlib.metadata.version(name) for name in _PACKAGES},
        },
        "git_commit": _git_commit(),
    }


def data_facts(rows: Mapping[str, int]) -> dict[str, Any]:
    """Return rows and SHA-256 sum of each data file; the sum of a data set by name is None.

    Args:
        rows: labelled rows of each.
    """
    return {source: {"rows": count, "sha256": _sha256(source)} for source, count in rows.items()}


def finite(content: Any) -> Any:
    """Return a copy for JSON, which knows no infinity and no NaN: None in their places."""
    if isinstance(content, Mapping):
        return {key: finite(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [finite(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content


def _program() -> str:
    """What was called; ``python -m debertav3`` by the name of its script."""
    name = Path(sys.argv[0]).name
    return "debertav3" if name == "__main__.py" else name


def _sha256(source: str) -> str | None:
    """Sum of a file; None for a data set by name."""
    return file_sha256(Path(source)) if Path(source).is_file() else None


def _git_commit() -> str | None:
    """Commit of the checkout that this package runs from; None if it was installed otherwise."""
    folder = Path(__file__).resolve().parent
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), "rev-parse", "HEAD"],
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None

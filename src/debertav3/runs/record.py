"""``run.json``: what a training was made of, so that a person can repeat it and a command can resume it."""

import importlib.metadata
import math
import platform
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from ..files import read_json_object, write_json
from ..json_types import Json, JsonMapping, JsonObject
from ..tasks.columns import RUN
from ..version import __version__

_PACKAGES = ("torch", "transformers", "accelerate", "sentencepiece", "numpy", "safetensors")
_SUM_LENGTH = 64
"""Letters of a SHA-256 sum, which nobody wants to read."""


def has_record(folder: Path) -> bool:
    """Whether a folder has a ``run.json``, of whatever run."""
    return (folder / RUN).exists()


def read_record(folder: Path, *, needs: Sequence[str] = ()) -> JsonObject:
    """Read the ``run.json`` of a folder.

    Args:
        folder: of a run.
        needs: keys that it must have.

    Raises:
        UserError: if there is none, it cannot be read, or a key is missing.
    """
    return read_json_object(folder / RUN, needs=needs)


def write_record(folder: Path, record: JsonMapping) -> None:
    """Write the ``run.json`` of a folder, whole or not at all."""
    write_json(folder / RUN, record)


def circumstances() -> JsonObject:
    """What computes a run: processor threads, versions of the packages, and the commit of this checkout."""
    import torch  # only here, so that bad data are reported before torch is loaded

    return {"threads": torch.get_num_threads(), "versions": _versions(), "git_commit": _git_commit()}


def finite(content: object) -> Json:
    """Return a copy for JSON, which has no infinity and no NaN: None in their positions."""
    if isinstance(content, Mapping):
        return {key: finite(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [finite(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content


def differences(before: Mapping[str, object], now: Mapping[str, object]) -> Iterator[str]:
    """Say what of ``now`` was something else before; of nested values only those that differ.

    Args:
        before: settings, and SHA-256 sums of files by name, as an earlier run noted them.
        now: the same of this run.

    Yields:
        ``learning_rate (was 0.001, now 0.002)``; for a sum only the file's name.
    """
    for name in dict.fromkeys([*before, *now]):
        old, value = before.get(name), now.get(name)
        if isinstance(value, Mapping) and isinstance(old, Mapping):
            yield from differences(old, value)
        elif old != value:
            is_sum = any(isinstance(one, str) and len(one) == _SUM_LENGTH for one in (old, value))
            yield name if is_sum else f"{name} (was {old!r}, now {value!r})"


def _versions() -> dict[str, str]:
    packages = {name: importlib.metadata.version(name) for name in _PACKAGES}
    return {"debertav3": __version__, "python": platform.python_version(), **packages}


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

"""The folder of a run: what may be in it before, and ``run.json``, what it was made from."""

import json
import platform
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from ..data.shards import TokenShards
from ..errors import UserError
from ..files import write_json
from .settings import PretrainConfig

if TYPE_CHECKING:
    from .networks import Networks

WRITTEN = (
    "run.json",
    "metrics.jsonl",
    "checkpoints",
    "tensorboard",
    "report.html",
    "encoder",
    "discriminator",
    "generator",
)
_PACKAGES = ("debertav3", "torch", "transformers", "accelerate", "sentencepiece", "numpy")


def check_folder(out: Path, *, resume: bool) -> None:
    """Look at a folder before a run.

    Raises:
        UserError: if the run would write over what it has not written, or ``resume`` is missing.
    """
    if out.exists() and not out.is_dir():
        raise UserError(f"{out} is a file: --out needs a folder for the run")
    if _is_run(out / "run.json"):
        if not resume:
            raise UserError(
                f"{out} holds a run already: add --resume to go on with it, or choose another --out"
            )
    elif found := [name for name in WRITTEN if (out / name).exists()]:
        raise UserError(
            f"{out} holds {', '.join(found)} of something else, which pre-training would overwrite: choose "
            "another --out"
        )


def _is_run(path: Path) -> bool:
    """Whether a file is the record of a pre-training."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        return "objective" in record["config"] and "fingerprint" in record["data"]
    except (OSError, ValueError, LookupError, TypeError):
        return False


def place_of(start: Path | None) -> str | None:
    """A folder wherever the command was given; a Hub name as it is."""
    return None if start is None else str(start.resolve() if start.is_dir() else start)


def write_record(
    config: PretrainConfig, shards: TokenShards, networks: "Networks", out: Path, start: Path | None
) -> None:
    """Write ``run.json``: settings, networks as built, data, versions."""
    out.mkdir(parents=True, exist_ok=True)
    run = {
        "config": config.resolved(),
        "start": place_of(start),
        "networks": {
            name: {"layers": model.config.num_hidden_layers, "parameters": model.num_parameters()}
            for name, model in (("generator", networks.generator), ("discriminator", networks.discriminator))
            if model is not None
        },
        "data": {"folder": str(shards.folder.resolve()), "fingerprint": shards.fingerprint},
        "tokens": shards.num_tokens,
        "versions": {
            "python": platform.python_version(),
            **{name: metadata.version(name) for name in _PACKAGES},
        },
    }
    write_json(out / "run.json", run)

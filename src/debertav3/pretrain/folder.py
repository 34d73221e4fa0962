"""The folder of a run: what may be in it before, and ``run.json``: what the run is made of."""

import json
import logging
import platform
import time
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from ..data.shards import TokenShards
from ..errors import UserError
from ..files import write_json
from ..files.model_content import content_sums, model_content
from ..json_types import JsonMapping
from ..runs.settings import current_names
from .settings import PretrainConfig

if TYPE_CHECKING:
    from .networks import Networks

log = logging.getLogger(__name__)

_NETWORKS = ("encoder", "discriminator", "generator")
_SUM_LENGTH = 64
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
                f"{out} holds a run already: add --resume to continue it, or choose another --out"
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


def run_contents(
    shards: TokenShards, heldout: TokenShards, start: Path | None, *, tokenizer: Path
) -> dict[str, object]:
    """Return what a run is made of, by content and never by path: token files, tokenizer, starting weights.

    Raises:
        UserError: if the token files are not those that were prepared, or a file cannot be read.
    """
    started = time.perf_counter()
    data = shards.content() | heldout.content()
    log.info("checked the data's %d files in %.0f s", len(data), time.perf_counter() - started)
    return {
        "data": data,
        "tokenizer": content_sums(tokenizer),
        "start": None if start is None else model_content(str(start), parts=_NETWORKS),
    }


def changes_since(before: JsonMapping, now: JsonMapping) -> list[str]:
    """Say what a checkpoint was made with that a run does not have.

    Args:
        before: what the checkpoint notes, of this or an older version.
        now: ``config``, ``fingerprint`` and ``start`` of the run, and its ``contents``.
    """
    compared = ["config", "fingerprint", "start"]
    before = {**before, "config": current_names(PretrainConfig, before["config"])}
    if known := before.get("contents"):
        compared = ["config", "contents"]
        if known.get("start") is None or now["contents"]["start"] is None:
            compared.append("start")  # nothing or a Hub name that had no copy: the name has to do
    return list(_differences({key: before.get(key) for key in compared}, {key: now[key] for key in compared}))


def _differences(before: Mapping[str, object], now: Mapping[str, object]) -> Iterator[str]:
    """What of ``now`` was something else before; of nested values only those that differ."""
    for name in dict.fromkeys([*before, *now]):
        old, value = before.get(name), now.get(name)
        if isinstance(value, Mapping) and isinstance(old, Mapping):
            yield from _differences(old, value)
        elif old != value:
            is_sum = any(isinstance(one, str) and len(one) == _SUM_LENGTH for one in (old, value))
            yield f"another {name}" if is_sum else f"{name} = {old!r}, not {value!r}"


def place_of(start: Path | None) -> str | None:
    """A folder wherever the command was given; a Hub name as it is."""
    return None if start is None else str(start.resolve() if start.is_dir() else start)


def write_record(
    config: PretrainConfig,
    shards: TokenShards,
    networks: "Networks",
    out: Path,
    start: Path | None,
    *,
    contents: Mapping[str, object],
    word_frequency_loss: float | None,
) -> None:
    """Write ``run.json``: settings, networks as built, data and weights by content, versions.

    Args:
        config: of the run.
        shards: what it trains on.
        networks: as built.
        out: its folder.
        start: what it continues.
        contents: from `run_contents`.
        word_frequency_loss: see `verdict.word_frequency_loss`.
    """
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
        "contents": dict(contents),
        "tokens": shards.num_tokens,
        "vocabulary": shards.vocab_size,
        "word_frequency_loss": word_frequency_loss,
        "versions": {
            "python": platform.python_version(),
            **{name: metadata.version(name) for name in _PACKAGES},
        },
    }
    write_json(out / "run.json", run)

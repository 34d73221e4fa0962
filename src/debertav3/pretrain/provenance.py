"""What a pre-training run is made of: noted in ``run.json``, compared where it is resumed."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ..data.shards import TokenShards
from ..errors import UserError
from ..files.model_content import content_sums, model_content
from ..json_types import JsonMapping
from ..runs.folder import check_run_folder
from ..runs.record import circumstances, differences, read_record, write_record
from ..runs.settings import current_names
from .settings import PretrainConfig

if TYPE_CHECKING:
    from .networks import Networks


_SINCE_THE_FIRST = frozenset(
    {
        "optimizer",
        "schedule",
        "decay_steps",
        "decay_shape",
        "muon_momentum",
        "mask_schedule",
        "mask_prob_end",
        "mask_points",
        "phases",
        "ema_decay",
        "mean_last",
        "mean_every_steps",
    }
)
"""Settings that runs of earlier versions do not note."""

_NETWORKS = ("encoder", "discriminator", "generator")
WRITTEN = (
    "run.json",
    "metrics.jsonl",
    "checkpoints",
    "tensorboard",
    "report.html",
    "encoder",
    "discriminator",
    "generator",
    "ema",
    "mean",
)


def check_folder(out: Path, *, resume: bool) -> None:
    """Check that a run may begin in a folder, or continue what is there. Nothing is written.

    Raises:
        UserError: see :func:`debertav3.runs.folder.check_run_folder`.
    """
    is_run = _is_run(out)
    check_run_folder(out, writes=WRITTEN, is_own=is_run, holds_run=is_run, resume=resume, inputs={})


def _is_run(out: Path) -> bool:
    """Whether a folder has the record of a pre-training."""
    try:
        record = read_record(out, needs=("config", "data"))
        return "objective" in record["config"] and "fingerprint" in record["data"]
    except (UserError, OSError, TypeError):
        return False


def run_contents(
    shards: TokenShards, heldout: TokenShards, start: Path | None, *, tokenizer: Path
) -> dict[str, object]:
    """Return what a run is made of, by content and never by path: token files, tokenizer, starting weights.

    Raises:
        UserError: if a file cannot be read.
    """
    return {
        "data": shards.content() | heldout.content(),
        "tokenizer": content_sums(tokenizer),
        "start": None if start is None else model_content(str(start), parts=_NETWORKS),
    }


def changes_since(before: JsonMapping, now: JsonMapping) -> list[str]:
    """Say what differs between a checkpoint and the run that is to resume from it.

    Args:
        before: what the checkpoint notes, of this or an older version.
        now: ``config``, ``fingerprint`` and ``start`` of the run, and its ``contents``.
    """
    compared = ["config", "fingerprint", "start"]
    before = {**before, "config": pinned_settings(before["config"])}
    if known := before.get("contents"):
        compared = ["config", "contents"]
        if known.get("start") is None or now["contents"]["start"] is None:
            compared.append("start")  # nothing or a Hub name that had no copy: the name has to do
    return list(differences({key: before.get(key) for key in compared}, {key: now[key] for key in compared}))


def pinned_settings(noted: Mapping[str, object]) -> dict[str, object]:
    """Settings that this or an earlier version noted; what it did not know yet was as it is by default."""
    new = {name: value for name, value in PretrainConfig().identity().items() if name in _SINCE_THE_FIRST}
    return {**new, **current_names(PretrainConfig, noted)}


def place_of(start: Path | None) -> str | None:
    """A folder wherever the command was given; a Hub name as it is."""
    return None if start is None else str(start.resolve() if start.is_dir() else start)


def note_run(
    config: PretrainConfig,
    shards: TokenShards,
    networks: "Networks",
    out: Path,
    start: Path | None,
    *,
    contents: Mapping[str, object],
    num_tokens: int,
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
        num_tokens: of all its shards.
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
        "tokens": num_tokens,
        "vocabulary": shards.vocab_size,
        "word_frequency_loss": word_frequency_loss,
        **circumstances(),
    }
    write_record(out, run)

"""Data sets by name, ``datasets:NAME[:CONFIG][:SPLIT]``: from the Hub or a folder."""

from pathlib import Path
from typing import Any

from ..errors import MissingExtraError, UserError

DATASETS_PREFIX = "datasets:"


def open_dataset(source: str, *, is_streamed: bool) -> Any:
    """Open a data set with the package datasets; the split is ``train`` unless the name says another.

    Args:
        source: the name, with its prefix.
        is_streamed: read it row by row, without storing the whole set on the disk.

    Raises:
        UserError: if there is no such set.
        MissingExtraError: without the package.
    """
    datasets = _import_datasets("reading a data set by name")
    path, _, rest = source.removeprefix(DATASETS_PREFIX).partition(":")
    config, _, split = rest.partition(":")
    try:
        return datasets.load_dataset(path, config or None, split=split or "train", streaming=is_streamed)
    except (OSError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise UserError(
            f"cannot open data set {path!r} (config {config or None}, split {split or 'train'}): "
            f"{reason.rstrip('.')}. Check its name and the network, or give files."
        ) from error


def open_saved(folder: Path) -> Any:
    """Open what ``datasets.Dataset.save_to_disk`` has written.

    Raises:
        UserError: if it cannot be read.
        MissingExtraError: without the package.
    """
    datasets = _import_datasets("reading a folder of save_to_disk")
    try:
        return datasets.load_from_disk(str(folder))
    except (OSError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise UserError(f"{folder} cannot be read as a saved data set: {reason}") from error


def _import_datasets(feature: str) -> Any:
    try:
        import datasets
    except ImportError as error:
        raise MissingExtraError(feature=feature, package="datasets", extra="train") from error
    return datasets

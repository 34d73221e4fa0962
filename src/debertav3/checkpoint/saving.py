"""``save_model``: a checkpoint folder that appears whole or not at all, and that stock transformers opens."""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from safetensors import SafetensorError

from ..errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

ALWAYS_SAVED = (
    "id2label",
    "label2id",
    "pooler_hidden_size",
    "pooler_hidden_act",
    "position_buckets",
    "norm_rel_ebd",
    "share_att_key",
)
"""Keys of ``config.json`` that are written even where they equal a reader's default."""


class SavesItself(Protocol):
    """A tokenizer of this package or of transformers."""

    def save_pretrained(self, folder: str, /) -> object:
        """Write the tokenizer's files into ``folder``."""


def save_model(model: "PreTrainedModel", folder: str | Path, tokenizer: SavesItself | None = None) -> Path:
    """Write a model, and its tokenizer, as safetensors with a complete ``config.json``.

    Everything is written beside ``folder`` first. A new folder then appears by one rename; in an existing one
    the files are replaced one by one, ``config.json`` last, and files of other names stay.

    Args:
        model: one of this package's models, in the dtype in which it shall be stored.
        folder: where to; created if need be.
        tokenizer: saved beside the model.

    Raises:
        UserError: if the folder cannot be written.
    """
    target = Path(folder)
    with replacing_folder(target) as partial:
        model.save_pretrained(str(partial))
        _check_config(partial / "config.json")
        if tokenizer is not None:
            tokenizer.save_pretrained(str(partial))
    return target


def _check_config(path: Path) -> None:
    saved = json.loads(path.read_text(encoding="utf-8"))
    if missing := [key for key in ALWAYS_SAVED if key not in saved]:
        raise UserError(
            f"a config.json without {', '.join(missing)} would mean other maths to other readers; "
            "save one of debertav3's own models"
        )


@contextmanager
def replacing_folder(target: Path) -> Iterator[Path]:
    """Give a temporary folder whose files become those of ``target`` when the block ends well.

    Raises:
        UserError: if ``target`` is a file, or it or the folder above it cannot be written.
    """
    if target.exists() and not target.is_dir():
        raise UserError(f"{target} is a file; name a folder to save to")
    target = target.resolve()
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".partial", dir=target.parent))
    except OSError as error:
        raise UserError(
            f"cannot write to {target.parent}: {error.strerror}; choose another folder"
        ) from error
    try:
        yield partial
        _move(partial, target)
    except (OSError, SafetensorError) as error:
        raise UserError(
            f"saving to {target} failed: {error}; free some space or choose another place"
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _move(partial: Path, target: Path) -> None:
    for path in partial.rglob("*"):
        if path.is_file():
            path.chmod(0o666 & ~_umask())  # safetensors makes files private; other users may serve them
            _flush(path)
    partial.chmod(0o777 & ~_umask())  # mkdtemp makes it private
    if not target.exists():
        partial.rename(target)
    else:
        for path in sorted(partial.iterdir(), key=lambda p: p.name == "config.json"):
            if path.is_dir() and (target / path.name).is_dir():  # rename replaces files, but no full folder
                (target / path.name).rename(partial / f".old.{path.name}")
            path.replace(target / path.name)
    _flush(target.parent)


def _flush(path: Path) -> None:
    """Wait until a file, or a folder's list of files, is on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask

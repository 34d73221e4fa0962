"""``save_model``: write a checkpoint folder that is never incomplete and that stock transformers can load."""

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from safetensors import SafetensorError

from .. import files
from ..errors import UserError
from ..files.model_content import FITTED

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

    Everything is written to a temporary folder next to ``folder`` first. A new folder then appears by one
    rename; in an existing one the files are replaced one by one, ``config.json`` last. Files with other names
    stay, except those that were fitted to the old weights: ``probabilities.json`` and ``probes.json``.

    Args:
        model: one of this package's models, in the dtype in which it is to be stored.
        folder: the target; created if it does not exist.
        tokenizer: saved together with the model.

    Raises:
        UserError: if the folder cannot be written.
    """
    target = Path(folder)
    with replacing_folder(target, obsolete=FITTED) as partial:
        model.save_pretrained(str(partial))
        _check_config(partial / "config.json")
        if tokenizer is not None:
            tokenizer.save_pretrained(str(partial))
    return target


def _check_config(path: Path) -> None:
    saved = json.loads(path.read_text(encoding="utf-8"))
    if missing := [key for key in ALWAYS_SAVED if key not in saved]:
        raise UserError(
            f"a config.json without {', '.join(missing)} would be read differently by other programs; "
            "save one of debertav3's own models"
        )


@contextmanager
def replacing_folder(target: Path, *, obsolete: Iterable[str] = ()) -> Iterator[Path]:
    """`files.replacing_folder` for what safetensors writes: it reports a full disk in its own way.

    Raises:
        UserError: if ``target`` is a file, or it or the folder above it cannot be written.
    """
    with files.replacing_folder(target, obsolete=obsolete) as partial:
        try:
            yield partial
        except SafetensorError as error:
            reason = " ".join(str(error).split())
            raise UserError(
                f"{target} cannot be written: {reason}. Free some space and run the same command again."
            ) from error

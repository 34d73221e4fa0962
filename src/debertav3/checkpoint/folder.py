"""``Checkpoint``: a model's folder, opened once and passed down to everything that reads it.

Each part is read when it is first needed, and then cached; the modules that read it are imported only then.
Torch is needed only for the values of the weights: light backends and ``debertav3 info`` work without it.
"""

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import UserError
from ..files.model_folder import EXPORT_MANIFEST, ModelFolder
from ..heads import BY_NAME, heads_in
from ..json_types import JsonMapping
from . import files, keys
from .configuration import read_config

if TYPE_CHECKING:
    from ..data.probabilities import Probabilities
    from ..tasks.columns import Trained
    from ..tokenization import DebertaV3Tokenizer
    from .weights import Weights

EXPORTS = ("openvino", "onnx")
"""Folders inside a checkpoint's for exports of it, in the order in which ``auto`` prefers them."""


class Checkpoint:
    """A checkpoint or an exported folder, local or from the Hub.

    Args:
        folder: the folder with its files; `open` finds it.
    """

    def __init__(self, folder: ModelFolder) -> None:
        self.folder = folder

    @classmethod
    def open(
        cls,
        path_or_name: "str | Path | Checkpoint",
        *,
        with_generator: bool = False,
        revision: str | None = None,
        local_files_only: bool = False,
    ) -> "Checkpoint":
        """Find a checkpoint, and download it if it is on the Hub. An opened checkpoint is returned unchanged.

        Args:
            path_or_name: a folder, or a Hub name such as ``microsoft/deberta-v3-base``.
            with_generator: whether to also download the generator of a discriminator.
            revision: branch, tag or commit on the Hub.
            local_files_only: never use the network.

        Raises:
            UserError: if there is no such folder, or the Hub has no such repository or cannot be reached.
        """
        if isinstance(path_or_name, Checkpoint):
            return path_or_name
        return cls(
            ModelFolder.find(
                path_or_name,
                with_generator=with_generator,
                revision=revision,
                local_files_only=local_files_only,
            )
        )

    def __reduce__(self) -> tuple[object, ...]:
        return Checkpoint, (self.folder,)

    def __repr__(self) -> str:
        return f"Checkpoint({self.name!r})"

    @property
    def name(self) -> str:
        """As the user gave it, for messages."""
        return self.folder.name

    @property
    def path(self) -> Path:
        """Its folder on this machine."""
        return self.folder.path

    @cached_property
    def config(self) -> JsonMapping:
        """The content of ``config.json``, validated: see `read_config`.

        Where the file names no class that is known, ``architectures`` is what the tensors' names imply:
        nothing for a bare encoder, and for pre-training checkpoints, which may hold two heads.

        Raises:
            UserError: as `read_config`.
        """
        config = read_config(self.folder)
        if heads_in(config.get("architectures")):
            return config
        try:
            files.find_weights(self.folder)
        except UserError:
            return config  # opening the weights reports what is wrong with them
        head = keys.told_by_names(self.weights.stored)
        return {**config, "architectures": [BY_NAME[head].class_name]} if head else config

    @cached_property
    def weights(self) -> "Weights":
        """Names and shapes of its tensors; their values on demand.

        Raises:
            UserError: as `Weights`.
        """
        from .weights import Weights

        return Weights(self.folder)

    @cached_property
    def tokenizer(self) -> "DebertaV3Tokenizer":
        """Its tokenizer.

        Raises:
            UserError: if there is none, or it is not a DeBERTa tokenizer.
        """
        from ..tokenization import DebertaV3Tokenizer

        return DebertaV3Tokenizer.from_pretrained(self.folder)

    @cached_property
    def trained(self) -> "Trained":
        """What ``run.json`` says about the data that it was fine-tuned on."""
        from ..tasks.columns import read_trained

        return read_trained(self.folder)

    @cached_property
    def probabilities(self) -> "Probabilities":
        """Temperature and thresholds that fine-tuning fitted.

        Raises:
            UserError: if the file is damaged.
        """
        from ..data.probabilities import read_probabilities

        return read_probabilities(self.folder)

    @cached_property
    def fingerprint(self) -> Mapping[str, str]:
        """SHA-256 sums of the files that affect its outputs, by name.

        Raises:
            UserError: if a file cannot be read.
        """
        from ..files.model_content import content_sums

        return content_sums(self.path, known=self.folder.sums)

    @property
    def is_export(self) -> bool:
        """Whether ``debertav3 export`` wrote the folder."""
        return self.folder.has(EXPORT_MANIFEST)

    @cached_property
    def exports(self) -> "tuple[Checkpoint, ...]":
        """Exports inside its folder, in the order of preference, of its present content or not.

        None inside a copy from the Hub, which leaves out the graphs of folders inside.
        """
        if self.folder.is_from_hub:
            return ()
        inside = [Checkpoint(ModelFolder(self.path / name)) for name in EXPORTS]
        return tuple(one for one in inside if one.is_export)

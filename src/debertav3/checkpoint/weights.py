"""The tensors of a checkpoint folder under their official names, whatever files they are in."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from torch import Tensor

from ..errors import UserError
from . import files, keys


class Weights:
    """Names, shapes and dtypes at once, numbers on demand; a ``.bin`` file has to be read at once.

    Args:
        folder: a checkpoint folder, as from :func:`debertav3.checkpoint.files.locate`.
        paths: weight files; ``None`` finds the folder's own.

    Raises:
        UserError: if there are none, they cannot be read, or two tensors have the same name.
    """

    def __init__(self, folder: Path, paths: list[Path] | None = None) -> None:
        self.folder = folder
        self._places: dict[str, tuple[Path, str]] = {}
        self._loaded: dict[Path, dict[str, Tensor]] = {}
        self.stored: dict[str, files.StoredTensor] = {}
        """What the files say of each tensor, by its official name."""
        for path in files.find_weights(folder) if paths is None else paths:
            if path.suffix == ".safetensors":
                part = files.read_header(path)
            else:
                self._loaded[path] = files.read_bin(path)
                part = {name: files.describe(tensor) for name, tensor in self._loaded[path].items()}
            self._add(path, part)

    def _add(self, path: Path, part: dict[str, files.StoredTensor]) -> None:
        for name, tensor in part.items():
            if keys.is_v1(name):
                raise UserError(f"{path}: {name} belongs to DeBERTa v1; open it with transformers.AutoModel")
            official = keys.official_name(name)
            if official in self.stored:
                raise UserError(
                    f"{path}: {name} is in the checkpoint twice, as {official}; remove one of them"
                )
            self.stored[official] = tensor
            self._places[official] = (path, name)

    def read(self, names: Iterable[str] | None = None) -> dict[str, Tensor]:
        """Return tensors by their official names, on the CPU in their stored dtype; by default all."""
        wanted = list(self.stored if names is None else names)
        tensors: dict[str, Tensor] = {}
        for path in dict.fromkeys(self._places[name][0] for name in wanted):
            here = {self._places[name][1]: name for name in wanted if self._places[name][0] == path}
            content = self._loaded.get(path) or files.read_safetensors(path, only=here)
            tensors |= {official: content[name] for name, official in here.items()}
        return tensors

    @property
    def dtypes(self) -> dict[str, int]:
        """How many numbers are stored in each dtype."""
        counts: Counter[str] = Counter()
        for tensor in self.stored.values():
            counts[tensor.dtype] += tensor.size
        return dict(counts)

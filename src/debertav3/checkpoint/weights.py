"""The tensors of a checkpoint folder under their official names, whatever files they are in."""

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ..errors import UserError
from ..files.model_folder import ModelFolder
from . import files, keys

if TYPE_CHECKING:
    from torch import Tensor

    from ..cpu.native.tensors import Int8Array, StoredArray

WEIGHT, SCALES = ".weight", ".weight_scale"
"""How the names of a linear layer's weights end, and of their scales where the weights are int8."""


class Int8Weight(NamedTuple):
    """A linear layer's weight as stored in int8."""

    weight: "Tensor"
    """``(out, in)``, int8."""
    scale: "Tensor"
    """``(out,)``, fp32: what each row is multiplied by."""


class Weights:
    """Names, shapes and dtypes at once, numbers on demand; a ``.bin`` file has to be read at once.

    Only numbers and ``.bin`` files need torch.

    Args:
        folder: a checkpoint folder.
        paths: weight files; ``None`` finds the folder's own.

    Raises:
        UserError: if there are none, they cannot be read, or two tensors have the same name.
    """

    def __init__(self, folder: ModelFolder, paths: list[Path] | None = None) -> None:
        self.folder = folder
        self._places: dict[str, tuple[Path, str]] = {}
        self._loaded: dict[Path, dict[str, Tensor]] = {}
        self.mapped: dict[Path, files.MappedFile] = {}
        """Files that `arrays` views."""
        self.stored: dict[str, files.StoredTensor] = {}
        """What the files say of each tensor, by its official name; scales of int8 weights are left out."""
        self.scales: dict[str, str] = {}
        """By the name of each weight stored in int8 the name of its scales; see ``int8.py``."""
        for path in files.find_weights(folder) if paths is None else paths:
            if path.suffix == ".safetensors":
                part = files.read_header(path)
            else:
                self._loaded[path] = files.read_bin(path)
                part = {name: files.describe(tensor) for name, tensor in self._loaded[path].items()}
            self._add(path, part)
        self._find_scales()

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

    def _find_scales(self) -> None:
        """Take the scales of int8 weights for what they are: no tensors of their own."""
        for name in [name for name in self.stored if name.endswith(SCALES)]:
            weight = self.stored.get(name.removesuffix(SCALES) + WEIGHT)
            if weight is None or weight.dtype != "I8":
                continue  # an unknown tensor, as any other
            scale = self.stored.pop(name)
            if len(weight.shape) != 2 or scale != files.StoredTensor("F32", weight.shape[:1]):
                raise UserError(
                    f"{self.folder}: {name} is {scale.dtype} {list(scale.shape)} for int8 weights "
                    f"{list(weight.shape)}; need one F32 number for each row: export the checkpoint again"
                )
            self.scales[name.removesuffix(SCALES) + WEIGHT] = name

    def read(self, names: Iterable[str] | None = None) -> "dict[str, Tensor]":
        """Return tensors by their official names, on the CPU; by default all.

        They have their stored dtype, except int8 weights: of these the fp32 numbers that they mean.
        """
        return self.read_with_int8(names)[0]

    def read_with_int8(
        self, names: Iterable[str] | None = None
    ) -> "tuple[dict[str, Tensor], dict[str, Int8Weight]]":
        """Return tensors as `read` does, and of int8 weights what is stored, from one reading."""
        wanted = list(self.stored if names is None else names)
        tensors = self._read([*wanted, *(self.scales[name] for name in wanted if name in self.scales)])
        int8 = {}
        for name in wanted:
            if name in self.scales:
                int8[name] = Int8Weight(tensors[name], tensors.pop(self.scales[name]))
                tensors[name] = int8[name].weight * int8[name].scale[:, None]
        return tensors, int8

    def arrays(self, names: Iterable[str]) -> "dict[str, StoredArray | Int8Array]":
        """Return tensors by their official names as views of the mapped files, without torch.

        Of int8 weights both the integers and their scales.
        """
        import numpy as np

        from ..cpu.native.tensors import Int8Array

        wanted = list(names)
        mapped = self._map([*wanted, *(self.scales[name] for name in wanted if name in self.scales)])
        arrays: dict[str, StoredArray | Int8Array] = {}
        for name in wanted:
            arrays[name] = mapped[name]
            if name in self.scales:
                integers = mapped[name].raw.view(np.int8)
                arrays[name] = Int8Array(integers, mapped[self.scales[name]].floats())
        return arrays

    def repeats(self, name: str) -> bool:
        """Whether a tensor has just the numbers of the one that it is tied to, so that it may be left unread.

        Without torch if the files are safetensors.
        """
        twin = keys.TIED.get(name)
        if twin is None or twin not in self.stored or self.stored[name].shape != self.stored[twin].shape:
            return False
        if any(self._places[one][0].suffix != ".safetensors" for one in (name, twin)):
            tensors = self._read([name, twin])
            return bool((tensors[name].float() == tensors[twin].float()).all())
        import numpy as np

        arrays = self._map([name, twin])
        return bool(np.array_equal(arrays[name].floats(), arrays[twin].floats()))

    def forget(self) -> None:
        """Free what was read of ``.bin`` files; they are read again if their numbers are needed again."""
        self._loaded.clear()

    def _by_file(self, wanted: list[str]) -> Iterator[tuple[Path, dict[str, str]]]:
        """Each file with the tensors that it holds: by their names there, the official ones."""
        for path in dict.fromkeys(self._places[name][0] for name in wanted):
            yield path, {self._places[name][1]: name for name in wanted if self._places[name][0] == path}

    def _map(self, wanted: list[str]) -> "dict[str, StoredArray]":
        arrays: dict[str, StoredArray] = {}
        for path, here in self._by_file(wanted):
            content, self.mapped[path] = files.map_safetensors(path, here)
            arrays |= {official: content[name] for name, official in here.items()}
        return arrays

    def _read(self, wanted: list[str]) -> "dict[str, Tensor]":
        tensors: dict[str, Tensor] = {}
        for path, here in self._by_file(wanted):
            if path.suffix == ".safetensors":
                content = files.read_safetensors(path, only=here)
            else:
                content = self._loaded.get(path) or files.read_bin(path)
            tensors |= {official: content[name] for name, official in here.items()}
        return tensors

    @property
    def dtypes(self) -> dict[str, int]:
        """How many numbers are stored in each dtype."""
        counts: Counter[str] = Counter()
        for tensor in self.stored.values():
            counts[tensor.dtype] += tensor.size
        return dict(counts)

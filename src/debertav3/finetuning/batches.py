"""Examples to batches: text is encoded once, similar lengths share a batch, seed and epoch give the order."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler
from tqdm.auto import tqdm

from ..json_types import JsonMapping, JsonObject
from ..tasks.example import Example

Features = JsonObject
_ENCODE_AT_ONCE = 2048


class Tokenizer(Protocol):
    """What fine-tuning needs of a tokenizer; this package's and those of transformers have it."""

    @property
    def padding_side(self) -> str:
        """``right`` or ``left``."""

    @property
    def unk_token_id(self) -> int | None:
        """Id of what is not in the vocabulary."""

    @property
    def cls_token_id(self) -> int | None:
        """Id of the first token of an input."""

    @property
    def all_special_tokens(self) -> list[str]:
        """Texts of the special tokens."""

    def __len__(self) -> int:
        """Number of ids."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Encode."""

    def pad(self, *args: Any, **kwargs: Any) -> Any:
        """Make rows equally long."""

    def save_pretrained(self, folder: str | Path, /) -> object:
        """Write the files."""


class EncodedDataset(Dataset[Features]):
    """Model inputs with their labels, and where each comes from.

    Args:
        features: one mapping per input, with ``input_ids`` and ``labels`` among its keys; ``input_ids`` is a
            list of lists where one example is several inputs to be compared.
        origins: for each feature what its task needs to score it; for most tasks the number of its example.
        examples: all examples.
    """

    def __init__(
        self, features: Sequence[Features], *, origins: Sequence[Any], examples: Sequence[Example]
    ) -> None:
        self.features = list(features)
        self.origins = list(origins)
        self.examples = examples
        self.lengths = [_length(feature["input_ids"]) for feature in self.features]

    def __len__(self) -> int:
        return len(self.features)

    def __getitem__(self, index: int) -> Features:
        return self.features[index]

    def labels(self) -> npt.NDArray[np.int64 | np.float64]:
        """The labels of all features as one array."""
        return np.array([feature["labels"] for feature in self.features])

    def sorted_by_length(self) -> "EncodedDataset":
        """Return the same features, longest first."""
        order = sorted(range(len(self)), key=lambda index: (-self.lengths[index], index))
        return EncodedDataset(
            [self.features[index] for index in order],
            origins=[self.origins[index] for index in order],
            examples=self.examples,
        )


def _length(input_ids: Sequence[Any]) -> int:
    return max(map(len, input_ids)) if isinstance(input_ids[0], list) else len(input_ids)


def encode_texts(
    texts: Sequence[tuple[str, ...]],
    tokenizer: Tokenizer,
    *,
    max_length: int,
    truncation: str = "longest_first",
) -> list[Features]:
    """Encode texts or pairs, special tokens included, without padding.

    Args:
        texts: all single, or all pairs.
        tokenizer: ours or any of transformers.
        max_length: tokens of one input.
        truncation: which text of a pair is cut, in transformers' words.
    """
    features: list[Features] = []
    with tqdm(total=len(texts), desc="encode", unit="row", leave=False) as bar:
        for start in range(0, len(texts), _ENCODE_AT_ONCE):
            part = texts[start : start + _ENCODE_AT_ONCE]
            columns = [list(column) for column in zip(*part, strict=True)]
            encoded = tokenizer(
                *columns, truncation=truncation if len(columns) > 1 else True, max_length=max_length
            )
            inputs = {key: values for key, values in encoded.items() if key != "attention_mask"}
            features += [{key: values[index] for key, values in inputs.items()} for index in range(len(part))]
            bar.update(len(part))
    return features


class PaddingCollator:
    """Pads to the longest input of the batch, by the tokenizer's own rules, and labels of tokens with -100.

    Args:
        tokenizer: ours or any of transformers.
        has_token_labels: whether labels are one for each token.
    """

    def __init__(self, tokenizer: Tokenizer, *, has_token_labels: bool = False) -> None:
        self.tokenizer = tokenizer
        self.has_token_labels = has_token_labels

    def __call__(self, features: Sequence[JsonMapping]) -> dict[str, Tensor]:
        """Return what the tokenizer makes, ``(B, L)`` or ``(B, choices, L)`` int64, and ``labels``."""
        inputs = [{key: value for key, value in feature.items() if key != "labels"} for feature in features]
        choices = len(inputs[0]["input_ids"]) if isinstance(inputs[0]["input_ids"][0], list) else 0
        if choices:
            inputs = [{key: rows[i] for key, rows in one.items()} for one in inputs for i in range(choices)]
        padded = self.tokenizer.pad(inputs, padding=True, return_tensors="pt")
        batch = {key: torch.as_tensor(value) for key, value in padded.items()}
        if self.has_token_labels:
            batch["labels"] = self._token_labels(features, batch["input_ids"].shape[1])
        else:
            batch["labels"] = torch.tensor([feature["labels"] for feature in features])
        if choices:
            batch |= {
                key: value.unflatten(0, (-1, choices)) for key, value in batch.items() if key != "labels"
            }
        return batch

    def _token_labels(self, features: Sequence[JsonMapping], length: int) -> Tensor:
        labels = torch.full((len(features), length), -100)
        for row, feature in enumerate(features):
            ids = feature["labels"]
            first = length - len(ids) if self.tokenizer.padding_side == "left" else 0
            labels[row, first : first + len(ids)] = torch.tensor(ids)
        return labels


class LengthBucketSampler(Sampler[int]):
    """A new order for each epoch, from its number and ``seed`` alone: a resumed run meets the same batches.

    Examples are shuffled, sorted by length within pools of many batches, cut into batches, and the batches
    shuffled. Only whole batches are dealt, so every process and step has equally many examples; which are
    left out changes with the epoch.

    Args:
        lengths: tokens of each example.
        batch_size: examples per optimizer step over all processes.
        seed: of the order.
        is_grouped: False shuffles without regard to length.
    """

    POOL_BATCHES = 50

    def __init__(
        self, lengths: Sequence[int], *, batch_size: int, seed: int, is_grouped: bool = True
    ) -> None:
        self.lengths = lengths
        self.batch_size = min(batch_size, len(lengths))
        self.seed = seed
        self.is_grouped = is_grouped
        self.epoch = 0

    def __len__(self) -> int:
        return len(self.lengths) // self.batch_size * self.batch_size

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed((self.seed << 20) + self.epoch)
        order = torch.randperm(len(self.lengths), generator=generator).tolist()[: len(self)]
        if not self.is_grouped:
            yield from order
            return
        pool = self.POOL_BATCHES * self.batch_size
        for start in range(0, len(order), pool):
            order[start : start + pool] = sorted(
                order[start : start + pool], key=lambda index: (self.lengths[index], index)
            )
        batches = [order[start : start + self.batch_size] for start in range(0, len(order), self.batch_size)]
        for number in torch.randperm(len(batches), generator=generator).tolist():
            yield from batches[number]

"""Examples to batches: text is encoded once, similar lengths share a batch, seed and epoch give the order."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler
from tqdm.auto import tqdm

from .examples import Example

Features = dict[str, Any]
_ENCODE_AT_ONCE = 2048


class EncodedDataset(Dataset[Features]):
    """Token ids and labels, ready for the collator.

    Args:
        features: one mapping per example, with ``input_ids`` among its keys.
    """

    def __init__(self, features: Sequence[Features]) -> None:
        self.features = list(features)
        self.lengths = [len(feature["input_ids"]) for feature in self.features]

    def __len__(self) -> int:
        return len(self.features)

    def __getitem__(self, index: int) -> Features:
        return self.features[index]

    def sorted_by_length(self) -> tuple["EncodedDataset", list[int]]:
        """Return the examples longest first, and for each of them its place in this data set."""
        order = sorted(range(len(self)), key=lambda index: (-self.lengths[index], index))
        return EncodedDataset([self.features[index] for index in order]), order


def encode_examples(
    examples: Sequence[Example], tokenizer: Any, *, labels: Sequence[str], max_length: int, description: str
) -> EncodedDataset:
    """Encode texts or pairs, special tokens included; the longer text of a pair is truncated first.

    Args:
        examples: what to encode.
        tokenizer: ours or any of transformers.
        labels: class names in id order; empty for regression.
        max_length: tokens of one example.
        description: what the progress bar calls it.
    """
    label_ids = {name: index for index, name in enumerate(labels)}
    features: list[Features] = []
    with tqdm(total=len(examples), desc=f"encode {description}", unit="row", leave=False) as bar:
        for start in range(0, len(examples), _ENCODE_AT_ONCE):
            part = examples[start : start + _ENCODE_AT_ONCE]
            texts = [list(column) for column in zip(*(example.texts for example in part), strict=True)]
            encoded = tokenizer(
                *texts, truncation="longest_first" if len(texts) > 1 else True, max_length=max_length
            )
            columns = {key: values for key, values in encoded.items() if key != "attention_mask"}
            for index, example in enumerate(part):
                label = label_ids[example.label] if isinstance(example.label, str) else example.label
                features.append({**{key: values[index] for key, values in columns.items()}, "labels": label})
            bar.update(len(part))
    return EncodedDataset(features)


class PaddingCollator:
    """Pads to the longest example of the batch, by the tokenizer's own rules.

    Args:
        tokenizer: ours or any of transformers.
    """

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer

    def __call__(self, features: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
        """Return what the tokenizer makes, ``(B, L)`` int64, and ``labels``, ``(B,)``."""
        texts = [{key: value for key, value in feature.items() if key != "labels"} for feature in features]
        padded = self.tokenizer.pad(texts, padding=True, return_tensors="pt")
        batch = {key: torch.as_tensor(value) for key, value in padded.items()}
        batch["labels"] = torch.tensor([feature["labels"] for feature in features])
        return batch


class LengthBucketSampler(Sampler[int]):
    """A new order for each epoch, from its number and ``seed`` alone: a resumed run meets the same batches.

    Examples are shuffled, sorted by length within pools of many batches, cut into batches, and the batches
    shuffled. Only whole batches are dealt, so every process and step has equally many examples; which are
    left out changes with the epoch.

    Args:
        lengths: tokens of each example.
        batch_size: examples per optimiser step over all processes.
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

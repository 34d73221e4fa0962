"""The model as an exporter reads it: attention folded, one set of inputs, one example of each."""

import copy
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ...heads import MASKED_LM, MULTIPLE_CHOICE
from ...layers.folded_attention import fold_attention

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_NUM_CHOICES, _NUM_MASKS = 2, 2
_FIRST_PLAIN_ID = 4  # behind [PAD], [CLS], [SEP] and [UNK]

Arrays = dict[str, np.ndarray]


def folded_copy(model: "PreTrainedModel", *, by_head: bool = False) -> "PreTrainedModel":
    """A copy of a model that computes the same and exports well; see `fold_attention`."""
    copied = copy.deepcopy(model).eval()
    fold_attention(copied, by_head=by_head)
    return copied


def random_batch(
    batch_size: int, length: int, *, head: str, config: Any, is_ragged: bool = False, seed: int = 0
) -> Arrays:
    """Token ids for a graph.

    Args:
        batch_size: B.
        length: L, in tokens.
        head: whose inputs.
        config: the model's configuration.
        is_ragged: whether all rows but the first end in padding, each in more of it.
        seed: of the ids.

    Returns:
        ``input_ids`` and ``attention_mask``, ``(B, L)`` int64 (``(B, choices, L)`` for multiple choice), with
        ``token_type_ids`` for models that read them and ``masked_positions`` ``(B, M)`` for masked LM.
    """
    random = np.random.default_rng([seed, batch_size, length])
    shape = (batch_size, _NUM_CHOICES, length) if head == MULTIPLE_CHOICE else (batch_size, length)
    lengths = np.full(shape[:-1], length)
    if is_ragged:
        for row in range(1, batch_size):
            lengths[row] = max(1, length - row * length // batch_size)
    mask = np.arange(length) < lengths[..., None]
    first = min(_FIRST_PLAIN_ID, config.vocab_size - 1)
    ids = np.where(mask, random.integers(first, config.vocab_size, shape), config.pad_token_id or 0)
    batch = {"input_ids": ids.astype(np.int64), "attention_mask": mask.astype(np.int64)}
    if config.type_vocab_size:
        types = random.integers(0, config.type_vocab_size, shape)
        batch["token_type_ids"] = np.where(mask, types, 0).astype(np.int64)
    if head == MASKED_LM:
        places = random.random((batch_size, min(_NUM_MASKS, length)))
        batch["masked_positions"] = (places * lengths[:, None]).astype(np.int64)
    return batch


def to_tensors(batch: Arrays) -> dict[str, torch.Tensor]:
    """The same numbers for torch."""
    return {name: torch.from_numpy(array) for name, array in batch.items()}


def dynamic_axes(batch: Arrays) -> dict[str, dict[int, object]]:
    """Batch and length may be any; so may the number of choices and of masks."""
    return {name: dict.fromkeys(range(array.ndim), torch.export.Dim.AUTO) for name, array in batch.items()}

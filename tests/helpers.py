"""Tiny configurations, random batches and comparisons that the tests of layers and models share."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from typing import Any

import torch
from torch import Tensor, nn
from transformers import DebertaV2Config

ALL_BACKENDS = ("eager", "strided", "sdpa")

TINY: dict[str, Any] = {
    # All sizes differ, so that a swapped axis cannot pass; 3 terms x 12 is a square, so that transformers'
    # fp32 scale is exact in float64 too.
    "vocab_size": 99,
    "hidden_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 56,
    "max_position_embeddings": 32,
    "position_buckets": 8,
    "relative_attention": True,
    "share_att_key": True,
    "norm_rel_ebd": "layer_norm",
    "pos_att_type": ["p2c", "c2p"],
    "position_biased_input": False,
    "type_vocab_size": 0,
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
    "initializer_range": 0.2,  # large, so that a missing term cannot hide
    "pad_token_id": 0,
}
"""DeBERTaV3's layout without dropout; the buckets end before the batches do."""


def tiny_config(**changes: Any) -> DebertaV2Config:
    """``TINY`` with changes; a value of None for a key that transformers does not declare leaves it out."""
    merged = {**TINY, **changes}
    return DebertaV2Config(**{key: value for key, value in merged.items() if value is not None})


def _variants() -> dict[str, dict[str, Any]]:
    """Everything that changes the maths, by readable name."""
    found: dict[str, dict[str, Any]] = {}
    terms = {"c2p+p2c": ["c2p", "p2c"], "c2p": ["c2p"], "p2c": ["p2c"], "content": []}
    # head widths for which terms x width is a square
    widths = {"c2p+p2c": 12, "c2p": 8, "p2c": 8, "content": 16}
    for name, share, buckets, norm in product(terms, (True, False), (8, -1), ("layer_norm", "none")):
        label = f"{name}-{'shared' if share else 'own'}-{'buckets' if buckets > 0 else 'plain'}-{norm}"
        found[label] = {
            "pos_att_type": terms[name],
            "hidden_size": 4 * widths[name],
            "share_att_key": share,
            "position_buckets": buckets,
            "norm_rel_ebd": norm,
        }
    for positions, types, size, kernel in product((False, True), (0, 3), (None, 20), (None, 3)):
        chosen = {"positions": positions, "types": types, "narrow": size, "conv": kernel}
        parts = [name for name, value in chosen.items() if value]
        found["input-" + ("+".join(parts) or "words")] = {
            "position_biased_input": positions,
            "type_vocab_size": types,
            "embedding_size": size,
            "conv_kernel_size": kernel,
        }
    absolute = {"relative_attention": False, "position_biased_input": True}
    return found | {
        "absolute": {**absolute, "pos_att_type": None, "hidden_size": 64, "norm_rel_ebd": None},
        "absolute-norm": {**absolute, "pos_att_type": None, "hidden_size": 64},
        "absolute-terms": {**absolute, "share_att_key": False},  # named terms still change the scale
        "absolute-types-conv": {**absolute, "type_vocab_size": 2, "conv_kernel_size": 5, "conv_act": "gelu"},
        "conv-groups": {"conv_kernel_size": 3, "conv_groups": 4, "conv_act": "gelu"},
        "string-terms": {"pos_att_type": "p2c|c2p"},
        "max-relative": {"max_relative_positions": 20, "long_inputs": "transformers"},
        "max-relative-plain": {"max_relative_positions": 20, "position_buckets": -1},
        "tanh-activation": {"hidden_act": "gelu_new", "pooler_hidden_act": "tanh"},
    }


VARIANTS = _variants()


def random_batch(
    lengths: Sequence[int], *, vocab_size: int = TINY["vocab_size"], types: int = 0, seed: int = 0
) -> dict[str, Tensor]:
    """Right-padded random tokens: ``input_ids``, ``attention_mask``, and ``token_type_ids`` for ``types``."""
    generator = torch.Generator().manual_seed(seed)
    shape = (len(lengths), max(lengths))
    ids = torch.randint(1, vocab_size, shape, generator=generator)
    mask = (torch.arange(shape[1])[None] < torch.tensor(lengths)[:, None]).long()
    batch = {"input_ids": ids * mask, "attention_mask": mask}
    if types:
        batch["token_type_ids"] = torch.randint(0, types, shape, generator=generator) * mask
    return batch


def block_mask(lengths: Sequence[int]) -> Tensor:
    """The ``(1, L, L)`` bool mask of sequences packed one after another."""
    owner = torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths))
    return (owner[:, None] == owner[None, :])[None]


def gradients(model: nn.Module, loss: Tensor) -> dict[str, Tensor]:
    """Backward, and every parameter's gradient by name (parameters without one are left out)."""
    model.zero_grad(set_to_none=True)
    loss.backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def assert_same_gradients(got: Mapping[str, Tensor], want: Mapping[str, Tensor], *, atol: float) -> None:
    """Same names, apart from gradients that are zero everywhere, and the same numbers."""
    for name in got.keys() | want.keys():
        ours, theirs = got.get(name), want.get(name)
        if ours is None or theirs is None:
            present = theirs if ours is None else ours
            assert present is not None and not present.any(), f"only one side has a gradient for {name}"
        else:
            torch.testing.assert_close(ours, theirs, atol=atol, rtol=atol, msg=lambda m, n=name: f"{n}: {m}")


def random_weights(shape: Iterable[int], dtype: torch.dtype, seed: int = 7) -> Tensor:
    """Fixed factors that make one number of a tensor without letting errors cancel."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, dtype=dtype, generator=generator)

"""How many operations a pre-training step needs, and what share of the machine's own rate that is."""

import time
from collections.abc import Mapping

import torch

from ..layers.config import EncoderConfig
from ..sizes import flops_per_token

FORWARD_AND_BACKWARD = 3
"""The backward pass has two products for each of the forward pass."""


def masked_lm_flops(raw: Mapping[str, object], *, length: int, mask_prob: float) -> float:
    """Operations of training the generator, or MLM, on one token (forward and backward).

    All layers but the last; of the last, keys and values of every token, and the rest twice for the masked
    ones; the head for the masked ones. Matrix products only, a multiplication and its addition as 2.

    Args:
        raw: configuration of the network.
        length: tokens of a window.
        mask_prob: share of masked tokens.
    """
    config = EncoderConfig.from_dict(raw)
    width, layers = config.hidden_size, config.num_hidden_layers
    one_layer = flops_per_token({**raw, "num_hidden_layers": 1}, length=length)
    keys_and_values = 2 * 2 * width * config.num_attention_heads * config.head_width
    decoder = keys_and_values + 2 * mask_prob * (one_layer - keys_and_values)
    head = mask_prob * 2 * (width * config.embedding_size + config.embedding_size * config.vocab_size)
    return FORWARD_AND_BACKWARD * ((layers - 1) * one_layer + decoder + head)


def detection_flops(raw: Mapping[str, object], *, length: int) -> float:
    """Operations of training the discriminator on one token (forward and backward); see `masked_lm_flops`."""
    width = EncoderConfig.from_dict(raw).hidden_size
    return FORWARD_AND_BACKWARD * (flops_per_token(raw, length=length) + 2 * width * width + 2 * width)


def measured_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Operations per second of this device on square products of ``dtype``, the best of several."""
    size = 1024 if device.type == "cpu" else 8192
    a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    best = float("inf")
    for _ in range(6):
        _synchronize(device)
        start = time.perf_counter()
        torch.mm(a, b)
        _synchronize(device)
        best = min(best, time.perf_counter() - start)
    return 2 * size**3 / best


def _synchronize(device: torch.device) -> None:
    if device.type != "cpu":
        torch.accelerator.synchronize(device)

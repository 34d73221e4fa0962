"""Whole encoders without padding on a GPU: when every layer's attention runs in flashdeberta's kernels."""

import torch
from torch import Tensor, nn

from ..layers.attention import DisentangledSelfAttention, has_global_hook, is_plain, is_watched
from ..layers.attention_backends import choose
from ..layers.encoder import Encoder
from ..layers.masks import AttentionMasks
from ..layers.relative_position import may_read
from ..layers.unpadded import UnpaddedBatch
from .flash_attention import FLASH, has_device, is_installed, rows_of_slots


def unpad(
    model: nn.Module, encoder: Encoder, masks: AttentionMasks, *, num_texts: int, read: Tensor | None = None
) -> UnpaddedBatch | None:
    """Where the tokens of a batch are, if the encoder can run on them alone.

    Args:
        model: what holds the encoder and its embeddings.
        encoder: its layers read ``(1, T, D)`` then.
        masks: of the padded batch.
        num_texts: B; a mask may be one for all of them.
        read: ``(B, L)`` bool, True where somebody reads the last hidden state; None if only at real tokens.

    Returns:
        None where nothing is padding, padding is read or something else is hidden, where a layer's attention
        is not `FLASH`, for V2's convolution, which reads neighbours, and where somebody looks inside.
    """
    padding = masks.padding
    if padding is None or masks.are_packed or encoder.conv is not None or not may_read(padding):
        return None
    if not (is_installed() and has_device(padding)):
        return None
    padding = padding.expand(num_texts, -1)
    if has_global_hook() or any(is_watched(part) for part in model.modules()):
        return None
    attentions = [part for part in encoder.modules() if isinstance(part, DisentangledSelfAttention)]
    if not all(_runs_flash(attention, padding.shape) for attention in attentions):
        return None
    batch = UnpaddedBatch.of(padding, read)
    if batch is None or not encoder.has_relative_attention:
        return batch
    served = (rows_of_slots(attention.positions, batch.longest) is not None for attention in attentions)
    return batch if all(served) else None


def _runs_flash(attention: DisentangledSelfAttention, shape: torch.Size) -> bool:
    """Whether a layer would choose `FLASH` for a batch of ``(B, L)`` tokens."""
    if FLASH not in attention.backends or not is_plain(attention.dropout, nn.Dropout):
        return False
    dropout_prob = attention.dropout.p if attention.dropout.training else 0.0
    if dropout_prob:
        return False
    weight = attention.query_proj.weight
    dtype = weight.dtype
    if torch.is_autocast_enabled(weight.device.type):
        dtype = torch.get_autocast_dtype(weight.device.type)
    B, L = shape
    like = torch.empty((), dtype=dtype, device=weight.device).expand(
        B, attention.num_heads, L, attention.head_width
    )
    return choose(attention.backends, attention.backend, like, dropout_prob=dropout_prob) is FLASH

"""`pack_for_inference`: replace the encoders of a model with encoders made for inference on a CPU."""

import logging

import torch
from torch import nn

from ..errors import UserError
from ..layers.attention import DisentangledSelfAttention, is_watched
from ..layers.encoder import Attention, Convolution, Encoder, Intermediate, Layer, ResidualOutput
from .encoder import PackedEncoder
from .int8 import Int8Linear
from .kernel.library import kernel
from .linear import Guard, ReadOnly
from .training_dropout import SeededDropout

logger = logging.getLogger(__name__)

_KNOWN = {
    Attention, Convolution, DisentangledSelfAttention, Encoder, Int8Linear, Intermediate, ResidualOutput,
    SeededDropout, nn.Conv1d, nn.Dropout, nn.Embedding, nn.LayerNorm, nn.Linear, nn.ModuleList,
}  # fmt: skip


def pack_for_inference(model: nn.Module) -> bool:
    """Replace every encoder of a model with a `PackedEncoder`, if possible; this cannot be undone.

    The model is in evaluation mode afterwards. Any attempt to train, save, move or change it raises an
    error, before anything is changed.

    Args:
        model: a module that contains an encoder.

    Returns:
        Whether it was packed: only for fp32 on a CPU with oneDNN or our kernel, and only for encoders without
        replaced modules, adapters, hooks or offloaded weights.

    Raises:
        UserError: if the model is itself an encoder.
    """
    if isinstance(model, Encoder):
        raise UserError("an encoder cannot be replaced by itself; pass the model that contains it")
    holders = [
        (parent, name, child)
        for parent in model.modules()
        for name, child in parent.named_children()
        if type(child) is Encoder
    ]
    reason = _why_not(model, [encoder for _, _, encoder in holders])
    if reason is not None:
        logger.info("not packed for inference: %s", reason)
        return False
    model.eval()
    with torch.inference_mode(False), torch.no_grad(), torch.autocast("cpu", enabled=False):
        for parent, name, encoder in holders:
            setattr(parent, name, PackedEncoder(encoder))
    for module in list(model.modules()):
        if not isinstance(module, ReadOnly) and any(type(part) is PackedEncoder for part in module.modules()):
            Guard.put_into(module)
    return True


def _why_not(model: nn.Module, encoders: list[Encoder]) -> str | None:
    if not encoders:
        return "there is no encoder in it"
    if not torch.backends.mkldnn.is_available() and kernel() is None:
        return "there is neither oneDNN nor a kernel for this processor"
    for weight in model.parameters():
        if weight.device.type != "cpu" or weight.dtype != torch.float32:
            return f"it has weights in {weight.dtype} on {weight.device}; only fp32 on a CPU is packed"
    for encoder in encoders:
        for name, module in encoder.named_modules():
            if is_watched(module) or not (type(module) in _KNOWN or isinstance(module, Layer)):
                return f"its {name or 'encoder'} is {type(module).__name__}, adapted, hooked or replaced"
    return None

"""Which devices multiply in bf16 themselves, rather than by emulation in fp32, and which train in fp16."""

import torch

from ..errors import UserError


def multiplies_bf16(device_type: str) -> bool:
    """Whether a kind of device has units for products in bf16.

    Args:
        device_type: as ``torch.device.type``: cpu, cuda, xpu, npu, mps and so on. One that does not say
            (mps: older chips emulate it) counts as having none.
    """
    if device_type == "cpu":
        return bool(torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported())
    if device_type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    says = getattr(getattr(torch, device_type, None), "is_bf16_supported", None)
    return bool(says()) if says is not None else False


def check_precision(wanted: str, device_type: str) -> None:
    """Check that a device trains in a precision.

    Args:
        wanted: the setting: ``auto``, ``fp32``, ``bf16`` or ``fp16``.
        device_type: as ``torch.device.type``.

    Raises:
        UserError: for fp16 on a CPU, whose gradients nothing scales.
    """
    if wanted == "fp16" and device_type == "cpu":
        raise UserError(
            "precision=fp16 needs an accelerator such as CUDA, and there is only a CPU: use "
            "bf16, fp32 or auto"
        )

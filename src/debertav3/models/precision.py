"""Which devices multiply in bf16 themselves, rather than by emulation in fp32."""

import torch


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

"""The compiled kernels, models and batches that their tests share."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from debertav3.layers.cpu_kernel import library
from debertav3.layers.cpu_kernel.build import library_file
from helpers import tiny_config


def open_kernel(name: str) -> library.Kernel:
    if not library_file(name).is_file():
        pytest.skip(f"the kernel for {name} was not built: no compiler, or not x86-64")
    needed = "AVX2" if name == "avx2" else "AVX512"
    if needed not in torch.backends.cpu.get_cpu_capability() and name != "avx2":
        pytest.skip(f"this processor has no {needed}")
    try:
        return library.Kernel(library_file(name), library._team())
    except OSError as error:
        pytest.skip(str(error))


def random_model(model_class: type, **changes: Any) -> Any:
    torch.manual_seed(5)
    with torch.inference_mode(False):
        model = model_class(tiny_config(**changes)).eval()
        for parameter in model.parameters():
            nn.init.normal_(parameter, std=0.2)
        for module in model.modules():
            if isinstance(module, nn.LayerNorm):
                nn.init.normal_(module.weight, mean=1.0, std=0.1)
        return model


def batch_for(model: Any, lengths: list[int]) -> dict[str, Tensor]:
    ids = torch.randint(4, model.config.vocab_size, (len(lengths), max(lengths)))
    mask = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    return {"input_ids": ids, "attention_mask": mask.long()}

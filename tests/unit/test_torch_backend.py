"""The torch backend says in one line that memory is short, on a CPU too."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from debertav3 import UserError
from debertav3.checkpoint.folder import Checkpoint
from debertav3.inference.backends.torch import TorchBackend


def allocate_too_much() -> None:
    torch.empty(2**60, dtype=torch.uint8)


def raise_memory_error() -> None:
    raise MemoryError


@pytest.mark.parametrize("fails", [allocate_too_much, raise_memory_error])
def test_too_little_memory_is_one_line(
    nano: Path, monkeypatch: pytest.MonkeyPatch, fails: Callable[[], None]
) -> None:
    backend = TorchBackend.open(Checkpoint.open(nano), task=None, device="cpu", dtype="fp32")
    monkeypatch.setattr(backend.model, "forward", lambda **_: fails())
    batch = {"input_ids": np.full((2, 4), 5), "attention_mask": np.ones((2, 4), np.int64)}
    with pytest.raises(
        UserError, match=r"cpu does not have enough memory for a batch of 2 x 4 tokens\. Lower"
    ):
        backend.run(batch)
    monkeypatch.setattr(backend.model, "forward", lambda **_: torch.ones(2) @ torch.ones(3))
    with pytest.raises(RuntimeError, match=r"inconsistent tensor size|size mismatch"):
        backend.run(batch)

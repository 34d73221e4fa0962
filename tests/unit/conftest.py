"""Fixtures of the tests of the CPU kernel."""

from collections.abc import Iterator

import pytest
import torch

from cpu_kernels import open_kernel
from debertav3.cpu.kernel import library
from debertav3.cpu.kernel.build import INSTRUCTIONS


@pytest.fixture(params=tuple(INSTRUCTIONS))
def compiled(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[library.Kernel]:
    """Each library in turn, where it can run, in place of the one that this processor would get."""
    found = open_kernel(request.param)
    for module in ("attention", "encoder", "linear", "pack"):
        monkeypatch.setattr(f"debertav3.cpu.{module}.kernel", lambda: found)
    with torch.inference_mode():
        yield found


@pytest.fixture
def _keep_threads() -> Iterator[None]:
    """Gives torch its number of threads back."""
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)

"""The kernel on random shapes; `make test-kernel-shapes` and `make test-sanitize` run many more."""

import numpy as np
import pytest

import kernel_shapes
from cpu_kernels import open_kernel
from debertav3.cpu.kernel.build import INSTRUCTIONS


@pytest.mark.parametrize("name", INSTRUCTIONS)
def test_random_shapes(name: str) -> None:
    kernel_shapes.check(open_kernel(name), cases=12, longest=300, seed=1)


@pytest.mark.slow
@pytest.mark.parametrize("name", INSTRUCTIONS)
def test_long_texts(name: str) -> None:
    compiled = open_kernel(name)
    for seed in range(4):
        kernel_shapes.check_attention(compiled, np.random.default_rng(seed), longest=4096)


@pytest.mark.slow
@pytest.mark.parametrize("name", INSTRUCTIONS)
def test_sanitizers_find_nothing(name: str) -> None:
    open_kernel(name)
    assert kernel_shapes.sanitized(name, ["--cases", "5", "--longest", "150"]) == 0

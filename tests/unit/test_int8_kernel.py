"""int8 in the C++ kernel: integers are exact on every instruction set, layers mix with fp32 as they like."""

import copy
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from cpu_kernels import batch_for, random_model
from debertav3 import DebertaV2Model
from debertav3.cpu import linear as packed
from debertav3.cpu.int8 import Int8Linear
from debertav3.cpu.kernel import library
from debertav3.cpu.pack import pack_for_inference

pytestmark = pytest.mark.usefixtures("_keep_threads")
PROJECTIONS = ("query_proj", "key_proj", "value_proj")
LINEARS = (*PROJECTIONS, "attention.output.dense", "intermediate.dense", "0.output.dense")


@pytest.mark.parametrize("rows", [1, 2, 31, 33, 300])
@pytest.mark.parametrize(("width", "out"), [(384, 64), (33, 70), (20, 7), (1100, 40), (1, 1)], ids=str)
def test_int8_sums_are_exact(compiled: library.Kernel, rows: int, width: int, out: int) -> None:
    torch.manual_seed(rows)
    layer = Int8Linear(width, out, bias=False)
    layer.weight.random_(-127, 128)
    x = torch.randint(-127, 128, (rows, width))
    x[:, rows % width] = 127  # the scale of every row is 1
    got = packed.KernelLinear(layer)(x.float())
    assert torch.equal(got, (x @ layer.weight.t().long()).float())


@pytest.mark.parametrize("has_bias", [True, False])
def test_int8_linear_equals_torch_bit_by_bit(compiled: library.Kernel, has_bias: bool) -> None:
    layer = Int8Linear.from_linear(nn.Linear(384, 100, bias=has_bias))
    x = torch.randn(70, 384) * torch.logspace(-35, 30, 70)[:, None]  # some rows below what has a scale
    x[3] = 0
    x[4, 1] = torch.nan
    want, got = layer(x), packed.KernelLinear(layer)(x)
    torch.testing.assert_close(got, want, equal_nan=True, rtol=0, atol=0)
    assert got[4].isnan().all()
    assert got[5:].isfinite().all()


@settings(max_examples=200, deadline=None)
@given(
    width=st.integers(1, 600),
    out=st.integers(1, 200),
    rows=st.integers(1, 60),
    has_bias=st.booleans(),
    exponent=st.floats(-33, 30),
    seed=st.integers(0, 2**31),
)
def test_int8_of_any_shape_and_size_equals_torch_bit_by_bit(
    width: int, out: int, rows: int, has_bias: bool, exponent: float, seed: int
) -> None:
    if library.kernel() is None:
        pytest.skip("there is no kernel for this processor, or none is wanted")
    torch.manual_seed(seed)
    layer = Int8Linear.from_linear(nn.Linear(width, out, bias=has_bias))
    x = torch.randn(rows, width) * 10**exponent
    with torch.inference_mode():
        assert torch.equal(packed.KernelLinear(layer)(x), layer(x))


def test_a_scale_whose_reciprocal_rounds_another_way(compiled: library.Kernel) -> None:
    """127 / x and (1 / x) * 127 differ in the last bit for these rows; numbers halfway show it."""
    largest = torch.arange(1, 2**14) * 2**-7 + 1e-3
    divided, reciprocal = torch.tensor(127.0) / largest, largest.reciprocal() * 127
    differ = largest[divided != reciprocal]
    assert len(differ) > 100
    halves = torch.arange(0.5, 127)
    x = torch.cat([differ[:, None], halves * differ[:, None] / 127], dim=1)
    layer = Int8Linear(x.shape[1], 1, bias=False)
    layer.weight.fill_(1)
    assert torch.equal(packed.KernelLinear(layer)(x), layer(x))


def with_int8(model: Any, names: tuple[str, ...]) -> Any:
    """A copy with these linear layers of the encoder in int8."""
    model = copy.deepcopy(model)
    for name, linear in list(model.encoder.named_modules()):
        if type(linear) is nn.Linear and name.endswith(names):
            model.encoder.set_submodule(name, Int8Linear.from_linear(linear))
    return model


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(
    "names",
    [LINEARS, *((name,) for name in LINEARS), ("query_proj", "intermediate.dense"), LINEARS[1:5]],
    ids=lambda names: "+".join(names),
)
def test_layers_may_be_int8_one_by_one(
    compiled: library.Kernel, names: tuple[str, ...], threads: int
) -> None:
    torch.set_num_threads(threads)
    with torch.inference_mode(False):
        plain = random_model(DebertaV2Model, num_hidden_layers=1)
        changed = with_int8(plain, names)
        kernel_model = copy.deepcopy(changed)
    for one in (plain, changed):
        one.set_attention_backend("eager")
    assert pack_for_inference(kernel_model)
    assert kernel_model.encoder.layer[0].can_run_whole(torch.zeros(1, 2, 48))
    for lengths in ([2], [30, 11, 1], [140, 150]):
        batch = batch_for(plain, lengths)
        real = batch["attention_mask"].bool()
        x, y, z = (one(**batch).last_hidden_state[real] for one in (plain, changed, kernel_model))
        assert not torch.equal(x, y)
        noise, error = ((a - y).abs().amax(-1) for a in (x, z))
        # a number halfway between two integers may go the other way: few do
        assert (error < 1e-5).float().mean() > 0.9
        assert error.mean() < 0.02 * noise.mean()

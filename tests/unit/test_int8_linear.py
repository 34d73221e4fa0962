"""Linear layers in int8 compute what their integers say, exactly, and stay near the layer in fp32."""

import copy

import pytest
import torch
from torch import Tensor, nn

from debertav3 import DebertaV2Model
from debertav3.cpu.int8 import Int8Linear, quantize_rows
from debertav3.errors import UserError
from helpers import tiny_config


def expected(layer: Int8Linear, x: Tensor) -> Tensor:
    """The same arithmetic, integers as such and the rest in float64."""
    largest = x.abs().amax(-1, keepdim=True)
    rows = (x * (torch.tensor(127.0) / largest.clamp(min=1e-30))).round().to(torch.int64)
    products = rows @ layer.weight.to(torch.int64).t()
    y = products.double() * (largest / 127).double() * layer.weight_scale.double()
    return y if layer.bias is None else y + layer.bias.double()


def test_rows_are_quantized_symmetrically() -> None:
    weight = torch.tensor([[1.0, -2.0, 0.0], [0.0, 0.0, 0.0], [1e30, 5e29, -1e30], [2.5, 127.0, -3.5]])
    integers, scale = quantize_rows(weight)
    assert integers.dtype == torch.int8
    assert integers.tolist() == [[64, -127, 0], [0, 0, 0], [127, 64, -127], [2, 127, -4]]  # halves to even
    torch.testing.assert_close(scale, torch.tensor([2 / 127, 1.0, 1e30 / 127, 1.0]))
    integers, scale = quantize_rows(torch.randn(50, 70, dtype=torch.float64))
    assert integers.abs().amax(1).eq(127).all()


def test_weights_that_are_not_finite_are_refused() -> None:
    with pytest.raises(UserError, match="finite"):
        quantize_rows(torch.tensor([[1.0, torch.inf]]))


@pytest.mark.parametrize("has_bias", [True, False])
@pytest.mark.parametrize(("width", "out"), [(7, 5), (384, 96), (1024, 3), (2500, 20)], ids=str)
def test_forward_is_exact(width: int, out: int, has_bias: bool) -> None:
    torch.manual_seed(width)
    layer = Int8Linear.from_linear(nn.Linear(width, out, bias=has_bias))
    x = torch.randn(3, 4, width)
    x[0, 0] = 0
    torch.testing.assert_close(layer(x).double(), expected(layer, x), rtol=1e-6, atol=1e-7)


def test_the_largest_sums_are_exact() -> None:
    layer = Int8Linear(4096, 1, bias=False)
    layer.weight.fill_(127)
    assert layer(torch.ones(1, 4096)).item() == pytest.approx(4096 * 127, rel=1e-6)


def test_it_stays_near_the_layer_in_fp32() -> None:
    torch.manual_seed(0)
    linear = nn.Linear(384, 384)
    x = torch.randn(100, 384)
    want = linear(x)
    error = (Int8Linear.from_linear(linear)(x) - want).norm() / want.norm()
    assert error < 0.02  # 1 / 127 of the largest of 384 numbers, twice, over sqrt(12)
    assert (Int8Linear.from_linear(linear).dequantized() - linear.weight).abs().max() < 3e-4


def test_half_precision_in_is_half_precision_out() -> None:
    layer = Int8Linear.from_linear(nn.Linear(16, 8))
    x = torch.randn(2, 16).bfloat16()
    assert layer(x).dtype == torch.bfloat16
    torch.testing.assert_close(layer(x).float(), layer(x.float()), rtol=1e-2, atol=1e-2)


def test_gradients_are_refused() -> None:
    layer = Int8Linear.from_linear(nn.Linear(4, 4))
    with pytest.raises(UserError, match="inference"):
        layer(torch.randn(1, 4, requires_grad=True))
    assert list(layer.parameters()) == []


def test_state_is_saved_and_loaded() -> None:
    layer = Int8Linear.from_linear(nn.Linear(12, 6))
    assert set(layer.state_dict()) == {"weight", "weight_scale", "bias"}
    other = Int8Linear(12, 6)
    other.load_state_dict(layer.state_dict())
    x = torch.randn(2, 12)
    assert torch.equal(other(x), layer(x))


def test_an_encoder_runs_with_some_layers_in_int8() -> None:
    torch.manual_seed(1)
    model = DebertaV2Model(tiny_config()).eval()
    changed = copy.deepcopy(model)
    attention = changed.encoder.layer[0].attention.self
    attention.key_proj = Int8Linear.from_linear(attention.key_proj)
    changed.encoder.layer[1].output.dense = Int8Linear.from_linear(changed.encoder.layer[1].output.dense)
    ids = torch.tensor([[5, 6, 7, 8]])
    with torch.inference_mode():
        want, got = model(ids)[0], changed(ids)[0]
        assert torch.equal(changed(ids)[0], got)  # also from the tables that were kept
    assert 0 < (got - want).abs().max() < 0.05

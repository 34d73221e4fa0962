"""The compiled kernels, models and batches that their tests share."""

import copy
import os
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from debertav3.cpu.kernel import library
from debertav3.layers.attention_backends import eager_attention
from debertav3.layers.relative_position import RelativePositions, RelativeTables
from helpers import tiny_config


def open_kernel(name: str) -> library.Kernel:
    """The kernel of that name; skips where it cannot run, and where ``DEBERTAV3_KERNEL`` names another."""
    wanted = os.environ.get(library.VARIABLE) or name
    if wanted != name:
        pytest.skip(f"{library.VARIABLE} is {wanted}")
    try:
        return library.open_kernel(name)
    except OSError as error:
        pytest.skip(str(error))


UNIT = 2.0**-24
"""Unit roundoff of fp32: half the distance from 1 to the next number."""


def assert_product_error(
    got: Tensor, x: Tensor, weight: Tensor, bias: Tensor | None, *, per_product: float = 0.0
) -> None:
    """A product of matrices is as near as fp32 arithmetic allows, whatever machine adds up in whatever order.

    Two bounds, with unit roundoff u (Higham, Accuracy and Stability, 3.1 and 4.2). No sum may be off by more
    than (n + 2) u Σ|x||w|. And as roundings go up as often as down, the root mean square of the errors stays
    below u times that of all partial sums together, n rms(x w), and of the result.

    Args:
        got: what was computed, ``(..., out)``.
        x: ``(..., n)``.
        weight: ``(out, n)``.
        bias: ``(out,)`` or None.
        per_product: what else one product may lack, as a share of it.
    """
    x, weight = x.double(), weight.double()
    n = x.shape[-1]
    want, sizes = x @ weight.t(), x.abs() @ weight.abs().t()
    product_rms = (x.square() @ weight.square().t()).mean().div(n).sqrt()
    if bias is not None:
        want, sizes = want + bias.double(), sizes + bias.double().abs()
    error = (got.double() - want).abs()
    assert (error <= ((n + 2) * UNIT + per_product) * sizes).all(), (error / sizes).max()
    typical = UNIT * (n * product_rms + want.square().mean().sqrt()) + per_product * n**0.5 * product_rms
    assert error.square().mean().sqrt() <= typical


def attention_inputs(
    batch: int,
    heads: int,
    length: int,
    width: int,
    *,
    terms: str,
    positions: RelativePositions,
    seed: int = 0,
) -> tuple[Tensor, Tensor, Tensor, RelativeTables | None]:
    """Queries, keys and values as the linear layers leave them, and tables, in float64."""
    rng = torch.Generator().manual_seed(seed)

    def states() -> Tensor:
        x = torch.randn(batch, length, heads * width, generator=rng, dtype=torch.float64)
        return x.unflatten(-1, (heads, width)).transpose(1, 2)

    def table() -> Tensor:
        return torch.randn(heads, 2 * positions.span, width, generator=rng, dtype=torch.float64)

    tables = None
    if terms != "content":
        keys, queries = (table() if name in terms else None for name in ("c2p", "p2c"))
        tables = RelativeTables(positions, width**-0.5, keys, queries)
    return states(), states(), states(), tables


def in_fp32(tables: RelativeTables | None) -> RelativeTables | None:
    if tables is None:
        return None
    keys, queries = (None if x is None else x.float() for x in (tables.key_NRH, tables.query_NRH))
    return RelativeTables(tables.positions, tables.scale, keys, queries)


def attention_reference(
    q: Tensor, k: Tensor, v: Tensor, tables: RelativeTables | None, mask: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Attention of inputs in float64, by the eager reference, and how far fp32 may be from each number."""
    settings: dict[str, Any] = {"scale": q.shape[-1] ** -0.5, "dropout_prob": 0.0, "output_attentions": False}
    want, _ = eager_attention(q, k, v, tables, mask, **settings)
    sizes, _ = eager_attention(q, k, v.abs(), tables, mask, **settings)
    # A score that is off by d moves a weight by the share 2d at most. Inputs are rounded to fp32 too.
    score_error = 2 * UNIT * largest_score_sum(q, k, tables)
    return want, (2 * score_error + (8 + q.shape[-2] ** 0.5) * UNIT) * sizes


def largest_score_sum(q: Tensor, k: Tensor, tables: RelativeTables | None) -> Tensor:
    """The largest score if nothing cancelled out, Σ|q||k| and likewise with the tables."""
    total = (q.abs() @ k.abs().transpose(-1, -2)).amax()
    if tables is not None and tables.key_NRH is not None:
        total = total + (q.abs() @ tables.key_NRH.abs().transpose(-1, -2)).amax()
    if tables is not None and tables.query_NRH is not None:
        total = total + (k.abs() @ tables.query_NRH.abs().transpose(-1, -2)).amax()
    return total * q.shape[-1] ** -0.5


def effect_of_rounding(model: Any, batches: list[dict[str, Tensor]]) -> list[Tensor]:
    """How much rounding to fp32 may change what a model computes, by the arithmetic and not by a machine.

    A sum of n products in fp32 is the exact sum for weights that are off by a random share of about √n u
    (Higham and Mary, 2019); so the weights of a copy in float64 are moved by twice that, at random.

    Args:
        model: in any precision.
        batches: inputs.

    Returns:
        The largest change of a number in the last hidden states, batch by batch.
    """
    exact = copy.deepcopy(model).double()
    exact.set_attention_backend("eager")
    moved = copy.deepcopy(exact)
    share = 2 * UNIT * model.config.intermediate_size**0.5
    rng = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for weight in moved.parameters():
            weight.mul_(1 + share * torch.randn(weight.shape, generator=rng, dtype=weight.dtype))
    with torch.inference_mode():
        return [(moved(**batch)[0] - exact(**batch)[0]).abs().max() for batch in batches]


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

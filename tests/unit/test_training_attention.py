"""Contract: attention in training by the kernel is the reference, forward and backward, on every path."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from cpu_kernels import open_kernel
from debertav3.cpu import training_attention, training_dropout
from debertav3.cpu.kernel.build import INSTRUCTIONS
from debertav3.cpu.kernel.library import Kernel
from debertav3.cpu.training_attention import training_attention as attend
from debertav3.cpu.training_dropout import SeededDropout
from debertav3.layers.attention import DisentangledSelfAttention
from debertav3.layers.attention_backends import eager_attention
from debertav3.layers.attention_dropout import draw_seed, dropped, threshold
from debertav3.layers.blockwise_attention import blockwise_attention
from debertav3.layers.config import EncoderConfig
from debertav3.layers.relative_position import RelativePositions, RelativeTables
from helpers import TINY

V3 = RelativePositions(num_buckets=256, max_distance=512, span=256, long_inputs="clamp")
SMALL = RelativePositions(num_buckets=8, max_distance=16, span=8, long_inputs="clamp")
PLAIN = RelativePositions(num_buckets=0, max_distance=6, span=6, long_inputs="clamp")


def masks(B: int, L: int, kind: str) -> Tensor | None:
    if kind == "none":
        return None
    if kind == "keys":
        return (torch.arange(L) < L - L // 4)[None, None, None].expand(B, 1, 1, L)
    pairs = torch.rand(B, 1, L, L) > 0.3
    pairs[0, 0, L // 2] = False  # a row that may see nothing
    return pairs


def found(
    run: object, inputs: list[Tensor], positions: RelativePositions, terms: str, mask: Tensor | None,
    dtype: torch.dtype, dropout_prob: float = 0.0,
) -> list[Tensor]:  # fmt: skip
    """Context and the gradients of queries, keys, values and both tables, from inputs rounded to bf16."""
    leaves = [x.bfloat16().double().requires_grad_() for x in inputs]
    q, k, v = (x.to(dtype) for x in leaves[:3])
    key, query = (x.to(torch.promote_types(dtype, torch.float32)) for x in leaves[3:])
    tables = RelativeTables(
        positions, 0.2, key if "c" in terms else None, query if "p" in terms else None
    ) if terms else None  # fmt: skip
    torch.manual_seed(3)
    context, _ = run(  # type: ignore[operator]
        q, k, v, tables, mask, scale=0.2, dropout_prob=dropout_prob, output_attentions=False
    )
    weights = torch.randn(context.shape, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    (context.double() * weights).sum().backward()
    return [context.detach(), *(x.grad for x in leaves if x.grad is not None)]


@pytest.fixture(params=tuple(INSTRUCTIONS))
def on_path(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Kernel:
    found = open_kernel(request.param)
    monkeypatch.setattr(training_attention, "kernel", lambda: found)
    return found


def draw(B: int, N: int, L: int, H: int, positions: RelativePositions) -> list[Tensor]:
    torch.manual_seed(L)
    table = (N, 2 * positions.span, H)
    return [*(torch.randn(B, N, L, H) for _ in range(3)), torch.randn(table), torch.randn(table)]


@pytest.mark.parametrize("mask", ["none", "keys", "pairs"])
@pytest.mark.parametrize("terms", ["cp", "c", "p", ""])
@pytest.mark.parametrize(
    ("positions", "B", "L", "H"), [(V3, 2, 150, 16), (SMALL, 3, 45, 6), (PLAIN, 2, 13, 12), (V3, 1, 1, 8)]
)
@pytest.mark.parametrize(("dtype", "limit"), [(torch.float32, 1e-5), (torch.bfloat16, 3e-2)])
def test_kernel_equals_the_reference(
    on_path: Kernel, positions: RelativePositions, B: int, L: int, H: int, terms: str, mask: str,
    dtype: torch.dtype, limit: float, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(training_attention, "blockwise_attention", None)  # it must not be what computes
    inputs, hidden = draw(B, 2, L, H, positions), masks(B, L, mask)
    want = found(eager_attention, inputs, positions, terms, hidden, torch.float64)
    got = found(attend, inputs, positions, terms, hidden, dtype)
    for ours, theirs in zip(got, want, strict=True):
        assert (ours - theirs).abs().max() <= limit * max(theirs.abs().max().item(), 1e-2)


@pytest.mark.parametrize("mask", ["none", "pairs"])
def test_kernel_drops_what_torch_drops(on_path: Kernel, mask: str) -> None:
    """So a run does not depend on whether there is a kernel, nor on which."""
    inputs, hidden = draw(3, 2, 45, 16, SMALL), masks(3, 45, mask)
    want = found(blockwise_attention, inputs, SMALL, "cp", hidden, torch.float64, 0.3)
    for size in (1 << 18, 48 * 48 + 1):  # all samples of a head at once, and one by one
        training_attention.BLOCK_NUMBERS, kept = size, training_attention.BLOCK_NUMBERS
        try:
            got = found(attend, inputs, SMALL, "cp", hidden, torch.float32, 0.3)
        finally:
            training_attention.BLOCK_NUMBERS = kept
        for ours, theirs in zip(got, want, strict=True):
            torch.testing.assert_close(ours.double(), theirs, atol=2e-5, rtol=2e-5)


def test_a_number_that_is_not_finite_stays_so(on_path: Kernel) -> None:
    inputs = draw(2, 1, 20, 8, SMALL)
    inputs[0][1, 0, 7, 3] = torch.nan
    for dtype in (torch.float32, torch.bfloat16):
        context, dq, *_ = found(attend, inputs, SMALL, "cp", None, dtype)
        assert context[1, 0, 7].isnan().all() and context[0].isfinite().all()
        assert dq[1, 0, 7].isnan().all() and dq[0].isfinite().all()


def test_dropout_has_its_rate_and_no_pattern() -> None:
    torch.manual_seed(0)
    gone = dropped(draw_seed(), 0, (512, 1024), 0.1).double()
    spread = 0.3  # standard deviation of one draw
    assert abs(gone.mean() - 0.1) < 4 * spread / gone.numel() ** 0.5
    for means, draws in ((gone.mean(0), 512), (gone.mean(1), 1024)):
        assert (means - 0.1).abs().max() < 5 * spread / draws**0.5
        assert means.std() / (spread / draws**0.5) == pytest.approx(1, abs=0.1)
    rows = gone - 0.1
    for shift in (1, 2, 16):  # neighbours know nothing of each other
        assert abs((rows[:, shift:] * rows[:, :-shift]).mean()) < 5 * 0.09 / gone.numel() ** 0.5
        assert abs((rows[shift:] * rows[:-shift]).mean()) < 5 * 0.09 / gone.numel() ** 0.5


def test_dropout_depends_on_seed_and_row_alone() -> None:
    seed, other = torch.tensor(7), torch.tensor(8)
    whole = dropped(seed, 0, (6, 40), 0.5)
    assert torch.equal(dropped(seed, 4, (2, 40), 0.5), whole[4:])
    assert torch.equal(dropped(seed, 0, (2, 3, 40), 0.5).flatten(0, 1), whole)
    assert torch.equal(dropped(seed, 0, (6, 16), 0.5), whole[:, :16])
    assert not torch.equal(dropped(other, 0, (6, 40), 0.5), whole)
    assert threshold(0.0) == 0 and not dropped(seed, 0, (6, 40), 0.0).any()
    # SplitMix64 of seed 7, its first number, and lowbias32, in whole numbers
    x = (7 + 0x9E3779B97F4A7C15) % 2**64
    for bits, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        x = (x ^ (x >> bits)) * factor % 2**64
    key = (x ^ (x >> 31)) >> 32
    numbers = []
    for column in range(40):
        x = (key + column * 0x9E3779B9) % 2**32
        for bits, factor in ((16, 0x7FEB352D), (15, 0x846CA68B)):
            x = (x ^ (x >> bits)) * factor % 2**32
        numbers.append(x ^ (x >> 16))
    assert np.array_equal(whole[0].numpy(), np.array(numbers) < 2**31)


def tiny_attention() -> DisentangledSelfAttention:
    return DisentangledSelfAttention(EncoderConfig.from_dict(TINY))


@pytest.mark.parametrize("shape", [(3, 5, 32), (130, 7), (40,)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_hidden_states_are_dropped_as_torch_would_with_that_mask(
    on_path: Kernel, shape: tuple[int, ...], dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training_dropout, "kernel", lambda: on_path)
    dropout, x = SeededDropout(0.25), torch.randn(shape).to(dtype).requires_grad_()
    torch.manual_seed(5)
    got = dropout(x)
    (grad,) = torch.autograd.grad(got.sum(), x)
    torch.manual_seed(5)
    gone = dropped(draw_seed(), 0, shape, 0.25)
    assert torch.equal(got == 0, gone) and torch.equal(grad == 0, gone)
    torch.testing.assert_close(got, torch.where(gone, 0.0, x / 0.75))
    monkeypatch.setattr(training_dropout, "kernel", lambda: None)
    torch.manual_seed(5)
    torch.testing.assert_close(dropout(x), got)
    assert torch.equal(dropout.eval()(x), x)


def test_dropouts_of_hidden_states_are_replaced_where_nobody_watches() -> None:
    attention = tiny_attention()
    assert attention.backend == "auto"
    model = nn.ModuleDict({"attention": attention, "own": nn.Dropout(0.3), "watched": nn.Dropout(0.3)})
    model["watched"].register_forward_hook(lambda *_: None)
    training_dropout.train_on_cpu(model)
    assert attention.backend == "blockwise"
    kinds = {name: type(module) for name, module in model.named_modules() if isinstance(module, nn.Dropout)}
    assert kinds == {
        "attention.dropout": nn.Dropout,
        "attention.pos_dropout": SeededDropout,
        "own": SeededDropout,
        "watched": nn.Dropout,
    }


def test_training_projects_only_the_rows_that_a_batch_meets() -> None:
    attention = tiny_attention().train()
    table = torch.randn(attention.positions.span * 2, attention.num_heads * attention.head_width)
    whole, some = attention.project_table(table), attention.project_table(table, 3)
    assert some.key_NRH is not None and whole.key_NRH is not None
    first, end = attention.positions.window(3)
    assert some.first_row == first and some.key_NRH.shape[1] == end - first < whole.key_NRH.shape[1]
    torch.testing.assert_close(some.key_NRH, whole.key_NRH[:, first:end])

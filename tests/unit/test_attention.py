"""Disentangled attention: every backend equals the written-out formula in float64, forward and backward."""

import copy
import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from debertav3.errors import UserError
from debertav3.layers.attention import DisentangledSelfAttention
from debertav3.layers.config import EncoderConfig
from helpers import ALL_BACKENDS, TINY, assert_same_gradients, block_mask, gradients, random_weights

FAST_BACKENDS = [name for name in ALL_BACKENDS if name != "eager"]
FLOAT64 = 1e-12


def tiny_attention(
    backend: str, *, dtype: torch.dtype = torch.float64, **changes: Any
) -> DisentangledSelfAttention:
    torch.manual_seed(3)
    std = 0.5 if dtype == torch.float64 else 0.2
    attention = DisentangledSelfAttention(EncoderConfig.from_dict({**TINY, **changes})).to(dtype)
    for parameter in attention.parameters():
        nn.init.normal_(parameter, std=std)
    attention.backend = backend
    return attention


def inputs_for(attention: DisentangledSelfAttention, batch: int, length: int) -> tuple[Tensor, Tensor]:
    """Hidden states and the relative table."""
    width, dtype = attention.query_proj.in_features, attention.query_proj.weight.dtype
    rows = 2 * attention.positions.span
    return random_weights((batch, length, width), dtype, 1), random_weights((rows, width), dtype, 2)


def plain_attention(
    attention: DisentangledSelfAttention, hidden: Tensor, table: Tensor, mask: Tensor | None, queries: Tensor
) -> Tensor:
    """DeBERTa, section 3.1, equation 4, pair by pair; released models read both terms at ``row(i - j)``."""
    B, L, _ = hidden.shape
    heads, head_width = attention.num_heads, attention.head_width
    key_proj, query_proj = attention._table_projections()
    context = torch.zeros_like(hidden)
    for b in range(B):
        for n in range(heads):
            part = slice(n * head_width, (n + 1) * head_width)
            q, k = attention.query_proj(queries[b])[:, part], attention.key_proj(hidden[b])[:, part]
            v = attention.value_proj(hidden[b])[:, part]
            for i in range(L):
                score = torch.full((L,), torch.finfo(hidden.dtype).min, dtype=hidden.dtype)
                for j in range(L):
                    if mask is not None and not mask[b, i, j]:
                        continue
                    row = table[attention.positions.row(i - j)]
                    total = q[i] @ k[j]
                    terms = 1
                    if key_proj is not None:
                        total = total + q[i] @ key_proj(row)[part]
                        terms += 1
                    if query_proj is not None:
                        total = total + query_proj(row)[part] @ k[j]
                        terms += 1
                    score[j] = total / math.sqrt(terms * head_width)
                context[b, i, part] = torch.softmax(score, 0) @ v
    return context


@pytest.mark.parametrize("backend", ALL_BACKENDS)
@pytest.mark.parametrize(
    "terms", [["c2p", "p2c"], ["c2p"], ["p2c"], []], ids=lambda x: "+".join(x) or "content"
)
@pytest.mark.parametrize("share", [True, False], ids=["shared", "own"])
def test_equals_the_formula_pair_by_pair(backend: str, terms: list[str], share: bool) -> None:
    attention = tiny_attention(backend, pos_att_type=terms, share_att_key=share, num_attention_heads=3)
    hidden, table = inputs_for(attention, 2, 11)  # the buckets' logarithm begins at offset 5
    mask = torch.ones(2, 11, 11, dtype=torch.bool)
    mask[1] = block_mask([4, 6, 1])[0]
    queries = random_weights(hidden.shape, hidden.dtype, 5)
    with torch.no_grad():
        want = plain_attention(attention, hidden, table, mask, queries)
        got, _ = attention(hidden, mask[:, None], table, queries)
    torch.testing.assert_close(got, want, atol=FLOAT64, rtol=FLOAT64)


MASKS: dict[str, Callable[[], Tensor | None]] = {
    "none": lambda: None,
    "padding": lambda: (torch.arange(13)[None] < torch.tensor([[13], [4]]))[:, None, None, :],
    "padding-pairs": lambda: (
        (real := torch.arange(13)[None] < torch.tensor([[13], [4]]))[:, None, :, None]
        & real[:, None, None, :]
    ),
    "packed": lambda: torch.cat([block_mask([5, 8]), block_mask([1, 3, 9])])[:, None],
}


EQUALS = [
    (backend, variant)
    for backend in [*FAST_BACKENDS, "blockwise"]
    for variant in ("both", "plain", "c2p", "p2c", "absolute")
    if backend != "blockwise" or variant in ("both", "plain")  # it needs both position terms
]


@pytest.mark.parametrize(("backend", "variant"), EQUALS)
@pytest.mark.parametrize("mask", MASKS)
def test_backends_equal_the_reference_forward_and_backward(backend: str, mask: str, variant: str) -> None:
    changes: dict[str, Any] = {
        "both": {},
        "c2p": {"pos_att_type": ["c2p"]},
        "p2c": {"pos_att_type": ["p2c"]},
        "plain": {"position_buckets": -1, "max_relative_positions": 6},
        "absolute": {"relative_attention": False},
    }[variant]
    results = {}
    for name in ("eager", backend):
        attention = tiny_attention(name, **changes)
        hidden, table = inputs_for(attention, 2, 13)
        hidden.requires_grad_(), table.requires_grad_()
        got, _ = attention(hidden, MASKS[mask](), None if variant == "absolute" else table)
        found = gradients(attention, (got * random_weights(got.shape, got.dtype)).sum())
        found["hidden"] = hidden.grad
        if variant != "absolute":
            found["table"] = table.grad
        with torch.no_grad():
            attention.eval()
            again, _ = attention(hidden, MASKS[mask](), None if variant == "absolute" else table)
        results[name] = got.detach(), again, found
    torch.testing.assert_close(results[backend][0], results["eager"][0], atol=FLOAT64, rtol=FLOAT64)
    torch.testing.assert_close(results[backend][1], results["eager"][0], atol=FLOAT64, rtol=FLOAT64)
    assert_same_gradients(results[backend][2], results["eager"][2], atol=1e-11)


@pytest.mark.parametrize("backend", ALL_BACKENDS)
@pytest.mark.parametrize("mask", ["none", "packed-with-an-empty-row"])
def test_gradcheck(backend: str, mask: str) -> None:
    attention = tiny_attention(
        backend, hidden_size=6, num_attention_heads=2, position_buckets=4, max_position_embeddings=16
    )
    attention.train()
    hidden, table = inputs_for(attention, 2, 6)
    pairs = None
    if mask != "none":
        pairs = torch.cat([block_mask([2, 4]), block_mask([3, 3])])[:, None]
        pairs[0, 0, 1] = False
    parameters = [p.detach().clone().requires_grad_() for p in attention.parameters()]
    names = [name for name, _ in attention.named_parameters()]

    def run(hidden: Tensor, table: Tensor, *values: Tensor) -> Tensor:
        state = dict(zip(names, values, strict=True))
        return torch.func.functional_call(attention, state, (hidden, pairs, table))[0]

    assert torch.autograd.gradcheck(run, (hidden.requires_grad_(), table.requires_grad_(), *parameters))


@pytest.mark.parametrize("backend", ALL_BACKENDS)
def test_dropout_is_off_in_eval_and_on_in_training(backend: str) -> None:
    attention = tiny_attention(backend, attention_probs_dropout_prob=0.5)
    hidden, table = inputs_for(attention, 2, 13)
    attention.eval()
    without = tiny_attention(backend).train()(hidden, None, table)[0]
    torch.testing.assert_close(attention(hidden, None, table)[0], without)
    attention.train()
    assert not torch.equal(attention(hidden, None, table)[0], attention(hidden, None, table)[0])


@pytest.mark.parametrize("backend", ALL_BACKENDS)
@pytest.mark.parametrize("with_gradients", [True, False])
def test_dropout_of_the_relative_table_is_drawn_anew_each_time(backend: str, with_gradients: bool) -> None:
    """Also in training without gradients, as when a generator samples: the kept table is for inference."""
    attention = tiny_attention(backend, hidden_dropout_prob=0.5)
    hidden, table = inputs_for(attention, 1, 13)
    with torch.set_grad_enabled(with_gradients):
        attention.train()
        assert not torch.equal(attention(hidden, None, table)[0], attention(hidden, None, table)[0])
        attention.eval()
        first = attention(hidden, None, table)[0]
        assert torch.equal(first, attention(hidden, None, table)[0])


@pytest.mark.parametrize("backend", ["eager", "strided"])
def test_dropped_weights_keep_their_mean(backend: str) -> None:
    attention = tiny_attention(backend, attention_probs_dropout_prob=0.25).train()
    hidden, table = inputs_for(attention, 64, 13)
    _, weights = attention(hidden, None, table, output_attentions=True)
    assert weights is not None
    assert abs((weights == 0).double().mean().item() - 0.25) < 0.02
    assert abs(weights.sum(-1).mean().item() - 1) < 0.03


@pytest.mark.parametrize("backend", ["eager", "strided", "auto"])
def test_weights_are_shares_of_what_may_be_seen(backend: str) -> None:
    attention = tiny_attention(backend).eval()
    hidden, table = inputs_for(attention, 2, 13)
    mask = MASKS["packed"]()
    assert mask is not None
    context, weights = attention(hidden, mask, table, output_attentions=True)
    assert weights is not None and weights.shape == (2, 4, 13, 13)
    torch.testing.assert_close(weights.sum(-1), torch.ones_like(weights[..., 0]))
    assert not weights.masked_select(~mask).any()
    torch.testing.assert_close(attention(hidden, mask, table)[0], context)


def test_a_named_backend_that_cannot_do_it_says_so() -> None:
    attention = tiny_attention("sdpa")
    hidden, table = inputs_for(attention, 1, 3)
    with pytest.raises(UserError, match="no attention weights"):
        attention(hidden, None, table, output_attentions=True)
    attention.backend = "flash"
    with pytest.raises(UserError, match="'flash' does not exist; need 'auto', 'sdpa'"):
        attention(hidden, None, table)


@pytest.mark.parametrize("backend", ALL_BACKENDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_rows_that_may_see_nothing_are_finite(backend: str, dtype: torch.dtype) -> None:
    attention = tiny_attention(backend, dtype=dtype)
    hidden, table = inputs_for(attention, 2, 13)
    hidden.requires_grad_()
    mask = torch.ones(2, 1, 13, 13, dtype=torch.bool)
    mask[0, :, 4:] = False
    mask[1] = False
    context, _ = attention(hidden, mask, table)
    found = gradients(attention, context.float().square().sum())
    assert context.isfinite().all() and all(g.isfinite().all() for g in found.values())
    # such a row sees everything alike, as in transformers
    everything = attention.value_proj(hidden)[1].mean(0).expand(13, -1)
    torch.testing.assert_close(context[1], everything, atol=2e-2, rtol=2e-2)
    with torch.no_grad():
        assert attention(hidden, mask, table)[0].isfinite().all()


@pytest.mark.parametrize("backend", ALL_BACKENDS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_scores_beyond_half_precision_stay_finite(backend: str, dtype: torch.dtype) -> None:
    """q.k is about 10^6 here, beyond fp16."""
    attention = tiny_attention(backend, dtype=torch.float32)
    with torch.no_grad():
        for parameter in attention.parameters():
            parameter.mul_(64)
        attention.value_proj.weight.div_(64)
    hidden, table = inputs_for(attention, 2, 64)
    half = copy.deepcopy(attention).to(dtype)
    with torch.no_grad():
        content = attention.query_proj(hidden) @ attention.key_proj(hidden).transpose(1, 2)
        assert content.abs().max() > torch.finfo(torch.float16).max
        context, _ = half(hidden.to(dtype), None, table.to(dtype))
    assert context.isfinite().all()


@pytest.mark.parametrize("backend", ALL_BACKENDS)
def test_autocast_keeps_scores_in_fp32(backend: str) -> None:
    attention = tiny_attention(backend, dtype=torch.float32).eval()
    hidden, table = inputs_for(attention, 2, 13)
    with torch.autocast("cpu", torch.bfloat16):
        got, _ = attention(hidden, None, table)
    assert got.dtype == torch.bfloat16
    rounded = copy.deepcopy(attention).to(torch.bfloat16)
    want, _ = rounded(hidden.bfloat16(), None, table.bfloat16())
    torch.testing.assert_close(got, want, atol=0.05, rtol=0.05)


@pytest.mark.parametrize("backend", ["auto", *ALL_BACKENDS])
def test_dropout_is_a_module_that_can_be_switched(backend: str) -> None:
    attention = tiny_attention(backend, dtype=torch.float32, attention_probs_dropout_prob=0.5).eval()
    hidden, table = inputs_for(attention, 2, 13)

    def answers() -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            return attention(hidden, None, table)[0], attention(hidden, None, table)[0]

    quiet, again = answers()
    assert torch.equal(quiet, again)
    attention.dropout.train()  # MC dropout: the module alone
    assert not torch.equal(*answers())
    attention.dropout.p = 0.0
    torch.testing.assert_close(answers()[0], quiet)
    attention.train()  # as scripts do that set every p to 0
    torch.testing.assert_close(answers()[0], quiet)
    attention.dropout = nn.Identity()
    torch.testing.assert_close(answers()[0], quiet)


@pytest.mark.parametrize("how", ["hook", "module", "forward"])
@pytest.mark.parametrize("backend", ["auto", "sdpa", "blockwise"])
def test_what_takes_the_place_of_dropout_sees_the_weights(backend: str, how: str) -> None:
    attention = tiny_attention(backend).eval()
    hidden, table = inputs_for(attention, 2, 13)
    plain, weights = copy.deepcopy(attention), []

    def double(x: Tensor) -> Tensor:
        weights.append(x)
        return 2 * x

    if how == "hook":
        attention.dropout.register_forward_hook(lambda module, inputs, output: double(output))
    elif how == "forward":
        attention.dropout.forward = double  # type: ignore[method-assign]
    else:
        attention.dropout = nn.Module()  # type: ignore[assignment]
        attention.dropout.forward = double
    context, returned = attention(hidden, None, table)
    assert returned is None and weights[0].shape == (2, 4, 13, 13)
    torch.testing.assert_close(context, 2 * plain(hidden, None, table)[0])


def test_runs_on_the_meta_device() -> None:
    attention = tiny_attention("auto", dtype=torch.float32).to("meta").eval()
    hidden, table = (x.to("meta") for x in inputs_for(attention, 2, 40))
    with torch.no_grad():
        assert attention(hidden, None, table)[0].shape == hidden.shape


class TestNothingIsKept:
    """What attention computes follows from its weights as they are now, however they came to be so."""

    def setup_method(self) -> None:
        self.attention = tiny_attention("auto", dtype=torch.float32).eval()
        self.hidden, self.table = inputs_for(self.attention, 2, 13)

    def answer(self) -> Tensor:
        with torch.no_grad():
            return self.attention(self.hidden, None, self.table)[0]

    def fresh(self) -> Tensor:
        """Of another module with the same weights, that never ran before."""
        other = tiny_attention("auto", dtype=torch.float32).eval()
        other.load_state_dict(self.attention.state_dict())
        return other(self.hidden, None, self.table)[0].detach()

    @pytest.mark.parametrize(
        "change",
        ["optimizer", "fused-optimizer", "copy", "data", "load", "load-assign", "replace", "swap-module"],
    )
    def test_changed_weights_are_seen(self, change: str) -> None:
        before = self.answer()
        projection = self.attention.key_proj
        other = tiny_attention("auto", dtype=torch.float32)
        nn.init.normal_(other.key_proj.weight)
        state = other.state_dict()
        if "optimizer" in change:
            is_fused = change == "fused-optimizer"
            optimizer = torch.optim.AdamW(self.attention.parameters(), lr=0.5, fused=is_fused)
            self.attention(self.hidden, None, self.table)[0].sum().backward()
            optimizer.step()
        elif change == "copy":
            with torch.no_grad():
                projection.weight.copy_(state["key_proj.weight"])
        elif change == "data":
            projection.weight.data.mul_(2)
        elif change in ("load", "load-assign"):
            self.attention.load_state_dict(state, assign=change == "load-assign")
        elif change == "replace":
            projection.weight = nn.Parameter(state["key_proj.weight"])
        else:
            self.attention.key_proj = other.key_proj
        after = self.answer()
        assert not torch.equal(after, before)
        torch.testing.assert_close(after, self.fresh())

    def test_parameters_replaced_twice_between_calls(self) -> None:
        """The second may get the address and the id of the first."""
        for _ in range(100):
            for _ in range(2):
                self.attention.key_proj.weight = nn.Parameter(torch.randn(48, 48))
            torch.testing.assert_close(self.answer(), self.fresh())

    def test_autocast_has_a_table_of_its_own(self) -> None:
        plain = self.answer()
        for dtype in (torch.bfloat16, torch.float16):
            with torch.autocast("cpu", dtype):
                assert not torch.equal(self.answer(), plain)
        torch.testing.assert_close(self.answer(), plain, rtol=0, atol=0)

    def test_hooks_patches_and_wrappers_are_obeyed(self) -> None:
        before, key_proj = self.answer(), self.attention.key_proj
        handle = key_proj.register_forward_hook(lambda module, inputs, output: output * 1.5)
        hooked = self.answer()
        handle.remove()
        torch.testing.assert_close(self.answer(), before)
        plain = key_proj.forward
        key_proj.forward = lambda x: plain(x) * 1.5  # type: ignore[method-assign]
        torch.testing.assert_close(self.answer(), hooked)
        del key_proj.forward
        with torch.no_grad():
            key_proj.weight.mul_(1.5)
            key_proj.bias.mul_(1.5)
        torch.testing.assert_close(self.answer(), hooked)
        torch.nn.utils.parametrize.register_parametrization(key_proj, "weight", nn.Tanh())
        assert not torch.allclose(self.answer(), hooked)

    def test_threads_do_not_disturb_each_other(self) -> None:
        inputs = [random_weights((2, length, 48), torch.float32, length) for length in (3, 13, 20, 31) * 4]

        def run(x: Tensor) -> Tensor:
            with torch.no_grad():
                return self.attention(x, None, self.table)[0]

        want = [run(x) for x in inputs]
        with ThreadPoolExecutor(4) as pool:
            for got, wanted in zip(pool.map(run, inputs), want, strict=True):
                torch.testing.assert_close(got, wanted)


@pytest.mark.parametrize("backend", ALL_BACKENDS)
@pytest.mark.parametrize("length", [1, 2, 5, 13, 50, 200])
def test_the_rows_that_a_length_meets_are_enough(backend: str, length: int) -> None:
    attention = tiny_attention(backend).eval()
    hidden, table = inputs_for(attention, 1, length)
    first, end = attention.positions.window(length)
    assert end - first <= 2 * length - 1
    poisoned = torch.full_like(table, torch.nan)
    poisoned[first:end] = table[first:end]
    got = attention(hidden, None, poisoned)[0]
    assert got.isfinite().all()
    torch.testing.assert_close(got, attention.train()(hidden, None, table)[0], atol=FLOAT64, rtol=FLOAT64)

"""The encoder: packed sequences equal separate ones, padding is inert, half precision stays finite."""

import warnings
from typing import Any

import accelerate
import pytest
import torch
from torch import Tensor, nn

from debertav3.errors import UserError
from debertav3.layers.masks import AttentionMasks
from debertav3.models import DebertaV2Model
from helpers import (
    ALL_BACKENDS,
    assert_same_gradients,
    block_mask,
    gradients,
    random_batch,
    random_weights,
    tiny_config,
)


def tiny_model(**changes: Any) -> DebertaV2Model:
    torch.manual_seed(0)
    return DebertaV2Model(tiny_config(**changes)).double()


@pytest.mark.parametrize("backend", ALL_BACKENDS)
@pytest.mark.parametrize("variant", ["v3", "conv", "positions", "no-terms"])
def test_packed_sequences_equal_separate_ones(backend: str, variant: str) -> None:
    changes: dict[str, dict[str, Any]] = {
        "v3": {},
        "conv": {"conv_kernel_size": 5, "conv_groups": 2},
        "positions": {"position_biased_input": True},
        "no-terms": {"pos_att_type": []},
    }
    lengths = [5, 1, 9, 2]
    model = tiny_model(**changes[variant])
    model.set_attention_backend(backend)
    ids = random_batch([sum(lengths)])["input_ids"]
    positions = torch.cat([torch.arange(length) for length in lengths])[None]
    packed = model(ids, attention_mask=block_mask(lengths), position_ids=positions)[0]
    separate = torch.cat([model(part)[0] for part in ids.split(lengths, dim=1)], dim=1)
    torch.testing.assert_close(packed, separate, atol=1e-12, rtol=1e-12)
    factors = random_weights(packed.shape, packed.dtype)
    want = gradients(model, (separate * factors).sum())
    assert_same_gradients(gradients(model, (packed * factors).sum()), want, atol=1e-11)


@pytest.mark.parametrize("backend", ALL_BACKENDS)
@pytest.mark.parametrize("conv_kernel_size", [None, 3])
def test_padding_changes_nothing(backend: str, conv_kernel_size: int | None) -> None:
    model = tiny_model(conv_kernel_size=conv_kernel_size)
    model.set_attention_backend(backend)
    batch = random_batch((19, 1, 6))
    padded = model(**batch)[0]
    for row, length in enumerate((19, 1, 6)):
        alone = model(batch["input_ids"][row : row + 1, :length])[0]
        torch.testing.assert_close(padded[row : row + 1, :length], alone, atol=1e-12, rtol=1e-12)


MASK_KINDS = {
    "int": lambda mask: mask,
    "bool": lambda mask: mask.bool(),
    "float": lambda mask: mask.double(),
    "half": lambda mask: mask.half(),
    "pairs": lambda mask: mask[:, :, None] * mask[:, None, :],
    "pairs-float": lambda mask: (mask[:, :, None] * mask[:, None, :]).float(),
    "pairs-4d": lambda mask: (mask[:, None, :, None] * mask[:, None, None, :]).bool(),
    "keys-4d": lambda mask: mask[:, None, None, :],
}


@pytest.mark.parametrize("kind", MASK_KINDS)
@pytest.mark.parametrize("conv_kernel_size", [None, 3])
def test_masks_of_every_kind_mean_the_same(kind: str, conv_kernel_size: int | None) -> None:
    model = tiny_model(conv_kernel_size=conv_kernel_size)
    batch = random_batch((19, 1, 6))
    real = batch["attention_mask"].bool()
    want = model(**batch)[0]
    got = model(batch["input_ids"], attention_mask=MASK_KINDS[kind](batch["attention_mask"]))[0]
    torch.testing.assert_close(got[real], want[real], atol=1e-12, rtol=1e-12)


def test_one_mask_for_all_rows() -> None:
    model = tiny_model()
    ids = random_batch((9, 9, 9))["input_ids"]
    mask = (torch.arange(9) < 6)[None]
    torch.testing.assert_close(
        model(ids, attention_mask=mask)[0], model(ids, attention_mask=mask.expand(3, -1))[0]
    )


def test_left_padding_counts_from_where_it_stands() -> None:
    """Relative attention knows no absolute place, so left padding changes nothing either."""
    model = tiny_model(conv_kernel_size=3)
    ids = random_batch((7,))["input_ids"]
    shifted = torch.cat([torch.zeros(1, 4, dtype=torch.long), ids], 1)
    mask = (torch.arange(11) >= 4)[None]
    got = model(shifted, attention_mask=mask)[0][:, 4:]
    torch.testing.assert_close(got, model(ids)[0], atol=1e-12, rtol=1e-12)


def test_masks_with_another_shape_are_refused() -> None:
    for shape in ((3,), (2, 4, 5, 5), (2, 1, 1, 5, 5)):
        with pytest.raises(UserError, match="attention_mask has shape"):
            AttentionMasks.read(torch.ones(shape))


@pytest.mark.parametrize("shape", [(2, 5), (2, 5, 5), (2, 1, 1, 5)])
def test_masks_that_are_added_to_scores_are_refused(shape: tuple[int, ...]) -> None:
    added = torch.zeros(shape)
    added[..., 3:] = torch.finfo(added.dtype).min
    with pytest.raises(UserError, match="attention_mask has negative numbers"):
        tiny_model()(torch.ones(2, 5, dtype=torch.int64), attention_mask=added)


@pytest.mark.parametrize("backend", ALL_BACKENDS)
def test_an_empty_sequence_in_a_batch_is_finite(backend: str) -> None:
    model = tiny_model(conv_kernel_size=3)
    model.set_attention_backend(backend)
    batch = random_batch((9, 4))
    batch["attention_mask"][1] = 0
    output = model(**batch)[0]
    found = gradients(model, output.square().sum())
    assert output.isfinite().all() and all(g.isfinite().all() for g in found.values())
    torch.testing.assert_close(output[:1], model(batch["input_ids"][:1])[0], atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("backend", ALL_BACKENDS)
def test_half_precision_is_finite_where_fp32_is(dtype: torch.dtype, backend: str) -> None:
    """All weights eight times too large, 512 tokens: scores pass fp16's range."""
    torch.manual_seed(0)
    config = tiny_config(
        hidden_size=96, num_attention_heads=2, intermediate_size=384, initializer_range=0.02,
        position_buckets=256, max_position_embeddings=512,
    )  # fmt: skip
    model = DebertaV2Model(config).eval()
    model.set_attention_backend(backend)
    batch = random_batch((512, 300))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(8)
        assert model(**batch)[0].isfinite().all()
        assert model.to(dtype)(**batch)[0].isfinite().all()


def test_hidden_states_are_not_overwritten_later() -> None:
    """In inference sums are taken in place, and memory is used again: what was returned must stay."""
    model = tiny_model(conv_kernel_size=3).float().eval()
    batch = random_batch((24, 24))
    want = model(**batch, output_hidden_states=True, output_attentions=True)
    with torch.no_grad():
        got = model(**batch, output_hidden_states=True, output_attentions=True)
        model(random_batch((31, 2), seed=5)["input_ids"])
    for ours, other in zip(
        (*got.hidden_states, *got.attentions), (*want.hidden_states, *want.attentions), strict=True
    ):
        torch.testing.assert_close(ours, other)


@pytest.mark.parametrize("with_gradients", [True, False])
def test_hooks_may_keep_what_they_see(with_gradients: bool) -> None:
    """A hook keeps a module's output; nothing may write into it afterwards."""
    model = tiny_model().float().eval()
    batch = random_batch((24, 24))
    kept: dict[str, Tensor] = {}
    then: dict[str, Tensor] = {}
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear | nn.LayerNorm | nn.Embedding | nn.Dropout):

            def keep(_module: nn.Module, _inputs: Any, output: Tensor, name: str = name) -> None:
                kept[name], then[name] = output, output.detach().clone()

            module.register_forward_hook(keep)
    with torch.set_grad_enabled(with_gradients):
        model(**batch)
    assert len(kept) > 20
    changed = [name for name in kept if not torch.equal(kept[name], then[name])]
    assert not changed


def test_pre_hooks_are_run() -> None:
    """torch's pruning computes a masked weight in a pre-hook, each time."""
    model = tiny_model().float().eval()
    batch = random_batch((24, 9))
    calls: list[str] = []
    for name, module in model.encoder.named_modules():
        if isinstance(module, nn.Linear):
            module.register_forward_pre_hook(lambda module, inputs, name=name: calls.append(name))
    with torch.no_grad():
        model(**batch)
    wanted = {name for name, module in model.encoder.named_modules() if isinstance(module, nn.Linear)}
    assert set(calls) == wanted


def test_inputs_are_left_alone() -> None:
    model = tiny_model().float().eval()
    embeds = model.get_input_embeddings()(random_batch((9, 9))["input_ids"]).detach()
    mask = torch.ones(2, 9, dtype=torch.bool)
    before, mask_before = embeds.clone(), mask.clone()
    with torch.no_grad():
        model(inputs_embeds=embeds, attention_mask=mask)
    assert torch.equal(embeds, before) and torch.equal(mask, mask_before)


@pytest.mark.parametrize("num_layers", [0, 1, 2])
def test_running_fewer_layers(num_layers: int) -> None:
    model = tiny_model(conv_kernel_size=3)
    batch = random_batch((9, 4))
    want = model(**batch, output_hidden_states=True).hidden_states[num_layers]
    torch.testing.assert_close(model(**batch, num_layers=num_layers)[0], want, atol=0, rtol=0)


@pytest.mark.parametrize("reentrant", [True, False])
@pytest.mark.parametrize("variant", ["v3", "own-plain", "conv", "absolute"])
def test_gradient_checkpointing_equals_none(reentrant: bool, variant: str) -> None:
    changes: dict[str, dict[str, Any]] = {
        "v3": {},
        "own-plain": {"share_att_key": False, "norm_rel_ebd": "none"},
        "conv": {"conv_kernel_size": 3},
        "absolute": {"relative_attention": False, "position_biased_input": True},
    }
    model = tiny_model(**changes[variant], hidden_dropout_prob=0.2, attention_probs_dropout_prob=0.2).train()
    batch = random_batch((24, 9))

    def run() -> dict[str, Tensor]:
        torch.manual_seed(4)  # the same dropout
        return gradients(model, (model(**batch)[0] * random_weights((2, 24, 48), torch.float64)).sum())

    want = run()
    model.gradient_checkpointing_enable({"use_reentrant": reentrant})
    assert_same_gradients(run(), want, atol=1e-12)
    model.gradient_checkpointing_disable()
    assert_same_gradients(run(), want, atol=0)


def test_inference_sees_trained_weights() -> None:
    """Training and inference in turns, as a run with evaluation does, without and with ``eval()``."""
    model = tiny_model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    batch = random_batch((24, 9))
    previous: Tensor | None = None
    for is_eval in (True, False, True, False):
        model.train(not is_eval)
        with torch.no_grad():
            quick = model(**batch)[0]
        torch.testing.assert_close(quick, model(**batch)[0], atol=1e-12, rtol=1e-12)
        assert previous is None or not torch.allclose(quick, previous)
        previous = quick
        optimizer.zero_grad()
        model(**batch)[0].square().sum().backward()
        optimizer.step()


def test_inference_mode_first_then_everything_else() -> None:
    """What is kept from inference mode must serve outside of it, also for inputs beyond the kept tables."""
    model = tiny_model().eval()
    short, long = random_batch((9, 4)), random_batch((60, 20))  # 32 positions
    with torch.inference_mode():
        first = model(**short)[0].clone()
    with torch.no_grad():
        torch.testing.assert_close(model(**short)[0], first.clone(), atol=0, rtol=0)
        quick = model(**long)[0]
    slow = model(**long)[0]
    torch.testing.assert_close(quick, slow, atol=1e-12, rtol=1e-12)
    gradients(model, slow.sum())


@pytest.mark.parametrize("conv_kernel_size", [None, 3])
def test_an_exported_graph_serves_all_lengths_and_batches(conv_kernel_size: int | None) -> None:
    model = tiny_model(conv_kernel_size=conv_kernel_size).float().eval()
    batch = random_batch((9, 4))
    axes = {0: torch.export.Dim("batch", min=1, max=64), 1: torch.export.Dim("tokens", min=1, max=512)}
    program = torch.export.export(model, (), batch, dynamic_shapes={key: axes for key in batch})
    for lengths in (
        (9, 4),
        (4,),
        (1,),
        (1, 1),
        (19, 7, 3),
        (60, 33),
    ):  # within the identity buckets, and beyond 32 positions
        other = random_batch(lengths, seed=1)
        real = other["attention_mask"].bool()
        torch.testing.assert_close(program.module()(**other)[0][real], model(**other)[0][real])


@pytest.mark.parametrize("grad", [False, True])
@pytest.mark.parametrize("backend", ["auto", "eager", "strided"])
def test_a_trace_of_a_model_that_never_ran_serves_all_lengths(backend: str, grad: bool) -> None:
    model = tiny_model().float().eval()
    model.set_attention_backend(backend)
    example = random_batch((8,))
    with torch.set_grad_enabled(grad):
        traced = torch.jit.trace(model, (example["input_ids"], example["attention_mask"]), strict=False)
    for lengths in ((1,), (20, 17), (60, 33), (8,)):
        batch = random_batch(lengths, seed=1)
        real = batch["attention_mask"].bool()
        with torch.no_grad():
            want = model(**batch)[0][real]
            got = traced(batch["input_ids"], batch["attention_mask"])
        got = got[0] if isinstance(got, tuple) else next(iter(got.values()))
        torch.testing.assert_close(got[real], want, atol=1e-5, rtol=1e-5)


def test_choosing_a_backend_does_not_tie_a_trace_to_the_sizes_of_its_example() -> None:
    model, example = tiny_model().float().eval(), random_batch((8,))
    with torch.no_grad(), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.jit.trace(model, (example["input_ids"], example["attention_mask"]), strict=False)
    assert [one for one in caught if "to a Python boolean" in str(one.message)] == []


@pytest.mark.parametrize("how", ["cpu_offload", "hooks"])
def test_offloaded_and_hooked_models_answer_alike(how: str) -> None:
    """accelerate replaces ``forward`` on every instance; offloaded weights are on no device in between."""
    model = tiny_model().float().eval()
    batch = random_batch((9, 4))
    real = batch["attention_mask"].bool()
    with torch.no_grad():
        want = model(**batch)[0][real]
        if how == "cpu_offload":
            accelerate.cpu_offload(model, execution_device=torch.device("cpu"))
            assert model.encoder.rel_embeddings.weight.device.type == "meta"
        else:
            for module in model.encoder.modules():
                accelerate.hooks.add_hook_to_module(module, accelerate.hooks.ModelHook())
        for _ in range(2):
            torch.testing.assert_close(model(**batch)[0][real], want)


@pytest.mark.parametrize(
    "path",
    [
        "rel_embeddings",
        "LayerNorm",
        "layer.0.attention.self.key_proj",
        "layer.1.intermediate.dense",
        "layer.1",
    ],
)
def test_a_patched_forward_is_in_the_next_answer(path: str) -> None:
    model = tiny_model().float().eval()
    batch = random_batch((9, 4))
    with torch.no_grad():
        before = model(**batch)[0]
        module = model.encoder.get_submodule(path)
        forward = module.forward

        def patched(*inputs: Tensor) -> Any:
            output = forward(*inputs)
            if isinstance(output, tuple):
                return 1.5 * output[0], output[1]
            return output + output.flip(-1)

        module.forward = patched
        changed = model(**batch)[0]
        del module.forward
        assert not torch.allclose(changed, before, atol=1e-3)
        torch.testing.assert_close(model(**batch)[0], before)

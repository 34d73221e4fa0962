"""Contract: kept memory and the kernel of the vocabulary loss change no gradient, no loss and no draw."""

import copy

import pytest
import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.nn import functional as F

from cpu_kernels import open_kernel
from debertav3.cpu import table_memory
from debertav3.cpu.kernel.build import INSTRUCTIONS
from debertav3.cpu.table_memory import (
    TableEmbedding,
    TableMemory,
    clip_grad_norm,
    keep_word_gradients,
    look_up,
)
from debertav3.layers.config import EncoderConfig
from debertav3.layers.embeddings import Embeddings
from debertav3.pretrain import vocabulary_loss
from debertav3.pretrain.optimization import PretrainOptimizerConfig, StepEngine
from debertav3.pretrain.vocabulary_loss import predict_masked
from helpers import TINY


@pytest.fixture(params=(*INSTRUCTIONS, "none"))
def _on_path(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    found = None if request.param == "none" else open_kernel(request.param)
    for module in (table_memory, vocabulary_loss):
        monkeypatch.setattr(module, "kernel", lambda: found)


def losses_of(
    weight: nn.Parameter, memory: TableMemory | None, step: int, parts: int, dtype: torch.dtype
) -> list[Tensor]:
    """What some micro-batches give that look words up and predict words, with one table."""
    torch.manual_seed(step)
    found = []
    for _ in range(parts):
        ids, targets = torch.randint(0, len(weight), (3, 7)), torch.randint(0, len(weight), (5,))
        ids[0, 0] = 0  # padding, which has no gradient
        bias = torch.randn(len(weight), requires_grad=True)
        states = look_up(ids, weight, 0, memory).tanh().flatten(0, 1)[:5]
        result = predict_masked(states.to(dtype), weight, bias, targets, torch.rand(5), 0.7, memory)
        (result.loss / 3).backward()
        found += [result.loss.detach(), result.drawn, result.correct, bias.grad]
    return found


@pytest.mark.parametrize("parts", [1, 2])
@pytest.mark.parametrize("kept_bytes", [1, 1 << 28])
@pytest.mark.parametrize(("dtype", "limit"), [(torch.float32, 1e-6), (torch.bfloat16, 1e-2)])
@pytest.mark.parametrize("words", [32, 301])
@pytest.mark.usefixtures("_on_path")
def test_gradients_are_those_of_autograd(
    words: int, dtype: torch.dtype, limit: float, kept_bytes: int, parts: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vocabulary_loss, "CPU_KEPT_BYTES", kept_bytes)
    torch.manual_seed(1)
    weights = [nn.Parameter(torch.randn(words, 8).bfloat16().float()) for _ in range(2)]
    with torch.no_grad():
        weights[1].copy_(weights[0])
    memory = TableMemory()
    for step in range(3):
        got = losses_of(weights[0], memory, step, parts, dtype)
        with pytest.MonkeyPatch.context() as without:  # torch's form
            without.setattr(vocabulary_loss, "kernel", lambda: None)
            want = losses_of(weights[1], None, step, parts, dtype)
        for ours, theirs in zip(got, want, strict=True):
            torch.testing.assert_close(ours, theirs, atol=limit, rtol=limit)
        ours, theirs = weights[0].grad, weights[1].grad
        assert ours is not None and theirs is not None
        torch.testing.assert_close(ours, theirs, atol=limit, rtol=limit)
        weights[0].grad = weights[1].grad = None


def test_only_rows_that_were_looked_up_have_a_gradient_in_each_step() -> None:
    weight, memory = nn.Parameter(torch.randn(50, 4)), TableMemory()
    addresses = set()
    for step in range(3):
        ids = torch.tensor([[step, 7, step]])
        look_up(ids, weight, None, memory).sum().backward()
        assert weight.grad is not None
        want = F.one_hot(ids, 50).sum((0, 1)).float()[:, None].expand(50, 4)
        assert torch.equal(weight.grad, want)
        addresses.add(weight.grad.data_ptr())
        weight.grad = None
    assert len(addresses) == 1
    assert copy.deepcopy(memory)._gradient is None
    with torch.no_grad():
        assert not look_up(ids, weight, None, memory).requires_grad


class LooksUp(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.randn(20, 4))
        self.other = nn.Parameter(torch.randn(4, 4))
        self.table_memory: TableMemory | None = None

    def forward(self, ids: Tensor) -> Tensor:
        return (look_up(ids, self.table, None, self.table_memory) @ self.other).sum()


@pytest.mark.parametrize("limit", [0.01, 1e6], ids=["clipped", "not clipped"])
def test_a_step_is_that_of_clipping_and_adamw_and_a_bad_one_leaves_no_trace(limit: float) -> None:
    config = PretrainOptimizerConfig(max_grad_norm=limit, warmup_steps=0)
    ours = LooksUp()
    plain = copy.deepcopy(ours)
    engine = StepEngine(ours, config, total_steps=10, accelerator=Accelerator(cpu=True), name="x")
    assert ours.table_memory is not None
    optimizer = torch.optim.AdamW(
        plain.parameters(),
        lr=1.0,
        betas=(config.adam_beta1, config.adam_beta2),
        eps=config.adam_epsilon,
        weight_decay=config.weight_decay,
    )
    for step, factor in enumerate((1.0, float("nan"), 2.0)):
        ids = torch.tensor([[step, 3 + step]])
        engine.backward(engine.model(ids) * factor)
        figures = engine.update(step)
        assert bool(figures["x_skipped"]) == (factor != factor)
        if factor == factor:
            (plain(ids) * factor).backward()
            norm = nn.utils.clip_grad_norm_(plain.parameters(), limit)
            torch.testing.assert_close(figures["x_gradient_norm"], norm)
            optimizer.param_groups[0]["lr"] = engine.optimizer.param_groups[0]["lr"]
            optimizer.step()
            optimizer.zero_grad()
        torch.testing.assert_close(ours.table, plain.table, atol=1e-7, rtol=1e-6)
        torch.testing.assert_close(ours.other, plain.other, atol=1e-7, rtol=1e-6)


def test_word_embeddings_in_kept_memory_train_as_torch_s_own() -> None:
    torch.manual_seed(0)
    config = EncoderConfig.from_dict(TINY)
    plain = nn.ModuleDict({"embeddings": Embeddings(config), "other": nn.Embedding(4, 4)}).eval()
    ours = copy.deepcopy(plain)
    tables = keep_word_gradients(ours)
    assert type(ours["embeddings"].word_embeddings) is TableEmbedding and type(ours["other"]) is nn.Embedding
    assert len(tables) == 1 and keep_word_gradients(ours) == tables
    assert [*ours.state_dict()] == [*plain.state_dict()]
    optimizers = [torch.optim.AdamW(model.parameters(), lr=0.1) for model in (ours, plain)]
    for step in range(5):
        for model, optimizer in zip((ours, plain), optimizers, strict=True):
            for part in range(2):  # two micro-batches
                ids = torch.tensor([[step, 7, step, part, 0]])
                model["embeddings"](ids).square().sum().backward()
            limit = (0.5, 1e9, float("nan"), 0.5, 0.5)[step]
            if model is ours:
                norms = [clip_grad_norm(ours.parameters(), tables, limit)]
            else:
                norms.append(nn.utils.clip_grad_norm_(plain.parameters(), limit))
            if step != 2:  # a bad step
                optimizer.step()
            optimizer.zero_grad()
        torch.testing.assert_close(norms[0], norms[1])
        for name, weight in ours.named_parameters():
            torch.testing.assert_close(weight, plain.get_parameter(name), atol=1e-7, rtol=1e-6)


def test_word_embeddings_that_are_frozen_watched_or_tied_stay_as_they_are() -> None:
    def fresh() -> nn.ModuleDict:
        return nn.ModuleDict({"embeddings": Embeddings(EncoderConfig.from_dict(TINY))})

    frozen, watched, tied = fresh(), fresh(), fresh()
    frozen.requires_grad_(False)
    watched["embeddings"].word_embeddings.register_forward_hook(lambda *_: None)
    words = tied["embeddings"].word_embeddings
    tied["decoder"] = nn.Linear(*reversed(words.weight.shape), bias=False)
    tied["decoder"].weight = words.weight
    for model in (frozen, watched, tied):
        assert keep_word_gradients(model) == []
        assert type(model["embeddings"].word_embeddings) is nn.Embedding

"""Contract: Muon gets the matrices of the layers and nothing else; both parts step as they would alone."""

import copy
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from transformers import DebertaV2Config

from debertav3.errors import UserError
from debertav3.models import DebertaV2ForMaskedLM, DebertaV2ForReplacedTokenDetection
from debertav3.pretrain.gdes import share_embeddings
from debertav3.pretrain.optimization import StepEngine, build_optimizer
from debertav3.pretrain.schedules import PretrainOptimizerConfig
from debertav3.runs.muon import encoder_matrices
from helpers import tiny_config

MUON = PretrainOptimizerConfig(kind="muon", learning_rate=1e-2, warmup_steps=0, weight_decay=0.1)


def networks() -> tuple[DebertaV2ForMaskedLM, DebertaV2ForReplacedTokenDetection]:
    torch.manual_seed(0)
    config: DebertaV2Config = tiny_config(conv_kernel_size=3)
    generator, discriminator = DebertaV2ForMaskedLM(config), DebertaV2ForReplacedTokenDetection(config)
    share_embeddings(discriminator.deberta.embeddings, generator.deberta.embeddings, "gdes")
    return generator, discriminator


@pytest.mark.parametrize("which", [0, 1], ids=["generator", "discriminator"])
def test_muon_gets_the_matrices_of_the_layers_alone(which: int) -> None:
    model = networks()[which]
    chosen = {id(matrix) for matrix in encoder_matrices(model)}
    names = [name for name, weight in model.named_parameters() if id(weight) in chosen]
    kinds = ("query_proj", "key_proj", "value_proj", "output.dense", "intermediate.dense")
    wanted = [
        name
        for name, _ in model.named_parameters()
        if ".encoder.layer." in name and name.endswith(tuple(f"{kind}.weight" for kind in kinds))
    ]
    assert names == wanted and len(wanted) == 2 * 6
    optimizer = build_optimizer(model, MUON)
    groups = [id(weight) for group in optimizer.param_groups for weight in group["params"]]
    trained = [id(weight) for weight in model.parameters() if weight.requires_grad]
    assert sorted(groups) == sorted(trained)  # every weight once


def gradients(model: torch.nn.Module, seed: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    for weight in model.parameters():
        if weight.requires_grad:
            weight.grad = torch.randn(weight.shape, generator=draw)


@pytest.mark.parametrize("is_prepared", [False, True], ids=["bare", "accelerate's wrapper"])
def test_both_parts_step_as_they_would_alone(is_prepared: bool) -> None:
    """accelerate loads the optimizer's own state into it, which makes new groups."""
    ours, theirs = networks()[0], networks()[0]
    optimizer: Any = build_optimizer(ours, MUON)
    if is_prepared:
        optimizer = Accelerator(cpu=True).prepare(optimizer)
    matrices = list(encoder_matrices(theirs))
    chosen = {id(matrix) for matrix in matrices}
    rest = [weight for weight in theirs.parameters() if id(weight) not in chosen]
    muon = torch.optim.Muon(
        matrices, lr=1e-2, weight_decay=0.1, momentum=0.95, adjust_lr_fn="match_rms_adamw"
    )
    adamw = torch.optim.AdamW(
        [
            {"params": [weight for weight in rest if weight.dim() >= 2], "weight_decay": 0.1},
            {"params": [weight for weight in rest if weight.dim() < 2], "weight_decay": 0.0},
        ],
        lr=1e-2, betas=(0.9, 0.98), eps=1e-6, fused=True,
    )  # fmt: skip
    for step in range(3):
        rate = 1e-2 / (step + 1)
        for one in (optimizer, muon, adamw):
            for group in one.param_groups:
                group["lr"] = rate
        for model in (ours, theirs):
            gradients(model, step)
        for one in (optimizer, muon, adamw):
            one.step()
    for (name, a), (_, b) in zip(ours.named_parameters(), theirs.named_parameters(), strict=True):
        assert torch.equal(a, b), name
    moments = {kind for state in optimizer.state.values() for kind in state}
    assert moments == {"momentum_buffer", "step", "exp_avg", "exp_avg_sq"}


def test_the_update_is_as_large_as_the_learning_rate_says() -> None:
    """0.2 times the rate for each weight, root mean square, as with AdamW (arXiv:2502.16982)."""
    model = networks()[0]
    before = copy.deepcopy(model)
    engine = StepEngine(
        model, PretrainOptimizerConfig(kind="muon", learning_rate=1e-2, warmup_steps=0, weight_decay=0.0),
        total_steps=10, accelerator=Accelerator(cpu=True), name="generator",
    )  # fmt: skip
    gradients(model, 0)
    engine.update(0)
    for new, old in zip(encoder_matrices(model), encoder_matrices(before), strict=True):
        size = (new - old).square().mean().sqrt() / 1e-2
        # Five Newton-Schulz steps bring singular values to between 0.68 and 1.13, by their polynomial.
        assert 0.2 * 0.6 * min(1.0, (min(new.shape) / max(new.shape)) ** 0.5) < size < 0.2 * 1.2
    assert engine.optimizer.param_groups[0]["lr"] == 1e-2


def test_a_torch_without_muon_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.optim, "Muon")
    with pytest.raises(UserError, match=r"needs torch 2\.9 or newer"):
        build_optimizer(networks()[0], MUON)
    build_optimizer(networks()[0], PretrainOptimizerConfig())

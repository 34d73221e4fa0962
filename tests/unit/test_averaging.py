"""Contract: averages are those of the definition, also of merged tables; the weights stay as they are."""

import copy

import pytest
import torch
from accelerate import Accelerator
from hypothesis import given, settings
from hypothesis import strategies as st

from debertav3.models import DebertaV2ForMaskedLM, DebertaV2ForReplacedTokenDetection
from debertav3.pretrain.averaging import WeightAverages, ema_decay
from debertav3.pretrain.gdes import share_embeddings
from debertav3.pretrain.networks import Networks, finished_models
from debertav3.pretrain.optimization import StepEngine
from debertav3.pretrain.schedules import PretrainOptimizerConfig
from debertav3.pretrain.settings import AveragingConfig
from helpers import tiny_config

STEPS = 7


def engines_of(networks: Networks) -> dict[str, StepEngine]:
    assert networks.discriminator is not None
    return {
        name: StepEngine(
            model, PretrainOptimizerConfig(), total_steps=STEPS, accelerator=Accelerator(cpu=True), name=name
        )
        for name, model in (("generator", networks.generator), ("discriminator", networks.discriminator))
    }


@pytest.fixture
def networks() -> Networks:
    torch.manual_seed(0)
    generator = DebertaV2ForMaskedLM(tiny_config())
    discriminator = DebertaV2ForReplacedTokenDetection(tiny_config())
    share_embeddings(discriminator.deberta.embeddings, generator.deberta.embeddings, "gdes")
    return Networks(generator, discriminator, {})


def merged(networks: Networks) -> dict[str, torch.Tensor]:
    return {
        f"{name}.{key}": value.double().clone()
        for name, model in finished_models(networks).items()
        for key, value in model.state_dict().items()
    }


def moved(networks: Networks, step: int) -> None:
    draw = torch.Generator().manual_seed(step)
    with torch.no_grad():
        for model in (networks.generator, networks.discriminator):
            assert model is not None
            for weight in model.parameters():
                weight.add_(torch.randn(weight.shape, generator=draw) * 0.1)


@pytest.mark.parametrize("kind", ["ema", "mean"])
def test_an_average_is_that_of_the_merged_networks(networks: Networks, kind: str) -> None:
    """E_G + delta is averaged by averaging both."""
    config = AveragingConfig(ema_decay=0.3, mean_last=3, mean_every_steps=2)
    averages = WeightAverages(engines_of(networks), config, num_steps=STEPS)
    seen, expected = [], merged(networks)
    untrained = {key for key in expected if "position_embeddings" in key and not key.startswith("gen")}
    for step in range(STEPS):
        moved(networks, step)
        averages.update(step)
        now = merged(networks)
        decay = ema_decay(0.3, step)
        expected = {key: decay * expected[key] + (1 - decay) * now[key] for key in now}
        if step + 1 in (3, 5, 7):
            seen.append(now)
    if kind == "mean":
        expected = {key: torch.stack([one[key] for one in seen]).mean(0) for key in seen[0]}
    raw = merged(networks)
    with averages.in_place(kind):
        found = merged(networks)
    for key, value in expected.items():
        if key not in untrained:  # V3's discriminator reads no positions: they are not averaged
            torch.testing.assert_close(found[key], value, atol=2e-6, rtol=0, msg=key)
    after = merged(networks)
    assert all(torch.equal(raw[key], after[key]) for key in raw)
    assert any(not torch.equal(raw[key], found[key]) for key in raw)


def test_averages_are_saved_and_loaded_bit_for_bit(networks: Networks) -> None:
    config = AveragingConfig(ema_decay=0.9, mean_last=2, mean_every_steps=1)
    first = WeightAverages(engines_of(networks), config, num_steps=STEPS)
    for step in range(STEPS):
        moved(networks, step)
        first.update(step)
    second = WeightAverages(engines_of(copy.deepcopy(networks)), config, num_steps=STEPS)
    assert second.file_names() == list(first.tensors())
    second.load(first.tensors(), STEPS)
    for name, tensors in first.tensors().items():
        assert all(torch.equal(tensors[key], value) for key, value in second.tensors()[name].items())


@settings(deadline=None)
@given(st.integers(1, 6), st.integers(1, 9), st.integers(1, 60))
def test_points_of_the_mean_are_counted_back_from_the_end(last: int, every: int, num_steps: int) -> None:
    config = AveragingConfig(mean_last=last, mean_every_steps=every)
    if (last - 1) * every < num_steps:
        assert set(config.points(num_steps)) == {num_steps - every * number for number in range(last)}
    assert AveragingConfig(mean_every_steps=every).points(num_steps) == []


def test_what_is_not_wanted_is_not_kept(networks: Networks) -> None:
    averages = WeightAverages(engines_of(networks), AveragingConfig(), num_steps=STEPS)
    averages.update(0)
    assert averages.kinds(STEPS) == [] and averages.tensors() == {}
    averages = WeightAverages(engines_of(networks), AveragingConfig(mean_last=1), num_steps=STEPS)
    assert averages.kinds(STEPS - 1) == [] and averages.kinds(STEPS) == ["mean"]


def test_the_memory_of_the_exponential_average_grows() -> None:
    assert ema_decay(0.999, 0) == 0.1
    decays = [ema_decay(0.999, step) for step in range(20_000)]
    assert decays == sorted(decays) and decays[-1] == 0.999

"""The training step of a run: its networks, prepared for the device, each with its optimizer."""

from typing import Any

from accelerate import Accelerator
from torch import nn

from ..cpu.training_dropout import train_on_cpu
from ..layers.encoder import Encoder
from .loop import TrainStep
from .mlm import MaskedLanguageModel
from .networks import Networks
from .optimization import StepEngine
from .rtd import JointNetworks, JointStep, MLMStep, ReplacedTokenDetector, TwoPhaseStep
from .settings import PretrainConfig


def build_step(config: PretrainConfig, networks: Networks, accelerator: Accelerator) -> TrainStep:
    """The step of the objective and mode, with its optimizers."""
    trained: tuple[nn.Module | None, ...] = (networks.generator, networks.discriminator)
    for model in trained:
        if model is not None:
            _arm(model, config, accelerator)

    def engine(model: nn.Module, name: str, *, is_discriminator: bool = False) -> StepEngine:
        optimizer = config.optimizer_config(is_discriminator=is_discriminator)
        is_spread = config.compute.shard_weights and accelerator.num_processes > 1
        return StepEngine(
            model,
            optimizer,
            total_steps=config.loop.max_steps,
            accelerator=accelerator,
            name=name,
            shard_layers=_layers(model) if is_spread else (),
        )

    generator = MaskedLanguageModel(networks.generator, config.rtd.temperature)
    if networks.discriminator is None:
        return MLMStep(engine(generator, "generator"))
    discriminator = ReplacedTokenDetector(networks.discriminator)
    if config.rtd.mode == "joint":
        joint = JointNetworks(generator, discriminator)
        return JointStep(engine(joint, "joint"), rtd_weight=config.rtd.weight)
    return TwoPhaseStep(
        engine(generator, "generator"),
        engine(discriminator, "discriminator", is_discriminator=True),
        rtd_weight=config.rtd.weight,
    )


def _layers(model: nn.Module) -> list[nn.Module]:
    """The layers that are called as such: not the generator's last one, whose parts the decoder calls."""
    encoders = [part for part in model.modules() if isinstance(part, Encoder)]
    decoded = {
        id(part.model.deberta.encoder) for part in model.modules() if isinstance(part, MaskedLanguageModel)
    }
    return [
        layer
        for encoder in encoders
        for layer in (encoder.layer[:-1] if id(encoder) in decoded else encoder.layer)
    ]


def _arm(model: Any, config: PretrainConfig, accelerator: Accelerator) -> None:
    if accelerator.device.type == "cpu":
        train_on_cpu(model)
    if config.compute.gradient_checkpointing:
        model.gradient_checkpointing_enable()
    if config.compute.compile:
        for layer in model.deberta.encoder.layer:
            layer.compile()
    model.train()

"""What is ready before the first step of a run: model, encoded data, trainer."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import transformers
from transformers import PreTrainedModel
from transformers.trainer_utils import EvalPrediction

from ..cpu.training_dropout import train_on_cpu
from ..errors import UserError
from ..heads import TOKENS
from ..models import DebertaV2PreTrainedModel
from ..models.precision import check_precision, multiplies_bf16
from ..runs.checkpoints import CheckpointStore
from ..tasks.example import Example
from ..tasks.task import Task
from .adaptation import add_lora, freeze
from .baselines import check_length
from .batches import EncodedDataset, PaddingCollator, Tokenizer
from .config import FinetuneConfig
from .objectives import Objective, objective_of
from .preparation import Data
from .start import Start
from .starting_model import label_order, open_model
from .trainer import FinetuneTrainer, training_arguments


def open_for_training(
    config: FinetuneConfig, data: Data, tokenizer: Tokenizer, start: Start
) -> PreTrainedModel:
    """Open the model as the run trains it.

    Raises:
        UserError: if the task or a setting is not possible with it.
    """
    transformers.set_seed(config.seed)
    model = open_model(config, tokenizer, data.task, data.labels, start)
    if config.sift and not isinstance(model, DebertaV2PreTrainedModel):
        raise UserError(
            "SiFT needs a DeBERTa v2 or v3 model, whose embeddings can be perturbed; leave --sift out."
        )
    if isinstance(model, DebertaV2PreTrainedModel) and not torch.accelerator.is_available():
        train_on_cpu(model)
    check_length(model, config)
    if config.loop.gradient_checkpointing:
        model.gradient_checkpointing_enable()
    freeze(model, config)
    return model


@dataclass(frozen=True, kw_only=True)
class PreparedRun:
    """What a run needs before its first step."""

    task: Task
    objective: Objective[Task]
    labels: tuple[str, ...]
    """In the order of the model's outputs."""
    train: list[Example]
    dev_sets: dict[str, EncodedDataset]
    columns: dict[str, object]
    """See `Data.columns`."""
    trainer: FinetuneTrainer


def prepare_run(
    config: FinetuneConfig,
    data: Data,
    *,
    model: PreTrainedModel,
    tokenizer: Tokenizer,
    store: CheckpointStore,
) -> PreparedRun:
    """Encode the data and set up the trainer.

    Args:
        config: the run.
        data: its examples.
        model: from `open_for_training`.
        tokenizer: the model's.
        store: where checkpoints go.
    """
    task, labels = data.task, label_order(model, data.labels)
    objective = objective_of(task)

    def encoded(examples: Sequence[Example]) -> EncodedDataset:
        return objective.encode(examples, tokenizer, labels=labels, config=config)

    dev_sets = {source: encoded(examples).sorted_by_length() for source, examples in data.dev.items()}
    first_dev = next(iter(dev_sets.values()), None)

    def first_dev_scores(output: EvalPrediction) -> dict[str, float]:
        assert first_dev is not None
        return objective.score(output.predictions, first_dev, labels=labels)

    args = training_arguments(
        _with_precision(config),
        model=model,
        folder=store.folder,
        has_dev=bool(dev_sets),
        best_metric=task.best_metric,
    )
    trainer = FinetuneTrainer(
        add_lora(model, config) if config.lora else model,
        config=config,
        args=args,
        store=store,
        collator=PaddingCollator(tokenizer, has_token_labels=task.head == TOKENS),
        loss=objective.loss(data.train, labels=labels, config=config),
        divergence=objective.divergence,
        train_dataset=encoded(data.train),
        dev_dataset=first_dev,
        compute_metrics=first_dev_scores,
    )
    return PreparedRun(
        task=task,
        objective=objective,
        labels=labels,
        train=data.train,
        dev_sets=dev_sets,
        columns=data.columns,
        trainer=trainer,
    )


def _with_precision(config: FinetuneConfig) -> FinetuneConfig:
    """Resolve ``auto``: bf16 on an accelerator that multiplies in it; fp32 on CPUs, to the last bit."""
    device = torch.accelerator.current_accelerator(check_available=True)
    check_precision(config.loop.precision, "cpu" if device is None else device.type)
    if config.loop.precision != "auto":
        return config
    has_bf16 = device is not None and multiplies_bf16(device.type)
    return config.with_values({"precision": "bf16" if has_bf16 else "fp32"}, source="auto")

"""The Hugging Face Trainer with an exact order of data, atomic checkpoints, and no step on NaN."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn
from transformers import (
    EarlyStoppingCallback,
    EvalPrediction,
    PreTrainedModel,
    PrinterCallback,
    Trainer,
    TrainingArguments,
)
from transformers.integrations import TensorBoardCallback
from transformers.trainer import TRAINER_STATE_NAME

from ..cpu.table_memory import clip_grad_norm, keep_word_gradients
from ..cpu.table_optimizer import TableAdamW, with_whole_moments
from ..errors import DivergedError, UserError
from ..files import damage_of
from ..json_types import JsonObject
from ..runs.checkpoints import CheckpointStore
from ..runs.muon import MuonWithAdamW, encoder_matrices
from . import sift
from .adaptation import parameter_groups, uses_every_parameter
from .batches import EncodedDataset, LengthBucketSampler, PaddingCollator
from .callbacks import EpochOrder, ExtraSaves, ProgressBar, Tally
from .config import FinetuneConfig
from .losses import LossFunction
from .preparation import micro_batch
from .sift import Divergence

if TYPE_CHECKING:
    import optuna

logger = logging.getLogger(__name__)

MAX_BAD_STEPS = 10
"""So many steps in a row without a finite gradient end the run."""
DIVERGED_ADVICE = "Lower learning_rate, raise warmup_steps, or set precision=fp32."


class FinetuneTrainer(Trainer):
    """Trains on encoded examples.

    Args:
        model: an HF model whose output has ``logits``.
        config: the run.
        args: from :func:`training_arguments`.
        store: of checkpoints.
        collator: makes batches.
        loss: what is minimized.
        divergence: what SiFT holds down; of no use without it.
        train_dataset: encoded training examples.
        dev_dataset: encoded dev examples, or None.
        compute_metrics: from predictions to the scores by which checkpoints are chosen.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        config: FinetuneConfig,
        args: TrainingArguments,
        store: CheckpointStore,
        collator: PaddingCollator,
        loss: LossFunction,
        divergence: Divergence,
        train_dataset: EncodedDataset,
        dev_dataset: EncodedDataset | None,
        compute_metrics: Callable[[EvalPrediction], dict[str, float]] | None,
    ) -> None:
        self.config = config
        self.store = store
        self.task_loss = loss
        self.divergence = divergence
        self._staging: Path | None = None
        self.train_sampler = LengthBucketSampler(
            train_dataset.lengths,
            batch_size=config.loop.batch_size,
            seed=config.seed,
            is_grouped=config.data.length_grouping,
        )
        super().__init__(
            model=model,
            args=args,
            data_collator=collator,
            train_dataset=train_dataset,
            eval_dataset=dev_dataset,
            compute_loss_func=loss,
            compute_metrics=compute_metrics,
        )
        is_alone = self.accelerator.num_processes == 1 and self.accelerator.scaler is None
        self.kept_tables = keep_word_gradients(model) if is_alone and args.device.type == "cpu" else []
        self.remove_callback(PrinterCallback)  # it prints to stdout
        for callback in self.callback_handler.callbacks:
            if isinstance(callback, TensorBoardCallback):  # its own place is removed with the checkpoints
                callback.logging_dir = callback.logging_dir or str(
                    Path(str(args.output_dir)).parent / "tensorboard"
                )
        self.saves = ExtraSaves(
            config.checkpoints.save_every_steps, evaluates_epochs=config.evaluation.eval_every_steps is None
        )
        self.tally = Tally()
        self.add_callback(self.tally)
        self.add_callback(EpochOrder(self.train_sampler))
        self.add_callback(self.saves)
        self.add_callback(ProgressBar())
        if config.loop.early_stopping_patience is not None:
            self.add_callback(EarlyStoppingCallback(config.loop.early_stopping_patience))

    def _get_train_sampler(self, train_dataset: object = None) -> LengthBucketSampler:
        return self.train_sampler

    def get_optimizer_cls_and_kwargs(  # type: ignore[override]  # the Trainer's is static, and called on self
        self, args: TrainingArguments, model: PreTrainedModel | None = None
    ) -> tuple[type[torch.optim.Optimizer], dict[str, Any]]:
        """As the Trainer's; for kept tables, AdamW that has moments for the rows in use."""
        kind, options = super().get_optimizer_cls_and_kwargs(args, model)
        if kind is torch.optim.AdamW and self.kept_tables:
            return TableAdamW, options | {"tables": self.kept_tables}
        return kind, options

    def create_optimizer(self, model: object = None) -> torch.optim.Optimizer:
        """As the Trainer's; with Muon, or with learning rates that fall from layer to layer, if it is set."""
        settings = self.config.optimizer
        if self.optimizer is None and (settings.layer_decay < 1 or settings.kind == "muon"):
            trained = cast(PreTrainedModel, self.model if model is None else model)
            decayed = set(self.get_decay_parameter_names(trained))
            kind, options = self.get_optimizer_cls_and_kwargs(self.args, trained)
            if settings.kind == "muon":
                matrices = {id(matrix) for matrix in encoder_matrices(trained)}
                if not matrices:
                    raise UserError(
                        "optimizer=muon trains matrices of DeBERTa's layers, and none of them learns here: "
                        "use optimizer=adamw"
                    )
                muon, adamw = parameter_groups(trained, decayed, matrices, config=self.config)
                momentum = settings.muon_momentum
                self.optimizer = MuonWithAdamW(muon, adamw, momentum=momentum, kind=kind, **options)
                self.optimizer.register_state_dict_post_hook(with_whole_moments)
            else:
                _, groups = parameter_groups(trained, decayed, (), config=self.config)
                self.optimizer = kind(groups, **options)
        return super().create_optimizer(model)

    def create_scheduler(
        self, num_training_steps: int, optimizer: torch.optim.Optimizer | None = None
    ) -> torch.optim.lr_scheduler.LRScheduler:
        """As the Trainer's; a warm-up as long as the run, as of recipes for large data, is shortened."""
        warmup = self.args.get_warmup_steps(num_training_steps)
        if warmup >= num_training_steps and self.is_world_process_zero():
            logger.warning(
                "a warm-up of %d steps would cover the whole run of %d steps: shortened to %d",
                warmup,
                num_training_steps,
                num_training_steps // 10,
            )
        if warmup >= num_training_steps:
            self.args.warmup_steps = num_training_steps // 10
        return super().create_scheduler(num_training_steps, optimizer)

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Tensor | tuple[Tensor, object]:
        """As the Trainer's; a loss that is not finite makes every gradient NaN, so all processes see it."""
        if not model.training:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        if self.config.sift:
            loss = self._sift_loss(model, inputs, num_items_in_batch)
        else:
            loss = cast(Tensor, super().compute_loss(model, inputs, return_outputs, num_items_in_batch))
        return loss * torch.where(torch.isfinite(loss.detach()), 1.0, torch.nan)

    def _sift_loss(
        self, model: nn.Module, inputs: dict[str, Tensor], num_items: Tensor | int | None
    ) -> Tensor:
        """The task's loss and SiFT's regularizer, both as means over the items of the whole step."""
        labels = inputs.pop("labels")
        clean_pass = sift.CleanPass()
        clean = model(**inputs, perturbation=clean_pass)
        plain = self.accelerator.unwrap_model(model)  # gradients are exchanged once, at the backward pass
        apart = sift.regularizer(
            lambda change: plain(**inputs, perturbation=change),
            clean=clean,
            embeddings=clean_pass.embeddings,
            labels=labels,
            divergence=self.divergence,
            step_size=self.config.sift.step_size,
            initial_size=self.config.sift.initial_size,
        )
        items = max(apart.numel(), 1) if num_items is None else num_items
        loss = self.task_loss(clean, labels, num_items) + self.config.sift.weight * apart.sum() / items
        return loss if num_items is None else loss * self.accelerator.num_processes  # which are averaged over

    def _clip_grad_norm(self, model: nn.Module) -> Tensor:
        """Clip, and turn a step without a finite gradient into no step at all."""
        if self.kept_tables:
            norm = clip_grad_norm(model.parameters(), self.kept_tables, self.args.max_grad_norm)
        else:
            norm = super()._clip_grad_norm(model)
        if torch.isfinite(norm):
            self.tally.bad_steps_in_a_row = 0
            return norm
        model.zero_grad(set_to_none=True)  # AdamW leaves a parameter without gradient as it is
        self.tally.skipped_steps += 1
        self.tally.bad_steps_in_a_row += 1
        step = self.state.global_step + 1
        logger.warning("step %d: loss or gradient is not finite; the step is skipped", step)
        if self.tally.bad_steps_in_a_row >= MAX_BAD_STEPS:
            raise DivergedError(
                f"training stopped at step {step}: {MAX_BAD_STEPS} steps in a row had no finite gradient. "
                f"{DIVERGED_ADVICE}"
            )
        return norm

    def check_weights(self) -> None:
        """Assert that the model can be of use.

        Raises:
            DivergedError: if one of its weights is not finite.
        """
        for name, parameter in cast(nn.Module, self.model).named_parameters():
            if not torch.isfinite(parameter).all():
                raise DivergedError(
                    f"training diverged: {name} of the model is not finite; it was not saved. "
                    f"{DIVERGED_ADVICE}"
                )

    def _load_callback_state(self) -> None:
        """Give the callbacks what the checkpoint kept of them, such as the patience of early stopping.

        The Trainer's own way also restores its control flags, among them SIGTERM's request to stop. The state
        names the best checkpoint by a path of the time when it was written; here it is found again.
        """
        self._find_best()
        stored = cast(JsonObject, self.state.stateful_callbacks)
        for callback in self.callback_handler.callbacks:
            kept = stored.get(type(callback).__name__)
            if kept is not None:
                attributes = (kept[-1] if isinstance(kept, list) else kept)["attributes"]
                for name, value in attributes.items():
                    setattr(callback, name, value)

    def _find_best(self) -> None:
        """Look for the best checkpoint by its step in the folder of this run, which may have been moved.

        Raises:
            UserError: if the run shall end with its weights and it is gone or damaged.
        """
        self.state.best_model_checkpoint = None
        if not self.state.best_global_step:
            return
        best = self.store.path(self.state.best_global_step)
        reason = damage_of(best)
        if reason is None:
            self.state.best_model_checkpoint = str(best)
        elif self.config.evaluation.keep_best:
            raise UserError(
                f"the best checkpoint so far, {best}, cannot be used: {reason}. Restore it, "
                "or train again in another folder."
            )

    def _get_output_dir(self, trial: "optuna.Trial | JsonObject | None") -> str:
        return super()._get_output_dir(trial) if self._staging is None else str(self._staging)

    def _save_checkpoint(self, model: nn.Module, trial: "optuna.Trial | JsonObject | None") -> None:
        """Let the Trainer write into a folder aside, then publish it whole.

        Raises:
            UserError: if the disk is full or not writable; the previous checkpoint is still there.
        """
        step, publishes = self.state.global_step, self.args.should_save
        try:
            with self.store.saving(
                step, publishes=publishes, wait=self.accelerator.wait_for_everyone
            ) as staged:
                self._staging = staged.parent
                super()._save_checkpoint(model, trial)
                self._name_best(staged, self.store.path(step))
        finally:
            self._staging = None
        if publishes:
            self.store.remove_older(best=self.state.best_model_checkpoint)
        self.accelerator.wait_for_everyone()

    def _name_best(self, staged: Path, final: Path) -> None:
        """Record the best checkpoint, in every process, under the name that it will have."""
        if self.state.best_model_checkpoint == str(staged):
            self.state.best_model_checkpoint = str(final)
            if self.args.should_save:
                self.state.save_to_json(str(staged / TRAINER_STATE_NAME))


def training_arguments(
    config: FinetuneConfig, *, model: PreTrainedModel, folder: Path, has_dev: bool, best_metric: str
) -> TrainingArguments:
    """Translate a run into the Trainer's words.

    Args:
        config: the run.
        model: without LoRA.
        folder: for checkpoints.
        has_dev: whether there is a dev set to evaluate on.
        best_metric: name of the score that selects the best checkpoint.

    Raises:
        UserError: if the batch size cannot be split over the devices.
    """
    micro, passes = micro_batch(config)
    every = config.evaluation.eval_every_steps
    strategy = "epoch" if every is None else "steps"
    return TrainingArguments(
        output_dir=str(folder),
        seed=config.seed,
        per_device_train_batch_size=micro,
        per_device_eval_batch_size=config.evaluation.eval_batch_size,
        gradient_accumulation_steps=passes,
        num_train_epochs=config.loop.epochs,
        max_steps=config.loop.max_steps or -1,
        learning_rate=config.optimizer.learning_rate,
        lr_scheduler_type=config.optimizer.schedule,
        warmup_steps=config.optimizer.warmup_steps,
        weight_decay=config.optimizer.weight_decay,
        adam_beta1=config.optimizer.adam_beta1,
        adam_beta2=config.optimizer.adam_beta2,
        adam_epsilon=config.optimizer.adam_epsilon,
        max_grad_norm=config.optimizer.max_grad_norm,
        bf16=config.loop.precision == "bf16",
        fp16=config.loop.precision == "fp16",
        eval_strategy=strategy if has_dev else "no",
        save_strategy=strategy,
        eval_steps=every,
        save_steps=every or 500,
        load_best_model_at_end=config.evaluation.keep_best and has_dev,
        metric_for_best_model=best_metric if has_dev else None,
        greater_is_better=True if has_dev else None,
        logging_steps=config.loop.log_every_steps,
        report_to=list(config.loop.report_to) or "none",
        use_cpu=not torch.accelerator.is_available(),  # bf16 on a CPU must be asked for
        disable_tqdm=True,
        remove_unused_columns=False,
        label_names=["labels"],
        ddp_find_unused_parameters=False if uses_every_parameter(model) else None,  # None: the Trainer's way
        dataloader_pin_memory=torch.cuda.is_available(),
    )

"""The settings of a fine-tuning run: one frozen record, and how ``--set`` and a YAML file change it."""

import dataclasses
import difflib
import json
import math
import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import yaml

from ..errors import UserError

PRECISIONS = ("auto", "fp32", "bf16", "fp16")
LABEL_KINDS = ("auto", "one-label", "several-labels", "number", "tags", "ranking")
SCHEDULES = ("linear", "cosine", "constant_with_warmup")


@dataclass(frozen=True, kw_only=True)
class FinetuneConfig:
    """Everything that decides the numbers of a run; defaults are the middle of the papers' search grids."""

    task: str
    model: str
    """A size by name (from scratch), a local folder or a Hub name."""
    tokenizer: str | None = None
    """Folder or Hub name; None means the model's own."""
    train: tuple[str, ...] = ()
    dev: tuple[str, ...] = ()
    """The first one selects the best checkpoint."""
    seed: int = 1

    learning_rate: float = 2e-5
    batch_size: int = 32
    """Examples per optimiser step, over all devices and accumulated micro-batches."""
    micro_batch_size: int | None = None
    """Examples per device and forward pass; None means the device's whole share of ``batch_size``."""
    epochs: float = 3.0
    max_steps: int | None = None
    """Optimiser steps; overrules ``epochs``."""
    warmup_steps: float = 0.1
    """Optimiser steps of linear warm-up; below 1 a share of all steps."""
    schedule: str = "linear"
    weight_decay: float = 0.01
    adam_beta1: float = 0.9
    adam_beta2: float = 0.999
    adam_epsilon: float = 1e-6  # arXiv:2006.03654 table 9; torch's own default is 1e-8
    max_grad_norm: float = 1.0
    label_smoothing: float = 0.0
    max_length: int = 256
    """Tokens of one example, special tokens included; longer ones are truncated."""
    text_column: str | None = None
    """Of task custom, as the next three: None means the column with the longest texts."""
    pair_column: str | None = None
    """A second text."""
    label_column: str | None = None
    """None means a column called label, class, category, rating or the like."""
    label_kind: str = "auto"
    """one-label, several-labels, number, tags or ranking; auto: as the data look."""
    window_overlap: int = 128
    """Tokens that neighbouring windows of a long context share (question answering)."""
    balance_classes: bool = False
    """Weigh examples so that all labels count equally; of several labels each one's yes as much as its no."""
    classifier_dropout: float | None = None
    """Dropout before the classifier; here and in the next two None means what the model's config says."""
    hidden_dropout: float | None = None
    attention_dropout: float | None = None
    initializer_range: float | None = None
    """Standard deviation of new weights, for a model from scratch; None means what its size says."""

    layer_decay: float = 1.0
    """Factor of the learning rate from each layer to the one below it; 1 for none."""
    freeze_embeddings: bool = False
    freeze_layers: int = 0
    """So many layers from the bottom do not learn."""
    lora: bool = False
    """Train low-rank changes only (package peft); the saved model has them merged in."""
    lora_rank: int = 8
    lora_dropout: float = 0.0

    sift: bool = False
    """Whether to train against small changes of the embeddings too (``finetune/sift.py``)."""
    sift_weight: float = 5.0
    """Factor of SiFT's regulariser in the loss."""
    sift_step_size: float = 1e-4
    """Length of the ascent step, in the largest coordinate of each token."""
    sift_initial_size: float = 1e-2
    """Standard deviation of the first change."""

    precision: str = "auto"
    """``fp32``, or autocast to ``bf16`` or ``fp16``; auto: bf16 where CUDA has it, else fp32."""
    length_grouping: bool = True
    """Put examples of similar length into one batch."""
    gradient_checkpointing: bool = False
    eval_batch_size: int = 64
    eval_every_steps: int | None = None
    """None means after every epoch."""
    save_every_steps: int | None = None
    """Checkpoints for ``--resume`` besides those after each evaluation."""
    keep_best: bool = True
    """End with the weights of the best evaluation rather than the last."""
    keep_checkpoints: bool = False
    """Keep the folder ``checkpoints`` (optimiser state) after the run has finished."""
    early_stopping_patience: int | None = None
    """Evaluations without improvement before the run stops."""
    train_limit: int | None = None
    """Train on so many examples only, drawn by ``seed``; balanced if rows have one label, else at random."""
    check_data: bool = True
    """Run the data doctor before training."""
    log_every_steps: int = 20
    report_to: tuple[str, ...] = field(default=())
    """Trackers by transformers' names, such as tensorboard, trackio, wandb."""

    def __post_init__(self) -> None:
        checks = {
            "seed": 0 <= self.seed < 2**32,  # what numpy takes
            "learning_rate": self.learning_rate > 0 and math.isfinite(self.learning_rate),
            "batch_size": self.batch_size >= 1,
            "micro_batch_size": self.micro_batch_size is None or self.micro_batch_size >= 1,
            "epochs": self.epochs > 0 and math.isfinite(self.epochs),
            "max_steps": self.max_steps is None or self.max_steps >= 1,
            "warmup_steps": self.warmup_steps >= 0,
            "schedule": self.schedule in SCHEDULES,
            "weight_decay": self.weight_decay >= 0,
            "adam_beta1": 0 <= self.adam_beta1 < 1,
            "adam_beta2": 0 <= self.adam_beta2 < 1,
            "adam_epsilon": self.adam_epsilon > 0,
            "max_grad_norm": self.max_grad_norm > 0,
            "label_smoothing": 0 <= self.label_smoothing < 1,
            "max_length": self.max_length >= 8,
            "window_overlap": self.window_overlap >= 0,
            "classifier_dropout": self.classifier_dropout is None or 0 <= self.classifier_dropout < 1,
            "hidden_dropout": self.hidden_dropout is None or 0 <= self.hidden_dropout < 1,
            "attention_dropout": self.attention_dropout is None or 0 <= self.attention_dropout < 1,
            "initializer_range": self.initializer_range is None or self.initializer_range > 0,
            "layer_decay": 0 < self.layer_decay <= 1,
            "freeze_layers": self.freeze_layers >= 0,
            "lora_rank": self.lora_rank >= 1,
            "lora_dropout": 0 <= self.lora_dropout < 1,
            "sift_weight": self.sift_weight > 0,
            "sift_step_size": self.sift_step_size > 0,
            "sift_initial_size": self.sift_initial_size > 0,
            "label_kind": self.label_kind in LABEL_KINDS,
            "precision": self.precision in PRECISIONS,
            "eval_batch_size": self.eval_batch_size >= 1,
            "eval_every_steps": self.eval_every_steps is None or self.eval_every_steps >= 1,
            "save_every_steps": self.save_every_steps is None or self.save_every_steps >= 1,
            "early_stopping_patience": self.early_stopping_patience is None
            or self.early_stopping_patience >= 1,
            "train_limit": self.train_limit is None or self.train_limit >= 2,
            "log_every_steps": self.log_every_steps >= 1,
        }
        wrong = [name for name, is_right in checks.items() if not is_right]
        if wrong:
            listed = ", ".join(f"{name}={getattr(self, name)!r}" for name in wrong)
            choices = {"schedule": SCHEDULES, "precision": PRECISIONS, "label_kind": LABEL_KINDS}
            known = "".join(
                f" {name} is one of {', '.join(choices[name])}." for name in wrong if name in choices
            )
            raise UserError(f"impossible setting: {listed}.{known} Change it with --set {wrong[0]}=VALUE.")

    def with_overrides(self, assignments: Iterable[str], *, source: str = "--set") -> Self:
        """Apply ``key=value`` texts in order; ``source`` is named in errors.

        Raises:
            UserError: for a text without ``=`` or with broken YAML after it, an unknown key (the nearest is
                suggested) or a wrong type.
        """
        values: dict[str, Any] = {}
        for assignment in assignments:
            key, equals, text = assignment.partition("=")
            if not equals:
                raise UserError(
                    f"{source} {assignment!r} has no '='. Write {source} key=value, e.g. learning_rate=2e-5."
                )
            try:
                values[key.strip()] = yaml.safe_load(text) if text else None
            except yaml.YAMLError as error:
                raise UserError(
                    f"{source} {assignment!r} is not valid YAML: {' '.join(str(error).split())}. "
                    "Put a text with brackets, colons or quotes in single quotes."
                ) from error
        return self.with_values(values, source=source)

    def with_values(self, values: Mapping[str, Any], *, source: str) -> Self:
        """Replace fields by name, each value converted to its field's type; ``source`` is named in errors."""
        converted = {key: _converted(key, value, source=source) for key, value in values.items()}
        return dataclasses.replace(self, **converted)

    def to_dict(self) -> dict[str, Any]:
        """Plain values in the order of the fields, as they stand in ``run.json``."""
        return json.loads(json.dumps(dataclasses.asdict(self)))


_TYPES = typing.get_type_hints(FinetuneConfig)


def read_yaml(path: str | Path) -> dict[str, Any]:
    """Read settings for :meth:`FinetuneConfig.with_values`: a file of them, or those of a ``run.json``.

    Raises:
        UserError: if there is no such file or it is not a mapping.
    """
    settings: dict[str, Any] = (read_record(path) or {}).get("config") or _mapping_in(path)
    return settings


def read_record(path: str | Path) -> dict[str, Any] | None:
    """Read a ``run.json``; None if the file holds settings only.

    Raises:
        UserError: if there is no such file or it is not a mapping.
    """
    content = _mapping_in(path)
    return content if isinstance(content.get("config"), dict) else None  # no setting is called so


def _mapping_in(path: str | Path) -> dict[str, Any]:
    try:
        text = Path(path).read_text(encoding="utf-8")
        content = json.loads(text) if Path(path).suffix == ".json" else yaml.safe_load(text)
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"--config {path} cannot be read: {error}") from error
    except (yaml.YAMLError, json.JSONDecodeError) as error:
        kind = "JSON" if isinstance(error, json.JSONDecodeError) else "YAML"
        raise UserError(f"--config {path} is not valid {kind}: {' '.join(str(error).split())}") from error
    if content is not None and not isinstance(content, dict):
        raise UserError(f"--config {path}: need lines of 'key: value', got a {type(content).__name__}")
    return content or {}


def _converted(key: str, value: Any, *, source: str) -> Any:
    if key not in _TYPES:
        near = difflib.get_close_matches(str(key), _TYPES, n=1, cutoff=0.5)
        hint = f" Did you mean {near[0]!r}?" if near else f" Known: {', '.join(_TYPES)}."
        raise UserError(f"{source}: unknown key {key!r}.{hint}")
    kind = _TYPES[key]
    accepted = typing.get_args(kind) if isinstance(kind, types.UnionType) else (kind,)
    if value is None and type(None) in accepted:
        return None
    wanted = next(one for one in accepted if one is not type(None))
    converted = _as_type(value, wanted)
    if converted is None:
        name = "list of texts" if typing.get_origin(wanted) is tuple else wanted.__name__
        raise UserError(f"{source}: {key} needs a value of type {name}, got {value!r}.")
    return converted


def _as_type(value: Any, wanted: Any) -> Any:
    """Return the value as the wanted type, or None if it is no such thing."""
    if typing.get_origin(wanted) is tuple:
        values = [value] if isinstance(value, str) else value
        return tuple(map(str, values)) if isinstance(values, list | tuple) else None
    if wanted is bool:
        return value if isinstance(value, bool) else None
    if wanted is str:
        return str(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else None
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    try:
        number = float(value)  # YAML reads 5e-5 as text
    except ValueError:
        return None
    if wanted is int:
        return int(number) if number.is_integer() else None
    return number

"""From a size or a checkpoint to a model with the task's head and its tokenizer."""

from collections.abc import Collection, Sequence
from typing import Any

import torch
from transformers import PreTrainedModel

from ..checkpoint import open_model as open_checkpoint
from ..heads import BY_NAME, HeadName
from ..json_types import JsonObject
from ..models import class_of
from ..sizes import config_for
from ..tasks.ranking import RankingTask
from ..tasks.task import Task
from ..tasks.text import TextTask
from ..tokenization import DebertaV3Tokenizer
from . import baselines
from .batches import Tokenizer
from .config import FinetuneConfig
from .start import OURS, Start, find_start, no_tokenizer

_ROW_MULTIPLE = 64
"""Rows of a new word embedding come in multiples of this, which suits matrix products."""


def open_tokenizer(config: FinetuneConfig, task: Task, start: Start | None = None) -> Tokenizer:
    """Open the tokenizer that the run names, or the one beside its model.

    Args:
        config: the run.
        start: from :func:`find_start`, if it is found already.
        task: decides how other families' tokenizers treat words and padding.

    Raises:
        UserError: if a size is to be trained from scratch and no tokenizer is named, or there is none.
    """
    start = start or find_start(config)
    if config.tokenizer is None and start.checkpoint is None:
        raise no_tokenizer(config)
    if start.family != OURS:
        return baselines.open_tokenizer(config.tokenizer or config.model, start.family, head=task.head)
    if config.tokenizer is None and start.checkpoint is not None:
        return start.checkpoint.tokenizer
    return DebertaV3Tokenizer.from_pretrained(config.tokenizer or config.model)


def check_tokenizer(config: FinetuneConfig, task: Task, start: Start) -> None:
    """Check that a run's tokenizer can be opened, and its model's configuration.

    Raises:
        UserError: if not.
    """
    open_tokenizer(config, task, start)
    if start.checkpoint is not None and start.family == OURS:
        _ = start.checkpoint.config


def open_model(
    config: FinetuneConfig, tokenizer: Any, task: Task, labels: Sequence[str], start: Start | None = None
) -> PreTrainedModel:
    """Build the model from scratch or load a checkpoint, in fp32, with a head for the labels.

    A head in one of our checkpoints that has just these labels is kept, in its own order; any other is
    replaced. Models of other families are opened by transformers' classes.

    Args:
        config: the run.
        tokenizer: whose vocabulary a model from scratch gets.
        task: which head.
        labels: class names; empty where the head has none.
        start: from :func:`find_start`, if it is found already.

    Raises:
        UserError: if there is no such model.
    """
    start = start or find_start(config)
    if start.family != OURS:
        keys = _label_names(labels, task.head) | _problem_type(task)
        return baselines.open_model(config, start.family, head=task.head, keys=keys)
    settings = {
        "cls_dropout": config.regularization.classifier_dropout,
        "hidden_dropout_prob": config.regularization.hidden_dropout,
        "attention_probs_dropout_prob": config.regularization.attention_dropout,
    }
    changed: JsonObject = {key: value for key, value in settings.items() if value is not None}
    changed |= _problem_type(task)
    head = class_of(task.head)
    if start.checkpoint is None:
        rows = -(-len(tokenizer) // _ROW_MULTIPLE) * _ROW_MULTIPLE
        if config.regularization.initializer_range is not None:
            changed["initializer_range"] = config.regularization.initializer_range
        return head(config_for(config.model, vocab_size=rows, **_label_names(labels, task.head), **changed))
    raw = start.checkpoint.config
    tokenizer.check_fits(raw.get("vocab_size", len(tokenizer)), place=config.model)
    stored = raw.get("id2label") or {}
    wanted = labels or BY_NAME[task.head].default_labels
    if _spelled(stored.values(), wanted) is None:
        changed |= _label_names(labels, task.head)
    return open_checkpoint(start.checkpoint, head=head, dtype=torch.float32, new_head=True, **changed).model


def _problem_type(task: Task) -> dict[str, str | None]:
    """``problem_type`` for transformers, where the number of outputs does not imply it.

    A kind that is named would stay when somebody trains the checkpoint further with other labels: one label
    and "single_label_classification" are a loss of 0.
    """
    if isinstance(task, RankingTask):  # one output, a yes or no rather than a quantity
        return {"problem_type": "multi_label_classification"}
    is_several = isinstance(task, TextTask) and task.target == "several-labels"
    return {"problem_type": "multi_label_classification" if is_several else None}


def label_order(model: PreTrainedModel, labels: Sequence[str]) -> tuple[str, ...]:
    """The task's labels in the order of the model's outputs, which may spell them in another case."""
    names: dict[int, str] = model.config.id2label or {}  # type: ignore[assignment]
    spelled = _spelled(names.values(), labels) or {}
    return tuple(spelled[names[index]] for index in sorted(names)) if labels else ()


def _spelled(names: Collection[str], labels: Sequence[str]) -> dict[str, str] | None:
    """The label of each name: the same, or where all differ from each other in more than case, any case.

    Returns:
        By name; None if names and labels are not the same ones.
    """
    if sorted(names) == sorted(labels):
        return {name: name for name in names}
    by_lower = {label.lower(): label for label in labels}
    if len(by_lower) < len(labels) or sorted(name.lower() for name in names) != sorted(by_lower):
        return None
    return {name: by_lower[name.lower()] for name in names}


def _label_names(labels: Sequence[str], head: HeadName) -> dict[str, object]:
    names = list(labels or BY_NAME[head].default_labels)
    return {"id2label": dict(enumerate(names)), "label2id": {name: index for index, name in enumerate(names)}}

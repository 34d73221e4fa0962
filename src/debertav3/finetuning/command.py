"""The ``debertav3 finetune`` command line that reproduces a run's settings, however the run was started."""

import shlex
from collections.abc import Mapping
from pathlib import Path

from ..errors import UserError
from ..runs.assignments import as_assigned
from .config import FinetuneConfig
from .preparation import resolve

_OPTIONS = {
    "text_column": "--text-column",
    "pair_column": "--pair-column",
    "label_column": "--label-column",
    "label_kind": "--label-kind",
    "word_column": "--word-column",
    "tag_column": "--tag-column",
    "dev_split": "--dev-split",
    "folds": "--folds",
    "group_column": "--group-column",
    "tokenizer": "--tokenizer",
    "seed": "--seed",
    "sift": "--sift",
    "lora": "--lora",
}
"""Settings that have an option of their own."""


def command_of(config: FinetuneConfig, out: Path) -> str:
    """Return the command line that resolves to these settings.

    It names the files, and only settings that differ from the defaults and the recipe of the model's size.

    Args:
        config: the resolved settings.
        out: the folder of the run.
    """
    plain = FinetuneConfig(task=config.task, model=config.model)
    given = {name: config.get(name) for name in _OPTIONS if _differs(config, plain, name)}
    base = _resolved(config, given)
    if _differs(config, base, "train") or _differs(config, base, "dev"):
        given |= {"train": config.data.train, "dev": config.data.dev}
        base = _resolved(config, given)
    words = ["debertav3", "finetune", config.task, "--model", config.model]
    for role in ("train", "dev"):
        files = given.get(role, ())
        words += [f"--{role}", *files] if files else []
    for name, option in _OPTIONS.items():
        if name in given:
            words += [option] if given[name] is True else [option, str(given[name])]
    for name in config.to_dict():
        if _differs(config, base, name):
            words += ["--set", f"{name}={as_assigned(config.get(name))}"]
    return shlex.join([*words, "--out", str(out)])


def _differs(config: FinetuneConfig, other: FinetuneConfig, name: str) -> bool:
    return bool(config.get(name) != other.get(name))


def _resolved(config: FinetuneConfig, given: Mapping[str, object]) -> FinetuneConfig:
    """The settings as the command would resolve them; without the recipe if the model is gone."""
    try:
        return resolve(config.task, model=config.model, given=given)
    except UserError:
        return FinetuneConfig(task=config.task, model=config.model).with_values(given, source="command")

"""Which settings suit which model on which task: tables with their sources.

A recipe is chosen by the size of the model and the task. Sources: microsoft/DeBERTa, commit 4d7fe0b, and for
``nano`` the runs in ``docs/finetuning.md``. What a recipe leaves out has :class:`FinetuneConfig`'s default.
"""

from typing import Any

_MNLI: dict[str, Any] = {"epochs": 3.0, "batch_size": 64, "max_length": 256}  # experiments/glue/mnli.sh

RECIPES: dict[tuple[str, str], dict[str, Any]] = {
    # experiments/glue/mnli.sh
    ("xsmall", "mnli"): {**_MNLI, "learning_rate": 4.5e-5, "warmup_steps": 1000, "classifier_dropout": 0.1},
    ("small", "mnli"): {**_MNLI, "learning_rate": 4.5e-5, "warmup_steps": 1500, "classifier_dropout": 0.2},
    ("base", "mnli"): {**_MNLI, "learning_rate": 1.5e-5, "warmup_steps": 1000, "classifier_dropout": 0.1},
    ("large", "mnli"): {
        **_MNLI,
        "epochs": 2.0,
        "learning_rate": 7e-6,
        "warmup_steps": 500,
        "classifier_dropout": 0.3,
    },
    ("v2-xlarge", "mnli"): {**_MNLI, "learning_rate": 4e-6, "warmup_steps": 1000, "classifier_dropout": 0.25},
    ("v2-xxlarge", "mnli"): {**_MNLI, "learning_rate": 3e-6, "warmup_steps": 1000, "classifier_dropout": 0.3},
}

_SIFT: dict[str, Any] = {"batch_size": 64, "max_length": 256, "classifier_dropout": 0.1}

SIFT_RECIPES: dict[tuple[str, str], dict[str, Any]] = {
    # experiments/glue/mnli.sh, the cases with --vat_lambda
    ("xsmall", "mnli"): {
        **_SIFT,
        "sift_weight": 3.0,
        "epochs": 10.0,
        "warmup_steps": 1500,
        "learning_rate": 5e-5,
    },
    ("small", "mnli"): {
        **_SIFT,
        "sift_weight": 5.0,
        "epochs": 6.0,
        "warmup_steps": 1000,
        "learning_rate": 3.5e-5,
    },
    ("base", "mnli"): {
        **_SIFT,
        "sift_weight": 5.0,
        "epochs": 6.0,
        "warmup_steps": 1000,
        "learning_rate": 1.5e-5,
    },
    ("v2-xxlarge", "mnli"): {
        **_SIFT,
        "sift_weight": 5.0,
        "epochs": 6.0,
        "warmup_steps": 1000,
        "learning_rate": 3e-6,
        "classifier_dropout": 0.3,
    },
}

_SIZE_DEFAULTS: dict[str, dict[str, Any]] = {
    # Where no recipe was published for the task: the size's learning rate on MNLI, warm-up by share.
    "xsmall": {"learning_rate": 4.5e-5},
    "small": {"learning_rate": 4.5e-5},
    "base": {"learning_rate": 1.5e-5},
    "large": {"learning_rate": 7e-6},
    "mdeberta-base": {"learning_rate": 2e-5},
    "v2-xlarge": {"learning_rate": 4e-6},
    "v2-xxlarge": {"learning_rate": 3e-6},
}


def recipe(size: str | None, task: str, *, sift: bool = False) -> dict[str, Any]:
    """Return the settings for a model size (None where it is not one of ours) and a task.

    Args:
        size: a name of ``debertav3.sizes``.
        task: a name of ``finetune/tasks.py``.
        sift: whether SiFT is on; where no recipe with it was published, the one without is taken.
    """
    if size is None:
        return {}
    plain = RECIPES.get((size, task), _SIZE_DEFAULTS.get(size, {}))
    return dict(SIFT_RECIPES.get((size, task), plain) if sift else plain)

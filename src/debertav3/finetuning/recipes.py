"""Which settings suit which model on which task: tables with their sources.

A recipe is chosen by the size of the model and the task. Sources: microsoft/DeBERTa, commit 4d7fe0b, and for
``nano`` what served its first version. What a recipe leaves out has :class:`FinetuneConfig`'s default.
"""

from ..json_types import JsonObject


def _row(
    *,
    epochs: float,
    rate: float,
    batch: int,
    warmup: float,
    dropout: float | None = None,
    length: int,
    **more: float,
) -> dict[str, object]:
    """One line of a published table in the words of :class:`FinetuneConfig`."""
    return {
        "epochs": epochs,
        "learning_rate": rate,
        "batch_size": batch,
        "warmup_steps": warmup,
        "classifier_dropout": dropout,
        "max_length": length,
        **more,
    }


RECIPES: dict[tuple[str, str], dict[str, object]] = {
    # experiments/glue/mnli.sh
    ("xsmall", "mnli"): _row(epochs=3, rate=4.5e-5, batch=64, warmup=1000, dropout=0.1, length=256),
    ("small", "mnli"): _row(epochs=3, rate=4.5e-5, batch=64, warmup=1500, dropout=0.2, length=256),
    ("base", "mnli"): _row(epochs=3, rate=1.5e-5, batch=64, warmup=1000, dropout=0.1, length=256),
    ("large", "mnli"): _row(epochs=2, rate=7e-6, batch=64, warmup=500, dropout=0.3, length=256),
    ("v2-xlarge", "mnli"): _row(epochs=3, rate=4e-6, batch=64, warmup=1000, dropout=0.25, length=256),
    ("v2-xxlarge", "mnli"): _row(epochs=3, rate=3e-6, batch=64, warmup=1000, dropout=0.3, length=256),
    # experiments/glue/{cola,mrpc,qnli,qqp,rte,sst2,stsb}.sh and experiments/ner/ner.sh
    ("large", "cola"): _row(epochs=10, rate=5.5e-6, batch=32, warmup=50, dropout=0.1, length=64),
    ("large", "mrpc"): _row(epochs=6, rate=6e-6, batch=32, warmup=50, dropout=0.2, length=128),
    ("large", "qnli"): _row(epochs=6, rate=7e-6, batch=64, warmup=200, dropout=0.2, length=512),
    ("large", "qqp"): _row(epochs=6, rate=1e-5, batch=64, warmup=1000, dropout=0.2, length=320),
    ("large", "rte"): _row(epochs=6, rate=1e-5, batch=32, warmup=50, dropout=0.3, length=320),
    ("large", "sst2"): _row(epochs=8, rate=6e-6, batch=32, warmup=500, dropout=0.1, length=128),
    ("large", "stsb"): _row(epochs=4, rate=7e-6, batch=32, warmup=50, dropout=0.1, length=128),
    ("large", "ner"): _row(epochs=10, rate=9e-6, batch=16, warmup=10, dropout=0.0, length=512),
    # the first version of models/nano: from random weights, on 16,095 pairs
    ("nano", "nli"): _row(epochs=6, rate=3e-4, batch=32, warmup=0.05, length=128),
}

SIFT_RECIPES: dict[tuple[str, str], dict[str, object]] = {
    # experiments/glue/mnli.sh, the cases with --vat_lambda
    ("xsmall", "mnli"): _row(
        epochs=10, rate=5e-5, batch=64, warmup=1500, dropout=0.1, length=256, sift_weight=3.0
    ),
    ("small", "mnli"): _row(
        epochs=6, rate=3.5e-5, batch=64, warmup=1000, dropout=0.1, length=256, sift_weight=5.0
    ),
    ("base", "mnli"): _row(
        epochs=6, rate=1.5e-5, batch=64, warmup=1000, dropout=0.1, length=256, sift_weight=5.0
    ),
    ("v2-xxlarge", "mnli"): _row(
        epochs=6, rate=3e-6, batch=64, warmup=1000, dropout=0.3, length=256, sift_weight=5.0
    ),
}

_SIZE_DEFAULTS: dict[str, dict[str, object]] = {
    # Where no recipe was published for the task: the size's learning rate on MNLI, warm-up by share.
    "nano": {"learning_rate": 3e-4, "warmup_steps": 0.05},
    "xsmall": {"learning_rate": 4.5e-5},
    "small": {"learning_rate": 4.5e-5},
    "base": {"learning_rate": 1.5e-5},
    "large": {"learning_rate": 7e-6},
    "mdeberta-base": {"learning_rate": 2e-5},
    "v2-xlarge": {"learning_rate": 4e-6},
    "v2-xxlarge": {"learning_rate": 3e-6},
}


def recipe(size: str | None, task: str, *, sift: bool = False) -> JsonObject:
    """Return the settings for a model size (None where it is not one of ours) and a task.

    Args:
        size: a name of ``debertav3.sizes``.
        task: a name of ``tasks/names.py``.
        sift: whether SiFT is on; where no recipe with it was published, the one without is taken.
    """
    if size is None:
        return {}
    plain = RECIPES.get((size, task), _SIZE_DEFAULTS.get(size, {}))
    return dict(SIFT_RECIPES.get((size, task), plain) if sift else plain)

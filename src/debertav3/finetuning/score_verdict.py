"""How good a model's scores are: beside baselines that need no model, and which labels it never finds."""

from collections.abc import Mapping, Sequence

from ..json_types import JsonMapping
from ..tasks.rows import first_of

BASELINES = {
    "majority_baseline": "constant baseline",
    "word_baseline": "bag-of-words baseline",
}
"""Keys of ``metrics.json`` with a baseline's scores, and what each is called."""
EXPLANATION = (
    "Constant baseline: the best prediction that ignores the text, such as this set's most common label. "
    "Bag-of-words baseline: a logistic regression over words and pairs of words, trained on the same data."
)


def baselines(scores: JsonMapping) -> dict[str, Mapping[str, float]]:
    """Return the baselines of a dev set that were computed, by what they are called.

    Args:
        scores: of the set, as in ``metrics.json``.
    """
    return {name: scores[key] for key, name in BASELINES.items() if scores.get(key)}


def metric_of(report: JsonMapping) -> str:
    """Return the score that a report is about: what selected its best checkpoint, else its first.

    Args:
        report: the content of ``metrics.json``.
    """
    scores = next(iter(report["dev"].values()))["majority_baseline"]
    return next((name for name in scores if name in report), next(iter(scores)))


def not_found(scores: JsonMapping, labels: Sequence[str]) -> list[str]:
    """Return the labels that occur in a dev set and that the model never predicts, or never rightly.

    Args:
        scores: of the set, as in ``metrics.json``.
        labels: in the order of the model's outputs.
    """
    if table := scores.get("confusion"):
        return [
            name
            for number, name in enumerate(labels)
            if sum(table[number]) and not any(row[number] for row in table)
        ]
    rows = scores.get("per_label", {})
    return [name for name, row in rows.items() if row["support"] and not row["f1"]]


def verdict(source: str, scores: JsonMapping, metric: str, labels: Sequence[str]) -> tuple[str, bool]:
    """Say in a line how a model did on a dev set.

    Args:
        source: the set.
        scores: as in ``metrics.json``.
        metric: the score that selects the best checkpoint; higher is better.
        labels: in the order of the model's outputs.

    Returns:
        The line, and whether all is well: better than every baseline, and each label found.
    """
    score = scores[metric]
    others = {name: values[metric] for name, values in baselines(scores).items() if metric in values}
    unbeaten = [name for name, value in others.items() if not score > value]
    line = f"{source}: {metric} {score:.4f}"
    line += "".join(f", {name} {value:.4f}" for name, value in others.items())
    if unbeaten:
        line += f": NO better than {' or '.join(unbeaten)}"
        line += (
            ", so it has not learned anything useful yet"
            if BASELINES["majority_baseline"] in unbeaten
            else ""
        )
    missing = not_found(scores, labels)
    if missing:
        word = "predicted" if "confusion" in scores else "predicted correctly"
        line += f"; NEVER {word}: {first_of(missing)}"
    return line, not unbeaten and not missing

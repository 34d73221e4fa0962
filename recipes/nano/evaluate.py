"""What a model of natural language inference is right about: by set, length, negation and overlap.

Writes one JSON: accuracy on pairs of the public dev sets in groups, calibration, zero-shot labels on sets
that no step trains on (``recast.yaml``), and the answer to the cards' example.

Run: python recipes/nano/evaluate.py --data DATA --holdout runs/nano/texts/snli_holdout.jsonl \
         --model models/nano --out evaluation.json
"""

import argparse
import random
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from pairs import CARD_HYPOTHESIS, CARD_PREMISE, LABELS, letters
from recast import kept_out

from debertav3 import Predictor
from debertav3.files import write_json
from debertav3.inference.task_steps import TEMPLATE
from debertav3.tasks.tables import read_table

Rows = list[Mapping[str, str]]
NEGATIONS = re.compile(
    r"\b(no|not|never|nobody|nothing|none|neither|nor|without|cannot)\b|n't\b", re.IGNORECASE
)
LENGTHS = ((0, 20), (20, 40), (40, 80), (80, 10_000))
"""Words of both texts, from and below."""
NUM_BINS = 15
MANY_LABELS = 12
LEAST_ROWS = 5
"""Rows of a label; rarer labels are left out of zero-shot."""


def nli_sets(data: Path, holdout: Path) -> dict[str, Rows]:
    """The dev parts, with pairs that a training file holds left out."""
    files = {
        "MultiNLI matched": data / "nli" / "mnli_matched_dev.jsonl.gz",
        "MultiNLI mismatched": data / "nli" / "mnli_mismatched_gold.jsonl.gz",
        "SNLI, held out by premise": holdout,
        "counterfactual SNLI": data / "nli" / "cad_snli_dev.jsonl.gz",
        "SICK": data / "nli" / "sick_dev.jsonl.gz",
    }
    seen = {
        _key(row.fields)
        for name in ("snli_dev", "cad_snli_train")
        for row in read_table(data / "nli" / f"{name}.jsonl.gz")
    }
    found = {name: [row.fields for row in read_table(path)] for name, path in files.items()}
    rows = found["counterfactual SNLI"]
    found["counterfactual SNLI"] = [row for row in rows if _key(row) not in seen]
    return found


def _key(row: Mapping[str, str]) -> str:
    return f"{letters(row['premise'])}|{letters(row['hypothesis'])}"


def overlap(premise: str, hypothesis: str) -> float:
    """Share of the hypothesis' words that are in the premise."""
    words = re.findall(r"\w+", hypothesis.lower())
    known = set(re.findall(r"\w+", premise.lower()))
    return sum(word in known for word in words) / max(len(words), 1)


def groups_of(row: Mapping[str, str]) -> list[str]:
    """The groups to which a pair belongs."""
    premise, hypothesis = row["premise"], row["hypothesis"]
    size = len(premise.split()) + len(hypothesis.split())
    first, last = next((one, other) for one, other in LENGTHS if one <= size < other)
    shared = overlap(premise, hypothesis)
    degree = "below a third" if shared < 1 / 3 else "a third to two" if shared < 2 / 3 else "above two thirds"
    negated = "hypothesis" if NEGATIONS.search(hypothesis) else "premise" if NEGATIONS.search(premise) else ""
    found = [
        f"label: {row['label']}",
        f"length: {first} to {last - 1} words" if last < LENGTHS[-1][1] else f"length: {first} words or more",
        f"negation: {f'in the {negated}' if negated else 'none'}",
        f"overlap: {degree}",
    ]
    if shared >= 2 / 3:
        found.append(f"overlap above two thirds, {'' if row['label'] == 'entailment' else 'not '}entailed")
    if negated == "hypothesis":
        found.append(f"negated hypothesis, {'' if row['label'] == 'contradiction' else 'not '}contradicted")
    return found


def calibration(probabilities: np.ndarray, gold: np.ndarray) -> dict[str, float]:
    """Expected calibration error, negative log likelihood and mean confidence; ``(N, C)`` and ``(N,)``."""
    confidence, is_right = probabilities.max(1), probabilities.argmax(1) == gold
    bins = np.minimum((confidence * NUM_BINS).astype(int), NUM_BINS - 1)
    error = sum(
        abs(confidence[bins == one].sum() - is_right[bins == one].sum()) for one in np.unique(bins)
    ) / len(gold)
    likelihood = -np.log(probabilities[np.arange(len(gold)), gold].clip(1e-9)).mean()
    return {
        "expected_calibration_error": round(float(error), 4),
        "negative_log_likelihood": round(float(likelihood), 4),
        "mean_confidence": round(float(confidence.mean()), 4),
    }


def score_pairs(predictor: Predictor, rows: Rows) -> dict[str, object]:
    """Accuracy of one set, whole and in groups, beside the commonest label."""
    answers = predictor.nli([(row["premise"], row["hypothesis"]) for row in rows])
    probabilities = np.array([[answer[label] for label in LABELS] for answer in answers])
    gold = np.array([LABELS.index(row["label"]) for row in rows])
    is_right = probabilities.argmax(1) == gold
    found: dict[str, list[bool]] = {}
    for row, right in zip(rows, is_right, strict=True):
        for group in groups_of(row):
            found.setdefault(group, []).append(bool(right))
    return {
        "pairs": len(rows),
        "accuracy": round(float(is_right.mean()), 4),
        "commonest": round(max(Counter(gold.tolist()).values()) / len(rows), 4),
        "calibration": calibration(probabilities, gold),
        "groups": {
            name: {"pairs": len(one), "accuracy": round(sum(one) / len(one), 4)}
            for name, one in sorted(found.items())
        },
    }


def score_zero_shot(
    predictor: Predictor, rows: Rows, names: Mapping[str, str], *, most: int, template: str = TEMPLATE
) -> dict[str, object]:
    """Accuracy of zero-shot labels on a sample.

    Args:
        predictor: of the model.
        rows: with ``text`` and ``label``.
        names: what labels are called, where not as they are.
        most: texts; for sets with many labels a third of it.
        template: the hypothesis.
    """
    counts = Counter(row["label"] for row in rows)
    labels = sorted(label for label, count in counts.items() if count >= LEAST_ROWS)
    usable = [row for row in rows if row["label"] in labels]
    size = min(len(usable), most // 3 if len(labels) > MANY_LABELS else most)
    sample = random.Random(0).sample(usable, size)
    called = {names.get(label, label): label for label in labels}
    answers = predictor.zero_shot([row["text"] for row in sample], list(called), template=template)
    found = [called[answer["labels"][0]] for answer in answers]
    right = Counter(row["label"] for row, label in zip(sample, found, strict=True) if row["label"] == label)
    gold = Counter(row["label"] for row in sample)
    recalls = [right[label] / count for label, count in gold.items()]
    return {
        "texts": size,
        "labels": len(labels),
        "accuracy": round(right.total() / size, 4),
        "commonest": round(max(gold.values()) / size, 4),
        "balanced_accuracy": round(sum(recalls) / len(recalls), 4),
        "chosen": dict(Counter(found).most_common(5)),
    }


def evaluate(model: Path, sets: Mapping[str, Rows], data: Path, *, most: int) -> dict[str, object]:
    """All figures of one model."""
    predictor = Predictor.from_pretrained(str(model))
    answer = predictor.nli((CARD_PREMISE, CARD_HYPOTHESIS))
    zero_shot = {
        Path(file).name: score_zero_shot(
            predictor,
            [row.fields for row in read_table(data / f"{file}.jsonl.gz")],
            names,
            most=most,
        )
        for file, names in kept_out().items()
    }
    return {
        "model": str(model),
        "example": {name: round(float(share), 4) for name, share in answer.items()},
        "nli": {name: score_pairs(predictor, rows) for name, rows in sets.items()},
        "zero_shot": zero_shot,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True, help="folder of the public data")
    parser.add_argument("--holdout", type=Path, required=True, help="SNLI pairs held out")
    parser.add_argument("--texts", type=int, default=1_500, help="of each zero-shot set")
    parser.add_argument("--pairs", type=int, default=0, help="of each set of pairs; 0: all")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    sets = nli_sets(arguments.data, arguments.holdout)
    if arguments.pairs:
        sets = {name: rows[: arguments.pairs] for name, rows in sets.items()}
    figures = evaluate(arguments.model, sets, arguments.data, most=arguments.texts)
    write_json(arguments.out, figures)
    _show(figures)


def _show(figures: Mapping[str, object]) -> None:
    for kind in ("nli", "zero_shot"):
        for name, row in figures[kind].items():
            print(f"{name:<32} {row['accuracy']:.1%}   commonest {row['commonest']:.1%}")
    print("the cards' example:", figures["example"])


if __name__ == "__main__":
    main()

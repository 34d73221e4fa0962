r"""Cross-validation of one fine-tuning setting within a training file, so that no dev set chooses it.

The rows are split by a hash of one column, so that rows which share it stay together. Each fold is scored by
the weights after the last epoch, of a model that was trained on the others. Broken off, the same command
continues with the first fold that is not finished.

    python benchmarks/cross_validate.py boolq --train boolq_train.jsonl --group passage --model models/nano \
        --out runs/folds --set precision=bf16 --set max_length=128 --set epochs=3 --set learning_rate=2e-4
"""

import argparse
import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any


def fold_of(row: dict[str, Any], group: str, folds: int) -> int:
    """Number of the fold of a row."""
    return int(hashlib.sha256(str(row[group]).encode()).hexdigest(), 16) % folds


def score_fold(number: int, rows: list[dict[str, Any]], options: argparse.Namespace) -> dict[str, Any]:
    """Train on the other folds and score this one, unless that is done."""
    folder = options.out / f"fold-{number}"
    parts = {"train": options.out / f"train-{number}.jsonl", "dev": options.out / f"dev-{number}.jsonl"}
    if not (folder / "run.json").exists():
        for role, path in parts.items():
            chosen = [
                row
                for row in rows
                if (fold_of(row, options.group, options.folds) == number) == (role == "dev")
            ]
            path.write_text("".join(json.dumps(row) + "\n" for row in chosen), encoding="utf-8")
        command = [sys.executable, "-m", "debertav3", "finetune", options.task, "--model", options.model]
        command += ["--train", str(parts["train"]), "--dev", str(parts["dev"]), "--out", str(folder)]
        settings = ["keep_best=false", "check_data=false", *options.override]
        command += ["--seed", str(number + 1), *(text for one in settings for text in ("--set", one))]
        command += ["--resume"] if folder.exists() else []
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    report = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    (scores,) = report["dev"].values()
    return {
        "fold": number,
        "examples": scores["examples"],
        "accuracy": scores["accuracy"],
        "without_input": scores["majority_baseline"]["accuracy"],
        "confusion": scores["confusion"],
        "seconds": report["train"]["seconds"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("task")
    parser.add_argument("--train", type=Path, required=True, help="a file of JSON lines")
    parser.add_argument("--group", required=True, help="column by which rows stay together")
    parser.add_argument("--model", required=True)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--set", dest="override", action="append", default=[])
    parser.add_argument("--json", type=Path, help="gets the figures")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    rows = [json.loads(line) for line in options.train.read_text(encoding="utf-8").splitlines()]
    folds = [score_fold(number, rows, options) for number in range(options.folds)]
    total = sum(fold["examples"] for fold in folds)
    result = {
        "task": options.task,
        "settings": options.override,
        "examples": total,
        **{
            name: sum(fold[name] * fold["examples"] for fold in folds) / total
            for name in ("accuracy", "without_input")
        },
        "folds": folds,
    }
    print(json.dumps(result, indent=1))
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

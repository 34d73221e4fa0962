"""The result table of fine-tuning: every task on real data, row by row. If interrupted, rerun it to continue.

Rows are trained by the command that a user would type, which `run.json` of each row repeats.

Run: make results   (or: python benchmarks/finetune_results.py --data ../shared/data --out runs/results)
"""

import argparse
import json
import os
import shlex
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from finetune_data import prepare
from marked_pages import put_into

BEGIN, END = "<!-- table of benchmarks/finetune_results.py -->", "<!-- end of the table -->"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One training: what, on which files, how long."""

    name: str
    task: str
    train: tuple[str, ...]
    dev: tuple[str, ...]
    """A name with a slash is of the data folder, any other one of the derived files."""
    settings: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


def derived(
    name: str, *settings: str, task: str = "", options: tuple[str, ...] = (), kind: str = "jsonl"
) -> Row:
    files = (f"{name}_train.{kind}",), (f"{name}_dev.{kind}",)
    return Row(name=name, task=task or name, train=files[0], dev=files[1], settings=settings, options=options)


NLI, RESEARCH = "nli/{}.jsonl.gz", "research-only/glue/{}.jsonl.gz"
ROWS = (
    Row(
        name="mnli",
        task="mnli",
        train=(
            NLI.format("mnli_train_taxinli"),
            NLI.format("mnli_mismatched_1annot"),
            "research-only/nli/lingnli_train.jsonl.gz",
        ),
        dev=(NLI.format("mnli_matched_dev"), NLI.format("mnli_mismatched_gold")),
        settings=("max_length=128", "train_limit=12000", "epochs=1"),
    ),
    derived("qnli", "max_length=96", "epochs=1"),
    derived("qqp", "max_length=64", "epochs=4"),
    derived("rte", "max_length=128", "epochs=2"),
    derived("wnli", "max_length=64", "epochs=4"),
    derived("cola", "max_length=32", "epochs=2", "balance_classes=true"),
    derived("sst2", "max_length=64", "train_limit=10000", "epochs=1"),
    Row(
        name="mrpc",
        task="mrpc",
        train=(RESEARCH.format("mrpc_train"),),
        dev=(RESEARCH.format("mrpc_dev"),),
        settings=("max_length=96", "epochs=2"),
    ),
    Row(
        name="stsb",
        task="stsb",
        train=(RESEARCH.format("stsb_train"),),
        dev=(RESEARCH.format("stsb_dev"),),
        settings=("max_length=96", "epochs=2"),
    ),
    Row(
        name="snli",
        task="nli",
        train=(NLI.format("snli_dev"), NLI.format("cad_snli_train")),
        dev=(NLI.format("cad_snli_dev"),),
        settings=("max_length=96", "train_limit=12000", "epochs=1"),
    ),
    Row(
        name="sick",
        task="nli",
        train=(NLI.format("sick_train"),),
        dev=(NLI.format("sick_dev"),),
        settings=("max_length=64", "epochs=3"),
    ),
    derived("scitail", "max_length=96", "epochs=5", "learning_rate=5e-4", task="nli"),
    Row(
        name="squad1",
        task="squad1",
        train=("squad/train-new-wiki-v1.1.json", "squad/train-v2.0-slice.json"),
        dev=("squad/dev-v2.0-slice.json",),
        settings=("max_length=128", "window_overlap=48", "train_limit=6000", "epochs=2"),
    ),
    Row(
        name="squad2",
        task="squad2",
        train=("squad/train-v2.0-slice.json", "squad/train-from-dev-v2.0.json"),
        dev=("squad/dev-v2.0-slice.json",),
        settings=("max_length=128", "window_overlap=48", "epochs=3"),
    ),
    Row(
        name="ner",
        task="ner",
        train=("ner/wnut17_train.conll",),
        dev=("ner/wnut17_dev.conll",),
        settings=("max_length=64", "epochs=3", "learning_rate=5e-4", "balance_classes=true"),
    ),
    derived("arc", "max_length=64", "epochs=4"),
    derived("copa", "max_length=48", "epochs=5"),
    derived("race", "max_length=64", "train_limit=3000", "epochs=2"),
    derived("swag", "max_length=64", "train_limit=2000", "epochs=1"),
    derived("boolq", "max_length=128", "epochs=3", "learning_rate=2e-4", "sift=true"),
    derived(
        "subjects",
        "max_length=96",
        "train_limit=4000",
        "epochs=3",
        task="custom",
        kind="csv",
        options=("--label-column", "Taken from"),
    ),
    derived(
        "mentions",
        "max_length=64",
        "epochs=4",
        "learning_rate=3e-4",
        "balance_classes=true",
        task="custom",
        kind="csv",
        options=("--label-column", "mentions"),
    ),
    derived(
        "relatedness",
        "max_length=64",
        "epochs=2",
        task="custom",
        kind="csv",
        options=("--text-column", "first", "--pair-column", "second", "--label-column", "how alike"),
    ),
    derived("tags", "max_length=64", "epochs=4", "learning_rate=5e-4", "balance_classes=true", task="custom"),
    derived(
        "ranking",
        "max_length=96",
        "train_limit=3000",
        "epochs=1",
        task="custom",
        options=(
            "--text-column",
            "query",
            "--pair-column",
            "text",
            "--label-column",
            "relevant",
            "--label-kind",
            "ranking",
        ),
    ),
)


@dataclass
class Places:
    """Where things are."""

    data: Path
    out: Path
    model: str
    seed: int
    tokenizer: str | None = None
    extra: list[str] = field(default_factory=list)

    def source(self, name: str) -> str:
        """Path of a file of the data folder or of the derived ones."""
        return str(self.data / name if "/" in name else self.out / "data" / name)

    def command(self, row: Row) -> list[str]:
        """What a user would type for a row."""
        command = ["debertav3", "finetune", row.task, "--model", self.model]
        if self.tokenizer:
            command += ["--tokenizer", self.tokenizer]
        command += ["--train", *map(self.source, row.train), "--dev", *map(self.source, row.dev)]
        command += [*row.options, "--seed", str(self.seed), "--out", str(self.out / row.name)]
        settings = ("precision=bf16", *row.settings, *self.extra)
        return [*command, *(part for setting in settings for part in ("--set", setting))]


def train(row: Row, places: Places) -> None:
    """Train a row, or go on with it, unless it is finished."""
    folder = places.out / row.name
    if (folder / "run.json").exists():
        return
    command = places.command(row)
    print(time.strftime("%H:%M:%S"), shlex.join(command), flush=True)
    log = places.out / f"{row.name}.log"
    with log.open("ab") as stderr:
        resume = ["--resume"] if folder.exists() else []
        done = subprocess.run(
            [sys.executable, "-m", *command, *resume], stdout=subprocess.DEVNULL, stderr=stderr, check=False
        )
    if done.returncode:
        print(f"{row.name} failed: see {log}", flush=True)


def table(rows: tuple[Row, ...], places: Places) -> list[str]:
    """Lines of Markdown: every score of every dev set beside the answer that looks at no text."""
    lines = [
        "| row | task | dev set | examples | score | this model | without input | model | train rows "
        "| epochs | seed | minutes |",
        "|---|---|---|---:|---|---:|---:|---|---:|---:|---:|---:|",
    ]
    for row in rows:
        folder = places.out / row.name
        if not (folder / "run.json").exists():
            lines.append(f"| {row.name} | {row.task} | not run |" + " |" * 9)
            continue
        report = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
        config = json.loads((folder / "run.json").read_text(encoding="utf-8"))["config"]
        for source, scores in report["dev"].items():
            for name, base in scores["majority_baseline"].items():
                lines.append(
                    f"| {row.name} | {row.task} | {Path(source).name} | {scores['examples']} | {name} "
                    f"| {scores[name]:.4g} | {base:.4g} | {Path(config['model']).name} "
                    f"| {report['train']['examples']} | {config['epochs']:g} | {config['seed']} "
                    f"| {report['train']['seconds'] / 60:.1f} |"
                )
    return lines


def commands(rows: tuple[Row, ...], places: Places) -> list[str]:
    """Lines of Markdown: what each row of the table ran."""
    records = [places.out / row.name / "run.json" for row in rows]
    found = [json.loads(path.read_text(encoding="utf-8"))["command"] for path in records if path.exists()]
    opening = "<details><summary>The command of each row, in the order of the table</summary>"
    return ["", opening, "", "```", *found, "```", "", "</details>"]


def summary(rows: tuple[Row, ...], places: Places) -> list[dict[str, Any]]:
    """The same figures with their commands, for ``benchmarks/results``."""
    found = []
    for row in rows:
        folder = places.out / row.name
        if (folder / "run.json").exists():
            report = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
            record = json.loads((folder / "run.json").read_text(encoding="utf-8"))
            dev = {
                Path(source).name: {
                    name: {"model": scores[name], "without_input": base}
                    for name, base in scores["majority_baseline"].items()
                }
                for source, scores in report["dev"].items()
            }
            found.append(
                {"row": row.name, "command": record["command"], "dev": dev, "train": report["train"]}
            )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of the public data")
    parser.add_argument("--out", type=Path, default=Path("runs/results"))
    parser.add_argument("--model", default="models/nano")
    parser.add_argument("--tokenizer")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", help="names of rows with commas between")
    parser.add_argument("--set", dest="extra", action="append", default=[], help="a setting of every row")
    parser.add_argument("--page", type=Path, help="Markdown page that gets the table")
    parser.add_argument("--json", type=Path, help="file that gets figures and commands")
    parser.add_argument("--dry-run", action="store_true", help="write what is there, train nothing")
    arguments = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    places = Places(
        data=arguments.data,
        out=arguments.out,
        model=arguments.model,
        seed=arguments.seed,
        tokenizer=arguments.tokenizer,
        extra=arguments.extra,
    )
    wanted = set(arguments.only.split(",")) if arguments.only else {row.name for row in ROWS}
    arguments.out.mkdir(parents=True, exist_ok=True)
    prepare(arguments.data, arguments.out / "data")
    for row in ROWS:
        if row.name in wanted and not arguments.dry_run:
            train(row, places)
    lines = table(ROWS, places)
    print("\n".join(lines))
    if arguments.page:
        put_into(arguments.page, [*lines, *commands(ROWS, places)], begin=BEGIN, end=END)
    if arguments.json:
        arguments.json.write_text(json.dumps(summary(ROWS, places), indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

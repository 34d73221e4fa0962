"""How soon each command says what is wrong: seconds, exit code, the line, and whether torch was loaded.

    python benchmarks/mistakes.py

Every command is run as a process of its own with some typical mistakes: a missing file or model, an unknown
column, key or option, an output that exists. Seconds are from the start of the process to its end, the median
of ``--rounds``. The exit code is 1 if a mistake takes longer than ``--limit``, loads torch, or does not end
in one line and exit code 2.
"""

import argparse
import json
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

NANO = Path(__file__).resolve().parents[1] / "models" / "nano"
LABELS = ("entailment", "neutral", "contradiction")
_TRAIN = "--train nli={rows} --dev nli={dev}"
MISTAKES = {
    "": ("", "--nope", "finetun custom"),
    "nli": (
        "nli A",
        "nli '' B",
        "nli A B --model absent",
        "nli A B --model {rows}",
        "nli A B --labels yes,no",
        "nli A B --device gpu",
        "nli A B --backend onnx",
        "nli A B --dtype int4",
    ),
    "predict": (
        "predict nli --model {model} --data absent.jsonl --out {new}",
        "predict nli --model absent --data {rows} --out {new}",
        "predict nil --model {model} --data {rows} --out {new}",
        "predict ner --model {model} --data {rows} --out {new}",
        "predict nli --model {model} --data {table} --out {new}",
        "predict nli --model {model} --data {header} --out {new}",
        "predict nli --model {model} --data {wrong_label} --out {new}",
        "predict nli --model {model} --data {rows} --text-column absent --pair-column hypothesis --out {new}",
        "predict nli --model {model} --data {rows} --out {existing}",
        "predict nli --model {model} --data {rows} --out {rows} --overwrite",
        "predict nli --model {model} --data {rows} --out new.docx",
        "predict nli --model {model} --data {rows} --out {new} --device cuda:x",
        "predict nli --model {model} --data {rows} --out {new} --top-k 3",
        "predict zero-shot --model {model} --data {table} --text-column Body --template x --out {new}",
        "predict zero-shot --model {model} --data {table} --text-column Body --out {new}",
    ),
    "evaluate": (
        "evaluate nli --model {model} --data absent.jsonl",
        "evaluate nli --model absent --data {rows}",
        "evaluate nli --model {model} --data {unlabelled}",
        "evaluate nli --model {model} --data {rows} --label-column absent",
        "evaluate nli --model {model} --data {rows} --metrics {existing}",
    ),
    "finetune": (
        "finetune custom --model {model} --train absent.csv --out {new}",
        "finetune custom --model nnano --train {table} --dev-split 0.2 --out {new}",
        "finetune custom --model nano --train {table} --dev-split 0.2 --out {new}",
        "finetune custom --model {model} --tokenizer absent --train {table} --dev-split 0.2 --out {new}",
        "finetune custom --model {model} --train {table} --label-column absent --dev-split 0.2 --out {new}",
        "finetune nil --model {model} --train {rows} --dev {dev} --out {new}",
        "finetune nli --model {model} --train {rows} --dev {table} --out {new}",
        "finetune nli --model {model} --train {rows} --dev {dev} --out {new} --set epoch=1",
        "finetune nli --model {model} --train {rows} --dev {dev} --out {new} --epochs many",
        "finetune nli --model {model} --train {rows} --dev {dev} --out {new} --set freeze_layers=99",
        "finetune nli --model {model} --train {rows} --dev {dev} --out {new} --set report_to=absent",
        "finetune nli --model {model} --train {rows} --dev {dev} --out {model}",
        "finetune nli --config absent.yaml --out {new}",
    ),
    "compare": (
        "compare --model absent --tasks nli --out {new} " + _TRAIN,
        "compare --model {model} --tasks nil --out {new} " + _TRAIN,
        "compare --model {model} --tasks nli --out {new} --train nli={rows}",
        "compare --model {model} --tasks nli --out {new} --set epoch=1 " + _TRAIN,
        "compare --model {model} --tasks nli --out {new} --seeds one " + _TRAIN,
    ),
    "search": (
        "search nli --model nnano --train {rows} --dev {dev} --out {new}",
        "search nli --model {model} --train {rows} --out {new}",
        "search nli --model {model} --train {rows} --dev {dev} --out {new} --grid epoch=1,2",
        "search nli --model {model} --train absent.jsonl --dev {dev} --out {new}",
    ),
    "push": ("push absent me/model", "push {empty} me/model"),
    "data check": (
        "data check nli absent.jsonl",
        "data check nil {rows}",
        "data check nli {table}",
        "data check custom {table} --label-column absent",
        "data check nli {rows} --tokenizer absent",
        "data check nli {rows} --json {existing}",
    ),
    "data prepare": (
        "data prepare --data absent.txt --tokenizer {model} --out {new}",
        "data prepare --data {corpus} --tokenizer absent --out {new}",
        "data prepare --data {corpus} --tokenizer {model} --out {empty_file}",
    ),
    "pretrain": (
        "pretrain --data absent --size nano --out {new}",
        "pretrain --data {empty} --size nano --out {new}",
        "pretrain --data {corpus} --size nano --out {new}",
        "pretrain --data {corpus} --tokenizer {model} --size nan --out {new}",
        "pretrain --data {corpus} --tokenizer {model} --size nano --out {new} --set learning_rat=1",
    ),
    "export": (
        "export --model absent --format onnx --out {new}",
        "export --model {model} --format onxx --out {new}",
        "export --model {model} --format torch --out {new}",
        "export --model {model} --format torch --int8 --out {new}",
        "export --model {model} --format torch --int8 --calibration absent.jsonl --out {new}",
        "export --model {model} --format torch --int8 --calibration {table} --out {new}",
        "export --model {model} --format onnx --out {full}",
    ),
    "tokenizer": (
        "tokenizer encode --model absent --data {corpus} --out {new}",
        "tokenizer encode --model {model} --data absent.txt --out {new}",
        "tokenizer encode --model {model} --data {corpus} --out {existing}",
        "tokenizer encode --model {model} --data {corpus} --out {new} --threads 0",
        "tokenizer train --data absent.txt --vocab-size 400 --out {new}",
        "tokenizer train --data {corpus} --vocab-size 9 --out {new}",
        "tokenizer train --data {corpus} --vocab-size 400 --out {full}",
        "tokenizer check --model absent",
        "tokenizer check --model {model} --data absent.txt",
    ),
    "trim-vocab": (
        "trim-vocab --model absent --data {corpus} --out {new}",
        "trim-vocab --model {model} --data absent.txt --out {new}",
        "trim-vocab --model {model} --data {corpus} --out {full}",
    ),
    "doctor": ("doctor absent", "doctor {empty}"),
    "info": ("info absent", "info {empty}"),
    "bench": (
        "bench --model absent",
        "bench --model {empty}",
        "bench --quick --shapes 1by8",
        "bench --quick --shapes 1x99999999999",
        "bench --exported absent",
        "bench --plot {existing}",
        "bench --compare absent",
    ),
    "serve": (
        "serve --model absent",
        "serve --model {empty}",
        "serve --model a={model} --model a={model}",
        "serve --model {model} --port 99999",
        "serve --model {model} --task ner",
        "serve --model {model} --device gpu",
        "serve --model {model} --keys absent.txt",
    ),
    "mcp": ("mcp --model absent", "mcp --model {model} --task ner"),
}
"""By command, lines with one mistake each; names in braces are files of `sandbox`."""

_PROCESS = """
import sys
from debertav3.cli import main
try:
    main()
finally:
    print("torch" in sys.modules)
"""


class Told(NamedTuple):
    """What came of one mistake."""

    seconds: float
    code: int
    line: str
    has_torch: bool

    @property
    def is_right(self) -> bool:
        """Whether it ended in one line of error, or in the help, without torch."""
        is_logged = self.line.startswith(("debertav3: error: ", "Usage: "))
        return self.code == 2 and is_logged and not self.has_torch


def sandbox(folder: Path) -> dict[str, str]:
    """Write the files that the mistakes are made with.

    Args:
        folder: an empty folder.

    Returns:
        By the name in braces, their paths below ``folder``.
    """
    rows = [
        {"premise": f"A man {number} sleeps.", "hypothesis": "He rests.", "label": LABELS[number % 3]}
        for number in range(30)
    ]
    texts = {
        "rows.jsonl": "".join(json.dumps(row) + "\n" for row in rows[:20]),
        "dev.jsonl": "".join(json.dumps(row) + "\n" for row in rows[20:]),
        "unlabelled.jsonl": '{"premise": "A man sleeps.", "hypothesis": "He rests."}\n',
        "wrong-label.jsonl": json.dumps({**rows[0], "label": "maybe"}) + "\n",
        "table.csv": "Ticket;Body;Category\n"
        + "".join(f"{n};My text {n};{'ab'[n % 2]}\n" for n in range(30)),
        "header.csv": "premise,hypothesis,label\n",
        "corpus.txt": "".join(f"A line of text, number {n}.\n\n" for n in range(50)),
        "existing.json": "somebody else's",
        "empty.json": "",
    }
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    (folder / "empty").mkdir()
    (folder / "full").mkdir()
    (folder / "full" / "config.json").write_text("somebody else's", encoding="utf-8")
    (folder / "model").symlink_to(NANO)
    return {
        "model": "model",
        "rows": "rows.jsonl",
        "dev": "dev.jsonl",
        "unlabelled": "unlabelled.jsonl",
        "wrong_label": "wrong-label.jsonl",
        "table": "table.csv",
        "header": "header.csv",
        "corpus": "corpus.txt",
        "existing": "existing.json",
        "empty_file": "empty.json",
        "empty": "empty",
        "full": "full",
        "new": "new.jsonl",
    }


def told(line: str, folder: Path, *, rounds: int) -> Told:
    """Run one line ``rounds`` times as a process.

    Args:
        line: the arguments of ``debertav3``.
        folder: where it runs.
        rounds: how often; the seconds are the median.
    """
    seconds = []
    for _ in range(rounds):
        started = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-c", _PROCESS, *shlex.split(line)],
            cwd=folder,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=600,
            check=False,
        )
        seconds.append(time.perf_counter() - started)
    errors = [one for one in done.stderr.splitlines() if one.startswith("debertav3: error: ")]
    last = done.stderr.splitlines()[-1] if done.stderr else ""
    is_help = done.stderr.startswith("Usage: ")
    said = done.stderr.partition("\n")[0] if is_help else errors[0] if [last] == errors else f"NOT: {last}"
    return Told(statistics.median(seconds), done.returncode, said, done.stdout.splitlines()[-1] == "True")


def main() -> int:
    """Print a row for each mistake, then what was slowest as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--limit", type=float, default=2.0, help="most seconds")
    parser.add_argument("--only", nargs="*", help="commands, such as predict 'data check'")
    arguments = parser.parse_args()
    slowest, num_wrong, number = 0.0, 0, 0
    with tempfile.TemporaryDirectory() as temporary:
        names = sandbox(Path(temporary))
        for command, lines in MISTAKES.items():
            for line in lines if arguments.only is None or command in arguments.only else ():
                found = told(line.format(**names), Path(temporary), rounds=arguments.rounds)
                is_wrong = not found.is_right or found.seconds > arguments.limit
                mark = "WRONG" if is_wrong else "     "
                print(f"{mark} {found.seconds:6.2f} s  exit {found.code}  torch {found.has_torch}  {line}")
                print(f"{'':24}{found.line[:160]}", flush=True)
                slowest, num_wrong, number = max(slowest, found.seconds), num_wrong + is_wrong, number + 1
    print(json.dumps({"benchmark": "mistakes", "number": number, "slowest": slowest, "wrong": num_wrong}))
    return int(num_wrong > 0)


if __name__ == "__main__":
    sys.exit(main())

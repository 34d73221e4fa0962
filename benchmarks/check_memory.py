"""How much memory does ``data check`` take for a large file, and how long?

The pairs of the public NLI sets are repeated with a number in each premise until the file is as large as
asked; a second, smaller file is the dev set, so that the linear models over words are learned too. Memory is
the highest resident size that the operating system saw (VmHWM), so Linux only.

Run: python benchmarks/check_memory.py --data ../shared/data --megabytes 10 1000
     python benchmarks/check_memory.py --data ../shared/data --megabytes 1000 --set dev_split=0.1
"""

import argparse
import gzip
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from side_by_side import print_json

NANO = Path(__file__).resolve().parents[1] / "models" / "nano"
LABELS = ("entailment", "neutral", "contradiction")
COMMAND = """\
import sys
from pathlib import Path
from debertav3.cli import main
try:
    main()
except SystemExit as end:
    if end.code:
        raise
status = Path("/proc/self/status").read_text()
print("peak", status.split("VmHWM:")[1].split()[0])
"""


def pairs(data: Path) -> list[dict[str, Any]]:
    """Premise, hypothesis and label of the sets' rows."""
    rows = []
    for path in sorted((data / "nli").glob("*.jsonl.gz")):
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            rows += [json.loads(line) for line in lines]
    names = ("premise", "hypothesis", "label")
    return [{name: row[name] for name in names} for row in rows if row.get("label") in LABELS]


def write(path: Path, rows: list[dict[str, Any]], size: int) -> int:
    """Write changed copies until there are ``size`` bytes; return how many rows there are."""
    written = count = 0
    with path.open("wb") as file:
        while written < size:
            for row in rows:
                changed = {**row, "premise": f"{row['premise']} ({count})"}
                written += file.write(json.dumps(changed, ensure_ascii=False).encode() + b"\n")
                count += 1
                if written >= size:
                    break
    return count


def check(train: Path, options: list[str]) -> dict[str, float]:
    """One ``data check`` in a process of its own."""
    command = [sys.executable, "-c", COMMAND, "data", "check", "nli", str(train), *options]
    started = time.perf_counter()
    done = subprocess.run(
        [*command, "--tokenizer", str(NANO)], stdout=subprocess.PIPE, text=True, check=False
    )
    seconds = time.perf_counter() - started
    if done.returncode:
        raise SystemExit(f"data check ended with status {done.returncode}")
    print(done.stdout, end="", file=sys.stderr)
    return {"seconds": seconds, "peak_mebibytes": int(done.stdout.split()[-1]) / 1024}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of the public data")
    parser.add_argument("--megabytes", type=int, nargs="+", default=[10, 1000])
    parser.add_argument(
        "--set",
        nargs="+",
        default=[],
        metavar="NAME=VALUE",
        help="settings, such as dev_split=0.1: no dev file then",
    )
    arguments = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    rows, found = pairs(arguments.data), []
    with tempfile.TemporaryDirectory() as temporary:
        train, dev = Path(temporary) / "train.jsonl", Path(temporary) / "dev.jsonl"
        write(dev, rows[::3], 1_000_000)
        for megabytes in arguments.megabytes:
            count = write(train, rows, megabytes * 1_000_000)
            options = [word for one in arguments.set for word in ("--set", one)] or ["--dev", str(dev)]
            figures = check(train, options)
            found.append({"megabytes": megabytes, "rows": count, **figures})
            print(
                f"{megabytes:>6,} MB{count:>12,} rows {figures['seconds']:7.1f} s "
                f"{figures['peak_mebibytes']:6.0f} MiB",
                flush=True,
            )
    print_json("check_memory", runs=found, settings=arguments.set)


if __name__ == "__main__":
    main()

"""Does ``data prepare`` stay in flat memory on a gigabyte, and how fast is it?

The corpora are repeated with their paragraphs shuffled under different seeds, one .jsonl file each, until the
files hold what --megabytes asks. Memory is that of the whole tree of processes, proportional set sizes added
up, every 0.1 seconds; seconds of the processor are those of the command and of its children.

Run: python benchmarks/prepare_memory.py --data ../shared/data --megabytes 10 1000
"""

import argparse
import gzip
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from side_by_side import print_json

NANO = Path(__file__).resolve().parents[1] / "models" / "nano"


def documents(data: Path) -> list[list[str]]:
    """Every document of the corpora as its paragraphs."""
    texts = []
    for path in sorted((data / "corpus").glob("*.jsonl.gz")):
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            texts += [json.loads(line)["text"].split("\n") for line in lines]
    return texts


def write_corpus(folder: Path, texts: list[list[str]], size: int) -> int:
    """Write shuffled copies until there are ``size`` bytes; return how many there are."""
    written = 0
    for seed in range(10_000):
        chance = random.Random(seed)
        with (folder / f"copy{seed:04d}.jsonl").open("wb") as file:
            for paragraphs in texts:
                shuffled = chance.sample(paragraphs, len(paragraphs))
                line = json.dumps({"text": "\n".join(shuffled)}, ensure_ascii=False).encode() + b"\n"
                written += file.write(line)
                if written >= size:
                    return written
    raise SystemExit("the corpora are too small for this size")


def tree(root: int) -> Iterator[int]:
    """A process and all that it has begun, Linux only."""
    yield root
    try:
        children = Path(f"/proc/{root}/task/{root}/children").read_text().split()
    except OSError:
        return
    for child in children:
        yield from tree(int(child))


def proportional_bytes(process: int) -> int:
    """Its share of the memory that it maps; 0 once it has ended."""
    try:
        rollup = Path(f"/proc/{process}/smaps_rollup").read_text()
    except OSError:
        return 0
    return sum(int(line.split()[1]) << 10 for line in rollup.splitlines() if line.startswith("Pss:"))


def prepare(inputs: Path, out: Path) -> dict[str, Any]:
    """One ``data prepare`` in a process of its own."""
    command = [sys.executable, "-m", "debertav3", "data", "prepare", "--data", str(inputs)]
    before, started, most = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter(), 0
    with subprocess.Popen([*command, "--tokenizer", str(NANO), "--out", str(out)]) as process:
        while process.poll() is None:
            most = max(most, sum(map(proportional_bytes, tree(process.pid))))
            time.sleep(0.1)
    seconds = time.perf_counter() - started
    if process.returncode:
        raise SystemExit(f"data prepare ended with status {process.returncode}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    statistics = json.loads((out / "index.json").read_text(encoding="utf-8"))["statistics"]
    return {
        "seconds": seconds,
        "processor_seconds": processor,
        "peak_mebibytes": most / 2**20,
        "statistics": statistics,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of the public data")
    parser.add_argument("--megabytes", type=int, nargs="+", default=[10, 1000])
    arguments = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    texts, found = documents(arguments.data), []
    for megabytes in arguments.megabytes:
        with tempfile.TemporaryDirectory() as temporary:
            inputs = Path(temporary) / "corpus"
            inputs.mkdir()
            written = write_corpus(inputs, texts, megabytes * 1_000_000)
            figures = prepare(inputs, Path(temporary) / "shards")
            rate = written / 1e6 / figures["processor_seconds"]
            found.append({"bytes": written, "megabytes_per_processor_second": rate, **figures})
    print_json("prepare_memory", runs=found)


if __name__ == "__main__":
    main()

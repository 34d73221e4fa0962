"""Does ``predict`` stay in flat memory? A tiny random model answers short files and long ones.

Each run is a process of its own; its largest resident memory is what the operating system reports at its end.

Run: python benchmarks/predict_memory.py --rows 20000 200000
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import debertav3
from debertav3 import DebertaV3Tokenizer
from debertav3.sizes import config_for
from debertav3.tasks.formats import JSONL
from debertav3.tasks.table_writers import Layout, open_writer
from side_by_side import print_json

NANO = Path(__file__).resolve().parents[1] / "models" / "nano"
LABELS = ("entailment", "neutral", "contradiction")


def save_tiny(folder: Path) -> None:
    tokenizer = DebertaV3Tokenizer.from_pretrained(NANO)
    config = config_for(
        "nano",
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        pooler_hidden_size=32,
        id2label=dict(enumerate(LABELS)),
        label2id={name: number for number, name in enumerate(LABELS)},
    )
    debertav3.DebertaV2ForSequenceClassification(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def write_rows(path: Path, file_format: str, count: int) -> None:
    layout = Layout(file_format=JSONL, columns=["premise", "hypothesis"])
    if file_format == "parquet":
        import pyarrow
        import pyarrow.parquet

        schema = pyarrow.schema([("premise", pyarrow.string()), ("hypothesis", pyarrow.string())])
        with pyarrow.parquet.ParquetWriter(path, schema) as writer:
            for start in range(0, count, 10_000):
                rows = [_row(number) for number in range(start, min(start + 10_000, count))]
                writer.write_table(pyarrow.Table.from_pylist(rows, schema))
        return
    with open_writer(path, layout) as write:
        write([_row(number) for number in range(count)])


def _row(number: int) -> dict[str, str]:
    return {"premise": f"Man number {number} sleeps. " * (1 + number % 3), "hypothesis": f"It is {number}."}


def run(folder: Path, source: Path, target: Path) -> tuple[float, float]:
    """Seconds and largest resident MiB of one ``predict``."""
    command = [sys.executable, "-m", "debertav3", "predict", "nli", "--model", str(folder)]
    started = time.perf_counter()
    process = subprocess.Popen([*command, "--data", str(source), "--out", str(target)])
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"predict ended with status {status}")
    return time.perf_counter() - started, usage.ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, nargs="+", default=[20_000, 200_000])
    parser.add_argument("--formats", nargs="+", default=["jsonl", "parquet"])
    arguments = parser.parse_args()
    found = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        save_tiny(folder / "model")
        for file_format in arguments.formats:
            for count in arguments.rows:
                source, target = folder / f"in.{file_format}", folder / f"out.{file_format}"
                write_rows(source, file_format, count)
                seconds, memory = run(folder / "model", source, target)
                found.append({"format": file_format, "rows": count, "seconds": seconds, "mebibytes": memory})
                print(f"{file_format:8}{count:>9,} rows {seconds:7.1f} s {memory:8.0f} MiB", flush=True)
                target.unlink()
    print_json("predict_memory", rows=found)


if __name__ == "__main__":
    main()

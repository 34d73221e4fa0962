"""How soon does one answer come from a cold start? Whole processes, from their start to their end.

``debertav3 nli`` with exports of ``models/nano`` and with the checkpoint itself, native and on torch, and the
same answer through the stock pipeline, in alternating rounds; resident memory is what the operating system
reports at the end.

Run: python benchmarks/cold_start.py --rounds 7
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from side_by_side import print_json

NANO = Path(__file__).resolve().parents[1] / "models" / "nano"
PAIR = ("A man is playing a guitar on stage.", "Somebody makes music.")
STOCK = """
import sys
from transformers import pipeline
model, premise, hypothesis = sys.argv[1:]
answer = pipeline("text-classification", model=model, dtype="float32", top_k=None)
print(answer({"text": premise, "text_pair": hypothesis}))
"""


MEASURE = """
import os, subprocess, sys, time
start = time.perf_counter()
process = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
_, status, usage = os.wait4(process.pid, 0)
print(time.perf_counter() - start, usage.ru_maxrss)
sys.exit(bool(status))
"""
"""In a small process of its own: what a process was before its exec counts as its memory, too."""


def run(command: list[str]) -> tuple[float, float]:
    """Seconds from start to end, and the largest resident memory in MB.

    Raises:
        subprocess.CalledProcessError: if the command fails.
    """
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, *command], check=True, capture_output=True, text=True
    )
    seconds, kilobytes = map(float, done.stdout.split())
    return seconds, kilobytes * 1024 / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--exports", nargs="*", default=["onnx", "openvino"], help="formats to export to")
    arguments = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = str(arguments.threads)
    ours = [sys.executable, "-m", "debertav3"]
    with tempfile.TemporaryDirectory() as folder:
        commands = {}
        for name in arguments.exports:
            export = [*ours, "export", "--model", str(NANO), "--format", name, "--out", f"{folder}/{name}"]
            subprocess.run(export, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            commands[name] = [*ours, "nli", "--model", f"{folder}/{name}", *PAIR]
        commands["native"] = [*ours, "nli", "--model", str(NANO), "--backend", "native", *PAIR]
        commands["torch"] = [*ours, "nli", "--model", str(NANO), "--backend", "torch", *PAIR]
        commands["stock pipeline"] = [sys.executable, "-c", STOCK, str(NANO), *PAIR]
        figures: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
        for command in commands.values():
            run(command)  # the files are in memory for all
        for _ in range(arguments.rounds):
            for name, command in commands.items():
                figures[name].append(run(command))
    seconds = {name: statistics.median(one for one, _ in found) for name, found in figures.items()}
    memory = {name: max(one for _, one in found) for name, found in figures.items()}
    for name in commands:
        ratio = seconds["stock pipeline"] / seconds[name]
        print(f"{name:<16} {seconds[name]:6.2f} s   {ratio:5.1f} times   {memory[name]:5.0f} MB", flush=True)
    print_json("cold_start", rounds=arguments.rounds, seconds=seconds, memory_mb=memory)


if __name__ == "__main__":
    main()

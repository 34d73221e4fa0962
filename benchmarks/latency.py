"""How long does one answer take? Cold start, and p50 and p95 of single answers through ``Predictor``.

Everything is in the time, Python and tokenizing too. Contenders are our native backend in fp32 and int8,
torch in fp32 and bf16, and beside them the stock pipeline and the stock model on ONNX Runtime. All answer
the same MultiNLI pairs, one after the other, and take turns in one process, ten pairs at a time: after a
pause, since ONNX Runtime's threads keep both cores busy for a while, and an answer that is not counted. A
cold start is a process of its own that opens the model and answers one pair. What each answers is compared
with fp32.

Run: python benchmarks/latency.py --data DATA --model models/nano --threads 2
     python benchmarks/latency.py --data DATA --model xsmall --folder FOLDER --threads 2
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from real_pairs import Pairs, read_pairs
from side_by_side import print_json

OURS = {
    "native fp32": ("native", "model", "fp32"),
    "native int8": ("native", "int8", "fp32"),
    "torch fp32": ("torch", "model", "fp32"),
    "torch bf16": ("torch", "model", "bf16"),
}
"""Backend, folder and dtype."""
STOCK, ONNX = "stock pipeline", "stock onnxruntime"
CALIBRATION = 200
TURN = 10
"""Pairs that one contender answers before the next one's turn."""
PAUSE_SECONDS = 0.1

COLD_OURS = """
import sys
from debertav3 import Predictor
backend, dtype, folder, *pair = sys.argv[1:]
print(Predictor.from_pretrained(folder, backend=backend, dtype=dtype).nli(tuple(pair)))
"""
COLD_STOCK = """
import sys
from transformers import pipeline
folder, first, second = sys.argv[1:]
answer = pipeline("text-classification", model=folder, device="cpu", top_k=None)
print(answer({"text": first, "text_pair": second}))
"""
COLD_ONNX = """
import sys
import numpy as np, onnxruntime
from transformers import AutoTokenizer
folder, graph, *pair = sys.argv[1:]
session = onnxruntime.InferenceSession(graph)
encoded = AutoTokenizer.from_pretrained(folder)(*pair, return_tensors="np")
print(session.run(None, {one.name: encoded[one.name].astype(np.int64) for one in session.get_inputs()}))
"""

Answer = Callable[[tuple[str, str]], np.ndarray]


def prepared(model: str, data: Path, folder: Path) -> tuple[Path, Path]:
    """The checkpoint, and its int8 form, which is made where it is not there yet."""
    from auto_classes import save_model
    from debertav3.inference.export.request import ExportConfig
    from debertav3.inference.export.run import export_model

    folder.mkdir(parents=True, exist_ok=True)
    source = Path(model)
    if not source.is_dir():
        source = folder / "model"
        if not source.exists():
            save_model(data / "deberta-v3-tokenizer", source)
    int8 = folder / "int8"
    if not int8.exists():
        rows = [{"premise": first, "hypothesis": second} for first, second in read_pairs(data, CALIBRATION)]
        examples = folder / "calibration.jsonl"
        examples.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        config = ExportConfig(format="torch", int8=True, calibration=examples, force=True)
        export_model(source, int8, config)
    return source, int8


def ours(folder: Path, backend: str, dtype: str) -> Answer:
    """One answer of ours: the shares of the labels, in the model's order."""
    from debertav3 import Predictor

    predictor = Predictor.from_pretrained(folder, backend=backend, dtype=dtype, device="cpu")
    return lambda pair: np.array(list(predictor.classify(pair)["scores"].values()))


def stock(folder: Path) -> Answer:
    """One answer of the stock pipeline."""
    import transformers

    transformers.utils.logging.set_verbosity_error()
    pipe: Any = transformers.pipeline("text-classification", model=str(folder), device="cpu")
    labels = list(pipe.model.config.id2label.values())

    def answer(pair: tuple[str, str]) -> np.ndarray:
        found = pipe({"text": pair[0], "text_pair": pair[1]}, top_k=None)
        shares = {one["label"]: one["score"] for one in found}
        return np.array([shares[label] for label in labels])

    return answer


def stock_onnx(folder: Path, graph: Path, *, threads: int) -> Answer:
    """One answer of the stock model's graph on ONNX Runtime, with the stock tokenizer."""
    import onnxruntime
    import torch
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    if not graph.exists():
        model = transformers.AutoModelForSequenceClassification.from_pretrained(folder).eval()
        encoded = tokenizer("two words", "and some more", return_tensors="pt")
        names = ["input_ids", "attention_mask"]
        free = {name: {0: "batch", 1: "length"} for name in names}
        sample = tuple(encoded[name] for name in names)
        torch.onnx.export(
            model, sample, str(graph), input_names=names, output_names=["logits"],
            dynamic_axes=free, dynamo=False,
        )  # fmt: skip
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(graph), options)

    def answer(pair: tuple[str, str]) -> np.ndarray:
        encoded = tokenizer(*pair, truncation=True, return_tensors="np")
        feed = {one.name: encoded[one.name].astype(np.int64) for one in session.get_inputs()}
        logits = session.run(None, feed)[0][0].astype(np.float64)
        shares = np.exp(logits - logits.max())
        return shares / shares.sum()

    return answer


def cold(commands: dict[str, list[str]], *, rounds: int) -> dict[str, float]:
    """Seconds of whole processes, the median of alternating rounds; the first round only warms the files."""
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(rounds + 1):
        for name, command in commands.items():
            started = time.perf_counter()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            seconds[name].append(time.perf_counter() - started)
    return {name: float(np.median(found[1:])) for name, found in seconds.items()}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder with nli/ and deberta-v3-tokenizer/")
    parser.add_argument("--model", default="models/nano", help="a folder, or xsmall: random weights")
    parser.add_argument("--folder", type=Path, default=Path("build/latency"), help="for what is made")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--pairs", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=5, help="cold starts of each; 0 for none")
    parser.add_argument("--without-onnx", action="store_true", help="leave ONNX Runtime out")
    arguments = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = str(arguments.threads)
    place = arguments.folder / Path(arguments.model).name
    model, int8 = prepared(arguments.model, arguments.data, place)
    folders = {"model": model, "int8": int8}
    graph = place / "stock.onnx"
    answers = {name: ours(folders[where], backend, dtype) for name, (backend, where, dtype) in OURS.items()}
    answers[STOCK] = stock(model)
    if not arguments.without_onnx:
        answers[ONNX] = stock_onnx(model, graph, threads=arguments.threads)
    pairs: Pairs = read_pairs(arguments.data, CALIBRATION + arguments.pairs)[-arguments.pairs :]
    seconds: dict[str, list[float]] = {name: [] for name in answers}
    shares: dict[str, list[np.ndarray]] = {name: [] for name in answers}
    for pair in pairs[:TURN]:  # make tables and threads
        for answer in answers.values():
            answer(pair)
    for start in range(0, len(pairs), TURN):
        for name, answer in answers.items():
            time.sleep(PAUSE_SECONDS)
            answer(pairs[start])
            for pair in pairs[start : start + TURN]:
                started = time.perf_counter()
                found = answer(pair)
                seconds[name].append(time.perf_counter() - started)
                shares[name].append(found)
    command = [sys.executable, "-c"]
    commands = {
        name: [*command, COLD_OURS, backend, dtype, str(folders[where]), *pairs[0]]
        for name, (backend, where, dtype) in OURS.items()
    }
    commands[STOCK] = [*command, COLD_STOCK, str(model), *pairs[0]]
    if not arguments.without_onnx:
        commands[ONNX] = [*command, COLD_ONNX, str(model), str(graph), *pairs[0]]
    cold_seconds = cold(commands, rounds=arguments.rounds) if arguments.rounds else {}
    exact = np.array(shares["native fp32"])
    rows = []
    for name, times in seconds.items():
        got = np.array(shares[name])
        row = {
            "contender": name,
            "cold_s": cold_seconds.get(name),
            "p50_ms": 1e3 * float(np.percentile(times, 50)),
            "p95_ms": 1e3 * float(np.percentile(times, 95)),
            "largest_difference": float(np.abs(got - exact).max()),
            "equal_decisions": float((got.argmax(1) == exact.argmax(1)).mean()),
        }
        rows.append(row)
        first = "" if row["cold_s"] is None else f"cold {row['cold_s']:5.2f} s  "
        print(
            f"{name:<18} {first}p50 {row['p50_ms']:7.2f} ms  p95 {row['p95_ms']:7.2f} ms  "
            f"differs by {row['largest_difference']:.1e}, {row['equal_decisions']:.1%} equal",
            flush=True,
        )
    print_json("latency", model=arguments.model, pairs=len(pairs), threads=arguments.threads, rows=rows)


if __name__ == "__main__":
    main()

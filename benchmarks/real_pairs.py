"""Real work: 1,000 MNLI pairs, tokenizing included, against the stock pipeline at its best batch size.

V3 xsmall shape with random weights and the released vocabulary. Every backend that is there answers all pairs
through ``Predictor.nli``; the pipeline, whose cost per pair does not depend on their number, answers a part.
All take turns in one process. The share is that of the rate of fp32 products, counted for the texts' own
tokens: padding is waste.

Run: python benchmarks/real_pairs.py --data DATA --folder FOLDER --prepare    (once: weights and exports)
     python benchmarks/real_pairs.py --data DATA --folder FOLDER --threads 2
"""

import argparse
import itertools
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers

from auto_classes import save_model
from debertav3 import Predictor
from debertav3.files import write_json
from debertav3.inference.export.request import ExportConfig
from debertav3.inference.export.run import export_model
from debertav3.inference.token_budget import best_batch_tokens
from debertav3.sizes import flops_per_token, raw_config
from debertav3.tasks.tables import read_table
from side_by_side import alternate, matmul_rate, print_json

EXPORTS: dict[str, dict[str, Any]] = {
    "openvino": {"format": "openvino"},
    "onnx": {"format": "onnx"},
    "openvino-int8": {"format": "openvino", "int8": True, "force": True},
    "torch-int8": {"format": "torch", "int8": True, "force": True},
}
BACKENDS = {
    "torch": ("torch", "model", None),
    "torch int8": ("torch", "torch-int8", None),
    "openvino": ("openvino", "openvino", None),
    "openvino bf16": ("openvino", "openvino", "bf16"),
    "openvino int8": ("openvino", "openvino-int8", None),
    "onnx": ("onnx", "onnx", None),
}
"""What is measured: backend, folder and dtype."""
STOCK = "stock pipeline"
Pairs = list[tuple[str, str]]


def read_pairs(data: Path, count: int) -> Pairs:
    rows = read_table(data / "nli" / "mnli_matched_dev.jsonl.gz")
    return [(row.fields["premise"], row.fields["hypothesis"]) for row in itertools.islice(rows, count)]


def prepare(data: Path, folder: Path, names: list[str]) -> None:
    """Write the checkpoint and its exports."""
    if not (folder / "model").exists():
        save_model(data / "deberta-v3-tokenizer", folder / "model")
    examples = folder / "calibration.jsonl"
    pairs = [{"premise": premise, "hypothesis": hypothesis} for premise, hypothesis in read_pairs(data, 1200)]
    examples.write_text("".join(json.dumps(pair) + "\n" for pair in pairs[1000:]), encoding="utf-8")
    for name in names:
        settings = EXPORTS[name] | ({"calibration": examples} if "int8" in EXPORTS[name] else {})
        export_model(folder / "model", folder / name, ExportConfig(**settings))
        print(f"{folder / name} is written", flush=True)


def stock_pipeline(folder: Path) -> Callable[[Pairs, int], object]:
    pipe = transformers.pipeline("text-classification", model=str(folder), device="cpu")

    def answer(pairs: Pairs, batch_size: int) -> object:
        inputs = [{"text": first, "text_pair": second} for first, second in pairs]
        return pipe(inputs, batch_size=batch_size, top_k=None)

    return answer


def best_batch_size(answer: Callable[[Pairs, int], object], pairs: Pairs, sizes: list[int]) -> int:
    """The batch size at which the pipeline answers these pairs soonest; the first call only warms up."""
    answer(pairs[:8], 8)
    seconds = {}
    for size in sizes:
        started = time.perf_counter()
        answer(pairs, size)
        seconds[size] = time.perf_counter() - started
        print(f"{STOCK}, batches of {size}: {len(pairs) / seconds[size]:.1f} pairs/s", flush=True)
    return min(seconds, key=lambda size: seconds[size])


def operations(predictor: Predictor, pairs: Pairs) -> float:
    """Operations of the matrix products for the tokens of the texts, without padding."""
    raw = raw_config("xsmall")
    lengths = [len(one.input_ids) for one in predictor.engine.inputs.texts(list(pairs))]
    return float(sum(length * flops_per_token(raw, length=length) for length in lengths))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder with nli/ and deberta-v3-tokenizer/")
    parser.add_argument("--folder", type=Path, required=True, help="for weights and exports")
    parser.add_argument("--prepare", nargs="*", metavar="EXPORT", choices=EXPORTS, help="write them and stop")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--pairs", type=int, default=1000)
    parser.add_argument("--stock-pairs", type=int, default=160, help="how many of them the pipeline answers")
    parser.add_argument("--stock-batches", type=int, nargs="+", default=[1, 4, 8, 16, 32])
    parser.add_argument("--only", nargs="+", choices=BACKENDS, default=list(BACKENDS))
    parser.add_argument("--out", type=Path, help="also write the figures here, as JSON")
    arguments = parser.parse_args()
    if arguments.prepare is not None:
        prepare(arguments.data, arguments.folder, arguments.prepare or list(EXPORTS))
        return
    torch.set_num_threads(arguments.threads)
    transformers.utils.logging.set_verbosity_error()
    pairs = read_pairs(arguments.data, arguments.pairs)
    part = pairs[:: max(1, len(pairs) // arguments.stock_pairs)]
    pipe = stock_pipeline(arguments.folder / "model")
    batch_size = best_batch_size(pipe, part, arguments.stock_batches)
    predictors = {}
    for name in arguments.only:
        backend, place, dtype = BACKENDS[name]
        if (arguments.folder / place).exists():
            opened = Predictor.from_pretrained(arguments.folder / place, backend=backend, dtype=dtype)
            opened.engine.batch_tokens = best_batch_tokens(opened.engine.backend)
            predictors[name] = opened
    contenders: dict[str, Callable[[], object]] = {STOCK: lambda: pipe(part, batch_size)}
    contenders |= {name: lambda one=one: one.nli(pairs) for name, one in predictors.items()}
    seconds = alternate(contenders, rounds=arguments.rounds, warmup=0)
    rate = matmul_rate()
    wanted = operations(next(iter(predictors.values())), pairs)
    stock_rates = [len(part) / taken for taken in seconds.pop(STOCK)]
    print(f"{STOCK:<16}{statistics.median(stock_rates):>9.1f} pairs/s, batches of {batch_size}")
    rows = []
    for name, taken in seconds.items():
        ratios = [len(pairs) / own / stock for own, stock in zip(taken, stock_rates, strict=True)]
        median = statistics.median(taken)
        row = {
            "backend": name,
            "pairs_per_second": len(pairs) / median,
            "times": statistics.median(ratios),
            "share": wanted / median / rate,
            "batch_tokens": predictors[name].engine.batch_tokens,
        }
        rows.append(row)
        figures = f"{row['pairs_per_second']:>9.1f} pairs/s {row['times']:>6.2f} times"
        share = f"{row['share']:>5.0%} of products"
        print(f"{name:<16}{figures} {share}, {row['batch_tokens']} tokens a batch", flush=True)
    found = {
        "pairs": len(pairs),
        "rounds": arguments.rounds,
        "stock": {"pairs_per_second": statistics.median(stock_rates), "batch": batch_size},
        "matmul_gflops": rate / 1e9,
        "rows": rows,
    }
    if arguments.out is not None:
        write_json(arguments.out, found)
    print_json("real_pairs", transformers=transformers.__version__, **found)


if __name__ == "__main__":
    main()

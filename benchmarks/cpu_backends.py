"""How fast are our backends on a CPU beside the fastest of the others? V3 xsmall shape, random weights.

The others: stock transformers eager (and compiled, with --compiled), and ONNX Runtime and OpenVINO on stock
exports by `transformers.exporters`. All in one process in alternating rounds, with a pause before every call
so that no other runtime's threads still spin. Graphs are made once and kept in --folder.

Run: python benchmarks/cpu_backends.py --folder FOLDER --shapes 1x32 1x128 --rounds 9
     python benchmarks/cpu_backends.py --folder FOLDER --memory "openvino" --shapes 1x2048
"""

import argparse
import gc
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
import transformers

from debertav3 import DebertaV2ForSequenceClassification
from debertav3.cpu.int8 import Int8Linear
from debertav3.cpu.pack import pack_for_inference
from debertav3.inference.backends.exported import FORMATS, GRAPH_FILE, ONNX
from debertav3.inference.backends.torch import TorchBackend
from debertav3.inference.export import graph_writers
from debertav3.inference.export.graph import folded_copy, random_batch, to_tensors
from debertav3.inference.export.quantization import quantize
from debertav3.inference.telemetry import without_telemetry
from debertav3.sizes import config_for
from side_by_side import matmul_rate, print_json

VOCABULARY = 2000  # the look-up of words costs nothing; a small table keeps the folder small
PAUSE_SECONDS = 0.03
TORCH, TORCH_INT8 = "torch", "torch int8"
Run = Callable[[dict[str, np.ndarray]], object]


def models() -> tuple[transformers.PreTrainedModel, DebertaV2ForSequenceClassification]:
    """Stock transformers' model and ours, with the same random weights, biases among them."""
    torch.manual_seed(0)
    # each gets its own: stock models write into it how they compute attention
    config, own = (config_for("xsmall", vocab_size=VOCABULARY, num_labels=3) for _ in range(2))
    stock = transformers.DebertaV2ForSequenceClassification(config).eval()
    with torch.no_grad():
        for parameter in stock.parameters():
            if parameter.dim() == 1:
                parameter.add_(0.1 * torch.randn_like(parameter))
    ours = DebertaV2ForSequenceClassification(own).eval()
    ours.load_state_dict(stock.state_dict())
    return stock, ours


def prepare(folder: Path, *, with_long: Sequence[str]) -> dict[str, Path]:
    """Write the graphs that are missing; all of them by name.

    Args:
        folder: keeps them.
        with_long: formats of which to have those for long inputs too, which take minutes to write.
    """
    stock, ours = models()
    sample = random_batch(2, 70, head="sequence-classification", config=ours.config, is_ragged=True)
    graphs = {}
    for format_ in FORMATS:
        for name, model in ((f"stock {format_}", stock), (format_, None)):
            place = folder / name.replace(" ", "-")
            graphs[name] = place / GRAPH_FILE[format_]
            if not graphs[name].exists():
                place.mkdir(parents=True, exist_ok=True)
                graph_writers.write_graph(model or folded_copy(ours), sample, place, format_=format_)
        name = f"{format_} long"
        if format_ in with_long:
            place = folder / name.replace(" ", "-")
            graphs[name] = place / GRAPH_FILE[format_]
            if not graphs[name].exists():
                place.mkdir(parents=True, exist_ok=True)
                graph_writers.write_graph(folded_copy(ours, by_head=True), sample, place, format_=format_)
        name = f"{format_} int8"
        place = folder / name.replace(" ", "-")
        graphs[name] = place / GRAPH_FILE[format_]
        if not graphs[name].exists():
            place.mkdir(parents=True, exist_ok=True)
            calibration = [
                random_batch(4, length, head="sequence-classification", config=ours.config)
                for length in (16, 64, 128)
            ]
            quantize(graphs[format_], place, format_=format_, batches=calibration, kept=[])
    return graphs


def open_contender(name: str, graphs: dict[str, Path], *, threads: int) -> Run:
    """What computes the logits of a batch."""
    if name in graphs:
        is_onnx = graphs[name].name == GRAPH_FILE[ONNX]
        return (_onnx if is_onnx else _openvino)(graphs[name], threads)
    stock, ours = models()
    if name in (TORCH, TORCH_INT8):
        if name == TORCH_INT8:
            quantize_layers(ours.deberta.encoder)
        pack_for_inference(ours)
        return TorchBackend(ours, head="sequence-classification").run
    compiled = torch.compile(stock, dynamic=True) if name == "stock compiled" else stock

    def run(batch: dict[str, np.ndarray]) -> object:
        with torch.inference_mode():
            return compiled(**to_tensors(batch)).logits

    return run


def quantize_layers(encoder: torch.nn.Module) -> None:
    """Replace the linear layers of an encoder by their int8 form."""
    for name, linear in list(encoder.named_modules()):
        if type(linear) is torch.nn.Linear:
            encoder.set_submodule(name, Int8Linear.from_linear(linear))


def _onnx(path: Path, threads: int) -> Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda batch: session.run(None, batch)


def _openvino(path: Path, threads: int) -> Run:
    with without_telemetry():
        import openvino

    options = {
        "INFERENCE_PRECISION_HINT": "f32",
        "INFERENCE_NUM_THREADS": threads,
        "PERFORMANCE_HINT": "LATENCY",
    }
    request = openvino.Core().compile_model(str(path), "CPU", options).create_infer_request()
    return lambda batch: request.infer(batch, share_inputs=True)[0]


def alternate(
    contenders: dict[str, Run], batch: dict[str, np.ndarray], rounds: int
) -> dict[str, list[float]]:
    """Milliseconds of every contender, one figure a round; the order turns by one each round."""
    names = list(contenders)
    found: dict[str, list[float]] = {name: [] for name in names}
    for number in range(-1, rounds):
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:
            time.sleep(PAUSE_SECONDS)
            start = time.perf_counter()
            contenders[name](batch)
            if number >= 0:
                found[name].append(1000 * (time.perf_counter() - start))
    return found


def memory_mib(field: str) -> float:
    """A line of Linux's account of this process: ``VmRSS`` (now) or ``VmHWM`` (the most)."""
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith(field):
            return int(line.split()[1]) / 1024
    raise SystemExit(f"no {field} in /proc/self/status: this needs Linux")


def print_peak_memory(run: Run, batch: dict[str, np.ndarray]) -> None:
    """MiB that the batch needed on top of what the process had after a small one, and the time it took."""
    small = {name: array[:, :8] for name, array in batch.items()}
    run(small)
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")  # the peak counts from here on
    before = memory_mib("VmRSS")
    start = time.perf_counter()
    run(batch)
    peak = memory_mib("VmHWM")
    print_json(
        "cpu_backends memory",
        shape=list(batch["input_ids"].shape),
        opened_mib=before,
        extra_mib=peak - before,
        process_mib=peak,
        first_call_seconds=time.perf_counter() - start,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--shapes", nargs="+", default=["1x32", "1x128", "16x64", "8x128", "2x512", "1x2048"])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--compiled", action="store_true")
    parser.add_argument(
        "--with-long", nargs="+", choices=FORMATS, default=[], help="Also graphs for long inputs."
    )
    parser.add_argument("--memory", help="Name of one contender: only its peak memory.")
    parser.add_argument("--only", nargs="+", help="Names of contenders.")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    names = arguments.only or [arguments.memory] * bool(arguments.memory)
    needs_no_graph = bool(names) and {*names} <= {"stock eager", "stock compiled", TORCH, TORCH_INT8}
    graphs = {} if needs_no_graph else prepare(arguments.folder, with_long=arguments.with_long)
    config = config_for("xsmall", vocab_size=VOCABULARY)
    shapes = [tuple(map(int, shape.split("x"))) for shape in arguments.shapes]
    batches = {shape: random_batch(*shape, head="sequence-classification", config=config) for shape in shapes}
    if arguments.memory:
        run = open_contender(arguments.memory, graphs, threads=arguments.threads)
        print_peak_memory(run, batches[shapes[0]])
        return
    names = arguments.only or [
        "stock eager",
        TORCH,
        TORCH_INT8,
        *graphs,
        *(["stock compiled"] * arguments.compiled),
    ]
    contenders = {name: open_contender(name, graphs, threads=arguments.threads) for name in names}
    rate = matmul_rate()
    for shape, batch in batches.items():
        found = alternate(contenders, batch, arguments.rounds)
        medians = {name: statistics.median(values) for name, values in found.items()}
        print(shape, {name: round(value, 1) for name, value in medians.items()}, flush=True)
        print_json("cpu_backends", shape=list(shape), gflop_rate=rate / 1e9, median_ms=medians, all_ms=found)


if __name__ == "__main__":
    main()

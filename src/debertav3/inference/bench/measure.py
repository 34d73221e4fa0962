"""The measurement: the machine's rate of products, then every contender on every shape."""

import logging
import platform
import statistics
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
import transformers

from ...checkpoint.folder import Checkpoint
from ...cpu.kernel.library import kernel
from ...json_types import JsonMapping
from ...sizes import flops_per_token
from .contenders import Contender, model_folder, our_exports, ours, stock, stock_exports, stock_model
from .plan import BenchConfig, Shape, exported_names
from .rounds import alternate, matmul_rate, times_as_fast

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One contender on one shape."""

    name: str
    batch: int
    length: int
    milliseconds: float
    """Median of a call."""
    p95_milliseconds: float
    """95 of 100 calls took no longer."""
    tokens_per_second: float
    texts_per_second: float
    """Or pairs: one is one row of the batch."""
    share: float
    """Of the machine's rate of products, counting the products of our graph."""
    times: float
    """As fast as stock transformers; the median of the ratio within rounds."""
    difference: float
    """Largest, of an output, from stock transformers."""


@dataclass(frozen=True, kw_only=True)
class BenchReport:
    """Everything that was measured."""

    machine: dict[str, object]
    model: str
    rounds: int
    matmul_gflops: float
    """In fp32: the fastest of what torch, oneDNN and our kernel reach."""
    encoder_mb: float
    """Weights that every call reads, as fp32, without the look-up of words."""
    resident_mib: float | None = None
    """Memory of this process at its end, every contender in it; None where the system does not say."""
    figures: list[Figure] = field(default_factory=list)

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return asdict(self)


def run_bench(config: BenchConfig, *, show: Callable[[Figure], None]) -> BenchReport:
    """Measure.

    Args:
        config: what.
        show: called with each figure as it comes.

    Raises:
        UserError: if the model cannot be used.
    """
    torch.set_num_threads(config.threads)
    with ExitStack() as stack:
        folder = stack.enter_context(model_folder(config.model))
        raw = Checkpoint.open(folder).config
        contenders = _contenders(config, folder)
        report = BenchReport(
            machine=_machine(),
            model=config.model,
            rounds=config.rounds,
            matmul_gflops=matmul_rate() / 1e9,
            encoder_mb=flops_per_token(raw, length=1) * 2 / 1e6,
        )
        for shape in config.shapes:
            for figure in _measure(contenders, shape, raw, rounds=config.rounds, rate=report.matmul_gflops):
                report.figures.append(figure)
                show(figure)
    return replace(report, resident_mib=_resident_mib())


def _contenders(config: BenchConfig, folder: Path) -> list[Contender]:
    """Stock transformers first: the others are compared with it."""
    theirs = stock_model(folder)
    found = [stock(theirs), ours(folder, "torch")]
    names = exported_names(config.exported)
    found += [ours(path, "auto", name=name) for path, name in zip(config.exported, names, strict=True)]
    if config.with_exports:
        logger.info("exporting the model, ours and transformers' own: a minute or two")
        found += [*our_exports(folder), *stock_exports(theirs, threads=config.threads)]
    return found


def _measure(
    contenders: Sequence[Contender], shape: Shape, raw: JsonMapping, *, rounds: int, rate: float
) -> list[Figure]:
    ids = np.random.default_rng(0).integers(4, raw["vocab_size"], size=shape)
    outputs = [contender.run(ids) for contender in contenders]
    seconds = alternate(
        {one.name: lambda one=one: one.run(ids) for one in contenders},  # type: ignore[misc]
        rounds=rounds,
    )
    num_tokens = ids.size
    operations = num_tokens * flops_per_token(raw, length=shape[1])
    figures = []
    for contender, output in zip(contenders, outputs, strict=True):
        taken = seconds[contender.name]
        median = statistics.median(taken)
        figures.append(
            Figure(
                name=contender.name,
                batch=shape[0],
                length=shape[1],
                milliseconds=median * 1e3,
                p95_milliseconds=float(np.percentile(taken, 95)) * 1e3,
                tokens_per_second=num_tokens / median,
                texts_per_second=shape[0] / median,
                share=operations / median / (rate * 1e9),
                times=times_as_fast(seconds[contenders[0].name], taken),
                difference=float(np.abs(output - outputs[0]).max()),
            )
        )
    return figures


def _resident_mib() -> float | None:
    try:
        with open("/proc/self/status", encoding="utf-8") as lines:
            return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS"))
    except (OSError, StopIteration):
        return None


def _machine() -> dict[str, object]:
    name = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            name = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        logger.debug("no name of the processor in /proc/cpuinfo")
    return {
        "cpu": name,
        "kernel": None if (compiled := kernel()) is None else compiled.name,
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }

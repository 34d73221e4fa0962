"""The figures as lines of a table and as a plot."""

from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from ...errors import MissingExtraError, UserError
from ...files import replacing
from .measure import BenchReport, Figure
from .plan import Earlier

OURS = "debertav3 torch"
_STREAMS = 8.0
"""GB/s from which reading weights, not starting work, takes the time of a small batch."""

HEADER = (
    f"{'batch x tokens':>14}  {'':<26}{'p50 ms':>9}{'p95 ms':>9}{'texts/s':>9}"
    f"{'tokens/s':>10}{'speed-up':>12}{'matmul rate':>12}{'difference':>12}"
)


def line(figure: Figure) -> str:
    """One row of the table."""
    shape = f"{figure.batch} x {figure.length}"
    return (
        f"{shape:>14}  {figure.name:<26}{figure.milliseconds:>9.1f}{figure.p95_milliseconds:>9.1f}"
        f"{figure.texts_per_second:>9.1f}{figure.tokens_per_second:>10,.0f}{figure.times:>12.2f}"
        f"{figure.share:>12.0%}{figure.difference:>12.1e}"
    )


def limits(report: BenchReport) -> str:
    """One paragraph: what keeps this machine from answering faster, by our figures on torch."""
    ours = [one for one in report.figures if one.name == OURS]
    small = min(ours, key=lambda one: (one.batch * one.length, one.length))
    best = max(ours, key=lambda one: one.share)
    kernel = report.machine["kernel"] or "none; torch computes"
    text = (
        f"What limits this machine: {report.machine['cpu']}, {report.machine['threads']} threads, "
        f"kernel {kernel}, reaches {report.matmul_gflops:.0f} GFLOP/s in fp32 matmuls. Our "
        f"best shape, {best.batch} x {best.length}, reaches {best.share:.0%} of that: "
    )
    if best.share >= 0.7:
        text += "arithmetic is the limit, so more cores or int8 will help. "
    else:
        text += "arithmetic is not the limit. Is another program running, or are there too many threads? "
    speed = report.encoder_mb / small.milliseconds
    text += (
        f"{small.batch} x {small.length} reaches {small.share:.0%}; "
        f"it reads {report.encoder_mb:.0f} MB of weights in {small.milliseconds:.1f} ms, {speed:.0f} GB/s: "
    )
    if small.share < 0.6 and speed >= _STREAMS:
        text += "memory bandwidth is the limit there; int8 or larger batches help."
    elif small.share < 0.6:
        text += "too slow for memory bandwidth to be the limit; the overhead of many small steps is."
    else:
        text += "arithmetic is the limit again."
    if report.resident_mib is not None:
        text += f" This process, with all contenders: {report.resident_mib:.0f} MiB."
    return text


def row(report: BenchReport) -> str:
    """Our figures as one row of Markdown, to be sent."""
    ours = [one for one in report.figures if one.name == OURS]
    cells = [f"{one.batch} x {one.length}: {one.milliseconds:.1f} ms, {one.times:.2f}" for one in ours]
    machine = report.machine
    start = [machine["cpu"], f"{machine['threads']} threads", f"kernel {machine['kernel']}"]
    return "| " + " | ".join(map(str, [*start, f"{report.matmul_gflops:.0f} GFLOP/s", *cells])) + " |"


def compared(report: BenchReport, before: Earlier) -> list[str]:
    """Lines with the speed-up of each figure since an earlier run.

    Raises:
        UserError: if they have no figure in common.
    """
    lines = [
        f"{f'{one.batch} x {one.length}':>14}  {one.name:<26}{before[key]:>9.1f} ms before, "
        f"{one.milliseconds:.1f} now: {before[key] / one.milliseconds:.2f} times as fast"
        for one in report.figures
        if (key := (one.name, one.batch, one.length)) in before
    ]
    if not lines:
        raise UserError("the file of --compare has no contender and shape in common with this run.")
    return lines


def require_matplotlib() -> ModuleType:
    """``matplotlib.figure``.

    Raises:
        MissingExtraError: if it is not installed.
    """
    try:
        import matplotlib.figure
    except ImportError as error:
        raise MissingExtraError(feature="--plot", package="matplotlib", extra="bench") from error
    return matplotlib.figure


def plot(report: BenchReport, path: Path) -> None:
    """Draw tokens a second of every contender on every shape, as PNG.

    Raises:
        MissingExtraError: without matplotlib.
        UserError: if the file cannot be written.
    """
    names = list(dict.fromkeys(figure.name for figure in report.figures))
    shapes = list(dict.fromkeys((figure.batch, figure.length) for figure in report.figures))
    canvas = require_matplotlib().Figure(figsize=(2 + 1.6 * len(shapes), 4.5), layout="constrained")
    axes = canvas.add_subplot()
    width = 0.8 / len(names)
    for number, name in enumerate(names):
        rates = _rates(report.figures, name, shapes)
        places = [place + (number - (len(names) - 1) / 2) * width for place in range(len(shapes))]
        axes.bar(places, rates, width, label=name)
    axes.set_xticks(range(len(shapes)), [f"{batch} x {length}" for batch, length in shapes])
    axes.set_xlabel("texts x tokens")
    axes.set_ylabel("tokens per second")
    axes.set_title(
        f"{report.model}, {report.machine['threads']} threads, {report.machine['cpu']}", fontsize=10
    )
    axes.legend(fontsize=8)
    axes.grid(axis="y", alpha=0.3)
    with replacing(path) as stream:
        canvas.savefig(stream, format="png", dpi=120)


def _rates(figures: Sequence[Figure], name: str, shapes: Sequence[tuple[int, int]]) -> list[float]:
    found = {(one.batch, one.length): one.tokens_per_second for one in figures if one.name == name}
    return [found[shape] for shape in shapes]

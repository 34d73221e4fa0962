"""The figures as lines of a table and as a plot."""

from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from ...errors import MissingExtraError
from ...files import replacing
from .measure import BenchReport, Figure

HEADER = (
    f"{'batch x tokens':>14}  {'':<28}{'ms':>9}{'tokens/s':>11}{'times as fast':>15}{'share of products':>19}"
    f"{'difference':>12}"
)


def line(figure: Figure) -> str:
    """One row of the table."""
    shape = f"{figure.batch} x {figure.length}"
    return (
        f"{shape:>14}  {figure.name:<28}{figure.milliseconds:>9.1f}{figure.tokens_per_second:>11,.0f}"
        f"{figure.times:>15.2f}{figure.share:>19.0%}{figure.difference:>12.1e}"
    )


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

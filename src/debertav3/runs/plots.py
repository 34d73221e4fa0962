"""The plots of a report, each as an SVG element; text stays text, so every script has its letters."""

import io
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ..errors import MissingExtraError
from ..json_types import JsonMapping

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_COUNTS = 12
"""Classes up to which a confusion matrix shows its counts."""
_MOST_NAMES = 60
"""Classes up to which it shows their names."""
_MOST_MARKERS = 30
"""Points up to which a curve marks each of them."""
_INK, _BLUE, _LIGHT_BLUE, _ORANGE, _GREY = "#1c2733", "#0b5cad", "#9cc3e6", "#b25b00", "#8a97a5"
_COLOURS = (_BLUE, _ORANGE, "#2a7d4f", "#8a3ffc", "#c2185b", "#5c6b7a", "#946c00", "#00838f")
_NAME_LENGTH = 18


def require() -> None:
    """Assert, before a long training, that its report can be drawn.

    Raises:
        MissingExtraError: without matplotlib.
    """
    with _axes(1.0, 1.0):
        pass


class _Plot:
    """A figure under way."""

    def __init__(self, figure: "Figure", axes: "Axes") -> None:
        self.figure = figure
        self.axes = axes

    def svg(self) -> str:
        """The element, without the XML that stands before it."""
        buffer = io.StringIO()
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Glyph .* missing")  # the browser has other fonts
            self.figure.savefig(buffer, format="svg", metadata={"Date": None})
        text = buffer.getvalue()
        return text[text.index("<svg") :]


@contextmanager
def _axes(width: float, height: float) -> Iterator[_Plot]:
    """Axes of a size in inches, in the style of the page."""
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError(feature="report.html", package="matplotlib", extra="train") from error
    with matplotlib.rc_context(
        {"svg.fonttype": "none", "svg.hashsalt": "report", "font.size": 13, "font.family": "sans-serif"}
    ):
        figure = Figure(figsize=(width, height), layout="constrained")
        axes = figure.add_subplot()
        axes.spines[["top", "right"]].set_visible(False)
        yield _Plot(figure, axes)


def curves(lines: Mapping[str, Sequence[tuple[float, float]]], *, is_logarithmic: bool = False) -> str:
    """Values by step, one line for each name; a line without a name has no entry in the legend."""
    with _axes(6.0, 3.6) as plot:
        drawn = {name: points for name, points in lines.items() if points}
        for (name, points), colour in zip(drawn.items(), _COLOURS * len(drawn), strict=False):
            marker = "o" if len(points) < _MOST_MARKERS else None
            plot.axes.plot(
                *zip(*points, strict=True), marker=marker, markersize=4, color=colour, label=name or None
            )
        if any(drawn):
            plot.axes.legend(frameon=False, fontsize=11)
        if is_logarithmic:
            plot.axes.set_yscale("log")
        plot.axes.set_xlabel("step")
        plot.axes.xaxis.set_major_formatter(lambda step, _: f"{step:,.0f}")
        plot.axes.locator_params(axis="x", nbins=6, integer=True)
        plot.axes.grid(alpha=0.25)
        return plot.svg()


def confusion(table: Sequence[Sequence[int]], names: Sequence[str]) -> str:
    """Shares of each row as shades of blue, with names and counts where they can be read."""
    with _axes(4.8, 4.2) as plot:
        shares = [[value / max(sum(row), 1) for value in row] for row in table]
        plot.axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        if len(names) <= _MOST_NAMES:
            size = 11 if len(names) <= MOST_COUNTS else max(4, 180 // len(names))
            short = [name if len(name) <= _NAME_LENGTH else name[: _NAME_LENGTH - 1] + "…" for name in names]
            places = range(len(names))
            plot.axes.set_xticks(places, short, rotation=40, ha="right", fontsize=size, parse_math=False)
            plot.axes.set_yticks(places, short, fontsize=size, parse_math=False)
        else:
            plot.axes.set(xticks=[], yticks=[])
        if len(names) <= MOST_COUNTS:
            for row, values in enumerate(table):
                for column, value in enumerate(values):
                    colour = "white" if shares[row][column] > 0.5 else _INK
                    plot.axes.text(
                        column, row, str(value), ha="center", va="center", color=colour, fontsize=11
                    )
        return plot.svg()


def reliability(bins: Sequence[JsonMapping]) -> str:
    """Accuracy in each interval of confidence, beside the line on which both are equal."""
    with _axes(4.8, 4.2) as plot:
        accuracies = [one["accuracy"] for one in bins]
        plot.axes.plot([0, 1], [0, 1], "--", color=_GREY)
        plot.axes.bar([one["from"] + 0.05 for one in bins], accuracies, width=0.09, color=_LIGHT_BLUE)
        plot.axes.plot([one["confidence"] for one in bins], accuracies, "o-", color=_BLUE)
        plot.axes.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="confidence", ylabel="accuracy")
        return plot.svg()

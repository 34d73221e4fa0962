"""The table and the figures of `pretraining_study.py`."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev, variance

from study_records import Record, number, scores_of
from study_rows import Row

COSINES = ("heldout_cosine_generator", "heldout_cosine_discriminator", "heldout_cosine_delta")


def _cell(found: Sequence[float]) -> str:
    """Mean and standard deviation in percent."""
    spread = f" ± {100 * stdev(found):.1f}" if len(found) > 1 else ""
    return f"{100 * mean(found):.1f}{spread}"


def table(records: Mapping[str, Record], names: Sequence[str], rows: Sequence[Row]) -> list[str]:
    """Lines of Markdown: every row has an anchor, and figures once it is finished."""
    if not records:
        return ["| row | family | what |", "|---|---|---|", *(f"{_about(row)} |" for row in rows)]
    columns = ("tokens", "minutes", *names, "MLM loss", "F1 of detection", "cosine E_G, E_D, delta")
    lines = [
        f"| row | family | what | {' | '.join(columns)} |",
        "|---|---|---" + "|---:" * len(columns) + "|",
    ]
    for row in rows:
        record = records.get(row.name)
        cells = [""] * len(columns) if record is None else _cells(record, names)
        lines.append(f"{_about(row)} | {' | '.join(cells)} |")
    return [*lines, "", _noise(records, names)]


def _about(row: Row) -> str:
    return f'| <a id="study-{row.name}"></a>`{row.name}` | {row.family} | {row.what}'


def _cells(record: Record, names: Sequence[str]) -> list[str]:
    """The figures of a row, in the order of the columns."""
    curve = record.get("curve", [])
    assert isinstance(curve, list)
    last = curve[-1] if curve else {}
    figures = [f"{last[key]:.2f}" if key in last else "" for key in ("heldout_mlm_loss", "heldout_rtd_f1")]
    return [
        f"{number(record, 'tokens') / 1e6:.1f} M" if "tokens" in record else "0",
        f"{number(record, 'seconds') / 60:.1f}" if "seconds" in record else "0",
        *(_cell(found) if (found := scores_of(record, name)) else "" for name in names),
        *figures,
        ", ".join(f"{last[key]:.2f}" for key in COSINES if key in last),
    ]


def _noise(records: Mapping[str, Record], names: Sequence[str]) -> str:
    """A sentence on the two spreads, in points."""
    said = []
    for name in names:
        scores = {row: scores_of(record, name) for row, record in records.items()}
        variances = [variance(values) for values in scores.values() if len(values) > 1]
        twins = [mean(scores[row]) for row in ("mlm", "mlm-seed-1") if scores.get(row)]
        if variances:
            between = f" ({100 * abs(twins[0] - twins[1]):.1f})" if len(twins) == 2 else ""
            said.append(f"{name} {100 * mean(variances) ** 0.5:.1f}{between}")
    return (
        "Standard deviation over the seeds of fine-tuning, pooled over all rows, in points (in brackets the "
        f"difference of two pre-trainings that differ in their seed alone): {', '.join(said) or 'one seed'}."
    )


_PANELS = (
    ("heldout_mlm_loss", "tokens", "held-out loss of masked words"),
    ("heldout_mlm_loss", "seconds", "held-out loss of masked words"),
    ("heldout_rtd_f1", "tokens", "held-out F1 of replaced tokens"),
    ("heldout_cosine_discriminator", "tokens", "average cosine in E_D"),
)
"""Figure of the log, scale of the other axis, and its name."""
_SCALES = {"tokens": (1e6, "million tokens"), "seconds": (60, "minutes on two cores")}


def draw(records: Mapping[str, Record], rows: Sequence[Row], folder: Path) -> list[Path]:
    """A figure for each family with curves: losses by tokens and by minutes; F1 and cosines of RTD.

    The loss of an RTD row is that of its generator, which has half the layers: dashed.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for family in dict.fromkeys(row.family for row in rows):
        curves = {}
        for row in (one for one in rows if one.family == family):
            record = records.get(row.name)
            if record is not None and isinstance(curve := record.get("curve"), list):
                scales = {name: number(record, name) / number(record, "steps") for name in _SCALES}
                curves[row.name] = curve, scales
        logged = {name for curve, _ in curves.values() for one in curve for name in one}
        panels = [panel for panel in _PANELS if panel[0] in logged]
        if not panels:
            continue
        size = (4.5 * len(panels), 3.4)
        figure, axes = pyplot.subplots(1, len(panels), figsize=size, layout="constrained", squeeze=False)
        for (key, scale, name), axis in zip(panels, axes[0], strict=True):
            unit, label = _SCALES[scale]
            for row_name, (curve, scales) in curves.items():
                points = [one for one in curve if key in one]
                is_generator = key == "heldout_mlm_loss" and any("heldout_rtd_f1" in one for one in points)
                axis.plot(
                    [one["step"] * scales[scale] / unit for one in points],
                    [one[key] for one in points],
                    label=row_name,
                    linewidth=1.4,
                    linestyle="--" if is_generator else "-",
                )
            axis.set(xlabel=label, ylabel=name)
        axes[0][0].legend(fontsize=7)
        written.append(folder / f"study-{family}.svg")
        figure.savefig(written[-1])
        pyplot.close(figure)
    return written


def shown(figures: Sequence[Path], page: Path) -> list[str]:
    """Lines of Markdown that show figures on a page."""
    links = [(path.stem.replace("-", " "), os.path.relpath(path, page.parent)) for path in figures]
    return [line for name, link in links for line in ("", f"![{name}]({link})")]

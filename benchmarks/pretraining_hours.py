"""Accuracy against hours of pre-training on two cores: the study's rows, and the stages of a recipe.

A row of the study counts the hours of the row that it begins with, too. Of a recipe, every stage that ends in
a fine-tuned model with a score on a dev set is a point, at the hours of all stages so far. What is not
finished is left out.

Run: python benchmarks/pretraining_hours.py --study FILE.json --nano runs/nano --out docs/images
Writes pretraining-hours.svg, and prints the points.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import NamedTuple

import yaml

from study_records import Records, number, scores_of
from study_rows import ROWS

RECIPE = Path(__file__).resolve().parents[1] / "recipes" / "nano" / "stages.yaml"
TASK = "inference"


class Point(NamedTuple):
    """One model: what it is, hours of training before it was scored, and its scores by seed."""

    name: str
    group: str
    hours: float
    scores: Sequence[float]


def study_points(study: Path) -> list[Point]:
    """The finished rows of the study, scored on inference after the same fine-tuning."""
    records = Records(study).rows
    points = []
    for row in ROWS:
        scores = scores_of(records.get(row.name, {}), TASK)
        if scores and not row.finetuning and (not row.start or row.start in records):
            parts = [records[row.name], *([records[row.start]] if row.start else [])]
            hours = sum(number(part, "seconds") for part in parts if "seconds" in part) / 3600
            points.append(Point(row.name, row.family, hours, scores))
    return points


def stage_points(run: Path, recipe: Path) -> list[Point]:
    """The stages of a recipe that end in scored models; each model of a stage is a seed."""
    points, hours = [], 0.0
    for stage in yaml.safe_load(recipe.read_text(encoding="utf-8"))["stages"]:
        record = run / stage["name"] / "stage.json"
        if not record.is_file():
            break
        content = json.loads(record.read_text(encoding="utf-8"))
        hours += sum(content["seconds"]) / 3600
        reports = sorted((run / stage["name"]).glob("*/metrics.json"))
        if content["outputs"] and reports:
            points.append(Point(stage["name"], "recipe", hours, [_accuracy(path) for path in reports]))
    return points


def _accuracy(report: Path) -> float:
    content = json.loads(report.read_text(encoding="utf-8"))
    return float(next(iter(content["dev"].values()))["accuracy"])


def draw(panels: Sequence[tuple[str, Sequence[Point]]], path: Path) -> None:
    """One panel for the study and one for the recipe, since they are scored on different sets."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    size = (5.5 * len(panels), 4)
    figure, axes = pyplot.subplots(1, len(panels), figsize=size, layout="constrained", squeeze=False)
    for (title, points), axis in zip(panels, axes[0], strict=True):
        for group in dict.fromkeys(point.group for point in points):
            chosen = [point for point in points if point.group == group]
            spreads = [100 * stdev(one.scores) if len(one.scores) > 1 else 0 for one in chosen]
            hours, scores = [one.hours for one in chosen], [100 * mean(one.scores) for one in chosen]
            axis.errorbar(hours, scores, yerr=spreads, fmt="o", markersize=4, capsize=2, label=group)
            for point, score in zip(chosen, scores, strict=True):
                axis.annotate(
                    point.name, (point.hours, score), fontsize=6, xytext=(4, 2), textcoords="offset points"
                )
        axis.set(title=title, xlabel="hours on two cores", ylabel="accuracy, %")
        axis.legend(fontsize=7)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
    pyplot.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--study", type=Path, default=Path("runs/study/results.json"))
    parser.add_argument("--nano", type=Path, default=Path("runs/nano"))
    parser.add_argument("--recipe", type=Path, default=RECIPE)
    parser.add_argument("--out", type=Path, default=Path("docs/images"))
    arguments = parser.parse_args()
    found = (
        ("The study: SNLI, held out by premise", study_points(arguments.study)),
        ("The recipe of nano: MultiNLI matched", stage_points(arguments.nano, arguments.recipe)),
    )
    panels = [(title, points) for title, points in found if points]
    for title, points in panels:
        print(title)
        for point in points:
            scores = " ".join(f"{100 * score:.1f}" for score in point.scores)
            print(f"  {point.name:<22} {point.hours:5.2f} hours  {scores}")
    if not panels:
        raise SystemExit(f"no finished row in {arguments.study} and no scored stage in {arguments.nano}")
    draw(panels, arguments.out / "pretraining-hours.svg")


if __name__ == "__main__":
    main()

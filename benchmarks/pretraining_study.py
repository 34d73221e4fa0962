"""Compare choices in pre-training at small scale: objective, embedding sharing, optimizer, schedule.

Every row pre-trains a model of size nano on the same shards (or from the same encoder), then fine-tunes it
with three seeds on inference, sentiment and entities with one recipe. A row writes ROW/row.json with its
commands, seconds, curves and scores; finished rows are kept, and stopped ones resume (transformers' own
model restarts its row). Equal-time rows take as many steps as fit into the seconds of the masked
language model of their family. Two figures show the noise: the spread over fine-tuning seeds in every cell,
and the difference between the pre-training runs ``mlm`` and ``mlm-seed-1``.

Minutes on two cores with bf16 instructions, estimated from the CPU seconds of a step and the minutes of
docs/results.md (3.6 of them fine-tune a row):
objective 90, start 66, optimizer 22, schedule 22, attention 15, packing 7, sift 9. Together 3.9 hours.

Run: python benchmarks/pretraining_study.py --data ../shared/data --out runs/study [--minutes 160] \
         [--page docs/results.md --figures docs/images]
     python benchmarks/pretraining_hours.py --study runs/study --nano runs/nano --out docs/images
The page shows the figures, and that of the second command if it is in images/ beside it.
"""

import argparse
import json
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev, variance

from marked_pages import put_into
from study_rows import BASES, ROWS, Row
from study_sets import TASKS, StudyTask, write_sets
from study_work import Stopped, Work

BEGIN, END = "<!-- table of benchmarks/pretraining_study.py -->", "<!-- end of the study -->"
HOURS = "pretraining-hours.svg"
COSINES = ("heldout_cosine_generator", "heldout_cosine_discriminator", "heldout_cosine_delta")


@dataclass(frozen=True)
class Study:
    """Where the study is, and how large its rows are.

    Attributes:
        work: runs commands.
        shards: the text.
        sets: the tasks' files.
        steps: of a row of 32 windows of 128 tokens.
        seeds: of fine-tuning.
        settings: of every fine-tuning.
        tasks: on which rows are fine-tuned.
    """

    work: Work
    shards: Path
    sets: Path
    steps: int
    seeds: Sequence[int]
    settings: Sequence[str]
    tasks: Sequence[StudyTask]

    def folder(self, row: Row) -> Path:
        """Where a row is."""
        return self.work.out / row.name

    def record(self, name: str) -> dict[str, object] | None:
        """The figures of a row that is finished."""
        path = self.work.out / name / "row.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None

    def run(self, row: Row) -> None:
        """Pre-train and fine-tune a row, unless it is finished."""
        if self.record(row.name) is not None:
            return
        start = self._start(row)
        steps = self._steps(row)
        trained = None
        if row.trains:
            trained = self._pretrain(row, start, steps)
        encoder = trained["encoder"] if trained else (str(start) if start else "nano")
        scores = {} if row.is_base else self._finetune(row, str(encoder))
        content = {"row": row.name, "family": row.family, "steps": steps if row.trains else 0}
        record = content | (trained or {}) | {"scores": scores}
        (self.folder(row) / "row.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        shutil.rmtree(self.folder(row) / "run" / "checkpoints", ignore_errors=True)
        print(time.strftime("%H:%M:%S"), row.name, _short(scores), flush=True)

    def _start(self, row: Row) -> Path | None:
        """The folder with which a row begins."""
        if row.start:
            run = self.work.out / row.start / "run"
            return run if "objective=mlm" in row.settings else run / "encoder"
        if not row.shape:
            return None
        folder = self.folder(row) / "start"
        if not folder.exists():
            self.work.shaped(folder, self.shards, row.shape)
        return folder

    def _steps(self, row: Row) -> int:
        """As in the row; for equal time, as many as fit into the seconds of another row."""
        steps = round(self.steps * row.times)
        if not row.time_of:
            return steps
        own, other = (self.record(name) for name in (row.like, row.time_of))
        if own is None or other is None:
            raise SystemExit(f"{row.name} needs {row.like} and {row.time_of}: run them first")
        return max(round(_number(other, "seconds") / _number(own, "seconds") * _number(own, "steps")), 1)

    def _pretrain(self, row: Row, start: Path | None, steps: int) -> dict[str, object]:
        run = self.folder(row) / "run"
        if row.is_stock:
            return self.work.stock(run, self.shards, steps)
        return self.work.pretrain(run, self.shards, steps, start=start, settings=row.settings)

    def _finetune(self, row: Row, encoder: str) -> dict[str, dict[str, list[float]]]:
        jobs = []
        for task in self.tasks:
            for seed in self.seeds:
                out = self.folder(row) / f"{task.name}-{seed}"
                settings = (*task.settings, *row.finetuning, *self.settings, f"seed={seed}")
                files = [str(self.sets / f"{task.name}_{part}.{task.ending}") for part in ("train", "dev")]
                jobs.append(self.work.finetuning(task.task, encoder, self.shards, files, out, settings))
        self.work.all(jobs)
        scores: dict[str, dict[str, list[float]]] = {}
        for task in self.tasks:
            found = [_score(self.folder(row) / f"{task.name}-{seed}", task.metric) for seed in self.seeds]
            scores[task.name] = {task.metric: found}
            for seed in self.seeds:
                for weights in (self.folder(row) / f"{task.name}-{seed}").glob("*.safetensors"):
                    weights.unlink()
        return scores


def _number(record: dict[str, object], name: str) -> float:
    value = record[name]
    assert isinstance(value, int | float)
    return float(value)


def _score(folder: Path, metric: str) -> float:
    report = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    return float(next(iter(report["dev"].values()))[metric])


def _short(scores: dict[str, dict[str, list[float]]]) -> str:
    return ", ".join(f"{task} {mean(found):.3f}" for task, one in scores.items() for found in one.values())


def _cell(found: Sequence[float]) -> str:
    """Mean and standard deviation in percent."""
    spread = f" ± {100 * stdev(found):.1f}" if len(found) > 1 else ""
    return f"{100 * mean(found):.1f}{spread}"


def table(study: Study, rows: Sequence[Row]) -> list[str]:
    """Lines of Markdown: every row has an anchor, and figures once it is finished."""
    records = {row.name: study.record(row.name) for row in rows}
    if not any(records.values()):
        return ["| row | family | what |", "|---|---|---|", *(f"{_about(row)} |" for row in rows)]
    names = [task.name for task in study.tasks]
    columns = ("tokens", "minutes", *names, "MLM loss", "F1 of detection", "cosine E_G, E_D, delta")
    lines = [
        f"| row | family | what | {' | '.join(columns)} |",
        "|---|---|---" + "|---:" * len(columns) + "|",
    ]
    for row in rows:
        record = records[row.name]
        cells = [""] * len(columns) if record is None else _cells(record, names)
        lines.append(f"{_about(row)} | {' | '.join(cells)} |")
    return [*lines, "", _noise(records, names)]


def _about(row: Row) -> str:
    return f'| <a id="study-{row.name}"></a>`{row.name}` | {row.family} | {row.what}'


def _cells(record: dict[str, object], names: Sequence[str]) -> list[str]:
    """The figures of a row, in the order of the columns."""
    curve = record.get("curve", [])
    assert isinstance(curve, list)
    last = curve[-1] if curve else {}
    figures = [f"{last[key]:.2f}" if key in last else "" for key in ("heldout_mlm_loss", "heldout_rtd_f1")]
    return [
        f"{_number(record, 'tokens') / 1e6:.1f} M" if "tokens" in record else "0",
        f"{_number(record, 'seconds') / 60:.1f}" if "seconds" in record else "0",
        *(_cell(found) if (found := _scores(record, name)) else "" for name in names),
        *figures,
        ", ".join(f"{last[key]:.2f}" for key in COSINES if key in last),
    ]


def _noise(records: Mapping[str, dict[str, object] | None], names: Sequence[str]) -> str:
    """A sentence on the two spreads, in points."""
    said = []
    for name in names:
        scores = {row: _scores(record, name) for row, record in records.items() if record is not None}
        variances = [variance(values) for values in scores.values() if len(values) > 1]
        twins = [mean(scores[row]) for row in ("mlm", "mlm-seed-1") if scores.get(row)]
        if variances:
            between = f" ({100 * abs(twins[0] - twins[1]):.1f})" if len(twins) == 2 else ""
            said.append(f"{name} {100 * mean(variances) ** 0.5:.1f}{between}")
    return (
        "Standard deviation over the seeds of fine-tuning, pooled over all rows, in points (in brackets the "
        f"difference of two pre-trainings that differ in their seed alone): {', '.join(said) or 'one seed'}."
    )


def _scores(record: Mapping[str, object], task: str) -> list[float]:
    """Of every seed."""
    scores = record["scores"]
    assert isinstance(scores, dict)
    return list(next(iter(scores[task].values()))) if task in scores else []


_PANELS = (
    ("heldout_mlm_loss", "tokens", "held-out loss of masked words"),
    ("heldout_mlm_loss", "seconds", "held-out loss of masked words"),
    ("heldout_rtd_f1", "tokens", "held-out F1 of replaced tokens"),
    ("heldout_cosine_discriminator", "tokens", "average cosine in E_D"),
)
"""Figure of the log, scale of the other axis, and its name."""
_SCALES = {"tokens": (1e6, "million tokens"), "seconds": (60, "minutes on two cores")}


def draw(study: Study, rows: Sequence[Row], folder: Path) -> list[Path]:
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
            record = study.record(row.name)
            if record is not None and isinstance(curve := record.get("curve"), list):
                scales = {name: _number(record, name) / _number(record, "steps") for name in _SCALES}
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


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of the public data")
    parser.add_argument("--out", type=Path, default=Path("runs/study"))
    parser.add_argument("--steps", type=int, default=800, help="of a row, of 4,096 tokens")
    parser.add_argument("--seeds", default="1,2,3", help="of fine-tuning, with commas between")
    parser.add_argument("--tasks", default=",".join(task.name for task in TASKS), help="with commas between")
    parser.add_argument("--only", help="names of rows or families with commas between")
    parser.add_argument("--minutes", type=float, default=0, help="stop after so long; rerun to continue")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--set", dest="settings", action="append", default=[], help="of every fine-tuning")
    parser.add_argument("--page", type=Path, help="Markdown page that gets the table of all rows")
    parser.add_argument("--figures", type=Path, help="folder that gets the figures")
    parser.add_argument("--dry-run", action="store_true", help="write what is there, train nothing")
    arguments = parser.parse_args()
    wanted = set(arguments.only.split(",")) if arguments.only else {row.family for row in ROWS}
    rows = [row for row in ROWS if wanted & {row.name, row.family}]
    if not rows:
        raise SystemExit(f"--only {arguments.only}: no such row. Rows: {', '.join(row.name for row in ROWS)}")
    work = Work(arguments.out, processes=arguments.processes, minutes=arguments.minutes)
    sets = arguments.out / "sets"
    study = Study(
        work=work,
        shards=arguments.out / "shards",
        sets=sets,
        steps=arguments.steps,
        seeds=[int(seed) for seed in arguments.seeds.split(",")],
        settings=arguments.settings,
        tasks=[task for task in TASKS if task.name in arguments.tasks.split(",")],
    )
    try:
        if not arguments.dry_run:
            write_sets(arguments.data, sets)
            work.prepare(arguments.data / "corpus", study.shards)
            needed = {row.start for row in rows} | {name for row in rows for name in (row.like, row.time_of)}
            for row in (*BASES, *ROWS):
                if row in rows or row.name in needed:
                    study.run(row)
    except Stopped:
        print("stopped; run the same command to continue", flush=True)
    print("\n".join(table(study, rows)))
    figures = draw(study, ROWS, arguments.figures) if arguments.figures else []
    if arguments.page:
        hours = [path for path in (arguments.page.parent / "images" / HOURS,) if path.is_file()]
        lines = [*table(study, ROWS), *shown([*figures, *hours], arguments.page)]
        put_into(arguments.page, lines, begin=BEGIN, end=END)


if __name__ == "__main__":
    main()

"""What choices of pre-training are worth at small scale: objective, embedding sharing, optimizer, schedule.

Every row pre-trains a model of size nano on the same shards (or from the same encoder), then fine-tunes it
with three seeds on inference, sentiment and entities by one recipe. A row leaves ROW/row.json with its
commands, seconds, curves and scores; what is finished is kept, what was stopped resumes. Rows of equal time
take as many steps as fit into the seconds of the masked language model of their family.

Run: python benchmarks/pretraining_study.py --data ../shared/data --out runs/study [--minutes 160] \
         [--page docs/results.md --figures docs/images]
"""

import argparse
import json
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev

from study_rows import BASES, ROWS, Row
from study_sets import TASKS, StudyTask, write_sets
from study_work import Stopped, Work

BEGIN, END = "<!-- table of benchmarks/pretraining_study.py -->", "<!-- end of the study -->"


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
    """Lines of Markdown."""
    names = [task.name for task in study.tasks]
    lines = [
        f"| row | what | tokens | minutes | {' | '.join(names)} | MLM loss | cosine E_G, E_D |",
        "|---|---|---:|---:|" + "---:|" * (len(names) + 1) + "---|",
    ]
    for row in rows:
        record = study.record(row.name)
        if record is None:
            lines.append(f"| {row.name} | {row.what} | not run |" + " |" * (len(names) + 3))
            continue
        scores = record["scores"]
        assert isinstance(scores, dict)
        cells = [_cell(next(iter(scores[name].values()))) if name in scores else "" for name in names]
        curve = record.get("curve", [])
        assert isinstance(curve, list)
        last = curve[-1] if curve else {}
        loss = f"{last['heldout_mlm_loss']:.2f}" if "heldout_mlm_loss" in last else ""
        keys = ("heldout_cosine_generator", "heldout_cosine_discriminator")
        cosines = ", ".join(f"{last[key]:.2f}" for key in keys if key in last)
        tokens = f"{_number(record, 'tokens') / 1e6:.1f} M" if "tokens" in record else "0"
        minutes = f"{_number(record, 'seconds') / 60:.1f}" if "seconds" in record else ""
        lines.append(
            f"| {row.name} | {row.what} | {tokens} | {minutes} | {' | '.join(cells)} | {loss} | {cosines} |"
        )
    return lines


def put_into(page: Path, lines: Sequence[str]) -> None:
    """Replace what is between the two marks of a page."""
    text = page.read_text(encoding="utf-8")
    before, found, rest = text.partition(BEGIN)
    if not found:
        raise SystemExit(f"{page} has no line {BEGIN}: add it and {END} where the table belongs")
    after = rest.partition(END)[2]
    page.write_text(f"{before}{BEGIN}\n" + "\n".join(lines) + f"\n{END}{after}", encoding="utf-8")


def draw(study: Study, rows: Sequence[Row], folder: Path) -> None:
    """A figure for each family: held-out loss of masked words by tokens and by minutes."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    folder.mkdir(parents=True, exist_ok=True)
    for family in dict.fromkeys(row.family for row in rows):
        figure, panels = pyplot.subplots(1, 2, figsize=(9, 3.4), sharey=True, layout="constrained")
        for row in (one for one in rows if one.family == family):
            record = study.record(row.name)
            curve = record.get("curve") if record else None
            if not isinstance(curve, list):
                continue
            points = [one for one in curve if "heldout_mlm_loss" in one]
            assert record is not None
            per_step = [_number(record, name) / _number(record, "steps") for name in ("tokens", "seconds")]
            for panel, scale, unit in zip(panels, per_step, (1e6, 60), strict=True):
                steps = [one["step"] * scale / unit for one in points]
                losses = [one["heldout_mlm_loss"] for one in points]
                panel.plot(steps, losses, label=row.name, linewidth=1.4)
        panels[0].set(xlabel="million tokens", ylabel="held-out loss of masked words")
        panels[1].set(xlabel="minutes on two cores")
        panels[0].legend(fontsize=7)
        figure.savefig(folder / f"study-{family}.svg")
        pyplot.close(figure)


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
    parser.add_argument("--page", type=Path, help="Markdown page that gets the table")
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
    lines = table(study, rows)
    print("\n".join(lines))
    if arguments.page:
        put_into(arguments.page, lines)
    if arguments.figures:
        draw(study, rows, arguments.figures)


if __name__ == "__main__":
    main()

"""Compare choices in pre-training at small scale: objective, embedding sharing, optimizer, schedule.

Every row pre-trains a model of size nano on the same shards (or from the same encoder), then fine-tunes it
with three seeds on inference, sentiment and entities with one recipe. Commands, seconds, curves and scores
of finished rows are kept in one file (--results), and stopped rows resume (transformers' own model restarts
its row). Seconds per step are measured first, in alternating rounds of all networks. Equal-time rows take as
many steps as fit into the seconds of the masked language model of their family. Two figures show the noise:
the spread over fine-tuning seeds in every cell, and the difference between the pre-training runs ``mlm`` and
``mlm-seed-1``.

Minutes on two cores with bf16 instructions, estimated from the CPU seconds of a step and the minutes of
docs/results.md (3.6 of them fine-tune a row):
paces 7, objective 90, start 66, optimizer 22, schedule 22, attention 15, packing 7, sift 9. Together 4 hours.

Run: python benchmarks/pretraining_study.py --data ../shared/data --out runs/study [--minutes 160] \
         [--results FILE.json] [--page docs/results.md --figures docs/images]
     python benchmarks/pretraining_hours.py --study FILE.json --nano runs/nano --out docs/images
The page shows the figures, and that of the second command if it is in images/ beside it.
"""

import argparse
import json
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median

from marked_pages import put_into
from study_page import draw, shown, table
from study_records import Records
from study_rows import BASES, ROWS, Row
from study_sets import TASKS, StudyTask, write_sets
from study_work import TOKENS_PER_STEP, Stopped, Work

BEGIN, END = "<!-- table of benchmarks/pretraining_study.py -->", "<!-- end of the study -->"
HOURS = "pretraining-hours.svg"
PACE_SHARE = 1 / 33
"""Steps of a round in which paces are measured, as a share of a row's."""


@dataclass(frozen=True)
class Study:
    """Where the study is, and how large its rows are.

    Attributes:
        work: runs commands.
        records: figures of what is finished.
        shards: the text.
        sets: the tasks' files.
        steps: of a row of 32 windows of 128 tokens.
        seeds: of fine-tuning.
        settings: of every fine-tuning.
        tasks: on which rows are fine-tuned.
    """

    work: Work
    records: Records
    shards: Path
    sets: Path
    steps: int
    seeds: Sequence[int]
    settings: Sequence[str]
    tasks: Sequence[StudyTask]

    def folder(self, row: Row) -> Path:
        """Where a row is."""
        return self.work.out / row.name

    def measure(self, wanted: Sequence[Row], rounds: int) -> None:
        """Seconds per step of the networks of some rows, in alternating rounds, unless they are known."""
        rows = {row.name: row for row in ROWS}
        needed = dict.fromkeys(name for row in wanted for name in (row.pace_row, row.time_of) if name)
        needed = dict.fromkeys(rows[name].pace_row for name in needed)
        found: dict[str, list[float]] = {name: [] for name in needed if name not in self.records.paces}
        steps = max(round(self.steps * PACE_SHARE), 3)
        for number in range(rounds):
            for name, paces in found.items():
                out = self.work.out / "paces" / f"{name}-{number}"
                paces.append(self._pretrain(rows[name], self._start(rows[name]), steps, out)[1])
        self.records.put_paces(found)

    def run(self, row: Row) -> None:
        """Pre-train and fine-tune a row, unless it is finished."""
        encoder = self.folder(row) / "run" / "encoder"
        if row.name in self.records.rows and (encoder.is_dir() or not row.is_base):
            return
        start = self._start(row)
        steps = self._steps(row)
        record: dict[str, object] = {"family": row.family, "steps": 0}
        if row.trains:
            trained, _ = self._pretrain(row, start, steps, self.folder(row) / "run")
            seconds = round(steps * self._pace(row), 1)
            record |= {"steps": steps, "tokens": steps * TOKENS_PER_STEP, "seconds": seconds, **trained}
        else:
            encoder = start or Path("nano")
        scores = {} if row.is_base else self._finetune(row, str(encoder))
        self.records.put_row(row.name, record | {"scores": scores})
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
        if not row.time_of:
            return round(self.steps * row.times)
        (other,) = [one for one in ROWS if one.name == row.time_of]
        return max(round(self.steps * other.times * self._pace(other) / self._pace(row)), 1)

    def _pace(self, row: Row) -> float:
        """Seconds per step."""
        return median(self.records.paces[row.pace_row])

    def _pretrain(
        self, row: Row, start: Path | None, steps: int, run: Path
    ) -> tuple[dict[str, object], float]:
        """Command and curve, and seconds per step."""
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


def _score(folder: Path, metric: str) -> float:
    report = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    return float(next(iter(report["dev"].values()))[metric])


def _short(scores: dict[str, dict[str, list[float]]]) -> str:
    return ", ".join(f"{task} {mean(found):.3f}" for task, one in scores.items() for found in one.values())


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
    parser.add_argument(
        "--results", type=Path, help="JSON file of all figures; OUT/results.json if not given"
    )
    parser.add_argument("--pace-rounds", type=int, default=3, help="rounds in which paces are measured")
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
        records=Records(arguments.results or arguments.out / "results.json"),
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
            needed = {row.start for row in rows}
            running = [row for row in (*BASES, *ROWS) if row in rows or row.name in needed]
            study.measure(running, arguments.pace_rounds)
            for row in running:
                study.run(row)
    except Stopped:
        print("stopped; run the same command to continue", flush=True)
    records, names = study.records.rows, [task.name for task in study.tasks]
    print("\n".join(table(records, names, rows)))
    figures = draw(records, ROWS, arguments.figures) if arguments.figures else []
    if arguments.page:
        hours = [path for path in (arguments.page.parent / "images" / HOURS,) if path.is_file()]
        lines = [*table(records, names, ROWS), *shown([*figures, *hours], arguments.page)]
        put_into(arguments.page, lines, begin=BEGIN, end=END)


if __name__ == "__main__":
    main()

"""How `pretraining_study.py` runs its commands: resumable, in time, two fine-tunings at once."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import IO

CORPORA = ("openstax-2", "wikipedia*", "gov-web", "masc", "us-speeches", "dialogue-sgd")
"""Modern text of the public data, 60 MB."""
BATCH = ("size=nano", "batch_size=32", "max_length=128", "micro_batch_size=32", "precision=bf16")
TOKENS_PER_STEP = 32 * 128


class Stopped(Exception):
    """The time is up; everything was saved."""


class Job:
    """A fine-tuning: what to run, and the file by which one knows that it has ended."""

    def __init__(self, command: Sequence[str], out: Path) -> None:
        self.command, self.out = list(command), out

    @property
    def is_done(self) -> bool:
        """Whether its scores are there."""
        return (self.out / "run.json").is_file()


class Work:
    """Runs commands into folders of a study.

    Args:
        out: the study's folder.
        processes: of a pre-training, and fine-tunings at once.
        minutes: after which running commands save and stop; 0: never.
    """

    def __init__(self, out: Path, *, processes: int, minutes: float) -> None:
        self.out = out
        self.processes = processes
        self.stop_at = time.monotonic() + 60 * minutes if minutes else float("inf")
        out.mkdir(parents=True, exist_ok=True)

    def prepare(self, corpus: Path, shards: Path) -> None:
        """Shards with the tokenizer of models/nano."""
        if (shards / "index.json").is_file():
            return
        files = sorted(str(path) for name in CORPORA for path in corpus.glob(f"{name}.jsonl.gz"))
        files = files or sorted(str(path) for path in corpus.glob("*.jsonl.gz"))
        tokenizer = str(Path(__file__).parents[1] / "models" / "nano")
        self._run(
            [
                "data",
                "prepare",
                "--data",
                *files,
                "--tokenizer",
                tokenizer,
                "--out",
                str(shards),
                "--heldout-share",
                "0.01",
            ],
            self.out / "prepare.log",
        )

    def pretrain(
        self, run: Path, shards: Path, steps: int, *, start: Path | None, settings: Sequence[str]
    ) -> tuple[dict[str, object], float]:
        """Pre-train, or go on with it; return command and curve, and the median seconds per step."""
        every = max(steps // 8, 1)
        given = [
            *BATCH,
            f"max_steps={steps}",
            f"warmup_steps={max(steps // 12, 1)}",
            f"eval_every_steps={every}",
        ]
        given += [f"save_every_steps={every}", f"log_every_steps={min(every, 20)}", *settings]
        command = ["pretrain", "--data", str(shards), "--size", "nano", "--out", str(run)]
        command += ["--from", str(start)] if start else []
        command += [part for setting in given if setting != "size=nano" for part in ("--set", setting)]
        if not _has_ended(run, steps):
            resume = ["--resume"] if run.is_dir() and any(run.iterdir()) else []
            log = run.with_name("pretrain.log")
            self._run([*command, *resume], log, processes=self.processes)
            if not _has_ended(run, steps):
                raise SystemExit(f"{run} stopped before step {steps}: see {log}, or run again to continue")
        rows = _metrics(run)
        paces = [row["seconds_per_step"] for row in rows if "seconds_per_step" in row]
        curve = [row for row in rows if any(name.startswith("heldout_") for name in row)]
        return {"command": shlex.join(["debertav3", *command]), "curve": curve}, median(paces)

    def stock(self, run: Path, shards: Path, steps: int) -> tuple[dict[str, object], float]:
        """The same masked language modelling with transformers' model."""
        script = Path(__file__).with_name("stock_mlm.py")
        command = [str(script), "--data", str(shards), "--steps", str(steps), "--out", str(run)]
        if not (run / "report.json").is_file():
            self._run(command, run.with_name("pretrain.log"), is_script=True)
        report = json.loads((run / "report.json").read_text(encoding="utf-8"))
        found = {"command": shlex.join(["python", *command]), "curve": report["curve"]}
        return found, float(report["seconds_per_step"])

    def shaped(self, folder: Path, shards: Path, shape: Sequence[tuple[str, Sequence[str]]]) -> None:
        """A masked language model with random weights whose configuration differs from the size's."""
        import torch

        from debertav3 import DebertaV2ForMaskedLM, DebertaV3Tokenizer
        from debertav3.checkpoint import save_model
        from debertav3.pretrain.networks import vocabulary_rows
        from debertav3.sizes import config_for

        torch.manual_seed(0)
        tokenizer = DebertaV3Tokenizer.from_pretrained(shards / "tokenizer")
        keys = {name: list(value) for name, value in shape}
        config = config_for("nano", vocab_size=vocabulary_rows("nano", len(tokenizer)), **keys)
        folder.parent.mkdir(parents=True, exist_ok=True)
        save_model(DebertaV2ForMaskedLM(config), folder, tokenizer)

    def finetuning(
        self, task: str, model: str, shards: Path, files: Sequence[str], out: Path, settings: Sequence[str]
    ) -> Job:
        """A fine-tuning that `all` runs."""
        train, dev = files
        command = ["finetune", task, "--model", model, "--tokenizer", str(shards / "tokenizer")]
        command += ["--train", train, "--dev", dev, "--out", str(out)]
        given = ("precision=bf16", "check_data=false", *settings)
        return Job([*command, *(part for setting in given for part in ("--set", setting))], out)

    def all(self, jobs: Sequence[Job]) -> None:
        """Run fine-tunings, as many at once as there are processes."""
        waiting = [job for job in jobs if not job.is_done]
        for first in range(0, len(waiting), self.processes):
            self._wait(waiting[first : first + self.processes])

    def _wait(self, jobs: Sequence[Job]) -> None:
        with ExitStack() as stack:
            running = []
            for job in jobs:
                job.out.parent.mkdir(parents=True, exist_ok=True)
                log = stack.enter_context(job.out.with_suffix(".log").open("ab"))
                resume = ["--resume"] if job.out.is_dir() and any(job.out.iterdir()) else []
                command = [sys.executable, "-m", "debertav3", *job.command, *resume]
                running.append(self._start(command, log, threads=1))
            self._await(running)
        if failed := [job for job in jobs if not job.is_done]:
            raise SystemExit(f"a fine-tuning failed: see {failed[0].out.with_suffix('.log')}")

    def _run(self, command: Sequence[str], log: Path, *, processes: int = 1, is_script: bool = False) -> None:
        log.parent.mkdir(parents=True, exist_ok=True)
        launcher: list[str] = []
        if not is_script:
            many = (
                ["torch.distributed.run", "--nproc-per-node", str(processes), "-m"] if processes > 1 else []
            )
            launcher = ["-m", *many, "debertav3"]
        with log.open("ab") as file:
            threads = 1 if processes > 1 else self.processes
            process = self._start([sys.executable, *launcher, *command], file, threads=threads)
            self._await([process])
        if process.returncode:
            raise SystemExit(f"{shlex.join(command[:4])} ... failed: see {log}")

    def _start(self, command: Sequence[str], log: IO[bytes], *, threads: int) -> "subprocess.Popen[bytes]":
        environment: Mapping[str, str] = {**os.environ, "OMP_NUM_THREADS": str(threads)}
        return subprocess.Popen(command, stdout=log, stderr=log, env=environment)

    def _await(self, processes: Sequence["subprocess.Popen[bytes]"]) -> None:
        """Wait for all; when the time is up ask them to save and stop."""
        try:
            while any(process.poll() is None for process in processes):
                if time.monotonic() >= self.stop_at:
                    raise Stopped
                time.sleep(0.2)
        except BaseException:
            for process in processes:
                if process.poll() is None:
                    process.send_signal(signal.SIGTERM)
            for process in processes:
                process.wait()
            raise


def _metrics(run: Path) -> list[dict[str, float]]:
    path = run / "metrics.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def _has_ended(run: Path, steps: int) -> bool:
    """Whether a pre-training came to its end; one that was stopped has exported its networks, too."""
    last = max((row["step"] for row in _metrics(run)), default=0)
    return last >= steps and (run / "encoder" / "config.json").is_file()

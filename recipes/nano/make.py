"""Run the stages of a recipe one after another; what is complete is kept, what was stopped is resumed.

A stage is complete when its commands have ended and made what they should. ``stage.json`` in its folder says
by which commands, scripts, data and earlier stages (SHA-256), how long they took, and what came out; a stage
whose recipe has changed since is not used in silence.

Run: python recipes/nano/make.py --data DATA --wordnet /usr/share/wordnet --out runs/nano
"""

import argparse
import ast
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

import yaml

from debertav3.errors import UserError
from debertav3.files import sha256_of_bytes, sha256_of_file, write_json, write_text

HERE = Path(__file__).parent
RECORD = "stage.json"
RESUMES = ("pretrain", "finetune")
"""Commands that continue a run with --resume."""
HEARTBEAT_SECONDS = 10
"""Between two notes of the time that a command has taken."""


@dataclass(frozen=True)
class Stage:
    """One stage, as the recipe has it."""

    name: str
    run: tuple[str, ...]
    makes: tuple[str, ...]
    reads: tuple[str, ...] = ()
    config: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Recipe:
    """Stages in their order, and the values that their commands name in capitals."""

    stages: tuple[Stage, ...]
    values: Mapping[str, object]

    @classmethod
    def read(cls, path: Path, *, tiny: bool = False) -> "Recipe":
        """Read a recipe; ``tiny`` takes its small values."""
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        lists = ("run", "makes", "reads")
        stages = tuple(
            Stage(**{key: tuple(value) if key in lists else value for key, value in row.items()})
            for row in content["stages"]
        )
        return cls(stages, content["values"] | (content["tiny"] if tiny else {}))


@dataclass
class Record:
    """What is known of a stage: ``stage.json``."""

    path: Path
    inputs: dict[str, str]
    seconds: list[float]
    done: int = 0
    """Commands that have ended well."""
    outputs: dict[str, str] = field(default_factory=dict)
    accepted: list[str] = field(default_factory=list)
    """Inputs that have changed since, and that the user said to accept."""

    @property
    def is_complete(self) -> bool:
        """Whether the stage's outputs were there at its end."""
        return bool(self.outputs)

    @classmethod
    def read(cls, folder: Path) -> "Record | None":
        """The record in a folder, if there is one."""
        path = folder / RECORD
        return cls(path, **json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else None

    def write(self) -> None:
        """Write it, whole or not at all."""
        content = {name: value for name, value in vars(self).items() if name != "path"}
        write_json(self.path, content)


class Runner:
    """Runs the stages of a recipe.

    Args:
        recipe: what to run.
        places: folders by placeholder: ``data`` and ``wordnet``.
        out: where each stage has a folder of its name.
        processes: of each training.
        minutes: after which the running command is asked to stop; 0: never.
        scripts: folder of the recipe's scripts.
        accept: stages that are kept although something they were made of has changed.
    """

    def __init__(
        self,
        recipe: Recipe,
        places: Mapping[str, Path],
        out: Path,
        *,
        processes: int = 1,
        minutes: float = 0,
        scripts: Path = HERE,
        accept: Sequence[str] = (),
    ) -> None:
        self.recipe = recipe
        self.accept = accept
        self.places = {name: path.resolve() for name, path in places.items()}
        self.out = out.resolve()
        self.processes = processes
        self.stop_at = time.monotonic() + minutes * 60 if minutes else float("inf")
        self.scripts = scripts
        self.running = "before the first command"
        """Where the run is, for a message that it was stopped."""
        self._sums: dict[Path, str] = {}

    def run(self, *, last: str | None = None) -> bool:
        """Run what is not complete, to the stage ``last``; return whether all of it is complete now.

        Raises:
            UserError: if a stage was made by another recipe, or one of its commands failed.
        """
        for stage in self.recipe.stages:
            record = self._record(stage)
            if not record.is_complete and not self._run_stage(stage, record):
                return False
            self.show(stage, record)
            if stage.name == last:
                break
        return True

    def show(self, stage: Stage, record: Record | None) -> None:
        """Print a line about a stage."""
        if record is None:
            print(f"{stage.name:<10} not begun", flush=True)
            return
        state = "complete" if record.is_complete else f"{record.done} of {len(stage.run)} commands done"
        print(f"{stage.name:<10} {state}, {sum(record.seconds) / 3600:.2f} hours", flush=True)

    def _record(self, stage: Stage) -> Record:
        """The stage's record, fresh where there is none."""
        folder = self.out / stage.name
        inputs = self.inputs(stage)
        record = Record.read(folder)
        if record is None:
            return Record(folder / RECORD, inputs, [0.0] * len(stage.run))
        if record.inputs != inputs:
            names = sorted(
                name for name in inputs | record.inputs if inputs.get(name) != record.inputs.get(name)
            )
            if stage.name not in self.accept:
                raise UserError(
                    f"stage {stage.name} was made with other {', '.join(names[:4])}: remove {folder} to make "
                    f"it again, restore them, or add --accept {stage.name} if the change does not matter."
                )
            record.inputs, record.accepted = inputs, sorted({*record.accepted, *names})
            record.write()
        return record

    def inputs(self, stage: Stage) -> dict[str, str]:
        """SHA-256 sums of everything a stage depends on, by name."""
        text = json.dumps([stage.run, stage.makes, stage.config, dict(self.recipe.values)], sort_keys=True)
        used = {name: value for name, value in self.recipe.values.items() if f"{{{name}}}" in text}
        recipe = json.dumps([stage.run, stage.makes, stage.config, used], sort_keys=True)
        found = {"commands": sha256_of_bytes(recipe.encode())}
        for script in self._scripts_of(stage):
            found[script.name] = sha256_of_file(script)
        for folder in stage.reads:
            found[f"data/{folder}"] = self._sum_of(self.places["data"] / folder)
        for earlier in self.recipe.stages:
            if f"{{{earlier.name}}}" in text:
                record = Record.read(self.out / earlier.name)
                outputs = record.outputs if record else {}
                found[f"stage {earlier.name}"] = sha256_of_bytes(json.dumps(outputs, sort_keys=True).encode())
        return found

    def _scripts_of(self, stage: Stage) -> list[Path]:
        """Scripts that the stage runs, with the modules they import and their YAML files."""
        waiting = [self.scripts / line.split()[1] for line in stage.run if line.startswith("python ")]
        found: set[Path] = set()
        while waiting:
            script = waiting.pop()
            if script in found or not script.is_file():
                continue
            found.add(script)
            if script.suffix == ".py":
                waiting += [self.scripts / f"{name}.py" for name in _imports(script)]
                waiting.append(script.with_suffix(".yaml"))
        return sorted(found)

    def _sum_of(self, path: Path) -> str:
        """Of the content of a file or folder, its stage record and logs left out."""
        if path not in self._sums:
            files = sorted(one for one in path.rglob("*") if one.is_file()) if path.is_dir() else [path]
            sums = {str(one.relative_to(path)): sha256_of_file(one) for one in files}
            self._sums[path] = sha256_of_bytes(json.dumps(sums).encode())
        return self._sums[path]

    def _fill(self, text: str, stage: Stage) -> str:
        """A text with its placeholders replaced."""
        folders = {one.name: self.out / one.name for one in self.recipe.stages}
        values = {**self.places, **folders, "here": self.out / stage.name, **self.recipe.values}
        return text.format(**values)

    def _fill_config(self, value: object, stage: Stage) -> object:
        """A config with its placeholders replaced; one that is a value alone keeps its type."""
        if isinstance(value, dict):
            return {key: self._fill_config(one, stage) for key, one in value.items()}
        if isinstance(value, list):
            return [self._fill_config(one, stage) for one in value]
        if not isinstance(value, str):
            return value
        bare = value.strip("{}")
        return self.recipe.values[bare] if bare in self.recipe.values else self._fill(value, stage)

    def command(self, line: str, stage: Stage) -> list[str]:
        """The arguments of a command; a run that has begun gets --resume."""
        words = [part for word in shlex.split(line) for part in self._words(word, stage)]
        program, *rest = words
        if program == "python":
            return [sys.executable, str(self.scripts / rest[0]), *rest[1:]]
        if rest[0] in RESUMES and _has_begun(Path(rest[rest.index("--out") + 1])):
            rest = [*rest, "--resume"]
        many = program == "torchrun" and self.processes > 1
        launcher = ["torch.distributed.run", "--nproc-per-node", str(self.processes), "-m"] if many else []
        return [sys.executable, "-m", *launcher, "debertav3", *rest]

    def _words(self, word: str, stage: Stage) -> Sequence[str]:
        """A word of a command with its placeholders replaced; a value alone may be several words."""
        if (name := word.strip("{}")) in self.recipe.values and word == f"{{{name}}}":
            return str(self.recipe.values[name]).split()
        return _expand(self._fill(word, stage))

    def _run_stage(self, stage: Stage, record: Record) -> bool:
        """Run the commands of a stage from the first that has not ended; False if the time is up."""
        folder = self.out / stage.name
        folder.mkdir(parents=True, exist_ok=True)
        if stage.config:
            config = self._fill_config(stage.config, stage)
            write_text(folder / "config.yaml", yaml.safe_dump(config, sort_keys=False))
        for number in range(record.done, len(stage.run)):
            if time.monotonic() >= self.stop_at:
                self.show(stage, record)
                return False
            command = self.command(" ".join(stage.run[number].split()), stage)
            self.running = f"in stage {stage.name}, command {number + 1} of {len(stage.run)}"
            print(f"{stage.name:<10} {number + 1} of {len(stage.run)}: {_shown(command)}", flush=True)
            if not self._run_command(command, record, number, folder / f"log-{number + 1}.txt"):
                self.show(stage, record)
                return False
            record.done = number + 1
            record.write()
        if missing := [name for name in stage.makes if not (folder / name).exists()]:
            raise UserError(
                f"stage {stage.name} ended without {', '.join(missing)}: see its logs in {folder}."
            )
        record.outputs = {name: self._sum_of(folder / name) for name in stage.makes}
        record.write()
        return True

    def _run_command(self, command: list[str], record: Record, number: int, log: Path) -> bool:
        """Run one command and note its time while it runs; False if it was asked to stop.

        A training that is asked to stop saves a checkpoint first.
        """
        before, start, is_stopping = record.seconds[number], time.monotonic(), False
        offset = log.stat().st_size if log.exists() else 0
        with log.open("ab") as file:
            process = subprocess.Popen(
                command, stdout=file, stderr=subprocess.STDOUT, env=self._environment()
            )
            try:
                while True:
                    try:
                        code = process.wait(HEARTBEAT_SECONDS)
                        break
                    except subprocess.TimeoutExpired:
                        record.seconds[number] = round(before + time.monotonic() - start, 1)
                        record.write()
                        if time.monotonic() >= self.stop_at and not is_stopping:
                            is_stopping = True
                            process.send_signal(signal.SIGTERM)
            except BaseException:
                process.send_signal(signal.SIGTERM)
                process.wait()
                raise
            finally:
                record.seconds[number] = round(before + time.monotonic() - start, 1)
                record.write()
        is_finished = not _is_training(command) or _is_finished(command, log, offset)
        if is_stopping and (code or not is_finished):
            return False
        if code:
            last = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:]
            raise UserError(f"{_shown(command)} ended with {code}: {' '.join(last)} (all of it: {log})")
        return is_finished

    def _environment(self) -> dict[str, str]:
        threads = max((os.cpu_count() or 1) // self.processes, 1)
        return {"OMP_NUM_THREADS": str(threads), **os.environ, "PYTHONUNBUFFERED": "1"}


def _imports(script: Path) -> Iterator[str]:
    """Names of the modules that a script imports."""
    for node in ast.walk(ast.parse(script.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
        elif isinstance(node, ast.Import):
            yield from (one.name for one in node.names)


def _expand(word: str) -> Sequence[str]:
    """The files of a pattern, in order."""
    if "*" not in word:
        return [word]
    path = Path(word)
    if not (found := sorted(str(one) for one in path.parent.glob(path.name))):
        raise UserError(f"no file matches {word}")
    return found


def _has_begun(out: Path) -> bool:
    return out.is_dir() and any(out.iterdir())


def _is_training(command: Sequence[str]) -> bool:
    return any(word in RESUMES for word in command)


def _is_finished(command: Sequence[str], log: Path, offset: int) -> bool:
    """Whether a training that has ended is finished, and was not stopped before.

    Args:
        command: the training.
        log: of the training.
        offset: where in the log this run of it begins.
    """
    if "finetune" in command:
        return (Path(command[command.index("--out") + 1]) / "run.json").is_file()
    return b'"finished": true' in log.read_bytes()[offset:]


def _shown(command: Sequence[str]) -> str:
    """A command in short."""
    text = shlex.join([Path(command[0]).name, *command[1:]])
    return text if len(text) < 300 else text[:300] + " ..."


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipe", type=Path, default=HERE / "stages.yaml")
    parser.add_argument("--data", type=Path, required=True, help="folder of the public data")
    parser.add_argument("--wordnet", type=Path, default=Path("/usr/share/wordnet"))
    parser.add_argument("--out", type=Path, default=Path("runs/nano"))
    parser.add_argument("--processes", type=int, default=min(os.cpu_count() or 1, 2))
    parser.add_argument("--minutes", type=float, default=0, help="stop after so long; rerun to continue")
    parser.add_argument("--last", help="the stage after which to stop")
    parser.add_argument(
        "--accept", nargs="*", default=[], help="stages to keep although their recipe changed"
    )
    parser.add_argument("--tiny", action="store_true", help="with the recipe's small values")
    parser.add_argument("--list", action="store_true", help="print what is complete, and stop")
    arguments = parser.parse_args()
    recipe = Recipe.read(arguments.recipe, tiny=arguments.tiny)
    places = {"data": arguments.data, "wordnet": arguments.wordnet}
    try:
        _check(recipe, places, arguments.last)
        runner = Runner(
            recipe,
            places,
            arguments.out,
            processes=arguments.processes,
            minutes=arguments.minutes,
            scripts=arguments.recipe.parent.resolve(),
            accept=arguments.accept,
        )
        if arguments.list:
            for stage in recipe.stages:
                runner.show(stage, Record.read(arguments.out / stage.name))
            return
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, _stop)
        try:
            if not runner.run(last=arguments.last):
                print("stopped; run the same command to continue", flush=True)
        except KeyboardInterrupt as stop:
            print(f"make.py: stopped {runner.running}; run the same command to continue", file=sys.stderr)
            sys.exit(128 + stop.args[0])
    except UserError as error:
        print(f"make.py: error: {error}", file=sys.stderr)
        sys.exit(2)


def _stop(number: int, _: FrameType | None) -> None:
    """End as on Ctrl-C, after the running command has been asked to stop."""
    raise KeyboardInterrupt(number)


def _check(recipe: Recipe, places: Mapping[str, Path], last: str | None) -> None:
    """Check what the user said before anything is written."""
    names = [stage.name for stage in recipe.stages]
    if last is not None and last not in names:
        raise UserError(f"--last {last} is not a stage. Stages: {', '.join(names)}.")
    if not places["data"].is_dir():
        raise UserError(f"--data {places['data']} is not a folder: give the folder of the public data.")
    uses_wordnet = any("{wordnet}" in line for stage in recipe.stages for line in stage.run)
    if uses_wordnet and not (places["wordnet"] / "data.noun").is_file():
        raise UserError(
            f"--wordnet {places['wordnet']} has no data.noun: give WordNet's database files "
            "(Debian: apt install wordnet-base)."
        )


if __name__ == "__main__":
    main()

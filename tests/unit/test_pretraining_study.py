"""The study trains a row to its end before it scores it."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).resolve().parents[2] / "benchmarks"))

from study_work import Work


class Trains(Work):
    """Work whose pre-trainings take some steps at a time and, like `pretrain`, export when they stop."""

    steps_at_a_time = 5

    def _run(self, command: Sequence[str], log: Path, *, processes: int = 1, is_script: bool = False) -> None:
        self.commands = [*getattr(self, "commands", []), list(command)]
        run = self.out / "row"
        (run / "encoder").mkdir(parents=True, exist_ok=True)
        (run / "encoder" / "config.json").touch()
        step = min(8, self.steps_at_a_time * len(self.commands))
        with (run / "metrics.jsonl").open("a") as file:
            file.write(json.dumps({"step": step, "seconds_per_step": 0.5}) + "\n")


def test_a_row_that_was_stopped_is_trained_to_its_end(tmp_path: Path) -> None:
    work = Trains(tmp_path, processes=1, minutes=0)
    with pytest.raises(SystemExit, match="row stopped before step 8"):
        work.pretrain(tmp_path / "row", tmp_path / "shards", 8, start=None, settings=())
    for _ in range(2):  # the second finds it finished
        _, seconds = work.pretrain(tmp_path / "row", tmp_path / "shards", 8, start=None, settings=())
    assert ["--resume" in command for command in work.commands] == [False, True]
    assert seconds == 0.5

"""The runner of a recipe: complete stages are kept, killed ones resumed, changed ones refused."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).resolve().parents[2] / "recipes" / "nano"))

import make
from make import HERE, Recipe, Record, Runner

from debertav3.errors import UserError

RECIPE = """
values: {COUNT: 3, WORD: a b}
tiny: {COUNT: 1}
stages:
- name: first
  reads: [texts]
  makes: [a.txt]
  run: ["python write.py {data}/texts/*.txt --out {here}/a.txt --times {COUNT}"]
- name: second
  makes: [b.txt]
  config: {count: "{COUNT}", folder: "{first}/x", fixed: 2}
  run:
  - python write.py {first}/a.txt --out {here}/b.txt --times 2
  - python write.py {here}/b.txt --out {here}/c.txt --times 1
"""
SCRIPT = """
import argparse, part
parser = argparse.ArgumentParser()
parser.add_argument("files", nargs="+")
parser.add_argument("--out")
parser.add_argument("--times", type=int)
arguments = parser.parse_args()
with open(arguments.out, "w") as file:
    file.write(part.joined(arguments.files) * arguments.times)
with open("{ran}", "a") as file:
    file.write(arguments.out + "\\n")
"""


class Workshop:
    """A recipe with its scripts and data in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.scripts, self.ran = folder, folder / "scripts", folder / "ran.txt"
        self.scripts.mkdir()
        (folder / "data" / "texts").mkdir(parents=True)
        (folder / "data" / "texts" / "1.txt").write_text("x")
        (folder / "stages.yaml").write_text(RECIPE)
        (self.scripts / "write.py").write_text(SCRIPT.replace("{ran}", str(self.ran)))
        (self.scripts / "part.py").write_text(
            "def joined(files): return ''.join(open(f).read() for f in files)"
        )

    def runner(self, **options: object) -> Runner:
        recipe = Recipe.read(self.folder / "stages.yaml", tiny=bool(options.pop("tiny", False)))
        places = {"data": self.folder / "data", "wordnet": self.folder}
        return Runner(recipe, places, self.folder / "out", scripts=self.scripts, **options)

    def runs(self) -> int:
        return len(self.ran.read_text().splitlines()) if self.ran.exists() else 0


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    return Workshop(tmp_path)


def test_stages_run_once_and_record_what_they_were_made_of(workshop: Workshop) -> None:
    assert workshop.runner().run()
    out = workshop.folder / "out"
    assert (out / "second" / "b.txt").read_text() == "x" * 6
    record = json.loads((out / "second" / "stage.json").read_text())
    assert set(record["inputs"]) == {"commands", "write.py", "part.py", "stage first"}
    assert record["outputs"]["b.txt"] and len(record["seconds"]) == 2
    assert (out / "second" / "config.yaml").read_text().splitlines()[0] == "count: 3"
    assert workshop.runner().run() and workshop.runs() == 3


def test_a_failed_stage_is_resumed_at_its_command(workshop: Workshop) -> None:
    script = workshop.scripts / "write.py"
    good = script.read_text()
    workshop.runner().run(last="first")
    recipe = workshop.folder / "stages.yaml"
    recipe.write_text(RECIPE.replace("{here}/b.txt --out {here}/c.txt", "{here}/missing --out {here}/c.txt"))
    with pytest.raises(UserError, match=r"ended with 1: .*missing"):
        workshop.runner().run()
    record = Record.read(workshop.folder / "out" / "second")
    assert record and record.done == 1 and not record.is_complete
    (workshop.folder / "out" / "second" / "missing").write_text("y")
    assert script.read_text() == good and workshop.runner().run() and workshop.runs() == 3


@pytest.mark.parametrize("what", ["script", "module", "data", "values", "commands"])
def test_a_stage_of_another_recipe_is_refused(workshop: Workshop, what: str) -> None:
    workshop.runner().run()
    if what == "data":
        (workshop.folder / "data" / "texts" / "1.txt").write_text("y")
    elif what == "values":
        (workshop.folder / "stages.yaml").write_text(RECIPE.replace("COUNT: 3", "COUNT: 4"))
    elif what == "commands":
        (workshop.folder / "stages.yaml").write_text(RECIPE.replace('{COUNT}"]', '2"]'))
    else:
        path = workshop.scripts / {"script": "write.py", "module": "part.py"}[what]
        path.write_text(path.read_text() + "\n# changed\n")
    with pytest.raises(UserError, match="stage first was made with other"):
        workshop.runner().run()


def test_a_change_that_does_not_matter_may_be_accepted(workshop: Workshop) -> None:
    workshop.runner().run()
    path = workshop.scripts / "write.py"
    path.write_text(path.read_text() + "\n# a comment\n")
    with pytest.raises(UserError, match="add --accept first"):
        workshop.runner().run()
    assert workshop.runner(accept=["first", "second"]).run() and workshop.runs() == 3
    record = Record.read(workshop.folder / "out" / "first")
    assert record and record.accepted == ["write.py"] and workshop.runner().run()


def test_a_value_that_a_stage_does_not_use_may_change(workshop: Workshop) -> None:
    workshop.runner().run()
    (workshop.folder / "stages.yaml").write_text(RECIPE.replace("WORD: a b", "WORD: c"))
    assert workshop.runner().run() and workshop.runs() == 3


def test_an_earlier_stage_that_came_out_otherwise_is_noticed(workshop: Workshop) -> None:
    workshop.runner().run()
    (workshop.folder / "data" / "texts" / "1.txt").write_text("y")
    for path in sorted((workshop.folder / "out" / "first").iterdir()):
        path.unlink()
    with pytest.raises(UserError, match="stage second was made with other stage first"):
        workshop.runner().run()


def test_a_stage_that_does_not_make_what_it_should_is_an_error(workshop: Workshop) -> None:
    (workshop.folder / "stages.yaml").write_text(RECIPE.replace("makes: [b.txt]", "makes: [other.txt]"))
    with pytest.raises(UserError, match=r"stage second ended without other\.txt"):
        workshop.runner().run()


def test_the_small_values_replace_the_others(workshop: Workshop) -> None:
    workshop.runner(tiny=True).run()
    assert (workshop.folder / "out" / "first" / "a.txt").read_text() == "x"


def test_when_the_time_is_up_nothing_more_is_begun(workshop: Workshop) -> None:
    assert not workshop.runner(minutes=1e-9).run()
    assert workshop.runs() == 0 and workshop.runner().run()


def test_a_command_that_runs_when_the_time_is_up_is_asked_to_stop(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(make, "HEARTBEAT_SECONDS", 0.1)
    (workshop.scripts / "write.py").write_text("import time; time.sleep(60)")
    start = time.monotonic()
    assert not workshop.runner(minutes=0.5 / 60).run()
    assert time.monotonic() - start < 30
    record = Record.read(workshop.folder / "out" / "first")
    assert record and not record.is_complete and record.seconds[0] > 0


def test_a_killed_run_is_continued(workshop: Workshop) -> None:
    marker = workshop.folder / "marker"
    slow = (
        f"import os, time\nif not os.path.exists({str(marker)!r}):\n"
        f"    open({str(marker)!r}, 'w')\n    time.sleep(60)\n"
    )
    part = workshop.scripts / "part.py"
    part.write_text(slow + part.read_text())
    code = (
        f"import sys; sys.path[:0] = [{str(HERE)!r}]\n"
        "from make import Recipe, Runner; from pathlib import Path\n"
        f"f = Path({str(workshop.folder)!r})\n"
        "Runner(Recipe.read(f / 'stages.yaml'), {'data': f / 'data', 'wordnet': f}, f / 'out', "
        "scripts=f / 'scripts').run()"
    )
    process = subprocess.Popen([sys.executable, "-c", code], start_new_session=True)
    deadline = time.monotonic() + 60
    while not marker.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert workshop.runner().run() and workshop.runs() == 3


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
def test_a_run_that_is_stopped_says_where_in_one_line(workshop: Workshop, number: signal.Signals) -> None:
    """Ctrl-C reaches the running command too, as in a terminal; SIGTERM reaches make.py alone."""
    marker, part = workshop.folder / "marker", workshop.scripts / "part.py"
    good = part.read_text()
    part.write_text(f"import time\nopen({str(marker)!r}, 'w')\ntime.sleep(60)\n")
    command = [sys.executable, str(HERE / "make.py"), "--recipe", str(workshop.folder / "stages.yaml")]
    scripts = workshop.scripts
    for script in scripts.iterdir():
        (workshop.folder / script.name).symlink_to(script)
    command += ["--data", str(workshop.folder / "data"), "--out", str(workshop.folder / "out")]
    process = subprocess.Popen(command, start_new_session=True, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not marker.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.2)  # seconds are noted by tenths
    (os.killpg if number == signal.SIGINT else os.kill)(process.pid, number)
    _, told = process.communicate(timeout=30)
    assert told == "make.py: stopped in stage first, command 1 of 1; run the same command to continue\n"
    assert process.returncode == 128 + number
    record = json.loads((workshop.folder / "out" / "first" / "stage.json").read_text())
    assert record["seconds"][0] > 0 and record["done"] == 0
    part.write_text(good)
    (workshop.folder / "out" / "first" / "stage.json").unlink()  # of another part.py
    assert subprocess.run(command, check=False).returncode == 0 and workshop.runs() == 3


def test_a_training_that_has_begun_is_resumed(workshop: Workshop) -> None:
    runner = workshop.runner()
    stage = runner.recipe.stages[1]
    line = "torchrun pretrain --data {data} --out {here}/run"
    assert "--resume" not in runner.command(line, stage)
    assert runner.command("python write.py --times {COUNT} {WORD}", stage)[2:] == ["--times", "3", "a", "b"]
    run = workshop.folder / "out" / "second" / "run"
    run.mkdir(parents=True)
    (run / "run.json").write_text("{}")
    assert runner.command(line, stage)[-1] == "--resume"
    assert "--nproc-per-node" in workshop.runner(processes=2).command(line, stage)


def test_a_training_is_finished_only_if_this_run_of_it_says_so(tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    command = ["python", "-m", "debertav3", "pretrain", "--out", str(tmp_path / "run")]
    log.write_text('{"finished": true}\n')
    offset = log.stat().st_size
    with log.open("a") as file:
        file.write('{"finished": false}\ndebertav3: wrote run\n')
    assert make._is_finished(command, log, 0) and not make._is_finished(command, log, offset)
    tuning = ["python", "-m", "debertav3", "finetune", "nli", "--out", str(tmp_path)]
    assert not make._is_finished(tuning, log, 0)
    (tmp_path / "run.json").write_text("{}")
    assert make._is_finished(tuning, log, 0)


@pytest.mark.parametrize("name", ["nano", "german"])
def test_a_recipe_names_only_what_there_is(name: str) -> None:
    folder = HERE.parent / name
    recipe = Recipe.read(folder / "stages.yaml")
    names = [stage.name for stage in recipe.stages]
    assert len(set(names)) == len(names) and set(
        Recipe.read(folder / "stages.yaml", tiny=True).values
    ) == set(recipe.values)
    runner = Runner(recipe, {"data": HERE, "wordnet": HERE}, HERE / "nothing", scripts=folder)
    for place, stage in enumerate(recipe.stages):
        text = json.dumps([stage.run, stage.config])
        assert not [later for later in names[place:] if f"{{{later}}}" in text]  # only earlier stages
        for line in stage.run:
            runner._fill(line, stage)
            if line.startswith("python "):
                assert (folder / line.split()[1]).is_file()

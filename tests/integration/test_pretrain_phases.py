"""Contract: phases, WSD, averages, Muon and probes resume bit for bit, and wrong settings end at once."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("datatrove")

from debertav3.cli.pretrain import pretrain as pretrain_command
from debertav3.errors import UserError
from debertav3.models import DebertaV2Model
from debertav3.pretrain import loop, run
from debertav3.pretrain.rtd import MLMStep
from debertav3.pretrain.run import pretrain
from debertav3.pretrain.settings import PretrainConfig
from tiny_runs import (
    TINY,
    WORDS,
    cut_back,
    exports,
    finished_runs,
    rows,
    same,
    state,
    with_phases,
    write_folders,
)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory, nano: Path) -> dict[str, Path]:
    return write_folders(tmp_path_factory.mktemp("phases"), nano)


VARIANTS: dict[str, Callable[[dict[str, Path]], PretrainConfig]] = {
    "phases": with_phases,
    "wsd": lambda folders: TINY.changed(schedule="wsd", decay_steps=3),
    "averages": lambda folders: TINY.changed(ema_decay=0.9, mean_last=3, mean_every_steps=2),
    "muon": lambda folders: TINY.changed(optimizer="muon"),
    "muon-joint-es": lambda folders: TINY.changed(
        optimizer="muon", mode="joint", sharing="es", ema_decay=0.5
    ),
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, folders: dict[str, Path]) -> Callable[[str], Path]:
    return finished_runs(tmp_path_factory, lambda name: VARIANTS[name](folders), folders["first"])


@pytest.mark.parametrize(
    ("variant", "killed_after"),
    [("phases", 4),
     *(pytest.param(*one, marks=pytest.mark.slow)
       for one in (("wsd", 6), ("averages", 4), ("muon", 4), ("phases", 2), ("wsd", 4), ("averages", 6),
                   ("muon-joint-es", 2)))],
)  # fmt: skip
def test_killed_and_resumed_equals_uninterrupted_bit_for_bit(
    variant: str, killed_after: int, finished: Callable[[str], Path], folders: dict[str, Path], tmp_path: Path
) -> None:
    whole, out = finished(variant), cut_back(finished(variant), tmp_path / "resumed", killed_after)
    assert pretrain(VARIANTS[variant](folders), folders["first"], out, resume=True)
    assert same(state(whole), state(out)) and same(exports(whole), exports(out))
    assert rows(whole) == rows(out)


def test_a_phase_reads_its_own_data_length_and_masks(finished: Callable[[str], Path]) -> None:
    found = rows(finished("phases"))
    assert [row["phase"] for row in found if "phase" in row] == [1, 2, 3, 3]  # a line where each ends
    rates = [row["mask_prob"] for row in found if "phase" in row]
    assert rates == pytest.approx([0.3 - 0.2 * 2 / 7, 0.3 - 0.2 * 4 / 7, 0.1, 0.1])


def test_averages_are_exported_beside_the_weights_and_open(
    finished: Callable[[str], Path], folders: dict[str, Path], tmp_path: Path
) -> None:
    out = finished("averages")
    names = {str(path.parent.relative_to(out)) for path in out.rglob("model.safetensors")}
    networks = ("encoder", "discriminator", "generator")
    assert names == {*networks, *(f"{kind}/{name}" for kind in ("ema", "mean") for name in networks)}
    stored = state(out)
    table = "deberta.embeddings.word_embeddings"
    for kind in ("ema", "mean"):
        opened = DebertaV2Model.from_pretrained(out / kind / "encoder")
        shared = stored[f"generator-{kind}.safetensors:model.{table}.weight"]
        delta = stored[f"discriminator-{kind}.safetensors:model.{table}._weight"]
        assert torch.equal(opened.embeddings.word_embeddings.weight, shared + delta)
    overrides = ["max_length=24", "batch_size=2", "precision=fp32", "validation_windows=2"]
    for number, start in enumerate((out, out / "ema")):  # a run may start from both
        more = tmp_path / f"more-{number}"
        pretrain_command(
            out=more, data=[str(folders["first"])], start=start, size="nano", steps=1, override=overrides
        )
        assert json.loads((more / "run.json").read_text())["start"] == str(start.resolve())
    last = rows(out)[-1]
    for figure in (
        "heldout_mlm_loss",
        "heldout_ema_mlm_loss",
        "heldout_mean_mlm_loss",
        "heldout_ema_rtd_loss",
    ):
        assert np.isfinite(last[figure])
    page = (out / "report.html").read_text()
    assert "moving average (EMA)" in page and "mean of the last points" in page


def test_averages_do_not_change_the_run(
    finished: Callable[[str], Path], folders: dict[str, Path], tmp_path: Path
) -> None:
    assert pretrain(TINY, folders["first"], tmp_path / "plain", resume=False)
    plain, averaged = state(tmp_path / "plain"), state(finished("averages"))
    assert all(torch.equal(averaged[key], value) for key, value in plain.items())


@pytest.mark.slow  # with averages and Muon in test_pretrain_resume.py
def test_a_stable_part_is_continued_as_if_it_had_never_ended(
    finished: Callable[[str], Path], folders: dict[str, Path], tmp_path: Path
) -> None:
    """8 steps of which 3 decay; its stable part goes on to a run of 10 steps of which 2 decay."""
    first = finished("wsd")
    assert (first / "checkpoints" / "step-000000005").is_dir()  # kept, though not a multiple of 2
    longer = TINY.changed(schedule="wsd", decay_steps=2, decay_shape="linear", max_steps=10)
    whole, out = tmp_path / "whole", tmp_path / "continued"
    assert pretrain(longer, folders["first"], whole, resume=False)
    assert pretrain(longer, folders["first"], out, resume=False, start=first, resume_stable=True)
    assert same(state(whole, 10), state(out, 10)) and same(exports(whole), exports(out))
    assert rows(whole, after=5) == rows(out)
    last = out / "checkpoints" / "step-000000010"
    subprocess.run(["rm", "-r", str(last)], check=True)
    assert pretrain(longer, folders["first"], out, resume=True, start=first, resume_stable=True)
    assert same(state(whole, 10), state(out, 10))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"decay_steps": 8, "max_steps": 12}, "would be stable until step 4 of 12"),
        ({"decay_steps": 0, "max_steps": 5}, "set max_steps or decay_steps"),
        ({"learning_rate": 1e-4}, r"learning_rate \(was 0.001, now 0.0001\)"),
        ({"mask_schedule": "linear", "mask_prob_end": 0.1}, "mask rates within the first 5 steps"),
        ({"schedule": "linear", "decay_steps": None}, "needs schedule=wsd"),
        ({"mean_last": 4, "mean_every_steps": 2}, "changed: mean_last or mean_every_steps"),
    ],
    ids=str,
)
def test_a_stable_part_is_not_continued_with_other_steps_before_it(
    changes: dict[str, Any],
    message: str,
    finished: Callable[[str], Path],
    folders: dict[str, Path],
    tmp_path: Path,
) -> None:
    config = TINY.changed(**{"schedule": "wsd", "decay_steps": 2, **changes})
    with pytest.raises(UserError, match=message):
        pretrain(
            config,
            folders["first"],
            tmp_path / "out",
            resume=False,
            start=finished("wsd"),
            resume_stable=True,
        )
    with pytest.raises(UserError, match=r"made with; changed: .*train/"):
        pretrain(
            TINY.changed(schedule="wsd", decay_steps=2), folders["second"], tmp_path / "out", resume=False,
            start=finished("wsd"), resume_stable=True,
        )  # fmt: skip


def test_a_mean_may_begin_after_the_stable_part(
    finished: Callable[[str], Path], folders: dict[str, Path], tmp_path: Path
) -> None:
    averaged = TINY.changed(schedule="wsd", decay_steps=2, max_steps=10, mean_last=2, mean_every_steps=2)
    whole, out = tmp_path / "whole", tmp_path / "continued"
    assert pretrain(averaged, folders["first"], whole, resume=False)
    assert pretrain(averaged, folders["first"], out, resume=False, start=finished("wsd"), resume_stable=True)
    assert same(state(whole, 10), state(out, 10))
    assert any("-mean.safetensors" in name for name in state(out, 10))


def test_the_speed_is_that_of_training_alone(
    folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a clock on which a step takes a second, a validation a minute and a checkpoint an hour."""
    clock = SimpleNamespace(now=0.0, perf_counter=lambda: clock.now)

    def takes(seconds: float, action: Callable[..., object]) -> Callable[..., object]:
        def timed(*args: object, **options: object) -> object:
            clock.now += seconds
            return action(*args, **options)

        return timed

    monkeypatch.setattr(loop, "time", clock)
    monkeypatch.setattr(loop, "save", takes(3600, loop.save))
    monkeypatch.setattr(run, "evaluate", takes(60, run.evaluate))
    monkeypatch.setattr(MLMStep, "__call__", takes(1, MLMStep.__call__))
    config, out = TINY.changed(objective="mlm"), tmp_path / "out"
    assert pretrain(config, folders["first"], out, resume=False)
    for step in (6, 8):  # after step 4, one step is in the sums of the next line already
        shutil.rmtree(out / "checkpoints" / f"step-{step:09d}")
    assert pretrain(config, folders["first"], out, resume=True)
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert [line["seconds_per_step"] for line in lines if "seconds_per_step" in line] == [1, 1, 1]


def test_a_stable_part_may_decay_on_other_data(
    finished: Callable[[str], Path], folders: dict[str, Path], tmp_path: Path
) -> None:
    config = TINY.changed(
        schedule="wsd", decay_steps=3, phases=[{"steps": 5}, {"data": [str(folders["second"])]}]
    )
    out = tmp_path / "out"
    assert pretrain(config, folders["first"], out, resume=False, start=finished("wsd"), resume_stable=True)
    assert not same(state(out), state(finished("wsd")))
    earlier = config.with_values(
        {"phases": [{"steps": 4}, {"data": [str(folders["second"])]}]}, source="test"
    )
    with pytest.raises(UserError, match="phases or mask rates within the first 5 steps"):
        pretrain(
            earlier,
            folders["first"],
            tmp_path / "no",
            resume=False,
            start=finished("wsd"),
            resume_stable=True,
        )


def test_a_changed_phase_is_noticed_on_resume(
    finished: Callable[[str], Path], folders: dict[str, Path], tmp_path: Path
) -> None:
    config, out = with_phases(folders), tmp_path / "out"
    subprocess.run(["cp", "-r", str(finished("phases")), str(out)], check=True)
    moved = tmp_path / "moved"
    subprocess.run(["cp", "-r", str(folders["second"]), str(moved)], check=True)
    phases = config.to_dict()["phases"]
    assert isinstance(phases, list)
    phases[2]["data"] = [str(moved)]
    assert pretrain(config.with_values({"phases": phases}, source="test"), folders["first"], out, resume=True)
    phases[2]["data"] = [str(folders["first"])]
    with pytest.raises(UserError, match="phase 3, folder 1: train/"):
        pretrain(config.with_values({"phases": phases}, source="test"), folders["first"], out, resume=True)
    phases[2] |= {"data": [str(moved)], "max_length": 22}
    with pytest.raises(UserError, match="phases"):
        pretrain(config.with_values({"phases": phases}, source="test"), folders["first"], out, resume=True)
    (tokens,) = list(moved.glob("train/*.tokens"))[:1]
    tokens.write_bytes(tokens.read_bytes()[:-2])
    phases[2] |= {"max_length": 20}
    with pytest.raises(UserError, match="bytes, the index says"):
        pretrain(config.with_values({"phases": phases}, source="test"), folders["first"], out, resume=True)


@pytest.fixture
def probe_files(tmp_path: Path) -> list[str]:
    labelled = [
        {"premise": f"the number {n // 2} is here", "hypothesis": f"{word} it is {n}", "label": word}
        for n in range(40)
        for word in ("yes", "no")
    ]
    pairs = [{"sentence_good": f"The {one}s play.", "sentence_bad": f"The {one} play."} for one in WORDS[:3]]
    found = []
    for name, content in (("nli", labelled), ("agreement", pairs)):
        (tmp_path / f"{name}.jsonl").write_text("\n".join(map(json.dumps, content)) + "\n")
        found.append(str(tmp_path / f"{name}.jsonl"))
    return found


@pytest.mark.parametrize("objective", ["rtd", pytest.param("mlm", marks=pytest.mark.slow)])
def test_a_run_with_probes_equals_one_without(
    objective: str, folders: dict[str, Path], probe_files: list[str], tmp_path: Path
) -> None:
    config = TINY.changed(objective=objective, max_steps=4)
    probed = config.changed(
        probe_data=probe_files, probe_every_steps=3, probe_rows=50, probe_finetune_steps=2, probe_batch_size=4
    )
    for name, one in (("plain", config), ("probed", probed)):
        assert pretrain(one, folders["first"], tmp_path / name, resume=False)
    assert same(state(tmp_path / "plain", 4), state(tmp_path / "probed", 4))
    assert same(exports(tmp_path / "plain"), exports(tmp_path / "probed"))
    lines = [json.loads(line) for line in (tmp_path / "probed" / "metrics.jsonl").read_text().splitlines()]
    probes = [line for line in lines if "probe_seconds" in line]
    assert [line["step"] for line in probes] == [3, 4] and all(line["probe_seconds"] > 0 for line in probes)
    names = {"commonest_nli", "linear_nli", "finetuned_nli", "pairs_agreement"}
    assert all({f"probe_{name}" for name in names} < line.keys() for line in probes)
    assert rows(tmp_path / "plain") == [
        row for row in rows(tmp_path / "probed") if not any(name.startswith("probe_") for name in row)
    ]
    page = (tmp_path / "probed" / "report.html").read_text()
    assert "Probes" in page and "nli: linear" in page and "agreement" in page


def test_wrong_settings_end_before_torch_is_loaded(
    folders: dict[str, Path], finished: Callable[[str], Path], probe_files: list[str], tmp_path: Path
) -> None:
    """One line, exit code 2, nothing written; torch alone would take seconds."""
    first, second = str(folders["first"]), str(folders["second"])
    other = tmp_path / "other"
    subprocess.run(["cp", "-r", second, str(other)], check=True)
    changed = other / "tokenizer" / "tokenizer_config.json"
    changed.write_text(changed.read_text() + "\n")
    index = json.loads((other / "index.json").read_text())
    del index["tokenizer"]
    (other / "index.json").write_text(json.dumps(index))
    unlabelled = tmp_path / "a.jsonl"
    unlabelled.write_text('{"x": 1}\n')
    yaml = tmp_path / "phases.yaml"
    yaml.write_text(
        f"max_steps: 20\nphases:\n- {{steps: 10, data: {first}}}\n- {{data: {tmp_path / 'absent'}}}\n"
    )
    cases = [
        (["--data", first, "--set", "decay_steps=5"], "needs schedule=wsd"),
        (["--data", first, "--set", "phases=[{steps: 5}]"], "max_steps is 20,000"),
        (["--config", str(yaml)], "absent holds no index.json"),
        (["--set", "phases=[{steps: 5, data: a}, {}]"], "phase 2 names no data: give --data"),
        (["--data", first, "--set", f"phases=[{{data: [{other}]}}]"], "with another tokenizer than"),
        (["--data", first, "--probe-data", str(unlabelled)], "a.jsonl"),
        (["--data", first, "--probe-data", str(tmp_path / "absent.jsonl")], "absent.jsonl"),
        (["--data", first, "--resume-stable"], "needs --from RUN"),
        (["--data", first, "--resume-stable", "--from", str(finished("wsd"))], "needs schedule=wsd"),
        (["--data", first, "--set", "schedule=wsd", "--resume-stable", "--from", str(finished("muon"))],
         "only a wsd run has a stable part"),
        (["--data", first, "--set", "schedule=wsd", "--resume-stable", "--from", first], "run.json"),
    ]  # fmt: skip
    blocked = "import sys; sys.modules['torch'] = None; from debertav3.cli import main; main()"
    for arguments, message in cases:
        out = tmp_path / "out"
        done = subprocess.run(
            [sys.executable, "-c", blocked, "pretrain", "--size", "nano", "--out", str(out), *arguments],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 2, (arguments, done.stderr)
        (line,) = done.stderr.strip().splitlines()[-1:]
        assert message in line and line.startswith("debertav3: error: "), (arguments, done.stderr)
        assert not out.exists()


COMPARED = ("mlm_loss", "rtd_loss", "heldout_mlm_loss", "heldout_rtd_loss", "heldout_ema_mlm_loss")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("variant", "launches"),
    [
        ("phases", [(2, ()), (4, ())]),
        ("wsd", [(2, ()), (4, ())]),
        ("averages", [(2, ()), (4, ()), (2, ("--set=shard_weights=true",))]),
        ("muon", [(2, ()), (4, ())]),
    ],
)
def test_processes_change_no_loss(
    variant: str, launches: list[tuple[int, tuple[str, ...]]], folders: dict[str, Path], tmp_path: Path
) -> None:
    config = VARIANTS[variant](folders).changed(dropout=0.0)
    settings = tmp_path / "config.json"
    settings.write_text(json.dumps(config.to_dict()))
    arguments = ["pretrain", "--data", str(folders["first"]), "--config", str(settings), "--size", "nano"]
    one = tmp_path / "one"
    subprocess.run([sys.executable, "-m", "debertav3", *arguments, "--out", str(one)], check=True)
    for number, (processes, more) in enumerate(launches):
        many = tmp_path / f"many-{number}"
        launch = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(processes)]
        subprocess.run([*launch, "-m", "debertav3", *arguments, *more, "--out", str(many)], check=True)
        compared = 0
        for first, second in zip(rows(one), rows(many), strict=True):
            for name in COMPARED:
                if name in first:
                    # Spread weights are summed in another order, as in test_pretrain_run.py.
                    rel = 1e-4 if more else 1e-5
                    assert second[name] == pytest.approx(first[name], rel=rel), (name, first["step"], many)
                    compared += 1
        assert compared > 8
        ours, theirs = exports(one), exports(many)
        assert ours.keys() == theirs.keys()
        if variant == "averages":
            for key, tensor in ours.items():
                torch.testing.assert_close(theirs[key], tensor, atol=1e-4, rtol=1e-4)


def test_the_example_of_the_guide_runs(
    repository: Path, folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it stands as a dry run, and at a two-thousandth of its steps from end to end."""
    (text,) = re.findall(r"```yaml\n(.*?)```", (repository / "docs" / "pretraining.md").read_text(), re.S)
    (tmp_path / "shards").mkdir()
    for name, folder in (("web", "first"), ("books", "second")):
        (tmp_path / "shards" / name).symlink_to(folders[folder])
    monkeypatch.chdir(tmp_path)
    small = {"12000": "6", "4000": "2", "20000": "10", "400": "1", "1000": "1", "256": "32", "16": "2"}
    lines = re.sub(r"(?<= )\d+$", lambda number: small.get(number[0], number[0]), text, flags=re.M)
    lines = re.sub(r"(?<=steps: )12000", "6", lines) + "batch_size: 4\nmax_length: 24\nprecision: fp32\n"
    for name, content in (("whole.yaml", text), ("small.yaml", lines)):
        (tmp_path / name).write_text(content)
        pretrain_command(
            out=tmp_path / "run", data=["shards/web"], config=tmp_path / name, dry_run=name == "whole.yaml"
        )
    logged = [row["mask_prob"] for row in rows(tmp_path / "run") if "mask_prob" in row]
    assert logged == pytest.approx([0.3, 0.15, 0.05])
    found = {path.name for path in (tmp_path / "run").iterdir() if path.is_dir()}
    assert {"encoder", "ema", "mean"} < found
    assert "web (1), books (2)" in (tmp_path / "run" / "report.html").read_text()


WATCHED = """
import json, sys, weakref
from pathlib import Path
from accelerate import Accelerator
import debertav3.pretrain.run as run
from debertav3.pretrain.settings import PretrainConfig

wrapped, build, end = [], run.build_step, Accelerator.end_training

def watched(*arguments):
    step = build(*arguments)
    wrapped.extend(weakref.ref(engine.model) for engine in step.engines.values())
    assert {type(one()).__name__ for one in wrapped} == {"DistributedDataParallel"}
    return step

def checked(self):
    assert not any(one() for one in wrapped), "a process may wait for itself forever"
    print("ends well")
    end(self)

run.build_step, Accelerator.end_training = watched, checked
config = PretrainConfig.of(**json.loads(sys.argv[1]))
run.pretrain(config, Path(sys.argv[2]), Path(sys.argv[3]), resume=False)
"""


@pytest.mark.slow
def test_wrapped_networks_are_gone_before_the_process_group_is(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    """Else torch's process group is joined with Python's lock held, which its threads may wait for."""
    (tmp_path / "watched.py").write_text(WATCHED)
    config = json.dumps(TINY.changed(max_steps=2, ema_decay=0.9).to_dict())
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", str(tmp_path / "watched.py"),
         config, str(folders["first"]), str(tmp_path / "out")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout.count("ends well") == 2, done.stderr

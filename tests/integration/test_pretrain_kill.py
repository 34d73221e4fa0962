"""Contract: a run killed at any moment goes on from its last complete checkpoint, exactly."""

import multiprocessing
import random
import signal
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

pytest.importorskip("datatrove")

from debertav3.data.prepare import ExecutorConfig, PrepareConfig, prepare
from debertav3.files import damage_of
from debertav3.pretrain.settings import PretrainConfig, recipe

KILLS = 50
CONFIG = recipe("nano").changed(
    max_steps=400, batch_size=2, micro_batch_size=2, max_length=18, generator_layers=1, warmup_steps=5,
    precision="fp32", save_every_steps=1, log_every_steps=1, eval_every_steps=1000, validation_windows=2,
)  # fmt: skip


def run(config: PretrainConfig, shards: Path, out: Path) -> None:
    from debertav3.pretrain.run import pretrain

    torch.set_num_threads(1)
    pretrain(config, shards, out, resume=True)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return {
        f"{path.name}:{k}": v for path in folder.glob("*.safetensors") for k, v in load_file(path).items()
    }


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL and a fork server")
def test_fifty_kills_lose_nothing(nano: Path, tmp_path: Path) -> None:
    texts = [f"river stone market letter window number {i} " * 9 for i in range(40)]
    (tmp_path / "a.txt").write_text("\n\n".join(texts))
    config = PrepareConfig(inputs=(str(tmp_path / "a.txt"),), tokenizer=str(nano), heldout_share=0.2)
    prepare(config, tmp_path / "shards", ExecutorConfig())
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["debertav3.pretrain.run"])
    out, chance = tmp_path / "killed", random.Random(0)
    killed = during_a_save = 0
    seen: list[int] = []
    for number in range(KILLS):
        child = context.Process(target=run, args=(CONFIG, tmp_path / "shards", out))
        child.start()
        before = seen[-1] if seen else 0
        deadline = time.monotonic() + 60
        while newest_step(out) <= before and time.monotonic() < deadline:  # at least one step of each life
            time.sleep(0.01)
        if number % 2:  # every other one while a checkpoint is being written
            while not list((out / "checkpoints").glob(".step-*")) and time.monotonic() < deadline:
                time.sleep(0.001)
            time.sleep(chance.random() * 0.05)
        else:
            time.sleep(chance.random())
        child.kill()
        child.join()
        assert child.exitcode == -signal.SIGKILL
        killed += 1
        during_a_save += bool(list((out / "checkpoints").glob(".step-*")))
        complete = [path for path in (out / "checkpoints").glob("step-*") if damage_of(path) is None]
        assert complete, "no complete checkpoint is left"
        seen.append(newest_step(out))
    assert killed == KILLS and during_a_save >= 5
    assert seen == sorted(set(seen))  # every life went on from the one before

    reached = newest_step(out)
    assert reached < CONFIG.steps
    plain = tmp_path / "plain"
    child = context.Process(
        target=run, args=(CONFIG.changed(save_total_limit=1000), tmp_path / "shards", plain)
    )
    child.start()
    while newest_step(plain) <= reached:
        time.sleep(0.05)
    child.kill()
    child.join()
    name = f"step-{reached:09d}"
    first, second = (weights(folder / "checkpoints" / name) for folder in (out, plain))
    assert first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)
    logs = [(folder / "metrics.jsonl").read_text().splitlines()[:reached] for folder in (out, plain)]
    assert [losses(line) for line in logs[0]] == [losses(line) for line in logs[1]]


def losses(line: str) -> list[str]:
    return [part for part in line.split(", ") if "loss" in part or '"step"' in part]


def newest_step(out: Path) -> int:
    steps = [int(path.name.removeprefix("step-")) for path in (out / "checkpoints").glob("step-*")]
    return max(steps, default=0)

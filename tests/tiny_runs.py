"""Pre-training runs of a few steps, and what they leave: for the tests of phases, averages and resuming."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from debertav3.data.prepare import ExecutorConfig, PrepareConfig, prepare
from debertav3.pretrain.run import pretrain
from debertav3.pretrain.settings import PretrainConfig, recipe

TINY = recipe("nano").changed(
    max_steps=8, batch_size=4, micro_batch_size=4, max_length=24, generator_layers=1, warmup_steps=2,
    precision="fp32", log_every_steps=3, save_every_steps=2, save_total_limit=9, eval_every_steps=4,
    validation_windows=4, dropout=0.1,
)  # fmt: skip
TIMES = ("seconds_per_step", "tokens_per_second", "hours_left", "model_flops_utilisation", "probe_seconds")
WORDS = ["river", "stone", "market", "letter", "window", "garden", "winter", "music", "doctor", "paper"]


def write_folders(folder: Path, nano: Path) -> dict[str, Path]:
    """Two folders of shards, ``first`` and ``second``, with one tokenizer."""
    found = {}
    for number, name in enumerate(("first", "second")):
        random = np.random.default_rng(number)
        texts = [f"{name} " + " ".join(random.choice(WORDS, 60)) for _ in range(40)]
        (folder / f"{name}.txt").write_text("\n\n".join(texts))
        config = PrepareConfig(inputs=(str(folder / f"{name}.txt"),), tokenizer=str(nano), heldout_share=0.2)
        prepare(config, folder / name, ExecutorConfig())
        found[name] = folder / name
    return found


def with_phases(folders: dict[str, Path]) -> PretrainConfig:
    """Three phases, of 3, 2 and 3 steps, which differ in everything that a phase may set."""
    return TINY.changed(
        mask_schedule="linear", mask_prob=0.3, mask_prob_end=0.1,
        phases=[
            {"steps": 3},
            {"steps": 2, "data": [str(folders["first"]), str(folders["second"])], "weights": [1, 3],
             "batch_size": 8, "max_length": 32},
            {"data": [str(folders["second"])], "mask_prob": 0.1, "max_length": 20},
        ],
    )  # fmt: skip


def with_everything(folders: dict[str, Path], **changes: object) -> PretrainConfig:
    """Phases, a schedule with a stable part, both averages and Muon at once."""
    settings: dict[str, object] = {"schedule": "wsd", "decay_steps": 3, "optimizer": "muon"}
    settings |= {"ema_decay": 0.9, "mean_last": 3, "mean_every_steps": 2}
    return with_phases(folders).changed(**settings | changes)


def finished_runs(
    factory: pytest.TempPathFactory, config_of: Callable[[str], PretrainConfig], shards: Path
) -> Callable[[str], Path]:
    """The uninterrupted run of a variant by its name, made once, in this process."""
    done: dict[str, Path] = {}

    def run(name: str) -> Path:
        if name not in done:
            done[name] = factory.mktemp(name) / "whole"
            assert pretrain(config_of(name), shards, done[name], resume=False)
        return done[name]

    return run


def state(out: Path, step: int = 8) -> dict[str, torch.Tensor]:
    """Weights, moments and averages of a checkpoint."""
    folder = out / "checkpoints" / f"step-{step:09d}"
    return {
        f"{path.name}:{key}": x
        for path in sorted(folder.glob("*.safetensors"))
        for key, x in load_file(path).items()
    }


def rows(out: Path, after: int = 0) -> list[dict[str, Any]]:
    """The log after a step, without times."""
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in row.items() if k not in TIMES} for row in lines if row["step"] > after]


def exports(out: Path) -> dict[str, torch.Tensor]:
    """All weights that a run has exported, of averages too."""
    return {
        f"{path.parent.relative_to(out)}:{key}": x
        for path in sorted(out.rglob("model.safetensors"))
        for key, x in load_file(path).items()
    }


def same(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> bool:
    """Whether two sets of tensors are equal bit for bit."""
    return bool(one) and one.keys() == two.keys() and all(torch.equal(one[key], two[key]) for key in one)


def cut_back(whole: Path, out: Path, step: int) -> Path:
    """A run as a kill after ``step`` leaves it: an older checkpoint and a longer log."""
    name = f"step-{step:09d}"
    shutil.copytree(whole / "checkpoints" / name, out / "checkpoints" / name)
    for file in ("run.json", "metrics.jsonl"):
        shutil.copyfile(whole / file, out / file)
    return out

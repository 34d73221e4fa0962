"""Contract: phases, WSD, averages and Muon at once resume bit for bit, in one process and in several."""

import multiprocessing
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

pytest.importorskip("datatrove")

from debertav3.pretrain.run import pretrain
from debertav3.pretrain.settings import PretrainConfig
from tiny_runs import (
    TINY,
    cut_back,
    exports,
    finished_runs,
    rows,
    same,
    state,
    with_everything,
    write_folders,
)

VARIANTS: dict[str, dict[str, object]] = {
    "mlm": {"objective": "mlm"},
    "rtd": {},
    "nes": {"sharing": "nes"},
    "joint-es": {"mode": "joint", "sharing": "es"},
    "adamw-mlm": {"objective": "mlm", "optimizer": "adamw"},
}
LOSSES = ("mlm_loss", "rtd_loss", "heldout_mlm_loss", "heldout_ema_mlm_loss", "heldout_mean_mlm_loss")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory, nano: Path) -> dict[str, Path]:
    return write_folders(tmp_path_factory.mktemp("resume"), nano)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, folders: dict[str, Path]) -> Callable[[str], Path]:
    return finished_runs(
        tmp_path_factory, lambda name: with_everything(folders, **VARIANTS[name]), folders["first"]
    )


@pytest.mark.parametrize(
    ("variant", "killed_after"),
    [("rtd", 6),
     *(pytest.param(*one, marks=pytest.mark.slow)
       for one in (("mlm", 2), ("mlm", 4), ("mlm", 6), ("rtd", 2), ("rtd", 4), ("nes", 4), ("joint-es", 6),
                   ("adamw-mlm", 4)))],
)  # fmt: skip
def test_everything_at_once_resumes_bit_for_bit(
    variant: str, killed_after: int, finished: Callable[[str], Path], folders: dict[str, Path], tmp_path: Path
) -> None:
    whole, out = finished(variant), cut_back(finished(variant), tmp_path / "out", killed_after)
    names = {name.split(":")[0].removesuffix(".safetensors") for name in state(whole)}
    engines = {"mlm": 1, "adamw-mlm": 1, "joint-es": 1}.get(variant, 2)
    assert len(names) == 4 * engines  # weights, moments and two averages of each
    assert pretrain(with_everything(folders, **VARIANTS[variant]), folders["first"], out, resume=True)
    assert same(state(whole), state(out)) and same(exports(whole), exports(out))
    assert rows(whole) == rows(out)


@pytest.mark.parametrize("variant", ["mlm", pytest.param("rtd", marks=pytest.mark.slow)])
def test_a_stable_part_with_averages_and_muon_is_continued_as_if_it_had_never_ended(
    variant: str, folders: dict[str, Path], tmp_path: Path
) -> None:
    """8 steps of which 3 decay go on, from the end of the stable part, as 11 steps of which 2 decay."""
    changes = {"mask_schedule": "constant", "mask_prob_end": None, **VARIANTS[variant]}
    short = with_everything(folders, **changes)
    longer = short.changed(max_steps=11, decay_steps=2, mean_every_steps=1)
    first, whole, out = (tmp_path / name for name in ("first", "whole", "continued"))
    assert pretrain(short, folders["first"], first, resume=False)
    assert pretrain(longer, folders["first"], whole, resume=False)
    assert pretrain(longer, folders["first"], out, resume=False, start=first, resume_stable=True)
    assert same(state(whole, 11), state(out, 11)) and same(exports(whole), exports(out))
    assert rows(whole, after=5) == rows(out)


def in_processes(number: int, config: PretrainConfig, shards: Path, out: Path) -> None:
    """Run or resume a pre-training in several processes, as torchrun starts them, without their imports."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["debertav3.pretrain.run"])
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    children = [
        context.Process(target=one_of_many, args=(rank, number, port, config, shards, out))
        for rank in range(number)
    ]
    for child in children:
        child.start()
    for child in children:
        child.join(600)
    codes = [child.exitcode for child in children]
    for child in children:
        child.kill()
    assert codes == [0] * number


def one_of_many(rank: int, number: int, port: int, config: PretrainConfig, shards: Path, out: Path) -> None:
    os.environ.update(
        RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(number), LOCAL_WORLD_SIZE=str(number),
        MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port),
    )  # fmt: skip
    torch.set_num_threads(1)
    assert pretrain(config, shards, out, resume=True)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="needs a fork server")
@pytest.mark.parametrize("processes", [2, 4])
@pytest.mark.parametrize("variant", ["mlm", "rtd"])
def test_many_processes_resume_bit_for_bit_and_agree_with_one(
    variant: str, processes: int, folders: dict[str, Path], tmp_path: Path
) -> None:
    config = with_everything(folders, dropout=0.0, **VARIANTS[variant])
    whole, one = tmp_path / "whole", tmp_path / "one"
    in_processes(processes, config, folders["first"], whole)
    out = cut_back(whole, tmp_path / "out", 4)
    in_processes(processes, config, folders["first"], out)
    assert same(state(whole), state(out)) and same(exports(whole), exports(out))
    assert rows(whole) == rows(out)
    assert pretrain(config, folders["first"], one, resume=False)
    fewer = cut_back(whole, tmp_path / "fewer", 4)
    assert pretrain(config, folders["first"], fewer, resume=True)
    for other in (whole, fewer):
        for first, second in zip(rows(one), rows(other), strict=True):
            assert first.keys() == second.keys()
            for name in first.keys() & set(LOSSES):
                # Muon's steps in bfloat16 round differently where gradients were summed in another order.
                assert second[name] == pytest.approx(first[name], rel=1e-5), (name, first["step"], other)


def test_the_steps_of_these_runs_cross_phases_and_a_decay(folders: dict[str, Path]) -> None:
    plan = with_everything(folders).plan
    assert [phase.last_step for phase in plan.phases] == [3, 5, 8]
    assert with_everything(folders).stable_steps == 5 and TINY.loop.save_every_steps == 2

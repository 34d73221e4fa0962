"""Contract: a run resumes bit for bit, survives signals and damage, and exports what it trained."""

import hashlib
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file

pytest.importorskip("datatrove")

from debertav3.checkpoint import open_trio
from debertav3.cli.pretrain import pretrain as pretrain_command
from debertav3.data.prepare import ExecutorConfig, PrepareConfig, prepare
from debertav3.errors import UserError
from debertav3.files import damage_of
from debertav3.models import DebertaV2ForReplacedTokenDetection, DebertaV2Model
from debertav3.pretrain.networks import build_networks, export
from debertav3.pretrain.run import pretrain
from debertav3.pretrain.settings import PretrainConfig, recipe
from debertav3.sizes import raw_config

TINY = recipe("nano").changed(
    max_steps=6, batch_size=4, micro_batch_size=4, max_length=24, generator_layers=1, warmup_steps=2,
    precision="fp32", log_every_steps=2, save_every_steps=3, eval_every_steps=3, validation_windows=4,
    dropout=0.1,
)  # fmt: skip
TIMES = ("seconds_per_step", "tokens_per_second", "hours_left", "model_flops_utilisation")


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory, nano: Path) -> Path:
    folder = tmp_path_factory.mktemp("pretrain")
    random = np.random.default_rng(0)
    words = ["river", "stone", "market", "letter", "window", "garden", "winter", "music", "doctor", "paper"]
    texts = [" ".join(random.choice(words, 60)) for _ in range(60)]
    (folder / "a.txt").write_text("\n\n".join(texts))
    config = PrepareConfig(inputs=(str(folder / "a.txt"),), tokenizer=str(nano), heldout_share=0.2)
    prepare(config, folder / "shards", ExecutorConfig())
    return folder / "shards"


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, shards: Path) -> Path:
    out = tmp_path_factory.mktemp("run") / "whole"
    assert pretrain(TINY, shards, out, resume=False)
    return out


def last_state(out: Path) -> dict[str, torch.Tensor]:
    folder = out / "checkpoints" / "step-000000006"
    assert damage_of(folder) is None
    names = [path.name for path in folder.glob("*.safetensors")]
    assert sorted(names) == sorted(
        f"{network}{part}.safetensors"
        for network in ("generator", "discriminator")
        for part in ("", "-optimizer")
    )
    return {f"{name}:{key}": x for name in names for key, x in load_file(folder / name).items()}


def rows(out: Path) -> list[dict[str, float]]:
    lines = (out / "metrics.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k not in TIMES} for line in lines]


def same_run(one: Path, two: Path) -> bool:
    first, second = last_state(one), last_state(two)
    equal = first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)
    return equal and rows(one) == rows(two)


def copy_cut_back(finished: Path, out: Path) -> None:
    """The folder as a kill after step 3 leaves it: an older checkpoint, a longer log, half a save."""
    (out / "checkpoints").mkdir(parents=True)
    old = finished / "checkpoints" / "step-000000003"
    subprocess.run(["cp", "-r", str(old), str(out / "checkpoints")], check=True)
    for name in ("run.json", "metrics.jsonl"):
        (out / name).write_bytes((finished / name).read_bytes())
    (out / "checkpoints" / ".step-000000006.0123abcd.debertav3-partial").mkdir()


def test_killed_and_resumed_equals_uninterrupted_bit_for_bit(
    finished: Path, shards: Path, tmp_path: Path
) -> None:
    out = tmp_path / "resumed"
    copy_cut_back(finished, out)
    assert pretrain(TINY, shards, out, resume=True)
    assert same_run(finished, out)
    assert not list((out / "checkpoints").glob(".*"))


def test_micro_batches_and_logging_may_change_on_resume_but_not_the_recipe(
    finished: Path, shards: Path, tmp_path: Path
) -> None:
    out = tmp_path / "resumed"
    copy_cut_back(finished, out)
    record = (out / "run.json").read_bytes()
    with pytest.raises(UserError, match=r"changed since .*: learning_rate \(was 0.001, now 0.0001\)\. Put"):
        pretrain(TINY.changed(learning_rate=1e-4), shards, out, resume=True)
    with pytest.raises(UserError, match=r"changed since .*: generator_layers \(was 1, now 2\)\. Put"):
        pretrain(TINY.changed(generator_layers=2), shards, out, resume=True)
    assert (out / "run.json").read_bytes() == record
    assert pretrain(TINY.changed(micro_batch_size=2, dropout=0.1), shards, out, resume=True)


@pytest.mark.parametrize("damage", ["flip", "truncate", "remove", "manifest"])
def test_damage_to_a_checkpoint_is_seen(damage: str, finished: Path, tmp_path: Path) -> None:
    folder = tmp_path / "step-000000003"
    subprocess.run(["cp", "-r", str(finished / "checkpoints" / folder.name), str(folder)], check=True)
    assert damage_of(folder) is None
    spoil(folder, damage)
    assert damage_of(folder) is not None


def spoil(folder: Path, damage: str) -> None:
    victim = folder / "discriminator.safetensors"
    content = bytearray(victim.read_bytes())
    if damage == "flip":
        content[len(content) // 2] ^= 1
        victim.write_bytes(content)
    elif damage == "truncate":
        victim.write_bytes(content[:-1])
    elif damage == "remove":
        victim.unlink()
    else:
        (folder / "manifest.json").write_text("{")


def test_a_damaged_checkpoint_is_passed_over(
    finished: Path, shards: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    out = tmp_path / "resumed"
    copy_cut_back(finished, out)
    newest = out / "checkpoints" / "step-000000005"
    subprocess.run(["cp", "-r", str(out / "checkpoints" / "step-000000003"), str(newest)], check=True)
    spoil(newest, "flip")
    assert pretrain(TINY, shards, out, resume=True)
    assert "is damaged" in caplog.text
    assert same_run(finished, out)


def test_a_second_run_in_the_same_folder_is_refused(finished: Path, shards: Path) -> None:
    with pytest.raises(UserError, match="--resume"):
        pretrain(TINY, shards, finished, resume=False)


@pytest.mark.parametrize("resume", [False, True])
@pytest.mark.parametrize("name", ["generator", "metrics.jsonl", "run.json", "checkpoints"])
def test_what_the_run_has_not_written_is_not_overwritten(
    name: str, resume: bool, shards: Path, tmp_path: Path
) -> None:
    if name in ("generator", "checkpoints"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "mine").touch()
    else:
        (tmp_path / name).write_text('{"config": {"task": "nli"}}\n')
    with pytest.raises(UserError, match=f"contains {name}, which does not come from a run"):
        pretrain(TINY, shards, tmp_path, resume=resume)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_file_is_no_folder_for_a_run(shards: Path, tmp_path: Path) -> None:
    (tmp_path / "notes").write_text("mine")
    with pytest.raises(UserError, match="notes is a file"):
        pretrain(TINY, shards, tmp_path / "notes", resume=False)
    assert (tmp_path / "notes").read_text() == "mine"


def command(shards: Path, out: Path, *more: str) -> list[str]:
    settings = [
        f"--set={key}={value}"
        for key, value in (("batch_size", 4), ("max_length", 24), ("precision", "fp32"))
    ]
    base = [
        sys.executable,
        "-m",
        "debertav3",
        "pretrain",
        "--data",
        str(shards),
        "--out",
        str(out),
        "--size",
        "nano",
    ]
    return [*base, *settings, "--set=save_every_steps=100000", "--set=log_every_steps=1", *more]


@pytest.mark.parametrize(
    "number",
    [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)],
    ids=["SIGTERM", "Ctrl-C"],
)
def test_a_signal_saves_and_exits_with_zero(shards: Path, tmp_path: Path, number: signal.Signals) -> None:
    out = tmp_path / "run"
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        command(shards, out, "--steps", "100000"),
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not (out / "metrics.jsonl").exists():
        time.sleep(0.2)
    while time.monotonic() < deadline and not (out / "metrics.jsonl").read_text().count("\n") > 1:
        time.sleep(0.1)
    process.send_signal(number)
    answer, told = process.communicate(timeout=120)
    assert process.returncode == 0
    assert json.loads(answer)["finished"] is False
    assert b"a checkpoint is saved: continue with --resume" in told
    checkpoints = list((out / "checkpoints").glob("step-*"))
    assert len(checkpoints) == 1 and damage_of(checkpoints[0]) is None


def test_exports_open_in_stock_transformers_and_equal_the_discriminator(finished: Path) -> None:
    ids = torch.randint(4, 7000, (2, 20), generator=torch.Generator().manual_seed(0))
    ours = DebertaV2Model.from_pretrained(finished / "encoder").eval()
    theirs = transformers.DebertaV2Model.from_pretrained(finished / "encoder").eval()
    detector = DebertaV2ForReplacedTokenDetection.from_pretrained(finished / "discriminator").eval()
    stock = transformers.DebertaV2ForMaskedLM.from_pretrained(finished / "generator")
    with torch.inference_mode():
        torch.testing.assert_close(
            ours(ids).last_hidden_state, theirs(ids).last_hidden_state, atol=2e-5, rtol=1e-5
        )
        assert torch.equal(ours(ids).last_hidden_state, detector.deberta(ids).last_hidden_state)
        assert stock(ids).logits.shape == (2, 20, raw_config("nano")["vocab_size"])
    state = last_state(finished)
    shared = state["generator.safetensors:model.deberta.embeddings.word_embeddings.weight"]
    delta = state["discriminator.safetensors:model.deberta.embeddings.word_embeddings._weight"]
    assert delta.any()
    assert torch.equal(ours.embeddings.word_embeddings.weight, shared + delta)
    assert ours.config.hidden_dropout_prob == 0.1
    page = (finished / "report.html").read_text()
    assert page.count("<svg") >= 8 and "held-out generator loss" in page
    assert re.search(r"(src|href)=.https?:", page) is None  # nothing from outside


def test_continuing_from_a_run_restores_both_networks_and_delta(
    finished: Path, shards: Path, tmp_path: Path
) -> None:
    networks = build_networks(TINY, 12001, finished)
    state = last_state(finished)
    assert networks.discriminator is not None
    delta = networks.discriminator.deberta.embeddings.word_embeddings._weight
    wanted = state["discriminator.safetensors:model.deberta.embeddings.word_embeddings._weight"]
    torch.testing.assert_close(delta, wanted, atol=1e-8, rtol=0)
    for key, value in networks.generator.state_dict().items():
        assert torch.equal(value, state[f"generator.safetensors:model.{key}"]), key
    assert pretrain(TINY.changed(max_steps=2), shards, tmp_path / "more", resume=False, start=finished)


def test_one_shared_table_does_not_throw_delta_away(finished: Path, tmp_path: Path) -> None:
    shared = TINY.changed(sharing="es", mode="joint")
    with pytest.raises(
        UserError, match=r"plus a delta, which sharing=es cannot keep; use --set sharing=gdes"
    ):
        build_networks(shared, 12001, finished)
    alone = build_networks(shared, 12001, finished / "discriminator")  # no generator is known: delta is zero
    assert alone.discriminator is not None
    trio = open_trio(finished / "discriminator", generator=finished / "generator")
    table = trio.tables["word_embeddings"].discriminator
    assert torch.equal(alone.discriminator.deberta.embeddings.word_embeddings.merged_weight(), table)


def test_two_tables_keep_what_each_network_had(finished: Path) -> None:
    networks = build_networks(TINY.changed(sharing="nes"), 12001, finished)
    assert networks.discriminator is not None
    trio = open_trio(finished / "discriminator", generator=finished / "generator")
    table = trio.tables["word_embeddings"]
    assert table.delta.any()
    own = networks.discriminator.deberta.embeddings.word_embeddings.weight
    assert torch.equal(own, table.discriminator)
    assert torch.equal(networks.generator.deberta.embeddings.word_embeddings.weight, table.generator)


def test_data_of_another_tokenizer_are_refused(finished: Path, shards: Path, tmp_path: Path) -> None:
    """As many pieces, but two of them have changed places: every size fits."""
    start = tmp_path / "start"
    shutil.copytree(finished, start)
    (start / "encoder" / "spm.model").unlink()
    content = json.loads((start / "encoder" / "tokenizer.json").read_text())
    pieces = content["model"]["vocab"]
    pieces[500], pieces[501] = pieces[501], pieces[500]
    (start / "encoder" / "tokenizer.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"another tokenizer than that of .*start: 2 of 12001 pieces"):
        pretrain(TINY.changed(max_steps=1), shards, tmp_path / "run", resume=False, start=start)
    assert not (tmp_path / "run").exists()


def test_a_run_says_what_it_started_from(finished: Path, shards: Path, tmp_path: Path) -> None:
    here = Path(os.path.relpath(finished))
    config = TINY.changed(max_steps=1, size="xsmall", generator_layers=None)
    assert pretrain(config, shards, tmp_path / "run", resume=False, start=here)
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["start"] == str(finished.resolve())
    layers = {name: network["layers"] for name, network in record["networks"].items()}
    assert layers == {"generator": 1, "discriminator": 6}
    # The same folder under another name:
    assert pretrain(config, shards, tmp_path / "run", resume=True, start=finished)


def test_the_depth_of_a_generator_that_is_there_cannot_be_chosen(finished: Path) -> None:
    with pytest.raises(UserError, match="has 1 layers and generator_layers is 2: leave that out"):
        build_networks(TINY.changed(generator_layers=2), 12001, finished)


def test_continuing_from_a_discriminator_alone_keeps_its_embeddings(finished: Path) -> None:
    trio = open_trio(finished / "discriminator")
    networks = build_networks(TINY, 12001, finished / "discriminator")
    assert networks.discriminator is not None
    embeddings = networks.discriminator.deberta.embeddings.word_embeddings
    assert not embeddings._weight.any()
    table = trio.tables["word_embeddings"].discriminator
    assert torch.equal(embeddings.merged_weight(), table)
    assert torch.equal(networks.generator.deberta.embeddings.word_embeddings.weight, table)
    lower = networks.generator.deberta.encoder.layer[0].attention.self.query_proj.weight
    assert torch.equal(
        lower, networks.discriminator.deberta.encoder.layer[0].attention.self.query_proj.weight
    )


def test_masked_words_go_on_from_a_model_without_positions(nano: Path) -> None:
    """A classifier's file has no table of absolute positions, which only the mask decoder reads."""
    networks = build_networks(TINY.changed(objective="mlm"), 12001, nano)
    stored = load_file(nano / "model.safetensors")
    query = "deberta.encoder.layer.5.attention.self.query_proj.weight"
    assert torch.equal(networks.generator.state_dict()[query], stored[query].float())
    assert networks.generator.deberta.embeddings.position_embeddings.weight.std() > 0.01


@pytest.mark.parametrize("objective", ["mlm", "rtd"])
def test_windows_longer_than_the_positions_of_a_checkpoint_are_refused(objective: str, nano: Path) -> None:
    with pytest.raises(UserError, match=r"has 512 positions and max_length is 1024"):
        build_networks(TINY.changed(objective=objective, max_length=1024), 12001, nano)


def test_which_network_of_a_run_is_continued_is_clear(finished: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"say which one to continue, .*encoder or .*generator"):
        build_networks(TINY.changed(objective="mlm"), 12001, finished)
    shutil.copytree(finished / "generator", tmp_path / "generator")
    networks = build_networks(TINY.changed(objective="mlm"), 12001, tmp_path)
    assert networks.generator.config.num_hidden_layers == 1
    with pytest.raises(UserError, match=r"has no discriminator: start one with --from .*encoder"):
        build_networks(TINY, 12001, tmp_path)


def test_export_of_a_continued_run_equals_what_it_started_from(
    finished: Path, nano: Path, tmp_path: Path
) -> None:
    from debertav3.tokenization import DebertaV3Tokenizer

    networks = build_networks(TINY, 12001, finished)
    export(networks, tmp_path, DebertaV3Tokenizer.from_pretrained(nano))
    for name in ("generator", "discriminator", "encoder"):
        before, after = (load_file(folder / name / "model.safetensors") for folder in (finished, tmp_path))
        assert before.keys() == after.keys()
        for key in before:
            torch.testing.assert_close(after[key], before[key], atol=1e-8, rtol=0)


@pytest.mark.parametrize(
    "changes",
    [{"objective": "mlm"}, {"mode": "joint", "sharing": "es"}, {"sharing": "nes", "packing": "documents"}],
    ids=str,
)
def test_other_objectives_run_to_their_end(changes: dict[str, str], shards: Path, tmp_path: Path) -> None:
    config: PretrainConfig = TINY.changed(max_steps=2, **changes)  # type: ignore[arg-type]
    assert pretrain(config, shards, tmp_path / "run", resume=False)
    assert (tmp_path / "run" / "encoder" / "model.safetensors").is_file()
    last = rows(tmp_path / "run")[-1]
    assert np.isfinite(last["heldout_mlm_loss"]) and "heldout_cosine_generator" in last


def test_a_full_disk_is_named_and_earlier_checkpoints_stay(shards: Path, tmp_path: Path) -> None:
    """The limit is on the size of a file, which the optimizer's exceed and the log does not."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    signals = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, before[1]))
    try:
        with pytest.raises(UserError, match=r"step 3 cannot be written .* continue with --resume"):
            pretrain(TINY, shards, tmp_path / "run", resume=False)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, signals)
    assert not list((tmp_path / "run" / "checkpoints").glob("step-*"))
    assert pretrain(TINY, shards, tmp_path / "run", resume=True)
    assert damage_of(tmp_path / "run" / "checkpoints" / "step-000000006") is None


def test_straight_from_text(nano: Path, tmp_path: Path) -> None:
    for name in "ab":
        text = [f"river stone market letter {name} number {i} " * 9 for i in range(30)]
        (tmp_path / f"{name}.txt").write_text("\n\n".join(text))
    settings = [
        "max_length=24",
        "batch_size=2",
        "precision=fp32",
        "generator_layers=1",
        "validation_windows=2",
    ]
    pretrain_command(
        out=tmp_path / "run", data=[str(tmp_path / "a.txt"), str(tmp_path / "b.txt")], tokenizer=str(nano),
        size="nano", steps=1, override=settings,
    )  # fmt: skip
    DebertaV2Model.from_pretrained(tmp_path / "run" / "encoder")
    with pytest.raises(UserError, match="--data with text files needs --tokenizer"):
        pretrain_command(out=tmp_path / "other", data=[str(tmp_path / "a.txt")], size="nano")


def test_data_that_is_missing_is_named_before_anything_is_prepared(nano: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    with pytest.raises(UserError, match="no data: give --data SHARDS"):
        pretrain_command(out=out, size="nano")
    with pytest.raises(UserError, match="absent does not exist"):
        pretrain_command(out=out, data=[str(tmp_path / "absent")], size="nano")
    assert not out.exists()


@pytest.mark.slow
@pytest.mark.parametrize("processes", [2, 4])
def test_processes_change_no_loss(processes: int, shards: Path, tmp_path: Path) -> None:
    one, many = tmp_path / "one", tmp_path / "many"
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    plain = command(shards, one, "--steps", "5", "--set=dropout=0")
    subprocess.run(plain, env=environment, check=True)
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(processes), "-m"]
    launched = launch + command(shards, many, "--steps", "5", "--set=dropout=0")[2:]
    subprocess.run(launched, env=environment, check=True)
    for first, second in zip(rows(one), rows(many), strict=True):
        for name in ("mlm_loss", "rtd_loss", "heldout_mlm_loss", "heldout_rtd_loss"):
            if name in first:
                assert second[name] == pytest.approx(first[name], rel=1e-5)


@pytest.mark.slow
def test_processes_prepare_a_text_once(nano: Path, tmp_path: Path) -> None:
    text, out = tmp_path / "a.txt", tmp_path / "run"
    text.write_text("\n\n".join(f"river stone market number {i} " * 9 for i in range(60)))
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m"]
    arguments = command(tmp_path, out, "--steps", "1", "--set=generator_layers=1")[2:]
    place = arguments.index("--data")
    arguments[place : place + 2] = ["--text", str(text), "--tokenizer", str(nano)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(launch + arguments, env=environment, check=True, stderr=subprocess.PIPE, text=True)
    # the second process finds the first one's shards
    assert done.stderr.count("computing checksums of the inputs") == 1
    assert (out / "encoder" / "model.safetensors").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("changes", [{}, {"mode": "joint", "sharing": "es"}], ids=["gdes", "joint-es"])
def test_weights_spread_over_processes_change_no_loss(
    changes: dict[str, str], shards: Path, tmp_path: Path
) -> None:
    """Half of the run spread over two processes, the other half in one that goes on from its checkpoint."""
    settings = [f"--set={key}={value}" for key, value in changes.items()]
    settings += ["--set=dropout=0", "--set=save_every_steps=2", "--set=validation_windows=2", "--steps=4"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    one, spread = tmp_path / "one", tmp_path / "spread"
    subprocess.run(command(shards, one, *settings), env=environment, check=True)
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m"]
    launched = launch + command(shards, spread, *settings, "--set=shard_weights=true")[2:]
    subprocess.run(launched, env=environment, check=True)
    for first, second in zip(rows(one), rows(spread), strict=True):
        for name in (
            "mlm_loss",
            "rtd_loss",
            "update_norm",
            "heldout_mlm_loss",
            "heldout_cosine_discriminator",
        ):
            if name in first:
                assert second[name] == pytest.approx(first[name], rel=1e-4), name
    ours, theirs = (load_file(run / "encoder" / "model.safetensors") for run in (one, spread))
    for name, tensor in ours.items():
        torch.testing.assert_close(theirs[name], tensor, atol=1e-4, rtol=1e-4)
    shutil.rmtree(spread / "checkpoints" / "step-000000004")
    subprocess.run(command(shards, spread, *settings, "--resume"), env=environment, check=True)
    assert rows(spread)[-1]["heldout_mlm_loss"] == pytest.approx(rows(one)[-1]["heldout_mlm_loss"], rel=1e-4)


def test_a_run_that_diverged_says_so_and_exports_nothing(shards: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = ["--data", str(shards), "--out", str(out), "--size", "nano", "--steps", "6"]
    settings = ["learning_rate=1e30", "precision=fp32", "batch_size=4", "micro_batch_size=4", "max_length=24"]
    done = subprocess.run(
        [sys.executable, "-m", "debertav3", "pretrain", *command, "--set", *settings],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("debertav3: error: ")]
    assert "The run DIVERGED" in line and "No encoder was exported" in line
    assert not done.stdout
    assert not any((out / name).exists() for name in ("encoder", "discriminator", "generator"))
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "The run DIVERGED; its weights are useless." in page
    assert "warmup_steps=400 would cover the whole run of 6 steps: shortened to 0" in done.stderr


def test_a_run_is_known_by_content(finished: Path, shards: Path, tmp_path: Path) -> None:
    """Moved data count as the same; a changed token, document end or tokenizer does not."""
    moved, out = tmp_path / "moved", tmp_path / "out"
    shutil.copytree(shards, moved)
    shutil.copytree(finished, out)
    assert pretrain(TINY, moved, out, resume=True)
    for name, message in (
        ("train/*.tokens", r"train/.*\.tokens is damaged"),
        ("train/*.ends", r"train/.*\.ends is damaged"),
        ("tokenizer/tokenizer_config.json", "not the tokenizer that made these shards"),
    ):
        (path,) = list(moved.glob(name))[:1]
        content = path.read_bytes()
        path.write_bytes(b"{ " + content[1:] if name.endswith("json") else flipped(content))
        with pytest.raises(UserError, match=message):
            pretrain(TINY, moved, out, resume=True)
        path.write_bytes(content)


@pytest.mark.parametrize(("ending", "key"), [("tokens", "sha256"), ("ends", "ends_sha256")])
def test_a_run_is_not_resumed_on_shards_prepared_from_other_data(
    finished: Path, shards: Path, tmp_path: Path, ending: str, key: str
) -> None:
    other, out = tmp_path / "other", tmp_path / "out"
    shutil.copytree(shards, other)
    shutil.copytree(finished, out)
    (path,) = list(other.glob(f"train/*.{ending}"))[:1]
    path.write_bytes(flipped(path.read_bytes()))
    index = json.loads((other / "index.json").read_text())
    for row in index["splits"]["train"]:
        if row["name"] == path.stem:
            row[key] = hashlib.sha256(path.read_bytes()).hexdigest()
    (other / "index.json").write_text(json.dumps(index))
    with pytest.raises(UserError, match=rf"changed since .*: train/.*\.{ending}\. Put"):
        pretrain(TINY, other, out, resume=True)


def flipped(content: bytes) -> bytes:
    """The same bytes but for the lowest bit of the first."""
    return bytes([content[0] ^ 1]) + content[1:]


FORMER = {
    "max_steps": "steps", "batch_size": "global_batch", "max_length": "length", "adam_beta1": "beta1",
    "adam_beta2": "beta2", "adam_epsilon": "epsilon", "max_grad_norm": "max_gradient_norm",
}  # fmt: skip
"""Settings that a checkpoint pins, by the names they have had."""


def test_a_run_of_an_older_version_is_resumed(finished: Path, shards: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    copy_cut_back(finished, out)
    folder = out / "checkpoints" / "step-000000003"
    state = json.loads((folder / "state.json").read_text())
    del state["contents"]
    state["config"] = {FORMER.get(name, name): value for name, value in state["config"].items()}
    assert set(FORMER.values()) <= state["config"].keys()
    for name in ("schedule", "optimizer", "phases", "mask_schedule", "ema_decay", "mean_last"):
        del state["config"][name]
    (folder / "state.json").write_text(json.dumps(state))
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["state.json"] = {
        "size": (folder / "state.json").stat().st_size,
        "sha256": hashlib.sha256((folder / "state.json").read_bytes()).hexdigest(),
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    record = json.loads((out / "run.json").read_text())
    record["config"] = {FORMER.get(name, name): value for name, value in record["config"].items()}
    (out / "run.json").write_text(json.dumps(record))
    assert pretrain(TINY, shards, out, resume=True)

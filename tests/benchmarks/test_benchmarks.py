"""Every script under benchmarks/ imports, and runs once with tiny sizes (make test-benchmarks)."""

import gzip
import importlib
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from debertav3.data.prepare import ExecutorConfig, PrepareConfig, prepare

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
SCRIPTS = sorted(path.name for path in BENCHMARKS.glob("*.py"))
PARTS = {
    "side_by_side.py",
    "finetune_data.py",
    "marked_pages.py",
    "mishap_rows.py",
    "serve_clients.py",
    "serve_contenders.py",
    "serve_infinity.py",
    "study_page.py",
    "study_records.py",
    "study_rows.py",
    "study_sets.py",
    "study_work.py",
}
"""Modules of other scripts, which have no command of their own."""
LABELS = ("entailment", "neutral", "contradiction")
TEXT = "a man is playing the guitar on stage while nobody reads an old book near the quiet river"
WORDS = TEXT.split()


class Tiny(NamedTuple):
    """What the tiny runs read and where they write."""

    data: Path
    shards: Path
    study: Path
    nano: Path
    out: Path


def rows(path: Path, count: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    texts = [
        " ".join(WORDS[(i * k) % len(WORDS)] for k in range(1, 9)) + f" {i}" for i in range(1, count + 1)
    ]
    lines = [
        {"premise": text, "hypothesis": texts[-i], "label": LABELS[i % 3], "group": str(i % 5), "text": text}
        for i, text in enumerate(texts)
    ]
    with gzip.open(path, "wt", encoding="utf-8") as file:
        file.writelines(json.dumps(line) + "\n" for line in lines)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory, nano: Path) -> Tiny:
    folder = tmp_path_factory.mktemp("benchmarks")
    data = folder / "data"
    for name, count in (("mnli_matched_dev", 1024), ("snli_dev", 96), ("sick_train", 96)):
        rows(data / "nli" / f"{name}.jsonl.gz", count)  # real_pairs calibrates with those after 1,000
    rows(data / "corpus" / "stories.jsonl.gz", 4000)
    rows(data / "classification" / "sentence_polarity.jsonl.gz", 96)
    (data / "ner").mkdir()
    for part in ("train", "dev"):
        (data / "ner" / f"uner_ewt_{part}.conll").write_text("Ann\tB-PER\nsings\tO\n\n" * 20)
    (data / "deberta-v3-tokenizer").symlink_to(nano)
    (data / "rows.jsonl").write_bytes(gzip.decompress((data / "nli" / "sick_train.jsonl.gz").read_bytes()))
    text = "\n\n".join(f"{TEXT} {' '.join(WORDS[i % 17 :])} {i}." for i in range(200))
    (folder / "a.txt").write_text(text)
    record = {"seconds": 90.0, "scores": {"inference": {"accuracy": [0.5, 0.6]}}}
    (folder / "study.json").write_text(json.dumps({"paces": {"mlm": [0.1]}, "rows": {"mlm": record}}))
    config = PrepareConfig(inputs=(str(folder / "a.txt"),), tokenizer=str(nano), heldout_share=0.1)
    prepare(config, folder / "shards", ExecutorConfig())
    return Tiny(
        data=data, shards=folder / "shards", study=folder / "study.json", nano=nano, out=folder / "out"
    )


FINETUNE = "--set epochs=1 --set max_steps=2 --set batch_size=4 --set max_length=16"
RUNS = {
    "auto_classes.py": ["--data {data} --threads 1 --rounds 1 --pairs 2"],
    "cold_start.py": ["--rounds 1 --threads 1 --exports"],
    "cpu_backends.py": [
        "--folder {out}/cpu --shapes 1x8 --rounds 1 --threads 1 --only 'stock eager' torch 'torch int8'"
    ],
    "cross_validate.py": [
        "nli --train {data}/rows.jsonl --group group --model {nano} --folds 2 --out {out}/folds " + FINETUNE
    ],
    "finetune_results.py": ["--data {real} --out {out}/results --model {nano} --dry-run"],
    "gpu.py": [
        "--out {out}-gpu.json --plot {out}-gpu.png --device cpu --no-flash --sizes nano --lengths 8 16 "
        "--compile-at --tokens 32 --pairs 4 --window 16 --windows 2 --rounds 1"
    ],
    "latency.py": [
        "--data {data} --model {nano} --folder {out}/latency --pairs 2 --rounds 1 --threads 1 --without-onnx"
    ],
    "light_image.py": ["--rounds 1 --port 8960 -- --backend native"],
    "linear_baseline.py": ["--train {data}/nli/sick_train.jsonl.gz --dev {data}/nli/snli_dev.jsonl.gz"],
    "mistakes.py": ["--rounds 1 --limit 60 --only push info 'data check'"],
    "predict_memory.py": ["--rows 20 40 --formats jsonl"],
    "check_memory.py": ["--data {data} --megabytes 1"],
    "prepare_memory.py": ["--data {data} --megabytes 1"],
    "model_path.py": ["--model {nano} --show"],
    "pretrain_speed.py": ["--data {shards} --length 24 --windows 2 --rounds 1 --threads 1"],
    "pretraining_hours.py": ["--study {study} --nano {out} --out {out}/hours"],
    "pretraining_mishaps.py": [
        "--data {real} --out {out}/mishaps --steps 4 --json {out}-mishaps.json "
        "--only rtd-from-nothing own-text-first"
    ],
    "pretraining_study.py": [
        "--data {data} --out {out}/study --steps 4 --seeds 1 --processes 1 --set max_steps=2 --pace-rounds 1 "
        "--tasks inference --figures {out}/study "
        "--only random,mlm-stock,mlm-stock-time,mlm-seed-1,start-rtd-gdes,falling-mask,no-c2p"
    ],
    "real_pairs.py": [
        "--data {data} --folder {out}/pairs --prepare torch-int8",
        "--data {data} --folder {out}/pairs --threads 1 --rounds 1 --pairs 4 "
        "--stock-pairs 2 --stock-batches 1 --only torch 'torch int8'",
    ],
    "scale_tables.py": [""],
    "serve_limits.py": ["--model {nano} --rounds 1 --port 8950"],
    "serve_load.py": [
        "--data {data} --model {nano} --pairs 20 --seconds 0.3 --overload-seconds 0.5 --hang-ups 20 "
        "--rounds 1 --port 8970",
        "--data {data} --model {nano} --pairs 20 --seconds 0.3 --soak 2 --port 8980",
    ],
    "serve_queue.py": ["--data {data} --pairs 50 --seconds 0.2"],
    "stock_mlm.py": ["--data {shards} --steps 2 --out {out}/stock"],
    "sift_cost.py": [
        "--data {data}/nli/sick_train.jsonl.gz --model {nano} --steps 2 --rounds 1 --max-length 16 "
        "--precision fp32"
    ],
    "tokenizer_speed.py": ["--model {nano} --data {data} --rounds 2"],
    "torch_backend.py": ["--threads 1 --rounds 1 --shapes 1x8"],
    "train_speed.py": [
        "--data {data}/nli/mnli_matched_dev.jsonl.gz --tokenizer {nano} --threads 1 --batch 2 --steps 2 "
        "--rounds 1"
    ],
    "two_versions.py": [
        "--before src --shapes 1x4 --rounds 1 --kinds packed 'packed int8' plain",
        "--before src --shapes 2x24 --rounds 1 --kinds finetune rtd start "
        "--data {data}/nli/mnli_matched_dev.jsonl.gz --shards {shards}",
    ],
}
"""For each script its commands."""
WITH_RUNTIMES = {
    "cold_start.py": ["--rounds 1 --threads 1"],
    "cpu_backends.py": ["--folder {out}/cpu --shapes 1x8 --rounds 1 --threads 1"],
    "real_pairs.py": ["--data {data} --folder {out}/pairs --prepare onnx openvino-int8"],
}
"""What needs ONNX Runtime and OpenVINO."""


def run(script: str, arguments: list[str], *, timeout: int = 300) -> str:
    source = str(BENCHMARKS.parent / "src")
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / script), *arguments],
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
        cwd=BENCHMARKS.parent,
        env={**os.environ, "PYTHONPATH": source, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_every_script_has_a_tiny_run() -> None:
    assert RUNS.keys() | PARTS == set(SCRIPTS)


def test_every_script_imports(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    for script in SCRIPTS:
        assert importlib.import_module(script.removesuffix(".py")).__doc__


def run_all(script: str, commands: list[str], places: dict[str, str]) -> None:
    """Each script ends in its figures."""
    printed = [run(script, shlex.split(command.format(**places))) for command in commands]
    assert re.search(r"\d", printed[-1])


@pytest.mark.slow
@pytest.mark.parametrize("script", sorted(RUNS))
def test_a_tiny_run(script: str, tiny: Tiny, request: pytest.FixtureRequest) -> None:
    places = {name: str(path) for name, path in tiny._asdict().items()}
    if "{real}" in RUNS[script][0]:
        places["real"] = str(request.getfixturevalue("data_folder"))
    run_all(script, RUNS[script], places)


@pytest.mark.slow
@pytest.mark.parametrize("script", sorted(WITH_RUNTIMES))
def test_a_tiny_run_of_every_runtime(script: str, tiny: Tiny) -> None:
    for needed in ("onnxruntime", "onnxscript", "openvino", "nncf"):
        pytest.importorskip(needed)
    run_all(script, WITH_RUNTIMES[script], {name: str(path) for name, path in tiny._asdict().items()})

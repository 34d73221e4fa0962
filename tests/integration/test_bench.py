"""``bench``: a table on stderr, one JSON line on stdout, a PNG, equal outputs; wrong input is one line."""

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch

from debertav3 import UserError, cli
from debertav3.inference.bench.plan import BenchConfig, exported_names
from debertav3.inference.export.request import ExportConfig
from debertav3.inference.export.run import export_model
from debertav3.inference.files.workers import THREAD_VARIABLES
from tiny_models import ModelFolders


class Outcome(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Callable[..., Outcome]]:
    threads = torch.get_num_threads()
    for name in THREAD_VARIABLES:
        monkeypatch.setenv(name, "1")  # so that what the command sets is taken back

    def run(*arguments: Any) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["debertav3", "bench", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        captured = capsys.readouterr()
        return Outcome(int(stopped.value.code or 0), captured.out, captured.err)

    yield run
    torch.set_num_threads(threads)


@pytest.fixture
def model(nano: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ModelFolders(nano, tmp_path_factory)("DebertaV2ForSequenceClassification")


def check(outcome: Outcome, contenders: list[str]) -> None:
    assert outcome.code == 0, outcome.err
    (line,) = outcome.out.splitlines()
    report = json.loads(line)
    assert report["matmul_gflops"] > 0 and report["machine"]["threads"] == 1
    found = [(one["name"], one["batch"], one["length"]) for one in report["figures"]]
    assert found == [(name, *shape) for shape in ((1, 8), (3, 20)) for name in contenders]
    for one in report["figures"]:
        assert one["difference"] < 2e-5
        rate = one["batch"] * one["length"] / one["milliseconds"] * 1e3
        assert one["tokens_per_second"] == pytest.approx(rate)
        assert one["name"] in outcome.err


def test_a_quick_bench_prints_a_table_a_line_and_a_plot(
    command: Callable[..., Outcome], model: Path, tmp_path: Path
) -> None:
    pytest.importorskip("matplotlib")
    plot = tmp_path / "new" / "bench.png"
    outcome = command(
        "--quick", "--model", model, "--shapes", "1x8,3x20", "--rounds", 1, "--threads", 1, "--plot", plot
    )
    check(outcome, ["stock transformers", "debertav3 torch"])
    assert "What limits this machine:" in outcome.err and "| kernel " in outcome.err
    old = tmp_path / "old.json"
    old.write_text(outcome.out, encoding="utf-8")
    options = ("--quick", "--model", model, "--rounds", 1, "--threads", 1, "--compare", old)
    again = command(*options, "--shapes", "1x8")
    assert again.code == 0 and again.err.count("times as fast") == 2
    old.write_text("[]", encoding="utf-8")
    refused = command(*options, "--shapes", "1x8")
    assert refused.code == 2 and "JSON line of an earlier debertav3 bench" in refused.err
    assert "texts/s" not in refused.err  # before anything is measured
    old.write_text(outcome.out, encoding="utf-8")
    refused = command(*options, "--shapes", "2x9")
    assert refused.code == 2 and "none of the shapes 2x9" in refused.err and "texts/s" not in refused.err
    old.write_text(outcome.out.replace("debertav3 torch", "x").replace("stock transformers", "y"))
    other = command(*options, "--shapes", "1x8")
    assert other.code == 2 and "no contender and shape in common" in other.err
    assert len(json.loads(other.out)["figures"]) == 2  # what was measured is not lost
    assert plot.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("head", "message"),
    [
        ("DebertaV2ForMaskedLM", "has a masked-lm head"),
        ("DebertaV2ForMultipleChoice", "has a multiple-choice head"),
    ],
)
def test_heads_that_cannot_be_compared_are_refused(
    nano: Path, tmp_path_factory: pytest.TempPathFactory, head: str, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        BenchConfig(model=str(ModelFolders(nano, tmp_path_factory)(head)))


def test_exports_of_another_model_are_refused(model: Path, nano: Path, tmp_path: Path) -> None:
    pytest.importorskip("openvino", reason="needs the extra openvino")
    exported = tmp_path / "exported"
    export_model(model, exported, ExportConfig(format="openvino"))
    BenchConfig(model=str(model), exported=(exported,))
    with pytest.raises(UserError, match=r"was not exported from .*model\.safetensors"):
        BenchConfig(model=str(nano), exported=(exported,))
    with pytest.raises(UserError, match="has random weights"):
        BenchConfig(model="xsmall", exported=(exported,))
    with pytest.raises(UserError, match="and this folder with --exported"):
        BenchConfig(model=str(exported))


def test_contenders_of_one_name_are_told_apart(tmp_path: Path) -> None:
    folders = [tmp_path / "a" / "int8", tmp_path / "b" / "int8", tmp_path / "torch", tmp_path / "bf16"]
    assert exported_names(folders) == [*(f"debertav3 {one}" for one in folders[:3]), "debertav3 bf16"]
    with pytest.raises(UserError, match=r"int8 twice\. Give it once"):
        exported_names([folders[0], tmp_path / "a" / ".." / "a" / "int8"])


def test_an_odd_number_of_threads_is_no_traceback(
    command: Callable[..., Outcome], model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "4,1")
    outcome = command("--quick", "--model", model, "--shapes", "1x8", "--rounds", 1)
    assert outcome.code == 0 and json.loads(outcome.out)["machine"]["threads"] >= 1


@pytest.mark.slow
def test_a_whole_bench_measures_the_exports_too(command: Callable[..., Outcome], model: Path) -> None:
    for package in ("openvino", "onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package)
    outcome = command("--model", model, "--shapes", "1x8,3x20", "--rounds", 1, "--threads", 1)
    exports = ["debertav3 openvino", "debertav3 onnx", "onnxruntime, stock export", "openvino, stock export"]
    check(outcome, ["stock transformers", "debertav3 torch", *exports])


def test_wrong_input_is_one_clear_line(command: Callable[..., Outcome], model: Path, tmp_path: Path) -> None:
    for arguments, message in (
        (["--model", tmp_path / "none"], "neither a folder nor one of the sizes"),
        (["--model", model, "--shapes", "1x8,9"], "such as 1x32,8x128; got '9'"),
        (["--model", model, "--plot", tmp_path / "a.pdf"], "ends in .png"),
    ):
        outcome = command("--quick", *arguments)
        assert (outcome.code, outcome.out) == (2, "")
        assert message in outcome.err.splitlines()[-1]

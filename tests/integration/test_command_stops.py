"""Every command x {full disk, SIGINT, SIGTERM}: one line, nothing half-written, nothing lost."""

import json
import shutil
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from test_command_matrix import write_shards

from debertav3.tokenization import DebertaV3Tokenizer
from warm_commands import Ended, WarmCommands

LABELS = ("entailment", "neutral", "contradiction")
FAST = "--set max_steps=2 --set check_data=false --set batch_size=4 --set max_length=16"


@dataclass(frozen=True, kw_only=True)
class Command:
    """One command with sound arguments, and when the disk is full for it."""

    line: str
    out: str
    """What it writes, in the folder ``new``."""
    limit: int
    """Bytes that a file may have: less than the output needs."""
    needs: str = ""
    """A package without which it is skipped."""
    resumes: bool = False
    """Whether something of an interrupted run is kept, to be continued."""


COMMANDS = {
    "predict": Command(
        line="predict nli --model tiny --data rows.jsonl --out new/a.jsonl",
        out="a.jsonl",
        limit=99,
        resumes=True,
    ),
    "evaluate": Command(
        line="evaluate nli --model tiny --data rows.jsonl --metrics new/m.json", out="m.json", limit=10
    ),
    "data check": Command(line="data check nli rows.jsonl --json new/c.json", out="c.json", limit=10),
    "data prepare": Command(
        line="data prepare --data corpus.txt --tokenizer tiny --out new/shards",
        out="shards",
        limit=500,
        resumes=True,
    ),
    "tokenizer encode": Command(
        line="tokenizer encode --model tiny --data corpus.txt --out new/ids.jsonl", out="ids.jsonl", limit=99
    ),
    "tokenizer train": Command(
        line="tokenizer train --data corpus.txt --vocab-size 400 --out new/tok", out="tok", limit=999
    ),
    "trim-vocab": Command(
        line="trim-vocab --model tiny --data corpus.txt --out new/trimmed", out="trimmed", limit=9_999
    ),
    "export": Command(
        line="export --model tiny --format onnx --out new/onnx", out="onnx", limit=9_999, needs="onnxscript"
    ),
    "export --int8": Command(
        line="export --model tiny --format torch --int8 --force --calibration rows.jsonl --out new/int8",
        out="int8",
        limit=9_999,
    ),
    "bench": Command(
        line="bench --quick --model tiny --plot new/p.png", out="p.png", limit=99, needs="matplotlib"
    ),
    "finetune": Command(
        line=f"finetune nli --model tiny --train rows.jsonl --dev dev.jsonl --out new/run {FAST}",
        out="run",
        limit=9_999,
        resumes=True,
    ),
    "compare": Command(
        line="compare --model tiny --tasks nli --train nli=rows.jsonl --dev nli=dev.jsonl --seeds 1"
        f" --out new/table {FAST}",
        out="table",
        limit=9_999,
        resumes=True,
    ),
    "search": Command(
        line=f"search nli --model tiny --train rows.jsonl --dev dev.jsonl --trials 1 --out new/study {FAST}",
        out="study",
        limit=99_999,
        needs="optuna",
        resumes=True,
    ),
    "pretrain": Command(
        line="pretrain --data shards --size nano --steps 2 --set global_batch=2 --out new/pre",
        out="pre",
        limit=99_999,
        resumes=True,
    ),
}


@pytest.fixture(scope="module")
def sandbox(nano: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Inputs of all commands."""
    import torch

    from debertav3 import DebertaV2ForSequenceClassification
    from debertav3.sizes import config_for

    folder = tmp_path_factory.mktemp("sandbox")
    tokenizer = DebertaV3Tokenizer.from_pretrained(nano)
    torch.manual_seed(0)
    shape = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    config = config_for(
        "nano", vocab_size=len(tokenizer), id2label=dict(enumerate(LABELS)), label2id=None, **shape
    )
    DebertaV2ForSequenceClassification(config).save_pretrained(folder / "tiny")
    tokenizer.save_pretrained(str(folder / "tiny"))
    shutil.copytree(folder / "tiny", folder / "trained")
    (folder / "trained" / "README.md").write_text("A card.")
    rows = [
        {"premise": f"A man {i} sleeps.", "hypothesis": "He rests.", "label": LABELS[i % 3]}
        for i in range(24)
    ]
    for name in ("rows", "dev"):
        text = "".join(json.dumps({**row, "premise": f"{row['premise']} {name}"}) + "\n" for row in rows)
        (folder / f"{name}.jsonl").write_text(text)
    (folder / "corpus.txt").write_text("".join(f"A line of text, number {i}.\n\n" for i in range(3000)))
    write_shards(folder / "shards", folder / "tiny")
    return folder


@pytest.fixture(scope="module")
def run() -> Iterator[WarmCommands]:
    commands = WarmCommands()
    yield commands
    commands.close()


def state_of(sandbox: Path) -> dict[str, tuple[int, int]]:
    """The inputs: size and time of each."""
    return {
        str(path.relative_to(sandbox)): (path.stat().st_size, path.stat().st_mtime_ns)
        for path in sandbox.rglob("*")
        if path.is_file() and path.relative_to(sandbox).parts[0] != "new"
    }


def contents(folder: Path) -> dict[Path, bytes]:
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def attempt(run: WarmCommands, sandbox: Path, command: Command, **how: float) -> tuple[Ended, list[str]]:
    """Run a command; what came of it, and the names it has left in ``new``."""
    if command.needs:
        pytest.importorskip(command.needs)
    new = sandbox / "new"
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir()
    before = state_of(sandbox)
    ended = run(*command.line.split(), folder=sandbox, **how)
    assert "Exception ignored in" not in ended.err, ended.err
    assert "Traceback" not in ended.err, ended.err
    assert state_of(sandbox) == before
    left = [path for path in new.rglob("*") if path.name.endswith("-partial")]
    assert left == []
    return ended, sorted(path.name for path in new.iterdir())


@pytest.mark.parametrize("name", COMMANDS)
def test_a_full_disk_is_one_line_and_leaves_nothing_half_written(
    name: str, sandbox: Path, run: WarmCommands
) -> None:
    command = COMMANDS[name]
    ended, left = attempt(run, sandbox, command, limit=command.limit)
    errors = [line for line in ended.lines if line.startswith("debertav3: error: ")]
    assert ended.code == 2, ended.err
    assert len(errors) == 1, ended.err
    assert ended.err.splitlines()[-1] == errors[0]
    assert "File too large" in errors[0]
    if not command.resumes:
        assert left == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
@pytest.mark.parametrize("name", COMMANDS)
def test_a_signal_ends_a_command_in_one_line(
    name: str, number: signal.Signals, sandbox: Path, run: WarmCommands
) -> None:
    command = COMMANDS[name]
    ended, left = attempt(run, sandbox, command, signal=number, after=0.1)
    if ended.code == 0:  # it was ready first, or it is a training that has saved
        assert left == [command.out]
        return
    assert ended.code == 128 + number, ended.err
    assert ended.err.splitlines()[-1].startswith(("debertav3: interrupted", "debertav3: terminated")), (
        ended.err
    )
    if left and not command.resumes:  # the signal came between the last rename and the command's end
        stopped = contents(sandbox / "new")
        assert attempt(run, sandbox, command)[1] == left
        assert contents(sandbox / "new") == stopped


READERS = {
    "nli": "nli A B --model tiny",
    "doctor": "doctor tiny",
    "info": "info tiny",
    "tokenizer check": "tokenizer check --model tiny --data corpus.txt",
    "push": "push trained me/model --dry-run",
}
"""Commands that write nothing."""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
@pytest.mark.parametrize("name", READERS)
def test_a_signal_ends_a_command_that_writes_nothing(
    name: str, number: signal.Signals, sandbox: Path, run: WarmCommands
) -> None:
    command = Command(line=READERS[name], out="", limit=0)
    ended, left = attempt(run, sandbox, command, signal=number, after=0.02)
    assert left == []
    if ended.code == 0:  # it was ready first
        return
    assert ended.code == 128 + number, ended.err
    assert ended.err.splitlines()[-1].startswith(("debertav3: interrupted", "debertav3: terminated"))

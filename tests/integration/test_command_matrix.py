"""Every command x every mistake with its files: exit code 2, one line, before torch is loaded, nothing lost.

The table of mistakes runs in one fresh process, which looks after each command whether torch was loaded and
whether any file of the sandbox has changed. What needs real work (a full disk, signals) has tests of its own.
"""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from debertav3.data.shards import FORMAT, INDEX_NAME, ShardWriter, token_dtype
from debertav3.files import write_json
from debertav3.tokenization import DebertaV3Tokenizer

LABELS = ("entailment", "neutral", "contradiction")


@dataclass(frozen=True, kw_only=True)
class Command:
    """One command with sound arguments; names in braces are files of the sandbox."""

    line: str
    files: dict[str, str] = field(default_factory=dict)
    """Inputs that are files: the name in braces, and the ending that a faulty one needs."""
    folders: tuple[str, ...] = ()
    """Inputs that are folders."""
    outputs: dict[str, str] = field(default_factory=dict)
    """Outputs, each ``file`` or ``folder``."""
    resumes: bool = False
    """Whether an existing folder may be an earlier run of its own."""


COMMANDS = {
    "nli": Command(line="nli A B --model {model}", folders=("model",)),
    "predict": Command(
        line="predict nli --model {model} --data {rows} --out {answers} --metrics {metrics}",
        files={"rows": ".jsonl"},
        folders=("model",),
        outputs={"answers": "file", "metrics": "file"},
    ),
    "evaluate": Command(
        line="evaluate nli --model {model} --data {rows} --metrics {metrics}",
        files={"rows": ".jsonl"},
        folders=("model",),
        outputs={"metrics": "file"},
    ),
    "finetune": Command(
        line="finetune nli --model {model} --train {rows} --dev {dev} --out {out}",
        files={"rows": ".jsonl", "dev": ".jsonl"},
        folders=("model",),
        outputs={"out": "folder"},
        resumes=True,
    ),
    "compare": Command(
        line="compare --model {model} --tasks nli --train nli={rows} --dev nli={dev} --out {out}",
        files={"rows": ".jsonl", "dev": ".jsonl"},
        folders=("model",),
        outputs={"out": "folder"},
        resumes=True,
    ),
    "search": Command(
        line="search nli --model {model} --train {rows} --dev {dev} --out {out}",
        files={"rows": ".jsonl", "dev": ".jsonl"},
        folders=("model",),
        outputs={"out": "folder"},
        resumes=True,
    ),
    "push": Command(line="push {trained} me/model --dry-run", folders=("trained",)),
    "data check": Command(
        line="data check nli {rows} --dev {dev} --tokenizer {model} --json {answers}",
        files={"rows": ".jsonl", "dev": ".jsonl"},
        folders=("model",),
        outputs={"answers": "file"},
    ),
    "data prepare": Command(
        line="data prepare --data {corpus} --tokenizer {model} --out {out}",
        folders=("model",),
        outputs={"out": "folder"},
        resumes=True,
    ),
    "pretrain": Command(
        line="pretrain --data {shards} --size nano --steps 1 --out {out}",
        folders=("shards",),
        outputs={"out": "folder"},
        resumes=True,
    ),
    "pretrain --from": Command(
        line="pretrain --data {shards} --from {model} --size nano --steps 1 --out {out}",
        folders=("model",),
        outputs={"out": "folder"},
        resumes=True,
    ),
    "tokenizer encode": Command(
        line="tokenizer encode --model {model} --data {corpus} --out {answers}",
        files={"corpus": ".txt"},
        folders=("model",),
        outputs={"answers": "file"},
    ),
    "tokenizer train": Command(
        line="tokenizer train --data {corpus} --vocab-size 400 --out {out}",
        files={"corpus": ".txt"},
        outputs={"out": "folder"},
    ),
    "tokenizer check": Command(
        line="tokenizer check --model {model} --data {corpus}", files={"corpus": ".txt"}, folders=("model",)
    ),
    "trim-vocab": Command(
        line="trim-vocab --model {model} --data {corpus} --out {out}",
        files={"corpus": ".txt"},
        folders=("model",),
        outputs={"out": "folder"},
    ),
    "bench": Command(line="bench --quick --model {model} --plot {plot}", outputs={"plot": "file"}),
    "export": Command(
        line="export --model {model} --format onnx --out {out}", folders=("model",), outputs={"out": "folder"}
    ),
    "export --int8": Command(
        line="export --model {model} --format torch --int8 --calibration {rows} --out {out}",
        files={"rows": ".jsonl"},
        outputs={"out": "folder"},
    ),
    "serve": Command(line="serve --model {model} --port 0", folders=("model",)),
    "mcp": Command(line="mcp --model {model}", folders=("model",)),
    "doctor": Command(line="doctor {model}", folders=("model",)),
    "info": Command(line="info {model}", folders=("model",)),
}

NAMES = {
    "model": "model",
    "trained": "trained",
    "shards": "shards",
    "rows": "rows.jsonl",
    "dev": "dev.jsonl",
    "corpus": "corpus.txt",
    "answers": "new/answers.jsonl",
    "metrics": "new/metrics.json",
    "plot": "new/plot.png",
    "out": "new/out",
}

# An empty text is no mistake of these: they have nothing to do, and say so or write nothing.
TAKES_EMPTY = {("tokenizer encode", "corpus"), ("tokenizer check", "corpus")}
# Any bytes are text, as far as they are UTF-8; the fault is in the middle, so the work has begun.
READS_ON = {("tokenizer check", "corpus")}
LOADS_TORCH = {"tokenizer check"}
"""Commands that compare with transformers, so that nothing can be said before it is loaded."""


def cases() -> Iterator[tuple[str, str, str, str]]:
    """Name of the command, of the mistake, of the file, and what stands in its stead."""
    for name, command in COMMANDS.items():
        for source, ending in command.files.items():
            for fault in ("empty", "garbage", "closed"):
                if fault == "empty" and (name, source) in TAKES_EMPTY:
                    continue
                yield name, f"{fault} file", source, f"faults/{fault}{ending}"
            yield name, "missing file", source, f"faults/missing{ending}"
            yield name, "folder for a file", source, f"faults/folder{ending}"
        for source in command.folders:
            yield name, "missing folder", source, "faults/missing"
            yield name, "empty folder", source, "faults/empty-folder"
            yield name, "file for a folder", source, "faults/garbage.jsonl"
            yield name, "garbage in a folder", source, "faults/garbage-folder"
        for target, kind in command.outputs.items():
            for source in [*command.files, *command.folders]:
                yield name, f"output equals {source}", target, NAMES[source]
            if "{model}" in command.line and kind == "file":
                yield name, "output replaces a file of the model", target, "model/config.json"
            yield name, "output below a file", target, "corpus.txt/below/that"
            yield name, "name too long", target, "x" * 300
            yield name, "no permission", target, "closed-folder/new"
            if kind == "file":
                yield name, "output exists", target, existing(target)
                yield name, "folder for an output file", target, "faults/empty-folder"
            else:
                yield name, "output exists", target, "faults/full-folder"
                yield name, "file for an output folder", target, "corpus.txt"


def existing(target: str) -> str:
    return "faults/existing.png" if target == "plot" else "faults/existing.json"


CASES = list(cases())


@pytest.fixture(scope="module")
def sandbox(nano: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Files for all commands."""
    folder = tmp_path_factory.mktemp("sandbox")
    shutil.copytree(nano, folder / "model")
    shutil.copytree(nano, folder / "trained")
    write_json(folder / "trained" / "run.json", {"config": {}, "data": {}})
    rows = [
        {"premise": f"A man {i} sleeps.", "hypothesis": "He rests.", "label": LABELS[i % 3]} for i in range(9)
    ]
    for name in ("rows.jsonl", "dev.jsonl"):
        text = "".join(json.dumps({**row, "premise": f"{row['premise']} {name}"}) + "\n" for row in rows)
        (folder / name).write_text(text)
    (folder / "corpus.txt").write_text("".join(f"A line of text, number {i}.\n\n" for i in range(200)))
    write_shards(folder / "shards", folder / "model")
    faults = folder / "faults"
    (faults / "empty-folder").mkdir(parents=True)
    (faults / "full-folder").mkdir()
    (faults / "garbage-folder").mkdir()
    for ending in (".jsonl", ".txt"):
        (faults / f"empty{ending}").touch()
        (faults / f"garbage{ending}").write_bytes(bytes(range(256)) * 9)
        (faults / f"folder{ending}").mkdir()
        (faults / f"closed{ending}").write_text('{"text": "a"}\n')
        (faults / f"closed{ending}").chmod(0o000)
    for name in (
        "config.json",
        "index.json",
        "spm.model",
        "run.json",
        "report.html",
        "compare.json",
        "search.json",
    ):
        (faults / "garbage-folder" / name).write_bytes(bytes(range(256)))
        (faults / "full-folder" / name).write_text("somebody else's")
    for name in ("existing.json", "existing.png"):
        (faults / name).write_text("somebody else's")
    (folder / "closed-folder").mkdir(mode=0o555)
    yield folder
    (folder / "closed-folder").chmod(0o755)


def write_shards(folder: Path, tokenizer: Path) -> None:
    opened = DebertaV3Tokenizer.from_pretrained(tokenizer)
    opened.save_pretrained(str(folder / "tokenizer"))
    dtype = token_dtype(len(opened))
    with ShardWriter(folder / "train", "00000", dtype) as writer:
        for number in range(400):
            writer.add([300 + (number * 7 + i) % 5000 for i in range(40)])
    splits = {"train": [writer.facts()], "heldout": []}
    index = {
        "format": FORMAT,
        "vocab_size": len(opened),
        "dtype": dtype.str,
        "fingerprint": "x",
        "splits": splits,
    }
    write_json(folder / INDEX_NAME, index)


RUN_ALL = """
import contextlib, ctypes, io, json, os, pathlib, sys, traceback
from debertav3 import cli

if os.geteuid() == 0:  # without its capabilities root is bound by permissions as everybody is
    header, nothing = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    assert ctypes.CDLL(None).capset(header, nothing) == 0, "cannot give up rights"

sandbox, cases = pathlib.Path(sys.argv[1]), json.loads(sys.stdin.read())
os.chdir(sandbox)

def snapshot():
    found = {}
    for path in sorted(sandbox.rglob("*")):
        status = path.lstat()
        content = 0 if path.is_dir() else [status.st_size, status.st_mtime_ns]
        found[str(path.relative_to(sandbox))] = [status.st_ino, status.st_mode, content]
    return found

before, told = snapshot(), sys.stdout
for arguments in cases:
    sys.argv = ["debertav3", *arguments]
    out, err, code = io.StringIO(), io.StringIO(), None
    loaded = "torch" in sys.modules
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            cli.main()
        except SystemExit as stop:
            code = stop.code
        except BaseException:
            traceback.print_exc()
    os.chdir(sandbox)
    after = snapshot()
    changed = sorted(name for name in {*before, *after} if before.get(name) != after.get(name))
    result = dict(code=code, out=out.getvalue(), err=err.getvalue(), changed=changed)
    result["torch"] = not loaded and "torch" in sys.modules
    print(json.dumps(result), file=told, flush=True)
    before = after
    if "torch" in sys.modules:
        print("restart", file=told, flush=True)
        break
"""


@pytest.fixture(scope="module")
def outcomes(sandbox: Path) -> dict[tuple[str, str, str], dict[str, Any]]:
    """What each case did. Where a command loads torch, a fresh process does the rest."""
    lines = [arguments_of(*case) for case in CASES]
    results: list[dict[str, Any]] = []
    while len(results) < len(lines):
        done = subprocess.run(
            [sys.executable, "-c", RUN_ALL, str(sandbox)],
            input=json.dumps(lines[len(results) :]),
            capture_output=True,
            text=True,
            timeout=600,
        )
        found = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
        assert found, done.stderr
        results += found
    return {case[:3]: result for case, result in zip(CASES, results, strict=True)}


def arguments_of(name: str, mistake: str, place: str, value: str) -> list[str]:
    return COMMANDS[name].line.format(**{**NAMES, place: value}).split()


@pytest.mark.parametrize("case", CASES, ids=lambda case: " | ".join(case[:3]))
def test_every_mistake_is_one_line_and_costs_nothing(
    case: tuple[str, str, str, str], outcomes: dict[tuple[str, str, str], dict[str, Any]]
) -> None:
    result = outcomes[case[:3]]
    assert result["code"] == 2, result
    assert "Traceback" not in result["err"], result["err"]
    errors = [line for line in result["err"].splitlines() if line.startswith("debertav3: error: ")]
    assert len(errors) == 1, result["err"]
    assert result["err"].splitlines()[-1] == errors[0]
    assert result["out"] == ""
    assert result["changed"] == []
    if case[0] not in LOADS_TORCH:
        assert not result["torch"], "torch was loaded before the mistake was told"

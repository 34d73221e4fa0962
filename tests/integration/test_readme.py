"""What the README shows works as written, and its "Where is ...?" table points at what is there."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

PAIRS = [
    ("A man plays the guitar on stage.", "Somebody makes music.", "entailment"),
    ("A man plays the guitar on stage.", "Nobody makes music.", "contradiction"),
    ("Two dogs run over the field.", "The dogs are hungry.", "neutral"),
    ("The shop was closed all day.", "Nobody could buy bread there.", "entailment"),
]


def blocks(readme: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", readme, flags=re.DOTALL)


@pytest.fixture(scope="module")
def readme(repository: Path) -> str:
    return (repository / "README.md").read_text(encoding="utf-8")


@pytest.fixture
def workplace(tmp_path: Path, nano: Path) -> Path:
    """A folder as a reader of the README has it: the models, and data of their own."""
    if not (nano / "model.safetensors").is_file():
        pytest.skip("models/nano has no weights in this checkout")
    (tmp_path / "models").symlink_to(nano.parent)
    for name in ("train", "dev"):
        rows = [
            {"premise": f"{premise} Part {number} of {name}.", "hypothesis": hypothesis, "label": label}
            for number in range(8)
            for premise, hypothesis, label in PAIRS
        ]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return tmp_path


def run(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False
    )


def shell(line: str, folder: Path) -> subprocess.CompletedProcess[str]:
    own = f"{sys.executable} -m debertav3"
    return run(["bash", "-c", re.sub(r"^debertav3", own, line)], folder)


def test_the_first_command_prints_what_the_page_shows(readme: str, workplace: Path, repository: Path) -> None:
    shown = re.search(r"^\$ (debertav3 nli .*)\n(\{.*\})$", readme, flags=re.MULTILINE)
    assert shown
    done = shell(shown[1], workplace)
    assert done.returncode == 0, done.stderr
    answer, promised = json.loads(done.stdout), json.loads(shown[2])
    assert set(answer) == {"entailment", "neutral", "contradiction"}
    # another backend may round the last digit differently
    assert answer == pytest.approx(promised, abs=0.11)
    make_run = (repository / "Makefile").read_text(encoding="utf-8").replace("\\\n\t  ", "")
    assert shown[1].removeprefix("debertav3 ") in make_run


def test_python_snippets_run(readme: str, workplace: Path) -> None:
    snippets = blocks(readme, "python")
    assert len(snippets) == 2
    for snippet in snippets:
        done = run([sys.executable, "-c", snippet], workplace)
        assert done.returncode == 0, done.stderr
        assert done.stdout


def test_shell_snippet_runs(readme: str, workplace: Path) -> None:
    (snippet,) = blocks(readme, "bash")
    for line in snippet.splitlines():
        done = shell(line, workplace)
        assert done.returncode == 0, f"{line}\n{done.stderr}"
    answers = (workplace / "answers.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(answers) == 32
    assert {"prediction", "scores"} <= json.loads(answers[0]).keys()
    assert 0 <= json.loads((workplace / "metrics.json").read_text(encoding="utf-8"))["accuracy"] <= 1


def test_where_is_table_names_what_is_there(readme: str, repository: Path) -> None:
    table = readme.split("## Where is ...?")[1].split("\n## ")[0]
    paths = re.findall(r"\| `([^`]+)` \|$", table, flags=re.MULTILINE)
    assert len(paths) >= 8
    missing = [path for path in paths if not (repository / path).exists()]
    assert not missing


def test_links_lead_somewhere(readme: str, repository: Path) -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", readme)
    assert links
    assert not [link for link in links if not (repository / link).exists()]


def test_paper_map_names_functions_that_exist(repository: Path) -> None:
    text = (repository / "docs" / "paper_map.md").read_text(encoding="utf-8")
    package = repository / "src" / "debertav3"
    source = "\n".join(path.read_text(encoding="utf-8") for path in package.rglob("*.py"))
    paths = re.findall(r"`([\w/]+(?:\.py|/))`", text)
    assert paths
    assert not [path for path in paths if not (package / path).exists() and not (repository / path).exists()]
    names = {name.split(".")[-1] for name in re.findall(r"`([A-Za-z_]+(?:\.[a-z_]+)?)`", text)}
    assert len(names) > 10
    not_code = {"long_inputs"}
    unknown = [n for n in names - not_code if not re.search(rf"(?:def|class) {n}\b|\b{n}\b", source)]
    assert not unknown

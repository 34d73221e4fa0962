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


def places_and_names(text: str) -> tuple[set[str], set[str]]:
    """The paths of a document that are in backticks, and the names of code."""
    paths = set(re.findall(r"`([\w./-]+(?:\.py|/))(?:: \w+)?`", text))
    words = re.findall(r"`(?:[\w./-]+: )?([A-Za-z_]+(?:\.[a-z_]+)?)(?:\(\.\.\.\))?`", text)
    return paths, {word.split(".")[-1] for word in words}


def missing_in(repository: Path, paths: set[str], names: set[str]) -> list[str]:
    """What a document names and the project lacks; paths are of the repository or of the package."""
    package = repository / "src" / "debertav3"
    source = "\n".join(path.read_text(encoding="utf-8") for path in package.rglob("*.py"))
    places = [path for path in paths if not any((place / path).exists() for place in (package, repository))]
    return places + [name for name in names if not re.search(rf"\b{name}\b", source)]


def test_paper_map_names_functions_that_exist(repository: Path) -> None:
    paths, names = places_and_names((repository / "docs" / "paper_map.md").read_text(encoding="utf-8"))
    assert paths
    assert len(names) > 10
    assert not missing_in(repository, paths, names)


def test_words_of_the_papers_are_found_where_the_map_says(repository: Path) -> None:
    """Each word of the map's third table is in a docstring of the place that it names."""
    text = (repository / "docs" / "paper_map.md").read_text(encoding="utf-8")
    table = text.split("## Words to search for")[1].split("\n## ")[0]
    rows = re.findall(r"^\| `([^`]+)` \| `([^`:]+): ([\w.]+)` \|$", table, flags=re.MULTILINE)
    assert len(rows) > 20
    for word, path, name in rows:
        source = (repository / "src" / "debertav3" / path).read_text(encoding="utf-8")
        assert word.lower() in source.lower(), f"{word} is not in {path}"
        assert re.search(rf"(?:def|class) {name.split('.')[-1]}\b|^{name}\b", source, re.MULTILINE), name


@pytest.mark.parametrize(
    "kind", ["a task", "a head", "an inference backend", "an attention backend", "a training objective"]
)
def test_what_to_add_names_what_is_there(repository: Path, kind: str) -> None:
    text = (repository / "CONTRIBUTING.md").read_text(encoding="utf-8")
    recipe = text.split(f"**{kind}**")[1].split("\n**")[0]
    paths, names = places_and_names(recipe)
    placeholders = {path for path in paths if "NAME" in path}
    assert len(paths) > 1
    assert not missing_in(repository, paths - placeholders, names)


def test_every_target_of_make_is_there_once_and_described(repository: Path) -> None:
    text = (repository / "Makefile").read_text(encoding="utf-8")
    targets = re.findall(r"^([a-z-]+):", text, flags=re.MULTILINE)
    assert len(targets) == len(set(targets))
    (phony,) = re.findall(r"^\.PHONY: (.*)$", text, flags=re.MULTILINE)
    assert sorted(phony.split()) == sorted(targets)
    assert all(re.search(rf"^{target}:.*## \S", text, flags=re.MULTILINE) for target in targets)

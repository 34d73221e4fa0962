"""Contract: one spelling, British with -ize (normalize, labelled, neighbour); names of others stay."""

import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
FOLDERS = ("src", "docs", "recipes", "tests", "benchmarks", "deploy")
KINDS = {".py", ".md", ".h", ".cpp", ".html", ".js", ".toml", ".yml", ".yaml", ".sh"}
UNTOUCHED = (
    "src/debertav3/cpu/kernel/",
    "recipes/nano/",
    "benchmarks/reports/",
    "tests/unit/test_spelling.py",
)

STEMS = "final|initial|maxim|minim|normal|optim|organ|quant|random|recogn|regular|util"
STRAYS = re.compile(
    rf"(?i)\b\w*(?:{STEMS})is(?:e|es|ed|er|ers|ing|ation|ations|able)(?![a-z])\w*|\b(?:un)?learnt\b|\bmisspelt\b"
)
AMERICAN = re.compile(
    r"(?i)\b(?:un)?(?:behaviors?|centers?|centered|colors?|colored|favors?|favored|favorites?|grays?|honors?|honored"
    r"|(?:re)?labeled|(?:re)?labeling|modeled|modeling|neighbors?|neighboring|canceled|canceling|analyze[ds]?)\b"
)
CODE = re.compile(r"```.*?```|`[^`\n]*`|\]\([^)\s]*\)|https?://\S+", re.DOTALL)
KEPT = {"model_flops_utilisation"}
"""A key of the logs of runs that exist."""


def sources() -> list[Path]:
    top = [path for path in REPOSITORY.iterdir() if path.is_file() and path.suffix in KINDS]
    below = [path for name in FOLDERS for path in (REPOSITORY / name).rglob("*") if path.suffix in KINDS]
    return [path for path in top + below if not path.relative_to(REPOSITORY).as_posix().startswith(UNTOUCHED)]


def found(pattern: re.Pattern[str], text: str) -> set[str]:
    return {match.group() for match in pattern.finditer(text)} - KEPT


def test_words_in_ize_have_their_z() -> None:
    strays = {
        path.relative_to(REPOSITORY).as_posix(): words
        for path in sources()
        if (words := found(STRAYS, path.read_text(encoding="utf-8")))
    }
    assert not strays


def test_pages_are_british() -> None:
    strays = {
        path.name: words
        for path in sources()
        if path.suffix == ".md"
        and (words := found(AMERICAN, CODE.sub(" ", path.read_text(encoding="utf-8"))))
    }
    assert not strays


@pytest.mark.parametrize(
    "word", ["normalised", "Optimiser", "uninitialised", "utilisation_of_ours", "learnt"]
)
def test_a_stray_is_found(word: str) -> None:
    assert found(STRAYS, f"what is {word}.") == {word}


@pytest.mark.parametrize(
    "word", ["normalized", "realise_finals", "learned", "model_flops_utilisation", "raised"]
)
def test_other_words_are_not(word: str) -> None:
    assert not found(STRAYS, f"what is {word}.")

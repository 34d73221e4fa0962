"""The page at ``/``: complete, small, self-contained, and strict about what a browser may run."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from debertav3 import Predictor
from debertav3.serve import create_app
from debertav3.serve.page import FOLDER
from serving import COST, opened, serving
from tiny_models import ModelFolders

FILES = sorted(path for path in FOLDER.iterdir() if path.is_file())
SCRIPTS = [path for path in FILES if path.suffix == ".js"]


@pytest.fixture(scope="module")
def predictor(nano: Path, tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    folders = ModelFolders(nano, tmp_path_factory)
    labels = {0: "contradiction", 1: "neutral", 2: "entailment"}
    return opened(folders("DebertaV2ForSequenceClassification", id2label=labels))


@pytest.fixture(scope="module")
def client(predictor: Predictor) -> Iterator[TestClient]:
    with serving({"m": predictor}) as client:
        yield client


def linked(html: str) -> list[str]:
    return [
        link
        for link in re.findall(r'(?:src|href)="([^"]+)"', html)
        if not link.startswith("#") and link != "openapi.json"
    ]


def test_the_page_and_everything_that_it_links_are_served(client: TestClient) -> None:
    page = client.get("/")
    assert page.status_code == 200 and page.headers["content-type"].startswith("text/html")
    links = linked(page.text)
    assert {"page/page.js", "page/page.css"} <= set(links)
    for link in links:
        assert client.get(f"/{link}").status_code == 200, link


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_imported_modules_are_served(client: TestClient, script: Path) -> None:
    answer = client.get(f"/page/{script.name}")
    assert answer.headers["content-type"].startswith("text/javascript")
    for name in re.findall(r'from "\./([^"]+)"', answer.text):
        assert client.get(f"/page/{name}").status_code == 200, name


def test_it_works_below_a_path_of_another_application(predictor: Predictor) -> None:
    outer = FastAPI()
    outer.mount("/nlp", create_app(predictor, costs={"model": COST}))
    with TestClient(outer) as client:
        page = client.get("/nlp/")
        assert page.status_code == 200
        assert all(client.get(f"/nlp/{link}").status_code == 200 for link in linked(page.text))


def test_it_is_small() -> None:
    """What the page loads at once; tables come with the first file, the reader of workbooks with those."""
    later = {"rows.js", "sheets.js"}
    assert not [path.name for path in SCRIPTS for name in later if f'from "./{name}"' in path.read_text()]
    assert sum(path.stat().st_size for path in FILES if path.name not in later) < 100_000


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_nothing_comes_from_elsewhere_and_no_text_becomes_html(path: Path) -> None:
    text = path.read_text(encoding="utf-8").replace('xmlns="http://www.w3.org/2000/svg"', "")
    text = text.replace(
        'new DOMParser().parseFromString(text, "application/xml")', ""
    )  # of a workbook: not HTML
    assert not re.findall(r"(?:https?:)?//[a-z0-9-]+\.[a-z]", text)
    assert not re.findall(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|srcdoc|DOMParser|\beval\(|new Function"
        r"|createContextualFragment|\bon[a-z]+=\"|<style|\sstyle=",
        text,
    )


@pytest.mark.parametrize("path", ["/", "/page/page.js", "/page/page.css"])
def test_browsers_run_only_our_own_files(client: TestClient, path: str) -> None:
    headers = client.get(path).headers
    policy = dict(part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert headers["x-content-type-options"] == "nosniff"


def test_a_browser_that_has_a_file_is_not_sent_it_again(client: TestClient) -> None:
    tag = client.get("/page/page.js").headers["etag"]
    again = client.get("/page/page.js", headers={"if-none-match": tag})
    assert again.status_code == 304 and not again.content


def test_other_paths_stay_as_they_are(client: TestClient) -> None:
    assert client.get("/page/nothing.js").status_code == 404
    assert client.get("/page/../app.py").status_code == 404
    assert client.get("/nli").status_code == 405
    assert client.post("/", json={"inputs": ["a", "b"]}).status_code == 200


def test_the_wheel_leaves_no_file_out(repository: Path) -> None:
    """The build takes what lies in the package and is not ignored by git."""
    if shutil.which("git") is None or not (repository / ".git").exists():
        pytest.skip("needs the repository and git")
    ignored = subprocess.run(
        ["git", "check-ignore", *map(str, FILES)], cwd=repository, capture_output=True, text=True
    )
    assert ignored.stdout == ""
    tracked = subprocess.run(["git", "ls-files", str(FOLDER)], cwd=repository, capture_output=True, text=True)
    assert len(tracked.stdout.split()) == len(FILES)


def test_its_functions_do_what_they_say(repository: Path) -> None:
    """Runs tests/browser/*.test.mjs: words, offsets, tables, links, code to copy, and the searches."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("needs node")
    files = sorted(map(str, (repository / "tests" / "browser").glob("*.test.mjs")))
    done = subprocess.run([node, "--test", *files], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout[-3000:]
    assert re.search(r"# pass [1-9]", done.stdout)

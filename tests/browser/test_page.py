"""The page in Chromium: ``make test-browser``."""

import csv
import datetime
import json
import os
import re
import shutil
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from debertav3 import Predictor
from debertav3.runs import page as report_page
from debertav3.serve import Limits, create_app
from debertav3.tasks.choice import CHOICE_TASKS
from debertav3.tasks.custom import custom_task
from debertav3.tasks.tables import read_table
from debertav3.tasks.tagging import TaggingTask
from serving import COST, opened
from tiny_models import ModelFolders

playwright = pytest.importorskip("playwright.sync_api", reason="make test-browser installs playwright")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium (Debian: apt install chromium)"),
]
NLI = {0: "contradiction", 1: "neutral", 2: "entailment"}
TASKS = ["nli", "zero-shot", "rerank", "classify", "ner", "qa", "choice", "fill-mask", "rtd"]
EXPLAINED = ["nli", "classify"]
LOOKS = ["light", "dark"]
ATTACK = "<img src=x onerror=\"document.title='taken'\"> <b>bold</b>"


@pytest.fixture(scope="session")
def address(nano: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folders = ModelFolders(nano, tmp_path_factory)
    sequence = "DebertaV2ForSequenceClassification"
    models = {
        "nano": opened(nano),
        "tiny": opened(folders(sequence, id2label=NLI)),
        "ner": opened(folders("DebertaV2ForTokenClassification", id2label={0: "O", 1: "B-PER", 2: "I-PER"})),
        "qa": opened(folders("DebertaV2ForQuestionAnswering")),
        "mlm": opened(folders("DebertaV2ForMaskedLM")),
        "rtd": opened(folders("DebertaV2ForReplacedTokenDetection")),
        "choice": opened(folders("DebertaV2ForMultipleChoice")),
    }
    yield from _serve(models)


def _serve(models: dict[str, Predictor]) -> Iterator[str]:
    bound = socket.create_server(("127.0.0.1", 0))
    limits = Limits(queue_seconds=60)  # on a slow machine the searches of two panes fill a shorter queue
    app = create_app(models, costs={name: COST for name in models}, limits=limits)
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", log_config=None))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]}, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.05)
    yield f"http://127.0.0.1:{bound.getsockname()[1]}/"
    server.should_exit = True
    thread.join()


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    """A page of 1,280 by 900 pixels; a message on its console fails the test."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, accept_downloads=True)
    opened_page = context.new_page()
    opened_page.set_default_timeout(15_000)
    faults: list[str] = []
    opened_page.on("console", lambda message: faults.append(message.text))
    opened_page.on("pageerror", lambda error: faults.append(str(error)))
    yield opened_page
    context.close()
    assert faults == []


def test_a_report_breaks_no_metric_name_on_a_narrow_screen(browser: Any) -> None:
    rows = [[name, "0.5333", "0.3667", "1.0000"] for name in ("accuracy", "exact_match", "macro_f1")]
    header = ["", "this model", "constant baseline", "bag-of-words baseline"]
    narrow = browser.new_page(viewport={"width": 400, "height": 900})
    narrow.set_content(report_page.page("Run", [report_page.table(header, rows)]))
    lines = narrow.evaluate(
        "[...document.querySelectorAll('tbody td:first-child')].map(cell => {"
        " const range = document.createRange(); range.selectNodeContents(cell);"
        " return range.getClientRects().length })"
    )
    width = narrow.evaluate("document.documentElement.scrollWidth")
    narrow.close()
    assert lines == [1, 1, 1]
    assert width == 400


def until(page: Any, condition: str) -> None:
    """Wait for a condition in JavaScript; the page forbids the ``eval`` of Playwright's own wait."""
    deadline = time.monotonic() + 15
    while not page.evaluate(condition):
        assert time.monotonic() < deadline, condition
        page.wait_for_timeout(50)


def explained(page: Any, *, num_panes: int = 1) -> None:
    """Wait until every part of "Why?" has been found."""
    until(page, f"document.querySelectorAll('.why-part').length === {3 * num_panes}")
    until(page, "document.querySelectorAll('.why-part .working').length === 0")


def bars(page: Any) -> dict[str, str]:
    """The bars of the first pane by label."""
    page.wait_for_selector(".bars li")
    page.wait_for_timeout(400)
    until(page, "!document.querySelector('[aria-busy]')")
    found = page.locator(".output").first.locator(".bars li")
    return {
        one.locator(".bar-label").inner_text(): one.locator(".bar-score").inner_text() for one in found.all()
    }


def test_answers_come_while_typing_and_equal_the_predictor(page: Any, address: str, nano: Path) -> None:
    page.goto(address)
    page.get_by_label("Premise", exact=True).fill("Two dogs are running.")
    page.get_by_label("Hypothesis", exact=True).fill("")
    page.get_by_label("Hypothesis", exact=True).press_sequentially("No animal moves.", delay=5)
    (expected,) = opened(nano).nli([("Two dogs are running.", "No animal moves.")])
    assert bars(page) == {name: f"{100 * score:.2f} %" for name, score in expected.items()}
    assert "tokens" in page.locator(".status").inner_text()


def test_a_late_answer_to_an_earlier_input_is_dropped(page: Any, address: str) -> None:
    page.goto(address)
    bars(page)

    def slow_first(route: Any) -> None:
        if "slow" in (route.request.post_data or ""):
            time.sleep(0.5)
        route.continue_()

    page.route("**/nli", slow_first)
    field = page.get_by_label("Hypothesis", exact=True)
    field.fill("This is slow.")
    page.wait_for_timeout(150)
    field.fill("Somebody plays.")
    page.wait_for_timeout(1200)
    shown = bars(page)
    page.unroute("**/nli")
    page.reload()
    assert page.get_by_label("Hypothesis", exact=True).input_value() == "Somebody plays."
    assert bars(page) == shown


def test_examples_swap_and_links(page: Any, address: str) -> None:
    page.goto(address)
    page.get_by_role("button", name="There are animals outdoors.").click()
    premise = page.get_by_label("Premise", exact=True)
    assert premise.input_value() == "Two dogs are running through a field."
    page.keyboard.press("Alt+x")
    assert premise.input_value() == "There are animals outdoors."
    shown = bars(page)
    other = page.context.new_page()
    other.goto(page.url)
    assert bars(other) == shown


def test_what_changes_nothing_clears_nothing(page: Any, address: str, tmp_path: Path) -> None:
    """The skip link, the tab in view and the pressed "Two inputs" leave tab, texts and scores alone."""
    table = tmp_path / "texts.csv"
    table.write_text("text\nIt rains.\n")
    page.goto(f"{address}#task=classify&text=a&compare=inputs")
    page.set_input_files("#file-input", table)
    page.get_by_role("button", name="Score", exact=True).click()
    done = "/1 of 1/.test(document.querySelector('#file').textContent)"
    until(page, done)
    second = page.locator("form.inputs").nth(1).get_by_label("Text", exact=True)
    second.fill("another text")
    page.locator(".skip").focus()
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "panel"
    page.locator("#tab-classify").click()
    page.get_by_role("button", name="Two inputs").click()
    page.evaluate("location.hash = 'panel'")
    page.wait_for_timeout(500)
    assert page.evaluate(done)
    assert page.locator("#tab-classify").get_attribute("aria-selected") == "true"
    assert second.input_value() == "another text"


def test_why_reduces_and_flips(page: Any, address: str) -> None:
    page.goto(address)
    before = bars(page)
    page.keyboard.press("Alt+w")
    parts = page.locator(".why-part")
    explained(page)
    assert parts.count() == 3
    assert parts.nth(0).locator(".word[aria-label]").count() >= 10
    assert parts.nth(1).locator("b").count() >= 2 and parts.nth(1).locator("s").count() >= 1
    top = max(before, key=lambda name: float(before[name].split()[0]))
    assert f"Still {top}" in parts.nth(1).inner_text()
    assert parts.nth(2).locator("ins, del").count() >= 1


def test_two_models_and_two_inputs(page: Any, address: str) -> None:
    page.goto(address)
    page.get_by_role("button", name="Two models").click()
    page.wait_for_selector("#difference:not([hidden])")
    assert page.locator(".output").count() == 2 and page.locator("form.inputs").count() == 1
    chosen = page.locator(".picker select")
    assert [chosen.nth(n).input_value() for n in range(2)] == ["nano", "tiny"]
    page.get_by_role("button", name="Two inputs").click()
    page.get_by_label("Hypothesis", exact=True).nth(1).fill("A man makes music.")
    until(page, "/points/.test(document.querySelector('#difference').textContent)")
    link = page.evaluate("new Promise(done => setTimeout(() => done(location.href), 500))")
    page.goto("about:blank")
    page.goto(link)
    assert page.get_by_label("Hypothesis", exact=True).nth(1).input_value() == "A man makes music."


@pytest.mark.parametrize("task", TASKS)
def test_every_task_shows_an_answer_and_no_text_becomes_html(page: Any, address: str, task: str) -> None:
    page.goto(f"{address}#task={task}")
    page.wait_for_selector(".status span")
    for field in page.locator(".inputs textarea").all():
        field.fill(f"{ATTACK} [MASK]" if task == "fill-mask" else ATTACK)
    page.wait_for_timeout(700)
    page.wait_for_selector(".status span")
    assert page.locator("main img").count() == 0 and page.title() == "debertav3"


def test_one_mask_is_shown_by_its_candidates_alone(page: Any, address: str) -> None:
    page.goto(f"{address}#task=fill-mask")
    page.wait_for_selector(".bars li")
    shown = page.locator(".view").first.inner_text()
    assert "false" not in shown.split() and "%" in shown.splitlines()[1]


def test_zero_shot_thresholds(page: Any, address: str) -> None:
    page.goto(f"{address}#task=zero-shot")
    page.wait_for_selector("table.matrix")
    assert page.locator("table.matrix tbody tr").count() == 3
    page.get_by_label("Threshold for sports in percent").fill("0")
    page.keyboard.press("Tab")
    until(page, "document.querySelectorAll('table.matrix td:nth-child(3).holds').length === 3")


def test_a_table_comes_back_with_scores(page: Any, address: str, tmp_path: Path) -> None:
    rows = [{"premise": f"A man, number {n}, sleeps.", "hypothesis": "A man is awake."} for n in range(150)]
    rows[7]["hypothesis"] = " "
    table = tmp_path / "pairs.jsonl"
    table.write_text("".join(json.dumps(row) + "\n" for row in rows))
    page.goto(address)
    bars(page)
    page.set_input_files("#file-input", table)
    page.get_by_role("button", name="Score", exact=True).click()
    until(page, "/150 of 150, 1 not scored/.test(document.querySelector('#file').textContent)")
    with page.expect_download() as download:
        page.get_by_role("button", name="Download JSONL").click()
    found = [json.loads(line) for line in Path(download.value.path()).read_text().splitlines()]
    assert [{key: row[key] for key in ("premise", "hypothesis")} for row in found] == rows
    assert "predicted" not in found[7] and all("score entailment" in row for row in found[:7] + found[8:])
    with page.expect_download() as download:
        page.get_by_role("button", name="Download CSV").click()
    assert Path(download.value.path()).read_bytes().count(b"\r\n") == 151


def test_numbers_of_a_table_come_back_with_their_digits(page: Any, address: str, tmp_path: Path) -> None:
    lines = ['{"id":1234567890123456789,"share":1.0,"text":"It rains."', '{"id":-0,"share":1e3,"text":7.0']
    for name, content in {
        "a.jsonl": "".join(f"{line}}}\n" for line in lines),
        "b.json": f"[{'},'.join(lines)}}}]",
    }.items():
        (tmp_path / name).write_text(content)
        page.goto(f"{address}#task=rtd")
        page.wait_for_selector(".view > *")
        page.set_input_files("#file-input", tmp_path / name)
        page.get_by_role("button", name="Score", exact=True).click()
        until(page, "/2 of 2/.test(document.querySelector('#file').textContent)")
        found = download(page, "Download JSONL", tmp_path).read_text().splitlines()
        assert [one.split(',"predicted"')[0] for one in found] == lines
        cells = download(page, "Download CSV", tmp_path).read_text().splitlines()
        assert cells[1].startswith("1234567890123456789,1.0,It rains.,") and cells[2].startswith(
            "-0,1e3,7.0,"
        )


def score_rows(page: Any, address: str, folder: Path, task: str, rows: Sequence[object]) -> None:
    """Open a task's tab, give it a file of rows and start scoring."""
    table = folder / "rows.jsonl"
    table.write_text("".join(json.dumps(row) + "\n" for row in rows))
    page.goto(f"{address}#task={task}")
    page.wait_for_selector(".view > *")
    page.set_input_files("#file-input", table)
    page.get_by_role("button", name="Score", exact=True).click()


def test_rows_whose_cells_are_no_texts_say_why(page: Any, address: str, tmp_path: Path) -> None:
    choices: list[object] = [
        {"text": ["wet", "dry"], "label": ["A", "B"]},
        [{"text": "wet"}, {"text": "dry"}],
        ["wet"],
    ]
    rows = [{"context": "It rains.", "choices": one} for one in choices]
    rows.append({"context": ["It rains."], "choices": ["wet", "dry"]})
    score_rows(page, address, tmp_path, "choice", rows)
    until(page, "/4 of 4, 2 not scored/.test(document.querySelector('#file').textContent)")
    said = page.locator("#file td.error").all_inner_texts()
    assert said[0].startswith("need at least two choices") and said[1] == 'need a text, got ["It rains."]'
    path = download(page, "Download JSONL", tmp_path)
    found = [json.loads(line) for line in path.read_text().splitlines()]
    assert all(row["predicted"] == ("wet", "dry")[row["index"]] for row in found[:2])


def test_rows_in_view_come_first_and_scoring_can_be_cancelled(
    page: Any, address: str, tmp_path: Path
) -> None:
    table = tmp_path / "pairs.csv"
    rows = (f"Man number {n} sleeps on a bench.,He is awake.\n" for n in range(2000))
    table.write_text("premise,hypothesis\n" + "".join(rows))
    page.goto(address)
    bars(page)
    page.set_input_files("#file-input", table)
    for _ in range(3):
        page.get_by_role("button", name=re.compile("Next")).click()
    page.get_by_role("button", name="Score", exact=True).click()
    until(page, "document.querySelectorAll('table.rows td.number:not(:empty)').length === 20")
    assert page.locator("table.rows tbody td").first.inner_text() == "61"
    page.get_by_role("button", name="Cancel", exact=True).click()
    page.get_by_role("button", name="Continue", exact=True).wait_for()
    note = page.locator("#file [role=status]").inner_text()
    done = int(note.split(" of ")[0].replace(",", ""))
    assert 20 <= done < 2000
    page.wait_for_timeout(300)
    assert page.locator("#file [role=status]").inner_text() == note  # no work continues in the background
    page.get_by_role("button", name="Download CSV").wait_for()


def test_rows_of_one_table_are_never_scored_with_different_settings(
    page: Any, address: str, tmp_path: Path
) -> None:
    table = tmp_path / "texts.csv"
    table.write_text("text\nIt rains.\nA man sleeps.\n")
    page.goto(f"{address}#task=zero-shot&labels=weather&texts=a")
    page.wait_for_selector("table.matrix")
    page.set_input_files("#file-input", table)
    score = page.get_by_role("button", name="Score", exact=True)
    template = page.locator("[data-field=template]")
    template.fill("no place")
    score.click()
    until(page, "/exactly one {}/.test(document.querySelector('#toast').textContent)")
    assert page.locator("#file [role=status]").inner_text() == ""
    template.fill("{}")
    score.click()
    until(page, "/2 of 2/.test(document.querySelector('#file').textContent)")
    assert score.is_disabled()
    page.locator("[data-field=labels]").fill("sleep, music")
    page.get_by_role("button", name="Score again").click()
    until(page, "/2 of 2/.test(document.querySelector('#file').textContent)")
    with page.expect_download() as download:
        page.get_by_role("button", name="Download JSONL").click()
    for row in map(json.loads, Path(download.value.path()).read_text().splitlines()):
        assert {"score sleep", "score music"} < row.keys() and "score weather" not in row


def test_nothing_of_an_earlier_tab_is_compared(page: Any, address: str) -> None:
    page.goto(f"{address}#task=nli&compare=inputs")
    page.wait_for_selector("#difference:not([hidden])")
    page.route("**/classify", lambda route: None)  # its answer never comes
    page.get_by_role("tab", name="Classify").click()
    until(page, "document.querySelector('#difference').hidden")
    assert page.locator(".status:not(:empty)").count() == page.locator(".actions:not(:empty)").count() == 0


def test_a_table_with_a_fault_says_where(page: Any, address: str, tmp_path: Path) -> None:
    table = tmp_path / "pairs.csv"
    table.write_text("premise,hypothesis\na,b\na,b,c\n")
    page.goto(address)
    bars(page)
    page.set_input_files("#file-input", table)
    until(page, "/row 2 has 3 cells/.test(document.querySelector('#file').textContent)")


def test_corrections_are_collected(page: Any, address: str) -> None:
    page.goto(address)
    bars(page)
    page.get_by_role("button", name="This is wrong").click()
    page.get_by_label("Correct answer").select_option("neutral")
    page.reload()
    with page.expect_download() as download:
        page.get_by_role("button", name="Download 1 for nli").click()
    row = json.loads(Path(download.value.path()).read_text())
    assert row["label"] == "neutral" and row["premise"].startswith("A man") and len(row) == 3


def download(page: Any, name: str, folder: Path) -> Path:
    """What a button downloads, under its own name."""
    with page.expect_download() as started:
        page.get_by_role("button", name=name).click()
    path = folder / started.value.suggested_filename
    started.value.save_as(path)
    return path


def test_right_entities_are_read_by_finetune(page: Any, address: str, tmp_path: Path) -> None:
    text = "😀 Anna Bell lives in Rome."
    page.goto(f"{address}#task=ner&text=")
    field = page.get_by_label("Text", exact=True)
    field.fill(text)
    page.wait_for_timeout(700)
    page.get_by_role("button", name="This is wrong").click()
    marks = page.get_by_role("button", name=re.compile("^Remove "))
    while marks.count():
        marks.first.click()
    for word in ("Anna Bell ", "Rome"):
        start = text.encode("utf-16-le").index(word.encode("utf-16-le")) // 2
        field.evaluate(f"(box) => box.setSelectionRange({start}, {start + len(word)})")
        page.get_by_role("button", name="Mark the selection").click()
    page.get_by_role("button", name="Remove Rome").click()
    page.get_by_role("button", name="Keep", exact=True).click()
    path = download(page, "Download 1 for ner", tmp_path)
    (example,) = TaggingTask(name="ner").examples(read_table(path))
    assert dict(zip(example.texts, example.label, strict=True))["Anna"] == "B-PER"
    assert [tag for tag in example.label if tag != "O"] == ["B-PER", "I-PER"]


def test_right_passages_are_read_by_finetune(page: Any, address: str, tmp_path: Path) -> None:
    page.goto(f"{address}#task=rerank")
    page.wait_for_selector(".ranking li")
    page.wait_for_timeout(500)
    page.get_by_role("button", name="This is wrong").click()
    for tick in page.locator("fieldset input").all():
        tick.uncheck()
    page.get_by_label("A band is playing in the park.").check()
    page.get_by_role("button", name="Keep", exact=True).click()
    path = download(page, "Download 1 for rerank", tmp_path)
    task = custom_task(str(path), label_kind="ranking")
    found = {example.texts: example.label for example in task.examples(read_table(path))}
    assert len(found) == 4 and sum(found.values()) == 1
    assert found["Somebody plays music.", "A band is playing in the park."] == 1


def test_the_right_choice_is_read_by_finetune(page: Any, address: str, tmp_path: Path) -> None:
    page.goto(f"{address}#task=choice")
    bars(page)
    page.get_by_role("button", name="This is wrong").click()
    page.get_by_label("Correct choice").select_option("It rains.")
    path = download(page, "Download 1 for choice", tmp_path)
    task = next(one for one in CHOICE_TASKS if one.name == "choice")
    (example,) = task.examples(read_table(path))
    assert (
        int(str(example.label)) == 1
        and example.texts[0] == "Anna went to bed late."
        and len(example.texts) == 4
    )


def test_right_labels_of_several_texts(page: Any, address: str, tmp_path: Path) -> None:
    page.goto(f"{address}#task=zero-shot")
    page.wait_for_selector("table.matrix")
    page.wait_for_timeout(500)
    page.get_by_role("button", name="This is wrong").click()
    page.get_by_label("Correct label of The striker scored twice in the final.").select_option("sports")
    page.get_by_label("Correct label of Heavy rain is expected on Sunday.").select_option("weather")
    page.get_by_role("button", name="Keep", exact=True).click()
    path = download(page, "Download 2 for zero-shot", tmp_path)
    found = [json.loads(line) for line in path.read_text().splitlines()]
    assert [row["label"] for row in found] == ["sports", "weather"]
    assert found[0]["text"] == "The striker scored twice in the final."


FILES = {
    "rerank": [{"passage": f"Passage {n}."} for n in range(70)],
    "choice": [{"context": "It rains.", "choices": ["The street is wet.", f"Nobody {n}."]} for n in range(3)],
    "fill-mask": [{"text": "A [MASK] sleeps."}, {"text": "no mask"}, {"text": "[MASK] and [MASK]"}],
    "rtd": [{"text": "A man is asleep on a cloud."}, {"text": "The chef cooked a hammer."}],
}


@pytest.mark.parametrize("task", FILES)
def test_tables_for_the_other_tabs(page: Any, address: str, tmp_path: Path, task: str) -> None:
    rows = FILES[task]
    score_rows(page, address, tmp_path, task, rows)
    until(page, f"/{len(rows)} of {len(rows)}/.test(document.querySelector('#file').textContent)")
    path = download(page, "Download JSONL", tmp_path)
    found = [json.loads(line) for line in path.read_text().splitlines()]
    assert [{key: row[key] for key in rows[0]} for row in found] == rows
    scored = [row for row in found if "score" in row]
    assert len(scored) == len(rows) - (task == "fill-mask")
    if task == "choice":
        assert all(row["predicted"] == row["choices"][row["index"]] for row in scored)
    if task == "rerank":
        asked = {"query": "Somebody plays music.", "passages": [row["passage"] for row in rows]}
        answer = page.request.post(f"{address}rerank", data=asked).json()["results"]
        assert [row["score"] for row in found] == pytest.approx(
            [one["score"] for one in sorted(answer, key=lambda one: one["index"])], abs=1e-5
        )


def test_a_workbook_comes_back_with_scores(page: Any, address: str, tmp_path: Path) -> None:
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    book.active.append(["id", "premise", "hypothesis", "when"])
    for number in range(30):
        day = datetime.datetime(2024, 2, 29, 12, 30) if number else datetime.date(1999, 12, 31)
        book.active.append(
            [number + 0.5, f"A man, number {number}, sleeps & <b>snores</b> 😀.", "He is awake.", day]
        )
    book.active["C9"] = None
    book.create_sheet("other").append(["not", "this"])
    book.save(tmp_path / "pairs.xlsx")
    page.goto(address)
    bars(page)
    page.set_input_files("#file-input", tmp_path / "pairs.xlsx")
    page.get_by_role("button", name="Score", exact=True).click()
    until(page, "/30 of 30, 1 not scored/.test(document.querySelector('#file').textContent)")
    path = download(page, "Download CSV", tmp_path)
    assert path.name == "pairs.scored.csv" and path.read_bytes().startswith(b"\xef\xbb\xbf")
    with path.open(encoding="utf-8-sig", newline="") as lines:
        found = list(csv.DictReader(lines))
    assert [row["id"] for row in found] == [f"{number + 0.5}" for number in range(30)]
    assert found[3]["premise"] == "A man, number 3, sleeps & <b>snores</b> 😀."
    assert (found[0]["when"], found[1]["when"]) == ("1999-12-31", "2024-02-29 12:30:00")
    assert found[7]["predicted"] == "" and found[8]["predicted"] in NLI.values()


def test_cells_of_a_workbook_that_are_no_dates_or_begin_like_formulas(
    page: Any, address: str, tmp_path: Path
) -> None:
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook(iso_dates=True)
    sheet = book.active
    sheet.append(["text", "iso", "when"])
    for text, days in (("+1 for this", 2e8), ("- a point", 45000), ("@home", -3), ("-5", 2_958_466)):
        sheet.append([text, datetime.date(2024, 2, 29), days])
        sheet.cell(sheet.max_row, 3).number_format = "yyyy-mm-dd"
    book.save(tmp_path / "texts.xlsx")
    page.goto(f"{address}#task=rtd")
    page.wait_for_selector(".view > *")
    page.set_input_files("#file-input", tmp_path / "texts.xlsx")
    page.get_by_role("button", name="Score", exact=True).click()
    until(page, "/4 of 4/.test(document.querySelector('#file').textContent)")
    with download(page, "Download CSV", tmp_path).open(encoding="utf-8-sig", newline="") as lines:
        found = list(csv.DictReader(lines))
    assert [row["text"] for row in found] == ["'+1 for this", "'- a point", "'@home", "-5"]
    assert [row["when"] for row in found] == ["200000000", "2023-03-15", "-3", "2958466"]
    assert all(row["iso"].startswith("2024-02-29") for row in found)
    rows = download(page, "Download JSONL", tmp_path).read_text().splitlines()
    assert json.loads(rows[0])["text"] == "+1 for this"


def test_a_fault_while_a_file_is_read_is_shown(page: Any, address: str, tmp_path: Path) -> None:
    (tmp_path / "pairs.xlsx").write_bytes(b"PK\x03\x04")
    fault = "export async function readWorkbook() { throw new RangeError('out of range'); }"
    page.route("**/sheets.js", lambda route: route.fulfill(body=fault, content_type="text/javascript"))
    page.goto(address)
    bars(page)
    page.set_input_files("#file-input", tmp_path / "pairs.xlsx")
    until(page, "/cannot be read here .*out of range/.test(document.querySelector('#file').textContent)")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"PK\x03\x04 and nothing else", "not a workbook"),
        (b"\xd0\xcf\x11\xe0 old", "Save it as .xlsx"),
        (b"a,b\n\xff,c\n", "not text in UTF-8"),
    ],
)
def test_files_that_cannot_be_read_say_why(
    page: Any, address: str, tmp_path: Path, content: bytes, says: str
) -> None:
    (tmp_path / "pairs.xlsx").write_bytes(content)
    page.goto(address)
    bars(page)
    page.set_input_files("#file-input", tmp_path / "pairs.xlsx")
    until(page, f"document.querySelector('#file').textContent.includes({json.dumps(says)})")


def test_keyboard_alone(page: Any, address: str) -> None:
    page.goto(address)
    bars(page)
    page.locator("#tab-nli").focus()
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement.id") == "tab-zero-shot"
    page.keyboard.press("Home")
    reached = set()
    for _ in range(30):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.textContent || document.activeElement.tagName"))
    assert {"Two inputs", "Why?", "Score a file", "⇅ Swap", "curl", "This is wrong"} <= reached


@pytest.mark.parametrize("width", [360, 900, 1920, 2560])
@pytest.mark.parametrize("task", TASKS)
def test_nothing_runs_off_the_page(page: Any, address: str, width: int, task: str) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    page.goto(f"{address}#task={task}&why=1&compare=inputs")
    page.wait_for_selector(".status span")
    if task in EXPLAINED:
        explained(page, num_panes=2)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    if folder := os.environ.get("SCREENSHOTS"):
        for look in LOOKS:
            page.emulate_media(color_scheme=look)
            page.screenshot(path=Path(folder) / f"{task}-{width}-{look}.png", full_page=True)


@pytest.mark.parametrize("look", LOOKS)
@pytest.mark.parametrize("task", TASKS)
def test_axe_finds_nothing_serious(page: Any, address: str, repository: Path, look: str, task: str) -> None:
    axe = repository / "build" / "axe" / "node_modules" / "axe-core" / "axe.min.js"
    if not axe.is_file():
        pytest.skip("make test-browser gets axe-core by npm")
    page.emulate_media(color_scheme=look)
    page.goto(f"{address}#task={task}&why=1")
    page.wait_for_selector(".status span")
    if task in EXPLAINED:
        explained(page)
    page.evaluate(axe.read_text(encoding="utf-8"))
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    serious = [
        (one["id"], [node["html"][:200] for node in one["nodes"]])
        for one in found["violations"]
        if one["impact"] in ("serious", "critical")
    ]
    assert serious == []
